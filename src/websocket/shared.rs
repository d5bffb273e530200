//! What all handles of one connection share, and the listener under it: how it opens, and how it ends.

mod receiving;
mod sending;

use std::cell::{Cell, OnceCell, RefCell, RefMut};
use std::fmt;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};

use crate::connection::{Receivers, WSTransport};
use crate::handshake::WSUpgradeResponse;
use crate::proto::WSCloseCode;
use crate::runtime::{Sleeper, WSLoopHandle};
use crate::server::{WSUpgradeRequest, WSUpgradeResponseWithListener, WSUpgradeTicket};

use super::inbox::Inbox;
use super::listener::Under;
use super::pings::Pings;
use super::waiters::{Place, Waiters};
use super::{
    CloseReason, ConnectionClosed, ReceiveEvent, SideState, StateError, WebSocketConfig, WebSocketError,
};

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
    config: Rc<WebSocketConfig>,
    handle: WSLoopHandle,
    /// How many [`WebSocket`](super::WebSocket)s there are.
    handles: Cell<usize>,
    side: Side,
}

/// Which end this is, and what only that end has.
pub(super) enum Side {
    Client,
    Server(Box<ServerSide>),
}

/// What a server knows of a connection before it is open.
pub(super) struct ServerSide {
    request: WSUpgradeRequest,
    /// The right to decide, until it is used.
    ticket: Cell<Option<WSUpgradeTicket>>,
    /// The session that `accept` has set.
    session_id: OnceCell<Box<str>>,
    /// The subprotocol that `accept` has chosen.
    subprotocol: OnceCell<Box<str>>,
}

impl ServerSide {
    pub(super) fn new(request: WSUpgradeRequest) -> Self {
        Self { request, ticket: Cell::new(None), session_id: OnceCell::new(), subprotocol: OnceCell::new() }
    }

    pub(super) fn request(&self) -> &WSUpgradeRequest {
        &self.request
    }

    pub(super) fn session_id(&self) -> Option<&str> {
        self.session_id.get().map(|id| &**id)
    }

    pub(super) fn subprotocol(&self) -> Option<&str> {
        self.subprotocol.get().map(|name| &**name)
    }
}

/// What changes.
struct State {
    /// What the application has seen of the peer.
    client: SideState,
    /// What the application has done.
    application: SideState,
    /// Delivery has stopped before the next message because the inbox is full.
    crowded: bool,
    /// Messages that arrive are dropped.
    discards: bool,
    /// Number of messages that may wait without a receiver.
    room: u32,
    /// How it ended, or is ending.
    end: Option<Box<End>>,
    inbox: Inbox,
    /// Tasks that wait to send; `None` until there was one.
    writers: Option<Box<Waiters>>,
    rare: Box<Rare>,
}

/// What changes rarely.
#[derive(Default)]
struct Rare {
    pings: Pings,
    /// Tasks that wait for the opening to be done, or for the end before it.
    openers: Waiters,
    /// The request was accepted, and the opening is neither done nor given up.
    is_opening: bool,
}

/// The end of a connection.
#[derive(Clone, Debug)]
struct End {
    reason: CloseReason,
    /// This end closed: nothing is received any more.
    is_own: bool,
    /// The peer has ended its half of TCP only: what is sent may still reach it.
    may_send: bool,
}

impl End {
    fn new(reason: CloseReason, is_own: bool) -> Self {
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

    fn state(&self) -> RefMut<'_, State> {
        self.state.borrow_mut()
    }

    /// Wakes receivers, and other tasks that wait.
    fn wake(&self, sleepers: impl IntoIterator<Item = Sleeper>) {
        for sleeper in sleepers {
            self.handle.core().tasks().wake(sleeper);
        }
    }

    /// The connection, once it is open.
    #[inline]
    pub(super) fn transport(&self) -> Option<&WSTransport> {
        self.transport.get()
    }

    pub(super) fn handle(&self) -> &WSLoopHandle {
        &self.handle
    }

    pub(super) fn config(&self) -> &WebSocketConfig {
        &self.config
    }

    /// Counts a [`WebSocket`](super::WebSocket).
    pub(super) fn add_handle(&self) {
        self.handles.set(self.handles.get() + 1);
    }

    /// Counts one less. The last one closes the connection with this code.
    pub(super) fn drop_handle(&self, code: impl FnOnce() -> WSCloseCode) {
        let others = self.handles.get() - 1;
        self.handles.set(others);
        if others == 0 {
            self.abandon(code());
        }
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
            transport.conn().send_close(end.reason.code, &end.reason.reason);
        }
        // A queue of none is full from the beginning.
        self.hold_if_full();
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

    // --- opening -----------------------------------------------------------------------------------------------------------

    /// Sends the response that accepts, with which the application has chosen these. The state changes first.
    pub(super) fn accept(
        self: &Rc<Self>,
        response: WSUpgradeResponse,
        subprotocol: Option<&str>,
        session_id: Option<&str>,
    ) -> Result<(), WebSocketError> {
        let server = self.undecided()?;
        {
            let mut state = self.state();
            if state.client == SideState::Connecting {
                state.client = SideState::Connected;
            }
            state.application = SideState::Connected;
        }
        // One request is accepted at most once.
        let _ = subprotocol.map(|name| server.subprotocol.set(name.into()));
        let _ = session_id.map(|id| server.session_id.set(id.into()));
        if let Some(ticket) = server.ticket.take() {
            self.state().rare.is_opening = true;
            let listener = WSUpgradeResponseWithListener::new(response, Under::new(Rc::clone(self)))
                .expect("the response is 101");
            ticket.accept_with(listener);
        }
        Ok(())
    }

