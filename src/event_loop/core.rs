//! The inside of the loop that every connection, timer and task shares.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant;

use mio::Registry;

use crate::buf::{BufferPool, RecvBuffer};
use crate::config::WSLoopConfig;
use crate::mask::MaskKeys;
#[cfg(feature = "tls")]
use crate::net::TlsShared;
use crate::{WSListenerError, WSLoopHandle, WSMetrics};

use super::accept::Acceptor;
use super::budget::Budget;
use super::client_opening::Opening;
use super::connection::Conn;
use super::deferred::{Deferred, DeferredQueue, QueueOwner};
#[cfg(feature = "deflate")]
use super::deflate::LoopDeflate;
use super::inbox::{Inbox, LoopWaker, Mail, new_waker};
use super::server_opening::ServerOpening;
use super::slots::{Slots, Token};
use super::tasks::TaskQueue;
use super::timers::{TimerAction, TimerId, Timers};

/// How often deferred work, tasks and flushes may make more of each other before I/O gets its turn.
const SETTLE_ROUNDS: usize = 16;

/// A receive buffer that grew beyond this many bytes, and beyond four times the configured size, is not kept.
const MAX_GROWN: usize = 1024 * 1024;

/// What a slot holds.
#[derive(Clone)]
pub(crate) enum Slot {
    Acceptor(Rc<Acceptor>),
    ServerOpening(Rc<ServerOpening>),
    /// Weak: whoever awaits the opening owns it.
    ClientOpening(Weak<Opening>),
    Open(Rc<Conn>),
}

/// What the kernel says of a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Readiness {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The peer's half has ended, or the socket is in error: reading up to the end will show it.
    pub(crate) read_closed: bool,
}

impl Readiness {
    #[inline]
    pub(crate) fn of(event: &mio::event::Event) -> Self {
        let read_closed = event.is_read_closed() || event.is_error();
        Self { readable: event.is_readable() || read_closed, writable: event.is_writable(), read_closed }
    }

    /// Whether bytes have arrived, and that is all.
    #[inline]
    pub(crate) fn is_plain_data(self) -> bool {
        self.readable && !self.read_closed
    }

    /// Continue reading without an event.
    pub(crate) const READ_ON: Self = Self { readable: true, writable: false, read_closed: false };
}

/// Random bytes that nobody can foresee.
pub(crate) fn random<const N: usize>(core: &LoopCore) -> [u8; N] {
    let mut bytes = [0; N];
    core.keys.borrow_mut().fill(&mut bytes);
    bytes
}

