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

    /// Sends a whole message, or a PING or PONG, as [`WSTransport::send`](crate::WSTransport::send).
    ///
    /// # Errors
    /// See [`WSRemoteError`].
    pub fn send(&self, msg_type: WSMsgType, payload: impl Into<Bytes>) -> Result<(), WSRemoteError> {
        self.send_with(msg_type, payload, WSMessageOptions::default())
    }

    /// Sends a text message.
    ///
    /// # Errors
    /// See [`WSRemoteError`].
    pub fn send_text(&self, text: impl Into<String>) -> Result<(), WSRemoteError> {
        self.send(WSMsgType::Text, text.into())
    }

    /// Sends a binary message.
    ///
    /// # Errors
    /// See [`WSRemoteError`].
    pub fn send_binary(&self, payload: impl Into<Bytes>) -> Result<(), WSRemoteError> {
        self.send(WSMsgType::Binary, payload)
    }

    /// Sends a message as [`send`](Self::send) does, with options that overrule the configuration.
    ///
    /// # Errors
    /// See [`WSRemoteError`].
    pub fn send_with(
        &self,
        msg_type: WSMsgType,
        payload: impl Into<Bytes>,
        options: WSMessageOptions,
    ) -> Result<(), WSRemoteError> {
        if msg_type == WSMsgType::Close {
            return Err(WSRemoteError::IsClose);
        }
        let compress = options.compress;
        self.on_loop.command(self.token, Command::Send { msg_type, payload: payload.into(), compress })
    }

    /// Sends a frame with chosen bits, such as a fragment. It is never compressed.
    ///
    /// # Errors
    /// See [`WSRemoteError`].
    pub fn send_frame(
        &self,
        msg_type: WSMsgType,
        payload: impl Into<Bytes>,
        options: SendOptions,
    ) -> Result<(), WSRemoteError> {
        if msg_type == WSMsgType::Close {
            return Err(WSRemoteError::IsClose);
        }
        self.on_loop.command(self.token, Command::SendFrame { msg_type, payload: payload.into(), options })
    }

    /// Sends a message that was encoded once for many connections, in the form that fits this one: see
    /// [`WSTransport::send_prepared`](crate::WSTransport::send_prepared).
    ///
    /// # Errors
    /// See [`WSRemoteError`].
    pub fn send_prepared(&self, message: &WSPreparedMessage) -> Result<(), WSRemoteError> {
        self.on_loop.command(self.token, Command::SendPrepared(message.clone()))
    }

    /// Sends a frame that was encoded once for many connections. It is never compressed.
    ///
    /// # Errors
    /// See [`WSRemoteError`].
    pub fn send_prepared_frame(&self, frame: &WSPreparedFrame) -> Result<(), WSRemoteError> {
        self.on_loop.command(self.token, Command::SendPreparedFrame(frame.clone()))
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
