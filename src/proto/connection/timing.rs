//! The deadlines that share the one timer: closing, liveness, writing.

use std::time::Instant;

use crate::proto::{KeepAlive, Rules};

/// What only connections with deadlines or their own watermarks need.
#[derive(Debug, Default)]
pub(super) struct Timing {
    /// When the caller's timer fires.
    timer: Option<Instant>,
    /// Only if there is something to watch, or to measure.
    keep_alive: Option<KeepAlive>,
    /// Only while the kernel refuses bytes.
    write: Option<WriteWatch>,
    /// When an end of the stream behind data that is held counts.
    held_end: Option<Instant>,
    /// Low and high, if set on this connection.
    watermarks: Option<(usize, usize)>,
}

/// The write timeout of a connection whose bytes the kernel refuses.
#[derive(Clone, Copy, Debug)]
struct WriteWatch {
    /// When the kernel last took a byte, or began to refuse them.
    progress: Instant,
    /// Changes whenever the kernel takes bytes.
    seen: WriteProgress,
}

/// Bytes that left the queue, and those that the stream holds.
pub(super) type WriteProgress = (u64, usize);

/// The deadlines that share the timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deadline {
    /// The closing handshake, the flush of a graceful disconnect, or the linger.
    Close,
    HeldEnd,
    Write,
    KeepAlive,
}

impl Timing {
    // --- the timer -------------------------------------------------------------------------------

    /// Returns the next deadline: `close`, or one of these. Liveness counts only if `watched`.
    pub(super) fn next_deadline(
        &self,
        close: Option<Instant>,
        watched: bool,
        rules: &Rules,
    ) -> Option<(Instant, Deadline)> {
        let write = || self.write?.progress.checked_add(rules.write_timeout?);
        let keep_alive = || self.keep_alive.filter(|_| watched)?.deadline(&rules.keep_alive);
        let deadlines = [
            (close, Deadline::Close),
            (self.held_end, Deadline::HeldEnd),
            (write(), Deadline::Write),
            (keep_alive(), Deadline::KeepAlive),
        ];
        deadlines.into_iter().filter_map(|(at, which)| Some((at?, which))).min_by_key(|&(at, _)| at)
    }

    /// Moves the timer to the next deadline. Returns `false`, and does nothing, if it need not
    /// move. One that fires too early is left alone: it is set again when it fires, so progress and
    /// arrivals never move it.
    pub(super) fn move_timer(&mut self, next: Option<Instant>) -> bool {
        let is_early_enough = match (self.timer, next) {
            (None, None) => true,
            (Some(armed), Some(next)) => armed <= next,
            _ => false,
        };
        if !is_early_enough {
            self.timer = next;
        }
        !is_early_enough
    }

    /// Notes that the timer has fired, or is no longer needed.
    pub(super) fn timer_gone(&mut self) {
        self.timer = None;
    }

    // --- liveness --------------------------------------------------------------------------------

    /// Counts silence from `now` on.
    pub(super) fn watch(&mut self, now: Instant) {
        self.keep_alive = Some(KeepAlive::new(now));
    }

    /// Notes that a ping was sent.
    pub(super) fn pinged(&mut self, now: Instant) {
        self.keep_alive.get_or_insert_with(|| KeepAlive::new(now)).pinged(now);
    }

    pub(super) fn keep_alive(&mut self) -> Option<&mut KeepAlive> {
        self.keep_alive.as_mut()
    }

    // --- writing ---------------------------------------------------------------------------------

    /// Notes how far writes have come while the kernel refuses bytes. Returns the time of the last
    /// progress.
    pub(super) fn note_progress(&mut self, now: Instant, seen: WriteProgress) -> Instant {
        let watch = self.write.get_or_insert(WriteWatch { progress: now, seen });
        if watch.seen != seen {
            *watch = WriteWatch { progress: now, seen };
        }
        watch.progress
    }

    /// Notes that the kernel has begun, or ceased, to refuse bytes.
    pub(super) fn refusal_changed(&mut self) {
        self.write = None;
    }

    // --- the end behind data that is held --------------------------------------------------------

    /// Sets the deadline of an end behind data that is held, unless there is one.
    pub(super) fn hold_end(&mut self, deadline: Instant) {
        self.held_end.get_or_insert(deadline);
    }

    /// Notes that data is released.
    pub(super) fn release_end(&mut self) {
        self.held_end = None;
    }

    pub(super) fn holds_end(&self) -> bool {
        self.held_end.is_some()
    }

    // --- watermarks ------------------------------------------------------------------------------

    /// Sets the watermarks of this connection.
    pub(super) fn set_watermarks(&mut self, low: usize, high: usize) {
        self.watermarks = Some((low.min(high), high));
    }

    pub(super) fn watermarks(&self) -> Option<(usize, usize)> {
        self.watermarks
    }

    /// Returns `true` if there is nothing to remember.
    pub(super) fn is_unused(&self) -> bool {
        self.timer.is_none()
            && self.keep_alive.is_none()
            && self.write.is_none()
            && self.held_end.is_none()
            && self.watermarks.is_none()
    }
}
