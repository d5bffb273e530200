//! What a [`WebSocket`](super::WebSocket) may be set to.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::client::WSConnectConfig;
use crate::proto::WSCloseCode;
use crate::server::WSServerConfig;

/// Configuration of a [`WebSocket`](super::WebSocket), of either side.
///
/// What concerns the connection below (pings, the write timeout, TLS, proxies, limits on
/// connections, compression) is in [`client`](Self::client) and [`server`](Self::server).
///
/// ```
/// use femtows::message::{MessageType, WebSocketConfig};
/// use std::time::Duration;
///
/// let config = WebSocketConfig::default()
///     .message_queue_size(16)
///     .value_type("text".parse::<MessageType>()?)
///     .disconnect_timeout(Duration::from_secs(5));
/// # Ok::<(), femtows::message::InvalidMessageType>(())
/// ```
#[derive(Clone, Debug)]
pub struct WebSocketConfig {
    pub(super) message_queue_size: usize,
    pub(super) max_message_size: usize,
    /// At a client: from the lookup of the name on.
    open_timeout: Option<Duration>,
    /// At a server: up to the parsed request.
    request_timeout: Option<Duration>,
    pub(super) disconnect_timeout: Duration,
    pub(super) receive_type: MessageType,
    pub(super) send_type: MessageType,
    pub(super) catch_disconnect: CatchDisconnect,
    pub(super) expose_errors: bool,
    pub(super) use_tls: bool,
    client: WSConnectConfig,
    server: WSServerConfig,
}

impl Default for WebSocketConfig {
    fn default() -> Self {
        Self {
            message_queue_size: 1,
            max_message_size: 1 << 20,
            open_timeout: Some(OPEN_TIMEOUT),
            request_timeout: Some(REQUEST_TIMEOUT),
            disconnect_timeout: Duration::from_secs(60),
            receive_type: MessageType::Text,
            send_type: MessageType::Text,
            catch_disconnect: CatchDisconnect::All,
            expose_errors: false,
            use_tls: false,
            client: WSConnectConfig::default(),
            server: WSServerConfig::default(),
        }
    }
}

impl WebSocketConfig {
    /// Returns the preset for servers on the open internet: [`WSServerConfig::public`] with its
    /// timeouts and sizes, which are 5 s for the request, 10 s for the end, and messages of at most
    /// 1 MiB. A handler has 60 s to decide.
    ///
    /// ```
    /// use femtows::message::WebSocketConfig;
    /// use femtows::{WSOriginPolicy, WSServerConfig};
    ///
    /// // With further settings of the connection below.
    /// let server = WSServerConfig::public().origin(WSOriginPolicy::same_host());
    /// let config = WebSocketConfig::public().server(server).message_queue_size(16);
    /// # let _ = config;
    /// ```
    pub fn public() -> Self {
        let server = WSServerConfig::public();
        let connection = &server.connection;
        Self {
            max_message_size: connection.limits.max_message_size,
            open_timeout: connection.handshake_timeout,
            request_timeout: connection.handshake_timeout,
            disconnect_timeout: connection.close_timeout,
            server,
            ..Self::default()
        }
    }

    /// How many messages may wait to be received, beyond those that tasks are waiting for. Default 1.
    ///
    /// With a full queue delivery stops before the next message, so that the peer feels the
    /// back-pressure. PING, PONG and CLOSE in front of that message are served; what is behind it
    /// waits until there is room. 0 is a rendezvous: a message is taken only when a task waits for
    /// it. A reset is noticed at any time; an end of the stream behind a message that waits ends
    /// the connection if no message is taken within the
    /// [`disconnect_timeout`](Self::disconnect_timeout).
    #[must_use]
    pub fn message_queue_size(mut self, messages: usize) -> Self {
        self.message_queue_size = messages;
        self
    }

