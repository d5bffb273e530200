use std::fmt;
use std::future::Future;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use mio::{Events, Poll as MioPoll};

use crate::proto::WSCloseCode;
use crate::runtime::{WSBusyPoll, WSError, WSLoopConfig};
use crate::sys;

use super::core::LoopCore;
use super::handle::WSLoopHandle;
use super::inbox::LoopWaker;
use super::slots::Token;
use super::source::{Command, Readiness, Shutdown};

/// Number of slots from which on connections are not expected to be in the caches.
const MANY_SLOTS: usize = 256;

/// Number of events whose sources are prefetched at a time.
const LOOK_AHEAD: usize = 8;

/// A single-threaded event loop: the home of servers, connections, timers and tasks.
///
/// It runs on the thread that made it. Dropping it closes every connection, each with its `on_ws_disconnected`, and every server.
///
/// ```
/// use femtows::{WSLoop, WSLoopConfig};
/// use std::time::Duration;
///
/// let mut event_loop = WSLoop::new(WSLoopConfig::default())?;
/// let handle = event_loop.handle();
/// let answer = event_loop.block_on(async move {
///     handle.sleep(Duration::from_millis(1)).await;
///     42
/// })?;
/// assert_eq!(answer, 42);
/// # Ok::<(), femtows::WSError>(())
/// ```
pub struct WSLoop {
    poll: MioPoll,
    events: Events,
    core: Rc<LoopCore>,
    /// When something last happened, for spinning.
    last_active: Instant,
}

impl WSLoop {
    /// A loop with nothing to do yet.
    ///
    /// # Errors
    /// [`WSError::Io`] if the system has no descriptors left for it, or if the budget of
    /// [`busy_poll`](WSLoopConfig::busy_poll) takes a capability that the process lacks.
    pub fn new(config: WSLoopConfig) -> Result<Self, WSError> {
        let failed = |error| WSError::io("cannot create an event loop", error);
        let poll = MioPoll::new().map_err(failed)?;
        if let Some(busy_poll) = config.busy_poll {
            set_busy_poll(&poll, busy_poll)?;
        }
        let registry = poll.registry().try_clone().map_err(failed)?;
        let events = Events::with_capacity(config.events_per_turn);
        let now = Instant::now();
        let core = LoopCore::new(config, registry, now).map_err(failed)?;
        Ok(Self { poll, events, core, last_active: now })
    }

    /// The loop, for code that runs on it.
    pub fn handle(&self) -> WSLoopHandle {
        WSLoopHandle::new(Rc::clone(&self.core))
    }

    /// Runs until [`WSLoopHandle::stop`] or [`WSLoopRemote::stop`](crate::WSLoopRemote::stop). It may be run again.
    ///
    /// # Errors
    /// [`WSError::Io`] if the system cannot be polled.
    pub fn run(&mut self) -> Result<(), WSError> {
        while !self.core.inbox().stop_requested() {
            self.run_once(None)?;
        }
        self.core.inbox().clear_stop();
        Ok(())
    }

    /// One turn: waits for at most `timeout` (`None`: until something happens; zero: not at all), then serves what is due.
    ///
    /// # Errors
    /// [`WSError::Io`] if the system cannot be polled.
    pub fn run_once(&mut self, timeout: Option<Duration>) -> Result<(), WSError> {
        let core = Rc::clone(&self.core);
        self.turn_unless(timeout, || core.inbox().stop_requested())
    }

    /// Runs until `future` is done. A stop asked for meanwhile is left to the next [`run`](Self::run).
    ///
    /// The future is polled between the turns of the loop; a [spawned](WSLoopHandle::spawn) task is polled within them, and so
    /// answers sooner.
    ///
    /// # Errors
    /// [`WSError::Io`] if the system cannot be polled.
    pub fn block_on<F: Future>(&mut self, future: F) -> Result<F::Output, WSError> {
        let mut future = pin!(future);
        let woken =
            Arc::new(BlockOnWaker { woken: AtomicBool::new(true), waker: Arc::clone(self.core.waker()) });
        let waker = Waker::from(Arc::clone(&woken));
        loop {
            if woken.woken.swap(false, Ordering::SeqCst) {
                let mut polled = Ok(Poll::Pending);
                let mut poll = || future.as_mut().poll(&mut Context::from_waker(&waker));
                // A panic is the caller's, but only after the dispatch has come to its end.
                self.core.dispatch_scope(|| polled = panic::catch_unwind(AssertUnwindSafe(&mut poll)));
                match polled {
                    Ok(Poll::Ready(output)) => return Ok(output),
                    Ok(Poll::Pending) => {}
                    Err(cause) => panic::resume_unwind(cause),
                }
            }
            let timeout = woken.woken.load(Ordering::SeqCst).then_some(Duration::ZERO);
            self.turn_unless(timeout, || woken.woken.load(Ordering::SeqCst))?;
        }
    }

