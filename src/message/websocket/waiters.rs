//! Tasks that wait for their turn.

use std::task::Waker;

use super::line::Line;

/// A place in a queue of [`Waiters`]; `None` while its future does not wait.
pub(super) type Place = Option<u64>;

/// Tasks that wait, the one that came first in front.
///
/// # Invariants
/// - The numbers in `line` ascend.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    next: u64,
    line: Line<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    /// `None` if it was woken and was not polled since.
    waker: Option<Waker>,
}

impl Waiters {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.line.len()
    }

    /// How many wait in front of this one; one that does not wait would be the last.
    #[inline]
    pub(super) fn ahead_of(&self, place: Place) -> usize {
        place.and_then(|number| self.find(number)).unwrap_or(self.line.len())
    }

    /// Waits, at the end of the queue if this one did not wait before.
    pub(super) fn wait(&mut self, place: &mut Place, waker: &Waker) {
        let waker = Some(waker.clone());
        let index = place.and_then(|number| self.find(number));
        if let Some(waiter) = index.and_then(|index| self.line.get_mut(index)) {
            waiter.waker = waker;
            return;
        }
        let number = self.next;
        self.next += 1;
        *place = Some(number);
        self.line.push(Waiter { number, waker });
    }

    /// Waits no more. Where it stood, if it waited.
    #[inline]
    pub(super) fn leave(&mut self, place: &mut Place) -> Option<usize> {
        let index = self.find(place.take()?)?;
        self.line.remove(index);
        Some(index)
    }

    /// The waker of the one with so many in front of it, which keeps its place; `None` if it was woken and was not polled since.
    #[inline]
    pub(super) fn take_waker(&mut self, index: usize) -> Option<Waker> {
        self.line.get_mut(index)?.waker.take()
    }

    /// All wakers, in order. The tasks keep their places.
    pub(super) fn take_wakers(&mut self) -> impl Iterator<Item = Waker> {
        self.line.iter_mut().filter_map(|waiter| waiter.waker.take())
    }

    #[inline]
    fn find(&self, number: u64) -> Option<usize> {
        self.line.find_by_key(number, |waiter| waiter.number)
    }
}