    /// Sends a response that refuses. The state changes first.
    pub(super) fn refuse(&self, response: WSUpgradeResponse) -> Result<(), WebSocketError> {
        let server = self.undecided()?;
        let wakers: Vec<_> = {
            let mut state = self.state();
            state.application = SideState::Disconnected;
            state.end.get_or_insert_with(|| Box::new(End::new(CloseReason::abnormal(), true)));
            state.rare.openers.take_wakers().collect()
        };
        if let Some(ticket) = server.ticket.take() {
            ticket.reject(response);
        }
        wake(wakers);
        Ok(())
    }

    /// Ready when the opening is done, and not when it is given up: that is an error.
    pub(super) fn poll_opened(&self, place: &mut Place, waker: &Waker) -> Poll<Result<(), WebSocketError>> {
        if self.transport().is_some() {
            return Poll::Ready(Ok(()));
        }
        let mut state = self.state();
        if let Some(closed) = state.closed() {
            state.application = SideState::Disconnected;
            return Poll::Ready(Err(closed.into()));
        }
        Self::wait_for_opening(state, place, waker);
        Poll::Pending
    }

    /// Ready when the opening is done, or given up.
    pub(super) fn poll_opening_done(&self, place: &mut Place, waker: &Waker) -> Poll<()> {
        let state = self.state();
        if !state.rare.is_opening {
            return Poll::Ready(());
        }
        Self::wait_for_opening(state, place, waker);
        Poll::Pending
    }

    /// Ready when a connection that is not open has ended; for a task that waits for an event.
    pub(super) fn poll_unopened(&self, place: &mut Place, waker: &Waker) -> Poll<CloseReason> {
        let mut state = self.state();
        let Some(end) = state.end.clone() else {
            Self::wait_for_opening(state, place, waker);
            return Poll::Pending;
        };
        state.client = SideState::Disconnected;
        Poll::Ready(end.reason)
    }

    fn wait_for_opening(mut state: RefMut<'_, State>, place: &mut Place, waker: &Waker) {
        let old = state.rare.openers.wait(place, waker.clone());
        drop(state);
        drop(old);
    }

    /// Waits for the opening no more.
    pub(super) fn leave_openers(&self, place: &mut Place) {
        let left = self.state().rare.openers.leave(place);
        drop(left);
    }

    /// What only a request has that was not decided on yet.
    pub(super) fn undecided(&self) -> Result<&ServerSide, WebSocketError> {
        let state = self.state();
        match (state.application, self.server()) {
            (SideState::Connecting, Some(server)) => Ok(server),
            (SideState::Disconnected, _) => {
                Err(state.closed_already("the connection was refused or closed").into())
            }
            _ => Err(StateError::new("the connection was accepted before").into()),
        }
    }

    /// The client has gone, or the time for a decision, before there was one.
    pub(super) fn given_up(&self) {
        self.ended(CloseReason::abnormal(), false);
    }

    /// The next event of the client before the connection is open.
    pub(super) fn take_connect(&self) -> Option<ReceiveEvent> {
        let mut state = self.state();
        (state.client == SideState::Connecting).then(|| {
            state.client = SideState::Connected;
            ReceiveEvent::Connect
        })
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
            transport.conn().send_close(code, reason);
        }
        // The peer's CLOSE is behind what is not read yet.
        self.resume();
        self.wake(wakers);
        Ok(())
    }

    /// Closes; before the decision on the request, refuses it.
    pub(super) fn close_or_refuse(&self, code: WSCloseCode, reason: &str) -> Result<(), WebSocketError> {
        if self.state().application == SideState::Connecting {
            return self.refuse(WSUpgradeResponse::forbidden());
        }
        Ok(self.close(code, reason)?)
    }

    /// The last handle is dropped.
    fn abandon(&self, code: WSCloseCode) {
        let _ = match self.application() {
            SideState::Connecting if code != WSCloseCode::OK => {
                self.refuse(WSUpgradeResponse::internal_error())
            }
            _ => self.close_or_refuse(code, ""),
        };
    }

    /// Whether events may be sent. An I/O error disconnects and is told once; then it is the application's mistake to go on.
    pub(super) fn check_not_over(&self) -> Result<(), WebSocketError> {
        let state = self.state();
        if state.application == SideState::Disconnected {
            return Err(state.closed_already("nothing can be sent after this end has disconnected").into());
        }
        Ok(())
    }

    // --- facts -------------------------------------------------------------------------------------------------------------

    /// What the application has done.
    pub(super) fn application(&self) -> SideState {
        self.state().application
    }

    /// What the application has seen of the peer.
    pub(super) fn client(&self) -> SideState {
        self.state().client
    }

    pub(super) fn close_reason(&self) -> Option<CloseReason> {
        self.state().end.as_ref().map(|end| end.reason.clone())
    }

    pub(super) fn is_ended(&self) -> bool {
        self.state().end.is_some()
    }
}

impl State {
    fn closed_already(&self, message: &'static str) -> StateError {
        let reason = self.end.as_ref().map_or_else(CloseReason::abnormal, |end| end.reason.clone());
        StateError::closed(message, reason)
    }

    /// The connection is closed, for whoever waits for something else.
    fn closed(&self) -> Option<ConnectionClosed> {
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

fn wake(wakers: impl IntoIterator<Item = Waker>) {
    wakers.into_iter().for_each(crate::runtime::wake);
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