    /// Closes every connection with this code and reason and runs until all are gone, or until `deadline` has passed; then those that
    /// are left are aborted. Servers stop accepting. Returns how many had to be aborted.
    ///
    /// # Errors
    /// [`WSError::Io`] if the system cannot be polled.
    pub fn shutdown(
        &mut self,
        code: WSCloseCode,
        reason: &str,
        deadline: Duration,
    ) -> Result<usize, WSError> {
        let mut closing = Vec::new();
        self.core.dispatch_scope(|| {
            self.core.shut_down(Shutdown::StopAccepting);
            closing = self.core.shut_down(Shutdown::Close(code, reason));
        });
        let until = self.core.now().checked_add(deadline);
        loop {
            closing.retain(|token| self.core.any_source(*token).is_some());
            if closing.is_empty() {
                return Ok(0);
            }
            let left = until.map(|until| until.saturating_duration_since(self.core.now()));
            if left == Some(Duration::ZERO) {
                break;
            }
            // A stop requested meanwhile is left to the next `run`.
            self.turn_unless(left, || false)?;
        }
        let left: Vec<_> = closing.into_iter().filter_map(|token| self.core.any_source(token)).collect();
        let aborted = left.len();
        self.core.dispatch_scope(|| {
            for source in left {
                source.command(Command::Disconnect { graceful: false });
            }
        });
        Ok(aborted)
    }

    /// A turn that does not sleep if `woken` is true after the loop has announced its sleep.
    fn turn_unless(&mut self, timeout: Option<Duration>, woken: impl Fn() -> bool) -> Result<(), WSError> {
        let timeout = self.sleep_time(timeout, woken);
        let polled = self.poll.poll(&mut self.events, timeout);
        self.core.waker().awake();
        match polled {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                return Err(WSError::io("cannot poll for events", error));
            }
            Err(_) => self.events.clear(),
            Ok(()) => {}
        }
        self.dispatch();
        Ok(())
    }

    /// How long to wait for events: not at all if there is work or the loop spins, else until the next timer.
    fn sleep_time(&self, limit: Option<Duration>, woken: impl Fn() -> bool) -> Option<Duration> {
        if limit == Some(Duration::ZERO) || self.core.has_work() {
            return Some(Duration::ZERO);
        }
        let spins = |time| self.core.now().duration_since(self.last_active) < time;
        if self.core.config().spin.is_some_and(spins) {
            return Some(Duration::ZERO);
        }
        self.core.waker().going_to_sleep();
        if self.core.has_work() || woken() {
            return Some(Duration::ZERO);
        }
        let until_timer =
            self.core.next_deadline().map(|deadline| deadline.saturating_duration_since(Instant::now()));
        match (limit, until_timer) {
            (Some(limit), Some(timer)) => Some(limit.min(timer)),
            (limit, timer) => limit.or(timer),
        }
    }

    /// Serves all events, in order. With many connections, prefetches those of the next events.
    fn serve_events(core: &Rc<LoopCore>, events: &Events) {
        let prefetches = core.slots_in_use() >= MANY_SLOTS;
        let mut events = events.iter();
        for served in 0.. {
            if prefetches && served % LOOK_AHEAD == 0 {
                core.prefetch(events.clone().take(LOOK_AHEAD).map(|event| Token::from_mio(event.token())));
            }
            let Some(event) = events.next() else { return };
            if event.token() != WAKER {
                core.ready(Token::from_mio(event.token()), Readiness::of(event));
            }
        }
    }

    fn dispatch(&mut self) {
        let core = &self.core;
        core.iterate(|| {
            Self::serve_events(core, &self.events);
            if !self.events.is_empty() || core.has_work() {
                self.last_active = core.now();
            }
        });
    }
}

/// Runs a future on a loop of its own, with the loop's handle. Returns what the future returns, or the
/// error of the loop.
///
/// The loop has the default configuration and is dropped when the future is done: its connections end,
/// each with its `on_ws_disconnected`. Use [`WSLoop`] for a configuration, or to run the loop again.
///
/// ```
/// use femtows::WSError;
/// use std::time::Duration;
///
/// fn main() -> Result<(), WSError> {
///     femtows::run(async |handle| {
///         handle.sleep(Duration::from_millis(1)).await;
///         Ok(())
///     })
/// }
/// ```
///
/// # Errors
/// The future's own, and [`WSError::Io`] if the loop cannot be created or polled.
pub fn run<T, E: From<WSError>>(main: impl AsyncFnOnce(WSLoopHandle) -> Result<T, E>) -> Result<T, E> {
    let mut event_loop = WSLoop::new(WSLoopConfig::default())?;
    let handle = event_loop.handle();
    event_loop.block_on(main(handle))?
}

fn set_busy_poll(poll: &MioPoll, busy_poll: WSBusyPoll) -> Result<(), WSError> {
    match sys::set_busy_poll(poll, busy_poll.micros(), busy_poll.budget, busy_poll.prefer) {
        // A program may run on an older system, too, where it is only slower.
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            log::debug!("no busy polling, which needs Linux 6.9: {error}");
            Ok(())
        }
        outcome => outcome.map_err(|error| WSError::io("cannot set busy polling", error)),
    }
}

const WAKER: mio::Token = mio::Token(usize::MAX);

struct BlockOnWaker {
    woken: AtomicBool,
    waker: Arc<LoopWaker>,
}

impl Wake for BlockOnWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        self.waker.wake();
    }
}

impl Drop for WSLoop {
    fn drop(&mut self) {
        self.core.close();
    }
}

impl fmt::Debug for WSLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WSLoop").field("slots", &self.core.source_kinds()).finish_non_exhaustive()
    }
}
