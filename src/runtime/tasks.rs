//! The executor of the loop.
//!
//! Futures stay on the loop's thread. What other threads hold of a task, in wakers and in a
//! [`WSTask`], is a [`Link`]: a token and a flag. So dropping it drops no future, whatever the thread.

mod local;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::num::NonZeroU64;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use super::core::guard;
use super::error::WSListenerError;
use super::inbox::Inbox;
use super::slots::{Slots, Token};

use self::local::LocalQueue;

/// What a task runs. The executor drops it where it ends, on the loop's thread, and catches the
/// panics of all its methods and of its drop.
pub(crate) trait TaskBody {
    /// Goes on; `Ready` when the task has ended.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()>;

    /// Is called when [`poll`](Self::poll) has panicked. The task has ended.
    fn failed(self: Pin<&mut Self>, panic: Box<dyn Any + Send>);
}

/// The tasks of a loop.
///
/// # Invariants
/// - `tasks` is not borrowed while user code runs: polls, wakers, and drops of futures.
pub(crate) struct Executor {
    tasks: RefCell<Slots<Task>>,
    /// The task that is being polled.
    running: Cell<Option<Token>>,
    woken: Arc<Woken>,
}

struct Task {
    link: Arc<Link>,
    /// The body, and the waker of `link`, which each poll needs. `None` while it is polled.
    paused: Option<Paused>,
}

type Paused = (Pin<Box<dyn TaskBody>>, Waker);

/// Names a task: its token as a number, plus one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskId(NonZeroU64);

/// What the loop and others share of a task.
struct Link {
    token: Token,
    /// It waits for its next poll.
    is_woken: AtomicBool,
    woken: Arc<Woken>,
}

/// Tasks that were woken. Any thread may wake a task; only the loop polls.
struct Woken {
    /// Woken on the loop's thread.
    local: LocalQueue,
    /// Woken on other threads.
    remote: Mutex<Vec<Token>>,
    /// The loop is gone: no task is polled any more.
    closed: AtomicBool,
    inbox: Arc<Inbox>,
}

/// A waker, and the task of this loop that it wakes, if it is the task's own: that task can be polled
/// at once instead.
#[derive(Debug)]
pub(crate) struct Sleeper {
    pub(crate) waker: Waker,
    pub(crate) task: Option<TaskId>,
}

impl Woken {
    #[inline]
    fn push(&self, token: Token) {
        // The loop looks for itself before it sleeps.
        if !self.local.push(token) {
            self.push_remote(token);
        }
    }

    #[cold]
    fn push_remote(&self, token: Token) {
        if !self.closed.load(Ordering::SeqCst) {
            lock(&self.remote).push(token);
            self.inbox.notice();
        }
    }
}

impl Wake for Link {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    #[inline]
    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_woken.swap(true, Ordering::AcqRel) {
            self.woken.push(self.token);
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Link").field(&self.token).finish()
    }
}

impl Executor {
    pub(super) fn new(inbox: Arc<Inbox>) -> Self {
        let woken = Woken {
            local: LocalQueue::new(),
            remote: Mutex::default(),
            closed: AtomicBool::new(false),
            inbox,
        };
        Self { tasks: RefCell::new(Slots::new()), running: Cell::new(None), woken: Arc::new(woken) }
    }

