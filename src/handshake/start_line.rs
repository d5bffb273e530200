//! The first line of a head: request line and status line (RFC 9112 sections 3 and 4).

use memchr::memchr;

use super::authority::is_authority;
use super::head::HeadFault;
use super::syntax::{is_field_value, is_target, is_tchar};

/// First byte of a TLS record with an alert, and with a handshake message (RFC 8446 section 5.1).
/// Neither is a character that text begins with.
const TLS_ALERT: u8 = 21;
const TLS_HANDSHAKE: u8 = 22;

/// Which first line a head begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StartLine {
    /// `GET target HTTP/1.1`, or the same with HEAD
    Request,
    /// `HTTP/1.x status reason`
    Status,
}

impl StartLine {
    /// Checks the bytes of `line` from `offset` on as they arrive. `line` is the line so far,
    /// without its end.
    pub(super) fn check_bytes(self, line: &[u8], offset: usize) -> Result<(), HeadFault> {
        let bytes = line.get(offset..).unwrap_or_default();
        // The first byte decides: the verdict may not depend on how the bytes were cut.
        if matches!(line.first(), Some(&(TLS_ALERT | TLS_HANDSHAKE))) {
            return Err(HeadFault::Malformed(self.tls_instead()));
        }
        match self {
            Self::Request => {
                check_method(line, offset)?;
                if !bytes.iter().all(|byte| matches!(byte, b' '..=b'~')) {
                    return Err(HeadFault::Malformed("the request line contains an invalid character"));
                }
            }
            Self::Status => {
                // Refused at the first byte that differs, so that no line end has to be waited for.
                if line.iter().zip(b"HTTP/1.").any(|(byte, wanted)| byte != wanted) {
                    return Err(HeadFault::Malformed("the answer is not HTTP/1"));
                }
                if !is_field_value(bytes) {
                    return Err(HeadFault::Malformed("the status line contains a control character"));
                }
            }
        }
        Ok(())
    }

    /// Checks the whole line, given with its line end. Its bytes have passed [`check_bytes`](Self::check_bytes).
    pub(super) fn check_line(self, line: &[u8]) -> Result<(), &'static str> {
        match self {
            Self::Request => check_request_line(line),
            Self::Status => parse_status_line(line).map(|_| ()),
        }
    }

    fn tls_instead(self) -> &'static str {
        match self {
            Self::Request => "this is TLS, and the server takes plain HTTP here",
            Self::Status => "the server answered with TLS: connect to it by a wss:// URL",
        }
    }
}

/// Refuses another method than GET and HEAD as soon as its end is there, and what cannot be a
/// method at its first byte that cannot.
fn check_method(line: &[u8], offset: usize) -> Result<(), HeadFault> {
    if line.starts_with(b"GET ") || line.starts_with(HEAD_PREFIX) {
        return Ok(());
    }
    // No method has ended before `offset`: it would have been refused there.
    let end = line.iter().skip(offset).position(|&byte| !is_tchar(byte)).map(|at| offset + at);
    match end {
        None if line.len() <= MAX_METHOD => Ok(()),
        Some(end) if (1..=MAX_METHOD).contains(&end) && line[end] == b' ' => Err(HeadFault::Method),
        _ => Err(HeadFault::Malformed("this is not an HTTP/1.1 request")),
    }
}

/// Longer than any registered method, so that what never ends is no method.
const MAX_METHOD: usize = 32;

/// The beginning of a request by HEAD.
pub(super) const HEAD_PREFIX: &[u8] = b"HEAD ";

/// Version and status code of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StatusLine {
    /// Whether the version is HTTP/1.1; else it is 1.0.
    pub(super) is_1_1: bool,
    /// 100 or more, three digits.
    pub(super) status: u16,
}

/// Parses the status line that `head` begins with. Its line end is the first in `head`.
pub(super) fn parse_status_line(head: &[u8]) -> Result<StatusLine, &'static str> {
    let line = memchr(b'\n', head).map_or(head, |end| &head[..=end]);
    let mut response = httparse::Response::new(&mut []);
    let is_well_formed = response.parse(line).is_ok();
    match (response.version, response.code) {
        (Some(version), Some(status)) if is_well_formed && status >= 100 => {
            Ok(StatusLine { is_1_1: version == 1, status })
        }
        _ => Err("the status line is malformed"),
    }
}

fn check_request_line(line: &[u8]) -> Result<(), &'static str> {
    let mut request = httparse::Request::new(&mut []);
    match request.parse(line) {
        Ok(_) => {}
        Err(httparse::Error::Version) => return Err("the HTTP version must be 1.1"),
        Err(_) => return Err("the request line is malformed"),
    }
    if !request.path.is_some_and(|target| is_target(target.as_bytes()) && is_path_or_http_uri(target)) {
        return Err("the request target is malformed");
    }
    if request.version != Some(1) {
        return Err("the HTTP version must be 1.1");
    }
    Ok(())
}

/// Returns `true` for a resource name and for an absolute HTTP or HTTPS URI that contains one
/// (RFC 6455 section 4.2.1, item 1).
fn is_path_or_http_uri(target: &str) -> bool {
    if target.starts_with('/') {
        return true;
    }
    let Some((scheme, rest)) = target.split_once("://") else { return false };
    let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
    ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known))
        && is_authority(&rest.as_bytes()[..authority_end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_lines() {
        let check = |line: &str| check_request_line(format!("{line}\r\n").as_bytes());
        let good = [
            "GET / HTTP/1.1",
            "GET /a?b=c HTTP/1.1",
            "GET http://host/a HTTP/1.1",
            "GET HTTPS://h HTTP/1.1",
            "GET http://[::1]:80?a HTTP/1.1",
            "HEAD / HTTP/1.1",
        ];
        for line in good {
            assert_eq!(check(line), Ok(()), "{line}");
        }
        let bad = [
            "GET / HTTP/1.0",
            "GET / HTTP/2.0",
            "GET / HTTP/1.1 ",
            "GET /",
            "GET  / HTTP/1.1",
            "GET / http/1.1",
            "GET a HTTP/1.1",
            "GET * HTTP/1.1",
            "GET http:///a HTTP/1.1",
            "GET http://?a HTTP/1.1",
            "GET http://[::1/ HTTP/1.1",
            "GET http://h:80:90/ HTTP/1.1",
            "GET http://user@h/ HTTP/1.1",
            "GET ftp://h/ HTTP/1.1",
            "GET /#f HTTP/1.1",
            "GET /a b HTTP/1.1",
            "GET ",
        ];
        for line in bad {
            assert!(check(line).is_err(), "{line}");
        }
    }

    #[test]
    fn status_lines() {
        let parse = |line: &str| parse_status_line(format!("{line}\r\n").as_bytes());
        assert_eq!(parse("HTTP/1.1 101 Switching Protocols"), Ok(StatusLine { is_1_1: true, status: 101 }));
        assert_eq!(parse("HTTP/1.0 404"), Ok(StatusLine { is_1_1: false, status: 404 }));
        for line in [
            "HTTP/1.1",
            "HTTP/1.1 1010 x",
            "HTTP/1.1  101",
            "HTTP/1.2 200 OK",
            "HTTP/1.1 099 x",
            "HTTP/1.1 +10",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
