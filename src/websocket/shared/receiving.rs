//! Messages: from the connection to the tasks that wait for them.

use std::task::{Poll, Waker, ready};

use crate::connection::{Offer, Receivers, WSTransport};
use crate::messages::{Message, MessageInfo};
use crate::proto::{Connection, WSCloseCode, WSProtocolError};
use crate::runtime::{Sleeper, wake};

use super::{End, Shared, State, not_accepted};
use crate::websocket::waiters::Place;
use crate::websocket::{CloseReason, SideState, WebSocketError};

/// The next message, or `None` if the connection was closed in order.
type PolledMessage = Poll<Result<Option<Message>, WebSocketError>>;

impl Shared {
    /// A message has arrived.
    pub(in crate::websocket) fn received(&self, message: Message, info: MessageInfo) {
        let waker = {
            let mut state = self.state();
            if state.discards {
                return;
            }
            state.inbox.push(message, info)
        };
        self.wake(waker);
        if let Some(transport) = self.transport() {
            transport.conn().yield_to_tasks();
        }
    }

    /// Returns the next message for the receiver at `place`, or why there is none. A connection that
    /// was closed in order gives an error here.
    #[inline]
    pub(in crate::websocket) fn poll_message(
        &self,
        place: &mut Place,
        waker: &Waker,
    ) -> Poll<Result<Message, WebSocketError>> {
        self.poll_next(place, waker).map(|received| match received? {
            Some(message) => Ok(message),
            None => Err(WebSocketError::closed(self.close_reason().unwrap_or_else(CloseReason::abnormal))),
        })
    }

    /// Returns the next message for the receiver at `place`, or why there is none. A connection that
    /// was closed in order gives `None`.
    #[inline]
    pub(in crate::websocket) fn poll_next(&self, place: &mut Place, waker: &Waker) -> PolledMessage {
        // Mostly a poll finds nothing lent and waits, or is the one that the bytes were lent for.
        match self.transport() {
            Some(transport) if transport.conn().lends() => self.poll_lent(transport, place, waker),
            _ => self.poll_queue(place, waker),
        }
    }

    /// Returns what [`poll_next`](Self::poll_next) does, with what is known of the message. That is
    /// found out around the call, so that other receivers pay nothing for it.
    pub(in crate::websocket) fn poll_with_info(
        &self,
        place: &mut Place,
        waker: &Waker,
    ) -> Poll<Result<Option<(Message, MessageInfo)>, WebSocketError>> {
        let queued = self.state().inbox.info(*place);
        let lent = self.lent_len();
        let received = ready!(self.poll_next(place, waker))?;
        let info = || queued.unwrap_or_else(|| self.info_of_lent(lent));
        Poll::Ready(Ok(received.map(|message| (message, info()))))
    }

    fn lent_len(&self) -> usize {
        self.transport().map_or(0, |transport| transport.conn().with_lent(|_, bytes| bytes.len()))
    }

    /// Returns what is known of the message that was just taken from `lent` bytes. Tasks take whole
    /// uncompressed messages only.
    fn info_of_lent(&self, lent: usize) -> MessageInfo {
        let tail_size = self.lent_len();
        let conn = self.transport().map(WSTransport::conn);
        MessageInfo {
            received_at: conn.and_then(|conn| conn.received_at()),
            wire_len: lent - tail_size,
            is_compressed: false,
            last_in_buffer: conn.is_none_or(|conn| conn.with_lent(Connection::is_last_before)),
            tail_size,
        }
    }

    /// Takes a message straight from the bytes that have arrived, if the receiver at `place` may.
    #[inline(never)]
    fn poll_lent(&self, transport: &WSTransport, place: &mut Place, waker: &Waker) -> PolledMessage {
        if !self.state().may_pull(*place) {
            return self.poll_queue(place, waker);
        }
        let Some(mut pull) = transport.conn().pull() else { return self.poll_queue(place, waker) };
        // Each message is made in its place at the end, when nothing but its parts is left to keep:
        // it would be moved several times otherwise.
        if pull.is_text() {
            let text = simdutf8::basic::from_utf8(pull.unmasked()).map(Box::<str>::from);
            pull.finish();
            let Ok(text) = text else {
                transport.conn().peer_failed(&WSProtocolError::bad_text());
                return self.poll_queue(place, waker);
            };
            self.leave_first(place);
            return Poll::Ready(Ok(Some(Message::Text(text.into_string()))));
        }
        let bytes = pull.take_bytes();
        pull.finish();
        self.leave_first(place);
        Poll::Ready(Ok(Some(Message::Binary(bytes.into()))))
    }

