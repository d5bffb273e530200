//! WebSocket URIs (RFC 6455 section 3).

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use percent_encoding::percent_decode_str;
use url::{Position, Url};

use super::authority::is_authority;

/// Where to connect to: a `ws` or `wss` URI (RFC 6455 section 3).
///
/// Parsed as browsers do (the WHATWG URL standard, with IDNA and percent-encoding), but stricter: the scheme is followed
/// by `//` and a host, and nothing is left out silently. Neither `Debug` nor `Display` shows user name or password.
///
/// ```
/// use femtows::client::WSUrl;
///
/// let url = WSUrl::parse("wss://user:secret@[::1]:8443/feed?depth=5")?;
/// assert!(url.is_secure());
/// assert_eq!((url.host(), url.port()), ("::1", 8443));
/// assert_eq!(url.host_header(), "[::1]:8443");
/// assert_eq!(url.path_and_query(), "/feed?depth=5");
/// assert_eq!(url.to_string(), "wss://[::1]:8443/feed?depth=5");
/// # Ok::<(), femtows::client::WSInvalidUrl>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct WSUrl {
    /// Has the scheme `ws` or `wss`, a host, a port other than 0, and no fragment.
    url: Url,
    authorization: Option<String>,
}

/// Not a URL that a WebSocket client can connect to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid WebSocket URL {url:?}: {reason}")]
pub struct WSInvalidUrl {
    /// The URL as given, with `***` in place of user name and password.
    pub url: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl WSUrl {
    /// Parses an absolute URL.
    ///
    /// # Errors
    /// If the scheme is not `ws` or `wss`, if host or port is missing or malformed, if there is a fragment
    /// (RFC 6455 section 3) or a control character, or if user name or password cannot be put in Basic
    /// authentication (RFC 7617 section 2).
    pub fn parse(url: &str) -> Result<Self, WSInvalidUrl> {
        parse_strictly(url).map_err(|reason| WSInvalidUrl { url: redacted(url), reason })
    }

    /// Resolves the value of a `Location` header against this URL (RFC 9110 section 10.2.2): `ws` and `wss` URLs, their
    /// `http` and `https` counterparts, which mean the same here, and relative references. A fragment is dropped.
    /// User name and password of this URL are kept for relative references only.
    ///
    /// # Errors
    /// If the result is not a URL that [`parse`](Self::parse) accepts.
    pub fn join(&self, location: &str) -> Result<Self, WSInvalidUrl> {
        let fail = |reason| WSInvalidUrl { url: redacted(location), reason };
        if location.contains(char::is_control) {
            return Err(fail(CONTROL_CHARACTER));
        }
        let mut url = self.url.join(location).map_err(|_| fail("the redirection's location is malformed"))?;
        url.set_fragment(None);
        let text = match url.scheme() {
            "http" => format!("ws{}", &url[Position::AfterScheme..]),
            "https" => format!("wss{}", &url[Position::AfterScheme..]),
            _ => url.into(),
        };
        Self::parse(&text).map_err(|error| fail(error.reason))
    }

    /// Whether TLS is to be spoken: the scheme is `wss`.
    pub fn is_secure(&self) -> bool {
        self.url.scheme() == "wss"
    }

    /// Name or address to look up; a name in its ASCII form, an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        let host = self.bracketed_host();
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    /// The port; 80 for `ws` and 443 for `wss` if the URL gives none.
    pub fn port(&self) -> u16 {
        self.url.port().unwrap_or(if self.is_secure() { 443 } else { 80 })
    }

    /// The value of `Host` (RFC 6455 section 4.1 item 4): an IPv6 address in brackets, the port only if it is not the
    /// scheme's own.
    pub fn host_header(&self) -> String {
        match self.url.port() {
            Some(port) => format!("{}:{port}", self.bracketed_host()),
            None => self.bracketed_host().to_owned(),
        }
    }

    /// The request target: path and query, percent-encoded; `/` if the URL has no path (RFC 6455 section 3).
    pub fn path_and_query(&self) -> &str {
        &self.url[Position::BeforePath..Position::AfterQuery]
    }

    /// The value of `Authorization` that user name and password make: `Basic ...` (RFC 7617), `None` without them.
    pub fn authorization(&self) -> Option<String> {
        self.authorization.clone()
    }

    /// Whether both have the same scheme, host and port, so that credentials may follow a redirection from one to the
    /// other.
    pub fn has_same_origin(&self, other: &Self) -> bool {
        self.url.scheme() == other.url.scheme() && self.host() == other.host() && self.port() == other.port()
    }

    /// Takes over user name and password of `other`, unless this URL has its own.
    pub(super) fn inherit_credentials(&mut self, other: &Self) {
        if self.authorization.is_none() {
            self.authorization.clone_from(&other.authorization);
        }
    }

    fn bracketed_host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }
}

