//! What is known of a connection.

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::target::Target;
use crate::connection::WSTransport;
use crate::handshake::{WSHeaders, WSUpgradeRequest};

use super::{CloseReason, SideState, WebSocket};

/// The cookie that sessions go by.
const SESSION: &str = "session_id";

impl WebSocket {
    /// Why the connection is closed, or closing; `None` while it is open, and before.
    ///
    /// If both ends close, this is what the application of this end learnt first: its own close, or the peer's.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.shared().state().end.as_ref().map(|end| end.reason.clone())
    }

    /// Returns `true` if the connection is closed or closing, and after a half-close of the peer,
    /// though messages that are sent may still reach it.
    pub fn is_closed(&self) -> bool {
        self.shared().state().end.is_some()
    }

    /// Whether this is the client's end.
    pub fn is_client(&self) -> bool {
        self.shared().server().is_none()
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

    /// The request that opened the connection; `None` at a client whose
    /// [`keep_handshake`](crate::WSTuning::keep_handshake) is off.
    pub fn request(&self) -> Option<WSUpgradeRequest> {
        match self.shared().server() {
            Some(server) => Some(server.request.clone()),
            None => self.transport()?.request().cloned(),
        }
    }

    /// The headers of the request.
    pub fn headers(&self) -> WSHeaders {
        self.request().map(|request| request.headers()).unwrap_or_default()
    }

    /// Path and query of the request, as they were sent, such as `/chat/lobby?since=5`.
    pub fn path(&self) -> String {
        let request = self.request();
        request.map(|request| Target::of(request.path()).path_and_query().into_owned()).unwrap_or_default()
    }

    /// The whole URL of the request, put together from scheme, `Host`, path and query.
    pub fn url(&self) -> String {
        let Some(request) = self.request() else { return String::new() };
        let is_secure = request.is_secure() || self.transport().is_some_and(WSTransport::is_secure);
        let scheme = if is_secure { "wss" } else { "ws" };
        let target = Target::of(request.path());
        let host = target.authority.map(Cow::from).or_else(|| request.host()).unwrap_or_default();
        format!("{scheme}://{host}{}", target.path_and_query())
    }

    /// A parameter of the path, as the route names it: see [`Routes`](crate::message::Routes).
    pub fn path_parameter(&self, name: &str) -> Option<&str> {
        let parameters = &self.shared().server()?.parameters;
        parameters.iter().find(|(known, _)| **known == *name).map(|(_, value)| value.as_str())
    }

    /// The first value of a parameter of the query, decoded; `+` is a space.
    pub fn query_parameter(&self, name: &str) -> Option<String> {
        let request = self.request()?;
        let mut pairs = url::form_urlencoded::parse(request.query()?.as_bytes());
        pairs.find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
    }

    /// All parameters of the query in their order, decoded; `+` is a space.
    pub fn query_parameters(&self) -> Vec<(String, String)> {
        let Some(request) = self.request() else { return Vec::new() };
        let query = request.query().unwrap_or_default();
        url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
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

    /// The subprotocol that was agreed on.
    pub fn subprotocol(&self) -> Option<String> {
        match self.shared().server() {
            Some(server) => server.subprotocol.get().map(ToString::to_string),
            None => self.transport()?.subprotocol(),
        }
    }

    /// The session: what [`accept_with`](Self::accept_with) has set, else the request's cookie `session_id`.
    pub fn session_id(&self) -> Option<String> {
        let server = self.shared().server()?;
        if let Some(set) = server.session_id.get() {
            return Some(set.to_string());
        }
        let headers = server.request.headers();
        let cookies = headers.get_all("cookie").flat_map(|cookies| cookies.split(';'));
        let mut pairs = cookies.filter_map(|cookie| cookie.split_once('='));
        pairs.find(|(name, _)| name.trim() == SESSION).map(|(_, value)| value.trim().to_owned())
    }

    /// The local address.
    ///
    /// # Errors
    /// When the connection is not open yet, or gone.
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.transport().ok_or(io::ErrorKind::NotConnected)?.local_addr()
    }

    /// The peer's address.
    ///
    /// # Errors
    /// When the connection is not open yet, or gone.
    pub fn remote(&self) -> io::Result<SocketAddr> {
        self.transport().ok_or(io::ErrorKind::NotConnected)?.peer_addr()
    }

    /// The connection below, once it is open: for measurements, socket options and what else tasks rarely want. What is sent through
    /// it comes in between the messages of this.
    pub fn transport(&self) -> Option<&WSTransport> {
        self.shared().transport()
    }

    /// How long the closing handshake may take.
    pub fn disconnect_timeout(&self) -> Duration {
        self.shared().config.disconnect_timeout
    }
}
