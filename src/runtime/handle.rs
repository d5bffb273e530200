use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::runtime::{WSError, WSMetrics, WSPhase};

use super::any_map::AnyMap;
use super::core::LoopCore;
use super::remote::WSLoopRemote;
use super::tasks::{WSTask, WSTaskScope};
use super::timers::{TimerAction, TimerId};

/// What code on the loop's own thread can ask of the loop. Cheap to clone; stays on this thread.
///
/// When the loop is gone, nothing that is asked for here happens any more.
#[derive(Clone)]
pub struct WSLoopHandle {
    core: Rc<LoopCore>,
}

impl WSLoopHandle {
    pub(crate) fn new(core: Rc<LoopCore>) -> Self {
        Self { core }
    }

    pub(crate) fn core(&self) -> &Rc<LoopCore> {
        &self.core
    }

    /// The loop's time: one reading of the clock per turn.
    pub fn now(&self) -> Instant {
        self.core.now()
    }

    /// Runs a future on the loop. It is polled first in this dispatch, or in the next turn.
    pub fn spawn<F>(&self, future: F) -> WSTask<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        self.core.tasks().spawn(future)
    }

    /// Returns this loop's value of type `T`, made with [`Default`] on first use: what connections,
    /// timers and tasks of one thread share, such as a list of subscribers. Each loop has a value
    /// of its own; use `Cell` or `RefCell` inside to change it.
    ///
    /// The values are dropped with the loop, after all connections have ended.
    ///
    /// ```
    /// # use femtows::*;
    /// # use std::cell::Cell;
    /// #[derive(Default)]
    /// struct Counters {
    ///     frames: Cell<u64>,
    /// }
    ///
    /// # let event_loop = WSLoop::new(WSLoopConfig::default())?;
    /// let counters = event_loop.handle().local::<Counters>();
    /// counters.frames.set(1);
    /// assert_eq!(event_loop.handle().local::<Counters>().frames.get(), 1);
    /// # Ok::<(), WSError>(())
    /// ```
    pub fn local<T: Default + 'static>(&self) -> Rc<T> {
        let values = self.core.local::<AnyMap>();
        if let Some(value) = values.get() {
            return value;
        }
        let made = Rc::new(T::default());
        // Making it may have made one before. A loop that is gone keeps none: it would never be
        // dropped if it held the loop.
        values.get().unwrap_or_else(|| {
            if !self.core.is_closed() {
                values.set(Rc::clone(&made));
            }
            made
        })
    }

    /// Returns a scope for tasks: they end when it is dropped.
    pub fn task_scope(&self) -> WSTaskScope {
        WSTaskScope::new(Rc::clone(&self.core))
    }

    /// Done when `duration` has passed.
    pub fn sleep(&self, duration: Duration) -> WSSleep {
        self.sleep_until(self.now().checked_add(duration))
    }

    /// Done at `deadline`; `None` is never.
    pub(crate) fn sleep_until(&self, deadline: Option<Instant>) -> WSSleep {
        WSSleep { core: Rc::clone(&self.core), deadline, timer: None }
    }

    /// The result of `future`, unless it takes longer than `duration`; then it is dropped.
    ///
    /// # Errors
    /// [`WSError::Timeout`].
    pub async fn timeout<F: Future>(&self, duration: Duration, future: F) -> Result<F::Output, WSError> {
        let sleep = self.sleep(duration);
        race(sleep, future).await.ok_or(WSError::Timeout { phase: WSPhase::Operation, timeout: duration })
    }

    /// [`timeout`](Self::timeout) at an absolute time.
    ///
    /// # Errors
    /// [`WSError::Timeout`].
    pub async fn timeout_at<F: Future>(&self, deadline: Instant, future: F) -> Result<F::Output, WSError> {
        let timeout = deadline.saturating_duration_since(self.now());
        let sleep = self.sleep_until(Some(deadline));
        race(sleep, future).await.ok_or(WSError::Timeout { phase: WSPhase::Operation, timeout })
    }

    /// Calls `f` once after `delay`. Dropping the returned timer cancels it; [`WSTimer::detach`] lets it be.
    pub fn call_later(&self, delay: Duration, f: impl FnOnce() + 'static) -> WSTimer {
        let deadline = self.now().checked_add(delay);
        let timer = deadline.map(|deadline| self.core.add_action(deadline, TimerAction::Call(Box::new(f))));
        WSTimer { core: Rc::clone(&self.core), timer }
    }

    /// Calls `f` once, after the current callback has returned and before the loop sleeps.
    pub fn call_soon(&self, f: impl FnOnce() + 'static) {
        self.core.defer_call(f);
    }

    /// Ends [`WSLoop::run`](crate::WSLoop::run) after the current turn. Connections stay as they are.
    pub fn stop(&self) {
        self.core.inbox().request_stop();
    }

    /// The twin for other threads.
    pub fn remote(&self) -> WSLoopRemote {
        self.core.remote()
    }

    /// What this loop counts, for any thread to read.
    pub fn metrics(&self) -> Arc<WSMetrics> {
        Arc::clone(self.core.metrics())
    }

    /// Number of slots in use: listening sockets, openings and open connections.
    pub fn slots(&self) -> usize {
        self.core.slots_in_use()
    }

    /// Bytes that the loop keeps for reuse, beside its receive buffer: at most [`WSLoopConfig::retained_memory`], and the buffers for
    /// records of TLS, about 200 KiB once there was TLS on the loop.
    ///
    /// [`WSLoopConfig::retained_memory`]: crate::WSLoopConfig::retained_memory
    pub fn retained_memory(&self) -> usize {
        self.core.retained()
    }
}

impl fmt::Debug for WSLoopHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WSLoopHandle").field("slots", &self.slots()).finish_non_exhaustive()
    }
}

/// `None` if the sleep is over before the future is.
async fn race<F: Future>(mut sleep: WSSleep, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        Pin::new(&mut sleep).poll(cx).map(|()| None)
    })
    .await
}

/// Done at a given time; see [`WSLoopHandle::sleep`].
pub struct WSSleep {
    core: Rc<LoopCore>,
    /// `None`: too far away to be represented, so never.
    deadline: Option<Instant>,
    /// Set while the timer may be in the queue.
    timer: Option<TimerId>,
}

impl Future for WSSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        if deadline <= self.core.now() {
            return Poll::Ready(());
        }
        let mut waker = cx.waker().clone();
        let waits = self.timer.is_some_and(|timer| self.core.swap_waker(timer, &mut waker));
        if !waits {
            self.timer = Some(self.core.add_action(deadline, TimerAction::Wake(waker)));
        }
        Poll::Pending
    }
}

impl Drop for WSSleep {
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            self.core.cancel_timer(timer);
        }
    }
}

impl fmt::Debug for WSSleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WSSleep").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

/// A call that is due later; see [`WSLoopHandle::call_later`]. Dropping it cancels the call.
#[must_use = "dropping the timer cancels the call; say `.detach()` to let it be"]
pub struct WSTimer {
    core: Rc<LoopCore>,
    /// `None` once detached.
    timer: Option<TimerId>,
}

impl WSTimer {
    /// Lets the call happen whatever becomes of this handle.
    pub fn detach(mut self) {
        self.timer = None;
    }

    /// Cancels the call, if it has not happened.
    pub fn cancel(self) {}
}

impl Drop for WSTimer {
    fn drop(&mut self) {
        if let Some(timer) = self.timer {
            self.core.cancel_timer(timer);
        }
    }
}

impl fmt::Debug for WSTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WSTimer").field("timer", &self.timer).finish_non_exhaustive()
    }
}
