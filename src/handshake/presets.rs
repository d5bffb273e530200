//! Responses for frequent cases, and those that the server gives by itself.

use std::time::Duration;

use bytes::Bytes;

use super::{WSInvalidHeader, WSInvalidResponse, WSUpgradeResponse};

impl WSUpgradeResponse {
    /// Returns a response whose body is `value` as JSON, with `Content-Type: application/json`: an
    /// answer to plain HTTP, or a refusal.
    ///
    /// ```
    /// use femtows::WSUpgradeResponse;
    ///
    /// let refusal = WSUpgradeResponse::json(403, &["not", "you"])?;
    /// assert_eq!(refusal.body(), r#"["not","you"]"#);
    /// # Ok::<(), femtows::WSInvalidResponse>(())
    /// ```
    ///
    /// # Errors
    /// If `status` is neither 200 nor within 400 to 599, or if `value` cannot become JSON.
    #[cfg(feature = "json")]
    pub fn json(status: u16, value: &impl serde::Serialize) -> Result<Self, WSInvalidResponse> {
        let body = serde_json::to_vec(value)
            .map_err(|error| WSInvalidResponse::new(format!("the body cannot become JSON: {error}")))?;
        let mut response = if status == 200 { Self::ok(body) } else { Self::error(status, body)? };
        response.headers_mut().append("Content-Type", "application/json")?;
        Ok(response)
    }

    /// Returns a 401 with this challenge as its `WWW-Authenticate`, such as `Bearer` or
    /// `Basic realm="chat"`. A 401 without one is not allowed (RFC 9110 section 15.5.2).
    ///
    /// # Errors
    /// If `challenge` contains a control character.
    pub fn unauthorized(challenge: &str) -> Result<Self, WSInvalidHeader> {
        Self::built(401, "401 Unauthorized".into()).header("WWW-Authenticate", challenge)
    }

    /// Returns a 429 (RFC 6585 section 4) whose `Retry-After` is this time in seconds, rounded up
    /// (RFC 9110 section 10.2.3).
    pub fn too_many_requests(retry_after: Duration) -> Self {
        let seconds = retry_after.as_secs().saturating_add(u64::from(retry_after.subsec_nanos() > 0));
        let body = "429 Too Many Requests";
        Self::constant(429, body, &[("Retry-After", &seconds.to_string())])
    }

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
