//! Responses on the wire.

use std::io::Write;

use super::headers::encode_header;
use super::key::accept_key;
use super::response::{is_managed, is_overridden};
use super::{WSInvalidResponse, WSRequestHead, WSUpgradeResponse};

impl WSUpgradeResponse {
    /// Appends the response to `out`. For all but 101, for which see [`encode_switching`](Self::encode_switching).
    ///
    /// Adds `Content-Length`, `Connection: close` in place of a `Connection` of the caller's and,
    /// if there is a body without one, the `Content-Type` `text/plain; charset=utf-8`. The answer
    /// to HEAD is [`without_content`](Self::without_content). A 101 response, which makes no sense
    /// without its request, is replaced by a 500.
    pub fn encode(&self, out: &mut Vec<u8>) {
        if self.status() == 101 {
            return Self::built(500, "101 without a request to upgrade\n".into()).encode(out);
        }
        let body = self.body();
        let reason = Self::reason_phrase(self.status());
        write!(out, "HTTP/1.1 {} {reason}\r\n", self.status()).expect("writing to a Vec does not fail");
        let headers = self.headers();
        let is_own = |name: &str| !is_managed(self.status(), name) && !is_overridden(name);
        for (name, value) in headers.iter().filter(|(name, _)| is_own(name)) {
            encode_header(name, value, out);
        }
        if !body.is_empty() && !headers.contains("content-type") {
            encode_header("Content-Type", "text/plain; charset=utf-8", out);
        }
        encode_header("Content-Length", &body.len().to_string(), out);
        // RFC 9110 section 7.8: who sends Upgrade has to name it in Connection.
        let connection = if headers.contains("upgrade") { "close, Upgrade" } else { "close" };
        encode_header("Connection", connection, out);
        out.extend_from_slice(b"\r\n");
        if !self.omits_content() {
            out.extend_from_slice(body);
        }
    }

    /// Appends the 101 response that accepts `request` to `out`: `Upgrade`, `Connection`,
    /// `Sec-WebSocket-Accept` and the headers of this response but for a `Connection` of its own
    /// (RFC 6455 section 4.2.2, item 5).
    ///
    /// # Errors
    /// If the status is not 101, if `request` is not an upgrade, if a body or a header that the
    /// library sets itself is there, or if the subprotocol is not one that the client offers. `out`
    /// is as before then.
    pub fn encode_switching(
        &self,
        request: &WSRequestHead,
        out: &mut Vec<u8>,
    ) -> Result<(), WSInvalidResponse> {
        if self.status() != 101 {
            return Err(WSInvalidResponse::new(format!(
                "status {} does not accept the upgrade",
                self.status()
            )));
        }
        if !self.body().is_empty() {
            return Err(WSInvalidResponse::new("a 101 response has no body"));
        }
        let headers = self.headers();
        if let Some((name, _)) = headers.iter().find(|(name, _)| is_managed(101, name)) {
            return Err(WSInvalidResponse::new(format!("the library sets the header {name:?} itself")));
        }
        let mut subprotocols = headers.get_all("sec-websocket-protocol");
        if let Some(subprotocol) = subprotocols.next() {
            // RFC 6455 section 11.3.4: at most once in a response
            if subprotocols.next().is_some() {
                return Err(WSInvalidResponse::new("more than one subprotocol has been chosen"));
            }
            if !request.offers_subprotocol(subprotocol) {
                let reason = format!("the client does not offer the subprotocol {subprotocol:?}");
                return Err(WSInvalidResponse::new(reason));
            }
        }
        encode_accept(request, out)?;
        for (name, value) in headers.iter().filter(|(name, _)| !is_overridden(name)) {
            encode_header(name, value, out);
        }
        out.extend_from_slice(b"\r\n");
        Ok(())
    }
}

/// Appends the plain 101 response that accepts `request` to `out`, as [`WSUpgradeResponse::switching_protocols`]
/// would be encoded. Allocates nothing but what `out` needs.
///
/// # Errors
/// If `request` is not an upgrade. `out` is as before then.
pub fn encode_default_switching(request: &WSRequestHead, out: &mut Vec<u8>) -> Result<(), WSInvalidResponse> {
    encode_accept(request, out)?;
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// Writes the status line and the headers of every 101 response.
fn encode_accept(request: &WSRequestHead, out: &mut Vec<u8>) -> Result<(), WSInvalidResponse> {
    const HEAD: &[u8] =
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ";
    let key = request.key().filter(|_| request.is_upgrade());
    let accept =
        accept_key(key.ok_or_else(|| WSInvalidResponse::new("the request does not ask for an upgrade"))?);
    out.reserve(HEAD.len() + accept.len() + 4);
    out.extend_from_slice(HEAD);
    out.extend_from_slice(&accept);
    out.extend_from_slice(b"\r\n");
    Ok(())
}
