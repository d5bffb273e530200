//! The executor of the loop.

mod local;

use std::any::Any;
use std::collections::HashMap;
use std::future::Future;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use async_task::Runnable;

use crate::runtime::WSListenerError;

use self::local::LocalId;
use super::inbox::Inbox;

/// Tasks that are ready to be polled. Any thread may wake a task; only the loop polls.
pub(crate) struct TaskQueue {
    /// Woken on the loop's thread.
    local: LocalId,
    /// Whether there are such. Only the loop's thread touches this.
    any_local: AtomicBool,
    /// Woken on other threads.
    remote: Mutex<Vec<Runnable>>,
    /// Tasks that have not ended, by number: they go when the loop does, whatever they wait for.
    unfinished: Mutex<HashMap<u64, Waker>>,
    /// The number of the next task.
    next: AtomicU64,
    /// The loop is gone: no task is polled any more.
    closed: AtomicBool,
    /// The loop's thread, the only one that may drop a task.
    owner: ThreadMark,
    inbox: Arc<Inbox>,
}

/// A thread, as long as it lives: the address of something that it alone has. Costs less to ask for than its number.
#[derive(Clone, Copy, PartialEq, Eq)]
struct ThreadMark(usize);

impl ThreadMark {
    fn here() -> Self {
        thread_local!(static MARK: u8 = const { 0 });
        Self(MARK.with(|mark| std::ptr::from_ref(mark).addr()))
    }
}

impl TaskQueue {
    pub(crate) fn new(inbox: Arc<Inbox>) -> Self {
        Self {
            local: LocalId::register(),
            any_local: AtomicBool::new(false),
            remote: Mutex::default(),
            unfinished: Mutex::default(),
            next: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            owner: ThreadMark::here(),
            inbox,
        }
    }

    /// Whether no task is ready. Those that other threads woke are not until they are [collected](Self::collect).
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        !self.any_local.load(Ordering::Relaxed)
    }

    /// Makes ready what other threads woke, which is [noticed](Inbox::notice) in the inbox.
    pub(crate) fn collect(&self) {
        for runnable in self.take_remote() {
            self.push(runnable);
        }
    }

    /// Polls each task that is ready now, once.
    #[inline]
    pub(crate) fn run_ready(&self) {
        self.any_local.store(false, Ordering::Relaxed);
        let Some((first, behind)) = self.local.pop() else { return };
        run(first);
        for _ in 0..behind {
            // A task may have run others.
            let Some((next, _)) = self.local.pop() else { return };
            run(next);
        }
    }

    pub(crate) fn spawn<F>(self: &Arc<Self>, future: F) -> WSTask<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let queue = Arc::clone(self);
        let schedule = move |runnable| queue.push(runnable);
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let entry = Entry { queue: Arc::clone(self), number };
        let (runnable, task) = async_task::spawn_local(Entered { future: Some(future), entry }, schedule);
        lock(&self.unfinished).insert(number, runnable.waker());
        runnable.schedule();
        WSTask { task: Some(task.fallible()) }
    }

    /// The loop is gone: a task that is woken from here on is dropped.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        drop(self.local.remove());
    }

    /// Drops all tasks; the futures go with them. Returns whether there were any.
    pub(crate) fn clear(&self) -> bool {
        let unfinished = std::mem::take(&mut *lock(&self.unfinished));
        // A task that is to be dropped has to be ready.
        unfinished.into_values().for_each(Waker::wake);
        self.any_local.store(false, Ordering::Relaxed);
        let (local, remote) = (self.local.take(), self.take_remote());
        !(local.is_empty() && remote.is_empty())
    }

    #[inline]
    fn push(&self, runnable: Runnable) {
        match self.local.push(runnable) {
            // The loop looks for itself before it sleeps.
            Ok(()) => self.any_local.store(true, Ordering::Relaxed),
            Err(runnable) => self.push_remote(runnable),
        }
    }

    #[cold]
    fn push_remote(&self, runnable: Runnable) {
        if self.closed.load(Ordering::SeqCst) && ThreadMark::here() == self.owner {
            return drop(runnable);
        }
        lock(&self.remote).push(runnable);
        self.inbox.notice();
    }

    fn take_remote(&self) -> Vec<Runnable> {
        std::mem::take(&mut *lock(&self.remote))
    }
}

/// A panic in a poll is caught inside the task, but one in the drop of its future is not.
fn run(task: Runnable) {
    super::core::guard("a task", || {
        task.run();
    });
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while a lock is held, so what it guards is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The entry of a task among the unfinished ones. It goes with the task's future.
struct Entry {
    queue: Arc<TaskQueue>,
    number: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let waker = lock(&self.queue.unfinished).remove(&self.number);
        drop(waker);
    }
}

type Caught<T> = Result<T, Box<dyn Any + Send>>;

pin_project_lite::pin_project! {
    /// What a task runs. A panic in it must not take the loop down: it is logged and kept for whoever awaits the task. In this order,
    /// so that the future is next to the head of the task: `entry` is for the end.
    #[repr(C)]
    struct Entered<F> {
        // Dropped by the poll that ends it: were it left to async-task, a panic in its drop would abort the process.
        #[pin]
        future: Option<F>,
        entry: Entry,
    }
}

impl<F: Future> Future for Entered<F> {
    type Output = Caught<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut future = self.project().future;
        let poll = panic::catch_unwind(AssertUnwindSafe(|| match future.as_mut().as_pin_mut() {
            Some(future) => future.poll(cx),
            None => Poll::Pending,
        }));
        let ended = match poll {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(panic) => {
                error_limited!("a task failed: {}", WSListenerError::from_panic(&*panic));
                Err(panic)
            }
        };
        super::core::guard("dropping a task", || future.set(None));
        Poll::Ready(ended)
    }
}

/// A spawned task, and its result when awaited.
///
/// Dropping this lets the task run on; [`cancel`](Self::cancel) ends the task. A panic inside the task is logged, and comes out
/// of the `await` too. When the loop goes before the task has ended, the `await` never ends.
#[derive(Debug)]
#[must_use = "a dropped handle lets the task run on: say so with `.detach()`"]
pub struct WSTask<T> {
    /// `None` only while dropping.
    task: Option<async_task::FallibleTask<Caught<T>>>,
}

impl<T> WSTask<T> {
    /// Lets the task run on by itself.
    pub fn detach(self) {}

    /// Ends the task at its current `await`, dropping its future; gives the result if it had one already.
    pub async fn cancel(mut self) -> Option<T> {
        self.task.take()?.cancel().await?.ok()
    }

    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.task.as_ref().is_none_or(async_task::FallibleTask::is_finished)
    }
}

impl<T> Future for WSTask<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let Some(task) = &mut self.task else { return Poll::Pending };
        match Pin::new(task).poll(cx) {
            Poll::Ready(Some(Ok(output))) => Poll::Ready(output),
            Poll::Ready(Some(Err(panic))) => panic::resume_unwind(panic),
            // The loop is gone, and the task with it.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

impl<T> Drop for WSTask<T> {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.detach();
        }
    }
}
