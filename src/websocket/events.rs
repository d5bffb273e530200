//! One event at a time, and the states that they change.

use std::future::poll_fn;
use std::task::Poll;

use crate::handshake::WSUpgradeResponse;
use crate::messages::Message;
use crate::proto::WSCloseCode;

use super::shared::Shared;
use super::waiters::Place;
use super::{AcceptOptions, CloseReason, WebSocket, WebSocketError};

/// How far one side of a connection has come; see the picture at [`WebSocket`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SideState {
    /// Before the opening.
    Connecting,
    /// Open.
    Connected,
    /// Over.
    Disconnected,
}

/// What the peer has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiveEvent {
    /// It asks to be let in.
    Connect,
    /// It has sent a message.
    Receive(Message),
    /// It has closed, or is gone.
    Disconnect(CloseReason),
}

/// What the application does.
#[derive(Clone, Debug)]
pub enum SendEvent {
    /// Lets the client in.
    Accept(AcceptOptions),
    /// Sends a message.
    Send(Message),
    /// Closes; before `Accept`, refuses with 403.
    Close {
        /// The code.
        code: WSCloseCode,
        /// The reason.
        reason: String,
    },
    /// Refuses with a response of its own, in place of `Accept`.
    HttpResponse(WSUpgradeResponse),
}

impl WebSocket {
    /// What the application has seen of the peer. At a client this is the server.
    pub fn client_state(&self) -> SideState {
        self.shared().state().client
    }

    /// What the application has done.
    pub fn application_state(&self) -> SideState {
        self.shared().state_of_application()
    }

    /// The peer's next event: `Connect` first, at a server; then `Receive` until `Disconnect`.
    ///
    /// # Errors
    /// [`State`](WebSocketError::State) after `Disconnect`.
    pub async fn receive_event(&self) -> Result<ReceiveEvent, WebSocketError> {
        let shared = self.shared();
        if let Some(connect) = shared.take_connect() {
            return Ok(connect);
        }
        if self.client_state() == SideState::Disconnected {
            return Err(WebSocketError::state("the peer has disconnected, and this was received before"));
        }
        let mut waiting = Waiting { shared, place: None, opening: None };
        poll_fn(|cx| waiting.poll(cx.waker())).await
    }

    /// Does one thing: `Accept`, `Close` or `HttpResponse` first, at a server; then `Send` until `Close`.
    ///
    /// The state changes before anything is sent.
    ///
    /// # Errors
    /// [`State`](WebSocketError::State) for any other order, and once this end is `Disconnected`; otherwise those of [`accept_with`](Self::accept_with),
    /// [`send_message`](Self::send_message), [`close`](Self::close) and [`reject`](Self::reject).
    pub async fn send_event(&self, event: SendEvent) -> Result<(), WebSocketError> {
        match event {
            SendEvent::Accept(options) => self.accept_with(options).await,
            SendEvent::Send(message) => {
                self.shared().check_not_over()?;
                self.send_message(message).await
            }
            SendEvent::Close { code, reason } => self.close(code, &reason),
            SendEvent::HttpResponse(response) => self.reject(response),
        }
    }
}

/// A task that waits for an event, whether the connection is open or not.
struct Waiting<'a> {
    shared: &'a Shared,
    place: Place,
    opening: Place,
}

impl Waiting<'_> {
    fn poll(&mut self, waker: &std::task::Waker) -> Poll<Result<ReceiveEvent, WebSocketError>> {
        if self.shared.transport().is_none() {
            let mut state = self.shared.state();
            let Some(end) = state.end.clone() else {
                let old = state.rare.openers.wait(&mut self.opening, waker.clone());
                drop(state);
                drop(old);
                return Poll::Pending;
            };
            state.client = SideState::Disconnected;
            return Poll::Ready(Ok(ReceiveEvent::Disconnect(end.reason)));
        }
        match self.shared.poll_message(&mut self.place, waker) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(message)) => Poll::Ready(Ok(ReceiveEvent::Receive(message))),
            Poll::Ready(Err(WebSocketError::Closed(closed))) => {
                Poll::Ready(Ok(ReceiveEvent::Disconnect(closed.reason)))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.leave_openers(&mut self.opening);
        self.shared.leave_inbox(&mut self.place);
    }
}

impl Shared {
    /// Whether events may be sent. An I/O error disconnects and is told once; then it is the application's mistake to go on.
    fn check_not_over(&self) -> Result<(), WebSocketError> {
        let state = self.state();
        if state.application == SideState::Disconnected {
            return Err(state.closed_already("nothing can be sent after this end has disconnected").into());
        }
        Ok(())
    }

    pub(super) fn state_of_application(&self) -> SideState {
        self.state().application
    }
}
