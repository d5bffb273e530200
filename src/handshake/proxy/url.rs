//! The URL of a proxy.

use std::fmt;

use percent_encoding::percent_decode_str;
use url::Url;

use super::super::url::{parse_with_host, redacted, split_scheme};

/// A proxy on the way to the server.
///
/// | scheme | proxy | looks the server's name up | credentials | default port |
/// |---|---|---|---|---|
/// | `http` | CONNECT (RFC 9110 section 9.3.6) | the proxy | Basic (RFC 7617) | 80 |
/// | `https` | the same over TLS | the proxy | Basic | 443 |
/// | `socks4` | SOCKS4: IPv4 only | this end | user id, no password | 1080 |
/// | `socks4a` | `SOCKS4a` | the proxy | user id, no password | 1080 |
/// | `socks5` | SOCKS5 (RFC 1928) | this end | user name and password (RFC 1929) | 1080 |
/// | `socks5h` | SOCKS5 | the proxy | the same | 1080 |
///
/// User name and password are percent-decoded. Neither `Debug` nor `Display` shows them.
///
/// ```
/// use femtows::client::WSProxy;
///
/// let proxy = WSProxy::parse("socks5h://user:p%40ss@proxy.example")?;
/// assert_eq!((proxy.host(), proxy.port()), ("proxy.example", 1080));
/// assert_eq!(proxy.to_string(), "socks5h://proxy.example:1080");
/// # Ok::<(), femtows::client::WSInvalidProxy>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct WSProxy {
    scheme: Scheme,
    /// A name or an address; IPv6 in brackets.
    host: String,
    port: u16,
    credentials: Option<Credentials>,
}

/// Not the URL of a proxy that this library can use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid proxy URL {url:?}: {reason}")]
pub struct WSInvalidProxy {
    /// The URL as given, with `***` in place of user name and password.
    pub url: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
    Socks4,
    Socks4a,
    Socks5,
    Socks5h,
}

/// User name and password, percent-decoded. Checked: what the proxy's protocol cannot carry is not in here.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) user: Vec<u8>,
    pub(super) password: Vec<u8>,
}

impl WSProxy {
    /// Parses `scheme://[user[:password]@]host[:port]`.
    ///
    /// # Errors
    /// If the scheme is none of the above, if host or port is missing or malformed, if there is a path, a query or a fragment, or if
    /// the credentials do not fit the kind of proxy.
    pub fn parse(url: &str) -> Result<Self, WSInvalidProxy> {
        parse_strictly(url).map_err(|reason| WSInvalidProxy { url: redacted(url), reason })
    }

    /// Name or address of the proxy; an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        self.host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&self.host)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn scheme(&self) -> Scheme {
        self.scheme
    }

    pub(super) fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }
}

impl Scheme {
    const ALL: [Self; 6] =
        [Self::Http, Self::Https, Self::Socks4, Self::Socks4a, Self::Socks5, Self::Socks5h];

    /// Whether the server's name is looked up at this end, and the proxy given an address.
    pub(crate) fn wants_address(self) -> bool {
        matches!(self, Self::Socks4 | Self::Socks5)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Socks4 => "socks4",
            Self::Socks4a => "socks4a",
            Self::Socks5 => "socks5",
            Self::Socks5h => "socks5h",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
            Self::Socks4 | Self::Socks4a | Self::Socks5 | Self::Socks5h => 1080,
        }
    }
}

impl fmt::Display for WSProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme.name(), self.host, self.port)
    }
}

impl fmt::Debug for WSProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WSProxy({self})")
    }
}

impl std::str::FromStr for WSProxy {
    type Err = WSInvalidProxy;

    fn from_str(url: &str) -> Result<Self, WSInvalidProxy> {
        Self::parse(url)
    }
}

fn parse_strictly(text: &str) -> Result<WSProxy, &'static str> {
    let (name, rest) = split_scheme(text)?;
    let scheme = Scheme::ALL.into_iter().find(|scheme| scheme.name().eq_ignore_ascii_case(name));
    let scheme = scheme
        .ok_or("the scheme must be http, https, socks4, socks4a, socks5 or socks5h, followed by ://")?;
    // Under a scheme of the web the parser knows hosts: IDNA, addresses in every form.
    let url = parse_with_host("https", rest)?;
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err("it has a path, a query or a fragment");
    }
    let host = url.host_str().unwrap_or_default();
    // The parser drops a port that is its scheme's own, so another scheme has to tell 443 from none.
    let port = url.port().or_else(|| Url::parse(&format!("http://{rest}")).ok()?.port());
    let port = port.unwrap_or(scheme.default_port());
    if port == 0 {
        return Err("the port must not be 0");
    }
    let credentials = parse_credentials(scheme, &url)?;
    Ok(WSProxy { scheme, host: host.to_owned(), port, credentials })
}

