//! How a connection ends: the CLOSE frames, the deadline, the reasons.

use std::time::Instant;

use crate::proto::{
    WSClose, WSCloseCode, WSCloseHandshake, WSDisconnectCause, WSDisconnectInfo, WSDisconnectSide,
};

/// How far the end of a connection has come.
#[derive(Debug, Default)]
pub(super) struct Closing {
    handshake: WSCloseHandshake,
    /// Set by what first began to end the connection, and never moved later: the peer cannot
    /// prolong it.
    deadline: Option<Instant>,
    /// The first reason to end the connection.
    cause: Option<WSDisconnectCause>,
    /// How the end was met. The connection is over.
    found: Option<WSDisconnectCause>,
    /// The connection is over after one more write.
    parting: Option<WSDisconnectCause>,
}

impl Closing {
    /// Notes the peer's CLOSE.
    pub(super) fn received(&mut self, close: WSClose) {
        self.handshake.recv_then_sent = self.handshake.sent.is_none();
        self.handshake.recv = Some(close);
    }

    /// Notes the local CLOSE.
    pub(super) fn sent(&mut self, close: WSClose) {
        self.handshake.sent = Some(close);
    }

    pub(super) fn is_close_sent(&self) -> bool {
        self.handshake.sent.is_some()
    }

    /// Returns the CLOSE frames exchanged so far; `None` before the first.
    pub(super) fn handshake(&self) -> Option<&WSCloseHandshake> {
        let handshake = &self.handshake;
        (handshake.recv.is_some() || handshake.sent.is_some()).then_some(handshake)
    }

    /// Sets the deadline unless there is one.
    pub(super) fn begin(&mut self, deadline: Instant) {
        self.deadline.get_or_insert(deadline);
    }

    /// Moves the deadline, if there is one, to `at` if that is earlier.
    pub(super) fn hasten(&mut self, at: Instant) {
        self.deadline = self.deadline.map(|deadline| deadline.min(at));
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Keeps the first reason to end the connection: what follows from it is not why it ended.
    /// Returns `true` if this is it.
    pub(super) fn note_cause(&mut self, cause: WSDisconnectCause) -> bool {
        let is_first = self.cause.is_none();
        self.cause.get_or_insert(cause);
        is_first
    }

    /// Decides the end, which is met now. Returns `false`, and does nothing, if it was before.
    pub(super) fn meet(&mut self, found: WSDisconnectCause) -> bool {
        let is_first = self.found.is_none();
        self.found.get_or_insert(found);
        is_first
    }

    /// Decides the end, which comes after one more write.
    pub(super) fn part(&mut self, found: WSDisconnectCause) {
        self.parting.get_or_insert(found);
    }

    /// Returns the first reason to end the connection.
    pub(super) fn cause(&self) -> Option<WSDisconnectCause> {
        self.cause
    }

    /// Returns how the end was met, once it is decided.
    pub(super) fn found(&self) -> Option<WSDisconnectCause> {
        self.found.or(self.parting)
    }

    /// Returns `true` once an end has begun that has a deadline, or is decided.
    pub(super) fn is_ending(&self) -> bool {
        self.deadline.is_some() || self.found().is_some()
    }

    /// Returns the record of an end with this cause. The CLOSE frames count only if they are a
    /// `handshake`: a CLOSE that was sent after the peer's half-close is no part of one.
    pub(super) fn record(
        &self,
        cause: WSDisconnectCause,
        handshake: bool,
        bytes_unsent: usize,
        is_client_side: bool,
    ) -> WSDisconnectInfo {
        let close = self.handshake().filter(|_| handshake);
        let peer_first = close.is_some_and(|close| close.recv_then_sent);
        let decisive = close.and_then(|close| {
            if peer_first { close.recv.as_ref() } else { close.sent.as_ref().or(close.recv.as_ref()) }
        });
        let by_peer = match cause {
            WSDisconnectCause::Closed => peer_first,
            WSDisconnectCause::PeerEof | WSDisconnectCause::Truncated | WSDisconnectCause::Io(_) => true,
            _ => false,
        };
        WSDisconnectInfo {
            side: if by_peer { WSDisconnectSide::Remote } else { WSDisconnectSide::Local },
            code: decisive.map_or(WSCloseCode::ABNORMAL_CLOSURE, |close| close.code),
            reason: decisive.map(|close| close.reason.clone()).unwrap_or_default(),
            cause,
            bytes_unsent,
            error: None,
            is_client_side,
        }
    }
}
