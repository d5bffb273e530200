//! Carrying out what the protocol asks for: actions at once, events when user code may run.

use std::rc::Rc;

use crate::net::Io;
use crate::proto::{Action, Event, StreamState, WSDisconnectCause};
use crate::runtime::TimerKind;

use super::conn::{Conn, Flags};
use super::listener::ListenerEvent;
use super::source::EVENT;

impl Conn {
    /// Carries out the actions of the protocol. Called after everything that may have caused one;
    /// runs no user code.
    #[inline]
    pub(super) fn act(self: &Rc<Self>) {
        if self.proto.borrow().has_actions() {
            self.act_on();
        }
    }

    #[cold]
    fn act_on(self: &Rc<Self>) {
        // While `with_socket` lends the stream, only an end that is decided is carried out. The rest
        // follows when the stream is back.
        if self.io.borrow().is_none() && !self.proto.borrow().is_aborted() {
            return;
        }
        let now = self.core.now();
        loop {
            let stream = self.stream_state();
            let Some(action) = self.proto.borrow_mut().poll_action(now, stream) else { break };
            match action {
                Action::Write => self.write(),
                Action::ShutdownWrite => self.shutdown_write(),
                Action::SetInterest { writable } => self.set_interest(writable),
                Action::SetTimer(at) => {
                    let timer = at.map(|at| self.core.add_timer(at, self.token, TimerKind::DEADLINE));
                    self.replace_timer(timer);
                }
                Action::ReadOn => {
                    self.note_unread();
                    self.make_ready();
                }
                Action::Notify => self.core.defer_source(self, EVENT),
                Action::Disconnected(info) => return self.end(info),
            }
        }
        let refused = if self.proto.borrow().is_refused() { self.buffered_amount() } else { 0 };
        if refused > 0 || self.flags.has(Flags::ACCOUNTED) {
            self.account(refused);
        }
    }

    pub(super) fn stream_state(&self) -> StreamState {
        match &*self.io.borrow() {
            Some(io) => StreamState {
                held: io.held(),
                unread: io.is_unread() || io.is_end_ahead(),
                truncated: io.is_truncated(),
            },
            None => StreamState::default(),
        }
    }

    fn shutdown_write(&self) {
        let shut = self.io.borrow_mut().as_mut().map(Io::shutdown_write);
        if matches!(shut, Some(Ok(()))) {
            let refused = self.held() > 0;
            self.with_proto(|proto, out| proto.handle_refused(refused, out));
        } else {
            self.proto.borrow_mut().abort(WSDisconnectCause::Closed);
        }
    }

    /// Arms writable interest exactly while the kernel refuses bytes.
    fn set_interest(&self, writable: bool) {
        if writable {
            self.flags.set(Flags::BLOCKED);
        } else {
            self.flags.clear(Flags::BLOCKED);
        }
        let changed = match self.io.borrow_mut().as_mut() {
            Some(io) => io.want_write(self.core.registry(), writable),
            None => return,
        };
        if let Err(error) = changed {
            error_limited!("connection {}: cannot change interest: {error}", self.token.to_u64());
        }
    }

    /// Handles the connection's one timer.
    pub(crate) fn timer_fired(self: &Rc<Self>) {
        if let Some(extras) = &mut *self.extras.borrow_mut() {
            extras.timer = None;
        }
        let (now, stream) = (self.core.now(), self.stream_state());
        self.with_proto(|proto, out| proto.handle_timeout(now, stream, out));
        self.touch();
        self.act();
    }

    /// Passes an event of the protocol to the listener.
    pub(crate) fn run_event(self: &Rc<Self>) {
        let Some(event) = self.proto.borrow_mut().poll_event() else { return };
        match event {
            Event::PauseWriting => self.call_listener(ListenerEvent::PauseWriting),
            Event::ResumeWriting => self.call_listener(ListenerEvent::ResumeWriting),
            Event::PeerEnded => {
                // The rest of the frame does not come any more.
                self.drop_partial();
                self.tell_receivers(|receivers| receivers.peer_ended());
            }
            Event::HandshakeClosed => self.wake_waiters(),
            Event::SendPing => self.ping(self.core.now()),
        }
        self.act();
    }
}
