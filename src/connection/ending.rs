//! How a connection ends, and what it tells of that.

use std::cell::OnceCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::proto::{WSDisconnectCause, WSDisconnectInfo, WSProtocolError};
use crate::runtime::{TimerId, WSError, WSListenerError, guard};

use super::conn::{Conn, Flags};
use super::listener::ListenerEvent;
use super::source::DISCONNECTED;

/// The wait for a connection's end. Dropping it takes its waker back.
pub(crate) struct Disconnected {
    conn: Rc<Conn>,
    /// At a client, the complete closing handshake is as good as the end.
    suffices_handshake: bool,
    /// Under which the connection has its waker.
    number: Option<u64>,
}

impl Future for Disconnected {
    type Output = Result<(), WSError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.conn.flags.has(Flags::GONE) {
            let error = self.conn.ending.get().and_then(|ending| ending.error.get().cloned());
            return Poll::Ready(error.map_or(Ok(()), Err));
        }
        if self.suffices_handshake && self.conn.proto.borrow().is_handshake_closed() {
            return Poll::Ready(Ok(()));
        }
        // Cloned, and the old one dropped, outside of the borrow: both may run user code.
        let waker = cx.waker().clone();
        let (number, old) = {
            let mut extras = self.conn.extras.borrow_mut();
            let waiters = &mut extras.get_or_insert_default().waiters;
            let next = || waiters.last_key_value().map_or(0, |(last, _)| last + 1);
            let number = self.number.unwrap_or_else(next);
            (number, waiters.insert(number, Some(waker)))
        };
        drop(old);
        self.number = Some(number);
        Poll::Pending
    }
}

impl Drop for Disconnected {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let waker = self.conn.extras.borrow_mut().as_mut().and_then(|extras| extras.waiters.remove(&number));
        drop(waker);
    }
}

/// The record of a connection's end.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) info: WSDisconnectInfo,
    /// The first error, which `wait_disconnected` returns. Set late only by a failing
    /// `on_ws_disconnected`.
    error: OnceCell<WSError>,
}

impl Conn {
    /// Sends CLOSE for a fault of the peer or of the listener, and ends the connection once that has left.
    pub(super) fn fail(self: &Rc<Self>, close: &WSProtocolError, cause: WSDisconnectCause, error: WSError) {
        let now = self.core.now();
        if self.with_proto(|proto, out| proto.fail(close, cause, now, out)) {
            self.keep_error(error);
        }
        self.touch();
    }

    /// `disconnect(graceful)`.
    pub(crate) fn disconnect(self: &Rc<Self>, graceful: bool) {
        let now = self.core.now();
        self.proto.borrow_mut().disconnect(graceful, now);
        if graceful {
            self.touch();
        }
        self.act();
    }

    /// Ends the connection at once.
    pub(super) fn abort(self: &Rc<Self>, cause: WSDisconnectCause) {
        self.proto.borrow_mut().abort(cause);
        self.act();
    }

    /// Ends the connection because the stream failed. The caller acts on it.
    #[cold]
    pub(super) fn io_failed(&self, what: &str, error: &io::Error) {
        log::debug!("connection {}: {what}: {error}", self.token.to_u64());
        #[cfg(feature = "tls")]
        if let Some(error) = crate::tls::WSTlsError::in_io(error) {
            if self.proto.borrow_mut().abort(WSDisconnectCause::Tls) {
                self.keep_error(error.clone().into());
            }
            return;
        }
        self.proto.borrow_mut().abort(WSDisconnectCause::Io(error.kind()));
    }

    /// The loop is being dropped.
    pub(crate) fn abort_for_loop(self: &Rc<Self>) {
        self.abort(WSDisconnectCause::LoopClosed);
    }

    /// Keeps the error that is why the connection ends.
    fn keep_error(&self, error: WSError) {
        self.extras.borrow_mut().get_or_insert_default().error = Some(error);
    }

    /// Closes the socket and queues `on_ws_disconnected`.
    pub(super) fn end(self: &Rc<Self>, info: WSDisconnectInfo) {
        self.proto.borrow_mut().abandon(&mut self.core.pool());
        if self.flags.has(Flags::ACCOUNTED) {
            self.account(0);
        }
        log::debug!("connection {}: {info}", self.token.to_u64());
        self.core.metrics().closed(info.code);
        let bytes_unsent = info.bytes_unsent;
        let error = self.extras.borrow_mut().as_mut().and_then(|extras| extras.error.take());
        let error = error.map_or_else(OnceCell::new, OnceCell::from);
        let first = self.ending.set(Box::new(Ending { info, error })).is_ok();
        debug_assert!(first, "the protocol ends once");
        if let Some(mut io) = self.io.take()
            && bytes_unsent == 0
        {
            io.part();
        }
        self.drop_partial();
        self.replace_timer(None);
        #[cfg(feature = "deflate")]
        self.drop_deflate();
        self.settings.closed(self.token);
        self.core.defer_source(self, DISCONNECTED);
        drop(self.core.remove(self.token));
    }

    /// `on_ws_disconnected`, then those who wait.
    pub(crate) fn run_disconnected(self: &Rc<Self>) {
        self.call_listener(ListenerEvent::Disconnected);
        // The listener may hold its own transport: dropping it here undoes the circle.
        guard("dropping a listener", || drop(self.listener.take()));
        self.flags.set(Flags::GONE);
        self.wake_waiters();
        self.give_up_on_pongs();
    }

    /// Wakes the tasks that wait for the end. Their numbers stay taken: some may have to wait longer,
    /// and leave their waker again.
    pub(super) fn wake_waiters(&self) {
        let woken: Vec<_> = match self.extras.borrow_mut().as_mut() {
            Some(extras) => extras.waiters.values_mut().filter_map(Option::take).collect(),
            None => return,
        };
        // Outside of the borrow: waking may run user code.
        woken.into_iter().for_each(Waker::wake);
    }

    /// Ready once `on_ws_disconnected` has returned.
    pub(crate) fn disconnected(self: &Rc<Self>) -> Disconnected {
        Disconnected { conn: Rc::clone(self), suffices_handshake: false, number: None }
    }

    /// Returns a future that is ready once the closing handshake is complete at a client, or the
    /// connection has ended.
    pub(crate) fn closing_done(self: &Rc<Self>) -> Disconnected {
        Disconnected { conn: Rc::clone(self), suffices_handshake: true, number: None }
    }

    /// Cancels the timer and notes the one that takes its place.
    pub(super) fn replace_timer(&self, timer: Option<TimerId>) {
        let mut extras = self.extras.borrow_mut();
        let old = match (&mut *extras, timer) {
            (None, None) => None,
            (extras, timer) => std::mem::replace(&mut extras.get_or_insert_default().timer, timer),
        };
        drop(extras);
        if let Some(old) = old {
            self.core.cancel_timer(old);
        }
    }

    /// Keeps the error of `on_ws_disconnected` for `wait_disconnected`, unless there was one
    /// before.
    pub(super) fn note_last_error(&self, error: &WSListenerError) {
        if let Some(ending) = self.ending.get() {
            ending.error.get_or_init(|| error.clone().into());
        }
    }
}
