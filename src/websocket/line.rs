//! A queue that mostly holds one.

use std::collections::VecDeque;

/// A queue whose first element lies in itself: with one at a time no other memory is touched.
///
/// # Invariants
/// - `rest` is empty if `first` is.
#[derive(Debug)]
pub(super) struct Line<T> {
    first: Option<T>,
    /// `None` until there was a second one. Boxed: of what most never need, a pointer is the least.
    #[expect(
        clippy::box_collection,
        reason = "a pointer instead of four words, in each of many connections"
    )]
    rest: Option<Box<VecDeque<T>>>,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self { first: None, rest: None }
    }
}

impl<T> Line<T> {
    #[inline]
    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.as_ref().map_or(0, |rest| rest.len())
    }

    #[inline]
    pub(super) fn push(&mut self, item: T) {
        if self.first.is_none() {
            self.first = Some(item);
        } else {
            self.rest.get_or_insert_default().push_back(item);
        }
    }

    pub(super) fn first(&self) -> Option<&T> {
        self.first.as_ref()
    }

    #[cfg(test)]
    fn get(&self, index: usize) -> Option<&T> {
        match index.checked_sub(1) {
            None => self.first.as_ref(),
            Some(behind) => self.rest.as_ref()?.get(behind),
        }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        match index.checked_sub(1) {
            None => self.first.as_mut(),
            Some(behind) => self.rest.as_mut()?.get_mut(behind),
        }
    }

    /// Takes out the one with so many in front of it; the others move up.
    #[inline]
    pub(super) fn remove(&mut self, index: usize) -> Option<T> {
        match index.checked_sub(1) {
            None => {
                let next = self.rest.as_mut().and_then(|rest| rest.pop_front());
                std::mem::replace(&mut self.first, next)
            }
            Some(behind) => self.rest.as_mut()?.remove(behind),
        }
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.first.iter_mut().chain(self.rest.iter_mut().flat_map(|rest| rest.iter_mut()))
    }

    pub(super) fn last(&self) -> Option<&T> {
        self.rest.as_ref().and_then(|rest| rest.back()).or(self.first.as_ref())
    }

    /// Where the one with this key stands, if the keys ascend.
    pub(super) fn find_by_key<K: Ord + Copy>(&self, key: K, key_of: impl Fn(&T) -> K) -> Option<usize> {
        if key_of(self.first.as_ref()?) == key {
            return Some(0);
        }
        self.rest.as_ref()?.binary_search_by_key(&key, key_of).ok().map(|behind| behind + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::Random;

    #[test]
    fn it_is_a_queue() {
        let mut random = Random::new(1);
        let (mut line, mut twin) = (Line::default(), VecDeque::new());
        for item in 0..10_000_u64 {
            if random.chance(52) {
                line.push(item);
                twin.push_back(item);
            } else {
                let index = random.below(twin.len() + 1);
                assert_eq!(line.remove(index), twin.remove(index));
            }
            assert_eq!(line.len(), twin.len());
            assert_eq!(line.last(), twin.back());
            let index = random.below(twin.len() + 1);
            assert_eq!(line.get(index), twin.get(index));
            assert_eq!(line.get_mut(index), twin.get_mut(index));
            assert_eq!(line.find_by_key(item, |&item| item), twin.binary_search(&item).ok());
        }
        assert!(line.iter_mut().eq(twin.iter_mut()));
    }
}
