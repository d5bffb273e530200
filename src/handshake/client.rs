//! The client's side of the opening handshake.

use std::borrow::Cow;

use bytes::Bytes;

use super::body::BodyReader;
use super::head::{HeadScanner, Scan};
use super::request_builder::build_request;
use super::response_rules::check_switching;
use super::start_line::{StartLine, parse_status_line};
use super::{
    HandshakeLimits, WSHandshakeError, WSHandshakeErrorKind, WSHeaders, WSInvalidRequest, WSUpgradeRequest,
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
#[derive(Clone, Debug)]
pub struct ClientHandshake {
    request: WSUpgradeRequest,
    config: ClientHandshakeConfig,
    /// Where the response begins, behind interim ones.
    start: usize,
    interim_responses: usize,
    phase: Phase,
}

/// ```text
/// Head --101--> accepted or refused
///  |  `--1xx--> Head
///  `--else--> RefusalBody --> refused
/// ```
#[derive(Clone, Debug)]
enum Phase {
    Head(HeadScanner),
    RefusalBody {
        status: u16,
        head: Bytes,
        /// Where the body begins in all the bytes.
        start: usize,
        reader: BodyReader,
    },
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
        let phase = Phase::Head(HeadScanner::new(StartLine::Status, config.limits));
        Ok(Self { request, config, start: 0, interim_responses: 0, phase })
    }

    /// The request.
    pub fn request(&self) -> &WSUpgradeRequest {
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
        loop {
            match &mut self.phase {
                Phase::Head(scanner) => {
                    let response = bytes.get(self.start..).unwrap_or_default();
                    let head = match scanner.advance(response) {
                        Ok(Scan::Incomplete) => return Ok(ClientProgress::Incomplete),
                        Ok(Scan::Complete(head)) => &response[head],
                        Err(fault) => return Err(self.invalid_message(bytes, fault.describe())),
                    };
                    if let Some(accepted) = self.handle_head(bytes, head)? {
                        return Ok(accepted);
                    }
                }
                Phase::RefusalBody { start, reader, .. } => {
                    if !reader.receive(bytes.get(*start..).unwrap_or_default()) {
                        return Ok(ClientProgress::Incomplete);
                    }
                    return Err(self.refused(bytes));
                }
            }
        }
    }

    /// The server has closed the connection. `bytes` are all bytes that arrived. Returns why the connection does not
    /// open: the server's refusal, if it was told by then.
    pub fn receive_eof(&mut self, bytes: &[u8]) -> WSHandshakeError {
        if let Err(error) = self.receive(bytes) {
            return error;
        }
        match self.phase {
            Phase::RefusalBody { .. } => self.refused(bytes),
            Phase::Head(_) if bytes.len() <= self.start => {
                self.invalid_message(bytes, "the server closed the connection without an answer")
            }
            Phase::Head(_) => {
                self.invalid_message(bytes, "the server closed the connection within its answer")
            }
        }
    }

    /// Whether the server has refused, and only the rest of what it says about that is missing, which is for diagnosis: whoever does not
    /// want to wait for it calls [`receive_eof`](Self::receive_eof).
    pub fn is_refused(&self) -> bool {
        matches!(self.phase, Phase::RefusalBody { .. })
    }

    /// Handles a whole head, one that ends the handshake or one after which more has to come (`None`).
    fn handle_head(&mut self, bytes: &[u8], head: &[u8]) -> Result<Option<ClientProgress>, WSHandshakeError> {
        let line = parse_status_line(head).map_err(|reason| self.invalid_message(bytes, reason))?;
        let end = self.start + head.len();
        match line.status {
            101 if !line.is_1_1 => Err(self.invalid_message(bytes, "the HTTP version of a 101 must be 1.1")),
            101 => {
                let response = WSUpgradeResponse::received(101, Bytes::copy_from_slice(head), Bytes::new());
                match check_switching(head, &self.request) {
                    Ok(subprotocol) => {
                        Ok(Some(ClientProgress::Accepted { response, subprotocol, consumed: end }))
                    }
                    Err(kind) => Err(WSHandshakeError {
                        raw_header: Bytes::copy_from_slice(head),
                        raw_body: self.cut_body(&bytes[end..]),
                        response: Some(response),
                        kind,
                    }),
                }
            }
            // RFC 9110 section 15.2: interim responses come before the final one, and mean nothing here.
            100..=199 => {
                self.interim_responses += 1;
                if self.interim_responses > MAX_INTERIM_RESPONSES {
                    return Err(self.invalid_message(bytes, "too many interim responses"));
                }
                self.start = end;
                self.phase = Phase::Head(HeadScanner::new(StartLine::Status, self.config.limits));
                Ok(None)
            }
            status => {
                let reader = BodyReader::new(status, head, self.config.max_body);
                self.phase =
                    Phase::RefusalBody { status, head: Bytes::copy_from_slice(head), start: end, reader };
                Ok(None)
            }
        }
    }

    /// The error for a refusal whose body has come as far as it will.
    fn refused(&self, bytes: &[u8]) -> WSHandshakeError {
        let Phase::RefusalBody { status, head, start, reader } = &self.phase else {
            return self.invalid_message(bytes, "the answer is incomplete");
        };
        let (raw_body, body) = reader.clone().finish(bytes.get(*start..).unwrap_or_default());
        WSHandshakeError {
            raw_header: head.clone(),
            raw_body,
            response: Some(WSUpgradeResponse::received(*status, head.clone(), body)),
            kind: WSHandshakeErrorKind::InvalidStatus(*status),
        }
    }

    /// The error for an answer whose head is bad, with what there is of it.
    fn invalid_message(&self, bytes: &[u8], reason: impl Into<Cow<'static, str>>) -> WSHandshakeError {
        let head = bytes.get(self.start..).unwrap_or_default();
        WSHandshakeError {
            raw_header: Bytes::copy_from_slice(&head[..head.len().min(self.config.limits.max_head)]),
            raw_body: Bytes::new(),
            response: None,
            kind: WSHandshakeErrorKind::InvalidMessage(reason.into()),
        }
    }

    fn cut_body(&self, body: &[u8]) -> Bytes {
        Bytes::copy_from_slice(&body[..body.len().min(self.config.max_body)])
    }
}

/// How many interim responses are skipped before the final one.
const MAX_INTERIM_RESPONSES: usize = 8;
