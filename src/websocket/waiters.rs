//! Tasks that wait for their turn.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::task::Waker;

/// A place in a queue of [`Waiters`]; `None` while its future does not wait.
pub(super) type Place = Option<NonZeroU64>;

/// Tasks that wait, the one that came first in front.
///
/// The first one lies in this itself: with one at a time no other memory is touched.
///
/// Wakers that are not needed any more are handed out: to drop one may run user code, which must not happen while this is borrowed.
///
/// # Invariants
/// - The numbers ascend, that of the first included.
/// - A number is known to one future, as long as it is in the queue: when that is empty, counting may begin again.
/// - `rest` is empty, and `waker` is `None`, if `first` is.
#[derive(Debug)]
pub(super) struct Waiters<W = Waker> {
    first: Place,
    /// The first one's; `None` if it was woken and was not polled since.
    waker: Option<W>,
    /// `None` until there was a second one. Boxed: of what most never need, a pointer is the least.
    #[expect(
        clippy::box_collection,
        reason = "a pointer instead of four words, in each of many connections"
    )]
    rest: Option<Box<VecDeque<Waiter<W>>>>,
}

#[derive(Debug)]
struct Waiter<W> {
    number: NonZeroU64,
    /// `None` if it was woken and was not polled since.
    waker: Option<W>,
}

impl<W> Default for Waiters<W> {
    fn default() -> Self {
        Self { first: None, waker: None, rest: None }
    }
}

impl<W> Waiters<W> {
    #[inline]
    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.as_ref().map_or(0, |rest| rest.len())
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// How many wait in front of this one; one that does not wait would be the last.
    #[inline]
    pub(super) fn ahead_of(&self, place: Place) -> usize {
        place.and_then(|number| self.find(number)).unwrap_or_else(|| self.len())
    }

    /// Whether nobody waits in front of this one.
    #[inline]
    pub(super) fn is_first(&self, place: Place) -> bool {
        // As numbers: what is derived for options takes four branches.
        let number = |place: Place| place.map_or(0, NonZeroU64::get);
        number(self.first) == number(place)
    }

    /// Waits, at the end of the queue if this one did not wait before. The waker that it had before.
    #[inline]
    #[must_use = "a waker is dropped outside of borrows"]
    pub(super) fn wait(&mut self, place: &mut Place, waker: W) -> Option<W> {
        if place.is_some() || self.first.is_some() {
            return self.wait_among_others(place, waker);
        }
        // Nearly always: it is the only one.
        *place = Some(NonZeroU64::MIN);
        self.first = *place;
        self.waker.replace(waker)
    }

    #[inline(never)]
    fn wait_among_others(&mut self, place: &mut Place, waker: W) -> Option<W> {
        let index = place.and_then(|number| self.find(number));
        if let Some(slot) = index.and_then(|index| self.waker_mut(index)) {
            return slot.replace(waker);
        }
        let last = self.rest.as_ref().and_then(|rest| rest.back()).map(|last| last.number).or(self.first);
        let number = last.map_or(NonZeroU64::MIN, |last| last.saturating_add(1));
        *place = Some(number);
        if self.first.is_none() {
            self.first = *place;
            return self.waker.replace(waker);
        }
        self.rest.get_or_insert_default().push_back(Waiter { number, waker: Some(waker) });
        None
    }

    /// Waits no more. Where it stood, if it waited, and its waker if it was not woken.
    #[inline]
    #[must_use = "a waker is dropped outside of borrows"]
    pub(super) fn leave(&mut self, place: &mut Place) -> Option<(usize, Option<W>)> {
        let index = self.find(place.take()?)?;
        Some((index, self.remove(index)))
    }

    /// Waits no more, if it did, with so many in front of it. Its waker if it was not woken.
    #[inline]
    #[must_use = "a waker is dropped outside of borrows"]
    pub(super) fn leave_from(&mut self, index: usize, place: &mut Place) -> Option<W> {
        let number = place.take()?;
        debug_assert_eq!(self.find(number), Some(index));
        self.remove(index)
    }

