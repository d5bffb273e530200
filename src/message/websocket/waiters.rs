//! Tasks that wait for their turn.

use std::collections::VecDeque;
use std::task::Waker;

/// A place in a queue of [`Waiters`]; `None` while its future does not wait.
pub(super) type Place = Option<u64>;

/// Tasks that wait, the one that came first in front.
///
/// # Invariants
/// - The numbers in `queue` ascend.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    next: u64,
    /// The number of each, and its waker unless it was woken already.
    queue: VecDeque<(u64, Option<Waker>)>,
}

impl Waiters {
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// How many wait in front of this one; one that does not wait would be the last.
    pub(super) fn ahead_of(&self, place: Place) -> usize {
        place.and_then(|id| self.find(id)).unwrap_or(self.queue.len())
    }

    /// Waits, at the end of the queue if this one did not wait before.
    pub(super) fn wait(&mut self, place: &mut Place, waker: &Waker) {
        if let Some(index) = place.and_then(|id| self.find(id)) {
            self.queue[index].1 = Some(waker.clone());
            return;
        }
        *place = Some(self.next);
        self.queue.push_back((self.next, Some(waker.clone())));
        self.next += 1;
    }

    /// Waits no more. Where it stood, if it waited.
    pub(super) fn leave(&mut self, place: &mut Place) -> Option<usize> {
        let index = self.find(place.take()?)?;
        if index == 0 {
            self.queue.pop_front();
        } else {
            self.queue.remove(index);
        }
        Some(index)
    }

    /// The waker of the one with so many in front of it, which keeps its place; `None` if it was woken and was not polled since.
    pub(super) fn take_waker(&mut self, index: usize) -> Option<Waker> {
        self.queue.get_mut(index)?.1.take()
    }

    /// All wakers, in order. The tasks keep their places.
    pub(super) fn take_wakers(&mut self) -> impl Iterator<Item = Waker> {
        self.queue.iter_mut().filter_map(|(_, waker)| waker.take())
    }

    fn find(&self, id: u64) -> Option<usize> {
        match self.queue.front() {
            Some((first, _)) if *first == id => Some(0),
            _ => self.queue.binary_search_by_key(&id, |(id, _)| *id).ok(),
        }
    }
}
