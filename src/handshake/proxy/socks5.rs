//! SOCKS5 (RFC 1928) with user name and password (RFC 1929).

use std::net::IpAddr;

use super::WSProxyErrorKind;
use super::tunnel::{Progress, Target};
use super::url::Credentials;

const VERSION: u8 = 5;
const CONNECT: u8 = 1;
const NO_AUTHENTICATION: u8 = 0;
const USER_PASSWORD: u8 = 2;
const NO_METHOD: u8 = 0xFF;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// ```text
/// Method --user and password--> Authentication --> Reply --> open
///    `--none--------------------------------------^
/// ```
#[derive(Debug)]
pub(super) struct Socks5 {
    phase: Phase,
    /// Bytes before this one belong to earlier phases.
    start: usize,
    /// RFC 1929 section 2; `None` without credentials.
    authentication: Option<Vec<u8>>,
    request: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Method,
    Authentication,
    Reply,
}

impl Socks5 {
    /// Writes the greeting.
    pub(super) fn begin(
        target: Target<'_>,
        credentials: Option<&Credentials>,
        out: &mut Vec<u8>,
    ) -> Result<Self, WSProxyErrorKind> {
        let request = encode_request(target)?;
        match credentials {
            Some(_) => out.extend_from_slice(&[VERSION, 2, NO_AUTHENTICATION, USER_PASSWORD]),
            None => out.extend_from_slice(&[VERSION, 1, NO_AUTHENTICATION]),
        }
        let authentication = credentials.map(encode_credentials);
        Ok(Self { phase: Phase::Method, start: 0, authentication, request })
    }

    pub(super) fn receive(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Progress, WSProxyErrorKind> {
        loop {
            let rest = bytes.get(self.start..).unwrap_or_default();
            match self.phase {
                Phase::Method => {
                    if !has_version(rest, VERSION)? || rest.len() < 2 {
                        return Ok(Progress::Incomplete);
                    }
                    self.method_chosen(rest[1], out)?;
                }
                Phase::Authentication => {
                    // RFC 1929 section 2: the version of the sub-negotiation is 1.
                    if !has_version(rest, 1)? || rest.len() < 2 {
                        return Ok(Progress::Incomplete);
                    }
                    if rest[1] != 0 {
                        return Err(WSProxyErrorKind::AuthenticationFailed);
                    }
                    self.ask(out);
                }
                Phase::Reply => return self.parse_reply(rest),
            }
        }
    }

    fn method_chosen(&mut self, method: u8, out: &mut Vec<u8>) -> Result<(), WSProxyErrorKind> {
        match (method, &self.authentication) {
            (NO_AUTHENTICATION, _) => self.ask(out),
            (USER_PASSWORD, Some(authentication)) => {
                out.extend_from_slice(authentication);
                self.phase = Phase::Authentication;
                self.start += 2;
            }
            (NO_METHOD, Some(_)) => return Err(WSProxyErrorKind::AuthenticationFailed),
            (NO_METHOD, None) => return Err(WSProxyErrorKind::AuthenticationRequired),
            _ => return Err(WSProxyErrorKind::InvalidAnswer("it chose a method that was not offered")),
        }
        Ok(())
    }

    /// The way is free for the request. Both answers that lead here have two bytes.
    fn ask(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.request);
        self.phase = Phase::Reply;
        self.start += 2;
    }

    /// RFC 1928 section 6. The address in it is of no interest, but its length is.
    fn parse_reply(&self, reply: &[u8]) -> Result<Progress, WSProxyErrorKind> {
        if !has_version(reply, VERSION)? {
            return Ok(Progress::Incomplete);
        }
        // A refusal is one whatever follows.
        if let Some(&code) = reply.get(1).filter(|&&code| code != 0) {
            return Err(WSProxyErrorKind::Refused { code, meaning: meaning(code) });
        }
        let addr_len = match (reply.get(3), reply.get(4)) {
            (Some(&IPV4), _) => 4,
            (Some(&IPV6), _) => 16,
            (Some(&NAME), Some(&len)) => 1 + usize::from(len),
            (Some(&NAME) | None, _) => return Ok(Progress::Incomplete),
            _ => return Err(WSProxyErrorKind::InvalidAnswer("the type of the bound address is unknown")),
        };
        let len = 4 + addr_len + 2;
        if reply.len() < len {
            return Ok(Progress::Incomplete);
        }
        Ok(Progress::Open { consumed: self.start + len })
    }
}

/// Whether the version has arrived; an error if it is another one.
fn has_version(bytes: &[u8], version: u8) -> Result<bool, WSProxyErrorKind> {
    match bytes.first() {
        None => Ok(false),
        Some(&found) if found == version => Ok(true),
        Some(_) => Err(WSProxyErrorKind::InvalidAnswer("this is not a SOCKS5 proxy")),
    }
}

/// RFC 1928 section 4.
fn encode_request(target: Target<'_>) -> Result<Vec<u8>, WSProxyErrorKind> {
    let mut request = vec![VERSION, CONNECT, 0];
    let port = match target {
        Target::Address(IpAddr::V4(ip), port) => {
            request.push(IPV4);
            request.extend_from_slice(&ip.octets());
            port
        }
        Target::Address(IpAddr::V6(ip), port) => {
            request.push(IPV6);
            request.extend_from_slice(&ip.octets());
            port
        }
        Target::Name(name, port) => {
            let Ok(len) = u8::try_from(name.len()) else {
                return Err(WSProxyErrorKind::Unsupported("SOCKS5 takes names of up to 255 bytes"));
            };
            request.extend_from_slice(&[NAME, len]);
            request.extend_from_slice(name.as_bytes());
            port
        }
    };
    request.extend_from_slice(&port.to_be_bytes());
    Ok(request)
}

