//! What happens at a given time.

use std::collections::BTreeMap;
use std::task::Waker;
use std::time::Instant;

use super::slots::Token;
use super::source::TimerKind;

/// Timers in order of their deadlines; equal deadlines fire in order of insertion.
#[derive(Default)]
pub(super) struct Timers {
    queue: BTreeMap<TimerId, TimerAction>,
    next: u64,
}

/// Names a timer, for cancelling it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimerId {
    deadline: Instant,
    sequence: u64,
}

pub(super) enum TimerAction {
    /// [`Source::timer`](super::Source::timer), if the slot is still the same source's.
    Source(Token, TimerKind),
    /// A task sleeps.
    Wake(Waker),
    /// `call_later`.
    Call(Box<dyn FnOnce()>),
}

impl TimerId {
    /// The name of a timer that never was.
    pub(super) fn never(deadline: Instant) -> Self {
        Self { deadline, sequence: u64::MAX }
    }
}

impl Timers {
    pub(super) fn insert(&mut self, deadline: Instant, action: TimerAction) -> TimerId {
        let id = TimerId { deadline, sequence: self.next };
        self.next += 1;
        self.queue.insert(id, action);
        id
    }

    /// Removes the timer; what it held is returned, so that it is dropped outside of any borrow.
    pub(super) fn cancel(&mut self, id: TimerId) -> Option<TimerAction> {
        self.queue.remove(&id)
    }

    /// Makes a sleeping task's timer wake this waker, and gives back the old one, to be dropped outside of any borrow. False if the
    /// timer has fired.
    pub(super) fn swap_waker(&mut self, id: TimerId, waker: &mut Waker) -> bool {
        match self.queue.get_mut(&id) {
            Some(TimerAction::Wake(old)) => {
                std::mem::swap(old, waker);
                true
            }
            _ => false,
        }
    }

    /// The earliest deadline.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.queue.first_key_value().map(|(id, _)| id.deadline)
    }

    /// Takes the earliest timer if its time has come. Timers inserted since `last` was taken do not fire in the same turn.
    pub(super) fn pop_due(&mut self, now: Instant, before_sequence: u64) -> Option<TimerAction> {
        let entry = self.queue.first_entry()?;
        let id = *entry.key();
        (id.deadline <= now && id.sequence < before_sequence).then(|| entry.remove())
    }

    /// The bound for [`pop_due`](Self::pop_due) that lets every timer known now fire.
    pub(super) fn horizon(&self) -> u64 {
        self.next
    }

    pub(super) fn take_all(&mut self) -> Vec<TimerAction> {
        std::mem::take(&mut self.queue).into_values().collect()
    }
}
