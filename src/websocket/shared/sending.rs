//! Messages and PINGs: from tasks to the connection.

use std::task::{Poll, Waker};
use std::time::Duration;

use crate::connection::{WSSendStatus, WSTransport};
use crate::proto::{MAX_CONTROL_PAYLOAD, WSDropReason, WSMsgType};
use crate::runtime::random;

use super::{Shared, State, not_accepted, wake};
use crate::websocket::waiters::Place;
use crate::websocket::{CloseReason, SideState, WebSocketError};

impl Shared {
    /// The short way of [`poll_send`](Self::poll_send) for a task that has not waited. Returns
    /// `false`, and does nothing, if the message has to go the long way.
    #[inline(never)]
    pub(in crate::websocket) fn gather(&self, msg_type: WSMsgType, payload: &[u8]) -> bool {
        let may_send = self.state().may_send_at_once();
        may_send
            && self.transport().is_some_and(|transport| transport.conn().gather_message(msg_type, payload))
    }

    /// Sends a message as soon as [it may be sent](Self::poll_turn_to_send).
    #[inline(never)]
    pub(in crate::websocket) fn poll_send(
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
    pub(in crate::websocket) fn poll_turn_to_send(
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

    pub(in crate::websocket) fn leave_writers(&self, place: &mut Place) {
        let (left, next) = {
            let mut state = self.state();
            let left = state.leave_writers(place);
            let was_first = matches!(left, Some((0, _)));
            (left, was_first.then(|| state.take_writer()).flatten())
        };
        drop(left);
        wake(next);
    }

    /// There is room to send again.
    pub(in crate::websocket) fn resume_writers(&self) {
        let first = self.state().take_writer();
        wake(first);
    }

    /// Queues a message.
    pub(in crate::websocket) fn send(
        &self,
        msg_type: WSMsgType,
        payload: &[u8],
    ) -> Result<(), WebSocketError> {
        let Some(transport) = self.transport() else { return Err(not_accepted()) };
        check_size(transport, payload.len())?;
        self.outcome(transport, transport.send(msg_type, payload))
    }

    /// What it means to the application that something was sent, or was not.
    fn outcome(&self, transport: &WSTransport, status: WSSendStatus) -> Result<(), WebSocketError> {
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

    // --- PING and PONG -----------------------------------------------------------------------------------------------------

    /// Fails if nothing can be sent.
    pub(in crate::websocket) fn check_sendable(&self) -> Result<(), WebSocketError> {
        self.state().check_sendable()
    }

    /// Sends a PING and returns its number. Without a payload it has one that no other PING has.
    pub(in crate::websocket) fn send_ping(&self, payload: Option<&[u8]>) -> Result<u64, WebSocketError> {
        let unique: [u8; 8];
        let payload = if let Some(payload) = payload {
            payload
        } else {
            unique = random(self.handle.core());
            &unique
        };
        check_control_size(payload)?;
        self.check_sendable()?;
        // A peer that has ended its half of TCP can be sent to, but cannot answer.
        if let Some(closed) = self.state().closed() {
            return Err(closed.into());
        }
        let transport = self.transport().ok_or_else(not_accepted)?;
        if self.state().rare.pings.is_in_flight(payload) {
            return Err(WebSocketError::argument("a PING with this payload is on its way"));
        }
        self.outcome(transport, transport.send_ping(payload)?)?;
        let id = self.state().rare.pings.sent(payload, self.handle.core().clock());
        Ok(id)
    }

    pub(in crate::websocket) fn send_pong(&self, payload: &[u8]) -> Result<(), WebSocketError> {
        check_control_size(payload)?;
        self.check_sendable()?;
        let transport = self.transport().ok_or_else(not_accepted)?;
        self.outcome(transport, transport.send_pong(payload)?)
    }

    /// Ready when the PING with this number is answered, or will not be.
    pub(in crate::websocket) fn poll_pong(
        &self,
        id: u64,
        waker: &Waker,
    ) -> Poll<Result<Duration, WebSocketError>> {
        let mut state = self.state();
        if let Some(took) = state.rare.pings.took(id) {
            return Poll::Ready(Ok(took));
        }
        if let Some(closed) = state.closed() {
            return Poll::Ready(Err(closed.into()));
        }
        let old = state.rare.pings.wait(id, waker);
        drop(state);
        drop(old);
        Poll::Pending
    }

    pub(in crate::websocket) fn forget_ping(&self, id: u64) {
        let left = self.state().rare.pings.forget(id);
        drop(left);
    }

    /// Wakes the tasks whose PINGs a PONG with this payload answers.
    pub(in crate::websocket) fn pong_received(&self, transport: &WSTransport, payload: &[u8]) {
        let now = self.handle.core().clock();
        let answered = self.state().rare.pings.answered(payload, now);
        if answered.proves_alive {
            transport.notify_user_specific_pong_received();
        }
        wake(answered.wakers);
    }

    /// Returns the payload of a PING of the liveness check, which is sent next.
    pub(in crate::websocket) fn auto_ping(&self) -> [u8; 8] {
        // The application's pings have payloads of their own, so that no answer is taken for another's.
        let payload = random(self.handle.core());
        self.state().rare.pings.auto_sent(payload);
        payload
    }

    /// Returns `true` if a PONG with this payload answers the PING of the liveness check, and wakes the
    /// tasks whose PINGs it answers as well.
    pub(in crate::websocket) fn auto_pong_received(&self, payload: &[u8]) -> bool {
        let now = self.handle.core().clock();
        let answered = self.state().rare.pings.auto_answered(payload, now);
        let is_auto = answered.is_some();
        wake(answered.into_iter().flatten());
        is_auto
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

    /// Why nothing can be sent, if so.
    fn check_sendable(&mut self) -> Result<(), WebSocketError> {
        if let Some(end) = self.end.as_ref().filter(|end| end.is_broken()) {
            let closed = WebSocketError::closed(end.reason.clone());
            if self.application == SideState::Connected {
                self.application = SideState::Disconnected;
            }
            return Err(closed);
        }
        match self.application {
            SideState::Connecting => return Err(not_accepted()),
            SideState::Disconnected => {
                return Err(self.closed_already("nothing can be sent after this end has closed").into());
            }
            SideState::Connected => {}
        }
        match &self.end {
            Some(end) if !end.may_send => Err(WebSocketError::closed(end.reason.clone())),
            _ => Ok(()),
        }
    }
}

fn check_size(transport: &WSTransport, size: usize) -> Result<(), WebSocketError> {
    let limit = transport.conn().max_outbound().saturating_sub(crate::buf::WS_HEADROOM);
    if size > limit { Err(WebSocketError::TooBig { size, limit }) } else { Ok(()) }
}

fn check_control_size(payload: &[u8]) -> Result<(), WebSocketError> {
    if payload.len() > MAX_CONTROL_PAYLOAD {
        return Err(WebSocketError::TooBig { size: payload.len(), limit: MAX_CONTROL_PAYLOAD });
    }
    Ok(())
}
