//! State that upper layers keep once per loop.

use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::rc::Rc;

use crate::runtime::WSLoopConfig;

/// State of an upper layer, of which each loop has at most one:
/// [`LoopCore::local`](super::LoopCore::local) makes it on first use.
///
/// The hooks run no user code and do not use the store.
pub(crate) trait PerLoop: Any {
    fn new(config: &WSLoopConfig) -> Self
    where
        Self: Sized;

    /// Is called before the loop serves the sources that requested a further iteration. TLS counts
    /// its handshakes from here, so that those that waited come first.
    fn ready_list_begins(&self, config: &WSLoopConfig) {
        let _ = config;
    }

    /// Is called after the last of these sources.
    fn ready_list_ends(&self) {}

    /// Returns the bytes that are kept for reuse.
    fn retained(&self) -> usize {
        0
    }
}

/// The state of all upper layers, by type. There are few entries, so a lookup compares them in
/// turn.
#[derive(Default)]
pub(super) struct Store {
    entries: RefCell<Vec<(TypeId, Rc<dyn PerLoop>)>>,
}

impl Store {
    pub(super) fn get<T: PerLoop>(&self, config: &WSLoopConfig) -> Rc<T> {
        let id = TypeId::of::<T>();
        let found = self.entries.borrow().iter().find(|entry| entry.0 == id).map(|entry| Rc::clone(&entry.1));
        if let Some(Ok(found)) = found.map(|entry| (entry as Rc<dyn Any>).downcast::<T>()) {
            return found;
        }
        let made = Rc::new(T::new(config));
        self.entries.borrow_mut().push((id, Rc::clone(&made) as Rc<dyn PerLoop>));
        made
    }

    pub(super) fn for_each(&self, mut call: impl FnMut(&dyn PerLoop)) {
        self.entries.borrow().iter().for_each(|entry| call(&*entry.1));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    struct Counter(Cell<usize>);

    impl PerLoop for Counter {
        fn new(config: &WSLoopConfig) -> Self {
            Self(Cell::new(config.events_per_turn))
        }
    }

    struct Kept;

    impl PerLoop for Kept {
        fn new(_: &WSLoopConfig) -> Self {
            Self
        }

        fn retained(&self) -> usize {
            5
        }
    }

    #[test]
    fn entries_are_made_once_per_type_from_the_configuration() {
        let (store, config) = (Store::default(), WSLoopConfig::default());
        let first = store.get::<Counter>(&config);
        assert_eq!(first.0.get(), config.events_per_turn);
        first.0.set(7);
        store.get::<Kept>(&config);
        assert_eq!(store.get::<Counter>(&config).0.get(), 7);
        let mut retained = 0;
        store.for_each(|entry| retained += entry.retained());
        assert_eq!(retained, 5);
    }
}
