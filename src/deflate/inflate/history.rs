//! What was said before the message that is being inflated.

/// The end of what was said, as far back as a reference may reach: a ring that has the length of what it holds until it is full.
#[derive(Debug)]
pub(super) struct History {
    /// Up to `window` bytes; the oldest of them is at `end`, or there is none behind `end` and it is the first.
    bytes: Vec<u8>,
    /// Where the next byte goes; `end <= bytes.len()`, and less only if the ring is full.
    end: usize,
    window: usize,
}

impl History {
    /// Reaches back `window` bytes; 0 is no history at all.
    pub(super) fn new(window: usize) -> Self {
        Self { bytes: Vec::new(), end: 0, window }
    }

    /// Bytes that can be referred to.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes of memory that are held.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Nothing was said.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.end = 0;
    }

    /// Something was said.
    pub(super) fn append(&mut self, said: &[u8]) {
        let said = &said[said.len().saturating_sub(self.window)..];
        let free = self.window - self.bytes.len();
        let (filling, replacing) = said.split_at(free.min(said.len()));
        if !filling.is_empty() {
            self.extend(filling);
        }
        if replacing.is_empty() {
            return;
        }
        let at = if self.end == self.window { 0 } else { self.end };
        let (before_end, wrapped) = replacing.split_at(replacing.len().min(self.window - at));
        self.bytes[at..at + before_end.len()].copy_from_slice(before_end);
        self.bytes[..wrapped.len()].copy_from_slice(wrapped);
        self.end = if wrapped.is_empty() { at + before_end.len() } else { wrapped.len() };
    }

    /// Copies what was said `back` bytes before the end to `to`, which is no longer than that.
    ///
    /// # Panics
    /// If `back` is more than [`len`](Self::len), or `to` is longer than `back`.
    #[inline]
    pub(super) fn copy(&self, back: usize, to: &mut [u8]) {
        let (newer, older) = self.bytes.split_at(self.end);
        if let Some(start) = newer.len().checked_sub(back) {
            to.copy_from_slice(&newer[start..start + to.len()]);
            return;
        }
        let from = &older[older.len() - (back - newer.len())..];
        let (first, second) = to.split_at_mut(from.len().min(to.len()));
        first.copy_from_slice(&from[..first.len()]);
        second.copy_from_slice(&newer[..second.len()]);
    }

    /// Grows by what came, to the window at most.
    fn extend(&mut self, said: &[u8]) {
        let needed = self.bytes.len() + said.len();
        if needed > self.bytes.capacity() {
            let wanted = needed.max((2 * self.bytes.capacity()).min(self.window));
            self.bytes.reserve_exact(wanted - self.bytes.len());
        }
        self.bytes.extend_from_slice(said);
        self.end = self.bytes.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::Random;

    #[test]
    fn the_ring_is_the_end_of_what_was_said() {
        let mut random = Random::new(1);
        for window in [0, 1, 7, 512, 4096] {
            let (mut history, mut said) = (History::new(window), Vec::new());
            for _ in 0..300 {
                let most = [2, 30, 700, 9000][random.below(4)];
                let len = random.below(most);
                let piece: Vec<u8> = (0..len).map(|_| random.next_u64() as u8).collect();
                history.append(&piece);
                said.extend_from_slice(&piece);
                assert_eq!(history.len(), said.len().min(window));
                assert!(history.capacity() <= window.min(2 * said.len()));
                for _ in 0..5 {
                    let back = random.below(history.len() + 1);
                    let mut copied = vec![0; random.below(back + 1)];
                    history.copy(back, &mut copied);
                    let start = said.len() - back;
                    assert_eq!(copied, said[start..start + copied.len()], "{window} {back}");
                }
            }
        }
    }
}
