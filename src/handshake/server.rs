//! The server's side of the opening handshake.

use std::ops::Range;

use bytes::Bytes;

use super::head::{HeadFault, HeadScanner, Scan};
use super::request_rules::check_request;
use super::start_line::{HEAD_PREFIX, StartLine};
use super::{HandshakeLimits, WSRequestHead, WSUpgradeResponse};

/// Reads one request (RFC 6455 section 4.2.1) and tells whether to refuse it.
///
/// Feed it with [`receive`](Self::receive) until that returns something else than
/// [`Incomplete`](ServerProgress::Incomplete); it is of no use after that. It does not know the time: a peer that never
/// finishes its request has to be bounded by the caller's deadline.
#[derive(Clone, Debug)]
pub struct ServerHandshake {
    scanner: HeadScanner,
    /// The method is HEAD, as far as is known.
    is_head: bool,
}

/// What a server knows about the request so far.
#[derive(Clone, Debug)]
pub enum ServerProgress {
    /// Nothing wrong so far, and more to come.
    Incomplete,
    /// A good request. If it [is an upgrade](WSRequestHead::is_upgrade), it can be accepted with
    /// [`encode_default_switching`](super::encode_default_switching) or [`WSUpgradeResponse::encode_switching`];
    /// if not it is plain HTTP, and needs some other answer; one to HEAD is
    /// [`without_content`](WSUpgradeResponse::without_content).
    Request {
        /// The request.
        request: WSRequestHead,
        /// How many of the bytes belong to it. What comes after them are frames.
        consumed: usize,
    },
    /// A bad request, and the answer that says so, to be sent with [`WSUpgradeResponse::encode`]. Close the connection
    /// after it.
    Reject(WSUpgradeResponse),
}

impl ServerHandshake {
    /// Waits for a request.
    pub fn new(limits: HandshakeLimits) -> Self {
        Self { scanner: HeadScanner::new(StartLine::Request, limits), is_head: false }
    }

    /// Looks at what has arrived. `bytes` are *all* bytes since the beginning of the connection.
    pub fn receive(&mut self, bytes: &[u8]) -> ServerProgress {
        self.is_head = bytes.strip_prefix(b"\r\n").unwrap_or(bytes).starts_with(HEAD_PREFIX);
        match self.scanner.advance(bytes) {
            Ok(Scan::Incomplete) => ServerProgress::Incomplete,
            Ok(Scan::Complete(head)) => self.finish(bytes, head),
            Err(fault) => ServerProgress::Reject(self.answer(fault)),
        }
    }

    /// The answer to a peer that has ended its half within the request (RFC 9112 section 8).
    pub fn receive_eof(&self) -> WSUpgradeResponse {
        self.answer(HeadFault::Malformed("the request is incomplete"))
    }

    fn finish(&self, bytes: &[u8], head: Range<usize>) -> ServerProgress {
        let consumed = head.end;
        let head = &bytes[head];
        match check_request(head) {
            Ok(is_upgrade) => {
                let request = WSRequestHead::from_checked_head(Bytes::copy_from_slice(head), is_upgrade);
                ServerProgress::Request { request, consumed }
            }
            Err(fault) => ServerProgress::Reject(self.answer(fault)),
        }
    }

    fn answer(&self, fault: HeadFault) -> WSUpgradeResponse {
        let response = fault.answer();
        if self.is_head { response.without_content() } else { response }
    }
}
