//! The life of a connection beside its frames: back-pressure, liveness, the end of TCP.

use std::time::{Duration, Instant};

use crate::proto::{
    KeepAlive, KeepAliveStep, Role, SendContext, WSCloseCode, WSDisconnectCause, WSProtocolError,
    deadline_after,
};

use super::timing::Deadline;
use super::{Action, Connection, Event, Flags, Phase, StreamState};

/// Time that the peer has to end TCP after the local half-close or, at a client, after the closing
/// handshake. Closing at once would make the kernel reset the connection if bytes are unread, and
/// the reset could overtake the CLOSE frame.
const LINGER: Duration = Duration::from_secs(2);

/// The input that does not consist of bytes.
impl Connection {
    /// Begins to count silence and the lifetime: the application has been told of the connection.
    pub fn handle_open(&mut self, now: Instant) {
        if self.rules.keep_alive.is_active() && !self.is_ending() {
            self.timing().watch(now);
            self.flags.set(Flags::ATTENTION);
        }
    }

    /// Notes that bytes have arrived. Needed only if
    /// [`watches_arrivals`](crate::proto::KeepAliveRules::watches_arrivals), and never the cause of
    /// an action.
    #[inline]
    pub fn handle_arrival(&mut self, now: Instant) {
        if let Some(keep_alive) = self.keep_alive() {
            keep_alive.received(now);
        }
    }

    /// Handles the peer's end of the stream. The peer may still read, so what is queued leaves
    /// first.
    pub fn handle_end(&mut self) {
        self.flags.set(Flags::PEER_ENDED | Flags::END_SEEN | Flags::WRITE | Flags::ATTENTION);
    }

    /// Handles an end of the stream that is behind data that is held, and so cannot be read.
    ///
    /// The peer may have half-closed TCP and still read. What is held is lost only if nothing is
    /// released within the close timeout.
    pub(crate) fn handle_held_end(&mut self, now: Instant) {
        if self.is_ending() {
            return;
        }
        let deadline = deadline_after(now, self.rules.close_timeout);
        self.timing().hold_end(deadline);
        self.flags.set(Flags::ATTENTION);
    }

    /// Handles the timer that [`Action::SetTimer`] set.
    #[cold]
    pub fn handle_timeout(&mut self, now: Instant, stream: StreamState, out: &mut SendContext<'_>) {
        self.flags.set(Flags::ATTENTION);
        let Some(timing) = &mut self.timing else { return };
        timing.timer_gone();
        if self.found().is_some() {
            return;
        }
        // One deadline at a time: a second one that is due sets the timer to a time in the past.
        match self.next_deadline().filter(|&(at, _)| at <= now) {
            Some((_, Deadline::Close)) => self.close_timed_out(stream),
            // The peer had half-closed TCP, and data in front of that end was held for too long.
            Some((_, Deadline::HeldEnd)) => {
                self.abort(peer_end(stream));
            }
            Some((_, Deadline::Write)) => {
                // Kernels announce room only when much of their buffer is free (on Linux a third),
                // and a slow reader needs longer for that. A write notices less, and bytes that
                // left by a read, which answers on the TLS layer.
                self.flags.set(Flags::WRITE | Flags::WRITE_OVERDUE);
            }
            Some((_, Deadline::KeepAlive)) => self.keep_alive_timed_out(now, stream, out),
            None => {}
        }
    }

    fn keep_alive_timed_out(&mut self, now: Instant, stream: StreamState, out: &mut SendContext<'_>) {
        let rules = self.rules.keep_alive;
        match self.keep_alive_step(now, stream) {
            KeepAliveStep::Wait(_) => {}
            KeepAliveStep::Ping => {
                self.flags.set(Flags::PING_REQUESTED | Flags::TELL_PING);
            }
            KeepAliveStep::PingTimeout => {
                let timeout = seconds(rules.auto_ping.map(|ping| ping.reply_timeout));
                let reason =
                    format!("peer has not replied to ping/heartbeat request within {timeout} second(s)");
                self.end_for(WSDisconnectCause::PingTimeout, &reason, now, out);
                // The peer is most likely gone: one write, and no wait for an answer.
                self.part(WSDisconnectCause::PingTimeout);
            }
            KeepAliveStep::IdleTimeout => {
                let reason = format!("nothing received for {} second(s)", seconds(rules.idle_timeout));
                self.end_for(WSDisconnectCause::IdleTimeout, &reason, now, out);
            }
            KeepAliveStep::LifetimeOver => {
                let reason = format!("open for {} second(s), the maximum", seconds(rules.max_lifetime));
                self.end_for(WSDisconnectCause::LifetimeOver, &reason, now, out);
            }
        }
    }

