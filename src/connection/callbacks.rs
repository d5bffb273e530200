//! Calling the listener, and what its errors mean.

use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;

use crate::connection::{WSListener, WSResult, WSTransport};
use crate::proto::{Role, WSCloseCode, WSDisconnectCause, WSFrame, WSProtocolError};
use crate::runtime::WSListenerError;

use super::conn::{Conn, Flags};
use super::listener::ListenerEvent;
use super::timed::call_timed;

impl Conn {
    /// Calls the listener for an event. All calls of a listener go through here. `PLAIN`: callbacks
    /// are not measured.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "for a known event it is one virtual call")]
    pub(super) fn raise<const PLAIN: bool>(
        &self,
        listener: &mut dyn WSListener,
        transport: &WSTransport,
        event: ListenerEvent<'_, '_>,
    ) -> WSResult {
        if !PLAIN && self.flags.has(Flags::MEASURED) {
            return call_timed(self.core.metrics(), listener, transport, event);
        }
        event.call(listener, transport)
    }

    /// Calls the listener for an event other than a frame, and handles its error or panic.
    pub(super) fn call_listener(self: &Rc<Self>, event: ListenerEvent<'_, '_>) {
        let Some(mut listener) = self.listener.take() else { return };
        let transport = WSTransport::new(Rc::clone(self));
        let is_last = matches!(event, ListenerEvent::Disconnected);
        let call = || self.raise::<false>(&mut *listener, &transport, event);
        let result = panic::catch_unwind(AssertUnwindSafe(call));
        self.listener.set(Some(listener));
        match result {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.callback_failed(error, true),
            Err(panic) => {
                let error = WSListenerError::from_panic(&*panic);
                if is_last {
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

    /// Handles the result of `on_ws_frame`.
    #[inline]
    pub(super) fn frame_returned(self: &Rc<Self>, result: WSResult) {
        if let Err(error) = result {
            self.callback_failed(error, self.settings.disconnect_on_error);
        }
    }

    /// Fails the connection for an error of the peer that was found in its frames or messages.
    #[cold]
    pub(crate) fn peer_failed(self: &Rc<Self>, error: &WSProtocolError) {
        self.fail(error, WSDisconnectCause::ProtocolError, error.clone().into());
        self.tell_receivers(|receivers| receivers.peer_failed(error));
    }

    #[cold]
    fn callback_failed(self: &Rc<Self>, error: Box<dyn std::error::Error + Send + Sync>, disconnects: bool) {
        match error.downcast::<WSProtocolError>() {
            Ok(error) => {
                // The listener has not failed, it rejects the peer's data. With a louder line a
                // peer could fill the log.
                log::debug!("connection {}: the listener closes: {error}", self.token.to_u64());
                let close = (*error).clone();
                self.listener_ended(WSListenerError::new(error), &close);
            }
            Err(error) if !disconnects => {
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
    #[inline(never)]
    pub(super) fn run_deferred_between_frames(self: &Rc<Self>, listener: &mut Box<dyn WSListener>) {
        self.listener.set(Some(std::mem::replace(listener, Box::new(Nobody))));
        self.core.run_deferred();
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
