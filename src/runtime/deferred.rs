//! Calls that have to run, but not from inside the call that caused them.

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

/// Deferred calls, in order.
///
/// # Invariants
/// - `any` is whether there is anything in `queue`.
#[derive(Default)]
pub(super) struct DeferredQueue {
    any: Cell<bool>,
    queue: RefCell<VecDeque<Deferred>>,
}

impl DeferredQueue {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        !self.any.get()
    }

    pub(super) fn push(&self, deferred: Deferred) {
        self.queue.borrow_mut().push_back(deferred);
        self.any.set(true);
    }

    /// Hands over what is in it now, but not what comes meanwhile.
    pub(super) fn run(&self, mut run: impl FnMut(Deferred)) {
        let count = self.queue.borrow().len();
        for _ in 0..count {
            let Some(deferred) = self.queue.borrow_mut().pop_front() else { break };
            run(deferred);
        }
        self.any.set(!self.queue.borrow().is_empty());
    }
}
