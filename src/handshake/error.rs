//! What can go wrong in the opening handshake.

use std::borrow::Cow;

use bytes::Bytes;

use super::WSUpgradeResponse;

/// The server's answer does not open a WebSocket connection (RFC 6455 section 4.1).
///
/// Blame lies with the server, or with what stands between; [`WSInvalidRequest`] is the caller's own fault.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{kind}")]
pub struct WSHandshakeError {
    /// The head of the response as it arrived, with the empty line at its end. If the head itself is the fault: what
    /// there was of it.
    pub raw_header: Bytes,
    /// What arrived of the response's body, in its transfer coding, bounded by
    /// [`max_body`](super::ClientHandshakeConfig::max_body). The decoded body is in `response`.
    pub raw_body: Bytes,
    /// The response, unless its head did not arrive whole or could not be parsed.
    pub response: Option<WSUpgradeResponse>,
    /// What is wrong.
    pub kind: WSHandshakeErrorKind,
}

/// What is wrong with the server's answer.
// `Box<str>` keeps the error around it below 128 bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WSHandshakeErrorKind {
    /// Not an HTTP/1.1 response, too large, or cut off. Says why.
    #[error("invalid handshake response: {0}")]
    InvalidMessage(Cow<'static, str>),
    /// A response with another status than 101; its body is at hand.
    #[error("the server answered with status {0} instead of 101")]
    InvalidStatus(u16),
    /// A 101 response with a missing (`value` is `None`) or wrong header.
    #[error("the server's 101 response {}", header_fault(name, value.as_deref()))]
    InvalidHeader {
        /// The header's name.
        name: Cow<'static, str>,
        /// Its value, repeated ones joined with commas; `None` if it is missing.
        value: Option<Box<str>>,
    },
    /// A 101 response that does not upgrade to `websocket`: `Upgrade` or `Connection` is missing or wrong.
    #[error("the server's 101 response does not upgrade to websocket: it {}", header_fault(name, value.as_deref()))]
    InvalidUpgrade {
        /// `Upgrade` or `Connection`.
        name: Cow<'static, str>,
        /// Its value, repeated ones joined with commas; `None` if it is missing.
        value: Option<Box<str>>,
    },
    /// A redirection that cannot be followed, or must not be: says why.
    #[error("the server's redirection {0}")]
    InvalidRedirect(Cow<'static, str>),
}

/// A header that must not go on the wire.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid header {name:?}: {reason}")]
pub struct WSInvalidHeader {
    /// The header's name as given.
    pub name: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// The caller's wishes do not make a valid handshake request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid handshake request: {reason}")]
pub struct WSInvalidRequest {
    /// What is wrong.
    pub reason: Cow<'static, str>,
}

/// The caller's wishes do not make a valid response to this request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid handshake response: {reason}")]
pub struct WSInvalidResponse {
    /// What is wrong.
    pub reason: Cow<'static, str>,
}

impl WSInvalidRequest {
    pub(super) fn new(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { reason: reason.into() }
    }
}

impl WSInvalidResponse {
    pub(super) fn new(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { reason: reason.into() }
    }
}

impl From<WSInvalidHeader> for WSInvalidRequest {
    fn from(error: WSInvalidHeader) -> Self {
        Self::new(error.to_string())
    }
}

impl From<WSInvalidHeader> for WSInvalidResponse {
    fn from(error: WSInvalidHeader) -> Self {
        Self::new(error.to_string())
    }
}

fn header_fault(name: &str, value: Option<&str>) -> String {
    match value {
        Some(value) => format!("has the header {name} with the invalid value {value:?}"),
        None => format!("lacks the header {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_stay_small() {
        assert!(size_of::<WSHandshakeError>() <= 120, "{}", size_of::<WSHandshakeError>());
        assert!(size_of::<WSInvalidRequest>() <= 24);
    }

    #[test]
    fn display_says_what_is_wrong() {
        let missing = WSHandshakeErrorKind::InvalidUpgrade { name: "Upgrade".into(), value: None };
        assert_eq!(
            missing.to_string(),
            "the server's 101 response does not upgrade to websocket: it lacks the header Upgrade"
        );
        let wrong = WSHandshakeErrorKind::InvalidHeader { name: "A".into(), value: Some("b\"".into()) };
        assert_eq!(
            wrong.to_string(),
            r#"the server's 101 response has the header A with the invalid value "b\"""#
        );
    }
}
