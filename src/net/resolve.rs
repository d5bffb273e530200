//! From a name to addresses, without blocking the loop.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;

use super::lookups::LOOKUPS;

/// Looks names up in place of the system's resolver:
/// [`WSConnectConfig::resolver`](crate::WSConnectConfig::resolver).
///
/// Closures that return a future implement it:
///
/// ```
/// use femtows::WSConnectConfig;
/// use std::collections::HashMap;
/// use std::io;
/// use std::net::{IpAddr, SocketAddr};
///
/// let table = HashMap::from([("feed.example".to_owned(), IpAddr::from([192, 0, 2, 1]))]);
/// let config = WSConnectConfig::default().resolver(move |host: &str, port: u16| {
///     let found = table.get(host).map(|&ip| vec![SocketAddr::new(ip, port)]);
///     std::future::ready(found.ok_or_else(|| io::ErrorKind::NotFound.into()))
/// });
/// # let _ = config;
/// ```
///
/// A resolver of another runtime runs on a thread of its own: send the name there and await a
/// channel for the answer. The future may be woken from any thread.
///
/// # Contract
/// - [`resolve`](Self::resolve) is called, and its future is polled, on the loop's thread. Neither
///   may block it.
/// - It is called for the host of each URL, also after a redirection, unless a
///   [`socket_factory`](crate::WSConnectConfig::socket_factory) makes the socket. With a proxy it
///   is called for the proxy's host, and for the server's only if the proxy is given an address
///   (`socks4`, `socks5`).
/// - It is not called for IP addresses, nor for `localhost` and names that end with `.localhost`
///   (RFC 6761 section 6.3): those are answered without it.
/// - Several calls may be under way at a time. The bounds on the system's lookups do not apply.
/// - [`handshake_timeout`](crate::WSConnectConfig::handshake_timeout) covers it. Then, and if the
///   connect is dropped, the future is dropped.
pub trait WSResolver: Send + Sync {
    /// Returns the addresses of `host`, a name in its ASCII form, the preferred one first, each
    /// with the port to connect to; as a rule that is `port`. They are raced as RFC 8305 describes.
    ///
    /// # Errors
    /// Any; it becomes the source of
    /// [`WSConnectError::Resolve`](crate::WSConnectError::Resolve). No address at all is an error,
    /// too.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> WSResolving<'a>;
}

/// A lookup of a [`WSResolver`] under way.
pub type WSResolving<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + 'a>>;

impl<F, A> WSResolver for F
where
    F: Fn(&str, u16) -> A + Send + Sync,
    A: Future<Output = io::Result<Vec<SocketAddr>>> + 'static,
{
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> WSResolving<'a> {
        Box::pin(self(host, port))
    }
}

/// Returns the addresses of a host, in the order of the resolver: `resolver`, or the system's.
///
/// Dropping the future gives the lookup up. `redirected`: a server has chosen the name.
///
/// # Errors
/// Those of the resolver; `NotFound` if it returns no address.
pub(crate) async fn resolve(
    host: &str,
    port: u16,
    resolver: Option<&dyn WSResolver>,
    redirected: bool,
) -> io::Result<Vec<SocketAddr>> {
    if let Some(known) = known_addresses(host, port) {
        return Ok(known);
    }
    let found = match resolver {
        Some(resolver) => resolver.resolve(host, port).await?,
        None => LOOKUPS.look_up(host, port, redirected).await?,
    };
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    Ok(found)
}

/// Returns the addresses that no resolver is needed for: those of IP addresses and of `localhost`.
fn known_addresses(host: &str, port: u16) -> Option<Vec<SocketAddr>> {
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(ip) = literal.parse() {
        return Some(vec![SocketAddr::new(ip, port)]);
    }
    // RFC 6761 section 6.3: a resolver, or an attacker in its place, could lead them elsewhere.
    is_localhost(host).then(|| {
        // A SOCKS proxy is given the first address only, and more servers and proxies listen on
        // IPv4's. Without a proxy a refusal starts the next attempt at once.
        let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        loopback.map(|ip| SocketAddr::new(ip, port)).into()
    })
}

/// Returns `true` for `localhost` and the names below it, with or without the root's dot.
fn is_localhost(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    let last_label = name.rsplit_once('.').map_or(name, |(_, label)| label);
    last_label.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(host: &str) -> Option<Vec<String>> {
        Some(known_addresses(host, 80)?.iter().map(SocketAddr::to_string).collect())
    }

    #[test]
    fn localhost_and_names_below_it_need_no_lookup() {
        for host in ["localhost", "LocalHost", "localhost.", "app.localhost", "A.B.LOCALHOST."] {
            assert_eq!(known(host).expect(host), ["127.0.0.1:80", "[::1]:80"], "{host}");
        }
    }

    #[test]
    fn names_that_only_resemble_localhost_need_a_lookup() {
        for host in ["localhost.invalid", "mylocalhost", "localhost..", "local.host", ""] {
            assert_eq!(known(host), None, "{host}");
        }
    }

    #[test]
    fn ip_addresses_need_no_lookup() {
        for (host, addr) in
            [("192.0.2.1", "192.0.2.1:80"), ("2001:db8::1", "[2001:db8::1]:80"), ("[::1]", "[::1]:80")]
        {
            assert_eq!(known(host).expect(host), [addr]);
        }
    }
}
