//! The response to an opening request.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::head::{first_line, header_values};
use super::headers::WSHeaders;
use super::syntax::{is_token, text};
use super::{WSInvalidHeader, WSInvalidResponse};

/// The HTTP response that opens a connection or refuses to (RFC 6455 section 4.2.2).
///
/// A server builds one; a client receives one, of which only the raw head is kept, and parsed when asked for. Clones
/// share their contents.
///
/// ```
/// use femtows::handshake::WSUpgradeResponse;
///
/// let refusal = WSUpgradeResponse::error(429, "too many connections\n")?.header("Retry-After", "5")?;
/// assert_eq!(refusal.status(), 429);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct WSUpgradeResponse {
    parts: Arc<Parts>,
}

#[derive(Clone)]
struct Parts {
    status: u16,
    head: Head,
    body: Bytes,
    /// Only the head goes on the wire, as the answer to HEAD.
    omits_content: bool,
}

#[derive(Clone)]
enum Head {
    /// Built here. Lacks the headers that go with every response, which are added when it is encoded.
    Built(WSHeaders),
    /// Received: a whole head whose syntax has been checked.
    Received(Bytes),
}

impl WSUpgradeResponse {
    /// 101: the connection becomes a WebSocket. `Upgrade`, `Connection` and `Sec-WebSocket-Accept` are added when it
    /// is encoded.
    pub fn switching_protocols() -> Self {
        Self::built(101, Bytes::new())
    }

    /// 200: an answer to a plain HTTP request.
    pub fn ok(body: impl Into<Bytes>) -> Self {
        Self::built(200, body.into())
    }

    /// An error.
    ///
    /// # Errors
    /// If `status` is not within 400 to 599.
    pub fn error(status: u16, body: impl Into<Bytes>) -> Result<Self, WSInvalidResponse> {
        if !(400..=599).contains(&status) {
            return Err(WSInvalidResponse::new(format!("{status} is not the status of an error")));
        }
        Ok(Self::built(status, body.into()))
    }

    /// A redirection to `location`, a URI or a reference relative to the request's (RFC 9110 section 10.2.2).
    ///
    /// # Errors
    /// If `status` is not within 300 to 399, or `location` is empty or contains a control character.
    pub fn redirect(status: u16, location: &str) -> Result<Self, WSInvalidResponse> {
        if !(300..=399).contains(&status) {
            return Err(WSInvalidResponse::new(format!("{status} is not the status of a redirection")));
        }
        if location.is_empty() {
            return Err(WSInvalidResponse::new("the location is empty"));
        }
        Ok(Self::built(status, Bytes::new()).header("Location", location)?)
    }

