//! The executor of the loop.
//!
//! Futures stay on the loop's thread. What other threads hold of a task, in wakers and in a
//! [`WSTask`], is a [`Link`]: a token and a flag. So dropping it drops no future, whatever the thread.

mod local;
mod scope;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, RawWakerVTable, Wake, Waker};

use super::core::{guard, wake};
use super::error::WSListenerError;
use super::inbox::Inbox;
use super::slots::{Slots, Token};

use self::local::LocalQueue;
pub(crate) use self::scope::TaskGroup;
pub use self::scope::WSTaskScope;

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
    running: Cell<Option<Running>>,
    woken: Arc<Woken>,
}

struct Task {
    link: Arc<Link>,
    /// `None` while it is polled.
    paused: Option<Pin<Box<dyn Paused>>>,
}

/// What a task is made of while it is not polled.
trait Paused {
    /// Polls the body, with `task` as the running one. The caller puts back what was running before.
    fn poll(self: Pin<&mut Self>, task: TaskId, running: &Cell<Option<Running>>) -> Poll<()>;

    fn failed(self: Pin<&mut Self>, panic: Box<dyn Any + Send>);
}

pin_project_lite::pin_project! {
    /// A body, and the waker of its task: what each poll needs changes hands as one pointer.
    struct Owned<B> {
        waker: Waker,
        #[pin]
        body: B,
    }
}

impl<B: TaskBody> Paused for Owned<B> {
    #[inline]
    fn poll(self: Pin<&mut Self>, task: TaskId, running: &Cell<Option<Running>>) -> Poll<()> {
        let this = self.project();
        let waker: &Waker = this.waker;
        running.set(Some(Running { task, data: waker.data(), vtable: waker.vtable() }));
        this.body.poll(&mut Context::from_waker(waker))
    }

    fn failed(self: Pin<&mut Self>, panic: Box<dyn Any + Send>) {
        self.project().body.failed(panic);
    }
}

/// A task that is being polled, and what its own waker is made of.
#[derive(Clone, Copy)]
struct Running {
    task: TaskId,
    data: *const (),
    vtable: &'static RawWakerVTable,
}

/// Names a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskId(Token);

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

