//! How a connection ends, and what it tells of that.

use std::cell::OnceCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::connection::{WSListener, WSTransport};
use crate::net::Io;
use crate::proto::{
    Role, WSCloseCode, WSDisconnectCause, WSDisconnectInfo, WSDisconnectSide, WSProtocolError,
};
use crate::runtime::{TimerId, TimerKind, WSError, WSListenerError, guard};

use super::callbacks::Callback;
use super::conn::{Conn, Flags};
use super::source::DISCONNECTED;

/// Time that the peer has to end TCP after the local half-close or, at a client, after the closing
/// handshake. Closing at once would make the kernel reset the connection if
/// bytes are unread, and the reset could overtake the CLOSE frame.
const LINGER: Duration = Duration::from_secs(2);

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
        if self.suffices_handshake && self.conn.flags.has(Flags::SERVER_ENDS) {
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
    pub(super) fn fail(
        self: &Rc<Self>,
        close: &WSProtocolError,
        cause: WSDisconnectCause,
        error: Option<WSError>,
    ) {
        if self.ending.get().is_some() {
            return;
        }
        self.note_fault(cause, error);
        let now = self.core.now();
        self.with_proto(|proto, out| proto.fail(close, now, out));
        self.touch();
    }

    /// `disconnect(graceful)`.
    pub(crate) fn disconnect(self: &Rc<Self>, graceful: bool) {
        if self.ending.get().is_some() {
            return;
        }
        if graceful {
            let now = self.core.now();
            self.proto.borrow_mut().leave(now);
            self.touch();
            self.after_change();
        } else {
            // What is gathered was accepted and gets one write. Refused bytes had theirs.
            if !self.flags.has(Flags::BLOCKED) {
                self.flush();
            }
            self.terminate(WSDisconnectCause::Disconnected, None);
        }
    }

    /// The peer's half of TCP has ended.
    ///
    /// It may have ended only that half and still read, so what waits gets its chance to leave.
    pub(super) fn peer_ended(self: &Rc<Self>) {
        self.flags.set(Flags::PEER_ENDED);
        self.flush();
        if self.flags.has(Flags::ANSWERS_LATE) && self.half_close() {
            return;
        }
        if self.has_left() {
            self.terminate(self.peer_end(), None);
        } else {
            self.disconnect(true);
        }
    }

    /// Sends on for tasks that have not answered yet: until one closes, at the latest until the
    /// closing deadline. `false` if an end had begun before the peer's.
    fn half_close(self: &Rc<Self>) -> bool {
        let now = self.core.now();
        let (is_known, is_open) = {
            let mut proto = self.proto.borrow_mut();
            (proto.is_half_closed(), proto.half_close(now))
        };
        if is_open && !is_known {
            self.drop_partial();
            let tell = |listener: &mut dyn WSListener| {
                listener.on_peer_end();
                Ok(())
            };
            self.call_listener(tell, Callback::Other);
            self.after_change();
        }
        is_open
    }

    /// How the peer has ended its half.
    fn peer_end(&self) -> WSDisconnectCause {
        let truncated = self.io.borrow().as_ref().is_some_and(Io::is_truncated);
        if truncated { WSDisconnectCause::Truncated } else { WSDisconnectCause::PeerEof }
    }

    #[cold]
    pub(super) fn io_failed(self: &Rc<Self>, what: &str, error: &io::Error) {
        log::debug!("connection {}: {what}: {error}", self.token.to_u64());
        #[cfg(feature = "tls")]
        if let Some(error) = crate::tls::WSTlsError::in_io(error) {
            return self.terminate(WSDisconnectCause::Tls, Some(error.clone().into()));
        }
        self.terminate(WSDisconnectCause::Io(error.kind()), None);
    }

    /// The closing handshake, or the linger, took too long.
    pub(crate) fn deadline(self: &Rc<Self>) {
        self.replace_timer(None);
        let found = if self.flags.has(Flags::SERVER_ENDS) {
            // Nothing is missing but the server's FIN.
            WSDisconnectCause::Closed
        } else if self.flags.has(Flags::END_TIMED) {
            // The peer had ended its half, and data in front of that end was held for too long.
            self.peer_end()
        } else {
            WSDisconnectCause::CloseTimeout
        };
        self.terminate(found, None);
    }

    /// The loop is being dropped.
    pub(crate) fn abort_for_loop(self: &Rc<Self>) {
        self.terminate(WSDisconnectCause::LoopClosed, None);
    }

    /// Derives what is due from the state of the protocol: a deadline, the end of TCP. Called after
    /// anything that may change it.
    #[inline]
    pub(super) fn after_change(self: &Rc<Self>) {
        let deadline = self.proto.borrow().deadline();
        if let Some(deadline) = deadline {
            self.proceed_to_end(deadline);
        }
    }

    #[cold]
    fn proceed_to_end(self: &Rc<Self>, deadline: Instant) {
        if self.ending.get().is_some() {
            return;
        }
        let armed = self.extras.borrow().as_ref().is_some_and(|extras| extras.timer.is_some());
        if !armed {
            self.replace_timer(Some(self.core.add_timer(deadline, self.token, TimerKind::DEADLINE)));
        }
        if !self.has_left() {
            return;
        }
        let (finished, closed) = {
            let proto = self.proto.borrow();
            (proto.is_finished(), proto.is_closed_cleanly())
        };
        if finished {
            self.end_tcp();
        } else if closed {
            self.await_server();
        }
    }

    /// Begins the bounded time in which the server has to end TCP (RFC 6455 section 7.1.1), after a
    /// client's closing handshake.
    fn await_server(self: &Rc<Self>) {
        if self.flags.set(Flags::SERVER_ENDS) {
            return;
        }
        self.limit_linger();
        // Deferred: wakers may run user code, and this may be inside of a send.
        let conn = Rc::clone(self);
        self.core.defer_call(move || conn.wake_waiters());
    }

    /// Gives the peer at most [`LINGER`] from now on to end TCP.
    fn limit_linger(&self) {
        let now = self.core.now();
        let linger = (now + LINGER).min(self.proto.borrow().deadline().unwrap_or(now));
        self.cancel_deadline();
        self.replace_timer(Some(self.core.add_timer(linger, self.token, TimerKind::DEADLINE)));
    }

    pub(super) fn cancel_deadline(&self) {
        if let Some(timer) = self.replace_timer(None) {
            self.core.cancel_timer(timer);
        }
    }

    /// Everything has left: ends TCP in a way that cannot destroy what is in flight.
    fn end_tcp(self: &Rc<Self>) {
        let is_drained = |io: &Io| !io.is_unread() && !io.is_end_ahead();
        let drained = !self.flags.has(Flags::PAUSED) && self.io.borrow().as_ref().is_none_or(is_drained);
        if self.flags.has(Flags::PEER_ENDED) || (drained && self.proto.borrow().is_closed_cleanly()) {
            return self.terminate(WSDisconnectCause::Closed, None);
        }
        if self.flags.set(Flags::LINGERING) {
            return;
        }
        let shut = self.io.borrow_mut().as_mut().map(Io::shutdown_write);
        if !matches!(shut, Some(Ok(()))) {
            return self.terminate(WSDisconnectCause::Closed, None);
        }
        self.update_interest(self.held() > 0);
        self.limit_linger();
        // What came before may be unread, and no event will tell of it again.
        self.note_unread();
        self.make_ready();
    }

    /// Closes the socket now and queues `on_ws_disconnected`. The first call counts.
    pub(super) fn terminate(self: &Rc<Self>, found: WSDisconnectCause, error: Option<WSError>) {
        if self.ending.get().is_some() {
            return;
        }
        let (cause, error) = match self.extras.borrow_mut().as_mut().and_then(|extras| extras.fault.take()) {
            Some((cause, fault)) => (cause, fault),
            None => (self.cause(found), error),
        };
        let bytes_unsent = self.held() + self.proto.borrow_mut().abandon(&mut self.core.pool());
        if self.flags.has(Flags::ACCOUNTED) {
            self.account(0);
        }
        let info = self.info(cause, bytes_unsent);
        log::debug!("connection {}: {info}", self.token.to_u64());
        self.core.metrics().closed(info.code);
        let error = error.map_or_else(OnceCell::new, OnceCell::from);
        let first = self.ending.set(Box::new(Ending { info, error })).is_ok();
        debug_assert!(first, "checked above");
        if let Some(mut io) = self.io.take()
            && bytes_unsent == 0
        {
            io.part();
        }
        self.drop_partial();
        self.cancel_deadline();
        self.stop_liveness();
        self.stop_write_watch();
        #[cfg(feature = "deflate")]
        self.drop_deflate();
        self.settings.closed(self.token);
        self.core.defer_source(self, DISCONNECTED);
        drop(self.core.remove(self.token));
    }

    /// `on_ws_disconnected`, then those who wait.
    pub(crate) fn run_disconnected(self: &Rc<Self>) {
        let transport = WSTransport::new(Rc::clone(self));
        self.call_listener(
            |listener| {
                listener.on_ws_disconnected(&transport);
                Ok(())
            },
            Callback::Disconnected,
        );
        // The listener may hold its own transport: dropping it here undoes the circle.
        guard("dropping a listener", || drop(self.listener.take()));
        self.flags.set(Flags::GONE);
        self.wake_waiters();
        self.give_up_on_pongs();
    }

    /// Wakes the tasks that wait for the end. Their numbers stay taken: some may have to wait longer,
    /// and leave their waker again.
    fn wake_waiters(&self) {
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

    pub(super) fn replace_timer(&self, timer: Option<TimerId>) -> Option<TimerId> {
        let mut extras = self.extras.borrow_mut();
        match (&mut *extras, timer) {
            (None, None) => None,
            (extras, timer) => std::mem::replace(&mut extras.get_or_insert_default().timer, timer),
        }
    }

    /// Remembers what first began to end the connection: it, not what follows from it, is why the connection ended.
    pub(super) fn note_fault(&self, cause: WSDisconnectCause, error: Option<WSError>) {
        let mut extras = self.extras.borrow_mut();
        extras.get_or_insert_default().fault.get_or_insert((cause, error));
    }

    /// Keeps the error of `on_ws_disconnected` for `wait_disconnected`, unless there was one
    /// before.
    pub(super) fn note_last_error(&self, error: &WSListenerError) {
        if let Some(ending) = self.ending.get() {
            ending.error.get_or_init(|| error.clone().into());
        }
    }

    /// What ended the connection, given how the end of TCP was met.
    fn cause(&self, found: WSDisconnectCause) -> WSDisconnectCause {
        let clean = self.proto.borrow().is_closed_cleanly();
        let met = matches!(
            found,
            WSDisconnectCause::PeerEof
                | WSDisconnectCause::Truncated
                | WSDisconnectCause::Closed
                | WSDisconnectCause::Io(_)
        );
        if clean && met {
            WSDisconnectCause::Closed
        } else if self.flags.has(Flags::LINGERING) {
            WSDisconnectCause::Disconnected
        } else if self.flags.has(Flags::PEER_ENDED) {
            self.peer_end()
        } else {
            found
        }
    }

    fn info(&self, cause: WSDisconnectCause, bytes_unsent: usize) -> WSDisconnectInfo {
        let proto = self.proto.borrow();
        // A CLOSE that was sent after the peer had ended its half is no part of a handshake.
        let close = proto.close_handshake().filter(|_| !proto.is_half_closed());
        let peer_first = close.is_some_and(|close| close.recv_then_sent);
        let told = close.and_then(|close| {
            if peer_first { close.recv.as_ref() } else { close.sent.as_ref().or(close.recv.as_ref()) }
        });
        let by_peer = match cause {
            WSDisconnectCause::Closed => peer_first,
            WSDisconnectCause::PeerEof | WSDisconnectCause::Truncated | WSDisconnectCause::Io(_) => true,
            _ => false,
        };
        WSDisconnectInfo {
            side: if by_peer { WSDisconnectSide::Remote } else { WSDisconnectSide::Local },
            code: told.map_or(WSCloseCode::ABNORMAL_CLOSURE, |close| close.code),
            reason: told.map(|close| close.reason.clone()).unwrap_or_default(),
            cause,
            bytes_unsent,
            is_client_side: proto.role() == Role::Client,
        }
    }
}
