//! What other threads have for the loop.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::{
    SendOptions, WSCloseCode, WSLoopHandle, WSMessageOptions, WSMsgType, WSPreparedFrame, WSPreparedMessage,
};

use super::slots::Token;

/// Ends the sleep of the loop, and costs nothing while it is awake.
#[derive(Debug)]
pub(crate) struct LoopWaker {
    mio: mio::Waker,
    /// The loop is asleep, or about to be: it has looked for work, found none, and must be woken for more.
    asleep: AtomicBool,
}

impl LoopWaker {
    pub(crate) fn new(mio: mio::Waker) -> Self {
        Self { mio, asleep: AtomicBool::new(false) }
    }

    /// Called after work was queued. One wake-up serves all that is queued until the loop has woken.
    #[inline]
    pub(crate) fn wake(&self) {
        if self.asleep.load(Ordering::SeqCst)
            && self.asleep.swap(false, Ordering::SeqCst)
            && let Err(error) = self.mio.wake()
        {
            log::error!("cannot wake the event loop: {error}");
        }
    }

    /// Announces the sleep. The loop looks once more for work after this, so that none is missed.
    pub(crate) fn going_to_sleep(&self) {
        self.asleep.store(true, Ordering::SeqCst);
    }

    pub(crate) fn awake(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }
}

/// A request from another thread.
pub(crate) enum Mail {
    Call(Box<dyn FnOnce(&WSLoopHandle) + Send>),
    Send { to: Token, msg_type: WSMsgType, payload: Bytes, options: SendOptions },
    SendMessage { to: Token, msg_type: WSMsgType, payload: Bytes, options: WSMessageOptions },
    SendPrepared { to: Token, frame: WSPreparedFrame },
    SendPreparedMessage { to: Token, message: WSPreparedMessage },
    SendClose { to: Token, code: WSCloseCode, reason: Box<str> },
    Disconnect { to: Token, graceful: bool },
}

impl Mail {
    /// Payload bytes, for the bound of the inbox. Shared frames count too: they stay alive until they are sent.
    fn size(&self) -> usize {
        match self {
            Self::Send { payload, .. } | Self::SendMessage { payload, .. } => payload.len(),
            Self::SendPrepared { frame, .. } => frame.payload().len(),
            Self::SendPreparedMessage { message, .. } => message.payload().len(),
            Self::Call(_) | Self::SendClose { .. } | Self::Disconnect { .. } => 0,
        }
    }
}

/// Why another thread's request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WSRemoteError {
    /// The loop is gone.
    #[error("the event loop is gone")]
    LoopClosed,
    /// More than [`inbox_limit`](crate::WSLoopConfig::inbox_limit) bytes are on their way to the loop.
    #[error("the inbox of the event loop is full")]
    InboxFull,
    /// CLOSE frames are sent with `send_close` only.
    #[error("CLOSE is sent with send_close")]
    IsClose,
}

/// The door of the loop for other threads.
pub(crate) struct Inbox {
    mail: Mutex<Vec<Mail>>,
    /// Payload bytes in `mail`.
    bytes: AtomicUsize,
    limit: usize,
    any: AtomicBool,
    closed: AtomicBool,
    stop: AtomicBool,
    waker: Arc<LoopWaker>,
}

impl Inbox {
    pub(crate) fn new(waker: Arc<LoopWaker>, limit: usize) -> Self {
        Self {
            mail: Mutex::default(),
            bytes: AtomicUsize::new(0),
            limit,
            any: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            waker,
        }
    }

    pub(crate) fn post(&self, mail: Mail) -> Result<(), WSRemoteError> {
        let size = mail.size();
        let mut queue = self.lock();
        if self.closed.load(Ordering::Relaxed) {
            return Err(WSRemoteError::LoopClosed);
        }
        if size > 0 && self.bytes.load(Ordering::Relaxed) + size > self.limit {
            return Err(WSRemoteError::InboxFull);
        }
        self.bytes.fetch_add(size, Ordering::Relaxed);
        queue.push(mail);
        self.any.store(true, Ordering::SeqCst);
        drop(queue);
        self.waker.wake();
        Ok(())
    }

    /// Something that is kept elsewhere waits for the loop: this is not empty until the next [`take`](Self::take), which comes before the
    /// look at it.
    pub(crate) fn notice(&self) {
        self.any.store(true, Ordering::SeqCst);
        self.waker.wake();
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        !self.any.load(Ordering::SeqCst)
    }

    /// Everything posted so far, in order.
    pub(crate) fn take(&self) -> Vec<Mail> {
        let mut queue = self.lock();
        self.any.store(false, Ordering::SeqCst);
        self.bytes.store(0, Ordering::Relaxed);
        std::mem::take(&mut *queue)
    }

    /// Refuses everything from here on and gives out what was posted.
    pub(crate) fn close(&self) -> Vec<Mail> {
        let mut queue = self.lock();
        self.closed.store(true, Ordering::Relaxed);
        self.any.store(false, Ordering::SeqCst);
        std::mem::take(&mut *queue)
    }

    pub(crate) fn request_stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.waker.wake();
    }

    pub(crate) fn stop_requested(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    pub(crate) fn clear_stop(&self) {
        self.stop.store(false, Ordering::SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Mail>> {
        // Nothing panics while the lock is held, so a poisoned queue is still whole.
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn new_waker(registry: &mio::Registry) -> io::Result<Arc<LoopWaker>> {
    mio::Waker::new(registry, mio::Token(usize::MAX)).map(LoopWaker::new).map(Arc::new)
}
