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
        let body = "426 Upgrade Required: this is a WebSocket endpoint";
        Self::constant(426, body, &[("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")])
    }

    /// A response whose headers are known to be valid.
    pub(super) fn constant(status: u16, body: &'static str, headers: &[(&str, &str)]) -> Self {
        let mut response = Self::built(status, body.into());
        for &(name, value) in headers {
            response.headers_mut().append(name, value).expect("a constant header is valid");
        }
        response
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
