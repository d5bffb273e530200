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
    /// A queue of messages is full.
    Crowded(Rc<dyn QueueOwner>),
    Call(Box<dyn FnOnce()>),
}

/// Keeps messages for tasks, as many as there is room for.
pub(crate) trait QueueOwner {
    /// Stops delivery before the next message if there is no room for it.
    fn hold_if_full(&self);
}

/// Deferred calls, in order.
///
/// # Invariants
/// - `any` is whether there is anything.
/// - What is in `first` came before all in `behind`.
#[derive(Default)]
pub(super) struct DeferredQueue {
    any: Cell<bool>,
    /// For the one kind that each message of a burst brings about: mostly it is alone.
    first: Cell<Option<Rc<dyn QueueOwner>>>,
    behind: RefCell<VecDeque<Deferred>>,
}

impl DeferredQueue {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        !self.any.get()
    }

    pub(super) fn push(&self, deferred: Deferred) {
        self.behind.borrow_mut().push_back(deferred);
        self.any.set(true);
    }

    #[inline]
    pub(super) fn push_crowded(&self, queue: Rc<dyn QueueOwner>) {
        if self.any.replace(true) {
            self.behind.borrow_mut().push_back(Deferred::Crowded(queue));
        } else {
            self.first.set(Some(queue));
        }
    }

    /// Hands over what is in it now, but not what comes meanwhile.
    pub(super) fn run(&self, mut run: impl FnMut(Deferred)) {
        let count = self.behind.borrow().len();
        if let Some(queue) = self.first.take() {
            run(Deferred::Crowded(queue));
        }
        for _ in 0..count {
            let Some(deferred) = self.behind.borrow_mut().pop_front() else { break };
            run(deferred);
        }
        // As long as it ran, nothing went to the front.
        self.any.set(!self.behind.borrow().is_empty());
    }
}
