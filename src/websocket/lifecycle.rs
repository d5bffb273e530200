//! How a [`WebSocket`] opens and closes, and what is known of it.

use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use crate::connection::WSTransport;
use crate::handshake::{WSHeaders, WSUpgradeResponse};
use crate::proto::{WSCloseCode, WSDisconnectCause};
use crate::runtime::{Token, WSLoopHandle};
use crate::server::WSUpgradeRequest;

use super::shared::{ServerSide, Shared};
use super::waiters::Place;
use super::{CloseReason, ConnectionClosed, HandlerError, WebSocket, WebSocketError, code_of_drop};

/// The cookie that sessions go by.
const SESSION: &str = "session_id";

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
            if !server.request().subprotocols().contains(name) {
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
        if let Some(id) = self.session() {
            if id.contains([';', '\r', '\n']) {
                return Err(WebSocketError::argument("the session id contains CR, LF or a semicolon"));
            }
            let cookie = format!("session_id={id}; Path=/; SameSite=Lax; HttpOnly; Secure;");
            response = response.header("Set-Cookie", &cookie).map_err(|error| invalid(&error))?;
        }
        Ok(response)
    }

    /// Accepts the request of `shared`, if it was not decided on.
    fn accept(&self, shared: &Rc<Shared>) -> Result<(), WebSocketError> {
        let response = self.response(shared.undecided()?)?;
        shared.accept(response, self.subprotocol.as_deref(), self.session())
    }

    fn session(&self) -> Option<&str> {
        self.session_id.as_deref().filter(|id| !id.is_empty())
    }
}

impl WebSocket {
    pub(super) fn new(shared: Rc<Shared>) -> Self {
        shared.add_handle();
        Self { shared, places: None }
    }

    #[inline]
    pub(super) fn shared(&self) -> &Rc<Shared> {
        &self.shared
    }

    // --- opening and closing -----------------------------------------------------------------------------------------------

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
        let shared = self.shared();
        options.accept(shared)?;
        let mut waiting = Opening { shared, place: None };
        poll_fn(|cx| shared.poll_opened(&mut waiting.place, cx.waker())).await
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

    /// Closes the connection, and does not wait for the peer to do its part: sends CLOSE. What was received and not taken is
    /// dropped; tasks that wait for something get [`Closed`](WebSocketError::Closed). TCP is closed when the peer has answered, at
    /// the latest after the [`disconnect_timeout`](crate::message::WebSocketConfig::disconnect_timeout).
    ///
    /// 1005 is sent as CLOSE without a code, 1006 and 1015 as 1000. The reason is cut to 123 bytes at a character boundary.
    ///
    /// Before [`accept`](Self::accept) this refuses the opening handshake, with 403.
    ///
    /// # Errors
    /// [`State`](WebSocketError::State) if this end has closed before;
    /// [`InvalidArgument`](WebSocketError::InvalidArgument) if the code must not be sent (RFC 6455 section 7.4).
    pub fn close(&self, code: impl Into<WSCloseCode>, reason: &str) -> Result<(), WebSocketError> {
        let code = sendable(code.into())?;
        self.shared().close_or_refuse(code, reason)
    }

