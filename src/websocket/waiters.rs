//! Tasks that wait for their turn.

use std::num::NonZeroU64;
use std::task::Waker;

use super::line::Line;

/// A place in a queue of [`Waiters`]; `None` while its future does not wait.
pub(super) type Place = Option<NonZeroU64>;

/// Tasks that wait, the one that came first in front.
///
/// Wakers that are not needed any more are handed out: to drop one may run user code, which must not happen while this is borrowed.
///
/// # Invariants
/// - The numbers in `line` ascend.
/// - A number is known to one future, as long as its entry is in `line`: when that is empty, counting may begin again.
#[derive(Debug)]
pub(super) struct Waiters<W = Waker> {
    line: Line<Waiter<W>>,
}

#[derive(Debug)]
struct Waiter<W> {
    number: NonZeroU64,
    /// `None` if it was woken and was not polled since.
    waker: Option<W>,
}

impl<W> Default for Waiters<W> {
    fn default() -> Self {
        Self { line: Line::default() }
    }
}

impl<W> Waiters<W> {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.line.len()
    }

    /// How many wait in front of this one; one that does not wait would be the last.
    #[inline]
    pub(super) fn ahead_of(&self, place: Place) -> usize {
        place.and_then(|number| self.find(number)).unwrap_or(self.line.len())
    }

    /// Whether nobody waits in front of this one.
    #[inline]
    pub(super) fn is_first(&self, place: Place) -> bool {
        self.line.first().map(|first| first.number) == place
    }

    /// Waits, at the end of the queue if this one did not wait before. The waker that it had before.
    #[inline]
    #[must_use = "a waker is dropped outside of borrows"]
    pub(super) fn wait(&mut self, place: &mut Place, waker: W) -> Option<W> {
        let waker = Some(waker);
        if place.is_none() && self.line.first().is_none() {
            // Nearly always: it is the only one.
            *place = Some(NonZeroU64::MIN);
            self.line.push(Waiter { number: NonZeroU64::MIN, waker });
            return None;
        }
        self.wait_among_others(place, waker)
    }

    #[inline(never)]
    fn wait_among_others(&mut self, place: &mut Place, waker: Option<W>) -> Option<W> {
        let index = place.and_then(|number| self.find(number));
        if let Some(waiter) = index.and_then(|index| self.line.get_mut(index)) {
            return std::mem::replace(&mut waiter.waker, waker);
        }
        let number = self.line.last().map_or(NonZeroU64::MIN, |last| last.number.saturating_add(1));
        *place = Some(number);
        self.line.push(Waiter { number, waker });
        None
    }

    /// Waits no more. Where it stood, if it waited, and its waker if it was not woken.
    #[inline]
    #[must_use = "a waker is dropped outside of borrows"]
    pub(super) fn leave(&mut self, place: &mut Place) -> Option<(usize, Option<W>)> {
        let index = self.find(place.take()?)?;
        self.line.remove(index).map(|waiter| (index, waiter.waker))
    }

    /// Waits no more, if it did, with so many in front of it. Its waker if it was not woken.
    #[inline]
    #[must_use = "a waker is dropped outside of borrows"]
    pub(super) fn leave_from(&mut self, index: usize, place: &mut Place) -> Option<W> {
        let number = place.take()?;
        debug_assert_eq!(self.find(number), Some(index));
        self.line.remove(index)?.waker
    }

    /// The waker of the one with so many in front of it, which keeps its place; `None` if it was woken and was not polled since.
    #[inline]
    pub(super) fn take_waker(&mut self, index: usize) -> Option<W> {
        self.line.get_mut(index)?.waker.take()
    }

    /// All wakers, in order. The tasks keep their places.
    pub(super) fn take_wakers(&mut self) -> impl Iterator<Item = W> {
        self.line.iter_mut().filter_map(|waiter| waiter.waker.take())
    }

    #[inline]
    fn find(&self, number: NonZeroU64) -> Option<usize> {
        self.line.find_by_key(number, |waiter| waiter.number)
    }
}
