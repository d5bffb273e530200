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
    queue: VecDeque<(u64, Waker)>,
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
            return self.queue[index].1.clone_from(waker);
        }
        *place = Some(self.next);
        self.queue.push_back((self.next, waker.clone()));
        self.next += 1;
    }

    /// Waits no more. Where it stood, if it waited.
    pub(super) fn leave(&mut self, place: &mut Place) -> Option<usize> {
        let index = self.find(place.take()?)?;
        self.queue.remove(index);
        Some(index)
    }

    /// The one with so many in front of it.
    pub(super) fn get(&self, index: usize) -> Option<Waker> {
        self.queue.get(index).map(|(_, waker)| waker.clone())
    }

    /// All of them, in order. They wait until each has left.
    pub(super) fn all(&self) -> impl Iterator<Item = Waker> {
        self.queue.iter().map(|(_, waker)| waker.clone())
    }

    fn find(&self, id: u64) -> Option<usize> {
        self.queue.binary_search_by_key(&id, |(id, _)| *id).ok()
    }
}
