//! The opening handshake of RFC 6455, the little that both ends of the harness need of it.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const KEY: &str = "ZmVtdG93cy1wZXJmLWtleQ==";
const MAX_HEAD: usize = 16 * 1024;

/// The value of `Sec-WebSocket-Accept` for a key (section 4.2.2).
fn accept_value(key: &str) -> String {
    let digest = sha1_smol::Sha1::from(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")).digest();
    STANDARD.encode(digest.bytes())
}

/// Asks for an upgrade.
pub(crate) fn request(host: &str, path: &str) -> String {
    request_with(host, path, "")
}

/// [`request`] with further headers, each with its line end.
pub(crate) fn request_with(host: &str, path: &str, headers: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n"
    )
}

/// Whether `head` is the whole answer to [`request`], or only its beginning.
///
/// # Errors
/// If it is not a 101 with the right accept value, or bytes follow it: a server has nothing to say before the client.
pub(crate) fn is_accepted(head: &[u8]) -> io::Result<bool> {
    if head.len() > MAX_HEAD {
        return Err(invalid("the response head does not end"));
    }
    let Some(end) = head_end(head) else { return Ok(false) };
    if end != head.len() {
        return Err(invalid("bytes follow the handshake"));
    }
    let text = String::from_utf8_lossy(head);
    if text.split_ascii_whitespace().nth(1) != Some("101") {
        return Err(invalid(text.lines().next().unwrap_or_default()));
    }
    if header(&text, "sec-websocket-accept") != Some(accept_value(KEY).as_str()) {
        return Err(invalid("wrong Sec-WebSocket-Accept"));
    }
    Ok(true)
}

/// The answer to a request for an upgrade, if `head` is a whole one.
pub(crate) fn response(head: &[u8]) -> Option<String> {
    let text = str::from_utf8(head).ok()?;
    let key = header(text, "sec-websocket-key").filter(|_| head_end(head) == Some(head.len()))?;
    Some(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        accept_value(key)
    ))
}

/// Where an HTTP head ends, if it does.
fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|start| start + 4)
}

/// The value of a header.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (this, value) = line.split_once(':')?;
        this.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("handshake: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc() {
        // Section 1.3.
        assert_eq!(accept_value("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn the_answer_is_accepted_once_it_is_whole() {
        let answer = response(request("here", "/").as_bytes()).unwrap();
        let (head, last) = answer.as_bytes().split_at(answer.len() - 1);
        assert!(!is_accepted(head).unwrap());
        assert!(is_accepted(answer.as_bytes()).unwrap());
        assert!(is_accepted(&[answer.as_bytes(), last].concat()).is_err(), "a byte too many");
        assert!(is_accepted(answer.replace("101", "200").as_bytes()).is_err());
        assert!(is_accepted(answer.replace("Accept: ", "Accept: x").as_bytes()).is_err());
        assert!(is_accepted(&vec![b'x'; MAX_HEAD + 1]).is_err());
    }

    #[test]
    fn only_a_whole_request_is_answered() {
        let request = request("here", "/");
        assert!(response(&request.as_bytes()[..request.len() - 1]).is_none());
        assert!(response((request + "more").as_bytes()).is_none());
    }

    #[test]
    fn headers_are_found_whatever_their_case() {
        let head = "GET /sub HTTP/1.1\r\nHOST: here\r\nsec-WebSocket-key:  abc \r\n\r\n";
        assert_eq!(header(head, "sec-websocket-key"), Some("abc"));
        assert_eq!(header(head, "upgrade"), None);
        assert_eq!(head_end(head.as_bytes()), Some(head.len()));
        assert_eq!(head_end(&head.as_bytes()[..head.len() - 1]), None);
    }
}
