//! What handles on other threads know of a connection: its backlog and its end.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::connection::Conn;
use crate::proto::WSDisconnectInfo;
use crate::runtime::{Command, Once, Token, WSLoopRemote, WSRemoteError, wake};

/// The requests of other threads to a connection, and what the loop reports to these threads. All
/// remotes of a connection share it; it is made with the first of them.
///
/// The loop writes to it when requests arrive, when the kernel begins or ceases to refuse bytes,
/// when a refused backlog shrinks, and at the end. Sending on the loop costs nothing for it.
pub(super) struct Backlog {
    on_loop: WSLoopRemote,
    /// Payload bytes of requests that the loop has not carried out.
    under_way: AtomicUsize,
    /// Bytes that the kernel refused, as of the last report.
    refused: AtomicUsize,
    high_watermark: AtomicUsize,
    /// The socket is closed.
    has_ended: AtomicBool,
    /// A future waits for room.
    is_awaited: AtomicBool,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    for_room: BTreeMap<u64, Waker>,
    for_end: BTreeMap<u64, Waker>,
    next: u64,
    /// Set once `on_ws_disconnected` has returned.
    record: Option<WSDisconnectInfo>,
}

impl Backlog {
    pub(super) fn new(on_loop: WSLoopRemote) -> Self {
        Self {
            on_loop,
            under_way: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            high_watermark: AtomicUsize::new(0),
            has_ended: AtomicBool::new(false),
            is_awaited: AtomicBool::new(false),
            waiting: Mutex::default(),
        }
    }

    // --- the threads ---------------------------------------------------------------------------

    /// Sends a command that adds to the backlog.
    pub(super) fn command(&self, to: Token, command: Command) -> Result<(), WSRemoteError> {
        if self.has_ended() {
            return Err(self.on_loop.refusal().unwrap_or(WSRemoteError::Disconnected));
        }
        let size = command.adds_to_backlog();
        // Before the loop can carry it out, so that the sum never falls below zero.
        self.under_way.fetch_add(size, Ordering::SeqCst);
        let posted = self.on_loop.command(to, command);
        if posted.is_err() {
            self.arrived(size);
            // Others may have found no room because of these bytes.
            if self.is_awaited.load(Ordering::SeqCst) && self.has_room() {
                self.wake();
            }
        }
        posted
    }

    /// Sends a command however full the inbox is.
    pub(super) fn command_once(&self, to: Token, kind: Once, command: Command) -> Result<(), WSRemoteError> {
        self.on_loop.command_once(to, kind, command)
    }

    /// Returns the bytes that wait; none once the connection has ended.
    pub(super) fn amount(&self) -> usize {
        if self.has_ended() {
            return 0;
        }
        self.under_way.load(Ordering::SeqCst).saturating_add(self.refused.load(Ordering::SeqCst))
    }

    pub(super) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::SeqCst)
    }

    fn has_room(&self) -> bool {
        self.amount() <= self.high_watermark.load(Ordering::SeqCst)
    }

    // --- the loop ------------------------------------------------------------------------------

    /// Notes that requests with this many payload bytes are no longer under way.
    pub(super) fn arrived(&self, bytes: usize) {
        self.under_way.fetch_sub(bytes, Ordering::SeqCst);
    }

    /// Notes the state of the connection. Returns `true` if there are futures to [wake](Self::wake).
    /// After `on_ws_disconnected` this wakes them, which may run user code.
    pub(super) fn report(&self, conn: &Conn) -> bool {
        let Some(record) = conn.rare().ending() else {
            let (refused, high_watermark) = conn.pressure();
            self.refused.store(refused, Ordering::SeqCst);
            self.high_watermark.store(high_watermark, Ordering::SeqCst);
            // Either this sees the future, or the future, which announces itself first, sees the
            // room.
            return self.is_awaited.load(Ordering::SeqCst) && self.has_room();
        };
        self.has_ended.store(true, Ordering::SeqCst);
        if conn.is_gone() {
            self.closed(record);
            return false;
        }
        self.is_awaited.load(Ordering::SeqCst)
    }

    /// Wakes the futures that wait for room, which may run user code.
    pub(super) fn wake(&self) {
        let wakers = {
            let mut waiting = self.lock();
            self.is_awaited.store(false, Ordering::SeqCst);
            std::mem::take(&mut waiting.for_room)
        };
        wakers.into_values().for_each(wake);
    }

    /// Notes that `on_ws_disconnected` has returned. Wakes all futures, which may run user code.
    fn closed(&self, record: &WSDisconnectInfo) {
        let wakers = {
            let mut waiting = self.lock();
            waiting.record = Some(record.clone());
            std::mem::take(&mut waiting.for_end)
        };
        wakers.into_values().for_each(wake);
        self.wake();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing panics while the lock is held, so what it guards is whole.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The wait for room below the high watermark, or for the end of the connection.
pub(super) struct Ready(Place);

/// The wait for the end of the connection.
pub(super) struct Closed(Place);

/// A future among those that wait. Dropping it takes its waker back.
struct Place {
    backlog: Arc<Backlog>,
    number: Option<u64>,
    of: fn(&mut Waiting) -> &mut BTreeMap<u64, Waker>,
}

impl Ready {
    pub(super) fn new(backlog: &Arc<Backlog>) -> Self {
        Self(Place { backlog: Arc::clone(backlog), number: None, of: |waiting| &mut waiting.for_room })
    }
}

impl Closed {
    pub(super) fn new(backlog: &Arc<Backlog>) -> Self {
        Self(Place { backlog: Arc::clone(backlog), number: None, of: |waiting| &mut waiting.for_end })
    }
}

impl Place {
    /// Leaves a waker, unless `ready` returns a result under the lock. Wakers are cloned and
    /// dropped outside of it, as both may run user code.
    fn wait<T>(&mut self, cx: &Context<'_>, ready: impl FnOnce(&Backlog, &Waiting) -> Option<T>) -> Poll<T> {
        let waker = cx.waker().clone();
        let mut waiting = self.backlog.lock();
        if let Some(result) = ready(&self.backlog, &waiting) {
            drop(waiting);
            drop(waker);
            return Poll::Ready(result);
        }
        let number = *self.number.get_or_insert_with(|| {
            waiting.next += 1;
            waiting.next
        });
        let old = (self.of)(&mut waiting).insert(number, waker);
        drop(waiting);
        drop(old);
        Poll::Pending
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let mut waiting = self.backlog.lock();
        let old = (self.of)(&mut waiting).remove(&number);
        drop(waiting);
        drop(old);
    }
}

impl Future for Ready {
    type Output = Result<(), WSRemoteError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.wait(cx, |backlog, _| {
            // The loop reports before it looks at this. See `report`.
            backlog.is_awaited.store(true, Ordering::SeqCst);
            if backlog.has_ended() {
                return Some(Err(WSRemoteError::Disconnected));
            }
            backlog.has_room().then_some(Ok(()))
        })
    }
}

impl Future for Closed {
    type Output = WSDisconnectInfo;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<WSDisconnectInfo> {
        self.0.wait(cx, |_, waiting| waiting.record.clone())
    }
}