    /// Whether no task is ready. Those that other threads woke are not until they are [collected](Self::collect).
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.woken.local.len() == 0
    }

    /// Makes ready what other threads woke, which is [noticed](Inbox::notice) in the inbox.
    pub(super) fn collect(&self) {
        let remote = std::mem::take(&mut *lock(&self.woken.remote));
        for token in remote {
            self.woken.push(token);
        }
    }

    /// Polls each task that is ready now, once.
    #[inline]
    pub(crate) fn run_ready(&self) {
        for _ in 0..self.woken.local.len() {
            // A task may have run others.
            let Some(next) = self.woken.local.pop() else { return };
            self.run(next, true);
        }
    }

    /// Polls this task now, whether it was woken or not.
    #[inline]
    pub(crate) fn run_now(&self, task: TaskId) {
        self.run(Token::from_u64(task.0.get() - 1), false);
    }

    /// Returns `waker` with the task that it wakes, if that is the running one.
    pub(crate) fn sleeper(&self, waker: &Waker) -> Sleeper {
        Sleeper { task: self.running(waker), waker: waker.clone() }
    }

    /// Returns the task that is being polled, if `waker` is its own.
    fn running(&self, waker: &Waker) -> Option<TaskId> {
        let token = self.running.get()?;
        let own = waker_of(&self.tasks.borrow().get(token)?.link);
        let number = NonZeroU64::new(token.to_u64() + 1).filter(|_| own.will_wake(waker));
        number.map(TaskId)
    }

    pub(super) fn spawn<F>(&self, future: F) -> WSTask<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let join = Arc::new(Join {
            is_cancelled: AtomicBool::new(false),
            outcome: Mutex::new(Outcome::Awaited(None)),
        });
        let link = self.spawn_body(Awaited { future: Some(future), join: Arc::clone(&join) });
        WSTask { link, join }
    }

    /// Runs a body that nobody awaits.
    pub(crate) fn spawn_detached(&self, body: impl TaskBody + 'static) {
        self.spawn_body(body);
    }

    fn spawn_body(&self, body: impl TaskBody + 'static) -> Arc<Link> {
        let body: Pin<Box<dyn TaskBody>> = Box::pin(body);
        let mut tasks = self.tasks.borrow_mut();
        let link = Arc::new(Link {
            token: tasks.next_token(),
            is_woken: AtomicBool::new(false),
            woken: Arc::clone(&self.woken),
        });
        let waker = waker_of(&link);
        tasks.insert(Task { link: Arc::clone(&link), paused: Some((body, waker)) });
        drop(tasks);
        link.wake_by_ref();
        link
    }

    /// Polls a task, unless it has ended, or must have been woken and was not.
    fn run(&self, token: Token, must_be_woken: bool) {
        let started = match self.tasks.borrow_mut().get_mut(token) {
            Some(task) => task.start(must_be_woken),
            None => None,
        };
        let Some((mut body, waker)) = started else { return };
        let mut cx = Context::from_waker(&waker);
        let outer = self.running.replace(Some(token));
        let polled = panic::catch_unwind(AssertUnwindSafe(|| body.as_mut().poll(&mut cx)));
        self.running.set(outer);
        if let Ok(Poll::Pending) = polled
            && let Some(task) = self.tasks.borrow_mut().get_mut(token)
        {
            task.paused = Some((body, waker));
            return;
        }
        self.end(token, body, polled.err());
    }

    #[inline(never)]
    fn end(&self, token: Token, mut body: Pin<Box<dyn TaskBody>>, panic: Option<Box<dyn Any + Send>>) {
        let task = self.tasks.borrow_mut().remove(token);
        if let Some(panic) = panic {
            guard("a task", || body.as_mut().failed(panic));
        }
        guard("dropping a task", || drop(body));
        drop(task);
    }

    /// The loop is gone: wake-ups have no effect from here on.
    pub(super) fn close(&self) {
        self.woken.closed.store(true, Ordering::SeqCst);
        self.woken.local.clear();
    }

    /// Drops all tasks. Returns whether there were any.
    pub(super) fn clear(&self) -> bool {
        let tokens: Vec<_> = self.tasks.borrow().entries().map(|(token, _)| token).collect();
        for &token in &tokens {
            let task = self.tasks.borrow_mut().remove(token);
            guard("dropping a task", || drop(task));
        }
        self.woken.local.clear();
        !tokens.is_empty()
    }
}

impl Task {
    /// Takes out what a poll needs, if there is to be one.
    #[inline]
    fn start(&mut self, must_be_woken: bool) -> Option<Paused> {
        // What was done before the wake-up is seen from here on.
        let was_woken = self.link.is_woken.swap(false, Ordering::AcqRel);
        if must_be_woken && !was_woken { None } else { self.paused.take() }
    }
}

