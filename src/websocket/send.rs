//! Sending messages.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::connection::{WSSendStatus, WSTransport};
use crate::messages::Message;
use crate::proto::{WSDropReason, WSMsgType};

use super::shared::{Shared, State, not_accepted, wake};
use super::waiters::Place;
use super::{CloseReason, SideState, WebSocket, WebSocketError};

impl WebSocket {
    /// Sends a message. Done when the message is queued, which is at once unless more than the high watermark
    /// ([`write_watermarks`](crate::WSTuning::write_watermarks)) waits to be sent already: then first the queue has to sink to the
    /// low one. Tasks that wait are served in the order in which they were first polled.
    ///
    /// Dropped before it is done, it has sent nothing.
    ///
    /// A peer that has ended its half of TCP without CLOSE can still be sent to, until a task
    /// closes or the handler ends, at the latest until the
    /// [`disconnect_timeout`](crate::message::WebSocketConfig::disconnect_timeout).
    ///
    /// # Errors
    /// [`State`](WebSocketError::State) before [`accept`](Self::accept) and after this end has closed;
    /// [`Closed`](WebSocketError::Closed) if the peer has, or the connection is gone, or is closed by whomever while this waits;
    /// [`TooBig`](WebSocketError::TooBig);
    /// [`Dropped`](WebSocketError::Dropped).
    pub fn send_message(&self, message: impl Into<Message>) -> SendMessage<'_, Message> {
        let message = message.into();
        self.send_payload(message.msg_type(), message)
    }

    /// Sends a text message. See [`send_message`](Self::send_message).
    ///
    /// # Errors
    /// Those of [`send_message`](Self::send_message).
    pub fn send_text<T: AsRef<str>>(&self, text: T) -> SendMessage<'_, Text<T>> {
        self.send_payload(WSMsgType::Text, Text(text))
    }

    /// Sends a binary message. See [`send_message`](Self::send_message).
    ///
    /// # Errors
    /// Those of [`send_message`](Self::send_message).
    pub fn send_bytes<B: AsRef<[u8]>>(&self, bytes: B) -> SendMessage<'_, B> {
        self.send_payload(WSMsgType::Binary, bytes)
    }

    pub(super) fn send_payload<P: AsRef<[u8]>>(&self, msg_type: WSMsgType, payload: P) -> SendMessage<'_, P> {
        SendMessage { websocket: self, msg_type, payload, place: None }
    }
}

/// A text as the payload of a message.
#[derive(Debug)]
pub struct Text<T>(T);

impl<T: AsRef<str>> AsRef<[u8]> for Text<T> {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref().as_bytes()
    }
}

/// A message that is being sent; see [`WebSocket::send_message`].
#[derive(Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct SendMessage<'a, P> {
    websocket: &'a WebSocket,
    msg_type: WSMsgType,
    payload: P,
    place: Place,
}

// The payload is never pinned.
impl<P> Unpin for SendMessage<'_, P> {}

impl<P: AsRef<[u8]>> Future for SendMessage<'_, P> {
    type Output = Result<(), WebSocketError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let (shared, payload) = (this.websocket.shared(), this.payload.as_ref());
        // Nearly all messages: nobody waits, and the frame is gathered.
        if this.place.is_none() && shared.gather(this.msg_type, payload) {
            return Poll::Ready(Ok(()));
        }
        shared.poll_send(&mut this.place, cx.waker(), this.msg_type, payload)
    }
}

impl<P> Drop for SendMessage<'_, P> {
    fn drop(&mut self) {
        if self.place.is_some() {
            self.websocket.shared().leave_writers(&mut self.place);
        }
    }
}

impl Shared {
    /// The short way of [`poll_send`](Self::poll_send) for a task that has not waited. Returns
    /// `false`, and does nothing, if the message has to go the long way.
    #[inline(never)]
    fn gather(&self, msg_type: WSMsgType, payload: &[u8]) -> bool {
        let may_send = self.state().may_send_at_once();
        may_send
            && self.transport().is_some_and(|transport| transport.conn().gather_message(msg_type, payload))
    }

