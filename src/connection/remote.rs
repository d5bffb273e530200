//! The handle to a connection for other threads.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;

use crate::connection::WSMessageOptions;
use crate::proto::{
    MAX_CLOSE_REASON, SendOptions, WSCloseCode, WSDisconnectInfo, WSMsgType, WSPreparedFrame,
    WSPreparedMessage, truncate_at_char,
};
use crate::runtime::{Command, Once, Token, WSRemoteError};

use super::backlog::{Backlog, Closed, Ready};

const CLOSE: Once = Once::first(0);
const DISCONNECT: Once = Once::first(1);
/// Apart from `DISCONNECT`: it has an effect behind that.
const ABORT: Once = Once::first(2);

/// What other threads can ask of a connection. `Send` and `Sync`; clones are handles to the same connection.
///
/// `Ok` says that the request is on its way to the loop. After the connection has ended a send fails
/// with [`WSRemoteError::Disconnected`]. A request that is under way at that moment has no effect:
/// it can never reach another connection.
///
/// A thread that sends faster than the peer reads makes the connection overflow
/// ([`max_outbound`](crate::WSLimits::max_outbound)). [`ready`](Self::ready) waits for room; its
/// future and that of [`closed`](Self::closed) run on any executor:
///
/// ```no_run
/// # use femtows::*;
/// async fn feed(remote: WSRemote, ticks: impl Iterator<Item = String>) -> Result<(), WSRemoteError> {
///     for tick in ticks {
///         remote.ready().await?;
///         remote.send(WSMsgType::Text, tick)?;
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct WSRemote {
    token: Token,
    on_loop: Arc<Backlog>,
}

impl WSRemote {
    pub(super) fn new(token: Token, on_loop: Arc<Backlog>) -> Self {
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

    /// Sends CLOSE, as [`WSTransport::close`](crate::WSTransport::close). A full inbox does not refuse
    /// it. While one CLOSE is on its way, a further one has no effect.
    ///
    /// # Errors
    /// [`WSRemoteError::InvalidCloseCode`], [`WSRemoteError::LoopClosed`].
    pub fn close(&self, code: WSCloseCode, reason: &str) -> Result<(), WSRemoteError> {
        if !code.may_be_sent() {
            return Err(WSRemoteError::InvalidCloseCode);
        }
        // What would not be sent need not wait.
        let reason = truncate_at_char(reason, MAX_CLOSE_REASON).into();
        self.on_loop.command_once(self.token, CLOSE, Command::SendClose { code, reason })
    }

    /// Closes TCP, as [`WSTransport::disconnect`](crate::WSTransport::disconnect). A full inbox does
    /// not refuse it.
    ///
    /// # Errors
    /// [`WSRemoteError::LoopClosed`].
    pub fn disconnect(&self) -> Result<(), WSRemoteError> {
        self.on_loop.command_once(self.token, DISCONNECT, Command::Disconnect { graceful: true })
    }

    /// Closes TCP at once, as [`WSTransport::abort`](crate::WSTransport::abort). A full inbox does
    /// not refuse it.
    ///
    /// # Errors
    /// [`WSRemoteError::LoopClosed`].
    pub fn abort(&self) -> Result<(), WSRemoteError> {
        self.on_loop.command_once(self.token, ABORT, Command::Disconnect { graceful: false })
    }

    /// The same number as [`WSTransport::id`](crate::WSTransport::id).
    pub fn id(&self) -> u64 {
        self.token.to_u64()
    }
}

/// What waits, and the end.
impl WSRemote {
    /// Returns the bytes that wait to be sent: the payloads of requests that the loop has not
    /// carried out, and what the kernel has refused, as the loop last reported it. Zero once the
    /// connection has ended.
    ///
    /// The loop reports when it carries out requests of a remote, when the kernel begins or ceases
    /// to refuse bytes, and when it takes some of what it refused.
    pub fn buffered_amount(&self) -> usize {
        self.on_loop.amount()
    }

    /// Returns `true` once the socket is closed. Sends fail from then on.
    pub fn is_disconnected(&self) -> bool {
        self.on_loop.has_ended()
    }

    /// Waits until [`buffered_amount`](Self::buffered_amount) is not above the connection's
    /// [high watermark](crate::WSTuning::write_watermarks). The future is `Send` and runs on any
    /// executor; dropping it has no effect.
    ///
    /// Room is not reserved: threads that wait at the same time all go on.
    ///
    /// # Errors
    /// [`WSRemoteError::Disconnected`] once the connection has ended.
    pub fn ready(&self) -> impl Future<Output = Result<(), WSRemoteError>> + Send + use<> {
        Ready::new(&self.on_loop)
    }

    /// Waits until the socket is closed *and* `on_ws_disconnected` has returned, as
    /// [`WSTransport::wait_disconnected`](crate::WSTransport::wait_disconnected) does. Returns the
    /// record of the end. The future is `Send` and runs on any executor; dropping it has no effect.
    pub fn closed(&self) -> impl Future<Output = WSDisconnectInfo> + Send + use<> {
        Closed::new(&self.on_loop)
    }
}

impl fmt::Debug for WSRemote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WSRemote").field("id", &self.id()).finish_non_exhaustive()
    }
}