    /// The waker of the one with so many in front of it, which keeps its place; `None` if it was woken and was not polled since.
    #[inline]
    pub(super) fn take_waker(&mut self, index: usize) -> Option<W> {
        self.waker_mut(index)?.take()
    }

    /// All wakers, in order. The tasks keep their places.
    pub(super) fn take_wakers(&mut self) -> impl Iterator<Item = W> {
        let rest = self.rest.iter_mut().flat_map(|rest| rest.iter_mut());
        self.waker.take().into_iter().chain(rest.filter_map(|waiter| waiter.waker.take()))
    }

    #[inline]
    fn find(&self, number: NonZeroU64) -> Option<usize> {
        if self.first == Some(number) {
            return Some(0);
        }
        let found = self.rest.as_ref()?.binary_search_by_key(&number, |waiter| waiter.number);
        found.ok().map(|behind| behind + 1)
    }

    #[inline]
    fn waker_mut(&mut self, index: usize) -> Option<&mut Option<W>> {
        match index.checked_sub(1) {
            None => Some(&mut self.waker),
            Some(behind) => Some(&mut self.rest.as_mut()?.get_mut(behind)?.waker),
        }
    }

    /// Takes out the one with so many in front of it, and returns its waker; the others move up.
    #[inline]
    fn remove(&mut self, index: usize) -> Option<W> {
        match index.checked_sub(1) {
            None => {
                let waker = self.waker.take();
                self.first = None;
                if self.rest.is_some() {
                    self.move_up();
                }
                waker
            }
            Some(behind) => self.rest.as_mut()?.remove(behind)?.waker,
        }
    }

    #[inline(never)]
    fn move_up(&mut self) {
        if let Some(next) = self.rest.as_mut().and_then(|rest| rest.pop_front()) {
            self.first = Some(next.number);
            self.waker = next.waker;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::Random;

    /// Against a queue of names, with a number for each waker.
    #[test]
    fn waiters_are_a_queue() {
        let mut random = Random::new(1);
        let mut waiters = Waiters::default();
        let mut places: VecDeque<Place> = VecDeque::new();
        let mut twin: VecDeque<Option<u64>> = VecDeque::new();
        for waker in 0..20_000_u64 {
            let index = random.below(twin.len() + 1);
            match random.below(5) {
                0 | 1 => {
                    let mut place = None;
                    assert_eq!(waiters.wait(&mut place, waker), None);
                    places.push_back(place);
                    twin.push_back(Some(waker));
                }
                2 if index < twin.len() => {
                    let before = twin[index].replace(waker);
                    assert_eq!(waiters.wait(&mut places[index], waker), before);
                }
                3 => {
                    let expected = twin.get_mut(index).and_then(Option::take);
                    assert_eq!(waiters.take_waker(index), expected);
                }
                _ => {
                    let mut place = places.remove(index).flatten();
                    let left = twin.remove(index);
                    if random.chance(50) {
                        assert_eq!(waiters.leave(&mut place), left.map(|waker| (index, waker)));
                    } else {
                        assert_eq!(waiters.leave_from(index, &mut place), left.flatten());
                    }
                    assert_eq!(place, None);
                }
            }
            assert_eq!(waiters.len(), twin.len());
            assert_eq!(waiters.is_empty(), twin.is_empty());
            assert!(waiters.is_first(places.front().copied().flatten()));
            let index = random.below(twin.len() + 1);
            assert_eq!(waiters.ahead_of(places.get(index).copied().flatten()), index.min(twin.len()));
            let ahead = twin.len().checked_sub(1).map(|last| waiters.ahead_of(places[last]));
            assert_eq!(ahead, twin.len().checked_sub(1));
        }
        assert!(waiters.take_wakers().eq(twin.into_iter().flatten()));
        assert_eq!(waiters.len(), places.len(), "they keep their places");
    }
}
