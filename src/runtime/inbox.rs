//! What other threads have for the loop.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::runtime::WSMetrics;

use super::handle::WSLoopHandle;
use super::slots::Token;
use super::source::Command;

/// Ends the sleep of the loop, and costs nothing while it is awake.
#[derive(Debug)]
pub(super) struct LoopWaker {
    mio: mio::Waker,
    /// The loop is asleep, or about to be: it has looked for work, found none, and must be woken for more.
    asleep: AtomicBool,
}

impl LoopWaker {
    pub(super) fn new(mio: mio::Waker) -> Self {
        Self { mio, asleep: AtomicBool::new(false) }
    }

    /// Called after work was queued. One wake-up serves all that is queued until the loop has woken.
    #[inline]
    pub(super) fn wake(&self) {
        if self.asleep.load(Ordering::SeqCst)
            && self.asleep.swap(false, Ordering::SeqCst)
            && let Err(error) = self.mio.wake()
        {
            error_limited!("cannot wake the event loop: {error}");
        }
    }

    /// Announces the sleep. The loop looks once more for work after this, so that none is missed.
    pub(super) fn going_to_sleep(&self) {
        self.asleep.store(true, Ordering::SeqCst);
    }

    pub(super) fn awake(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }
}

/// A request from another thread.
pub(super) enum Mail {
    Command(Token, Command),
    Call(Call),
}

pub(super) type Call = Box<dyn FnOnce(&WSLoopHandle) + Send>;

/// Bytes that an allocation costs beside those in use: the allocator's header, and rounding.
const ALLOCATION: usize = 32;

impl Mail {
    /// Returns the bytes that it costs until the loop has carried it out: the entry, the memory
    /// behind it, and the allocation of that.
    fn size(&self) -> usize {
        let behind = match self {
            Self::Call(call) => size_of_val(&**call),
            Self::Command(_, command) => command.size_behind(),
        };
        size_of::<Self>() + if behind > 0 { behind + ALLOCATION } else { 0 }
    }
}

/// A kind of request that is never refused. One of each is queued per target, so that they cannot
/// grow the inbox without bound. The numbers are those of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Once {
    kind: u8,
    /// A newer request takes the place of the one that is queued.
    newest_counts: bool,
}

impl Once {
    /// A request that further ones add nothing to.
    pub(crate) const fn first(kind: u8) -> Self {
        Self { kind, newest_counts: false }
    }

    /// A request that replaces an earlier one.
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "only settings of TLS are replaced"))]
    pub(crate) const fn newest(kind: u8) -> Self {
        Self { kind, newest_counts: true }
    }
}

/// What bounds the number of requests that are queued.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    /// [`inbox_limit`](crate::WSLoopConfig::inbox_limit), beyond which a request is refused.
    Limit,
    /// Something outside of the inbox, such as the descriptors that the requests hold.
    Elsewhere,
    /// At most one of this kind is queued per target.
    Once(Token, Once),
}

/// Why another thread's request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WSRemoteError {
    /// The loop is gone.
    #[error("the event loop is gone")]
    LoopClosed,
    /// The requests on their way to the loop cost [`inbox_limit`](crate::WSLoopConfig::inbox_limit)
    /// bytes.
    #[error("the inbox of the event loop is full")]
    InboxFull,
    /// The connection has ended.
    #[error("the connection has ended")]
    Disconnected,
    /// CLOSE frames are sent with `close` only.
    #[error("CLOSE is sent with close")]
    IsClose,
    /// This close code must not be sent (RFC 6455 section 7.4).
    #[error("this close code must not be sent")]
    InvalidCloseCode,
}

/// Requests that were queued one after the other.
pub(super) struct Batch {
    pub(super) mail: Vec<Mail>,
    /// For [`Inbox::release`].
    pub(super) size: usize,
}

/// Most requests of a batch. A single vector would hold memory for twice of what is in it, and
/// three times while it grows.
const BATCH: usize = 64;

#[derive(Default)]
struct Queue {
    /// All but the last one are full.
    batches: Vec<Batch>,
    /// Cost in bytes of the requests that are queued or being carried out.
    size: usize,
    /// The places of requests that are queued once, counted over all batches.
    once: HashMap<(Token, Once), usize>,
    closed: bool,
}

