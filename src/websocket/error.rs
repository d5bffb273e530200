//! What can go wrong with a [`WebSocket`](super::WebSocket).

use std::fmt;

use bytes::Bytes;

use crate::client::WSConnectError;
use crate::handshake::{WSHandshakeErrorKind, WSHeaders};
use crate::proto::WSCloseCode;
use crate::runtime::WSError;
use crate::server::WSServeError;

/// Why a connection is closed: the code and the reason of the CLOSE frame that decided it (RFC 6455 section 7.1.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseReason {
    /// The code. 1005 if the CLOSE frame had none, 1006 if there was no CLOSE frame.
    pub code: WSCloseCode,
    /// The text that came with the code; empty if there was none.
    pub reason: Box<str>,
}

impl CloseReason {
    /// A reason with this code and text.
    pub fn new(code: impl Into<WSCloseCode>, reason: impl Into<Box<str>>) -> Self {
        Self { code: code.into(), reason: reason.into() }
    }

    /// Returns the standard name of the code, such as `NORMAL_CLOSURE`, or that of its range, as
    /// [`WSCloseCode::name`] does.
    pub const fn name(&self) -> &'static str {
        self.code.name()
    }

    /// Returns `true` if the connection was closed in order: with 1000, 1001, or without a code
    /// (1005).
    pub fn is_clean(&self) -> bool {
        matches!(self.code, WSCloseCode::OK | WSCloseCode::GOING_AWAY | WSCloseCode::NO_INFO)
    }

    /// The end without a CLOSE frame.
    pub(super) fn abnormal() -> Self {
        Self::new(WSCloseCode::ABNORMAL_CLOSURE, "")
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if !self.reason.is_empty() {
            write!(f, " {:?}", self.reason)?;
        }
        Ok(())
    }
}

/// The connection is closed: there is nothing to receive any more, and nothing can be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("connection closed: {reason}")]
pub struct ConnectionClosed {
    /// Why.
    pub reason: CloseReason,
}

/// A call that the state of the connection does not allow: the application's mistake. Nothing was sent, and nothing consumed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StateError {
    message: &'static str,
    /// Why the connection is closed, if that is what does not allow it.
    closed: Option<Box<CloseReason>>,
}

impl StateError {
    pub(super) const fn new(message: &'static str) -> Self {
        Self { message, closed: None }
    }

    pub(super) fn closed(message: &'static str, reason: CloseReason) -> Self {
        Self { message, closed: Some(Box::new(reason)) }
    }

    /// Whether the call came too late: this end has closed the connection.
    pub const fn is_closed(&self) -> bool {
        self.closed.is_some()
    }
}

/// What a [`WebSocket`](super::WebSocket) answers when it cannot do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WebSocketError {
    /// The connection is closed. Nobody's mistake.
    // Not transparent: so an error that is transparent to this one still has the reason among its sources.
    #[error("{0}")]
    Closed(#[from] ConnectionClosed),
    /// The state of the connection does not allow the call. Blame: the caller.
    #[error(transparent)]
    State(#[from] StateError),
    /// A value that is not of the type that the connection was set to send. Blame: the caller.
    #[error("cannot send {value} where {expected} is expected")]
    Type {
        /// What [`send_type`](super::WebSocketConfig::send_type) says.
        expected: super::MessageType,
        /// What was given.
        value: super::MessageType,
    },
    /// A message that is not JSON of the expected shape, or a value that cannot become JSON. The connection stays open. Blame:
    /// whoever made the message.
    #[cfg(feature = "json")]
    #[error("JSON: {0}")]
    Json(#[source] std::sync::Arc<serde_json::Error>),
    /// More bytes than can ever be sent: the outbound limit of the connection
    /// ([`max_outbound`](crate::WSLimits::max_outbound)), or the 125 bytes of a control frame. Blame: the caller.
    #[error("{size} bytes are more than the {limit} that can be sent")]
    TooBig {
        /// Bytes of the payload.
        size: usize,
        /// How many there may be.
        limit: usize,
    },
    /// The message was dropped because the peer reads too slowly, under
    /// [`WSOverflowPolicy::DropNew`](crate::WSOverflowPolicy::DropNew). The connection stays open. Blame: the peer.
    #[error("the message was dropped: too much waits to be sent")]
    Dropped,
    /// The closing handshake did not end within [`disconnect_timeout`](super::WebSocketConfig::disconnect_timeout); TCP is closed
    /// all the same. Blame: the peer or the network.
    #[error("the closing handshake did not end in time")]
    DisconnectionTimeout,
    /// The connection was not open within [`connect_timeout`](super::WebSocketConfig::connect_timeout). Blame: the peer or the
    /// network.
    #[error("the connection was not open in time")]
    ConnectionTimeout,
    /// The server refused the opening handshake.
    #[error(transparent)]
    Rejected(Box<ConnectionRejected>),
    /// An argument that cannot be sent. Nothing was. Blame: the caller.
    #[error("invalid argument: {0}")]
    InvalidArgument(Box<str>),
    /// The connection could not be opened.
    #[error(transparent)]
    Connect(Box<WSError>),
}

impl WebSocketError {
    /// Whether the connection is closed, by whomever.
    pub fn is_closed(&self) -> bool {
        match self {
            Self::Closed(_) => true,
            Self::State(error) => error.is_closed(),
            _ => false,
        }
    }

    /// Why the connection is closed, if this is about that.
    pub fn close_reason(&self) -> Option<&CloseReason> {
        match self {
            Self::Closed(closed) => Some(&closed.reason),
            Self::State(error) => error.closed.as_deref(),
            _ => None,
        }
    }

    pub(super) fn closed(reason: CloseReason) -> Self {
        Self::Closed(ConnectionClosed { reason })
    }

    pub(super) fn state(message: &'static str) -> Self {
        Self::State(StateError::new(message))
    }

    pub(super) fn argument(message: impl Into<Box<str>>) -> Self {
        Self::InvalidArgument(message.into())
    }
}

impl From<WSConnectError> for WebSocketError {
    fn from(error: WSConnectError) -> Self {
        WSError::from(error).into()
    }
}

impl From<WSServeError> for WebSocketError {
    fn from(error: WSServeError) -> Self {
        Self::Connect(Box::new(error.into()))
    }
}

impl From<WSError> for WebSocketError {
    fn from(error: WSError) -> Self {
        match error {
            WSError::Timeout { .. } => Self::ConnectionTimeout,
            WSError::Handshake(ref refused) => match ConnectionRejected::of(refused) {
                Some(rejected) => Self::Rejected(Box::new(rejected)),
                None => Self::Connect(Box::new(error)),
            },
            error => Self::Connect(Box::new(error)),
        }
    }
}

#[cfg(feature = "json")]
impl From<serde_json::Error> for WebSocketError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(std::sync::Arc::new(error))
    }
}

/// The answer of a server that refused the opening handshake.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the server refused the connection with status {status}")]
pub struct ConnectionRejected {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: WSHeaders,
    /// The body, as much of it as was read.
    pub body: Bytes,
}

impl ConnectionRejected {
    fn of(error: &crate::handshake::WSHandshakeError) -> Option<Self> {
        let WSHandshakeErrorKind::InvalidStatus(status) = error.kind else { return None };
        let headers = error.response.as_ref().map(|response| response.headers().into_owned());
        let body = Bytes::copy_from_slice(&error.raw_body);
        Some(Self { status, headers: headers.unwrap_or_default(), body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_no_larger_than_a_message() {
        // Each message that is received or sent is returned in a `Result` with it.
        assert!(size_of::<WebSocketError>() <= 32, "{}", size_of::<WebSocketError>());
    }
}