    /// Returns what is due, unless the peer could not be heard: then its silence is excused.
    fn keep_alive_step(&mut self, now: Instant, stream: StreamState) -> KeepAliveStep {
        // Behind a backlog no PING reaches the peer, and what it sends behind data that is held is
        // not seen.
        let unheard = stream.unread
            || self.flags.has(Flags::PAUSED | Flags::BACKLOGGED)
            || self.is_data_held()
            || !self.is_receiving();
        let rules = self.rules.keep_alive;
        let Some(keep_alive) = self.keep_alive() else { return KeepAliveStep::Wait(None) };
        let step = keep_alive.poll(now, &rules);
        let by_silence =
            matches!(step, KeepAliveStep::Ping | KeepAliveStep::PingTimeout | KeepAliveStep::IdleTimeout);
        if !(by_silence && unheard) {
            return step;
        }
        keep_alive.excuse(now);
        keep_alive.poll(now, &rules)
    }

    /// Notes that a ping was sent, be it due or the application's own.
    pub fn ping_sent(&mut self, now: Instant) {
        if self.is_ending() {
            return;
        }
        self.flags.clear(Flags::PING_REQUESTED);
        self.timing().pinged(now);
        self.flags.set(Flags::PONG_AWAITED | Flags::ATTENTION);
    }

    /// Notes the answer to a ping. Returns `true` if one was awaited.
    pub(crate) fn pong_received(&mut self) -> bool {
        if let Some(keep_alive) = self.keep_alive() {
            keep_alive.ponged();
        }
        self.flags.clear(Flags::PONG_AWAITED)
    }
}

/// Commands of the application and the caller.
impl Connection {
    /// Sets the watermarks of this connection, in bytes.
    pub(crate) fn set_watermarks(&mut self, low: usize, high: usize) {
        self.timing().set_watermarks(low, high);
        self.flags.set(Flags::ATTENTION);
    }

    /// Keeps the connection open for answers after the peer's half-close without CLOSE.
    pub fn answer_late(&mut self) {
        self.flags.set(Flags::ANSWERS_LATE);
    }

    /// Returns the watermarks, in bytes: low and high.
    fn watermarks(&self) -> (usize, usize) {
        let own = self.timing.as_ref().and_then(|timing| timing.watermarks());
        own.unwrap_or((self.rules.low_watermark, self.rules.high_watermark))
    }

    /// Returns `true` while the kernel refuses bytes, and the high watermark.
    pub(crate) fn pressure(&self) -> (bool, usize) {
        (self.is_refused(), self.watermarks().1)
    }

    /// Returns `true` while the backlog is above the high watermark, or was and has not sunk to the
    /// low one since. [`Event::ResumeWriting`] then follows, even without
    /// [`Event::PauseWriting`].
    pub(crate) fn awaits_resume(&mut self) -> bool {
        let is_paused = self.flags.has(Flags::WRITING_PAUSED);
        if is_paused {
            self.flags.set(Flags::PAUSE_TOLD);
        }
        is_paused
    }

    /// Ends the connection for an error of the peer or of the application (RFC 6455 section 7.1.7):
    /// queues CLOSE unless one was sent. TCP ends once that has left, and what arrives meanwhile is
    /// thrown away.
    ///
    /// Returns `true` if `cause` is the first reason to end the connection, which is the one that
    /// [`Action::Disconnected`] reports.
    pub fn fail(
        &mut self,
        error: &WSProtocolError,
        cause: WSDisconnectCause,
        now: Instant,
        out: &mut SendContext<'_>,
    ) -> bool {
        if self.found().is_some() {
            return false;
        }
        let is_first = self.closing().note_cause(cause);
        self.send_close(error.code, &error.message, now, out);
        self.set_failed(now);
        is_first
    }

    /// Closes TCP without a closing handshake. Graceful: receives nothing more and lets what is
    /// queued leave, until the closing deadline. Otherwise writes once what the kernel has not
    /// refused, then closes.
    pub fn disconnect(&mut self, graceful: bool, now: Instant) {
        if self.found().is_some() {
            return;
        }
        if graceful {
            self.leave(now);
        } else {
            self.part(WSDisconnectCause::Disconnected);
            if self.is_refused() {
                // These bytes had their write.
                self.flags.clear(Flags::WRITE);
            }
        }
    }

