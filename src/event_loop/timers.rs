//! What happens at a given time.

use std::collections::BTreeMap;
use std::task::Waker;
use std::time::Instant;

use super::slots::Token;

/// Timers in order of their deadlines; equal deadlines fire in order of insertion.
#[derive(Default)]
pub(crate) struct Timers {
    queue: BTreeMap<TimerId, TimerAction>,
    next: u64,
}

/// Names a timer, for cancelling it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimerId {
    deadline: Instant,
    sequence: u64,
}

pub(crate) enum TimerAction {
    /// The deadline of whatever is in this slot.
    Slot(Token),
    /// A connection looks for signs of life.
    Liveness(Token),
    /// The kernel may have taken no byte of a connection for too long.
    Write(Token),
    /// A connection may not need its compressor any more.
    #[cfg(feature = "deflate")]
    Compressor(Token),
    /// A task sleeps.
    Wake(Waker),
    /// `call_later`.
    Call(Box<dyn FnOnce()>),
}

impl TimerId {
    /// The name of a timer that never was.
    pub(crate) fn never(deadline: Instant) -> Self {
        Self { deadline, sequence: u64::MAX }
    }
}

impl Timers {
    pub(crate) fn insert(&mut self, deadline: Instant, action: TimerAction) -> TimerId {
        let id = TimerId { deadline, sequence: self.next };
        self.next += 1;
        self.queue.insert(id, action);
        id
    }

    /// Removes the timer; what it held is returned, so that it is dropped outside of any borrow.
    pub(crate) fn cancel(&mut self, id: TimerId) -> Option<TimerAction> {
        self.queue.remove(&id)
    }

    /// Makes a sleeping task's timer wake this waker, and gives back the old one, to be dropped outside of any borrow. False if the
    /// timer has fired.
    pub(crate) fn swap_waker(&mut self, id: TimerId, waker: &mut Waker) -> bool {
        match self.queue.get_mut(&id) {
            Some(TimerAction::Wake(old)) => {
                std::mem::swap(old, waker);
                true
            }
            _ => false,
        }
    }

    /// The earliest deadline.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.queue.first_key_value().map(|(id, _)| id.deadline)
    }

    /// Takes the earliest timer if its time has come. Timers inserted since `last` was taken do not fire in the same turn.
    pub(crate) fn pop_due(&mut self, now: Instant, before_sequence: u64) -> Option<TimerAction> {
        let entry = self.queue.first_entry()?;
        let id = *entry.key();
        (id.deadline <= now && id.sequence < before_sequence).then(|| entry.remove())
    }

    /// The bound for [`pop_due`](Self::pop_due) that lets every timer known now fire.
    pub(crate) fn horizon(&self) -> u64 {
        self.next
    }

    pub(crate) fn take_all(&mut self) -> Vec<TimerAction> {
        std::mem::take(&mut self.queue).into_values().collect()
    }
}
