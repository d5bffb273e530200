use std::net::{IpAddr, SocketAddr};

use super::http::HttpConnect;
use super::socks4::Socks4;
use super::socks5::Socks5;
use super::{Scheme, WSProxy, WSProxyError, WSProxyErrorKind};

/// The exchange with a proxy that ends in a tunnel, without I/O.
///
/// Send [`outgoing`](Self::outgoing), feed [`receive`](Self::receive) with *all* bytes that arrived so far, send what `outgoing` then
/// has more, until the tunnel is there; [`receive_eof`](Self::receive_eof) if the proxy closes before. It does not know the time: a
/// proxy that never answers has to be bounded by the caller's deadline.
#[derive(Debug)]
pub(crate) struct Tunnel {
    proxy: Box<str>,
    exchange: Exchange,
    /// All that is to be sent, from the beginning.
    out: Vec<u8>,
}

#[derive(Debug)]
enum Exchange {
    Http(HttpConnect),
    Socks4(Socks4),
    Socks5(Socks5),
}

/// How far the exchange has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing wrong so far, and more to come.
    Incomplete,
    /// The answer ends with this byte; what is behind comes from the server.
    Open {
        /// Length of the proxy's answers.
        consumed: usize,
    },
}

/// The server that the tunnel leads to, as the proxy is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target<'a> {
    Address(IpAddr, u16),
    /// In its ASCII form.
    Name(&'a str, u16),
}

impl Tunnel {
    /// Asks `proxy` for a tunnel to `host` (an IPv6 address without brackets). `resolved` is its address, for the kinds of proxy that
    /// [want one](Scheme::wants_address).
    pub(crate) fn new(
        proxy: &WSProxy,
        host: &str,
        port: u16,
        resolved: Option<SocketAddr>,
    ) -> Result<Self, WSProxyError> {
        let literal = host.parse().ok().map(|ip| SocketAddr::new(ip, port));
        let target = match literal.or(resolved) {
            Some(addr) => Target::Address(addr.ip(), addr.port()),
            None => Target::Name(host, port),
        };
        let mut out = Vec::new();
        let exchange = match proxy.scheme() {
            Scheme::Http | Scheme::Https => {
                Ok(Exchange::Http(HttpConnect::begin(target, proxy.credentials(), &mut out)))
            }
            Scheme::Socks4 | Scheme::Socks4a => {
                Socks4::begin(target, proxy.credentials(), &mut out).map(Exchange::Socks4)
            }
            Scheme::Socks5 | Scheme::Socks5h => {
                Socks5::begin(target, proxy.credentials(), &mut out).map(Exchange::Socks5)
            }
        };
        let name: Box<str> = proxy.to_string().into();
        match exchange {
            Ok(exchange) => Ok(Self { proxy: name, exchange, out }),
            Err(kind) => Err(WSProxyError { proxy: name, kind }),
        }
    }

    /// All bytes to send, from the beginning of the exchange. It grows when the proxy has answered.
    pub(crate) fn outgoing(&self) -> &[u8] {
        &self.out
    }

    /// Looks at what has arrived: all bytes since the beginning of the connection.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Result<Progress, WSProxyError> {
        let progress = match &mut self.exchange {
            Exchange::Http(http) => http.receive(bytes),
            Exchange::Socks4(_) => Socks4::receive(bytes),
            Exchange::Socks5(socks) => socks.receive(bytes, &mut self.out),
        };
        progress.map_err(|kind| self.error(kind))
    }

    /// The proxy has closed the connection.
    pub(crate) fn receive_eof(&self) -> WSProxyError {
        self.error(WSProxyErrorKind::Closed)
    }

    /// There were bytes behind the proxy's answer: in WebSocket, as in TLS, it is the client that speaks first.
    pub(crate) fn unexpected_bytes(&self) -> WSProxyError {
        self.error(WSProxyErrorKind::InvalidAnswer("bytes follow that nobody has asked for"))
    }

    fn error(&self, kind: WSProxyErrorKind) -> WSProxyError {
        WSProxyError { proxy: self.proxy.clone(), kind }
    }
}

/// Runs a whole exchange in memory: for the tests of the codecs.
#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What comes of an exchange in which the proxy says `answers`, one after the other, cut at `cuts`. Also what was sent.
    pub(in super::super) fn run(
        proxy: &str,
        target: (&str, u16),
        resolved: Option<&str>,
        answer: &[u8],
        cuts: &[usize],
    ) -> (Result<Progress, WSProxyErrorKind>, Vec<u8>) {
        let proxy = WSProxy::parse(proxy).expect("a valid proxy");
        let resolved = resolved.map(|addr| addr.parse().expect("an address"));
        let mut tunnel = match Tunnel::new(&proxy, target.0, target.1, resolved) {
            Ok(tunnel) => tunnel,
            Err(error) => return (Err(error.kind), Vec::new()),
        };
        for end in cuts.iter().copied().chain([answer.len()]) {
            match tunnel.receive(&answer[..end]) {
                Ok(Progress::Incomplete) => {}
                Ok(open) => return (Ok(open), tunnel.outgoing().to_vec()),
                Err(error) => return (Err(error.kind), tunnel.outgoing().to_vec()),
            }
        }
        (Ok(Progress::Incomplete), tunnel.outgoing().to_vec())
    }

    /// The verdict on `answer`, which must be the same however it is cut: in one piece, byte by byte, in two pieces at each place.
    pub(in super::super) fn under_every_split(
        proxy: &str,
        target: (&str, u16),
        resolved: Option<&str>,
        answer: &[u8],
    ) -> (Result<Progress, WSProxyErrorKind>, Vec<u8>) {
        let whole = run(proxy, target, resolved, answer, &[]);
        let bytes: Vec<usize> = (0..=answer.len()).collect();
        assert_eq!(run(proxy, target, resolved, answer, &bytes), whole, "byte by byte: {answer:?}");
        for cut in 0..=answer.len() {
            assert_eq!(run(proxy, target, resolved, answer, &[cut]), whole, "cut at {cut}: {answer:?}");
        }
        whole
    }

    #[test]
    fn no_exchange_panics_or_grows_on_noise() {
        let mut state = 1_u32;
        let mut random = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let proxies = ["http://u:p@h", "socks4://h", "socks4a://u@h", "socks5://h", "socks5h://u:p@h"];
        for proxy in proxies {
            for _ in 0..2000 {
                // The first bytes are often the right ones, so that the noise gets far.
                let good: &[u8] =
                    if proxy.starts_with("http") { b"HTTP/1.1 200 " } else { &[5, 2, 1, 0, 5, 0, 0, 3] };
                let kept = usize::from(random()) % (good.len() + 1);
                let noise = usize::from(random()) % 40;
                let answer: Vec<u8> = good[..kept]
                    .iter()
                    .copied()
                    .chain(std::iter::repeat_with(&mut random).take(noise))
                    .collect();
                let (_, sent) = under_every_split(proxy, ("h", 1), Some("1.2.3.4:1"), &answer);
                assert!(sent.len() < 300);
            }
        }
    }
}
