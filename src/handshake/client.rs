//! The client's side of the opening handshake.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use super::body::BodyReader;
use super::head::ResponseScanner;
use super::request_builder::build_request;
use super::response_rules::check_switching;
use super::start_line::StatusLine;
use super::{
    HandshakeLimits, WSHandshakeError, WSHandshakeErrorKind, WSHeaders, WSInvalidRequest, WSRequestHead,
    WSUpgradeResponse,
};

/// What a client asks for, and how much of an answer it accepts.
#[derive(Clone, Debug)]
pub struct ClientHandshakeConfig {
    /// The value of `Host`: name or address (IPv6 in brackets), and port if it is not the scheme's own.
    pub host: String,
    /// Path and query, percent-encoded; begins with `/`.
    pub path: String,
    /// Headers behind the ones of the handshake; `Host` among them replaces [`host`](Self::host). Refused are
    /// `Sec-WebSocket-Key`, `-Version` and `-Accept`, `Upgrade`, `Connection`, `Content-Length` and
    /// `Transfer-Encoding`. Default none.
    pub extra_headers: WSHeaders,
    /// Subprotocols to offer, the preferred one first (RFC 6455 section 1.9). Default none.
    pub subprotocols: Vec<String>,
    /// Bounds on the head of the response. Default 16 KiB and 128 headers.
    pub limits: HandshakeLimits,
    /// How many bytes to read of the body of a response that refuses the upgrade; the rest is cut off. Default 64 KiB.
    pub max_body: usize,
}

impl ClientHandshakeConfig {
    /// Asks `host` for `path`, with the defaults for everything else.
    pub fn new(host: impl Into<String>, path: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            path: path.into(),
            extra_headers: WSHeaders::new(),
            subprotocols: Vec::new(),
            limits: HandshakeLimits::default(),
            max_body: 64 * 1024,
        }
    }
}

/// Asks a server to open a connection, and checks its answer (RFC 6455 section 4.1).
///
/// Send [`request_bytes`](Self::request_bytes), then feed [`receive`](Self::receive) until it returns something else
/// than [`Incomplete`](ClientProgress::Incomplete), or [`receive_eof`](Self::receive_eof) if the server closes before;
/// it is of no use after that. It does not know the time: a server that never answers has to be bounded by the caller's
/// deadline.
///
/// ```text
/// response --101--> accepted or refused
///           `--else--> body of the refusal --> refused
/// ```
#[derive(Clone, Debug)]
pub struct ClientHandshake {
    request: WSRequestHead,
    config: ClientHandshakeConfig,
    responses: ResponseScanner,
    /// Set once the head of a refusal has arrived.
    refusal: Option<Refusal>,
}

/// A response that refuses the upgrade, whose body arrives.
#[derive(Clone, Debug)]
struct Refusal {
    status: u16,
    head: Bytes,
    /// Where the body begins in all the bytes.
    start: usize,
    reader: BodyReader,
}

/// What a client knows about the answer so far.
#[derive(Clone, Debug)]
pub enum ClientProgress {
    /// Nothing wrong so far, and more to come.
    Incomplete,
    /// The connection is open.
    Accepted {
        /// The 101 response.
        response: WSUpgradeResponse,
        /// The subprotocol that the server chose among those offered.
        subprotocol: Option<String>,
        /// How many of the bytes belong to the handshake. What comes after them are frames.
        consumed: usize,
    },
}

impl ClientHandshake {
    /// Makes the request. The `nonce` has to be chosen at random for each connection.
    ///
    /// # Errors
    /// If the configuration does not make a valid request: see [`ClientHandshakeConfig`]. Nothing in it can smuggle
    /// a line into the request.
    pub fn new(config: ClientHandshakeConfig, nonce: [u8; 16]) -> Result<Self, WSInvalidRequest> {
        let request = build_request(&config, &nonce)?;
        let responses = ResponseScanner::new(config.limits, true);
        Ok(Self { request, config, responses, refusal: None })
    }

    /// The request.
    pub fn request(&self) -> &WSRequestHead {
        &self.request
    }

    /// The request as it has to go on the wire.
    pub fn request_bytes(&self) -> &[u8] {
        self.request.raw_head()
    }

