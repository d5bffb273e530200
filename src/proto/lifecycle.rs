//! The life of a connection beside its frames: back-pressure, liveness, the end of TCP.

mod action;
mod deadlines;
mod ending;

use std::time::Instant;

use super::{Connection, KeepAlive, WSDisconnectCause, deadline_after};

pub use action::{Action, Event, StreamState};
use deadlines::Timing;

/// Facts, requests and deadlines of one connection.
#[derive(Debug, Default)]
pub(super) struct Lifecycle {
    flags: u32,
    /// `None` unless there is a deadline or something to watch.
    timing: Option<Box<Timing>>,
}

// --- facts ---
/// The application paused delivery.
const PAUSED: u32 = 1;
/// Data is held because the caller has no room for it.
const NO_ROOM: u32 = 1 << 1;
/// Data is held because the backlog is above its high watermark.
const BACKLOGGED: u32 = 1 << 2;
/// Data is held, for any reason.
const HOLDING: u32 = NO_ROOM | BACKLOGGED;
/// The backlog exceeded the high watermark and has not sunk to the low one since.
const WRITING_PAUSED: u32 = 1 << 3;
/// The application knows that writing is paused.
const PAUSE_TOLD: u32 = 1 << 4;
/// The application may still answer a peer that has half-closed TCP.
const ANSWERS_LATE: u32 = 1 << 5;
/// The peer has ended its half of TCP.
const PEER_ENDED: u32 = 1 << 6;
/// The local half of TCP is ended. What arrives is thrown away until the peer ends its half.
const LINGERING: u32 = 1 << 7;
/// A client's closing handshake is complete: the server is to end TCP.
const SERVER_ENDS: u32 = 1 << 8;
/// A ping was sent, and any frame may be its answer.
const PONG_AWAITED: u32 = 1 << 9;
/// The caller was asked for a ping and has not sent it.
const PING_REQUESTED: u32 = 1 << 10;
/// The caller is interested in writability.
const INTEREST: u32 = 1 << 11;
/// [`Action::Disconnected`] was returned.
const OVER: u32 = 1 << 12;

// --- requests ---
/// [`Connection::poll_action`] may have something to return.
const ATTENTION: u32 = 1 << 16;
/// [`Action::Write`] is due.
const WRITE: u32 = 1 << 17;
/// The write timeout ran out before the write that is due.
const WRITE_OVERDUE: u32 = 1 << 18;
/// The peer's end of the stream has not been considered.
const END_SEEN: u32 = 1 << 19;
/// [`Action::ReadOn`] is due.
const READ_ON: u32 = 1 << 20;
/// [`Action::Notify`] was returned, and no event has been asked for since.
const NOTIFIED: u32 = 1 << 21;
/// [`Event::PeerEnded`] is due.
const TELL_PEER_ENDED: u32 = 1 << 22;
/// [`Event::HandshakeClosed`] is due.
const TELL_HANDSHAKE: u32 = 1 << 23;
/// [`Event::SendPing`] is due.
const TELL_PING: u32 = 1 << 24;

impl Lifecycle {
    #[inline]
    fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Sets the flag. Returns `true` if it was set before.
    fn set(&mut self, flag: u32) -> bool {
        let was_set = self.has(flag);
        self.flags |= flag;
        was_set
    }

    /// Clears the flag. Returns `true` if it was set before.
    fn clear(&mut self, flag: u32) -> bool {
        let was_set = self.has(flag);
        self.flags &= !flag;
        was_set
    }

    /// Notes that there may be actions.
    #[inline]
    pub(super) fn attend(&mut self) {
        self.flags |= ATTENTION;
    }

    /// Notes that the kernel has begun, or ceased, to refuse bytes.
    pub(super) fn refusal_changed(&mut self) {
        self.attend();
        if let Some(timing) = &mut self.timing {
            timing.write = None;
        }
    }

    fn timing(&mut self) -> &mut Timing {
        self.timing.get_or_insert_default()
    }

    fn keep_alive(&mut self) -> Option<&mut KeepAlive> {
        self.timing.as_mut()?.keep_alive.as_mut()
    }
}

/// The input that does not consist of bytes.
impl Connection {
    /// Begins to count silence and the lifetime: the application has been told of the connection.
    pub fn handle_open(&mut self, now: Instant) {
        if self.rules.keep_alive.is_active() && !self.is_ending() {
            self.life.timing().keep_alive = Some(KeepAlive::new(now));
            self.life.attend();
        }
    }

    /// Notes that bytes have arrived. Needed only if
    /// [`watches_arrivals`](super::KeepAliveRules::watches_arrivals), and never the cause of an
    /// action.
    #[inline]
    pub fn handle_arrival(&mut self, now: Instant) {
        if let Some(keep_alive) = self.life.keep_alive() {
            keep_alive.received(now);
        }
    }

    /// Handles the peer's end of the stream. The peer may still read, so what is queued leaves
    /// first.
    pub fn handle_end(&mut self) {
        self.life.set(PEER_ENDED | END_SEEN | WRITE | ATTENTION);
    }