    /// Adds a header. `Connection` is overridden when the response is encoded, by `Upgrade` for 101
    /// and else by `close`: it concerns this connection alone (RFC 9110 section 7.6.1).
    ///
    /// # Errors
    /// If the name is not a token, if the value contains CR, LF, NUL or another control character,
    /// or if the library alone sets this header: `Content-Length`, `Transfer-Encoding`,
    /// `Sec-WebSocket-Accept`, `Sec-WebSocket-Extensions`, and for a 101 response `Upgrade`. A
    /// value of the caller's would contradict the body, the request or the agreement on extensions.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, WSInvalidHeader> {
        if is_managed(self.status(), name) {
            let reason = "the library sets this header itself";
            return Err(WSInvalidHeader { name: name.to_owned(), reason });
        }
        self.headers_mut().append(name, value)?;
        Ok(self)
    }

    /// Sets `Content-Type`; without it a body is `text/plain; charset=utf-8`.
    ///
    /// # Errors
    /// If the value contains a control character.
    pub fn content_type(mut self, value: &str) -> Result<Self, WSInvalidHeader> {
        self.headers_mut().insert("Content-Type", value)?;
        Ok(self)
    }

    /// Chooses a subprotocol (RFC 6455 section 4.2.2, item 5.5). It has to be one that the client offers, which is
    /// checked when the response is encoded for a request.
    ///
    /// # Errors
    /// If `name` is not a token.
    pub fn subprotocol(mut self, name: &str) -> Result<Self, WSInvalidResponse> {
        if !is_token(name.as_bytes()) {
            return Err(WSInvalidResponse::new(format!("the subprotocol {name:?} is not a token")));
        }
        self.headers_mut().insert("Sec-WebSocket-Protocol", name)?;
        Ok(self)
    }

    /// Leaves the body out when this is encoded and keeps its `Content-Length`, as the answer to
    /// HEAD has to be (RFC 9110 section 9.3.2). The server does this by itself.
    #[must_use]
    pub fn without_content(mut self) -> Self {
        Arc::make_mut(&mut self.parts).omits_content = true;
        self
    }

    pub(super) fn omits_content(&self) -> bool {
        self.parts.omits_content
    }

    /// The status code.
    pub fn status(&self) -> u16 {
        self.parts.status
    }

    /// The HTTP version, such as `HTTP/1.1`.
    pub fn version(&self) -> &str {
        match &self.parts.head {
            Head::Built(_) => "HTTP/1.1",
            // A checked head begins with its version.
            Head::Received(head) => {
                head.get(..8).and_then(|version| str::from_utf8(version).ok()).unwrap_or_default()
            }
        }
    }

    /// All headers. Those of a received response are parsed now. Those of a response built here are what the caller
    /// set; the rest is added when it is encoded.
    pub fn headers(&self) -> Cow<'_, WSHeaders> {
        match &self.parts.head {
            Head::Built(headers) => Cow::Borrowed(headers),
            Head::Received(head) => Cow::Owned(WSHeaders::from_head(head)),
        }
    }

    /// The value of the first header with this name, compared without regard to case.
    pub fn get_header(&self, name: &str) -> Option<Cow<'_, str>> {
        match &self.parts.head {
            Head::Built(headers) => headers.get(name).map(Cow::Borrowed),
            Head::Received(head) => header_values(head, name).next().map(text),
        }
    }

    /// The body, without transfer coding. That of a received response is bounded, see
    /// [`max_body`](super::ClientHandshakeConfig::max_body).
    pub fn body(&self) -> &Bytes {
        &self.parts.body
    }

    /// The head as it arrived; `None` for a response that was built here.
    pub fn raw_head(&self) -> Option<&[u8]> {
        match &self.parts.head {
            Head::Built(_) => None,
            Head::Received(head) => Some(head),
        }
    }

    /// The reason phrase that goes with a status code (RFC 9110 section 15), or `Unknown`.
    pub const fn reason_phrase(status: u16) -> &'static str {
        match status {
            101 => "Switching Protocols",
            200 => "OK",
            300 => "Multiple Choices",
            301 => "Moved Permanently",
            302 => "Found",
            303 => "See Other",
            304 => "Not Modified",
            307 => "Temporary Redirect",
            308 => "Permanent Redirect",
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            406 => "Not Acceptable",
            408 => "Request Timeout",
            409 => "Conflict",
            410 => "Gone",
            413 => "Content Too Large",
            414 => "URI Too Long",
            421 => "Misdirected Request",
            422 => "Unprocessable Content",
            426 => "Upgrade Required",
            429 => "Too Many Requests",
            431 => "Request Header Fields Too Large",
            500 => "Internal Server Error",
            501 => "Not Implemented",
            502 => "Bad Gateway",
            503 => "Service Unavailable",
            504 => "Gateway Timeout",
            505 => "HTTP Version Not Supported",
            _ => "Unknown",
        }
    }

    /// A response with any status. The caller sees to it that the status fits the use.
    pub(super) fn built(status: u16, body: Bytes) -> Self {
        Self::new(status, Head::Built(WSHeaders::new()), body)
    }

    /// A response whose head has passed the scanner.
    pub(super) fn received(status: u16, head: Bytes, body: Bytes) -> Self {
        Self::new(status, Head::Received(head), body)
    }

    fn new(status: u16, head: Head, body: Bytes) -> Self {
        Self { parts: Arc::new(Parts { status, head, body, omits_content: false }) }
    }

    pub(super) fn headers_mut(&mut self) -> &mut WSHeaders {
        let parts = Arc::make_mut(&mut self.parts);
        if let Head::Received(head) = &parts.head {
            parts.head = Head::Built(WSHeaders::from_head(head));
        }
        match &mut parts.head {
            Head::Built(headers) => headers,
            Head::Received(_) => unreachable!("a received head was replaced above"),
        }
    }
}

impl fmt::Debug for WSUpgradeResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("WSUpgradeResponse");
        debug.field("status", &self.status()).field("headers", &self.headers());
        debug.field("body_len", &self.parts.body.len());
        if let Head::Received(head) = &self.parts.head {
            debug.field("status_line", &text(first_line(head)));
        }
        debug.finish()
    }
}

/// Returns `true` if the library alone sets this header in a response with this status.
pub(super) fn is_managed(status: u16, name: &str) -> bool {
    const ALWAYS: [&str; 4] =
        ["content-length", "transfer-encoding", "sec-websocket-accept", "sec-websocket-extensions"];
    ALWAYS.iter().any(|managed| name.eq_ignore_ascii_case(managed))
        || (status == 101 && name.eq_ignore_ascii_case("upgrade"))
}

/// Returns `true` for headers of the caller's that are left out because the library sends its own.
pub(super) fn is_overridden(name: &str) -> bool {
    name.eq_ignore_ascii_case("connection")
}
