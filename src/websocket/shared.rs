//! What all handles of one connection share, and the listener under it.

use std::cell::{Cell, OnceCell, RefCell, RefMut};
use std::fmt;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};

use crate::connection::{Offer, Receivers, WSTransport};
use crate::handshake::WSUpgradeRequest;
use crate::messages::{Message, bad_text};
use crate::proto::{WSCloseCode, WSProtocolError};
use crate::runtime::{Sleeper, WSLoopHandle};
use crate::server::WSUpgradeTicket;

use super::inbox::Inbox;
use super::pings::Pings;
use super::waiters::{Place, Waiters};
use super::{CloseReason, ConnectionClosed, SideState, StateError, WebSocketConfig, WebSocketError};

/// A connection, as all its handles, its futures and its listener see it.
///
/// # Invariants
/// - `state` is not borrowed while user code runs: when wakers are woken, and when they are dropped.
/// - `transport` is set from `on_ws_connected` on, and never changes.
/// - What each message needs are `state` and `transport`, and they are two cache lines: with many connections it is lines that count.
#[repr(C, align(64))]
pub(super) struct Shared {
    state: RefCell<State>,
    transport: OnceCell<WSTransport>,
    pub(super) config: Rc<WebSocketConfig>,
    pub(super) handle: WSLoopHandle,
    /// How many [`WebSocket`](super::WebSocket)s there are.
    pub(super) handles: Cell<usize>,
    pub(super) side: Side,
}

/// Which end this is, and what only that end has.
pub(super) enum Side {
    Client,
    Server(Box<ServerSide>),
}

/// What a server knows of a connection before it is open.
pub(super) struct ServerSide {
    pub(super) request: WSUpgradeRequest,
    /// Parameters of the route, by name.
    pub(super) parameters: Vec<(Box<str>, String)>,
    /// The right to decide, until it is used.
    pub(super) ticket: Cell<Option<WSUpgradeTicket>>,
    /// The session that `accept` has set.
    pub(super) session_id: OnceCell<Box<str>>,
    /// The subprotocol that `accept` has chosen.
    pub(super) subprotocol: OnceCell<Box<str>>,
}

impl ServerSide {
    pub(super) fn new(request: WSUpgradeRequest, parameters: Vec<(Box<str>, String)>) -> Self {
        Self {
            request,
            parameters,
            ticket: Cell::new(None),
            session_id: OnceCell::new(),
            subprotocol: OnceCell::new(),
        }
    }
}

/// What changes.
pub(super) struct State {
    /// What the application has seen of the peer.
    pub(super) client: SideState,
    /// What the application has done.
    pub(super) application: SideState,
    /// Delivery has stopped before the next message because the inbox is full.
    crowded: bool,
    /// Messages that arrive are dropped.
    discards: bool,
    /// Number of messages that may wait without a receiver.
    room: u32,
    /// How it ended, or is ending.
    pub(super) end: Option<Box<End>>,
    pub(super) inbox: Inbox,
    /// Tasks that wait to send; `None` until there was one.
    pub(super) writers: Option<Box<Waiters>>,
    pub(super) rare: Box<Rare>,
}

/// What changes rarely.
#[derive(Default)]
pub(super) struct Rare {
    pub(super) pings: Pings,
    /// Tasks that wait for the opening to be done, or for the end before it.
    pub(super) openers: Waiters,
    /// The request was accepted, and the opening is neither done nor given up.
    pub(super) is_opening: bool,
}

/// The end of a connection.
#[derive(Clone, Debug)]
pub(super) struct End {
    pub(super) reason: CloseReason,
    /// This end closed: nothing is received any more.
    pub(super) is_own: bool,
    /// The peer has ended its half of TCP only: what is sent may still reach it.
    pub(super) may_send: bool,
}

impl End {
    pub(super) fn new(reason: CloseReason, is_own: bool) -> Self {
        Self { reason, is_own, may_send: false }
    }

    /// Neither end has closed: I/O has failed.
    fn is_broken(&self) -> bool {
        !self.is_own && !self.may_send && self.reason.code == WSCloseCode::ABNORMAL_CLOSURE
    }
}

