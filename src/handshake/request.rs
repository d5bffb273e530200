//! The head of the request that opens a connection.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use super::WSHeaders;
use super::head::{first_line, header_values};
use super::start_line::HEAD_PREFIX;
use super::syntax::{list_items, text};
use super::target::Target;

/// The head of the HTTP request that opens a connection (RFC 6455 section 4.1).
///
/// Contains nothing but the head as it was on the wire, shared between clones. Everything is parsed
/// when it is called for: to look at many headers take [`headers`](Self::headers) once. A server's
/// factory gets it in a [`WSUpgradeRequest`](crate::WSUpgradeRequest), which knows its connection,
/// too.
#[derive(Clone)]
pub struct WSRequestHead {
    /// A whole head whose syntax has been checked, with the empty line at its end.
    head: Bytes,
    is_upgrade: bool,
    is_secure: bool,
}

impl WSRequestHead {
    /// Returns the method: `GET`, or `HEAD` if this is [no upgrade](Self::is_upgrade).
    pub fn method(&self) -> &str {
        self.request_line_part(0)
    }

    /// Returns `true` if the method is HEAD: the answer has no body (RFC 9110 section 9.3.2).
    pub(crate) fn is_head(&self) -> bool {
        self.head.starts_with(HEAD_PREFIX)
    }

    /// Returns the request target as sent (RFC 9112 section 3.2): path and query, such as
    /// `/feed?depth=5`, or an absolute URI, such as `http://example.com/feed?depth=5`.
    pub fn target(&self) -> &str {
        self.request_line_part(1)
    }

    /// Returns the path without the query, as sent: percent-encoded, `/` if an absolute target has
    /// none.
    pub fn path(&self) -> &str {
        Target::of(self.target()).path
    }

    /// Returns the part of the target after the first `?`, as sent; `None` without a `?`.
    pub fn query(&self) -> Option<&str> {
        Target::of(self.target()).query
    }

    /// Returns names and values of the query's parameters in their order, percent-decoded, with `+`
    /// as a space (`application/x-www-form-urlencoded`). Bytes that are not UTF-8 are replaced.
    ///
    /// ```
    /// # use femtows::handshake::{HandshakeLimits, ServerHandshake, ServerProgress};
    /// let mut handshake = ServerHandshake::new(HandshakeLimits::default());
    /// let head = b"GET /feed?depth=5&name=a+b%21 HTTP/1.1\r\nHost: h\r\n\r\n";
    /// if let ServerProgress::Request { request, .. } = handshake.receive(head) {
    ///     let mut parameters = request.query_parameters();
    ///     assert_eq!(parameters.next(), Some(("depth".into(), "5".into())));
    ///     assert_eq!(parameters.next(), Some(("name".into(), "a b!".into())));
    ///     assert_eq!(parameters.next(), None);
    /// }
    /// ```
    pub fn query_parameters(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        url::form_urlencoded::parse(self.query().unwrap_or_default().as_bytes())
    }

    /// Returns the first value of a parameter of the query, decoded as by
    /// [`query_parameters`](Self::query_parameters).
    pub fn query_parameter(&self, name: &str) -> Option<Cow<'_, str>> {
        self.query_parameters().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The HTTP version: `HTTP/1.1`.
    pub fn version(&self) -> &str {
        self.request_line_part(2)
    }

    /// All headers, parsed now.
    pub fn headers(&self) -> WSHeaders {
        WSHeaders::from_head(&self.head)
    }

    /// The value of the first header with this name, compared without regard to case. Bytes that are not UTF-8 are
    /// read as Latin-1. Costs a pass over the head, and no allocation for a value that is UTF-8.
    pub fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        self.header_bytes(name).map(text)
    }

    /// Returns the host that the request is for: name or address, and port if it is not the
    /// scheme's own. It is the authority of an absolute target, for which the header `Host` is
    /// ignored (RFC 9112 section 3.2.2), else the value of `Host`.
    pub fn host(&self) -> Option<Cow<'_, str>> {
        match Target::of(self.target()).authority {
            Some(authority) => Some(authority.into()),
            None => self.header("host"),
        }
    }

    /// The value of `Origin`, which browsers send (RFC 6455 section 10.2).
    pub fn origin(&self) -> Option<Cow<'_, str>> {
        self.header("origin")
    }

    /// Returns the token of `Authorization: Bearer`, which
    /// [`WSConnectConfig::bearer`](crate::WSConnectConfig::bearer) sends (RFC 6750 section 2.1). The
    /// scheme is compared without regard to case; the characters of the token are not checked.
    ///
    /// Returns `None` if the header is missing or repeated, or has another scheme.
    pub fn bearer(&self) -> Option<&str> {
        let mut values = header_values(&self.head, "authorization");
        let value = values.next()?;
        // Another program may have checked the other one.
        if values.next().is_some() {
            return None;
        }
        let (scheme, token) = std::str::from_utf8(value).ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start_matches(' '))
    }

    /// The subprotocols that the client offers, in its order of preference; repeated headers are one list
    /// (RFC 6455 section 11.3.4).
    pub fn subprotocols(&self) -> Vec<String> {
        let values = header_values(&self.head, SUBPROTOCOL).map(text);
        values.flat_map(|value| list_items(&value).map(str::to_owned).collect::<Vec<_>>()).collect()
    }

    /// Whether this is a request to open a WebSocket connection. If not it is plain HTTP: it has no `Upgrade` header
    /// and no `Sec-WebSocket-*` header.
    pub fn is_upgrade(&self) -> bool {
        self.is_upgrade
    }

    /// Whether the request came through TLS, or is to go through it.
    pub fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// Says that it goes through TLS. For those who drive the handshake themselves.
    #[must_use]
    pub fn secure(mut self, on: bool) -> Self {
        self.is_secure = on;
        self
    }

    /// The head as it was on the wire, from the request line to the empty line, both included.
    pub fn raw_head(&self) -> &[u8] {
        &self.head
    }

    /// A request whose head has passed the scanner and the rules.
    pub(super) fn from_checked_head(head: Bytes, is_upgrade: bool) -> Self {
        Self { head, is_upgrade, is_secure: false }
    }

    /// Whether the client offers this subprotocol. Names of subprotocols are compared exactly.
    pub(super) fn offers_subprotocol(&self, name: &str) -> bool {
        header_values(&self.head, SUBPROTOCOL)
            .map(text)
            .any(|value| list_items(&value).any(|item| item == name))
    }

    /// The value of `Sec-WebSocket-Key`; an upgrade request has one.
    pub(super) fn key(&self) -> Option<&[u8]> {
        self.header_bytes("sec-websocket-key")
    }

    fn header_bytes(&self, name: &str) -> Option<&[u8]> {
        header_values(&self.head, name).next()
    }

    fn request_line_part(&self, index: usize) -> &str {
        let part = first_line(&self.head).split(|&byte| byte == b' ').nth(index).unwrap_or_default();
        // The request line of a checked head is ASCII.
        std::str::from_utf8(part).unwrap_or_default()
    }
}

impl fmt::Debug for WSRequestHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WSRequestHead")
            .field("method", &self.method())
            .field("path", &self.path())
            .field("headers", &self.headers())
            .finish()
    }
}

const SUBPROTOCOL: &str = "sec-websocket-protocol";