/// A future that waits, to be [woken](Executor::wake).
#[derive(Debug)]
pub(crate) enum Sleeper {
    /// It belongs to a task of this loop, which can also be polled at once. No waker has to be
    /// cloned for it, which takes an atomic operation, as does dropping it.
    Task(TaskId),
    /// It was polled with another waker, such as that of a combinator.
    Waker(Waker),
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
        self.run(task.0, false);
    }

    /// Returns what wakes the future that is polled with `waker`: the running task, if that is its
    /// own.
    #[inline]
    pub(crate) fn sleeper(&self, waker: &Waker) -> Sleeper {
        match self.running.get() {
            Some(running) if waker.data() == running.data && ptr::eq(waker.vtable(), running.vtable) => {
                Sleeper::Task(running.task)
            }
            _ => Sleeper::Waker(waker.clone()),
        }
    }

    /// Wakes a future. Its waker may run user code.
    pub(crate) fn wake(&self, sleeper: Sleeper) {
        match sleeper {
            Sleeper::Waker(waker) => wake(waker),
            Sleeper::Task(task) => {
                if let Some(task) = self.tasks.borrow().get(task.0) {
                    task.link.wake_by_ref();
                }
            }
        }
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

    /// [`spawn`](Self::spawn), and adds the task to a group.
    pub(crate) fn spawn_in<F>(&self, group: impl FnOnce(TaskId, &Self), future: F) -> WSTask<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let task = self.spawn(future);
        group(TaskId(task.link.token), self);
        task
    }

    /// Returns `true` if the task has not ended.
    fn has(&self, task: TaskId) -> bool {
        self.tasks.borrow().get(task.0).is_some()
    }

    /// Ends a task: drops its future now or, if it is being polled, when that poll returns. Not
    /// under a borrow, as the drop runs user code.
    pub(crate) fn end_now(&self, task: TaskId) {
        let task = self.tasks.borrow_mut().remove(task.0);
        guard("dropping a task", || drop(task));
    }

    /// Runs a body that nobody awaits.
    pub(crate) fn spawn_detached(&self, body: impl TaskBody + 'static) {
        self.spawn_body(body);
    }

    fn spawn_body(&self, body: impl TaskBody + 'static) -> Arc<Link> {
        let mut tasks = self.tasks.borrow_mut();
        let link = Arc::new(Link {
            token: tasks.next_token(),
            is_woken: AtomicBool::new(false),
            woken: Arc::clone(&self.woken),
        });
        let paused = Box::pin(Owned { waker: waker_of(&link), body });
        tasks.insert(Task { link: Arc::clone(&link), paused: Some(paused) });
        drop(tasks);
        if self.woken.closed.load(Ordering::Relaxed) {
            // Nothing is polled any more, and a future that holds the loop would keep it for ever.
            let task = self.tasks.borrow_mut().remove(link.token);
            guard("dropping a task", || drop(task));
        }
        link.wake_by_ref();
        link
    }

    /// Polls a task, unless it has ended, or must have been woken and was not.
    fn run(&self, token: Token, must_be_woken: bool) {
        let started = match self.tasks.borrow_mut().get_mut(token) {
            Some(task) => task.start(must_be_woken),
            None => None,
        };
        let Some(mut paused) = started else { return };
        let outer = self.running.get();
        let polled =
            panic::catch_unwind(AssertUnwindSafe(|| paused.as_mut().poll(TaskId(token), &self.running)));
        self.running.set(outer);
        if let Ok(Poll::Pending) = polled
            && let Some(task) = self.tasks.borrow_mut().get_mut(token)
        {
            task.paused = Some(paused);
            return;
        }
        self.end(token, paused, polled.err());
    }

    #[inline(never)]
    fn end(&self, token: Token, mut paused: Pin<Box<dyn Paused>>, panic: Option<Box<dyn Any + Send>>) {
        let task = self.tasks.borrow_mut().remove(token);
        if let Some(panic) = panic {
            guard("a task", || paused.as_mut().failed(panic));
        }
        guard("dropping a task", || drop(paused));
        drop(task);
    }

    /// The loop is gone: wake-ups have no effect from here on.
    pub(super) fn close(&self) {
        self.woken.closed.store(true, Ordering::SeqCst);
        self.woken.local.close();
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
    fn start(&mut self, must_be_woken: bool) -> Option<Pin<Box<dyn Paused>>> {
        debug_assert!(self.paused.is_some(), "a task that is polled polls itself");
        // What was done before the wake-up is seen from here on. The load spares a task that is
        // polled without having been woken the atomic exchange.
        let is_woken = &self.link.is_woken;
        let was_woken = is_woken.load(Ordering::Acquire) && is_woken.swap(false, Ordering::AcqRel);
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
            wake(waker);
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
/// Dropping this lets the task run on; [`abort`](Self::abort) and [`cancel`](Self::cancel) end it.
/// A panic inside the task is logged, and comes out of the `await` too. When the task is ended from
/// outside, or the loop goes before the task has ended, the `await` never ends.
#[derive(Debug)]
#[must_use = "a dropped handle lets the task run on: say so with `.detach()`"]
pub struct WSTask<T> {
    link: Arc<Link>,
    join: Arc<Join<T>>,
}

impl<T> WSTask<T> {
    /// Lets the task run on by itself.
    pub fn detach(self) {}

    /// Ends the task at its current `await`, and does not wait for that. The loop drops the future
    /// before it sleeps next. Without effect if the task has ended.
    ///
    /// [`cancel`](Self::cancel) also waits until the future is dropped.
    pub fn abort(&self) {
        self.join.is_cancelled.store(true, Ordering::Release);
        self.link.wake_by_ref();
    }

    /// Ends the task as [`abort`](Self::abort) does. Returns a future that is ready once the task's
    /// future is dropped, with the task's result if it had one already.
    ///
    /// The request is made by this call: dropping the returned future takes nothing back.
    ///
    /// ```
    /// # use femtows::{WSLoop, WSLoopConfig};
    /// # use std::time::Duration;
    /// # let mut event_loop = WSLoop::new(WSLoopConfig::default())?;
    /// # let handle = event_loop.handle();
    /// # event_loop.block_on(async move {
    /// let sleep = handle.sleep(Duration::from_secs(3600));
    /// assert_eq!(handle.spawn(sleep).cancel().await, None);
    /// # })?;
    /// # Ok::<(), femtows::WSError>(())
    /// ```
    pub fn cancel(self) -> impl Future<Output = Option<T>> {
        self.abort();
        Cancelled(self)
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

/// The wait for a cancelled task; see [`WSTask::cancel`].
struct Cancelled<T>(WSTask<T>);

impl<T> Future for Cancelled<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.poll_outcome(cx).map(|outcome| outcome?.ok())
    }
}
