//! The inside of the loop that every connection, timer and task shares.

use std::any::Any;
use std::cell::{Cell, RefCell, RefMut};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use mio::Registry;

use crate::buf::{BufferPool, RecvBuffer};
use crate::mask::MaskKeys;
use crate::runtime::{WSListenerError, WSLoopConfig, WSMetrics};
use crate::sys;

use super::any_map::AnyMap;
use super::buffers::Buffers;
use super::deferred::{Deferred, Pending};
use super::handle::WSLoopHandle;
use super::inbox::{Inbox, LoopWaker, Mail, new_waker};
use super::per_loop::{PerLoop, Store};
use super::remote::WSLoopRemote;
use super::slots::{Slots, Token};
use super::source::{Readiness, Shutdown, Source, TimerKind};
use super::tasks::Executor;
use super::timers::{TimerAction, TimerId, Timers};

/// How often deferred work, tasks and flushes may make more of each other before I/O gets its turn.
const SETTLE_ROUNDS: usize = 16;

/// Returns cryptographically secure random bytes.
pub(crate) fn random<const N: usize>(core: &LoopCore) -> [u8; N] {
    let mut bytes = [0; N];
    core.keys().fill(&mut bytes);
    bytes
}

/// # Invariants
/// - No `RefCell` here is borrowed while user code runs: callbacks, factories, wakers, task polls, drops of user values.
pub(crate) struct LoopCore {
    config: WSLoopConfig,
    registry: Registry,
    slots: RefCell<Slots<Rc<dyn Source>>>,
    timers: RefCell<Timers>,
    tasks: Executor,
    inbox: Arc<Inbox>,
    waker: Arc<LoopWaker>,
    buffers: Buffers,
    keys: RefCell<MaskKeys>,
    store: Store,
    metrics: Arc<WSMetrics>,
    /// Frames delivered; `metrics` is told after each run of them.
    delivered: Cell<u64>,
    deferred: Pending<Deferred>,
    /// Sources to drive at the end of the dispatch.
    dirty: Pending<Rc<dyn Source>>,
    /// Slots that have more to do without a new event from the kernel; each at most once, which its mark says.
    ready: RefCell<VecDeque<Token>>,
    /// Time of this turn: read once after the poll.
    now: Cell<Instant>,
    virtual_time: Cell<bool>,
    /// Whether the loop is dispatching: sends are gathered and flushed at the end.
    dispatching: Cell<bool>,
    /// Whether deferred work runs. It may deliver frames, between which deferred work is due: that must not nest without end.
    running_deferred: Cell<bool>,
    /// The loop is being dropped: nothing new may begin.
    closed: Cell<bool>,
    /// The loop is gone: nothing may be left behind on it any more.
    finished: Cell<bool>,
}

impl LoopCore {
    pub(crate) fn new(config: WSLoopConfig, registry: Registry, now: Instant) -> io::Result<Rc<Self>> {
        let waker = new_waker(&registry)?;
        let inbox = Arc::new(Inbox::new(Arc::clone(&waker), config.inbox_limit));
        Ok(Rc::new(Self {
            registry,
            slots: RefCell::new(Slots::new()),
            timers: RefCell::default(),
            tasks: Executor::new(Arc::clone(&inbox)),
            metrics: Arc::clone(inbox.metrics()),
            inbox,
            waker,
            buffers: Buffers::new(&config),
            keys: RefCell::new(MaskKeys::new()),
            store: Store::default(),
            delivered: Cell::new(0),
            deferred: Pending::default(),
            dirty: Pending::default(),
            ready: RefCell::default(),
            now: Cell::new(now),
            virtual_time: Cell::new(false),
            dispatching: Cell::new(false),
            running_deferred: Cell::new(false),
            closed: Cell::new(false),
            finished: Cell::new(false),
            config,
        }))
    }

    pub(crate) fn config(&self) -> &WSLoopConfig {
        &self.config
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(crate) fn metrics(&self) -> &Arc<WSMetrics> {
        &self.metrics
    }

    /// Returns the pool of buffers, for whoever borrows it only if it must.
    #[inline]
    pub(crate) fn pool_cell(&self) -> &RefCell<BufferPool> {
        self.buffers.pool_cell()
    }

    /// Borrows the pool of buffers. Not to be held while user code runs.
    #[inline]
    pub(crate) fn pool(&self) -> RefMut<'_, BufferPool> {
        self.pool_cell().borrow_mut()
    }