    /// Accepts if that was not done yet, runs `body`, and closes in any case: with 1000 if the body succeeds, with 1011 if it fails;
    /// not at all if it has closed by itself, or the peer has. Dropped before the body is done, it closes with 1000, or 1011 in a
    /// panic.
    ///
    /// `None` if the body failed because the connection was closed, with a code that
    /// [`catch_disconnect`](crate::message::WebSocketConfig::catch_disconnect) names.
    ///
    /// ```no_run
    /// # use femtows::message::*;
    /// async fn greet(ws: WebSocket) -> Result<(), HandlerError> {
    ///     ws.with(async |ws| {
    ///         let name = ws.receive_text().await?;
    ///         ws.send_text(format!("Hello, {name}")).await?;
    ///         Ok(())
    ///     })
    ///     .await?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// The body's, unless it is caught; those of [`accept`](Self::accept).
    pub async fn with<T>(
        &self,
        body: impl AsyncFnOnce(WebSocket) -> Result<T, HandlerError>,
    ) -> Result<Option<T>, HandlerError> {
        if self.application_state() == SideState::Connecting {
            self.accept().await?;
        }
        let _block = Block(self);
        let result = body(self.clone()).await;
        self.finish(&result);
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) => match disconnect_in(&*error) {
                Some(reason) if self.shared().config().catch_disconnect.catches(reason.code) => Ok(None),
                _ => Err(error),
            },
        }
    }

    /// Closes as the outcome of a handler asks for; refuses, if the request was not decided on.
    pub(super) fn finish<T>(&self, result: &Result<T, HandlerError>) {
        // In each case an error says only that it is closed already.
        let _ = match failure_in(result) {
            None => self.close(WSCloseCode::OK, ""),
            Some(_) if self.application_state() == SideState::Connecting => {
                self.reject(WSUpgradeResponse::internal_error())
            }
            Some(error) => {
                let exposed = self.shared().config().expose_errors.then(|| error.to_string());
                self.close(WSCloseCode::INTERNAL_ERROR, &exposed.unwrap_or_default())
            }
        };
    }

    // --- facts -------------------------------------------------------------------------------------------------------------

    /// Why the connection is closed, or closing; `None` while it is open, and before.
    ///
    /// If both ends close, this is what the application of this end learnt first: its own close, or the peer's.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.shared().close_reason()
    }

    /// Returns `true` if the connection is closed or closing, and after a half-close of the peer,
    /// though messages that are sent may still reach it.
    pub fn is_closed(&self) -> bool {
        self.shared().is_ended()
    }

    /// Returns `true` if this is the client's end of the connection.
    pub fn is_client(&self) -> bool {
        // A server's connection that was taken over has no request to decide on, as a client's has none.
        match self.shared().transport() {
            Some(transport) => transport.is_client_side(),
            None => self.shared().server().is_none(),
        }
    }

    /// The request that opened the connection; `None` at a client whose
    /// [`keep_handshake`](crate::WSTuning::keep_handshake) is off.
    pub fn request(&self) -> Option<WSUpgradeRequest> {
        if let Some(server) = self.shared().server() {
            return Some(server.request().clone());
        }
        let transport = self.transport()?;
        let (head, token) = (transport.request()?.clone(), Token::from_u64(transport.id()));
        Some(WSUpgradeRequest::new(head, transport.handle(), token))
    }

    /// A parameter of the path, as the route names it: see [`Routes`](crate::message::Routes).
    pub fn path_parameter(&self, name: &str) -> Option<&str> {
        self.shared().server()?.request().path_parameter(name)
    }

    /// The subprotocol that was agreed on.
    pub fn subprotocol(&self) -> Option<String> {
        match self.shared().server() {
            Some(server) => server.subprotocol().map(str::to_owned),
            None => self.transport()?.subprotocol(),
        }
    }

    /// Returns the loop of the connection: for timers, timeouts and further tasks.
    pub fn handle(&self) -> &WSLoopHandle {
        self.shared().handle()
    }

    /// Returns the local address.
    ///
    /// # Errors
    /// When the connection is gone; at a client also before it is open.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match (self.transport(), self.shared().server()) {
            (Some(transport), _) => transport.local_addr(),
            (None, Some(server)) => server.request().local_addr(),
            (None, None) => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Returns the peer's address.
    ///
    /// # Errors
    /// When the connection is gone; at a client also before it is open.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        match (self.transport(), self.shared().server()) {
            (Some(transport), _) => transport.peer_addr(),
            (None, Some(server)) => server.request().peer_addr(),
            (None, None) => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// The connection below, once it is open: for measurements, socket options and what else tasks rarely want. What is sent through
    /// it comes in between the messages of this.
    pub fn transport(&self) -> Option<&WSTransport> {
        self.shared().transport()
    }
}

/// Names of other libraries, to be moved to `compat`.
impl WebSocket {
    /// Closes the connection and waits until the closing handshake is complete. Idempotent: if this
    /// end has closed before, only waits; if the connection is gone, is done.
    ///
    /// A server has then closed TCP. A client leaves that to the server (RFC 6455 section 7.1.1):
    /// if the server does not do it, the client closes TCP in the background, after at most two
    /// seconds.
    ///
    /// Dropped half-way, the connection still ends, as after [`close`](Self::close).
    ///
    /// # Errors
    /// [`DisconnectionTimeout`](WebSocketError::DisconnectionTimeout) if the peer did not do its part in time; TCP is closed all the
    /// same. [`InvalidArgument`](WebSocketError::InvalidArgument) as for [`close`](Self::close).
    pub async fn aclose(&self, code: impl Into<WSCloseCode>, reason: &str) -> Result<(), WebSocketError> {
        let code = sendable(code.into())?;
        let shared = self.shared();
        // Only if it is closed already, which is as good.
        let _ = shared.close_or_refuse(code, reason);
        // It may have been accepted a moment ago.
        {
            let mut waiting = Opening { shared, place: None };
            poll_fn(|cx| shared.poll_opening_done(&mut waiting.place, cx.waker())).await;
        }
        let Some(transport) = shared.transport() else { return Ok(()) };
        // The cause of the end does not matter here, but for two cases.
        let _ = transport.conn().closing_done().await;
        match transport.disconnect_info() {
            // Either way the peer did not do its part: it has not answered, or not even read.
            Some(info) => match info.cause {
                WSDisconnectCause::CloseTimeout | WSDisconnectCause::WriteTimeout => {
                    Err(WebSocketError::DisconnectionTimeout)
                }
                _ => Ok(()),
            },
            None => Ok(()),
        }
    }

    /// What the application has seen of the peer. At a client this is the server.
    pub fn client_state(&self) -> SideState {
        self.shared().client()
    }