    /// Looks at what has arrived. `bytes` are *all* bytes since the beginning of the connection.
    ///
    /// # Errors
    /// If the answer does not open the connection. An answer with another status than 101 is reported when its body
    /// has arrived, or as much of it as [`max_body`](ClientHandshakeConfig::max_body) lets in.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<ClientProgress, WSHandshakeError> {
        if self.refusal.is_none() {
            match self.responses.advance(bytes) {
                Ok(None) => {}
                Ok(Some((line, head))) if line.status == 101 => return self.check_101(line, bytes, head),
                Ok(Some((StatusLine { status, .. }, head))) => {
                    let start = head.end;
                    let head = Bytes::copy_from_slice(&bytes[head]);
                    let reader = BodyReader::new(status, &head, self.config.max_body);
                    self.refusal = Some(Refusal { status, head, start, reader });
                }
                Err(reason) => return Err(self.invalid_message(bytes, reason)),
            }
        }
        if let Some(refusal) = &mut self.refusal
            && refusal.receive(bytes)
        {
            return Err(refusal.error(bytes));
        }
        Ok(ClientProgress::Incomplete)
    }

    /// The server has closed the connection. `bytes` are all bytes that arrived. Returns why the connection does not
    /// open: the server's refusal, if it was told by then.
    pub fn receive_eof(&mut self, bytes: &[u8]) -> WSHandshakeError {
        if let Err(error) = self.receive(bytes) {
            return error;
        }
        match &self.refusal {
            Some(refusal) => refusal.error(bytes),
            None if self.responses.current(bytes).is_empty() => {
                self.invalid_message(bytes, "the server closed the connection without an answer")
            }
            None => self.invalid_message(bytes, "the server closed the connection within its answer"),
        }
    }

    /// Whether the server has refused, and only the rest of what it says about that is missing, which is for diagnosis: whoever does not
    /// want to wait for it calls [`receive_eof`](Self::receive_eof).
    pub fn is_refused(&self) -> bool {
        self.refusal.is_some()
    }

    /// Checks a 101 response, whose head lies at `head`.
    fn check_101(
        &self,
        line: StatusLine,
        bytes: &[u8],
        head: Range<usize>,
    ) -> Result<ClientProgress, WSHandshakeError> {
        if !line.is_1_1 {
            return Err(self.invalid_message(bytes, "the HTTP version of a 101 must be 1.1"));
        }
        let consumed = head.end;
        let raw_header = Bytes::copy_from_slice(&bytes[head]);
        let response = WSUpgradeResponse::received(101, raw_header.clone(), Bytes::new());
        match check_switching(&raw_header, &self.request) {
            Ok(subprotocol) => Ok(ClientProgress::Accepted { response, subprotocol, consumed }),
            Err(kind) => {
                let body = &bytes[consumed..];
                let raw_body = Bytes::copy_from_slice(&body[..body.len().min(self.config.max_body)]);
                Err(WSHandshakeError { raw_header, raw_body, response: Some(response), kind })
            }
        }
    }

    /// The error for an answer whose head is bad, with what there is of it.
    fn invalid_message(&self, bytes: &[u8], reason: impl Into<Cow<'static, str>>) -> WSHandshakeError {
        let head = self.responses.current(bytes);
        WSHandshakeError {
            raw_header: Bytes::copy_from_slice(&head[..head.len().min(self.config.limits.max_head)]),
            raw_body: Bytes::new(),
            response: None,
            kind: WSHandshakeErrorKind::InvalidMessage(reason.into()),
        }
    }
}

impl Refusal {
    /// Returns `true` once the body is there, or as much of it as is of interest.
    fn receive(&mut self, bytes: &[u8]) -> bool {
        self.reader.receive(bytes.get(self.start..).unwrap_or_default())
    }

    /// Returns the error for it, with what has arrived of its body.
    fn error(&self, bytes: &[u8]) -> WSHandshakeError {
        let (raw_body, body) = self.reader.clone().finish(bytes.get(self.start..).unwrap_or_default());
        WSHandshakeError {
            raw_header: self.head.clone(),
            raw_body,
            response: Some(WSUpgradeResponse::received(self.status, self.head.clone(), body)),
            kind: WSHandshakeErrorKind::InvalidStatus(self.status),
        }
    }
}