fn parse_credentials(scheme: Scheme, url: &Url) -> Result<Option<Credentials>, &'static str> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(None);
    }
    let user: Vec<u8> = percent_decode_str(url.username()).collect();
    let password: Vec<u8> = percent_decode_str(url.password().unwrap_or_default()).collect();
    match scheme {
        // RFC 7617 section 2
        Scheme::Http | Scheme::Https => {
            if user.contains(&b':') {
                return Err("the user name contains a colon");
            }
            if user.iter().chain(&password).any(u8::is_ascii_control) {
                return Err("user name or password contains a control character");
            }
        }
        Scheme::Socks4 | Scheme::Socks4a => {
            if url.password().is_some() {
                return Err("SOCKS4 has a user id, but no password");
            }
            if user.contains(&0) || user.len() > 255 {
                return Err("the user id contains a NUL, or has more than 255 bytes");
            }
        }
        // RFC 1929 section 2
        Scheme::Socks5 | Scheme::Socks5h => {
            if !(1..=255).contains(&user.len()) || password.len() > 255 {
                return Err("user name or password is missing, or has more than 255 bytes");
            }
        }
    }
    Ok(Some(Credentials { user, password }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> WSProxy {
        WSProxy::parse(url).expect(url)
    }

    #[test]
    fn parts() {
        for (text, shown, host, port) in [
            ("http://proxy", "http://proxy:80", "proxy", 80),
            ("HTTP://Proxy:3128/", "http://proxy:3128", "proxy", 3128),
            ("http://proxy:443", "http://proxy:443", "proxy", 443),
            ("http://proxy:0443/", "http://proxy:443", "proxy", 443),
            ("https://proxy", "https://proxy:443", "proxy", 443),
            ("socks4://10.0.0.1", "socks4://10.0.0.1:1080", "10.0.0.1", 1080),
            ("socks4a://proxy:1", "socks4a://proxy:1", "proxy", 1),
            ("socks5://[2001:DB8::1]", "socks5://[2001:db8::1]:1080", "2001:db8::1", 1080),
            ("socks5://[::443]", "socks5://[::443]:1080", "::443", 1080),
            (
                "socks5h://b\u{fc}cher.example:80",
                "socks5h://xn--bcher-kva.example:80",
                "xn--bcher-kva.example",
                80,
            ),
        ] {
            let proxy = parse(text);
            assert_eq!(
                (proxy.to_string().as_str(), proxy.host(), proxy.port()),
                (shown, host, port),
                "{text}"
            );
            assert_eq!(parse(&proxy.to_string()), proxy);
        }
    }

    #[test]
    fn credentials_are_decoded_and_shown_nowhere() {
        let proxy = parse("socks5://us%65r:p%40s%3As@proxy");
        let credentials = proxy.credentials().expect("given");
        assert_eq!((&credentials.user[..], &credentials.password[..]), (&b"user"[..], &b"p@s:s"[..]));
        assert_eq!(format!("{proxy} {proxy:?}"), "socks5://proxy:1080 WSProxy(socks5://proxy:1080)");
        let error = WSProxy::parse("socks6://user:secret@proxy").expect_err("no such scheme");
        assert_eq!(error.url, "socks6://***@proxy");
        assert!(parse("http://proxy").credentials().is_none());
        assert!(parse("http://:key@proxy").credentials().is_some());
    }

    #[test]
    fn what_is_refused() {
        let long = format!("socks5://{}:p@proxy", "u".repeat(256));
        let urls = [
            "",
            "proxy",
            "proxy:3128",
            "ws://proxy",
            "socks://proxy",
            "http:proxy",
            "http://",
            "http:///x",
            "http://:80",
            "http://u@",
            "http://proxy:0",
            "http://proxy:65536",
            "http://proxy:x",
            "http://proxy/path",
            "http://proxy?q",
            "http://proxy#f",
            "http://a b",
            "http://[::1",
            "http://proxy\r\nX: y",
            "http://pro\txy",
            "http://a\"b",
            "http://u%0d%0aX:p@proxy",
            "http://u:%0a@proxy",
            "http://u%3Av:p@proxy",
            "socks4://u:p@proxy",
            "socks4://u%00v@proxy",
            "socks5://:p@proxy",
            &long,
        ];
        for url in urls {
            let error = WSProxy::parse(url).expect_err(url);
            assert!(!error.reason.is_empty());
        }
    }
}