    /// Largest message that is received, in bytes, after inflating; one that is larger closes with 1009, and what waits to be received is
    /// discarded. Default 1 MiB. The [`max_frame_size`](crate::WSLimits::max_frame_size) of the
    /// connection below is raised to it if it is less. What is sent is limited by
    /// [`max_outbound`](crate::WSLimits::max_outbound).
    #[must_use]
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.max_message_size = bytes;
        self
    }

    /// Sets the absolute deadline of the opening handshake. At a client it covers all of it, from
    /// the lookup of the name on; default 60 s. At a server it covers the accepted TCP connection
    /// up to the parsed request, TLS included; the handler is never called after it; default 10 s.
    /// `None`: no deadline.
    ///
    /// The handler of a server then has until the
    /// [`decision_timeout`](WSServerConfig::decision_timeout) to accept or to reject; default 60 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.open_timeout = timeout;
        self.request_timeout = timeout;
        self
    }

    /// Sets the absolute deadline of the closing handshake; then TCP is closed. It also bounds the
    /// time in which tasks may send to a peer that has half-closed TCP without CLOSE. Default 60 s.
    #[must_use]
    pub fn disconnect_timeout(mut self, timeout: Duration) -> Self {
        self.disconnect_timeout = timeout;
        self
    }

    /// What [`receive_value`](super::WebSocket::receive_value) gives. Default text.
    #[must_use]
    pub fn receive_type(mut self, kind: MessageType) -> Self {
        self.receive_type = kind;
        self
    }

    /// What [`send_value`](super::WebSocket::send_value) takes. Default text.
    #[must_use]
    pub fn send_type(mut self, kind: MessageType) -> Self {
        self.send_type = kind;
        self
    }

    /// Both [`receive_type`](Self::receive_type) and [`send_type`](Self::send_type).
    #[must_use]
    pub fn value_type(self, kind: MessageType) -> Self {
        self.receive_type(kind).send_type(kind)
    }

    /// Which ends of the connection are no error of the body of [`with`](super::WebSocket::with), nor of
    /// [`values`](super::WebSocket::values). Default: all.
    #[must_use]
    pub fn catch_disconnect(mut self, which: CatchDisconnect) -> Self {
        self.catch_disconnect = which;
        self
    }

    /// Whether the peer of a handler that fails is told the text of its error, as the reason that comes with 1011. Default false:
    /// what went wrong inside is nobody's business.
    #[must_use]
    pub fn expose_errors(mut self, on: bool) -> Self {
        self.expose_errors = on;
        self
    }

    /// Whether [`open_websocket`](super::open_websocket) and [`connect_websocket`](super::connect_websocket), which are given no URL,
    /// speak TLS (feature `tls`). Default false.
    #[must_use]
    pub fn use_tls(mut self, on: bool) -> Self {
        self.use_tls = on;
        self
    }

    /// Sets the configuration of the connection below, at a client. Its handshake and close timeouts
    /// and its limit on the size of messages are replaced by those of `self`.
    #[must_use]
    pub fn client(mut self, config: WSConnectConfig) -> Self {
        self.client = config;
        self
    }

    /// Sets the configuration of the connection below, at a server. Its handshake and close
    /// timeouts and its limit on the size of messages are replaced by those of `self`. Its
    /// [`decision_timeout`](WSServerConfig::decision_timeout) is 60 s unless it was set: a handler
    /// may wait for another service before it accepts.
    #[must_use]
    pub fn server(mut self, config: WSServerConfig) -> Self {
        self.server = config;
        self
    }

    /// The configuration of a client's connection that follows from this, for [`ws_connect`](crate::ws_connect).
    pub fn connect_config(&self) -> WSConnectConfig {
        let mut config = self.client.clone();
        self.shape(&mut config.connection, self.open_timeout);
        config
    }

    /// The configuration of a server that follows from this, for [`ws_create_server`](crate::ws_create_server).
    pub fn server_config(&self) -> WSServerConfig {
        let mut config = self.server.clone();
        self.shape(&mut config.connection, self.request_timeout);
        config.default_decision_timeout(DECISION_TIMEOUT)
    }

    /// Returns how long a server waits for a request.
    pub(super) fn request_timeout(&self) -> Option<Duration> {
        self.request_timeout
    }

    /// What is the server's on every route.
    pub(super) fn serve_under(&mut self, server: &Self) {
        self.max_message_size = server.max_message_size;
        self.request_timeout = server.request_timeout;
        self.disconnect_timeout = server.disconnect_timeout;
    }

    fn shape(
        &self,
        connection: &mut crate::connection::ConnectionConfig,
        handshake_timeout: Option<Duration>,
    ) {
        let limits = &mut connection.limits;
        limits.max_message_size = self.max_message_size;
        // A message may come in one frame.
        limits.max_frame_size = limits.max_frame_size.max(self.max_message_size);
        connection.handshake_timeout = handshake_timeout;
        connection.close_timeout = self.disconnect_timeout;
    }
}