impl Shared {
    pub(super) fn new(handle: WSLoopHandle, config: Rc<WebSocketConfig>, side: Side) -> Rc<Self> {
        let state = match side {
            Side::Client => SideState::Connected,
            Side::Server(_) => SideState::Connecting,
        };
        Rc::new(Self {
            state: RefCell::new(State {
                client: state,
                application: state,
                crowded: false,
                discards: false,
                room: u32::try_from(config.message_queue_size).unwrap_or(u32::MAX),
                end: None,
                inbox: Inbox::default(),
                writers: None,
                rare: Box::default(),
            }),
            transport: OnceCell::new(),
            config,
            handle,
            handles: Cell::new(0),
            side,
        })
    }

    pub(super) fn state(&self) -> RefMut<'_, State> {
        self.state.borrow_mut()
    }

    /// The connection, once it is open.
    pub(super) fn transport(&self) -> Option<&WSTransport> {
        self.transport.get()
    }

    pub(super) fn server(&self) -> Option<&ServerSide> {
        match &self.side {
            Side::Client => None,
            Side::Server(server) => Some(server),
        }
    }

    /// The request is to be decided on by this.
    pub(super) fn decides_with(&self, ticket: WSUpgradeTicket) {
        if let Some(server) = self.server() {
            server.ticket.set(Some(ticket));
        }
    }

    // --- from the listener -------------------------------------------------------------------------------------------------

    /// The opening handshake is done.
    pub(super) fn opened(self: &Rc<Self>, transport: &WSTransport, pulls: bool) {
        transport.conn().serve(Rc::downgrade(self) as Weak<dyn Receivers>, pulls);
        // There is one listener, and one `on_ws_connected`.
        let _ = self.transport.set(transport.clone());
        let (wakers, ended) = {
            let mut state = self.state();
            state.rare.is_opening = false;
            let mut wakers: Vec<_> = state.rare.openers.take_wakers().collect();
            wakers.extend(state.take_writer());
            (wakers, state.end.clone())
        };
        wake(wakers);
        if let Some(end) = ended {
            // Closed between `accept` and the opening.
            transport.send_close(end.reason.code, &end.reason.reason);
        }
        // A queue of none is full from the beginning.
        self.hold_if_full();
    }

    /// A message has arrived.
    pub(super) fn received(&self, message: Message) {
        let waker = {
            let mut state = self.state();
            if state.discards {
                return;
            }
            state.inbox.push(message)
        };
        self.wake(waker);
        if let Some(transport) = self.transport() {
            transport.conn().yield_to_tasks();
        }
    }

    /// The peer has closed, or the connection is gone.
    pub(super) fn ended(&self, reason: CloseReason, keeps_messages: bool) {
        let wakers = {
            let mut state = self.state();
            if !keeps_messages {
                state.inbox.discard_messages();
            }
            match &mut state.end {
                // The peer had ended its half before; now the other half is gone, too.
                Some(end) if end.may_send => end.may_send = false,
                Some(_) => return,
                None => state.end = Some(Box::new(End::new(reason, false))),
            }
            state.everybody()
        };
        self.wake(wakers);
    }

    /// The listener goes: what was not opened will not be.
    pub(super) fn left(&self) {
        let wakers: Vec<_> = {
            let mut state = self.state();
            state.rare.is_opening = false;
            state.rare.openers.take_wakers().collect()
        };
        wake(wakers);
        self.ended(CloseReason::abnormal(), true);
    }

    // --- receiving ---------------------------------------------------------------------------------------------------------

    /// The next message for the receiver at `place`, or why there is none.
    #[inline]
    pub(super) fn poll_message(
        &self,
        place: &mut Place,
        waker: &Waker,
    ) -> Poll<Result<Message, WebSocketError>> {
        // Mostly a poll finds nothing lent and waits, or is the one that the bytes were lent for.
        match self.transport() {
            Some(transport) if transport.conn().lends() => self.poll_lent(transport, place, waker),
            _ => self.poll_queue(place, waker),
        }
    }

    /// Takes a message straight from the bytes that have arrived, if the receiver at `place` may.
    #[inline(never)]
    fn poll_lent(
        &self,
        transport: &WSTransport,
        place: &mut Place,
        waker: &Waker,
    ) -> Poll<Result<Message, WebSocketError>> {
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
                transport.conn().peer_failed(&bad_text());
                return self.poll_queue(place, waker);
            };
            self.leave_first(place);
            return Poll::Ready(Ok(Message::Text(text.into_string())));
        }
        let bytes = pull.to_bytes();
        pull.finish();
        self.leave_first(place);
        Poll::Ready(Ok(Message::Binary(bytes.into())))
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
    fn poll_queue(&self, place: &mut Place, waker: &Waker) -> Poll<Result<Message, WebSocketError>> {
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
    fn poll_queued(&self, place: &mut Place, waker: &Waker) -> Poll<Result<Message, WebSocketError>> {
        let mut state = self.state();
        if state.application == SideState::Connecting {
            return Poll::Ready(Err(not_accepted()));
        }
        let (polled, left) = match (state.inbox.take(place), state.closed()) {
            (Some((message, left)), _) => (Poll::Ready(Ok(message)), left),
            (None, Some(closed)) => {
                state.client = SideState::Disconnected;
                (Poll::Ready(Err(closed.into())), state.inbox.leave(place).1)
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
    pub(super) fn leave_inbox(&self, place: &mut Place) {
        let (next, left) = self.state().inbox.leave(place);
        drop(left);
        self.wake(next);
        self.hold_if_full();
    }

    /// Delivers again, if that was paused.
    fn resume(&self) {
        let was_crowded = std::mem::take(&mut self.state().crowded);
        if was_crowded && let Some(transport) = self.transport() {
            transport.conn().release_for_receivers();
        }
    }

    /// Drops the messages that wait and those that will arrive.
    pub(super) fn discard_incoming(&self) {
        {
            let mut state = self.state();
            state.discards = true;
            state.inbox.discard_messages();
        }
        self.resume();
    }

    /// Wakes receivers, and whoever else waits.
    fn wake(&self, sleepers: impl IntoIterator<Item = Sleeper>) {
        for sleeper in sleepers {
            self.handle.core().tasks().wake(sleeper);
        }
    }

    // --- closing -----------------------------------------------------------------------------------------------------------

    /// This end closes an open connection. `Err` if it has done so before.
    pub(super) fn close(&self, code: WSCloseCode, reason: &str) -> Result<(), StateError> {
        let wakers = {
            let mut state = self.state();
            if state.application == SideState::Disconnected {
                return Err(state.closed_already("the connection was closed before"));
            }
            state.application = SideState::Disconnected;
            if state.end.is_none() {
                state.end = Some(Box::new(End::new(CloseReason::new(code, reason), true)));
                state.discards = true;
                state.inbox.discard_messages();
            }
            state.everybody()
        };
        if let Some(transport) = self.transport() {
            transport.send_close(code, reason);
        }
        // The peer's CLOSE is behind what is not read yet.
        self.resume();
        self.wake(wakers);
        Ok(())
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
                transport.conn().wake(waker);
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

    /// Why nothing can be sent, if so.
    pub(super) fn check_sendable(&mut self) -> Result<(), WebSocketError> {
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

    pub(super) fn closed_already(&self, message: &'static str) -> StateError {
        let reason = self.end.as_ref().map_or_else(CloseReason::abnormal, |end| end.reason.clone());
        StateError::closed(message, reason)
    }

    /// The connection is closed, for whoever waits for something else.
    pub(super) fn closed(&self) -> Option<ConnectionClosed> {
        self.end.as_ref().map(|end| ConnectionClosed { reason: end.reason.clone() })
    }

    /// Everybody who waits: they will find the end.
    fn everybody(&mut self) -> Vec<Sleeper> {
        let mut sleepers: Vec<_> = self.inbox.take_receivers().collect();
        let writers = self.writers.iter_mut().flat_map(|writers| writers.take_wakers());
        let others = self.rare.openers.take_wakers().chain(self.rare.pings.take_wakers());
        sleepers.extend(writers.chain(others).map(Sleeper::Waker));
        sleepers
    }
}

pub(super) fn not_accepted() -> WebSocketError {
    WebSocketError::state("the connection was not accepted yet")
}

pub(super) fn wake(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        waker.wake();
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.borrow();
        f.debug_struct("WebSocket")
            .field("client_state", &state.client)
            .field("application_state", &state.application)
            .field("end", &state.end)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_message_needs_is_two_cache_lines() {
        let hot = std::mem::offset_of!(Shared, config);
        assert!(hot <= 128, "{hot} bytes");
    }
}