    /// Handles an end of the stream that is behind data that is held, and so cannot be read.
    ///
    /// The peer may have half-closed TCP and still read. What is held is lost only if nothing is
    /// released within the close timeout.
    pub fn handle_held_end(&mut self, now: Instant) {
        if self.is_ending() {
            return;
        }
        let deadline = deadline_after(now, self.rules.close_timeout);
        self.life.timing().held_end.get_or_insert(deadline);
        self.life.attend();
    }
}

/// Commands of the application and the caller.
impl Connection {
    /// Sets the watermarks of this connection, in bytes.
    pub fn set_watermarks(&mut self, low: usize, high: usize) {
        self.life.timing().watermarks = Some((low.min(high), high));
        self.life.attend();
    }

    /// Keeps the connection open for answers after the peer's half-close without CLOSE.
    pub fn answer_late(&mut self) {
        self.life.set(ANSWERS_LATE);
    }

    /// Notes that the caller delivers nothing any more. Silence while reading is paused is excused.
    pub fn pause_reading(&mut self) {
        self.life.set(PAUSED);
        self.receiver.stop_plain();
    }

    /// Undoes [`pause_reading`](Self::pause_reading).
    pub fn resume_reading(&mut self) {
        if self.life.clear(PAUSED) {
            if self.is_receiving() {
                self.receiver.resume_plain(&self.rules);
            }
            self.life.set(READ_ON | ATTENTION);
        }
    }

    /// Stops before the next data frame, as [`Receiver::hold_data`](super::Receiver::hold_data)
    /// does: the caller has no room for it.
    pub fn hold_data(&mut self) {
        self.hold(NO_ROOM);
    }

    /// Undoes [`hold_data`](Self::hold_data). Data stays held while the backlog holds it
    /// ([`hold_data_on_backlog`](super::Rules::hold_data_on_backlog)).
    pub fn release_data(&mut self) {
        self.release(NO_ROOM);
    }

    fn hold(&mut self, reason: u32) {
        if !self.life.has(HOLDING) {
            self.receiver.hold_data();
        }
        self.life.set(reason);
    }

    fn release(&mut self, reason: u32) {
        if !self.life.clear(reason) || self.life.has(HOLDING) {
            return;
        }
        self.receiver.release_data(&self.rules);
        if let Some(timing) = &mut self.life.timing {
            timing.held_end = None;
        }
        self.life.set(READ_ON | ATTENTION);
    }
}

/// State that the caller may ask for at any time.
impl Connection {
    /// Returns `true` once an end of the connection has begun that has a deadline, or is over.
    pub fn is_ending(&self) -> bool {
        self.life.has(OVER)
            || self.closing.as_ref().is_some_and(|closing| {
                closing.deadline.is_some() || closing.found.is_some() || closing.parting.is_some()
            })
    }

    /// Returns `true` once the end is decided: nothing is sent or received any more.
    pub fn is_aborted(&self) -> bool {
        self.found().is_some()
    }

    /// Returns how the end was met, once it is decided.
    fn found(&self) -> Option<WSDisconnectCause> {
        let closing = self.closing.as_ref()?;
        closing.found.or(closing.parting)
    }

    /// Returns `true` if everything was handed to the kernel, as far as was reported.
    pub fn has_left(&self) -> bool {
        self.queued() == 0 && !self.refused
    }

    /// Returns `true` while a ping is under way: any frame may be its answer.
    #[inline]
    pub fn is_pong_awaited(&self) -> bool {
        self.life.has(PONG_AWAITED)
    }

    /// Returns `true` once a client's closing handshake is complete and everything has left.
    pub fn is_handshake_closed(&self) -> bool {
        self.life.has(SERVER_ENDS)
    }

    /// Returns `true` if the next frame that arrives is to be delivered. It may be a data frame that
    /// is held.
    #[inline]
    pub fn is_delivering(&self) -> bool {
        self.is_receiving() && !self.life.has(PAUSED)
    }

    /// Returns `true` if an event is for receiving only, and what arrives needs no look at the state
    /// before it is delivered.
    #[inline]
    pub(crate) fn receives_plainly(&self) -> bool {
        !self.life.has(PAUSED | HOLDING | PONG_AWAITED | PEER_ENDED | LINGERING | INTEREST)
    }

    /// Returns `true` while the application has paused reading.
    pub fn is_paused(&self) -> bool {
        self.life.has(PAUSED)
    }

    /// Returns `true` while no data frame is delivered: reading is paused, or data is to be held.
    #[inline]
    pub fn is_reading_paused(&self) -> bool {
        self.life.has(PAUSED | HOLDING)
    }

    /// Returns `true` if delivery has stopped, so that bytes from the stream have no use now.
    pub fn is_stopped(&self) -> bool {
        self.is_receiving() && (self.life.has(PAUSED) || self.is_data_held())
    }

