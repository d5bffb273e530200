//! WebSocket URIs (RFC 6455 section 3).

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use percent_encoding::percent_decode_str;
use url::{Position, Url};

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
    // The parser would drop tabs and line ends without a word.
    if text.contains(char::is_control) {
        return Err(CONTROL_CHARACTER);
    }
    // The parser would take `ws:host` and `ws:///host` for `ws://host`.
    let rest = strip_scheme(text).ok_or("the scheme must be ws or wss, followed by ://")?;
    if rest.is_empty() || rest.starts_with(['/', '\\', '?', '#']) {
        return Err("the host is missing");
    }
    let url = Url::parse(text).map_err(describe)?;
    if url.fragment().is_some() {
        return Err("it has a fragment");
    }
    if url.port() == Some(0) {
        return Err("the port must not be 0");
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("the host is missing");
    }
    let authorization = basic_authorization(&url)?;
    Ok(WSUrl { url, authorization })
}

/// What follows `ws://` or `wss://`.
fn strip_scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once("://")?;
    (scheme.eq_ignore_ascii_case("ws") || scheme.eq_ignore_ascii_case("wss")).then_some(rest)
}

fn describe(error: url::ParseError) -> &'static str {
    match error {
        url::ParseError::EmptyHost => "the host is missing",
        url::ParseError::InvalidPort => "the port is malformed",
        _ => "the host is malformed",
    }
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
fn redacted(text: &str) -> String {
    let authority = text.find("//").map_or(0, |slashes| slashes + 2);
    let end = text[authority..].find(['/', '\\', '?', '#']).map_or(text.len(), |length| authority + length);
    match text[authority..end].rfind('@') {
        Some(at) => format!("{}***{}", &text[..authority], &text[authority + at..]),
        None => text.to_owned(),
    }
}
