//! Which web pages may open connections.

use std::fmt;
use std::sync::Arc;

use url::{Host, Url};

use crate::handshake::WSRequestHead;

use super::WSUpgradeRequest;

/// Which web pages may open connections: the defence against cross-site WebSocket hijacking (RFC 6455 section 10.2).
///
/// A browser names in `Origin` the page that connects, and sends the user's cookies along whatever page that is. A request without
/// `Origin` comes from no browser and passes all policies but a [closure](Self::from_fn); one that names several origins is refused
/// by all but [`any`](Self::any) and a closure.
///
/// ```
/// use femtows::{WSOriginPolicy, WSServerConfig};
///
/// let config = WSServerConfig::default().origin(WSOriginPolicy::list(["https://app.example.com"]));
/// ```
#[derive(Clone, Default)]
pub struct WSOriginPolicy(Policy);

#[derive(Clone, Default)]
enum Policy {
    #[default]
    Any,
    SameHost,
    List(Arc<[Box<str>]>),
    Closure(Arc<dyn Fn(&WSUpgradeRequest) -> bool + Send + Sync>),
}

impl WSOriginPolicy {
    /// All pages. For servers that do not know their users by cookies, client certificates or addresses.
    pub fn any() -> Self {
        Self(Policy::Any)
    }

    /// Allows pages from the host and port that the request was sent to, as
    /// [`WSRequestHead::host`] returns them: the authority of an absolute target, else `Host`. The
    /// scheme is not compared: behind a proxy that ends TLS it differs.
    pub fn same_host() -> Self {
        Self(Policy::SameHost)
    }

    /// Pages with one of these origins, such as `https://app.example.com` or `http://localhost:8080`: scheme, host and the port unless
    /// it is the scheme's own. Compared without regard to case.
    pub fn list<S: Into<String>>(origins: impl IntoIterator<Item = S>) -> Self {
        Self(Policy::List(origins.into_iter().map(|origin| origin.into().into_boxed_str()).collect()))
    }

    /// Requests for which `allows` is true. It is asked for requests without `Origin`, too.
    pub fn from_fn(allows: impl Fn(&WSUpgradeRequest) -> bool + Send + Sync + 'static) -> Self {
        Self(Policy::Closure(Arc::new(allows)))
    }

    /// Whether this request may go on to the factory.
    pub(crate) fn allows(&self, request: &WSUpgradeRequest) -> bool {
        match &self.0 {
            Policy::Any => true,
            Policy::SameHost => only_origin(request, |origin| is_same_host(origin, request)),
            Policy::List(list) => {
                only_origin(request, |origin| list.iter().any(|listed| listed.eq_ignore_ascii_case(origin)))
            }
            Policy::Closure(allows) => allows(request),
        }
    }
}

impl fmt::Debug for WSOriginPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Policy::Any => f.write_str("any"),
            Policy::SameHost => f.write_str("same host"),
            Policy::List(list) => f.debug_set().entries(list.iter()).finish(),
            Policy::Closure(_) => f.write_str("closure"),
        }
    }
}

/// Asks about the one origin that the request names; true if it names none.
fn only_origin(request: &WSRequestHead, allows: impl FnOnce(&str) -> bool) -> bool {
    let headers = request.headers();
    let mut origins = headers.get_all("origin");
    match (origins.next(), origins.next()) {
        (None, _) => true,
        (Some(origin), None) => allows(origin),
        (Some(_), Some(_)) => false,
    }
}

/// Returns `true` if `Origin` and the request's host are the same host and port. A port that is not
/// given is that of the origin's scheme.
fn is_same_host(origin: &str, request: &WSRequestHead) -> bool {
    let Some(host) = request.host() else { return false };
    // Not of a page: `null`, or nothing that has a host.
    let Some((scheme, _)) = origin.split_once("://") else { return false };
    match (authority(origin), authority(&format!("{scheme}://{host}"))) {
        (Some(origin), Some(host)) => origin == host,
        _ => false,
    }
}