/// Returns the waker of a task. It is a clone, as those that futures keep are: `will_wake` may find
/// a waker and its clone different, since each place that makes one may have its own vtable.
fn waker_of(link: &Arc<Link>) -> Waker {
    let first = Waker::from(Arc::clone(link));
    Waker::clone(&first)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while a lock is held, so what it guards is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

type Caught<T> = Result<T, Box<dyn Any + Send>>;

/// What a task and its [`WSTask`] share.
#[derive(Debug)]
struct Join<T> {
    /// The future is to be dropped at its next poll.
    is_cancelled: AtomicBool,
    outcome: Mutex<Outcome<T>>,
}

/// What became of a task.
#[derive(Debug)]
enum Outcome<T> {
    /// Nothing yet; this is to be woken then.
    Awaited(Option<Waker>),
    Ended(Caught<T>),
    /// There will be none: it was cancelled, or went with its loop.
    None,
}

pin_project_lite::pin_project! {
    /// A future whose output can be awaited.
    struct Awaited<F: Future> {
        // `None` when it has ended.
        #[pin]
        future: Option<F>,
        join: Arc<Join<F::Output>>,
    }

    impl<F: Future> PinnedDrop for Awaited<F> {
        fn drop(this: Pin<&mut Self>) {
            if this.future.is_some() {
                this.conclude(Outcome::None);
            }
        }
    }
}

impl<F: Future> Awaited<F> {
    /// Drops the future, then tells the outcome.
    fn conclude(self: Pin<&mut Self>, outcome: Outcome<F::Output>) {
        let mut this = self.project();
        guard("dropping a task", || this.future.set(None));
        let before = std::mem::replace(&mut *lock(&this.join.outcome), outcome);
        if let Outcome::Awaited(Some(waker)) = before {
            waker.wake();
        }
    }
}

impl<F: Future> TaskBody for Awaited<F> {
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.as_mut().project();
        let outcome = match this.future.as_pin_mut() {
            Some(future) if !this.join.is_cancelled.load(Ordering::Acquire) => match future.poll(cx) {
                Poll::Ready(output) => Outcome::Ended(Ok(output)),
                Poll::Pending => return Poll::Pending,
            },
            _ => Outcome::None,
        };
        self.conclude(outcome);
        Poll::Ready(())
    }

    fn failed(self: Pin<&mut Self>, panic: Box<dyn Any + Send>) {
        error_limited!("a task failed: {}", WSListenerError::from_panic(&*panic));
        self.conclude(Outcome::Ended(Err(panic)));
    }
}

/// A spawned task, and its result when awaited.
///
/// Dropping this lets the task run on; [`cancel`](Self::cancel) ends the task. A panic inside the task is logged, and comes out
/// of the `await` too. When the loop goes before the task has ended, the `await` never ends.
#[derive(Debug)]
#[must_use = "a dropped handle lets the task run on: say so with `.detach()`"]
pub struct WSTask<T> {
    link: Arc<Link>,
    join: Arc<Join<T>>,
}

impl<T> WSTask<T> {
    /// Lets the task run on by itself.
    pub fn detach(self) {}

    /// Ends the task at its current `await`, dropping its future; gives the result if it had one already.
    pub async fn cancel(self) -> Option<T> {
        self.join.is_cancelled.store(true, Ordering::Release);
        self.link.wake_by_ref();
        poll_fn(|cx| self.poll_outcome(cx)).await?.ok()
    }

    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        !matches!(*lock(&self.join.outcome), Outcome::Awaited(_))
    }

    /// What became of the task; `None` if it has no result, or has given it away.
    fn poll_outcome(&self, cx: &mut Context<'_>) -> Poll<Option<Caught<T>>> {
        let waker = cx.waker().clone();
        let mut outcome = lock(&self.join.outcome);
        let (polled, old) = match std::mem::replace(&mut *outcome, Outcome::None) {
            Outcome::Awaited(old) => {
                *outcome = Outcome::Awaited(Some(waker));
                (Poll::Pending, old)
            }
            Outcome::Ended(result) => (Poll::Ready(Some(result)), Some(waker)),
            Outcome::None => (Poll::Ready(None), Some(waker)),
        };
        drop(outcome);
        // Dropping a waker may run user code, which must not find the lock taken.
        drop(old);
        polled
    }
}

impl<T> Future for WSTask<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match self.poll_outcome(cx) {
            Poll::Ready(Some(Ok(output))) => Poll::Ready(output),
            Poll::Ready(Some(Err(panic))) => panic::resume_unwind(panic),
            // The loop is gone, and the task with it.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}
