//! SOCKS4, and its extension 4a, which lets the proxy look the name up.

use std::net::IpAddr;

use super::WSProxyErrorKind;
use super::tunnel::{Progress, Target};
use super::url::Credentials;

const VERSION: u8 = 4;
const CONNECT: u8 = 1;
const GRANTED: u8 = 0x5A;
/// Version 0, code, and six bytes that mean nothing for CONNECT.
const REPLY_LEN: usize = 8;
/// An address that cannot be one says that a name follows.
const NAME_FOLLOWS: [u8; 4] = [0, 0, 0, 1];

/// One request, one reply.
#[derive(Debug)]
pub(super) struct Socks4;

impl Socks4 {
    /// Writes the request.
    pub(super) fn begin(
        target: Target<'_>,
        credentials: Option<&Credentials>,
        out: &mut Vec<u8>,
    ) -> Result<Self, WSProxyErrorKind> {
        let (port, ip, name) = match target {
            Target::Address(IpAddr::V4(ip), port) => (port, ip.octets(), None),
            Target::Address(IpAddr::V6(_), _) => {
                return Err(WSProxyErrorKind::Unsupported("SOCKS4 does not reach IPv6 addresses"));
            }
            Target::Name(name, port) => (port, NAME_FOLLOWS, Some(name)),
        };
        out.extend_from_slice(&[VERSION, CONNECT]);
        out.extend_from_slice(&port.to_be_bytes());
        out.extend_from_slice(&ip);
        out.extend_from_slice(credentials.map_or(&[][..], |credentials| &credentials.user));
        out.push(0);
        if let Some(name) = name {
            out.extend_from_slice(name.as_bytes());
            out.push(0);
        }
        Ok(Self)
    }

    pub(super) fn receive(bytes: &[u8]) -> Result<Progress, WSProxyErrorKind> {
        if bytes.first().is_some_and(|&version| version != 0) {
            return Err(WSProxyErrorKind::InvalidAnswer("this is not a SOCKS4 proxy"));
        }
        match bytes.get(1) {
            Some(&GRANTED) if bytes.len() >= REPLY_LEN => Ok(Progress::Open { consumed: REPLY_LEN }),
            Some(&GRANTED) | None => Ok(Progress::Incomplete),
            // The server behind, or the user, is told apart by no more than this.
            Some(&(0x5C | 0x5D)) => Err(WSProxyErrorKind::AuthenticationFailed),
            Some(&code @ 0x5B) => Err(WSProxyErrorKind::Refused { code, meaning: "rejected or failed" }),
            Some(_) => Err(WSProxyErrorKind::InvalidAnswer("the reply code is unknown")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tunnel::tests::under_every_split;
    use super::*;

    const OK: [u8; 8] = [0, GRANTED, 0, 0, 0, 0, 0, 0];

    fn verdict(answer: &[u8]) -> Result<Progress, WSProxyErrorKind> {
        under_every_split("socks4a://h", ("server.test", 80), None, answer).0
    }

    #[test]
    fn requests() {
        let sent = |proxy, host, resolved| under_every_split(proxy, (host, 0x0102), resolved, &OK);
        let (progress, bytes) = sent("socks4://me@h", "server.test", Some("10.1.2.3:258"));
        assert_eq!(progress, Ok(Progress::Open { consumed: 8 }));
        assert_eq!(bytes, b"\x04\x01\x01\x02\x0a\x01\x02\x03me\0");
        assert_eq!(
            sent("socks4a://me@h", "server.test", None).1,
            b"\x04\x01\x01\x02\0\0\0\x01me\0server.test\0"
        );
        assert_eq!(
            sent("socks4a://h", "10.1.2.3", None).1,
            b"\x04\x01\x01\x02\x0a\x01\x02\x03\0",
            "no name needed"
        );
        for proxy in ["socks4://h", "socks4a://h"] {
            assert!(matches!(sent(proxy, "::1", None).0, Err(WSProxyErrorKind::Unsupported(_))));
        }
    }

    #[test]
    fn replies() {
        use WSProxyErrorKind as Kind;
        assert_eq!(verdict(&[&OK[..], b"early"].concat()[..8]), Ok(Progress::Open { consumed: 8 }));
        assert_eq!(verdict(&OK[..7]), Ok(Progress::Incomplete));
        assert!(matches!(verdict(&[0, 0x5B, 0, 0, 0, 0, 0, 0]), Err(Kind::Refused { code: 0x5B, .. })));
        assert_eq!(verdict(&[0, 0x5C, 0, 0, 0, 0, 0, 0]), Err(Kind::AuthenticationFailed));
        assert_eq!(verdict(&[0, 0x5D, 0, 0, 0, 0, 0, 0]), Err(Kind::AuthenticationFailed));
        for answer in [&b"HTTP/1.1 400 Bad Request"[..], &[4, 0x5A], &[5, 0], &[0, 0], &[0, 0x5E]] {
            assert!(matches!(verdict(answer), Err(Kind::InvalidAnswer(_))), "{answer:?}");
        }
    }
}