    /// Ends the connection at once: the stream failed, the caller gives up. The first call counts.
    ///
    /// Returns `true` if no other reason to end the connection was known before.
    pub fn abort(&mut self, found: WSDisconnectCause) -> bool {
        if self.flags.has(Flags::OVER) || !self.closing().meet(found) {
            return false;
        }
        let is_first = self.closing().cause().is_none();
        self.stop_sending();
        self.flags.clear(Flags::WRITE | Flags::READ_ON);
        self.flags.set(Flags::ATTENTION);
        is_first
    }

    /// Ends the connection after one more write, whatever of it the kernel takes.
    fn part(&mut self, found: WSDisconnectCause) {
        self.closing().part(found);
        self.stop_sending();
        self.flags.set(Flags::WRITE | Flags::ATTENTION);
    }

    /// Begins the closing handshake for a local reason.
    fn end_for(&mut self, cause: WSDisconnectCause, reason: &str, now: Instant, out: &mut SendContext<'_>) {
        self.closing().note_cause(cause);
        self.send_close(WSCloseCode::GOING_AWAY, reason, now, out);
    }

    /// Ends the connection once the queue has left; the rest of what arrives is thrown away.
    fn set_failed(&mut self, now: Instant) {
        self.enter(Phase::Failed);
        self.start_deadline(now);
    }

    /// Neither sends nor receives any more.
    pub(super) fn stop_sending(&mut self) {
        self.flags.set(Flags::LEAVING);
        self.state_changed();
    }

    /// Stops receiving, lets what is queued leave, then closes TCP.
    fn leave(&mut self, now: Instant) {
        self.stop_sending();
        self.start_deadline(now);
    }

    /// Begins the closing deadline after the peer's half-close without CLOSE. The peer may still
    /// read: frames leave until [`send_close`](Self::send_close) or the deadline.
    fn half_close(&mut self, now: Instant) {
        self.flags.set(Flags::HALF_CLOSED);
        self.start_deadline(now);
    }

    /// Begins the time that the end may take in all.
    pub(super) fn start_deadline(&mut self, now: Instant) {
        self.flags.set(Flags::ATTENTION);
        let deadline = deadline_after(now, self.rules.close_timeout);
        self.closing().begin(deadline);
    }
}

/// The output that does not consist of bytes.
impl Connection {
    /// Returns `true` if [`poll_action`](Self::poll_action) may return something.
    #[inline]
    pub(crate) fn has_actions(&self) -> bool {
        self.flags.has(Flags::ATTENTION)
    }

    /// Returns the next thing to do. Called after input, commands and writes until it returns
    /// `None`. Each action is carried out before the next call.
    pub fn poll_action(&mut self, now: Instant, stream: StreamState) -> Option<Action> {
        if !self.has_actions() {
            return None;
        }
        let action = self.next_action(now, stream);
        if action.is_none() {
            self.rest();
        }
        action
    }

    /// Returns the next event for the application, when user code may run. A crossing of a
    /// watermark that was undone meanwhile is not reported. If there are further events, a further
    /// [`Action::Notify`] announces them.
    pub fn poll_event(&mut self) -> Option<Event> {
        let is_ending = self.is_ending();
        let flags = &mut self.flags;
        flags.clear(Flags::NOTIFIED);
        flags.set(Flags::ATTENTION);
        if flags.clear(Flags::TELL_PEER_ENDED) {
            Some(Event::PeerEnded)
        } else if flags.has(Flags::WRITING_PAUSED) && !flags.set(Flags::PAUSE_TOLD) {
            Some(Event::PauseWriting)
        } else if !flags.has(Flags::WRITING_PAUSED) && flags.clear(Flags::PAUSE_TOLD) {
            Some(Event::ResumeWriting)
        } else if flags.clear(Flags::TELL_HANDSHAKE) {
            Some(Event::HandshakeClosed)
        } else {
            (flags.clear(Flags::TELL_PING) && !is_ending).then_some(Event::SendPing)
        }
    }