impl fmt::Display for WSUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.url.scheme(), self.host_header(), self.path_and_query())
    }
}

impl fmt::Debug for WSUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WSUrl({self})")
    }
}

impl std::str::FromStr for WSUrl {
    type Err = WSInvalidUrl;

    fn from_str(url: &str) -> Result<Self, WSInvalidUrl> {
        Self::parse(url)
    }
}

const CONTROL_CHARACTER: &str = "it contains a control character";

fn parse_strictly(text: &str) -> Result<WSUrl, &'static str> {
    let (name, rest) = split_scheme(text)?;
    let scheme = ["ws", "wss"].into_iter().find(|known| known.eq_ignore_ascii_case(name));
    let url = parse_with_host(scheme.ok_or("the scheme must be ws or wss, followed by ://")?, rest)?;
    if url.fragment().is_some() {
        return Err("it has a fragment");
    }
    if url.port() == Some(0) {
        return Err("the port must not be 0");
    }
    let authorization = basic_authorization(&url)?;
    Ok(WSUrl { url, authorization })
}

/// Splits a URL at `://`; both parts are empty if there is none.
pub(super) fn split_scheme(text: &str) -> Result<(&str, &str), &'static str> {
    // The parser would drop tabs and line ends without a word.
    if text.contains(char::is_control) {
        return Err(CONTROL_CHARACTER);
    }
    Ok(text.split_once("://").unwrap_or_default())
}

/// Parses what follows `://` under a scheme in which the parser knows hosts.
pub(super) fn parse_with_host(scheme: &str, rest: &str) -> Result<Url, &'static str> {
    // The parser would take `ws:///host` for `ws://host`.
    if rest.is_empty() || rest.starts_with(['/', '\\', '?', '#']) {
        return Err("the host is missing");
    }
    let url = Url::parse(&format!("{scheme}://{rest}")).map_err(|error| match error {
        url::ParseError::EmptyHost => "the host is missing",
        url::ParseError::InvalidPort => "the port is malformed",
        _ => "the host is malformed",
    })?;
    // The parser lets through some characters, such as `"`, that a Host header cannot hold.
    if !is_authority(url.host_str().unwrap_or_default().as_bytes()) {
        return Err("the host is malformed");
    }
    Ok(url)
}

/// RFC 7617 section 2. The parts are percent-decoded, and taken as bytes: UTF-8 as a rule.
fn basic_authorization(url: &Url) -> Result<Option<String>, &'static str> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(None);
    }
    let mut credentials: Vec<u8> = percent_decode_str(url.username()).collect();
    if credentials.contains(&b':') {
        return Err("the user name contains a colon");
    }
    credentials.push(b':');
    credentials.extend(percent_decode_str(url.password().unwrap_or_default()));
    if credentials.iter().any(u8::is_ascii_control) {
        return Err("user name or password contains a control character");
    }
    Ok(Some(format!("Basic {}", STANDARD.encode(credentials))))
}

