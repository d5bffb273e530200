//! The responses that the server gives by itself.

use bytes::Bytes;

use super::{WSInvalidResponse, WSUpgradeResponse};

impl WSUpgradeResponse {
    /// 404 with the text `404 Not Found`.
    pub fn not_found() -> Self {
        Self::built(404, "404 Not Found".into())
    }

    /// 500 that tells nothing about what happened.
    pub(crate) fn internal_error() -> Self {
        Self::built(500, "500 Internal Server Error".into())
    }

    /// 403 with the text `403 Forbidden`: the answer to an origin that the policy does not allow, too.
    pub fn forbidden() -> Self {
        Self::built(403, "403 Forbidden".into())
    }

    /// 503: the server is shutting down, or could not decide in time.
    pub(crate) fn unavailable() -> Self {
        Self::built(503, "503 Service Unavailable".into())
    }

    /// 426: this place speaks WebSocket only (RFC 9110 section 15.5.22).
    pub(crate) fn upgrade_required() -> Self {
        let response = Self::built(426, "426 Upgrade Required: this is a WebSocket endpoint".into());
        let upgrade = response.clone().header("Upgrade", "websocket");
        upgrade.and_then(|response| response.header("Sec-WebSocket-Version", "13")).unwrap_or(response)
    }

    /// The response whose head was encoded as these bytes.
    pub(crate) fn from_encoded(status: u16, head: &[u8]) -> Self {
        Self::received(status, Bytes::copy_from_slice(head), Bytes::new())
    }
}

impl WSInvalidResponse {
    pub(crate) fn needs_101(status: u16) -> Self {
        Self::new(format!("status {status} cannot open a connection"))
    }
}