    #[cold]
    fn next_action(&mut self, now: Instant, stream: StreamState) -> Option<Action> {
        if self.flags.has(Flags::OVER) {
            return None;
        }
        if self.is_overflowed() {
            self.abort(WSDisconnectCause::Overflow);
        }
        if self.flags.clear(Flags::WRITE) {
            return Some(Action::Write);
        }
        self.consider_write(now, stream);
        if self.flags.clear(Flags::END_SEEN) {
            self.consider_peer_end(now, stream);
        }
        if let Some(found) = self.found() {
            return Some(self.end(found, stream));
        }
        if self.is_refused() != self.flags.has(Flags::INTEREST) {
            self.flags.put(Flags::INTEREST, self.is_refused());
            return Some(Action::SetInterest { writable: self.is_refused() });
        }
        self.check_watermarks(stream.held);
        if let Some(action) = self.proceed_to_end(now, stream) {
            return Some(action);
        }
        if self.flags.clear(Flags::READ_ON) {
            // The peer could not be heard until now: its silence begins anew.
            if let Some(keep_alive) = self.keep_alive() {
                keep_alive.excuse(now);
            }
            return Some(Action::ReadOn);
        }
        if let Some(action) = self.timer_change() {
            return Some(action);
        }
        (self.has_events() && !self.flags.set(Flags::NOTIFIED)).then_some(Action::Notify)
    }

    /// Notes that there is nothing to do until the next input. A connection that is ending, or
    /// whose bytes the kernel refuses, depends on its queue, whose changes are not input.
    fn rest(&mut self) {
        let depends_on_queue = self.is_refused() || self.flags.has(Flags::WRITING_PAUSED) || self.is_ending();
        if !depends_on_queue || self.flags.has(Flags::OVER) {
            self.flags.clear(Flags::ATTENTION);
        }
        if self.timing.as_ref().is_some_and(|timing| timing.is_unused()) {
            self.timing = None;
        }
    }

    fn keep_alive(&mut self) -> Option<&mut KeepAlive> {
        self.timing.as_mut()?.keep_alive()
    }

    fn has_events(&self) -> bool {
        let flags = self.flags;
        flags.has(Flags::TELL_PEER_ENDED | Flags::TELL_HANDSHAKE | Flags::TELL_PING)
            || flags.has(Flags::WRITING_PAUSED) != flags.has(Flags::PAUSE_TOLD)
    }

    // --- back-pressure -------------------------------------------------------------------------

    /// Compares what the kernel refused, or the stream holds, with the watermarks.
    fn check_watermarks(&mut self, held: usize) {
        let waiting = if self.is_refused() { self.queued() + held } else { 0 };
        let (low, high) = self.watermarks();
        let crossed = if waiting > high {
            !self.flags.set(Flags::WRITING_PAUSED)
        } else {
            waiting <= low && self.flags.clear(Flags::WRITING_PAUSED)
        };
        if !crossed || !self.rules.hold_data_on_backlog {
            return;
        }
        if self.flags.has(Flags::WRITING_PAUSED) {
            self.hold(Flags::BACKLOGGED);
        } else {
            self.release(Flags::BACKLOGGED);
        }
    }

    // --- deadlines -----------------------------------------------------------------------------

    /// Starts or updates the write timeout while the kernel refuses bytes, and ends the connection
    /// if the write that followed it made no progress.
    fn consider_write(&mut self, now: Instant, stream: StreamState) {
        let overdue = self.flags.clear(Flags::WRITE_OVERDUE);
        let Some(timeout) = self.rules.write_timeout.filter(|_| self.is_refused()) else { return };
        let left = self.overload.as_ref().map_or(0, |overload| overload.left_since_refusal());
        let progress = self.timing().note_progress(now, (left, stream.held));
        if overdue && now.saturating_duration_since(progress) >= timeout {
            self.abort(WSDisconnectCause::WriteTimeout);
        }
    }

    /// Changes the time of the timer if it has to.
    fn timer_change(&mut self) -> Option<Action> {
        let next = self.next_deadline().map(|(at, _)| at);
        if next.is_none() && self.timing.is_none() {
            return None;
        }
        self.timing().move_timer(next).then_some(Action::SetTimer(next))
    }

    fn next_deadline(&self) -> Option<(Instant, Deadline)> {
        let close = self.deadline();
        let Some(timing) = &self.timing else { return close.map(|at| (at, Deadline::Close)) };
        let is_watched = !self.is_ending() && !self.flags.has(Flags::PING_REQUESTED);
        timing.next_deadline(close, is_watched, &self.rules)
    }

