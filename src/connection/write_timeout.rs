//! Connections whose bytes the kernel refuses, and the end of patience with them.

use std::rc::Rc;
use std::time::Instant;

use crate::proto::WSDisconnectCause;
use crate::runtime::TimerId;

use super::conn::Conn;
use super::source::WRITE;

/// Exists while the kernel refuses bytes, if there is a write timeout.
#[derive(Debug)]
pub(super) struct WriteWatch {
    /// When the kernel last took a byte, or began to refuse them.
    progress: Instant,
    /// Changes whenever the kernel takes bytes: those that left the queue, and those that wait
    /// sealed.
    seen: (u64, usize),
    /// `None` if the timeout is beyond the clock. Progress does not move it: it looks again when it
    /// fires.
    timer: Option<TimerId>,
}

impl Conn {
    /// Updates progress, interest and watermarks after a flush met, or ended, a refusal of the
    /// kernel.
    #[cold]
    pub(super) fn refusal_updated(self: &Rc<Self>, refused: bool) {
        self.note_write_progress();
        self.update_interest(refused);
        // A pong that waited for this.
        if !refused && self.proto.borrow().queued() > 0 {
            self.touch();
        }
        self.check_watermarks();
    }

    /// Starts or stops the watch: the kernel has begun, or ceased, to refuse bytes.
    #[cold]
    pub(super) fn refusal_changed(&self, refused: bool) {
        self.with_proto(|proto, out| proto.set_refused(refused, out));
        self.stop_write_watch();
        if refused && self.settings.write_timeout.is_some() {
            self.watch_writes(self.core.now());
        }
    }

    fn watch_writes(&self, progress: Instant) {
        let due = self.settings.write_timeout.and_then(|timeout| progress.checked_add(timeout));
        let timer = due.map(|due| self.core.add_timer(due, self.token, WRITE));
        let watch = Box::new(WriteWatch { progress, seen: self.bytes_taken(), timer });
        self.extras.borrow_mut().get_or_insert_default().write_watch = Some(watch);
    }

    fn bytes_taken(&self) -> (u64, usize) {
        (self.proto.borrow().left_since_refusal(), self.held())
    }

    fn note_write_progress(&self) {
        let mut extras = self.extras.borrow_mut();
        let Some(watch) = extras.as_mut().and_then(|extras| extras.write_watch.as_mut()) else { return };
        let seen = self.bytes_taken();
        if watch.seen != seen {
            watch.seen = seen;
            watch.progress = self.core.now();
        }
    }

    /// Cancels the timer and returns what it watched.
    pub(super) fn stop_write_watch(&self) -> Option<Box<WriteWatch>> {
        let watch = self.extras.borrow_mut().as_mut().and_then(|extras| extras.write_watch.take());
        if let Some(timer) = watch.as_ref().and_then(|watch| watch.timer) {
            self.core.cancel_timer(timer);
        }
        watch
    }

    /// Terminates the connection if its time is over: the timer has fired.
    pub(crate) fn write_due(self: &Rc<Self>) {
        // Kernels announce room only when much of their buffer is free (on Linux a third), and a slow
        // reader needs longer for that. A write notices less, and bytes that left by a read, which
        // answers on the TLS layer.
        self.flush();
        let timeout = self.settings.write_timeout;
        let (Some(watch), Some(timeout)) = (self.stop_write_watch(), timeout) else { return };
        if self.core.now().saturating_duration_since(watch.progress) < timeout {
            return self.watch_writes(watch.progress);
        }
        self.terminate(WSDisconnectCause::WriteTimeout, None);
    }
}