/// # Invariants
/// - No `RefCell` here is borrowed while user code runs: callbacks, factories, wakers, task polls, drops of user values.
/// - `recv` is `None` only while a dispatch has the buffer.
/// - A connection is in `dirty` exactly if its dirty flag is set.
pub(crate) struct LoopCore {
    pub(crate) config: WSLoopConfig,
    pub(crate) registry: Registry,
    pub(crate) slots: RefCell<Slots<Slot>>,
    pub(crate) timers: RefCell<Timers>,
    pub(crate) tasks: Arc<TaskQueue>,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) waker: Arc<LoopWaker>,
    pub(crate) pool: RefCell<BufferPool>,
    pub(crate) budget: Budget,
    pub(crate) metrics: Arc<WSMetrics>,
    /// Frames delivered; `metrics` is told after each run of them.
    pub(crate) delivered: Cell<u64>,
    pub(crate) keys: RefCell<MaskKeys>,
    #[cfg(feature = "deflate")]
    pub(crate) deflate: Rc<LoopDeflate>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Rc<TlsShared>,
    /// The receive buffer of the loop.
    recv: Cell<Option<Box<RecvBuffer>>>,
    deferred: DeferredQueue,
    dirty: RefCell<VecDeque<Rc<Conn>>>,
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
            tasks: Arc::new(TaskQueue::new(Arc::clone(&inbox))),
            inbox,
            waker,
            pool: RefCell::new(BufferPool::new(config.retained_memory)),
            budget: Budget::new(&config),
            metrics: Arc::default(),
            delivered: Cell::new(0),
            keys: RefCell::new(MaskKeys::new()),
            #[cfg(feature = "deflate")]
            deflate: Rc::default(),
            #[cfg(feature = "tls")]
            tls: Rc::default(),
            recv: Cell::new(Some(Box::new(RecvBuffer::with_capacity(config.read_buffer_size)))),
            deferred: DeferredQueue::default(),
            dirty: RefCell::default(),
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

    pub(crate) fn insert(&self, slot: Slot) -> Token {
        self.slots.borrow_mut().insert(slot)
    }

    pub(crate) fn slot(&self, token: Token) -> Option<Slot> {
        self.slots.borrow().get(token).cloned()
    }

    pub(crate) fn conn(&self, token: Token) -> Option<Rc<Conn>> {
        match self.slots.borrow().get(token) {
            Some(Slot::Open(conn)) => Some(Rc::clone(conn)),
            _ => None,
        }
    }

    /// Puts what follows an opening into its slot; the token stays.
    pub(crate) fn replace(&self, token: Token, slot: Slot) -> Option<Slot> {
        let mut slots = self.slots.borrow_mut();
        slots.get_mut(token).map(|place| std::mem::replace(place, slot))
    }

    /// Frees a slot. What was in it is returned, so that it is dropped outside of the borrow.
    pub(crate) fn remove(&self, token: Token) -> Option<Slot> {
        self.slots.borrow_mut().remove(token)
    }

    /// No server of this loop accepts any more, and what it has accepted is not opened any more.
    pub(crate) fn drain_acceptors(&self) {
        let acceptors: Vec<_> = {
            let slots = self.slots.borrow();
            slots
                .iter()
                .filter_map(|slot| if let Slot::Acceptor(a) = slot { Some(Rc::clone(a)) } else { None })
                .collect()
        };
        for acceptor in acceptors {
            acceptor.drain();
        }
    }

    /// All open connections for which `wanted` is true.
    pub(crate) fn conns(&self, wanted: impl Fn(&Conn) -> bool) -> Vec<Rc<Conn>> {
        let slots = self.slots.borrow();
        let open = slots.iter().filter_map(|slot| match slot {
            Slot::Open(conn) if wanted(conn) => Some(Rc::clone(conn)),
            _ => None,
        });
        open.collect()
    }

    // --- timers ------------------------------------------------------------------------------------------------------------

    pub(crate) fn add_timer(&self, deadline: Instant, action: TimerAction) -> TimerId {
        if self.finished.get() {
            return TimerId::never(deadline);
        }
        self.timers.borrow_mut().insert(deadline, action)
    }

    pub(crate) fn cancel_timer(&self, id: TimerId) {
        let cancelled = self.timers.borrow_mut().cancel(id);
        drop(cancelled);
    }

    /// Fires every timer whose time has come.
    pub(crate) fn run_timers(self: &Rc<Self>) {
        let horizon = self.timers.borrow().horizon();
        loop {
            let due = self.timers.borrow_mut().pop_due(self.now(), horizon);
            match due {
                None => return,
                Some(TimerAction::Slot(token)) => self.slot_deadline(token),
                Some(TimerAction::Liveness(token)) => {
                    if let Some(conn) = self.conn(token) {
                        conn.liveness_due();
                    }
                }
                Some(TimerAction::Write(token)) => {
                    if let Some(conn) = self.conn(token) {
                        conn.write_due();
                    }
                }
                #[cfg(feature = "deflate")]
                Some(TimerAction::Compressor(token)) => {
                    if let Some(conn) = self.conn(token) {
                        conn.compressor_due();
                    }
                }
                Some(TimerAction::Wake(waker)) => waker.wake(),
                Some(TimerAction::Call(call)) => guard("a timer", call),
            }
            self.settle();
        }
    }

    fn slot_deadline(self: &Rc<Self>, token: Token) {
        match self.slot(token) {
            Some(Slot::Acceptor(acceptor)) => acceptor.resume(),
            Some(Slot::ServerOpening(opening)) => opening.deadline(),
            Some(Slot::ClientOpening(opening)) => {
                if let Some(opening) = opening.upgrade() {
                    opening.deadline();
                }
            }
            Some(Slot::Open(conn)) => conn.deadline(),
            None => {}
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

    /// Serves one slot, then lets everything leave that came of it.
    pub(crate) fn ready(self: &Rc<Self>, token: Token, readiness: Readiness) {
        match self.slot(token) {
            Some(Slot::Open(conn)) => conn.ready(readiness),
            Some(Slot::ServerOpening(opening)) => opening.ready(readiness),
            Some(Slot::ClientOpening(opening)) => {
                if let Some(opening) = opening.upgrade() {
                    opening.ready(readiness);
                }
            }
            Some(Slot::Acceptor(acceptor)) => acceptor.accept(),
            None => return,
        }
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
        #[cfg(feature = "tls")]
        self.tls.grant_handshakes(self.config.tls_handshakes_per_turn);
        let count = self.ready.borrow().len();
        for _ in 0..count {
            let Some(token) = self.ready.borrow_mut().pop_front() else { break };
            self.slots.borrow_mut().unmark(token);
            self.ready(token, Readiness::READ_ON);
        }
        #[cfg(feature = "tls")]
        self.tls.grant_handshakes(0);
    }

    /// Handles what other threads posted, and makes the tasks ready that they woke.
    pub(crate) fn run_inbox(self: &Rc<Self>) {
        if self.inbox.is_empty() {
            return;
        }
        let handle = WSLoopHandle::new(Rc::clone(self));
        let batches = self.inbox.take();
        self.tasks.collect();
        for batch in batches {
            batch.mail.into_iter().for_each(|mail| self.carry_out(&handle, mail));
            self.inbox.release(batch.size);
        }
        self.settle();
    }

    fn carry_out(self: &Rc<Self>, handle: &WSLoopHandle, mail: Mail) {
        match mail {
            Mail::Call(call) => guard("a posted call", || call(handle)),
            Mail::Send { to, msg_type, payload, options } => {
                if let Some(conn) = self.conn(to) {
                    conn.send_shared(msg_type, &payload, options);
                }
            }
            Mail::SendMessage { to, msg_type, payload, options } => {
                if let Some(conn) = self.conn(to) {
                    conn.send_shared_message(msg_type, &payload, options.compress);
                }
            }
            Mail::SendPrepared { to, frame } => {
                if let Some(conn) = self.conn(to) {
                    conn.send_prepared(&frame);
                }
            }
            Mail::SendPreparedMessage { to, message } => {
                if let Some(conn) = self.conn(to) {
                    conn.send_prepared_message(&message);
                }
            }
            Mail::SendClose { to, code, reason } => {
                if let Some(conn) = self.conn(to) {
                    conn.send_close(code, &reason);
                }
            }
            Mail::Disconnect { to, graceful } => {
                if let Some(conn) = self.conn(to) {
                    conn.disconnect(graceful);
                }
            }
        }
    }

    // --- the end of a dispatch ---------------------------------------------------------------------------------------------

    pub(crate) fn defer(&self, deferred: Deferred) {
        if !self.finished.get() {
            self.deferred.push(deferred);
        }
    }

    /// A queue of messages is full: before the next frame is delivered, woken tasks may make room; if they do not, its connection
    /// holds data.
    pub(crate) fn defer_crowded(&self, queue: Rc<dyn QueueOwner>) {
        if !self.finished.get() {
            self.deferred.push_crowded(queue);
        }
    }

    /// Returns `true` while deferred callbacks run: none run between the frames that they deliver.
    pub(crate) fn is_running_deferred(&self) -> bool {
        self.running_deferred.get()
    }

    #[inline]
    pub(crate) fn has_deferred(&self) -> bool {
        !self.deferred.is_empty()
    }

    pub(crate) fn mark_dirty(&self, conn: &Rc<Conn>) {
        self.dirty.borrow_mut().push_back(Rc::clone(conn));
    }

    /// Whether there is work that no event will announce.
    pub(crate) fn has_work(&self) -> bool {
        self.has_deferred()
            || self.has_ready()
            || !self.tasks.is_empty()
            || !self.inbox.is_empty()
            || !self.dirty.borrow().is_empty()
    }

    /// Whether deferred callbacks or tasks are to run.
    #[inline]
    pub(crate) fn is_due(&self) -> bool {
        self.has_deferred() || !self.tasks.is_empty()
    }

    /// Runs the deferred callbacks and the tasks that are due; again while these make more of each
    /// other, within bounds.
    #[inline(never)]
    pub(crate) fn run_due(self: &Rc<Self>) {
        for _ in 0..SETTLE_ROUNDS {
            if self.has_deferred() {
                self.run_deferred();
            }
            if !self.tasks.is_empty() {
                self.tasks.run_ready();
            }
            if !self.is_due() {
                return;
            }
        }
    }

    /// Runs what became due during a dispatch: deferred callbacks, then woken tasks, then the flush of every touched
    /// connection; again while these make more of each other.
    #[inline]
    pub(crate) fn settle(self: &Rc<Self>) {
        if self.is_due() || !self.dirty.borrow().is_empty() {
            self.settle_any();
        }
    }

    #[inline(never)]
    fn settle_any(self: &Rc<Self>) {
        for _ in 0..SETTLE_ROUNDS {
            if self.has_deferred() {
                self.run_deferred();
            }
            if !self.tasks.is_empty() {
                self.tasks.run_ready();
            }
            self.drive_dirty();
            if !self.is_due() {
                return;
            }
        }
    }

    fn drive_dirty(&self) {
        loop {
            let Some(conn) = self.dirty.borrow_mut().pop_front() else { return };
            conn.drive();
        }
    }

    /// Runs the deferred callbacks that are queued now. Called from one of them, leaves them to the outer call.
    #[inline(never)]
    pub(crate) fn run_deferred(self: &Rc<Self>) {
        let within = Within::enter(&self.running_deferred);
        if within.nested {
            return;
        }
        self.deferred.run(|deferred| match deferred {
            Deferred::Watermark(conn) => conn.run_watermark(),
            Deferred::Disconnected(conn) => conn.run_disconnected(),
            Deferred::UpgradeDecided(token) => {
                if let Some(Slot::ServerOpening(opening)) = self.slot(token) {
                    opening.decided();
                }
            }
            Deferred::Crowded(queue) => {
                self.tasks.run_ready();
                queue.hold_if_full();
            }
            Deferred::Call(call) => guard("a deferred call", call),
        });
    }

    /// Counts a frame that was delivered. Whether deferred callbacks became due meanwhile.
    #[inline]
    pub(crate) fn frame_delivered(&self) -> bool {
        self.delivered.set(self.delivered.get().wrapping_add(1));
        self.has_deferred()
    }

    // --- receive buffers ---------------------------------------------------------------------------------------------------

    /// The loop's receive buffer, empty; another one if a dispatch has it.
    #[inline]
    #[expect(clippy::unnecessary_box_returns, reason = "a buffer changes hands as one pointer")]
    pub(crate) fn take_recv(&self) -> Box<RecvBuffer> {
        self.recv.take().unwrap_or_else(|| self.pool.borrow_mut().take_recv(self.config.read_buffer_size))
    }

    /// Takes back a receive buffer, the loop's or any other. One that grew far beyond the size that was configured is let go: after a
    /// large frame the memory goes back.
    #[inline]
    pub(crate) fn give_recv(&self, mut buffer: Box<RecvBuffer>) {
        let size = self.config.read_buffer_size;
        if buffer.capacity() > MAX_GROWN.max(4 * size) {
            return;
        }
        match self.recv.take() {
            None if buffer.capacity() >= size => {
                buffer.clear();
                self.recv.set(Some(buffer));
            }
            loops => {
                self.recv.set(loops);
                self.pool.borrow_mut().give_recv(buffer);
            }
        }
    }

    // --- the end -----------------------------------------------------------------------------------------------------------

    /// Ends everything that lives on the loop; each open connection gets its `on_ws_disconnected`.
    pub(crate) fn close(self: &Rc<Self>) {
        self.closed.set(true);
        self.dispatching.set(true);
        loop {
            let slots: Vec<Slot> = self.slots.borrow().iter().cloned().collect();
            for slot in &slots {
                match slot {
                    Slot::Acceptor(acceptor) => acceptor.close(),
                    Slot::ServerOpening(opening) => opening.abandon(),
                    Slot::ClientOpening(opening) => {
                        if let Some(opening) = opening.upgrade() {
                            opening.abandon();
                        }
                    }
                    Slot::Open(conn) => conn.abort_for_loop(),
                }
            }
            self.settle();
            self.ready.borrow_mut().clear();
            let timers = self.timers.borrow_mut().take_all();
            let mail = self.inbox.close();
            let dropped_tasks = self.tasks.clear();
            // Dropping futures and callbacks runs user code, which may have left something behind.
            if slots.is_empty() && timers.is_empty() && mail.is_empty() && !dropped_tasks && !self.has_work()
            {
                break;
            }
        }
        self.finished.set(true);
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