fn authority(url: &str) -> Option<(Host, u16)> {
    let url = Url::parse(url).ok()?;
    Some((url.host()?.to_owned(), url.port_or_known_default()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    use crate::handshake::{HandshakeLimits, ServerHandshake, ServerProgress};
    use crate::runtime::{LoopCore, Slots, WSLoopHandle};

    fn request(host: &str, origins: &[&str]) -> WSUpgradeRequest {
        let lines: Vec<_> = origins.iter().map(|origin| format!("Origin: {origin}\r\n")).collect();
        parsed(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n{}\r\n", lines.concat()))
    }

    fn parsed(head: &str) -> WSUpgradeRequest {
        match ServerHandshake::new(HandshakeLimits::default()).receive(head.as_bytes()) {
            ServerProgress::Request { request, .. } => {
                let poll = mio::Poll::new().unwrap();
                let registry = poll.registry().try_clone().unwrap();
                let core = LoopCore::new(<_>::default(), registry, Instant::now()).unwrap();
                WSUpgradeRequest::new(request, WSLoopHandle::new(core), Slots::new().insert(()))
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn same_host_compares_host_and_port() {
        let policy = WSOriginPolicy::same_host();
        let cases = [
            ("example.com", "https://example.com", true),
            ("example.com", "http://EXAMPLE.com", true),
            ("example.com:443", "https://example.com", true),
            ("example.com", "https://example.com:443", true),
            ("example.com:8080", "http://example.com:8080", true),
            ("[::1]:8080", "http://[::1]:8080", true),
            ("example.com:8080", "http://example.com", false),
            ("example.com", "http://example.com:8080", false),
            ("example.com", "https://example.com.evil.com", false),
            ("example.com", "https://evil.com", false),
            ("example.com", "https://sub.example.com", false),
            ("example.com", "null", false),
            ("example.com", "file://", false),
            ("example.com", "example.com", false),
        ];
        for (host, origin, allowed) in cases {
            assert_eq!(policy.allows(&request(host, &[origin])), allowed, "{origin} at {host}");
        }
    }

    /// RFC 9112 section 3.2.2: the authority of an absolute target takes the place of `Host`.
    #[test]
    fn same_host_compares_with_the_authority_of_an_absolute_target() {
        let head = |target: &str, host: &str| {
            format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nOrigin: https://a.example\r\n\r\n")
        };
        let policy = WSOriginPolicy::same_host();
        assert!(policy.allows(&parsed(&head("http://a.example/x", "b.example"))));
        assert!(policy.allows(&parsed(&head("http://A.example:443?x", "b.example"))));
        assert!(!policy.allows(&parsed(&head("http://b.example/", "a.example"))));
        assert!(!policy.allows(&parsed(&head("http://a.example:8080/", "a.example"))));
    }

    #[test]
    fn lists_compare_whole_origins() {
        let policy = WSOriginPolicy::list(["https://a.example", "http://b.example:8080"]);
        let cases = [
            ("https://a.example", true),
            ("HTTPS://A.example", true),
            ("http://b.example:8080", true),
            ("http://a.example", false),
            ("https://a.example:444", false),
            ("https://a.example.evil", false),
            ("http://b.example", false),
            ("null", false),
        ];
        for (origin, allowed) in cases {
            assert_eq!(policy.allows(&request("x", &[origin])), allowed, "{origin}");
        }
    }

    #[test]
    fn no_origin_passes_and_two_do_not() {
        let origins = ["https://a.example", "https://a.example"];
        for policy in [WSOriginPolicy::same_host(), WSOriginPolicy::list(["https://a.example"])] {
            assert!(policy.allows(&request("a.example", &[])), "{policy:?}");
            assert!(policy.allows(&request("a.example", &origins[..1])), "{policy:?}");
            assert!(!policy.allows(&request("a.example", &origins)), "{policy:?}");
        }
        assert!(WSOriginPolicy::any().allows(&request("x", &["null", "null"])));
    }

    #[test]
    fn a_closure_decides_alone() {
        let policy = WSOriginPolicy::from_fn(|request| request.origin().is_some());
        assert!(policy.allows(&request("x", &["null"])));
        assert!(!policy.allows(&request("x", &[])));
    }
}
