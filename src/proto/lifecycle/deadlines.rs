//! The deadlines that share the one timer: closing, liveness, writing.

use std::time::{Duration, Instant};

use crate::proto::{Connection, KeepAlive, KeepAliveStep, SendContext, WSDisconnectCause};

use super::ending::peer_end;
use super::{
    ATTENTION, Action, BACKLOGGED, PAUSED, PING_REQUESTED, PONG_AWAITED, StreamState, TELL_PING, WRITE,
    WRITE_OVERDUE,
};

/// What only connections with deadlines or their own watermarks need.
#[derive(Debug, Default)]
pub(super) struct Timing {
    /// When the caller's timer fires.
    pub(super) timer: Option<Instant>,
    /// Only if there is something to watch, or to measure.
    pub(super) keep_alive: Option<KeepAlive>,
    /// Only while the kernel refuses bytes.
    pub(super) write: Option<WriteWatch>,
    /// When an end of the stream behind data that is held counts.
    pub(super) held_end: Option<Instant>,
    /// Low and high, if set on this connection.
    pub(super) watermarks: Option<(usize, usize)>,
}

/// The write timeout of a connection whose bytes the kernel refuses.
#[derive(Clone, Copy, Debug)]
pub(super) struct WriteWatch {
    /// When the kernel last took a byte, or began to refuse them.
    progress: Instant,
    /// Changes whenever the kernel takes bytes: those that left the queue, and those that the
    /// stream holds.
    seen: (u64, usize),
}

/// The deadlines that share the timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deadline {
    /// The closing handshake, the flush of a graceful disconnect, or the linger.
    Close,
    HeldEnd,
    Write,
    KeepAlive,
}

impl Timing {
    pub(super) fn is_unused(&self) -> bool {
        self.timer.is_none()
            && self.keep_alive.is_none()
            && self.write.is_none()
            && self.held_end.is_none()
            && self.watermarks.is_none()
    }
}

impl Connection {
    /// Handles the timer that [`Action::SetTimer`] set.
    #[cold]
    pub fn handle_timeout(&mut self, now: Instant, stream: StreamState, out: &mut SendContext<'_>) {
        self.life.attend();
        let Some(timing) = &mut self.life.timing else { return };
        timing.timer = None;
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
                self.life.set(WRITE | WRITE_OVERDUE);
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
                self.life.set(PING_REQUESTED | TELL_PING);
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
            || self.life.has(PAUSED | BACKLOGGED)
            || self.is_data_held()
            || !self.is_receiving();
        let rules = self.rules.keep_alive;
        let Some(keep_alive) = self.life.keep_alive() else { return KeepAliveStep::Wait(None) };
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
        self.life.clear(PING_REQUESTED);
        self.life.timing().keep_alive.get_or_insert_with(|| KeepAlive::new(now)).pinged(now);
        self.life.set(PONG_AWAITED | ATTENTION);
    }

    /// Notes the answer to a ping. Returns `true` if one was awaited.
    pub fn pong_received(&mut self) -> bool {
        if let Some(keep_alive) = self.life.keep_alive() {
            keep_alive.ponged();
        }
        self.life.clear(PONG_AWAITED)
    }

    /// Starts or updates the write timeout while the kernel refuses bytes, and ends the connection
    /// if the write that followed it made no progress.
    pub(super) fn consider_write(&mut self, now: Instant, stream: StreamState) {
        let overdue = self.life.clear(WRITE_OVERDUE);
        let Some(timeout) = self.rules.write_timeout.filter(|_| self.refused) else { return };
        let seen = (self.left_since_refusal(), stream.held);
        let watch = self.life.timing().write.get_or_insert(WriteWatch { progress: now, seen });
        if watch.seen != seen {
            *watch = WriteWatch { progress: now, seen };
        }
        if overdue && now.saturating_duration_since(watch.progress) >= timeout {
            self.abort(WSDisconnectCause::WriteTimeout);
        }
    }

    /// Changes the time of the timer if it has to. One that fires too early is left
    /// alone: it is set again when it fires, so progress and arrivals never move it.
    pub(super) fn timer_change(&mut self) -> Option<Action> {
        let next = self.next_deadline().map(|(at, _)| at);
        let armed = self.life.timing.as_ref().and_then(|timing| timing.timer);
        let is_early_enough = match (armed, next) {
            (None, None) => true,
            (Some(armed), Some(next)) => armed <= next,
            _ => false,
        };
        if is_early_enough {
            return None;
        }
        self.life.timing().timer = next;
        Some(Action::SetTimer(next))
    }

    fn next_deadline(&self) -> Option<(Instant, Deadline)> {
        let close = self.deadline().map(|at| (at, Deadline::Close));
        let timing = self.life.timing.as_deref();
        let held_end = timing.and_then(|timing| timing.held_end).map(|at| (at, Deadline::HeldEnd));
        let write = timing.and_then(|timing| {
            Some((timing.write?.progress.checked_add(self.rules.write_timeout?)?, Deadline::Write))
        });
        let keep_alive = timing.filter(|_| !self.is_ending() && !self.life.has(PING_REQUESTED));
        let keep_alive = keep_alive.and_then(|timing| {
            Some((timing.keep_alive?.deadline(&self.rules.keep_alive)?, Deadline::KeepAlive))
        });
        [close, held_end, write, keep_alive].into_iter().flatten().min_by_key(|&(at, _)| at)
    }
}

/// A timeout as people read it: `10`, `1.5`.
fn seconds(timeout: Option<Duration>) -> f64 {
    timeout.unwrap_or_default().as_secs_f64()
}