    /// Returns the watermarks, in bytes: low and high.
    pub fn watermarks(&self) -> (usize, usize) {
        let own = self.life.timing.as_ref().and_then(|timing| timing.watermarks);
        own.unwrap_or((self.rules.low_watermark, self.rules.high_watermark))
    }

    /// Returns `true` while the backlog is above the high watermark, or was and has not sunk to the
    /// low one since. [`Event::ResumeWriting`] then follows, even without
    /// [`Event::PauseWriting`].
    pub fn awaits_resume(&mut self) -> bool {
        let is_paused = self.life.has(WRITING_PAUSED);
        if is_paused {
            self.life.set(PAUSE_TOLD);
        }
        is_paused
    }
}

/// The output that does not consist of bytes.
impl Connection {
    /// Returns `true` if [`poll_action`](Self::poll_action) may return something.
    #[inline]
    pub fn has_actions(&self) -> bool {
        self.life.has(ATTENTION)
    }

    /// Returns the next thing to do. Called until it returns `None`, after everything that made
    /// [`has_actions`](Self::has_actions) true. Each action is carried out before the next call.
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

    /// Returns the next event for the application, when user code may run. A crossing of a watermark
    /// that was undone meanwhile is not reported. If there are further events, a further
    /// [`Action::Notify`] announces them.
    pub fn poll_event(&mut self) -> Option<Event> {
        let is_ending = self.is_ending();
        let life = &mut self.life;
        life.clear(NOTIFIED);
        life.attend();
        if life.clear(TELL_PEER_ENDED) {
            Some(Event::PeerEnded)
        } else if life.has(WRITING_PAUSED) && !life.set(PAUSE_TOLD) {
            Some(Event::PauseWriting)
        } else if !life.has(WRITING_PAUSED) && life.clear(PAUSE_TOLD) {
            Some(Event::ResumeWriting)
        } else if life.clear(TELL_HANDSHAKE) {
            Some(Event::HandshakeClosed)
        } else {
            (life.clear(TELL_PING) && !is_ending).then_some(Event::SendPing)
        }
    }

    #[cold]
    fn next_action(&mut self, now: Instant, stream: StreamState) -> Option<Action> {
        if self.life.has(OVER) {
            return None;
        }
        if self.is_overflowed() {
            self.abort(WSDisconnectCause::Overflow);
        }
        if self.life.clear(WRITE) {
            return Some(Action::Write);
        }
        self.consider_write(now, stream);
        if self.life.clear(END_SEEN) {
            self.consider_peer_end(now, stream);
        }
        if let Some(found) = self.found() {
            return Some(self.end(found, stream));
        }
        if self.refused != self.life.has(INTEREST) {
            self.life.flags ^= INTEREST;
            return Some(Action::SetInterest { writable: self.refused });
        }
        self.check_watermarks(stream.held);
        if let Some(action) = self.proceed_to_end(now, stream) {
            return Some(action);
        }
        if self.life.clear(READ_ON) {
            // The peer could not be heard until now: its silence begins anew.
            if let Some(keep_alive) = self.life.keep_alive() {
                keep_alive.excuse(now);
            }
            return Some(Action::ReadOn);
        }
        if let Some(action) = self.timer_change() {
            return Some(action);
        }
        (self.has_events() && !self.life.set(NOTIFIED)).then_some(Action::Notify)
    }

    /// Notes that there is nothing to do until the next input. A connection that is ending, or whose
    /// bytes the kernel refuses, depends on its queue, whose changes are not input.
    fn rest(&mut self) {
        let depends_on_queue = self.refused || self.life.has(WRITING_PAUSED) || self.is_ending();
        if !depends_on_queue || self.life.has(OVER) {
            self.life.clear(ATTENTION);
        }
        if self.life.timing.as_ref().is_some_and(|timing| timing.is_unused()) {
            self.life.timing = None;
        }
    }

    fn has_events(&self) -> bool {
        let life = &self.life;
        life.has(TELL_PEER_ENDED | TELL_HANDSHAKE | TELL_PING)
            || life.has(WRITING_PAUSED) != life.has(PAUSE_TOLD)
    }

    // --- back-pressure -------------------------------------------------------------------------

    /// Compares what the kernel refused, or the stream holds, with the watermarks.
    fn check_watermarks(&mut self, held: usize) {
        let waiting = if self.refused { self.queued() + held } else { 0 };
        let (low, high) = self.watermarks();
        let crossed = if waiting > high {
            !self.life.set(WRITING_PAUSED)
        } else {
            waiting <= low && self.life.clear(WRITING_PAUSED)
        };
        if !crossed || !self.rules.hold_data_on_backlog {
            return;
        }
        if self.life.has(WRITING_PAUSED) {
            self.hold(BACKLOGGED);
        } else {
            self.release(BACKLOGGED);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unwatched_connection_pays_sixteen_bytes() {
        assert_eq!(size_of::<Lifecycle>(), 16);
        assert!(size_of::<Option<Action>>() <= 64);
    }
}