    /// What the application has done.
    pub fn application_state(&self) -> SideState {
        self.shared().application()
    }

    /// Whether this is the server's end.
    pub fn is_server(&self) -> bool {
        !self.is_client()
    }

    /// Whether the request was accepted; true at a client.
    pub fn accepted(&self) -> bool {
        match self.shared().transport() {
            Some(_) => true,
            None => self.application_state() == SideState::Connected,
        }
    }

    /// The headers of the request.
    pub fn headers(&self) -> WSHeaders {
        self.request().map(|request| request.headers()).unwrap_or_default()
    }

    /// Returns the path of the request without the query, as
    /// [`WSRequestHead::path`](crate::WSRequestHead::path) does.
    pub fn path(&self) -> String {
        self.request().map(|request| request.path().to_owned()).unwrap_or_default()
    }

    /// Returns the whole URL of the request, put together from scheme,
    /// [`host`](crate::WSRequestHead::host), path and query.
    pub fn url(&self) -> String {
        let Some(request) = self.request() else { return String::new() };
        let is_secure = request.is_secure() || self.transport().is_some_and(WSTransport::is_secure);
        let scheme = if is_secure { "wss" } else { "ws" };
        let (host, path) = (request.host().unwrap_or_default(), request.path());
        let query = request.query().map(|query| format!("?{query}")).unwrap_or_default();
        format!("{scheme}://{host}{path}{query}")
    }

    /// Returns the first value of a parameter of the query, decoded; `+` is a space.
    pub fn query_parameter(&self, name: &str) -> Option<String> {
        Some(self.request()?.query_parameter(name)?.into_owned())
    }

    /// Returns all parameters of the query in their order, decoded; `+` is a space.
    pub fn query_parameters(&self) -> Vec<(String, String)> {
        let Some(request) = self.request() else { return Vec::new() };
        let pairs = request.query_parameters();
        pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
    }

    /// The subprotocols that the client offered, the preferred one first; repeated headers are one list.
    pub fn proposed_subprotocols(&self) -> Vec<String> {
        self.request().map(|request| request.subprotocols()).unwrap_or_default()
    }

    /// The first of `supported` that the client offered. It is not agreed on before
    /// [`accept_with`](Self::accept_with) is given it.
    pub fn select_subprotocol<'a>(&self, supported: &[&'a str]) -> Option<&'a str> {
        let offered = self.proposed_subprotocols();
        supported.iter().copied().find(|name| offered.iter().any(|offer| offer == name))
    }

    /// The session: what [`accept_with`](Self::accept_with) has set, else the request's cookie `session_id`.
    pub fn session_id(&self) -> Option<String> {
        let server = self.shared().server()?;
        if let Some(set) = server.session_id() {
            return Some(set.to_owned());
        }
        let headers = server.request().headers();
        let cookies = headers.get_all("cookie").flat_map(|cookies| cookies.split(';'));
        let mut pairs = cookies.filter_map(|cookie| cookie.split_once('='));
        pairs.find(|(name, _)| name.trim() == SESSION).map(|(_, value)| value.trim().to_owned())
    }

    /// How long the closing handshake may take.
    pub fn disconnect_timeout(&self) -> Duration {
        self.shared().config().disconnect_timeout
    }
}

/// A task that waits for the opening.
struct Opening<'a> {
    shared: &'a Shared,
    place: Place,
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.shared.leave_openers(&mut self.place);
    }
}

/// The code that goes on the wire.
fn sendable(code: WSCloseCode) -> Result<WSCloseCode, WebSocketError> {
    match code {
        WSCloseCode::NO_INFO => Ok(code),
        WSCloseCode::ABNORMAL_CLOSURE | WSCloseCode::TLS_HANDSHAKE => Ok(WSCloseCode::OK),
        code if code.is_valid_on_wire() => Ok(code),
        code => Err(WebSocketError::argument(format!("{code} must not be sent"))),
    }
}

/// A connection that is closed when this is dropped, if it was not before: its block was left half-way.
pub(super) struct Block<'a>(pub(super) &'a WebSocket);

impl Drop for Block<'_> {
    fn drop(&mut self) {
        // Mostly it is closed already.
        let _ = self.0.close(code_of_drop(), "");
    }
}

/// Why a handler failed, if it did: that the connection is closed is no failure.
pub(super) fn failure_in<T>(result: &Result<T, HandlerError>) -> Option<&HandlerError> {
    result.as_ref().err().filter(|error| disconnect_in(&***error).is_none())
}

/// The reason of the end, if the error, or what it came from, says that the connection was closed.
fn disconnect_in<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e CloseReason> {
    // `WebSocketError::Closed` has it as its source.
    let mut causes = std::iter::successors(Some(error), |&error| error.source());
    causes.find_map(|cause| cause.downcast_ref::<ConnectionClosed>()).map(|closed| &closed.reason)
}
