//! Where the loop keeps what it polls: a slab whose tokens carry a generation.

/// Names a slot, and one use of it: a token that outlives its use finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Token {
    index: u32,
    generation: u32,
}

impl Token {
    /// Bits of a `usize` that hold the index. On 32-bit systems the generation is the shorter for it.
    const INDEX_BITS: u32 = usize::BITS / 2 + if usize::BITS == 32 { 4 } else { 0 };
    const GENERATION_MASK: u32 = ((1u64 << (usize::BITS - Self::INDEX_BITS)) - 1) as u32;

    pub(crate) fn to_mio(self) -> mio::Token {
        mio::Token((self.generation as usize) << Self::INDEX_BITS | self.index as usize)
    }

    pub(crate) fn from_mio(token: mio::Token) -> Self {
        let index = token.0 & ((1 << Self::INDEX_BITS) - 1);
        Self { index: index as u32, generation: (token.0 >> Self::INDEX_BITS) as u32 }
    }

    /// One number for both parts; unique within a loop until the generation wraps. Never the highest.
    pub(crate) fn to_u64(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    /// Returns the token that [`to_u64`](Self::to_u64) made this number of.
    pub(crate) fn from_u64(number: u64) -> Self {
        Self { index: number as u32, generation: (number >> 32) as u32 }
    }
}

/// A slab of `T`.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    /// See [`Slots::mark`].
    marked: bool,
    value: Option<T>,
}

impl<T> Slots<T> {
    pub(crate) fn new() -> Self {
        Self { entries: Vec::new(), free: Vec::new() }
    }

    /// Number of slots in use.
    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Returns the token of the next insertion.
    pub(super) fn next_token(&self) -> Token {
        match self.free.last() {
            Some(&index) => Token { index, generation: self.entries[index as usize].generation },
            None => Token { index: self.entries.len() as u32, generation: 0 },
        }
    }

    pub(crate) fn insert(&mut self, value: T) -> Token {
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry { generation: 0, marked: false, value: None });
            (self.entries.len() - 1) as u32
        });
        let entry = &mut self.entries[index as usize];
        entry.value = Some(value);
        Token { index, generation: entry.generation }
    }

    #[inline]
    pub(crate) fn get(&self, token: Token) -> Option<&T> {
        let entry = self.entries.get(token.index as usize)?;
        if entry.generation == token.generation { entry.value.as_ref() } else { None }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, token: Token) -> Option<&mut T> {
        let entry = self.entries.get_mut(token.index as usize)?;
        if entry.generation == token.generation { entry.value.as_mut() } else { None }
    }

    /// Empties the slot. Its token, and every copy of it, is void from here on.
    pub(crate) fn remove(&mut self, token: Token) -> Option<T> {
        let entry = self.entries.get_mut(token.index as usize)?;
        if entry.generation != token.generation {
            return None;
        }
        let value = entry.value.take()?;
        entry.marked = false;
        // The highest generation is left out, so that no slot ever has the token of the waker (all ones).
        entry.generation = (entry.generation + 1) % Token::GENERATION_MASK;
        self.free.push(token.index);
        Some(value)
    }

    /// Marks a slot in use. False if it was marked before, or if the token is stale.
    pub(crate) fn mark(&mut self, token: Token) -> bool {
        self.in_use(token).is_some_and(|entry| !std::mem::replace(&mut entry.marked, true))
    }

    pub(super) fn unmark(&mut self, token: Token) {
        if let Some(entry) = self.in_use(token) {
            entry.marked = false;
        }
    }

    fn in_use(&mut self, token: Token) -> Option<&mut Entry<T>> {
        let entry = self.entries.get_mut(token.index as usize)?;
        (entry.generation == token.generation && entry.value.is_some()).then_some(entry)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries().map(|(_, value)| value)
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (Token, &T)> {
        self.entries.iter().zip(0..).filter_map(|(entry, index)| {
            let token = Token { index, generation: entry.generation };
            entry.value.as_ref().map(|value| (token, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_tokens_find_nothing() {
        let mut slots = Slots::new();
        let a = slots.insert('a');
        assert_eq!(slots.next_token(), Token { index: 1, generation: 0 });
        let b = slots.insert('b');
        assert_eq!((slots.get(a), slots.get(b), slots.len()), (Some(&'a'), Some(&'b'), 2));
        assert_eq!(slots.remove(a), Some('a'));
        assert_eq!(slots.remove(a), None);
        let next = slots.next_token();
        let c = slots.insert('c');
        assert_eq!(c, next);
        assert_eq!(c.index, a.index, "the slot is used again");
        assert_eq!(slots.get(a), None, "by its new token only");
        assert_eq!(slots.get_mut(c), Some(&mut 'c'));
        assert_eq!(slots.iter().copied().collect::<String>(), "cb");
        assert_eq!(slots.entries().collect::<Vec<_>>(), [(c, &'c'), (b, &'b')]);
    }

    #[test]
    fn marks_belong_to_one_use_of_a_slot() {
        let mut slots = Slots::new();
        let a = slots.insert('a');
        assert!(slots.mark(a));
        assert!(!slots.mark(a), "marked before");
        slots.unmark(a);
        assert!(slots.mark(a));
        slots.remove(a);
        assert!(!slots.mark(a), "stale");
        let b = slots.insert('b');
        assert!(slots.mark(b), "the mark went with the use");
        slots.unmark(a);
        assert!(!slots.mark(b), "a stale token unmarks nothing");
    }

    #[test]
    fn tokens_survive_a_number() {
        for (index, generation) in [(0, 0), (1, 2), (u32::MAX - 1, u32::MAX - 1)] {
            let token = Token { index, generation };
            assert_eq!(Token::from_u64(token.to_u64()), token);
        }
    }

    #[test]
    fn tokens_survive_mio() {
        for (index, generation) in [(0, 0), (1, 2), (12_345, Token::GENERATION_MASK - 1)] {
            let token = Token { index, generation };
            assert_eq!(Token::from_mio(token.to_mio()), token);
            assert_ne!(token.to_mio(), mio::Token(usize::MAX));
        }
    }
}
