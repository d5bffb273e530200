//! Accepting a request, or not.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::connection::WSTransport;
use crate::handshake::{WSHeaders, WSUpgradeResponse};
use crate::server::WSUpgradeResponseWithListener;

use super::listener::Under;
use super::shared::{End, ServerSide, Shared, wake};
use super::waiters::Place;
use super::{CloseReason, ReceiveEvent, SideState, StateError, WebSocket, WebSocketError};

/// What the response that accepts a request says. The default adds nothing.
///
/// ```
/// use femtows::message::AcceptOptions;
///
/// let options = AcceptOptions::new().subprotocol("chat").session_id("4711").header("X-Server", "1");
/// ```
#[derive(Clone, Debug, Default)]
pub struct AcceptOptions {
    subprotocol: Option<String>,
    session_id: Option<String>,
    headers: Vec<(String, String)>,
}

impl AcceptOptions {
    /// Nothing added.
    pub fn new() -> Self {
        Self::default()
    }

    /// The subprotocol (RFC 6455 section 1.9); the client must have offered it. Default none: there is no automatic choice.
    #[must_use]
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.subprotocol = Some(name.into());
        self
    }

    /// Adds a header. Those of the opening handshake (RFC 6455 section 4.2.2) are not for the
    /// application to set, except `Connection`, which is overridden as by
    /// [`WSUpgradeResponse::header`](crate::WSUpgradeResponse::header).
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds headers.
    #[must_use]
    pub fn headers(mut self, headers: &WSHeaders) -> Self {
        self.headers.extend(headers.iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
        self
    }

    /// Sets the cookie `session_id`, for all paths, out of reach of scripts, for TLS only. An empty one sets none.
    #[must_use]
    pub fn session_id(mut self, id: impl Into<String>) -> Self {
        self.session_id = Some(id.into());
        self
    }

    /// The response, if the request and the rules of HTTP allow it.
    fn response(&self, server: &ServerSide) -> Result<WSUpgradeResponse, WebSocketError> {
        let invalid = |error: &dyn std::fmt::Display| WebSocketError::argument(error.to_string());
        let mut response = WSUpgradeResponse::switching_protocols();
        if let Some(name) = &self.subprotocol {
            if !server.request.subprotocols().contains(name) {
                return Err(WebSocketError::state("the client has not offered this subprotocol"));
            }
            response = response.subprotocol(name).map_err(|error| invalid(&error))?;
        }
        for (name, value) in &self.headers {
            if name.eq_ignore_ascii_case("Sec-WebSocket-Protocol") {
                return Err(WebSocketError::argument(
                    "a subprotocol is chosen by `subprotocol`, not by a header",
                ));
            }
            response = response.header(name, value).map_err(|error| invalid(&error))?;
        }
        if let Some(id) = self.session_id.as_deref().filter(|id| !id.is_empty()) {
            if id.contains([';', '\r', '\n']) {
                return Err(WebSocketError::argument("the session id contains CR, LF or a semicolon"));
            }
            let cookie = format!("session_id={id}; Path=/; SameSite=Lax; HttpOnly; Secure;");
            response = response.header("Set-Cookie", &cookie).map_err(|error| invalid(&error))?;
        }
        Ok(response)
    }
}

impl WebSocket {
    /// Accepts the request and waits until the connection is open.
    ///
    /// # Errors
    /// Those of [`accept_with`](Self::accept_with).
    pub async fn accept(&self) -> Result<(), WebSocketError> {
        self.accept_with(AcceptOptions::new()).await
    }

    /// Accepts the request with a subprotocol, headers or a session, and waits until the connection is open.
    ///
    /// # Errors
    /// [`State`](WebSocketError::State) if there is nothing to decide any more, or the subprotocol was not offered;
    /// [`InvalidArgument`](WebSocketError::InvalidArgument) for headers that must not be sent; in both cases nothing has happened.
    /// [`Closed`](WebSocketError::Closed) with 1006 if the client has gone meanwhile.
    pub async fn accept_with(&self, options: AcceptOptions) -> Result<(), WebSocketError> {
        self.shared().start_accepting(&options)?;
        let mut waiting = Opening { shared: self.shared(), place: None };
        poll_fn(|cx| waiting.poll(cx.waker())).await
    }

    /// Refuses the request with this response, which must not be 101; then the connection is closed.
    ///
    /// # Errors
    /// [`State`](WebSocketError::State) if there is nothing to decide any more;
    /// [`InvalidArgument`](WebSocketError::InvalidArgument) for a 101.
    pub fn reject(&self, response: WSUpgradeResponse) -> Result<(), WebSocketError> {
        if response.status() == 101 {
            return Err(WebSocketError::argument("101 does not refuse"));
        }
        self.shared().refuse(response)
    }
}

/// A task that waits for the opening.
struct Opening<'a> {
    shared: &'a Rc<Shared>,
    place: Place,
}

impl Opening<'_> {
    fn poll(&mut self, waker: &Waker) -> Poll<Result<(), WebSocketError>> {
        if self.shared.transport().is_some() {
            return Poll::Ready(Ok(()));
        }
        let mut state = self.shared.state();
        if let Some(closed) = state.closed() {
            state.application = SideState::Disconnected;
            return Poll::Ready(Err(closed.into()));
        }
        let old = state.rare.openers.wait(&mut self.place, waker.clone());
        drop(state);
        drop(old);
        Poll::Pending
    }
}

impl Opening<'_> {
    /// Ready when the opening is done, or given up.
    fn poll_done(&mut self, waker: &Waker) -> Poll<()> {
        let mut state = self.shared.state();
        if !state.rare.is_opening {
            return Poll::Ready(());
        }
        let old = state.rare.openers.wait(&mut self.place, waker.clone());
        drop(state);
        drop(old);
        Poll::Pending
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.shared.leave_openers(&mut self.place);
    }
}

impl Shared {
    /// Sends the response that accepts. The state changes first.
    pub(super) fn start_accepting(self: &Rc<Self>, options: &AcceptOptions) -> Result<(), WebSocketError> {
        let server = self.undecided()?;
        let response = options.response(server)?;
        {
            let mut state = self.state();
            if state.client == SideState::Connecting {
                state.client = SideState::Connected;
            }
            state.application = SideState::Connected;
        }
        let chosen = options.subprotocol.as_deref().map(Box::from);
        // One request is accepted at most once.
        let _ = chosen.map(|name| server.subprotocol.set(name));
        let session = options.session_id.as_deref().filter(|id| !id.is_empty()).map(Box::from);
        let _ = session.map(|id| server.session_id.set(id));
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

    /// The connection, when its opening is done; `None` if it is not opened, or will not be.
    pub(super) async fn opening_done(self: &Rc<Self>) -> Option<&WSTransport> {
        let mut waiting = Opening { shared: self, place: None };
        poll_fn(|cx| waiting.poll_done(cx.waker())).await;
        self.transport()
    }

    /// Waits for the opening no more.
    pub(super) fn leave_openers(&self, place: &mut Place) {
        let left = self.state().rare.openers.leave(place);
        drop(left);
    }

    /// What only a request has that was not decided on yet.
    fn undecided(&self) -> Result<&ServerSide, WebSocketError> {
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
}
