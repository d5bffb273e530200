//! The handle to a connection for other threads.

use std::fmt;

use bytes::Bytes;

use crate::connection::WSMessageOptions;
use crate::proto::{
    MAX_CLOSE_REASON, SendOptions, WSCloseCode, WSMsgType, WSPreparedFrame, WSPreparedMessage,
    truncate_at_char,
};
use crate::runtime::{Command, Once, Token, WSLoopRemote, WSRemoteError};

const CLOSE: Once = Once::first(0);
const DISCONNECT: Once = Once::first(1);
/// Apart from `DISCONNECT`: it has an effect behind that.
const ABORT: Once = Once::first(2);

/// What other threads can ask of a connection. `Send` and `Sync`; clones are handles to the same connection.
///
/// `Ok` says that the request is on its way to the loop. A request that arrives after the connection has ended has no effect: it can
/// never reach another connection.
#[derive(Clone)]
pub struct WSRemote {
    token: Token,
    on_loop: WSLoopRemote,
}

impl WSRemote {
    pub(crate) fn new(token: Token, on_loop: WSLoopRemote) -> Self {
        Self { token, on_loop }
    }

    /// Sends a whole message, or a PING or PONG.
    ///
    /// # Errors
    /// See [`WSRemoteError`].
    pub fn send(&self, msg_type: WSMsgType, payload: impl Into<Bytes>) -> Result<(), WSRemoteError> {
        self.send_with(msg_type, payload, SendOptions::default())
    }

    /// Sends a frame with chosen bits.
    ///
    /// # Errors
    /// See [`WSRemoteError`].
    pub fn send_with(
        &self,
        msg_type: WSMsgType,
        payload: impl Into<Bytes>,
        options: SendOptions,
    ) -> Result<(), WSRemoteError> {
        if msg_type == WSMsgType::Close {
            return Err(WSRemoteError::IsClose);
        }
        self.on_loop.command(self.token, Command::Send { msg_type, payload: payload.into(), options })
    }

    /// Sends a whole message, compressed if that was agreed on: see
    /// [`WSTransport::send_message`](crate::WSTransport::send_message).
    ///
    /// # Errors
    /// See [`WSRemoteError`].
    pub fn send_message(&self, msg_type: WSMsgType, payload: impl Into<Bytes>) -> Result<(), WSRemoteError> {
        self.send_message_with(msg_type, payload, WSMessageOptions::default())
    }

    /// [`send_message`](Self::send_message) with a choice of its own.
    ///
    /// # Errors
    /// See [`WSRemoteError`].
    pub fn send_message_with(
        &self,
        msg_type: WSMsgType,
        payload: impl Into<Bytes>,
        options: WSMessageOptions,
    ) -> Result<(), WSRemoteError> {
        if msg_type == WSMsgType::Close {
            return Err(WSRemoteError::IsClose);
        }
        let compress = options.compress;
        self.on_loop.command(self.token, Command::SendMessage { msg_type, payload: payload.into(), compress })
    }

    /// Sends a frame that was encoded once for many connections.
    ///
    /// # Errors
    /// See [`WSRemoteError`].
    pub fn send_prepared(&self, frame: &WSPreparedFrame) -> Result<(), WSRemoteError> {
        self.on_loop.command(self.token, Command::SendPrepared(frame.clone()))
    }

    /// Sends a message that was encoded once for many connections, in the form that fits this one: see
    /// [`WSTransport::send_prepared_message`](crate::WSTransport::send_prepared_message).
    ///
    /// # Errors
    /// See [`WSRemoteError`].
    pub fn send_prepared_message(&self, message: &WSPreparedMessage) -> Result<(), WSRemoteError> {
        self.on_loop.command(self.token, Command::SendPreparedMessage(message.clone()))
    }

    /// Sends CLOSE, as [`WSTransport::send_close`](crate::WSTransport::send_close). A full inbox
    /// does not refuse it. While one CLOSE is on its way, a further one has no effect.
    ///
    /// # Errors
    /// [`WSRemoteError::LoopClosed`].
    pub fn send_close(&self, code: WSCloseCode, reason: &str) -> Result<(), WSRemoteError> {
        // What would not be sent need not wait.
        let reason = truncate_at_char(reason, MAX_CLOSE_REASON).into();
        self.on_loop.command_once(self.token, CLOSE, Command::SendClose { code, reason })
    }

    /// Closes TCP, as [`WSTransport::disconnect`](crate::WSTransport::disconnect). A full inbox
    /// does not refuse it.
    ///
    /// # Errors
    /// [`WSRemoteError::LoopClosed`].
    pub fn disconnect(&self, graceful: bool) -> Result<(), WSRemoteError> {
        let kind = if graceful { DISCONNECT } else { ABORT };
        self.on_loop.command_once(self.token, kind, Command::Disconnect { graceful })
    }

    /// The same number as [`WSTransport::id`](crate::WSTransport::id).
    pub fn id(&self) -> u64 {
        self.token.to_u64()
    }
}

impl fmt::Debug for WSRemote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WSRemote").field("id", &self.id()).finish_non_exhaustive()
    }
}