impl Queue {
    fn push(&mut self, mail: Mail, size: usize) {
        if self.batches.last().is_none_or(|batch| batch.mail.len() == BATCH) {
            let room = if self.batches.is_empty() { 0 } else { BATCH };
            self.batches.push(Batch { mail: Vec::with_capacity(room), size: 0 });
        }
        if let Some(batch) = self.batches.last_mut() {
            batch.mail.push(mail);
            batch.size += size;
        }
        self.size += size;
    }

    fn len(&self) -> usize {
        self.batches.last().map_or(0, |last| (self.batches.len() - 1) * BATCH + last.mail.len())
    }

    fn take(&mut self) -> Vec<Batch> {
        self.once = HashMap::new();
        std::mem::take(&mut self.batches)
    }
}

/// The door of the loop for other threads.
pub(super) struct Inbox {
    queue: Mutex<Queue>,
    limit: usize,
    any: AtomicBool,
    stop: AtomicBool,
    waker: Arc<LoopWaker>,
    /// What the loop counts.
    metrics: Arc<WSMetrics>,
}

impl Inbox {
    pub(super) fn new(waker: Arc<LoopWaker>, limit: usize) -> Self {
        Self {
            metrics: Arc::default(),
            queue: Mutex::default(),
            limit,
            any: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            waker,
        }
    }

    /// Queues a request within its bound.
    pub(super) fn post(&self, mut mail: Mail, bound: Bound) -> Result<(), WSRemoteError> {
        let size = mail.size();
        let mut queue = self.lock();
        if queue.closed {
            return Err(WSRemoteError::LoopClosed);
        }
        match bound {
            Bound::Limit if queue.size.saturating_add(size) > self.limit => {
                return Err(WSRemoteError::InboxFull);
            }
            Bound::Limit | Bound::Elsewhere => {}
            Bound::Once(to, kind) => {
                let end = queue.len();
                let place = *queue.once.entry((to, kind)).or_insert(end);
                if place < end {
                    if kind.newest_counts {
                        std::mem::swap(&mut queue.batches[place / BATCH].mail[place % BATCH], &mut mail);
                    }
                    // Dropping the other one may run code of the application, which must not find
                    // the lock taken.
                    drop(queue);
                    drop(mail);
                    return Ok(());
                }
            }
        }
        queue.push(mail, size);
        self.any.store(true, Ordering::SeqCst);
        drop(queue);
        self.waker.wake();
        Ok(())
    }

    /// Something that is kept elsewhere waits for the loop: this is not empty until the next [`take`](Self::take), which comes before the
    /// look at it.
    pub(super) fn notice(&self) {
        self.any.store(true, Ordering::SeqCst);
        self.waker.wake();
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        !self.any.load(Ordering::SeqCst)
    }

    /// Takes everything posted so far, in order. It counts until it is [released](Self::release).
    pub(super) fn take(&self) -> Vec<Batch> {
        let mut queue = self.lock();
        self.any.store(false, Ordering::SeqCst);
        queue.take()
    }

    /// Makes room for `size` bytes: a batch of them was carried out.
    pub(super) fn release(&self, size: usize) {
        self.lock().size -= size;
    }

    /// Returns the cost in bytes of what is queued or being carried out.
    #[cfg(test)]
    pub(super) fn queued(&self) -> usize {
        self.lock().size
    }

    /// Refuses everything from here on and gives out what was posted.
    pub(super) fn close(&self) -> Vec<Batch> {
        let mut queue = self.lock();
        queue.closed = true;
        self.any.store(false, Ordering::SeqCst);
        queue.take()
    }

    pub(super) fn metrics(&self) -> &Arc<WSMetrics> {
        &self.metrics
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    pub(super) fn request_stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.waker.wake();
    }

    pub(super) fn stop_requested(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    pub(super) fn clear_stop(&self) {
        self.stop.store(false, Ordering::SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics while the lock is held, so a poisoned queue is still whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn new_waker(registry: &mio::Registry) -> io::Result<Arc<LoopWaker>> {
    mio::Waker::new(registry, mio::Token(usize::MAX)).map(LoopWaker::new).map(Arc::new)
}
