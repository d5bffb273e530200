//! The server side of the opening handshake (RFC 6455, section 4.2.2), for crates that leave it to the caller.

use base64::Engine;
use sha1_smol::Sha1;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{PeerResult, Socket};

const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const MAX_HEAD: usize = 8 << 10;
const MAX_HEADERS: usize = 32;

/// Reads the request and answers 101, so that the next byte on `stream` belongs to a frame.
///
/// # Errors
/// The connection fails, the head is longer than 8 KiB or names no key, or the client sends before the answer.
pub async fn accept_upgrade(stream: &mut impl Socket) -> PeerResult<()> {
    let mut head = Vec::with_capacity(1024);
    let accept = loop {
        if stream.read_buf(&mut head).await? == 0 || head.len() > MAX_HEAD {
            return Err("no request head".into());
        }
        if let Some(accept) = accept_value(&head)? {
            break accept;
        }
    };
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await?;
    // TLS may keep a part of it.
    Ok(stream.flush().await?)
}

/// `None` while the head is incomplete.
fn accept_value(head: &[u8]) -> PeerResult<Option<String>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head)? {
        httparse::Status::Partial => return Ok(None),
        httparse::Status::Complete(used) if used < head.len() => return Err("bytes after the head".into()),
        httparse::Status::Complete(_) => {}
    }
    let key = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("sec-websocket-key"));
    let mut digest = Sha1::from(key.ok_or("no Sec-WebSocket-Key")?.value);
    digest.update(GUID);
    Ok(Some(base64::engine::general_purpose::STANDARD.encode(digest.digest().bytes())))
}

#[cfg(test)]
mod tests {
    use super::accept_value;

    #[test]
    fn answers_the_example_of_the_rfc() {
        let head = b"GET / HTTP/1.1\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        assert_eq!(accept_value(head).unwrap().unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(accept_value(&head[..head.len() - 1]).unwrap().is_none());
    }

    #[test]
    fn refuses_a_head_without_a_key_and_early_bytes() {
        assert!(accept_value(b"GET / HTTP/1.1\r\n\r\n").is_err());
        assert!(accept_value(b"GET / HTTP/1.1\r\nSec-WebSocket-Key: x\r\n\r\n\x82").is_err());
    }
}
