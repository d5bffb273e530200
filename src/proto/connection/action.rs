//! What a connection asks of its caller.

use std::time::Instant;

use crate::proto::WSDisconnectInfo;
#[cfg(doc)]
use crate::proto::{Connection, WSDisconnectCause};

/// A request of a [`Connection`] to its caller, returned by
/// [`poll_action`](Connection::poll_action).
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Write what is queued and what the stream holds, even if the kernel refused bytes before.
    /// What the connection does next depends on the result.
    Write,
    /// End the outgoing half of TCP. If that fails, [`abort`](Connection::abort) with
    /// [`WSDisconnectCause::Closed`]; if the stream then holds bytes, call
    /// [`handle_refused`](Connection::handle_refused). Returned at most once, after everything has
    /// left.
    ShutdownWrite,
    /// Change the interest in writability. Reading is always of interest.
    SetInterest {
        /// The kernel refuses bytes: report when it takes them again.
        writable: bool,
    },
    /// Replace the connection's one timer: call [`handle_timeout`](Connection::handle_timeout) at
    /// this time. `None` cancels it. The time may have passed.
    SetTimer(Option<Instant>),
    /// Read again without an event: delivery goes on, or bytes may be unread.
    ReadOn,
    /// Call [`poll_event`](Connection::poll_event) as soon as user code may run.
    Notify,
    /// Close TCP and cancel the timer: the connection has ended. The last action. If nothing is
    /// unsent, TLS sends `close_notify` first.
    Disconnected(WSDisconnectInfo),
}

/// An event for the application, returned by [`poll_event`](Connection::poll_event).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The backlog is above the high watermark.
    PauseWriting,
    /// The backlog has sunk to the low watermark.
    ResumeWriting,
    /// The peer has half-closed TCP without CLOSE. Frames can be sent until the closing deadline
    /// ([`answer_late`](Connection::answer_late)).
    PeerEnded,
    /// A client's closing handshake is complete. The server is to end TCP.
    HandshakeClosed,
    /// A ping is due: send one, then call [`ping_sent`](Connection::ping_sent).
    SendPing,
}

/// The state of the stream below a [`Connection`], passed in with each question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamState {
    /// Bytes that have left the queue but not the stream, such as TLS records.
    pub held: usize,
    /// Bytes, or the end of the stream, may have arrived and not been read.
    pub unread: bool,
    /// The peer ended TCP without TLS's `close_notify`.
    pub truncated: bool,
}

/// Whose a control frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The listener sees it.
    Deliver,
    /// The protocol dealt with it.
    Consumed,
}
