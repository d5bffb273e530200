//! Tasks that were woken on the thread of their loop, as nearly all are: they are queued without a lock.
//!
//! The queues are the thread's, since a waker may be anywhere: on another thread it finds none, and takes the way that costs a lock.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use async_task::Runnable;

thread_local! {
    /// Those of the loops on this thread: one, outside of tests.
    static QUEUES: RefCell<Vec<Queue>> = const { RefCell::new(Vec::new()) };
}

struct Queue {
    id: LocalId,
    ready: VecDeque<Runnable>,
}

/// Names a queue, in the whole process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LocalId(u64);

impl LocalId {
    /// Makes a queue on this thread, unless its last destructors run: then tasks take the other way.
    pub(super) fn register() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = Self(NEXT.fetch_add(1, Ordering::Relaxed));
        let _ = QUEUES.try_with(|queues| {
            queues.borrow_mut().push(Queue { id, ready: VecDeque::new() });
        });
        id
    }

    /// Adds a task, or gives it back: the queue is another thread's, or gone.
    #[inline]
    pub(super) fn push(self, runnable: Runnable) -> Result<(), Runnable> {
        let mut runnable = Some(runnable);
        self.with(|queue| {
            if let Some(runnable) = runnable.take() {
                queue.ready.push_back(runnable);
            }
        });
        runnable.map_or(Ok(()), Err)
    }

    /// The task that was woken first, and how many there are behind it.
    #[inline]
    pub(super) fn pop(self) -> Option<(Runnable, usize)> {
        self.with(|queue| queue.ready.pop_front().map(|first| (first, queue.ready.len()))).flatten()
    }

    /// All tasks of the queue.
    pub(super) fn take(self) -> VecDeque<Runnable> {
        self.with(|queue| std::mem::take(&mut queue.ready)).unwrap_or_default()
    }

    /// Ends the queue, on its thread; what is still in it is returned.
    pub(super) fn remove(self) -> VecDeque<Runnable> {
        let removed = QUEUES.try_with(|queues| {
            let mut queues = queues.borrow_mut();
            let index = queues.iter().position(|queue| queue.id == self)?;
            Some(queues.swap_remove(index).ready)
        });
        removed.ok().flatten().unwrap_or_default()
    }

    /// `None` on another thread, after the end, and among the last destructors of the thread.
    #[inline]
    fn with<T>(self, use_it: impl FnOnce(&mut Queue) -> T) -> Option<T> {
        let used = QUEUES.try_with(|queues| {
            let mut queues = queues.borrow_mut();
            queues.iter_mut().find(|queue| queue.id == self).map(use_it)
        });
        used.ok().flatten()
    }
}