/// RFC 1929 section 2. Both parts have at most 255 bytes, which the URL's parser has seen to.
fn encode_credentials(credentials: &Credentials) -> Vec<u8> {
    let mut message = vec![1];
    for part in [&credentials.user, &credentials.password] {
        debug_assert!(part.len() <= 255, "checked when the URL was parsed");
        message.push(part.len() as u8);
        message.extend_from_slice(part);
    }
    message
}

/// RFC 1928 section 6.
fn meaning(code: u8) -> &'static str {
    match code {
        1 => "general failure",
        2 => "connection not allowed",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "TTL expired",
        7 => "command not supported",
        8 => "address type not supported",
        _ => "unknown code",
    }
}

#[cfg(test)]
mod tests {
    use super::super::tunnel::tests::{run, under_every_split};
    use super::*;

    const OPEN: [u8; 10] = [5, 0, 0, 1, 0, 0, 0, 0, 0, 0];

    fn exchange(proxy: &str, host: &str, answers: &[&[u8]]) -> (Result<Progress, WSProxyErrorKind>, Vec<u8>) {
        under_every_split(proxy, (host, 0x0102), None, &answers.concat())
    }

    #[test]
    fn without_credentials() {
        let (progress, sent) = exchange("socks5h://h", "server.test", &[&[5, 0], &OPEN]);
        assert_eq!(progress, Ok(Progress::Open { consumed: 12 }));
        assert_eq!(sent, b"\x05\x01\x00\x05\x01\x00\x03\x0bserver.test\x01\x02");
        let (_, sent) = exchange("socks5h://h", "10.1.2.3", &[&[5, 0], &OPEN]);
        assert_eq!(sent, b"\x05\x01\x00\x05\x01\x00\x01\x0a\x01\x02\x03\x01\x02");
        let (_, sent) = run("socks5://h", ("server.test", 258), Some("[::1]:258"), &[5, 0], &[]);
        assert_eq!(sent, b"\x05\x01\x00\x05\x01\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x01\x02");
        let name = "n".repeat(256);
        assert!(matches!(exchange("socks5h://h", &name, &[]).0, Err(WSProxyErrorKind::Unsupported(_))));
    }

    #[test]
    fn with_credentials() {
        let proxy = "socks5h://user:p%40ss@h";
        let (progress, sent) = exchange(proxy, "h", &[&[5, 2], &[1, 0], &OPEN]);
        assert_eq!(progress, Ok(Progress::Open { consumed: 14 }));
        assert_eq!(sent, b"\x05\x02\x00\x02\x01\x04user\x04p@ss\x05\x01\x00\x03\x01h\x01\x02");
        let (progress, sent) = exchange(proxy, "h", &[&[5, 0], &OPEN]);
        assert_eq!(progress, Ok(Progress::Open { consumed: 12 }), "a proxy may want no credentials");
        assert!(!sent.windows(4).any(|bytes| bytes == b"user"), "and is told none then");
        assert_eq!(exchange(proxy, "h", &[&[5, 2], &[1, 1]]).0, Err(WSProxyErrorKind::AuthenticationFailed));
        assert_eq!(exchange(proxy, "h", &[&[5, 0xFF]]).0, Err(WSProxyErrorKind::AuthenticationFailed));
        assert_eq!(
            exchange("socks5://h", "h", &[&[5, 0xFF]]).0,
            Err(WSProxyErrorKind::AuthenticationRequired)
        );
    }

    #[test]
    fn nothing_is_sent_before_its_time() {
        let sent = |answer: &[u8]| run("socks5h://user:pass@h", ("h", 1), None, answer, &[]).1.len();
        assert_eq!((sent(&[]), sent(&[5]), sent(&[5, 2]), sent(&[5, 2, 1])), (4, 4, 15, 15));
        assert!(sent(&[5, 2, 1, 0]) > 15);
    }

    #[test]
    fn bound_addresses_of_every_type() {
        let open = |reply: &[u8]| exchange("socks5h://h", "h", &[&[5, 0], reply]).0;
        for (reply, len) in [
            (&[&[5, 0, 0, 1][..], &[9; 6]].concat(), 10),
            (&[&[5, 0, 0, 4][..], &[9; 18]].concat(), 22),
            (&[&[5, 0, 0, 3, 3][..], b"abc", &[9; 2]].concat(), 10),
            (&[&[5, 0, 0, 3, 255][..], &[b'a'; 255], &[9; 2]].concat(), 262),
        ] {
            assert_eq!(open(reply), Ok(Progress::Open { consumed: 2 + len }));
            assert_eq!(open(&reply[..len - 1]), Ok(Progress::Incomplete));
        }
        assert!(matches!(open(&[5, 0, 0, 2]), Err(WSProxyErrorKind::InvalidAnswer(_))));
    }

    #[test]
    fn refusals_and_what_is_no_answer() {
        for code in 1..=9 {
            let refused = exchange("socks5h://h", "h", &[&[5, 0], &[5, code]]).0;
            assert_eq!(refused, Err(WSProxyErrorKind::Refused { code, meaning: meaning(code) }));
        }
        for answer in [&b"HTTP/1.1 400"[..], &[0, 0x5A], &[4], &[5, 2], &[5, 1], &[5, 0, 4]] {
            let verdict = exchange("socks5h://h", "h", &[answer]).0;
            assert!(matches!(verdict, Err(WSProxyErrorKind::InvalidAnswer(_))), "{answer:?}");
        }
        let bad_subversion = exchange("socks5h://u:p@h", "h", &[&[5, 2], &[5, 0]]).0;
        assert!(matches!(bad_subversion, Err(WSProxyErrorKind::InvalidAnswer(_))));
    }
}