    // --- the end -------------------------------------------------------------------------------

    fn close_timed_out(&mut self, stream: StreamState) {
        let holds_end = self.timing.as_ref().is_some_and(|timing| timing.holds_end());
        let found = if self.flags.has(Flags::SERVER_ENDS) {
            // Only the server's FIN is missing.
            WSDisconnectCause::Closed
        } else if holds_end {
            peer_end(stream)
        } else {
            WSDisconnectCause::CloseTimeout
        };
        self.abort(found);
    }

    /// Decides what the peer's end of the stream means, after a write.
    fn consider_peer_end(&mut self, now: Instant, stream: StreamState) {
        if self.found().is_some() {
            return;
        }
        if self.flags.has(Flags::ANSWERS_LATE) && self.phase == Phase::Open && !self.flags.has(Flags::LEAVING)
        {
            if !self.is_half_closed() {
                self.half_close(now);
                self.flags.set(Flags::TELL_PEER_ENDED);
            }
        } else if self.has_left() {
            self.abort(peer_end(stream));
        } else {
            self.leave(now);
        }
    }

    /// Once everything has left, ends TCP, or waits for the peer to do it.
    fn proceed_to_end(&mut self, now: Instant, stream: StreamState) -> Option<Action> {
        if self.deadline().is_none() || !self.has_left() {
            return None;
        }
        if self.is_finished() {
            return self.end_tcp(now, stream);
        }
        // The server ends TCP first (RFC 6455 section 7.1.1), within a bounded time.
        if self.is_closed_cleanly() && !self.flags.set(Flags::SERVER_ENDS) {
            self.linger(now);
            self.flags.set(Flags::TELL_HANDSHAKE);
        }
        None
    }

    /// Ends TCP in a way that cannot destroy what is in flight.
    fn end_tcp(&mut self, now: Instant, stream: StreamState) -> Option<Action> {
        let is_drained = !stream.unread && !self.flags.has(Flags::PAUSED);
        if self.flags.has(Flags::PEER_ENDED) || (is_drained && self.is_closed_cleanly()) {
            return Some(self.end(WSDisconnectCause::Closed, stream));
        }
        if self.flags.set(Flags::LINGERING) {
            return None;
        }
        self.linger(now);
        // What came before may be unread, and no event will announce it again.
        self.flags.set(Flags::READ_ON);
        Some(Action::ShutdownWrite)
    }

    /// Gives the peer at most [`LINGER`] from now on to end TCP.
    fn linger(&mut self, now: Instant) {
        self.closing().hasten(now + LINGER);
    }

    /// Ends the connection, given how the end of TCP was met.
    fn end(&mut self, found: WSDisconnectCause, stream: StreamState) -> Action {
        self.flags.set(Flags::OVER);
        self.stop_sending();
        if let Some(timing) = &mut self.timing {
            timing.timer_gone();
        }
        self.closing().meet(found);
        let noted = self.closing().cause();
        let cause = noted.unwrap_or_else(|| self.cause(found, stream));
        let (is_handshake, unsent) = (!self.is_half_closed(), self.queued() + stream.held);
        let is_client = self.role == Role::Client;
        Action::Disconnected(self.closing().record(cause, is_handshake, unsent, is_client))
    }

    /// Returns what ended the connection, given how the end of TCP was met.
    fn cause(&self, found: WSDisconnectCause, stream: StreamState) -> WSDisconnectCause {
        let met = matches!(
            found,
            WSDisconnectCause::PeerEof
                | WSDisconnectCause::Truncated
                | WSDisconnectCause::Closed
                | WSDisconnectCause::Io(_)
        );
        if self.is_closed_cleanly() && met {
            WSDisconnectCause::Closed
        } else if self.flags.has(Flags::LINGERING) {
            WSDisconnectCause::Disconnected
        } else if self.flags.has(Flags::PEER_ENDED) {
            peer_end(stream)
        } else {
            found
        }
    }
}

/// How the peer has ended its half of TCP.
fn peer_end(stream: StreamState) -> WSDisconnectCause {
    if stream.truncated { WSDisconnectCause::Truncated } else { WSDisconnectCause::PeerEof }
}

/// A timeout as people read it: `10`, `1.5`.
fn seconds(timeout: Option<Duration>) -> f64 {
    timeout.unwrap_or_default().as_secs_f64()
}
