//! Tasks that were woken on the thread of their loop, as nearly all are: they are queued without a lock.
//!
//! The queues are the thread's, since a waker may be anywhere. On another thread it takes the way
//! that costs a lock.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use super::Token;

thread_local! {
    /// The task that was woken first, and its loop, while it is the only one or others are behind it.
    static FIRST: Cell<Option<(QueueId, Token)>> = const { Cell::new(None) };

    /// The tasks behind it, of the loops on this thread: one, outside of tests.
    static BEHIND: RefCell<Vec<(QueueId, VecDeque<Token>)>> = const { RefCell::new(Vec::new()) };
}

/// Names a queue, in the whole process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct QueueId(u64);

/// Names the thread as long as it lives, by the address of something that it alone has.
#[inline]
fn this_thread() -> usize {
    FIRST.with(|first| std::ptr::from_ref(first).addr())
}

/// The tasks of a loop that were woken on its thread, in order.
///
/// # Invariants
/// - `len` is touched on the loop's thread only. It counts what is in `FIRST` and `BEHIND`.
/// - What is in `FIRST` was woken before all that is in `BEHIND`.
pub(super) struct LocalQueue {
    id: QueueId,
    /// The thread; zero, which names none, once the queue is closed.
    owner: AtomicUsize,
    len: AtomicU32,
}

impl LocalQueue {
    /// Makes a queue for this thread.
    pub(super) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = QueueId(NEXT.fetch_add(1, Ordering::Relaxed));
        Self { id, owner: AtomicUsize::new(this_thread()), len: AtomicU32::new(0) }
    }

    /// Number of tasks in the queue, asked on its thread.
    #[inline]
    pub(super) fn len(&self) -> u32 {
        self.len.load(Ordering::Relaxed)
    }

    /// Adds a task. Returns `false` if the queue is another thread's or closed, or its thread ends.
    #[inline]
    pub(super) fn push(&self, task: Token) -> bool {
        if this_thread() != self.owner.load(Ordering::Relaxed) {
            return false;
        }
        let len = self.len();
        if len == 0 && FIRST.get().is_none() {
            FIRST.set(Some((self.id, task)));
        } else if !self.push_behind(task) {
            return false;
        }
        self.len.store(len + 1, Ordering::Relaxed);
        true
    }

    /// Takes out the task that was woken first.
    #[inline]
    pub(super) fn pop(&self) -> Option<Token> {
        let len = self.len().checked_sub(1)?;
        self.len.store(len, Ordering::Relaxed);
        match FIRST.get() {
            Some((id, first)) if id == self.id => {
                FIRST.set(None);
                Some(first)
            }
            _ => self.pop_behind(),
        }
    }

    /// Forgets all tasks.
    pub(super) fn clear(&self) {
        while self.pop().is_some() {}
        self.len.store(0, Ordering::Relaxed);
        let _ = BEHIND.try_with(|queues| queues.borrow_mut().retain(|(id, _)| *id != self.id));
    }

    /// Forgets all tasks and refuses more. A waker may outlive the loop: a task in `FIRST` that is
    /// never taken out would be in the way of the thread's next loop, and another thread may get the
    /// address that names this one.
    pub(super) fn close(&self) {
        self.owner.store(0, Ordering::Relaxed);
        self.clear();
    }

    #[inline(never)]
    fn push_behind(&self, task: Token) -> bool {
        let pushed = BEHIND.try_with(|queues| {
            let mut queues = queues.borrow_mut();
            match queues.iter_mut().find(|(id, _)| *id == self.id) {
                Some((_, queue)) => queue.push_back(task),
                None => queues.push((self.id, VecDeque::from([task]))),
            }
        });
        // The last destructors of the thread run.
        pushed.is_ok()
    }

    #[inline(never)]
    fn pop_behind(&self) -> Option<Token> {
        let popped = BEHIND.try_with(|queues| {
            let mut queues = queues.borrow_mut();
            queues.iter_mut().find(|(id, _)| *id == self.id)?.1.pop_front()
        });
        popped.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::slots::Slots;
    use crate::testkit::Random;

    #[test]
    fn queues_on_one_thread_keep_their_order() {
        let mut random = Random::new(1);
        let mut slots = Slots::new();
        let queues = [LocalQueue::new(), LocalQueue::new()];
        let mut twins = [VecDeque::new(), VecDeque::new()];
        for _ in 0..10_000 {
            let which = random.below(2);
            if random.chance(52) {
                let task = slots.insert(());
                assert!(queues[which].push(task));
                twins[which].push_back(task);
            } else {
                assert_eq!(queues[which].pop(), twins[which].pop_front());
            }
            assert_eq!(queues[which].len() as usize, twins[which].len());
        }
        queues[0].clear();
        assert_eq!((queues[0].len(), queues[0].pop()), (0, None));
        assert_eq!(queues[1].pop(), twins[1].pop_front(), "the other's are still there");
    }

    #[test]
    fn a_closed_queue_refuses_tasks_and_is_not_in_the_way() {
        let (closed, task) = (LocalQueue::new(), Slots::new().insert(()));
        assert!(closed.push(task));
        closed.close();
        assert!(!closed.push(task));
        assert_eq!((closed.len(), FIRST.get()), (0, None));
    }

    #[test]
    fn another_thread_is_refused() {
        let (queue, task) = (LocalQueue::new(), Slots::new().insert(()));
        std::thread::scope(|scope| {
            scope.spawn(|| assert!(!queue.push(task))).join().expect("it is refused");
        });
        assert_eq!(queue.len(), 0);
    }
}