    /// The receiver at `place`, which is the first if it waited, has a message.
    #[inline]
    fn leave_first(&self, place: &mut Place) {
        if place.is_some() {
            let left = self.state().inbox.leave_first(place);
            drop(left);
        }
    }

    #[inline(never)]
    fn poll_queue(&self, place: &mut Place, waker: &Waker) -> PolledMessage {
        let mut state = self.state();
        if state.end.is_some() || state.application == SideState::Connecting || state.inbox.queued() > 0 {
            drop(state);
            return self.poll_queued(place, waker);
        }
        let left = state.inbox.wait(place, self.handle.core().tasks().sleeper(waker));
        let has_room = state.crowded && !state.is_full();
        drop(state);
        drop(left);
        if has_room {
            self.resume();
        }
        Poll::Pending
    }

    #[inline(never)]
    fn poll_queued(&self, place: &mut Place, waker: &Waker) -> PolledMessage {
        let mut state = self.state();
        if state.application == SideState::Connecting {
            return Poll::Ready(Err(not_accepted()));
        }
        let (polled, left) = match (state.inbox.take(place), state.closed()) {
            (Some((message, left)), _) => (Poll::Ready(Ok(Some(message))), left),
            (None, Some(closed)) => {
                state.client = SideState::Disconnected;
                let end = if closed.reason.is_clean() { Ok(None) } else { Err(closed.into()) };
                (Poll::Ready(end), state.inbox.leave(place).1)
            }
            // What is queued is for those in front of it.
            (None, None) => {
                let sleeper = self.handle.core().tasks().sleeper(waker);
                (Poll::Pending, state.inbox.wait(place, sleeper))
            }
        };
        let has_room = state.crowded && !state.is_full();
        drop(state);
        drop(left);
        if has_room {
            self.resume();
        }
        polled
    }

    /// A receiver is dropped; what it would have got is the next one's.
    pub(in crate::websocket) fn leave_inbox(&self, place: &mut Place) {
        let (next, left) = self.state().inbox.leave(place);
        drop(left);
        self.wake(next);
        self.hold_if_full();
    }

    /// Delivers again, if that was paused.
    pub(super) fn resume(&self) {
        let was_crowded = std::mem::take(&mut self.state().crowded);
        if was_crowded && let Some(transport) = self.transport() {
            transport.conn().release_for_receivers();
        }
    }

    /// Drops the messages that wait and those that will arrive.
    pub(in crate::websocket) fn discard_incoming(&self) {
        {
            let mut state = self.state();
            state.discards = true;
            state.inbox.discard_messages();
        }
        self.resume();
    }
}

impl Receivers for Shared {
    fn offer(&self) -> Offer {
        let mut state = self.state();
        if state.end.is_some() || state.discards {
            return Offer::Nobody;
        }
        let Some(sleeper) = state.inbox.wake_first() else { return Offer::Nobody };
        let is_roomless = state.room == 0;
        drop(state);
        let Some(transport) = self.transport() else { return Offer::Nobody };
        if is_roomless {
            // The queue may be full again when the messages are taken.
            transport.conn().yield_to_tasks();
        }
        match sleeper {
            Sleeper::Task(task) => Offer::Task(task),
            Sleeper::Waker(waker) => {
                wake(waker);
                Offer::Woken
            }
        }
    }

    fn hold_if_full(&self) {
        let Some(transport) = self.transport() else { return };
        let begins = {
            let mut state = self.state();
            let is_crowded = state.end.is_none() && state.is_full();
            is_crowded && !std::mem::replace(&mut state.crowded, true)
        };
        if begins {
            transport.conn().hold_for_receivers();
        }
    }

    fn peer_failed(&self, error: &WSProtocolError) {
        // A message that is too big takes what was received before along.
        let keeps_messages = error.code != WSCloseCode::MESSAGE_TOO_BIG;
        self.ended(CloseReason::new(error.code, &*error.message), keeps_messages);
    }

    /// Stops receiving; messages that are sent may still reach the peer.
    fn peer_ended(&self) {
        let wakers = {
            let mut state = self.state();
            if state.end.is_some() {
                return;
            }
            state.end = Some(Box::new(End { may_send: true, ..End::new(CloseReason::abnormal(), false) }));
            state.everybody()
        };
        self.wake(wakers);
    }
}

impl State {
    /// Whether the next message is still with the connection, and for the receiver at `place`.
    #[inline]
    fn may_pull(&self, place: Place) -> bool {
        self.inbox.is_next(place) && self.end.is_none() && !self.discards
    }

    fn is_full(&self) -> bool {
        self.inbox.holds(self.room) && !self.discards
    }
}
