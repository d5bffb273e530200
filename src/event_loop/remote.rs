use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::proto::{MAX_CLOSE_REASON, truncate_at_char};
use crate::{
    SendOptions, WSCloseCode, WSLoopHandle, WSMessageOptions, WSMsgType, WSPreparedFrame, WSPreparedMessage,
};

use super::inbox::{Inbox, Mail, Once, WSRemoteError};
use super::slots::Token;

/// What other threads can ask of a loop. `Send` and `Sync`; clones are handles to the same loop.
///
/// Requests are carried out in order, in the next turn of the loop. A batch of them costs one wake-up, and none while the loop is awake.
#[derive(Clone)]
pub struct WSLoopRemote {
    inbox: Arc<Inbox>,
}

impl WSLoopRemote {
    pub(crate) fn new(inbox: Arc<Inbox>) -> Self {
        Self { inbox }
    }

    /// Whether this is the loop with that inbox.
    pub(super) fn is_of(&self, inbox: &Arc<Inbox>) -> bool {
        Arc::ptr_eq(&self.inbox, inbox)
    }

    /// Calls `f` on the loop's thread.
    ///
    /// # Errors
    /// [`WSRemoteError::LoopClosed`] and [`WSRemoteError::InboxFull`]; then `f` is dropped.
    pub fn post(&self, f: impl FnOnce(&WSLoopHandle) + Send + 'static) -> Result<(), WSRemoteError> {
        self.inbox.post(Mail::Call(Box::new(f)))
    }

    /// [`post`](Self::post) however full the inbox is, for calls whose number is bounded by
    /// something else.
    pub(super) fn post_always(
        &self,
        f: impl FnOnce(&WSLoopHandle) + Send + 'static,
    ) -> Result<(), WSRemoteError> {
        self.inbox.post_always(Mail::Call(Box::new(f)))
    }

    /// [`post`](Self::post) however full the inbox is, once per target and kind.
    pub(super) fn post_once(
        &self,
        to: Token,
        kind: Once,
        f: impl FnOnce(&WSLoopHandle) + Send + 'static,
    ) -> Result<(), WSRemoteError> {
        self.inbox.post_once(to, kind, Mail::Call(Box::new(f)))
    }

    /// Ends [`WSLoop::run`](crate::WSLoop::run) after the current turn.
    pub fn stop(&self) {
        self.inbox.request_stop();
    }
}

impl fmt::Debug for WSLoopRemote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WSLoopRemote").finish_non_exhaustive()
    }
}

/// What other threads can ask of a connection. `Send` and `Sync`; clones are handles to the same connection.
///
/// `Ok` says that the request is on its way to the loop. A request that arrives after the connection has ended has no effect: it can
/// never reach another connection.
#[derive(Clone)]
pub struct WSRemote {
    token: Token,
    inbox: Arc<Inbox>,
}

impl WSRemote {
    pub(crate) fn new(token: Token, inbox: Arc<Inbox>) -> Self {
        Self { token, inbox }
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
        self.inbox.post(Mail::Send { to: self.token, msg_type, payload: payload.into(), options })
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
        self.inbox.post(Mail::SendMessage { to: self.token, msg_type, payload: payload.into(), options })
    }

    /// Sends a frame that was encoded once for many connections.
    ///
    /// # Errors
    /// See [`WSRemoteError`].
    pub fn send_prepared(&self, frame: &WSPreparedFrame) -> Result<(), WSRemoteError> {
        self.inbox.post(Mail::SendPrepared { to: self.token, frame: frame.clone() })
    }

    /// Sends a message that was encoded once for many connections, in the form that fits this one: see
    /// [`WSTransport::send_prepared_message`](crate::WSTransport::send_prepared_message).
    ///
    /// # Errors
    /// See [`WSRemoteError`].
    pub fn send_prepared_message(&self, message: &WSPreparedMessage) -> Result<(), WSRemoteError> {
        self.inbox.post(Mail::SendPreparedMessage { to: self.token, message: message.clone() })
    }

    /// Sends CLOSE, as [`WSTransport::send_close`](crate::WSTransport::send_close). A full inbox
    /// does not refuse it. While one CLOSE is on its way, a further one has no effect.
    ///
    /// # Errors
    /// [`WSRemoteError::LoopClosed`].
    pub fn send_close(&self, code: WSCloseCode, reason: &str) -> Result<(), WSRemoteError> {
        // What would not be sent need not wait.
        let reason = truncate_at_char(reason, MAX_CLOSE_REASON).into();
        self.inbox.post_once(self.token, Once::Close, Mail::SendClose { to: self.token, code, reason })
    }

    /// Closes TCP, as [`WSTransport::disconnect`](crate::WSTransport::disconnect). A full inbox
    /// does not refuse it.
    ///
    /// # Errors
    /// [`WSRemoteError::LoopClosed`].
    pub fn disconnect(&self, graceful: bool) -> Result<(), WSRemoteError> {
        let kind = if graceful { Once::Disconnect } else { Once::Abort };
        self.inbox.post_once(self.token, kind, Mail::Disconnect { to: self.token, graceful })
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
