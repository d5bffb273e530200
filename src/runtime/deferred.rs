//! What has to run, but not from inside the call that caused it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use super::source::Source;

/// A call that runs later.
pub(super) enum Deferred {
    /// [`Source::deferred`]. Holds the source and not its token: a connection reports its end after
    /// it has freed its slot.
    Source(Rc<dyn Source>, u8),
    Call(Box<dyn FnOnce()>),
}

/// A queue whose emptiness costs one test, since it is asked for with every event.
///
/// # Invariants
/// - `any` is whether there is anything in `queue`.
pub(super) struct Pending<T> {
    any: Cell<bool>,
    queue: RefCell<VecDeque<T>>,
}

impl<T> Default for Pending<T> {
    fn default() -> Self {
        Self { any: Cell::new(false), queue: RefCell::default() }
    }
}

impl<T> Pending<T> {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        !self.any.get()
    }

    pub(super) fn len(&self) -> usize {
        self.queue.borrow().len()
    }

    pub(super) fn push(&self, item: T) {
        self.queue.borrow_mut().push_back(item);
        self.any.set(true);
    }

    pub(super) fn pop(&self) -> Option<T> {
        let mut queue = self.queue.borrow_mut();
        let item = queue.pop_front();
        self.any.set(!queue.is_empty());
        item
    }
}