    /// Borrows the generator of masking keys. Not to be held while user code runs.
    #[inline]
    pub(crate) fn keys(&self) -> RefMut<'_, MaskKeys> {
        self.keys.borrow_mut()
    }

    /// Returns the state of type `T` that this loop has, made on first use. Not for every message.
    pub(crate) fn local<T: PerLoop>(&self) -> Rc<T> {
        self.store.get(&self.config)
    }

    /// Returns the bytes that the loop keeps for reuse, beside its receive buffer.
    pub(super) fn retained(&self) -> usize {
        let mut bytes = self.pool().retained();
        self.store.for_each(|entry| bytes += entry.retained());
        bytes
    }

    pub(super) fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    pub(super) fn waker(&self) -> &Arc<LoopWaker> {
        &self.waker
    }

    /// Returns a handle for other threads.
    pub(crate) fn remote(&self) -> WSLoopRemote {
        WSLoopRemote::new(Arc::clone(&self.inbox))
    }

    /// The time of this turn; between turns, the time.
    #[inline]
    pub(crate) fn now(&self) -> Instant {
        if !self.dispatching.get() && !self.virtual_time.get() {
            self.now.set(Instant::now());
        }
        self.now.get()
    }

    /// The time as exact as it gets: a reading of the clock, which `now` mostly is not.
    pub(crate) fn clock(&self) -> Instant {
        if self.virtual_time.get() { self.now.get() } else { Instant::now() }
    }

    /// Time passes only by `set_now` from here on.
    #[cfg(any(test, feature = "testkit"))]
    pub(crate) fn use_virtual_time(&self) {
        self.virtual_time.set(true);
    }

    #[cfg(any(test, feature = "testkit"))]
    pub(crate) fn set_now(&self, now: Instant) {
        self.now.set(now);
    }

    #[inline]
    pub(crate) fn is_dispatching(&self) -> bool {
        self.dispatching.get()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    // --- slots -------------------------------------------------------------------------------------------------------------

    pub(crate) fn insert<S: Source>(&self, source: &Rc<S>) -> Token {
        self.slots.borrow_mut().insert(Rc::clone(source) as Rc<dyn Source>)
    }

    /// Inserts a source that keeps its token. `make` does not use the loop.
    pub(crate) fn insert_with<S: Source>(&self, make: impl FnOnce(Token) -> S) -> Rc<S> {
        let mut slots = self.slots.borrow_mut();
        let source = Rc::new(make(slots.next_token()));
        slots.insert(Rc::clone(&source) as Rc<dyn Source>);
        source
    }

    pub(super) fn any_source(&self, token: Token) -> Option<Rc<dyn Source>> {
        self.slots.borrow().get(token).cloned()
    }

    /// Returns the source in this slot if it is of type `S`.
    pub(crate) fn source<S: Source>(&self, token: Token) -> Option<Rc<S>> {
        (self.any_source(token)? as Rc<dyn Any>).downcast().ok()
    }

    /// Returns the sources of type `S` for which `wanted` is true.
    ///
    /// The slab is searched for them: a list of open connections would have to be kept in step with
    /// it, and takes memory for each.
    pub(crate) fn sources<S: Source>(&self, wanted: impl Fn(&S) -> bool) -> Vec<Rc<S>> {
        let slots = self.slots.borrow();
        let is_wanted = |source: &&Rc<dyn Source>| {
            let source: &dyn Any = &***source;
            source.downcast_ref().is_some_and(&wanted)
        };
        let found = slots.iter().filter(is_wanted).map(|source| Rc::clone(source) as Rc<dyn Any>);
        found.filter_map(|source| source.downcast().ok()).collect()
    }

    /// Puts what follows a handshake into its slot; the token stays.
    pub(crate) fn replace<S: Source>(&self, token: Token, source: &Rc<S>) -> Option<Rc<dyn Source>> {
        let mut slots = self.slots.borrow_mut();
        slots.get_mut(token).map(|place| std::mem::replace(place, Rc::clone(source) as Rc<dyn Source>))
    }

    /// Frees a slot. What was in it is returned, so that it is dropped outside of the borrow.
    pub(crate) fn remove(&self, token: Token) -> Option<Rc<dyn Source>> {
        self.slots.borrow_mut().remove(token)
    }

    pub(crate) fn slots_in_use(&self) -> usize {
        self.slots.borrow().len()
    }

    /// Returns how many sources of each kind there are.
    pub(super) fn source_kinds(&self) -> BTreeMap<&'static str, usize> {
        let mut kinds = BTreeMap::new();
        for source in self.slots.borrow().iter() {
            *kinds.entry(source.kind()).or_default() += 1;
        }
        kinds
    }

    /// Shuts all sources down. Returns the tokens of those that will free their slots.
    pub(super) fn shut_down(&self, how: Shutdown<'_>) -> Vec<Token> {
        let sources: Vec<_> = {
            let slots = self.slots.borrow();
            slots.entries().map(|(token, source)| (token, Rc::clone(source))).collect()
        };
        sources.into_iter().filter_map(|(token, source)| source.shut_down(how).then_some(token)).collect()
    }

    /// Prefetches the memory of these sources.
    #[inline(never)]
    pub(super) fn prefetch(&self, tokens: impl Iterator<Item = Token>) {
        let slots = self.slots.borrow();
        tokens.filter_map(|token| slots.get(token)).for_each(|source| sys::prefetch(&**source));
    }

    // --- timers ------------------------------------------------------------------------------------------------------------

    /// Sets a timer of the source in this slot.
    pub(crate) fn add_timer(&self, deadline: Instant, token: Token, kind: TimerKind) -> TimerId {
        self.add_action(deadline, TimerAction::Source(token, kind))
    }

    pub(super) fn add_action(&self, deadline: Instant, action: TimerAction) -> TimerId {
        if self.finished.get() {
            return TimerId::never(deadline);
        }
        self.timers.borrow_mut().insert(deadline, action)
    }

    pub(crate) fn cancel_timer(&self, id: TimerId) {
        let cancelled = self.timers.borrow_mut().cancel(id);
        drop(cancelled);
    }

    /// See [`Timers::swap_waker`].
    pub(super) fn swap_waker(&self, id: TimerId, waker: &mut Waker) -> bool {
        self.timers.borrow_mut().swap_waker(id, waker)
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.timers.borrow().next_deadline()
    }

    /// Fires every timer whose time has come.
    pub(super) fn run_timers(self: &Rc<Self>) {
        let horizon = self.timers.borrow().horizon();
        loop {
            let due = self.timers.borrow_mut().pop_due(self.now(), horizon);
            match due {
                None => return,
                Some(TimerAction::Source(token, kind)) => {
                    if let Some(source) = self.any_source(token) {
                        source.timer(kind);
                    }
                }
                // The waker may be the application's own.
                Some(TimerAction::Wake(waker)) => wake(waker),
                Some(TimerAction::Call(call)) => guard("a timer", call),
            }
            self.settle();
        }
    }

    // --- dispatch ----------------------------------------------------------------------------------------------------------

    /// Sends made inside `work` are gathered; they leave before this returns. The clock is read once, at the beginning.
    pub(crate) fn dispatch_scope(self: &Rc<Self>, work: impl FnOnce()) {
        self.now();
        let within = Within::enter(&self.dispatching);
        work();
        if !within.nested {
            self.settle();
            if self.config.measure_callbacks {
                self.metrics.turn_took(self.clock().saturating_duration_since(self.now.get()));
            }
        }
    }

    /// Runs one iteration: `serve`, which serves the events, then the ready list, the inbox and the
    /// timers.
    pub(crate) fn iterate(self: &Rc<Self>, serve: impl FnOnce()) {
        self.dispatch_scope(|| {
            serve();
            self.run_ready();
            self.run_inbox();
            self.run_timers();
        });
    }

    /// Serves one slot, then lets everything leave that came of it.
    pub(crate) fn ready(self: &Rc<Self>, token: Token, readiness: Readiness) {
        let Some(source) = self.any_source(token) else { return };
        source.ready(readiness);
        self.settle();
    }

    /// Asks for a further turn of this slot. Asking twice is asking once: a slot that is busy in every turn must not be served more
    /// and more often.
    pub(crate) fn make_ready(&self, token: Token) {
        if self.slots.borrow_mut().mark(token) {
            self.ready.borrow_mut().push_back(token);
        }
    }

    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.borrow().is_empty()
    }

    /// Serves those that asked for a further turn before this one began.
    pub(crate) fn run_ready(self: &Rc<Self>) {
        let count = self.ready.borrow().len();
        if count == 0 {
            return;
        }
        self.store.for_each(|entry| entry.ready_list_begins(&self.config));
        for _ in 0..count {
            let Some(token) = self.ready.borrow_mut().pop_front() else { break };
            self.slots.borrow_mut().unmark(token);
            self.ready(token, Readiness::READ_ON);
        }
        self.store.for_each(PerLoop::ready_list_ends);
    }

    /// Handles what other threads posted, and makes the tasks ready that they woke.
    pub(super) fn run_inbox(self: &Rc<Self>) {
        if self.inbox.is_empty() {
            return;
        }
        let handle = WSLoopHandle::new(Rc::clone(self));
        let batches = self.inbox.take();
        self.tasks.collect();
        for batch in batches {
            for mail in batch.mail {
                // A panic must not lose the requests behind this one.
                match mail {
                    Mail::Call(call) => guard("a posted call", || call(&handle)),
                    Mail::Command(to, command) => {
                        if let Some(source) = self.any_source(to) {
                            guard("a command", || source.command(command));
                        }
                    }
                }
            }
            self.inbox.release(batch.size);
        }
        self.settle();
    }

    // --- the end of a dispatch ---------------------------------------------------------------------------------------------

    /// Calls `call` once, when the current callback has returned.
    pub(super) fn defer_call(&self, call: impl FnOnce() + 'static) {
        self.defer(Deferred::Call(Box::new(call)));
    }

    /// Calls [`Source::deferred`] when the current callback has returned, whether the source is
    /// still in its slot or not.
    pub(crate) fn defer_source<S: Source>(&self, source: &Rc<S>, kind: u8) {
        self.defer(Deferred::Source(Rc::clone(source) as Rc<dyn Source>, kind));
    }

    fn defer(&self, deferred: Deferred) {
        if !self.finished.get() {
            self.deferred.push(deferred);
        }
    }

    #[inline]
    pub(crate) fn has_deferred(&self) -> bool {
        !self.deferred.is_empty()
    }

    /// Queues a source for [`Source::drive`] at the end of the dispatch. The source keeps itself
    /// from being queued twice.
    pub(crate) fn mark_dirty<S: Source>(&self, source: &Rc<S>) {
        self.dirty.push(Rc::clone(source) as Rc<dyn Source>);
    }

    #[inline]
    pub(crate) fn tasks(&self) -> &Executor {
        &self.tasks
    }

    /// Whether there is work that no event will announce.
    pub(crate) fn has_work(&self) -> bool {
        self.has_deferred()
            || self.has_ready()
            || !self.tasks.is_empty()
            || !self.inbox.is_empty()
            || !self.dirty.is_empty()
    }

    /// Whether deferred callbacks or tasks are to run.
    #[inline]
    pub(crate) fn is_due(&self) -> bool {
        self.has_deferred() | !self.tasks.is_empty()
    }

    /// Runs the deferred callbacks and the tasks that are due; again while these make more of each
    /// other, within bounds.
    #[inline(never)]
    pub(crate) fn run_due(self: &Rc<Self>) {
        self.run_rounds(|| {});
    }

    /// Runs what became due during a dispatch: deferred callbacks, then woken tasks, then
    /// [`Source::drive`] of every dirty source; again while these make more of each other.
    #[inline]
    pub(super) fn settle(self: &Rc<Self>) {
        // One test for all three: mostly nothing is due but the connection that was dispatched.
        if self.is_due() | !self.dirty.is_empty() {
            self.settle_due();
        }
    }

    fn settle_due(self: &Rc<Self>) {
        self.run_rounds(|| {
            while let Some(source) = self.dirty.pop() {
                source.drive();
            }
        });
    }

    #[inline]
    fn run_rounds(self: &Rc<Self>, finish_round: impl Fn()) {
        for _ in 0..SETTLE_ROUNDS {
            if self.has_deferred() {
                self.run_deferred();
            }
            if !self.tasks.is_empty() {
                self.tasks.run_ready();
            }
            finish_round();
            if !self.is_due() {
                return;
            }
        }
    }

    /// Runs the deferred callbacks that are queued now. Called from one of them, leaves them to the outer call.
    #[inline(never)]
    pub(crate) fn run_deferred(self: &Rc<Self>) {
        let within = Within::enter(&self.running_deferred);
        if within.nested {
            return;
        }
        // Not those that come meanwhile.
        for _ in 0..self.deferred.len() {
            match self.deferred.pop() {
                Some(Deferred::Source(source, kind)) => source.deferred(kind),
                Some(Deferred::Call(call)) => guard("a deferred call", call),
                None => break,
            }
        }
    }

    /// Counts a frame that was delivered. Whether deferred callbacks became due meanwhile.
    #[inline]
    pub(crate) fn frame_delivered(&self) -> bool {
        self.delivered.set(self.delivered.get().wrapping_add(1));
        self.has_deferred()
    }

    /// Updates the metrics after a run of delivered frames.
    #[inline]
    pub(crate) fn frames_delivered(&self) {
        self.metrics.frames_received(self.delivered.get());
    }

    // --- receive buffers ---------------------------------------------------------------------------------------------------

    /// Returns the loop's receive buffer, empty; another one if a dispatch has it.
    #[inline]
    #[expect(clippy::unnecessary_box_returns, reason = "a buffer changes hands as one pointer")]
    pub(crate) fn take_recv(&self) -> Box<RecvBuffer> {
        self.buffers.take_recv()
    }

    /// Takes back a receive buffer, the loop's or any other.
    #[inline]
    pub(crate) fn give_recv(&self, buffer: Box<RecvBuffer>) {
        self.buffers.give_recv(buffer);
    }

    // --- the end -----------------------------------------------------------------------------------------------------------

    /// Ends everything that lives on the loop; each open connection gets its `on_ws_disconnected`.
    pub(crate) fn close(self: &Rc<Self>) {
        self.closed.set(true);
        self.dispatching.set(true);
        let locals = self.local::<AnyMap>();
        loop {
            let any_source = self.slots_in_use() > 0;
            self.shut_down(Shutdown::LoopDropped);
            self.settle();
            self.ready.borrow_mut().clear();
            let timers = self.timers.borrow_mut().take_all();
            let mail = self.inbox.close();
            let dropped_tasks = self.tasks.clear() | locals.clear();
            // Dropping futures and callbacks runs user code, which may have left something behind.
            if !any_source && timers.is_empty() && mail.is_empty() && !dropped_tasks && !self.has_work() {
                break;
            }
        }
        self.finished.set(true);
        // What is sent from here on has no effect. Nothing is to wait for the end of a dispatch.
        self.dispatching.set(false);
        self.tasks.close();
    }
}

/// A flag that is set until this is dropped, whether user code returns or panics.
struct Within<'a> {
    flag: &'a Cell<bool>,
    /// It was set before.
    nested: bool,
}

impl<'a> Within<'a> {
    fn enter(flag: &'a Cell<bool>) -> Self {
        Self { flag, nested: flag.replace(true) }
    }
}

impl Drop for Within<'_> {
    fn drop(&mut self) {
        self.flag.set(self.nested);
    }
}

/// Runs user code; a panic is logged and goes no further.
pub(crate) fn guard(what: &'static str, call: impl FnOnce()) {
    if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(call)) {
        log_limited!(Error, what, "{what} failed: {}", WSListenerError::from_panic(&*panic));
    }
}

/// Wakes a task or a future of the application, whose waker may be user code. Not under a borrow.
pub(crate) fn wake(waker: Waker) {
    guard("a waker", || waker.wake());
}
