//! The client's request on the wire (RFC 6455 section 4.1).

use bytes::Bytes;

use super::authority::is_authority;
use super::client::ClientHandshakeConfig;
use super::headers::encode_header;
use super::key::client_key;
use super::syntax::{is_target, is_token};
use super::{WSInvalidRequest, WSRequestHead};

/// Builds the request that `config` asks for.
pub(super) fn build_request(
    config: &ClientHandshakeConfig,
    nonce: &[u8; 16],
) -> Result<WSRequestHead, WSInvalidRequest> {
    check_config(config)?;
    let extra = &config.extra_headers;
    let key = client_key(nonce);

    let mut head = Vec::with_capacity(512);
    head.extend_from_slice(b"GET ");
    head.extend_from_slice(config.path.as_bytes());
    head.extend_from_slice(b" HTTP/1.1\r\n");
    encode_header("Host", extra.get("host").unwrap_or(&config.host), &mut head);
    head.extend_from_slice(b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: ");
    head.extend_from_slice(&key);
    head.extend_from_slice(b"\r\nSec-WebSocket-Version: 13\r\n");
    if !config.subprotocols.is_empty() {
        encode_header("Sec-WebSocket-Protocol", &config.subprotocols.join(", "), &mut head);
    }
    for (name, value) in extra.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("host")) {
        encode_header(name, value, &mut head);
    }
    head.extend_from_slice(b"\r\n");
    Ok(WSRequestHead::from_checked_head(Bytes::from(head), true))
}

fn check_config(config: &ClientHandshakeConfig) -> Result<(), WSInvalidRequest> {
    if !config.path.starts_with('/') || !is_target(config.path.as_bytes()) {
        return Err(WSInvalidRequest::new(format!("the path {:?} is malformed", config.path)));
    }
    check_extra_headers(config)?;
    let host = config.extra_headers.get("host").unwrap_or(&config.host);
    if !is_authority(host.as_bytes()) {
        return Err(WSInvalidRequest::new(format!("the host {host:?} is malformed")));
    }
    for (position, name) in config.subprotocols.iter().enumerate() {
        if !is_token(name.as_bytes()) {
            return Err(WSInvalidRequest::new(format!("the subprotocol {name:?} is not a token")));
        }
        // RFC 6455 section 4.1 item 10: all must be unique
        if config.subprotocols[..position].contains(name) {
            return Err(WSInvalidRequest::new(format!("the subprotocol {name:?} is offered twice")));
        }
    }
    Ok(())
}

/// Names and values are valid, as [`WSHeaders`](super::WSHeaders) holds no others; what remains is which are allowed.
fn check_extra_headers(config: &ClientHandshakeConfig) -> Result<(), WSInvalidRequest> {
    /// What the library answers for, and what would announce a body.
    const MANAGED: [&str; 7] = [
        "sec-websocket-key",
        "sec-websocket-version",
        "sec-websocket-accept",
        "upgrade",
        "connection",
        "content-length",
        "transfer-encoding",
    ];
    let extra = &config.extra_headers;
    if let Some(name) = MANAGED.iter().find(|name| extra.contains(name)) {
        return Err(WSInvalidRequest::new(format!("the extra headers must not contain {name:?}")));
    }
    if extra.get_all("host").nth(1).is_some() {
        return Err(WSInvalidRequest::new("the extra headers contain \"host\" twice"));
    }
    if extra.contains("sec-websocket-protocol") && !config.subprotocols.is_empty() {
        let reason = "subprotocols are offered both as such and among the extra headers";
        return Err(WSInvalidRequest::new(reason));
    }
    Ok(())
}