/// Covers name lookup, TCP, TLS and proxies, each of which may take seconds.
const OPEN_TIMEOUT: Duration = Duration::from_secs(60);

/// A peer without a request costs a socket and has no identity but its address.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// A handler may wait for a database or another service.
const DECISION_TIMEOUT: Duration = Duration::from_secs(60);

/// A type of values that [`receive_value`](super::WebSocket::receive_value) gives and [`send_value`](super::WebSocket::send_value) takes. Its name is
/// `text`, `bytes` or `json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MessageType {
    /// Text messages, as strings.
    Text,
    /// Binary messages, as bytes.
    Bytes,
    /// JSON in text messages.
    #[cfg(feature = "json")]
    Json,
}

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Bytes => "bytes",
            #[cfg(feature = "json")]
            Self::Json => "json",
        })
    }
}

impl FromStr for MessageType {
    type Err = InvalidMessageType;

    fn from_str(name: &str) -> Result<Self, InvalidMessageType> {
        match name {
            "text" => Ok(Self::Text),
            "bytes" => Ok(Self::Bytes),
            #[cfg(feature = "json")]
            "json" => Ok(Self::Json),
            _ => Err(InvalidMessageType { name: name.into() }),
        }
    }
}

/// A name that is not one of a [`MessageType`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a type of messages{}", missing_feature(name))]
pub struct InvalidMessageType {
    /// The name.
    pub name: Box<str>,
}

/// Returns the feature to enable, for a type of another build.
fn missing_feature(name: &str) -> &'static str {
    if name == "json" && cfg!(not(feature = "json")) {
        " in this build: enable the feature `json` of the crate femtows"
    } else {
        ""
    }
}

/// Which ends of a connection [`with`](super::WebSocket::with) takes for an ordinary end of its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CatchDisconnect {
    /// All.
    All,
    /// None: each comes out as an error.
    None,
    /// Those with one of these codes.
    Codes(Vec<WSCloseCode>),
}

impl CatchDisconnect {
    /// Whether an end with this code is caught.
    pub fn catches(&self, code: WSCloseCode) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Codes(codes) => codes.contains(&code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::WSLimits;

    #[test]
    fn limits_on_sizes_are_those_of_callbacks() {
        let callbacks = WSLimits::default();
        assert_eq!((callbacks.max_frame_size, callbacks.max_message_size), (10 << 20, 1 << 20));
        let tasks = WebSocketConfig::default();
        for limits in [tasks.server_config().connection.limits, tasks.connect_config().connection.limits] {
            assert_eq!((limits.max_frame_size, limits.max_message_size), (10 << 20, 1 << 20));
        }
    }

    #[test]
    fn larger_messages_raise_the_limit_on_frames() {
        let limits = WebSocketConfig::default().max_message_size(64 << 20).server_config().connection.limits;
        assert_eq!((limits.max_frame_size, limits.max_message_size), (64 << 20, 64 << 20));
    }

    #[cfg(not(feature = "json"))]
    #[test]
    fn missing_json_names_the_feature_to_enable() {
        let told = "json".parse::<MessageType>().expect_err("a build without it").to_string();
        assert!(told.contains("feature `json`"), "{told}");
    }
}
