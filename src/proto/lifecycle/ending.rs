//! How a connection ends: the reasons, the order in which TCP ends, the record.

use std::time::{Duration, Instant};

use crate::proto::connection::{Closing, Phase};
use crate::proto::{
    Connection, Role, SendContext, WSCloseCode, WSDisconnectCause, WSDisconnectInfo, WSDisconnectSide,
    WSProtocolError,
};

use super::{
    ANSWERS_LATE, ATTENTION, Action, LINGERING, OVER, PAUSED, PEER_ENDED, READ_ON, SERVER_ENDS, StreamState,
    TELL_HANDSHAKE, TELL_PEER_ENDED, WRITE,
};

/// Time that the peer has to end TCP after the local half-close or, at a client, after the closing
/// handshake. Closing at once would make the kernel reset the connection if bytes are unread, and
/// the reset could overtake the CLOSE frame.
const LINGER: Duration = Duration::from_secs(2);

impl Connection {
    /// Ends the connection for an error of the peer or of the application (RFC 6455 section 7.1.7):
    /// queues CLOSE unless one was sent. TCP ends once that has left, and what arrives meanwhile is
    /// thrown away.
    ///
    /// Returns `true` if `cause` is the first reason to end the connection, which is the one that
    /// [`Action::Disconnected`] reports.
    pub fn fail(
        &mut self,
        error: &WSProtocolError,
        cause: WSDisconnectCause,
        now: Instant,
        out: &mut SendContext<'_>,
    ) -> bool {
        if self.found().is_some() {
            return false;
        }
        let is_first = self.note_cause(cause);
        self.send_close(error.code, &error.message, now, out);
        self.set_failed(now);
        is_first
    }

    /// Closes TCP without a closing handshake. Graceful: receives nothing more and lets what is
    /// queued leave, until the closing deadline. Otherwise writes once what the kernel has not
    /// refused, then closes.
    pub fn disconnect(&mut self, graceful: bool, now: Instant) {
        if self.found().is_some() {
            return;
        }
        if graceful {
            self.leave(now);
        } else {
            self.part(WSDisconnectCause::Disconnected);
            if self.refused {
                // These bytes had their write.
                self.life.clear(WRITE);
            }
        }
    }

    /// Ends the connection at once: the stream failed, the caller gives up. The first call counts.
    ///
    /// Returns `true` if no other reason to end the connection was known before.
    pub fn abort(&mut self, found: WSDisconnectCause) -> bool {
        let closing = self.closing.get_or_insert_default();
        if self.life.has(OVER) || closing.found.is_some() {
            return false;
        }
        closing.found = Some(found);
        let is_first = closing.cause.is_none();
        self.stop_sending();
        self.life.clear(WRITE | READ_ON);
        self.life.attend();
        is_first
    }

    /// Ends the connection after one more write, whatever of it the kernel takes.
    pub(super) fn part(&mut self, found: WSDisconnectCause) {
        self.closing.get_or_insert_default().parting.get_or_insert(found);
        self.stop_sending();
        self.life.set(WRITE | ATTENTION);
    }

    /// Keeps the first reason to end the connection: what follows from it is not why it ended.
    /// Returns `true` if this is it.
    pub(super) fn note_cause(&mut self, cause: WSDisconnectCause) -> bool {
        let kept = &mut self.closing.get_or_insert_default().cause;
        let is_first = kept.is_none();
        kept.get_or_insert(cause);
        is_first
    }

    /// Begins the closing handshake for a local reason.
    pub(super) fn end_for(
        &mut self,
        cause: WSDisconnectCause,
        reason: &str,
        now: Instant,
        out: &mut SendContext<'_>,
    ) {
        self.note_cause(cause);
        self.send_close(WSCloseCode::GOING_AWAY, reason, now, out);
    }

    pub(super) fn close_timed_out(&mut self, stream: StreamState) {
        let holds_end = self.life.timing.as_ref().is_some_and(|timing| timing.held_end.is_some());
        let found = if self.life.has(SERVER_ENDS) {
            // Only the server's FIN is missing.
            WSDisconnectCause::Closed
        } else if holds_end {
            peer_end(stream)
        } else {
            WSDisconnectCause::CloseTimeout
        };
        self.abort(found);
    }

