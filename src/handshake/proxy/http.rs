//! CONNECT (RFC 9110 section 9.3.6).

use base64::{Engine, engine::general_purpose::STANDARD};

use super::super::HandshakeLimits;
use super::super::head::ResponseScanner;
use super::super::start_line::StatusLine;
use super::WSProxyErrorKind;
use super::tunnel::{Progress, Target};
use super::url::Credentials;

/// ```text
/// head --2xx--> open
///       `--else--> refused
/// ```
#[derive(Debug)]
pub(super) struct HttpConnect {
    responses: ResponseScanner,
    has_credentials: bool,
}

impl HttpConnect {
    /// Writes the request.
    pub(super) fn begin(target: Target<'_>, credentials: Option<&Credentials>, out: &mut Vec<u8>) -> Self {
        let authority = match target {
            Target::Address(ip, port) => std::net::SocketAddr::new(ip, port).to_string(),
            Target::Name(name, port) => format!("{name}:{port}"),
        };
        let mut head = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
        if let Some(Credentials { user, password }) = credentials {
            let pair = [user, &b":"[..], password].concat();
            head += "Proxy-Authorization: Basic ";
            STANDARD.encode_string(pair, &mut head);
            head += "\r\n";
        }
        head += "\r\n";
        out.extend_from_slice(head.as_bytes());
        let responses = ResponseScanner::new(HandshakeLimits::default(), false);
        Self { responses, has_credentials: credentials.is_some() }
    }

    /// The body of a refusal is not waited for. That of a success does not exist, whatever its headers say.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> Result<Progress, WSProxyErrorKind> {
        let found = self.responses.advance(bytes).map_err(WSProxyErrorKind::InvalidAnswer)?;
        let Some((StatusLine { status, .. }, head)) = found else { return Ok(Progress::Incomplete) };
        match status {
            200..=299 => Ok(Progress::Open { consumed: head.end }),
            // RFC 9110 section 15.5.8 wants 407; tinyproxy says 401 to credentials that it does not know.
            401 | 407 if self.has_credentials => Err(WSProxyErrorKind::AuthenticationFailed),
            407 => Err(WSProxyErrorKind::AuthenticationRequired),
            _ => Err(WSProxyErrorKind::InvalidStatus(status)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tunnel::tests::{run, under_every_split};
    use super::*;

    fn verdict(proxy: &str, answer: &str) -> Result<Progress, WSProxyErrorKind> {
        under_every_split(proxy, ("server.test", 8080), None, answer.as_bytes()).0
    }

    fn request(proxy: &str, host: &str) -> String {
        String::from_utf8(run(proxy, (host, 443), None, b"", &[]).1).expect("text")
    }

    #[test]
    fn requests() {
        assert_eq!(
            request("http://proxy", "server.test"),
            "CONNECT server.test:443 HTTP/1.1\r\nHost: server.test:443\r\n\r\n"
        );
        assert!(
            request("http://proxy", "::1").starts_with("CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n")
        );
        assert!(request("http://proxy", "127.0.0.1").starts_with("CONNECT 127.0.0.1:443 "));
        let wanted = format!("\r\nProxy-Authorization: Basic {}\r\n\r\n", STANDARD.encode("user:p@ss\u{fc}"));
        assert!(request("http://user:p%40ss\u{fc}@proxy", "h").ends_with(&wanted));
    }

    #[test]
    fn answers() {
        use WSProxyErrorKind as Kind;
        for answer in [
            "HTTP/1.1 200 Connection established\r\n\r\n",
            "HTTP/1.0 200 OK\r\nProxy-agent: x\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 102 Wait\r\n\r\nHTTP/1.1 204\r\n\r\n",
        ] {
            assert_eq!(
                verdict("http://proxy", answer),
                Ok(Progress::Open { consumed: answer.len() }),
                "{answer}"
            );
        }
        for (status, with, without) in [
            (407, Kind::AuthenticationFailed, Kind::AuthenticationRequired),
            (401, Kind::AuthenticationFailed, Kind::InvalidStatus(401)),
            (403, Kind::InvalidStatus(403), Kind::InvalidStatus(403)),
            (502, Kind::InvalidStatus(502), Kind::InvalidStatus(502)),
            (302, Kind::InvalidStatus(302), Kind::InvalidStatus(302)),
        ] {
            let answer = format!("HTTP/1.1 {status} No\r\nContent-Length: 100\r\n\r\nwhy");
            assert_eq!(verdict("http://u:p@proxy", &answer), Err(with));
            assert_eq!(verdict("http://proxy", &answer), Err(without));
        }
    }

    #[test]
    fn what_is_behind_the_answer_is_not_consumed() {
        let answer = "HTTP/1.1 200 OK\r\n\r\n";
        let early = format!("{answer}early");
        let (progress, _) = run("http://proxy", ("h", 1), None, early.as_bytes(), &[]);
        assert_eq!(progress, Ok(Progress::Open { consumed: answer.len() }));
    }

    #[test]
    fn what_is_no_answer() {
        for answer in
            ["SSH-2.0", "\x05\x00", "HTTP/2 200\r\n\r\n", "HTTP/1.1 200 OK\n\n", "HTTP/1.1 20\r\n\r\n"]
        {
            assert!(
                matches!(verdict("http://proxy", answer), Err(WSProxyErrorKind::InvalidAnswer(_))),
                "{answer:?}"
            );
        }
        assert_eq!(verdict("http://proxy", "HTTP/1.1 200 OK\r\nA: b\r\n"), Ok(Progress::Incomplete));
    }

    #[test]
    fn endless_headers_are_cut_off() {
        let mut endless = b"HTTP/1.1 200 OK\r\n".to_vec();
        for name in 0..129 {
            endless.extend_from_slice(format!("X-{name}: y\r\n").as_bytes());
        }
        let too_many = run("http://proxy", ("h", 1), None, &endless, &[]).0;
        assert_eq!(too_many, Err(WSProxyErrorKind::InvalidAnswer("the response has too many headers")));
        let long = [&b"HTTP/1.1 200 OK\r\nX: "[..], &[b'y'; 16 * 1024]].concat();
        let too_large = run("http://proxy", ("h", 1), None, &long, &[]).0;
        assert_eq!(too_large, Err(WSProxyErrorKind::InvalidAnswer("the response head is too large")));
        let interim = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(9);
        let too_patient = run("http://proxy", ("h", 1), None, &interim, &[]).0;
        assert_eq!(too_patient, Err(WSProxyErrorKind::InvalidAnswer("too many interim responses")));
    }
}