    /// Sends a message as soon as [it may be sent](Self::poll_turn_to_send).
    #[inline(never)]
    fn poll_send(
        &self,
        place: &mut Place,
        waker: &Waker,
        msg_type: WSMsgType,
        payload: &[u8],
    ) -> Poll<Result<(), WebSocketError>> {
        let turn = self.poll_turn_to_send(place, waker);
        turn.map(|turn| turn.and_then(|()| self.send(msg_type, payload)))
    }

    /// Ready when a message may be sent: it is this one's turn, and the queue is not too long.
    pub(super) fn poll_turn_to_send(
        &self,
        place: &mut Place,
        waker: &Waker,
    ) -> Poll<Result<(), WebSocketError>> {
        // Before the opening is done there is nothing to send through.
        let has_to_wait = self.transport().is_none_or(|transport| transport.conn().awaits_resume());
        let mut state = self.state();
        if !has_to_wait && place.is_none() && state.may_send_at_once() {
            return Poll::Ready(Ok(()));
        }
        let sendable = state.check_sendable().map_err(|error| match state.closed() {
            // It came in time: that this end has closed meanwhile is nobody's mistake.
            Some(closed) if place.is_some() => closed.into(),
            _ => error,
        });
        if sendable.is_ok() && (has_to_wait || state.is_behind_writers(*place)) {
            let old = state.writers.get_or_insert_default().wait(place, waker.clone());
            drop(state);
            drop(old);
            return Poll::Pending;
        }
        if let Some((_, left)) = state.leave_writers(place) {
            // It had waited; so may the next one, which looks for itself whether the queue is too long again.
            let next = state.take_writer();
            drop(state);
            drop(left);
            wake(next);
        }
        Poll::Ready(sendable)
    }

    pub(super) fn leave_writers(&self, place: &mut Place) {
        let (left, next) = {
            let mut state = self.state();
            let left = state.leave_writers(place);
            let was_first = matches!(left, Some((0, _)));
            (left, was_first.then(|| state.take_writer()).flatten())
        };
        drop(left);
        wake(next);
    }

    /// Queues a message.
    pub(super) fn send(&self, msg_type: WSMsgType, payload: &[u8]) -> Result<(), WebSocketError> {
        let Some(transport) = self.transport() else { return Err(not_accepted()) };
        check_size(transport, payload.len())?;
        self.outcome(transport, transport.send_message(msg_type, payload))
    }

    /// What it means to the application that something was sent, or was not.
    pub(super) fn outcome(
        &self,
        transport: &WSTransport,
        status: WSSendStatus,
    ) -> Result<(), WebSocketError> {
        match status {
            WSSendStatus::Sent | WSSendStatus::Queued => Ok(()),
            WSSendStatus::Dropped(WSDropReason::Overflow) if !transport.is_disconnected() => {
                Err(WebSocketError::Dropped)
            }
            WSSendStatus::Dropped(_) => Err(self.sending_failed()),
        }
    }

    /// The connection is gone, and the application has found it out by sending.
    fn sending_failed(&self) -> WebSocketError {
        let mut state = self.state();
        state.application = SideState::Disconnected;
        state.closed().map_or_else(|| WebSocketError::closed(CloseReason::abnormal()), Into::into)
    }
}

impl State {
    /// Whether the connection is open, and no task waits to send.
    #[inline]
    fn may_send_at_once(&self) -> bool {
        self.application == SideState::Connected
            && self.end.is_none()
            && self.writers.as_ref().is_none_or(|writers| writers.is_empty())
    }

    /// Whether tasks wait to send in front of this one.
    fn is_behind_writers(&self, place: Place) -> bool {
        self.writers.as_ref().is_some_and(|writers| writers.ahead_of(place) > 0)
    }

    fn leave_writers(&mut self, place: &mut Place) -> Option<(usize, Option<Waker>)> {
        self.writers.as_mut()?.leave(place)
    }

    /// The task that may send next.
    pub(super) fn take_writer(&mut self) -> Option<Waker> {
        self.writers.as_mut()?.take_waker(0)
    }
}

fn check_size(transport: &WSTransport, size: usize) -> Result<(), WebSocketError> {
    let limit = transport.conn().max_outbound().saturating_sub(crate::buf::WS_HEADROOM);
    if size > limit { Err(WebSocketError::TooBig { size, limit }) } else { Ok(()) }
}
