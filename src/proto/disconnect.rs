//! Why a connection ended.

use std::fmt;
use std::io;

use super::WSCloseCode;

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
    /// The text of the error that ended the connection, for causes that have one: of a callback, of
    /// the peer's frames, of the socket or of TLS.
    pub error: Option<Box<str>>,
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
    /// The peer, or somebody on the way, ended TCP without TLS's `close_notify` (RFC 8446 section 6.1) and without a closing
    /// handshake: what the peer sent last may be missing.
    Truncated,
    /// The bytes that arrived are not the peer's, or it refused ours: TLS failed after the handshake.
    #[cfg(feature = "tls")]
    Tls,
    /// The peer broke RFC 6455, RFC 7692 or a limit: invalid UTF-8 and corrupt compressed data that
    /// the message layer finds are among it.
    ProtocolError,
    /// A callback failed, panicked, or returned a [`WSProtocolError`](crate::WSProtocolError).
    ListenerError,
    /// The outbound limit was reached under [`WSOverflowPolicy::Close`](crate::WSOverflowPolicy::Close), or
    /// [that of the loop](crate::WSLoopConfig::outbound_budget).
    Overflow,
    /// The closing handshake, or the flush of a graceful disconnect, did not end in time.
    CloseTimeout,
    /// Bytes waited to be sent, and the kernel took none of them for the
    /// [`write_timeout`](crate::WSServerConfig::write_timeout): the peer does not read.
    WriteTimeout,
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

/// One line, whatever is in the reason and in the error.
impl fmt::Display for WSDisconnectInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = if self.is_client_side { "client" } else { "server" };
        write!(f, "{role} side disconnected by {}: {}, {}", self.side, self.cause, self.code)?;
        if !self.reason.is_empty() {
            write!(f, " {:?}", self.reason)?;
        }
        if let Some(error) = &self.error {
            write!(f, ", {error:?}")?;
        }
        write!(f, ", {} bytes unsent", self.bytes_unsent)
    }
}

impl fmt::Display for WSDisconnectSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local => "this end",
            Self::Remote => "the peer",
        })
    }
}

impl fmt::Display for WSDisconnectCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closing handshake",
            Self::Disconnected => "disconnect",
            Self::PeerEof => "end of TCP without a closing handshake",
            Self::Truncated => "end of TCP without TLS's close_notify",
            #[cfg(feature = "tls")]
            Self::Tls => "TLS failed",
            Self::ProtocolError => "protocol error of the peer",
            Self::ListenerError => "error of the listener",
            Self::Overflow => "outbound limit reached",
            Self::CloseTimeout => "closing took too long",
            Self::WriteTimeout => "nothing sent for too long",
            Self::PingTimeout => "ping not answered in time",
            Self::IdleTimeout => "nothing received for too long",
            Self::LifetimeOver => "open for the maximum time",
            Self::Io(kind) => return write!(f, "I/O error ({kind})"),
            Self::LoopClosed => "loop dropped",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line() {
        let mut info = WSDisconnectInfo {
            side: WSDisconnectSide::Remote,
            code: WSCloseCode::ABNORMAL_CLOSURE,
            reason: "".into(),
            cause: WSDisconnectCause::Io(io::ErrorKind::ConnectionReset),
            bytes_unsent: 17,
            error: None,
            is_client_side: true,
        };
        let line = info.to_string();
        assert!(
            line.starts_with("client side disconnected by the peer: I/O error (connection reset), 1006"),
            "{line}"
        );
        assert!(line.ends_with(", 17 bytes unsent"), "{line}");
        info.reason = "two\nlines \u{1b}[31m".into();
        info.error = Some("two\nlines".into());
        assert!(!info.to_string().contains(char::is_control));
    }
}