/// The text of a URL that may be malformed, without what may be user name and password.
pub(super) fn redacted(text: &str) -> String {
    let authority = text.find("//").map_or(0, |slashes| slashes + 2);
    let end = text[authority..].find(['/', '\\', '?', '#']).map_or(text.len(), |length| authority + length);
    match text[authority..end].rfind('@') {
        Some(at) => format!("{}***{}", &text[..authority], &text[authority + at..]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> WSUrl {
        WSUrl::parse(url).expect(url)
    }

    #[test]
    fn parts() {
        let cases = [
            ("ws://h", false, "h", 80, "h", "/"),
            ("WSS://H.Example/a/b?c=d", true, "h.example", 443, "h.example", "/a/b?c=d"),
            ("ws://h:80/", false, "h", 80, "h", "/"),
            ("ws://h:443/", false, "h", 443, "h:443", "/"),
            ("wss://h:443?q", true, "h", 443, "h", "/?q"),
            ("ws://127.0.0.1:9001/x", false, "127.0.0.1", 9001, "127.0.0.1:9001", "/x"),
            ("ws://[2001:DB8::1]:81/", false, "2001:db8::1", 81, "[2001:db8::1]:81", "/"),
            (
                "wss://b\u{fc}cher.example/\u{e4} b",
                true,
                "xn--bcher-kva.example",
                443,
                "xn--bcher-kva.example",
                "/%C3%A4%20b",
            ),
            ("ws://h/a/../b", false, "h", 80, "h", "/b"),
        ];
        for (text, is_secure, host, port, host_header, path) in cases {
            let url = parse(text);
            assert_eq!((url.is_secure(), url.host(), url.port()), (is_secure, host, port), "{text}");
            assert_eq!((url.host_header().as_str(), url.path_and_query()), (host_header, path), "{text}");
            assert_eq!(url.authorization(), None);
            assert_eq!(parse(&url.to_string()), url);
        }
    }

    #[test]
    fn what_is_refused() {
        let urls = [
            "",
            "h",
            "//h",
            "/p",
            "http://h",
            "https://h",
            "ws:h",
            "ws:/h",
            "ws:///p",
            "ws://",
            "ws://?q",
            "ws://#f",
            "ws://\\h",
            "ws://:80/",
            "ws://u@/",
            "ws://h:0/",
            "ws://h:65536/",
            "ws://h:x/",
            "ws://h/#",
            "ws://h/#f",
            "ws://h/?q#f",
            "ws://h\r\nX: y/",
            "ws://h/\r\nX: y",
            "ws://h/\0",
            "ws://h\t/",
            "ws://a b/",
            "ws://[::1/",
            "ws://[::g]/",
            "ws://h%00/",
            "ws://a\"b/",
            "ws://a{b/",
            "ws://a%2Fb/",
            "ws://u%0A:p@h/",
            "ws://u%3Av:p@h/",
            "ws://h,i/ \n",
            "ftp://h/",
        ];
        for url in urls {
            let error = WSUrl::parse(url).expect_err(url);
            assert!(!error.reason.is_empty());
        }
    }

    #[test]
    fn user_information_becomes_basic_authentication() {
        let authorization = |url: &str| parse(url).authorization();
        assert_eq!(
            authorization("ws://Aladdin:open%20sesame@h").as_deref(),
            Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")
        );
        assert_eq!(authorization("ws://user@h").as_deref(), Some("Basic dXNlcjo="));
        assert_eq!(authorization("ws://:key@h").as_deref(), Some("Basic OmtleQ=="));
        assert_eq!(authorization("ws://u:a%3Ab@h").as_deref(), Some("Basic dTphOmI="));
        assert_eq!(authorization("ws://@h"), None);
    }

    #[test]
    fn credentials_are_shown_nowhere() {
        let url = parse("wss://user:secret@h:1/p");
        assert_eq!(
            (url.to_string(), format!("{url:?}")),
            ("wss://h:1/p".into(), "WSUrl(wss://h:1/p)".into())
        );
        for text in
            ["ws://user:secret@h/#f", "http://user:secret@h", "ws://user:s@secret@h:x", "ws:user:secret@h"]
        {
            let error = WSUrl::parse(text).expect_err(text);
            assert!(!error.to_string().contains("secret"), "{error}");
            assert!(error.url.contains("***@h"), "{error}");
        }
    }

    #[test]
    fn redirections() {
        let base = parse("wss://user:secret@h:8443/a/b?c");
        let join = |location: &str| base.join(location).expect(location).to_string();
        assert_eq!(join("/x"), "wss://h:8443/x");
        assert_eq!(join("x?y"), "wss://h:8443/a/x?y");
        assert_eq!(join("?z"), "wss://h:8443/a/b?z");
        assert_eq!(join("//other/x#f"), "wss://other/x");
        assert_eq!(join("https://other/x"), "wss://other/x");
        assert_eq!(join("http://other:80/x"), "ws://other/x");
        assert_eq!(join("http://other:443/x"), "ws://other:443/x");
        assert_eq!(join("ws://h/"), "ws://h/");
        for location in ["ftp://h/", "mailto:x", "ws://", "/x\r\n", "https://h:0/"] {
            assert!(base.join(location).is_err(), "{location}");
        }
        assert!(base.join("/x").expect("valid").authorization().is_some());
        assert!(base.join("//h:8443/x").expect("valid").authorization().is_none());
    }

    #[test]
    fn origins() {
        let same = |a: &str, b: &str| parse(a).has_same_origin(&parse(b));
        assert!(same("ws://h/a", "ws://H:80/b"));
        assert!(!same("ws://h/", "wss://h/"));
        assert!(!same("ws://h/", "ws://h:81/"));
        assert!(!same("ws://h/", "ws://i/"));
    }
}