    /// Decides what the peer's end of the stream means, after a write.
    pub(super) fn consider_peer_end(&mut self, now: Instant, stream: StreamState) {
        if self.found().is_some() {
            return;
        }
        if self.life.has(ANSWERS_LATE) && self.phase == Phase::Open && !self.leaving {
            if !self.half_closed {
                self.half_close(now);
                self.life.set(TELL_PEER_ENDED);
            }
        } else if self.has_left() {
            self.abort(peer_end(stream));
        } else {
            self.leave(now);
        }
    }

    /// Once everything has left, ends TCP, or waits for the peer to do it.
    pub(super) fn proceed_to_end(&mut self, now: Instant, stream: StreamState) -> Option<Action> {
        if self.deadline().is_none() || !self.has_left() {
            return None;
        }
        if self.is_finished() {
            return self.end_tcp(now, stream);
        }
        // The server ends TCP first (RFC 6455 section 7.1.1), within a bounded time.
        if self.is_closed_cleanly() && !self.life.set(SERVER_ENDS) {
            self.linger(now);
            self.life.set(TELL_HANDSHAKE);
        }
        None
    }

    /// Ends TCP in a way that cannot destroy what is in flight.
    fn end_tcp(&mut self, now: Instant, stream: StreamState) -> Option<Action> {
        let is_drained = !stream.unread && !self.life.has(PAUSED);
        if self.life.has(PEER_ENDED) || (is_drained && self.is_closed_cleanly()) {
            return Some(self.end(WSDisconnectCause::Closed, stream));
        }
        if self.life.set(LINGERING) {
            return None;
        }
        self.linger(now);
        // What came before may be unread, and no event will announce it again.
        self.life.set(READ_ON);
        Some(Action::ShutdownWrite)
    }

    /// Gives the peer at most [`LINGER`] from now on to end TCP.
    fn linger(&mut self, now: Instant) {
        if let Some(Closing { deadline: Some(deadline), .. }) = self.closing.as_deref_mut() {
            *deadline = (*deadline).min(now + LINGER);
        }
    }

    /// Ends the connection, given how the end of TCP was met.
    pub(super) fn end(&mut self, found: WSDisconnectCause, stream: StreamState) -> Action {
        self.life.set(OVER);
        self.stop_sending();
        if let Some(timing) = &mut self.life.timing {
            timing.timer = None;
        }
        let closing = self.closing.get_or_insert_default();
        closing.found.get_or_insert(found);
        let noted = closing.cause;
        let cause = noted.unwrap_or_else(|| self.cause(found, stream));
        Action::Disconnected(self.record(cause, self.queued() + stream.held))
    }

    /// Returns what ended the connection, given how the end of TCP was met.
    fn cause(&self, found: WSDisconnectCause, stream: StreamState) -> WSDisconnectCause {
        let met = matches!(
            found,
            WSDisconnectCause::PeerEof
                | WSDisconnectCause::Truncated
                | WSDisconnectCause::Closed
                | WSDisconnectCause::Io(_)
        );
        if self.is_closed_cleanly() && met {
            WSDisconnectCause::Closed
        } else if self.life.has(LINGERING) {
            WSDisconnectCause::Disconnected
        } else if self.life.has(PEER_ENDED) {
            peer_end(stream)
        } else {
            found
        }
    }

    fn record(&self, cause: WSDisconnectCause, bytes_unsent: usize) -> WSDisconnectInfo {
        // A CLOSE that was sent after the peer's half-close is no part of a handshake.
        let close = self.close_handshake().filter(|_| !self.half_closed);
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
            is_client_side: self.role == Role::Client,
        }
    }
}

/// How the peer has ended its half of TCP.
pub(super) fn peer_end(stream: StreamState) -> WSDisconnectCause {
    if stream.truncated { WSDisconnectCause::Truncated } else { WSDisconnectCause::PeerEof }
}
