//! The executor of the loop.

use std::any::Any;
use std::collections::VecDeque;
use std::future::Future;
use std::panic::{self, AssertUnwindSafe};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread::{self, ThreadId};

use async_task::Runnable;

use crate::WSListenerError;

use super::inbox::LoopWaker;

/// Tasks that are ready to be polled. Any thread may wake a task; only the loop polls.
pub(crate) struct TaskQueue {
    ready: Mutex<VecDeque<Runnable>>,
    /// Whether `ready` holds anything; written under its lock, read without.
    any_ready: AtomicBool,
    /// The loop is gone: no task is polled any more.
    closed: AtomicBool,
    /// The loop's thread, the only one that may drop a task.
    owner: ThreadId,
    waker: Arc<LoopWaker>,
}

impl TaskQueue {
    pub(crate) fn new(waker: Arc<LoopWaker>) -> Self {
        Self {
            ready: Mutex::default(),
            any_ready: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            owner: thread::current().id(),
            waker,
        }
    }

    /// Whether no task is ready. May be late in seeing what another thread did; exact once the loop said that it is going to sleep.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        !self.any_ready.load(Ordering::SeqCst)
    }

    /// Polls each task that is ready now, once.
    pub(crate) fn run_ready(&self) {
        let count = self.lock().len();
        for _ in 0..count {
            let Some(runnable) = self.pop() else { break };
            // A panic in a poll is caught inside the task, but one in the drop of its future is not.
            super::core::guard("a task", || {
                runnable.run();
            });
        }
    }

    pub(crate) fn spawn<F>(self: &Arc<Self>, future: F) -> WSTask<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let queue = Arc::clone(self);
        let schedule = move |runnable| queue.push(runnable);
        let (runnable, task) = async_task::spawn_local(catch_panic(future), schedule);
        runnable.schedule();
        WSTask { task: Some(task.fallible()) }
    }

    /// The loop is gone: a task that is woken from here on is dropped.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Drops what is ready; the futures go with it. Returns whether anything was.
    pub(crate) fn clear(&self) -> bool {
        let dropped: Vec<_> = std::iter::from_fn(|| self.pop()).collect();
        !dropped.is_empty()
    }

    fn push(&self, runnable: Runnable) {
        if self.closed.load(Ordering::SeqCst) && thread::current().id() == self.owner {
            return drop(runnable);
        }
        let mut ready = self.lock();
        ready.push_back(runnable);
        self.any_ready.store(true, Ordering::SeqCst);
        drop(ready);
        self.waker.wake();
    }

    fn pop(&self) -> Option<Runnable> {
        let mut ready = self.lock();
        let runnable = ready.pop_front();
        self.any_ready.store(!ready.is_empty(), Ordering::SeqCst);
        runnable
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Runnable>> {
        // Nothing panics while the lock is held, so a poisoned queue is still whole.
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Caught<T> = Result<T, Box<dyn Any + Send>>;

/// A panic in a task must not take the loop down: it is logged and kept for whoever awaits the task.
async fn catch_panic<F: Future>(future: F) -> Caught<F::Output> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| match panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => {
            log::error!("a task failed: {}", WSListenerError::from_panic(&*panic));
            Poll::Ready(Err(panic))
        }
    })
    .await
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
