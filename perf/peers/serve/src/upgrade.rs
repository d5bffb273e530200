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
    accept_upgrade_with(stream, |_| None).await
}

/// [`accept_upgrade`] with extensions: `choose` gets what the client offers, and returns what is accepted of it.
///
/// # Errors
/// As of [`accept_upgrade`].
pub async fn accept_upgrade_with(
    stream: &mut impl Socket,
    choose: impl FnOnce(&str) -> Option<String>,
) -> PeerResult<()> {
    let mut head = Vec::with_capacity(1024);
    let upgrade = loop {
        if stream.read_buf(&mut head).await? == 0 || head.len() > MAX_HEAD {
            return Err("no request head".into());
        }
        if let Some(upgrade) = parse(&head)? {
            break upgrade;
        }
    };
    let accepted = upgrade.offer.as_deref().and_then(choose);
    let extensions =
        accepted.map_or(String::new(), |accepted| format!("Sec-WebSocket-Extensions: {accepted}\r\n"));
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n{extensions}\r\n",
        upgrade.accept
    );
    stream.write_all(answer.as_bytes()).await?;
    // TLS may keep a part of it.
    Ok(stream.flush().await?)
}

/// What of a request matters.
struct Upgrade {
    /// Value of `Sec-WebSocket-Accept`.
    accept: String,
    /// Extensions that the client offers.
    offer: Option<String>,
}

/// `None` while the head is incomplete.
fn parse(head: &[u8]) -> PeerResult<Option<Upgrade>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head)? {
        httparse::Status::Partial => return Ok(None),
        httparse::Status::Complete(used) if used < head.len() => return Err("bytes after the head".into()),
        httparse::Status::Complete(_) => {}
    }
    let value = |name: &str| {
        let header = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        header.map(|header| header.value)
    };
    let mut digest = Sha1::from(value("sec-websocket-key").ok_or("no Sec-WebSocket-Key")?);
    digest.update(GUID);
    let accept = base64::engine::general_purpose::STANDARD.encode(digest.digest().bytes());
    let offer = value("sec-websocket-extensions").map(|offer| String::from_utf8_lossy(offer).into_owned());
    Ok(Some(Upgrade { accept, offer }))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn answers_the_example_of_the_rfc() {
        let head = b"GET / HTTP/1.1\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        let upgrade = parse(head).unwrap().unwrap();
        assert_eq!(upgrade.accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(upgrade.offer, None);
        assert!(parse(&head[..head.len() - 1]).unwrap().is_none());
    }

    #[test]
    fn finds_the_offered_extensions() {
        let head = b"GET / HTTP/1.1\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Extensions: a; b\r\n\r\n";
        assert_eq!(parse(head).unwrap().unwrap().offer.as_deref(), Some("a; b"));
    }

    #[test]
    fn refuses_a_head_without_a_key_and_early_bytes() {
        assert!(parse(b"GET / HTTP/1.1\r\n\r\n").is_err());
        assert!(parse(b"GET / HTTP/1.1\r\nSec-WebSocket-Key: x\r\n\r\n\x82").is_err());
    }
}
