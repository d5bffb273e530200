//! Why a connection ended.

use std::fmt;
use std::io;

use crate::WSCloseCode;

/// The record of a connection's end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WSDisconnectInfo {
    /// Which end began it.
    pub side: WSDisconnectSide,
    /// The code of the CLOSE frame that decided it: the peer's if that came first, else ours; 1006 if there was none
    /// (RFC 6455 section 7.1.5).
    pub code: WSCloseCode,
    /// The reason that came with the code.
    pub reason: Box<str>,
    /// What ended the connection.
    pub cause: WSDisconnectCause,
    /// Bytes that were queued and never left.
    pub bytes_unsent: usize,
    pub(crate) is_client_side: bool,
}

/// One of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WSDisconnectSide {
    /// This end.
    Local,
    /// The peer.
    Remote,
}

/// What ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WSDisconnectCause {
    /// The closing handshake was done.
    Closed,
    /// The application called `disconnect`.
    Disconnected,
    /// The peer closed TCP without a closing handshake.
    PeerEof,
    /// The peer broke RFC 6455 or a limit.
    ProtocolError,
    /// A callback failed or panicked.
    ListenerError,
    /// The outbound limit was reached under [`WSOverflowPolicy::Close`](crate::WSOverflowPolicy::Close), or
    /// [that of the loop](crate::WSLoopConfig::outbound_budget).
    Overflow,
    /// The closing handshake, or the flush of a graceful disconnect, did not end in time.
    CloseTimeout,
    /// The peer did not answer a ping in time: see [`enable_auto_ping`](crate::WSServerConfig::enable_auto_ping).
    PingTimeout,
    /// No byte arrived for the [`idle_timeout`](crate::WSServerConfig::idle_timeout).
    IdleTimeout,
    /// The [`max_connection_lifetime`](crate::WSServerConfig::max_connection_lifetime) was over.
    LifetimeOver,
    /// The socket failed.
    Io(io::ErrorKind),
    /// The loop was dropped.
    LoopClosed,
}

impl fmt::Display for WSDisconnectInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = if self.is_client_side { "client" } else { "server" };
        write!(f, "{role} side disconnected: {:?} by {:?}, {}", self.cause, self.side, self.code)?;
        if !self.reason.is_empty() {
            write!(f, " ({})", self.reason)?;
        }
        if self.bytes_unsent > 0 {
            write!(f, ", {} bytes unsent", self.bytes_unsent)?;
        }
        Ok(())
    }
}
