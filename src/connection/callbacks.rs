//! Calling the listener, and what its errors mean.

use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;

use crate::connection::{WSListener, WSResult, WSTransport};
use crate::proto::{Role, WSCloseCode, WSDisconnectCause, WSFrame, WSProtocolError, received_at};
use crate::runtime::WSListenerError;

use super::conn::Conn;

/// Which callback an error came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Callback {
    Connected,
    Frame,
    Disconnected,
    Other,
}

impl Conn {
    /// Calls the listener outside of the delivery of frames.
    pub(super) fn call_listener(
        self: &Rc<Self>,
        call: impl FnOnce(&mut dyn WSListener) -> WSResult,
        callback: Callback,
    ) {
        let Some(mut listener) = self.listener.take() else { return };
        let result = panic::catch_unwind(AssertUnwindSafe(|| call(&mut *listener)));
        self.listener.set(Some(listener));
        match result {
            Ok(result) => self.callback_returned(result, callback),
            Err(panic) => {
                let error = WSListenerError::from_panic(&*panic);
                if callback == Callback::Disconnected {
                    self.note_last_error(&error);
                }
                self.listener_failed(error);
            }
        }
    }

    /// Whether no callback of the listener is running.
    pub(super) fn is_listener_free(&self) -> bool {
        let listener = self.listener.take();
        let is_free = listener.is_some();
        self.listener.set(listener);
        is_free
    }

    #[inline]
    pub(super) fn callback_returned(self: &Rc<Self>, result: WSResult, callback: Callback) {
        if let Err(error) = result {
            self.callback_failed(error, callback);
        }
    }

    /// Fails the connection for an error of the peer that was found in its frames or messages.
    #[cold]
    pub(crate) fn peer_failed(self: &Rc<Self>, error: &WSProtocolError) {
        self.fail(error, WSDisconnectCause::ProtocolError, error.clone().into());
    }

    #[cold]
    fn callback_failed(self: &Rc<Self>, error: Box<dyn std::error::Error + Send + Sync>, callback: Callback) {
        match error.downcast::<WSProtocolError>() {
            Ok(error) => {
                // The listener has not failed, it rejects the peer's data. With a louder line a
                // peer could fill the log.
                log::debug!("connection {}: the listener closes: {error}", self.token.to_u64());
                let close = (*error).clone();
                self.listener_ended(WSListenerError::new(error), &close);
            }
            Err(error) if callback == Callback::Frame && !self.settings.disconnect_on_error => {
                error_limited!("connection {}: on_ws_frame failed: {error}", self.token.to_u64());
            }
            Err(error) => self.listener_failed(WSListenerError::new(error)),
        }
    }

    /// Closes with 1011. A client's error comes out of `wait_disconnected`, a server's is logged.
    pub(super) fn listener_failed(self: &Rc<Self>, error: WSListenerError) {
        if self.protocol_role() == Role::Server {
            error_limited!("connection {}: the listener failed: {error}", self.token.to_u64());
        }
        self.listener_ended(error, &WSProtocolError::new(WSCloseCode::INTERNAL_ERROR, ""));
    }

    fn listener_ended(self: &Rc<Self>, error: WSListenerError, close: &WSProtocolError) {
        self.fail(close, WSDisconnectCause::ListenerError, error.into());
        self.act();
    }

    /// Callbacks that became due run before the next frame: the listener is in its place meanwhile, as they may be its own.
    pub(super) fn run_deferred_between_frames(self: &Rc<Self>, listener: &mut Box<dyn WSListener>) {
        self.listener.set(Some(std::mem::replace(listener, Box::new(Nobody))));
        // They may be those of other connections.
        let hidden = received_at::replace(None);
        self.core.run_deferred();
        received_at::replace(hidden);
        if let Some(back) = self.listener.take() {
            *listener = back;
        }
    }
}

/// Stands in for a listener that is in use elsewhere for a moment.
struct Nobody;

impl WSListener for Nobody {
    fn on_ws_frame(&mut self, _: &WSTransport, _: &mut WSFrame<'_>) -> WSResult {
        Ok(())
    }
}
