//! Tests of both sides: what is accepted, what is refused, and that the cuts between bytes change neither.

mod client;
mod properties;
mod reference;
mod server;

use super::*;

/// A request that any server accepts.
const REQUEST: &str = "GET /chat?room=1 HTTP/1.1\r\n\
    Host: server.example.com\r\n\
    Upgrade: websocket\r\n\
    Connection: keep-alive, Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Origin: http://example.com\r\n\
    Sec-WebSocket-Protocol: chat, superchat\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

/// The response to [`REQUEST`], and to any request with its nonce.
const RESPONSE: &str = "HTTP/1.1 101 Switching Protocols\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
    Sec-WebSocket-Protocol: chat\r\n\r\n";

const NONCE: [u8; 16] = *b"the sample nonce";

/// `text` with the line that begins with `start` replaced; an empty `line` removes it.
fn with_line(text: &str, start: &str, line: &str) -> String {
    let (before, rest) = text.split_once(start).expect("the line is there");
    let (_, after) = rest.split_once("\r\n").expect("the line has an end");
    if line.is_empty() { format!("{before}{after}") } else { format!("{before}{line}\r\n{after}") }
}

/// `text` with a line added behind the first one.
fn with_header(text: &str, line: &str) -> String {
    text.replacen("\r\n", &format!("\r\n{line}\r\n"), 1)
}

fn receive_request(bytes: impl AsRef<[u8]>) -> ServerProgress {
    ServerHandshake::new(HandshakeLimits::default()).receive(bytes.as_ref())
}

fn accepted_request(bytes: impl AsRef<[u8]>) -> WSRequestHead {
    match receive_request(bytes) {
        ServerProgress::Request { request, .. } => request,
        other => panic!("{other:?}"),
    }
}

/// A client that has sent [`REQUEST`]'s essentials.
fn client() -> ClientHandshake {
    let mut config = ClientHandshakeConfig::new("server.example.com", "/chat?room=1");
    config.subprotocols = vec!["chat".into(), "superchat".into()];
    ClientHandshake::new(config, NONCE).expect("a valid configuration")
}
