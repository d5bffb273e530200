//! Connections whose bytes the kernel refuses, and the end of patience with them.

use std::rc::Rc;
use std::time::Instant;

use crate::WSDisconnectCause;

use super::connection::Conn;
use super::timers::{TimerAction, TimerId};

/// Exists while the kernel refuses bytes, if there is a write timeout.
#[derive(Debug)]
pub(super) struct WriteWatch {
    /// When the kernel last took a byte, or began to refuse them.
    progress: Instant,
    /// `None` if the timeout is beyond the clock. Progress does not move it: it looks again when it
    /// fires.
    timer: Option<TimerId>,
}

impl Conn {
    /// [`flush`](Self::flush) while the kernel refuses bytes.
    #[cold]
    pub(super) fn flush_refused(self: &Rc<Self>) {
        let before = self.bytes_taken();
        let Some(refused) = self.write_queue() else { return };
        if self.bytes_taken() != before {
            self.note_write_progress();
        }
        self.update_interest(refused);
        // A pong that waited until now.
        if !refused && self.proto.borrow().queued() > 0 {
            self.touch();
        }
        self.check_watermarks();
        self.after_change();
    }

    /// Changes when the kernel takes bytes of this connection, and by what other connections do.
    fn bytes_taken(&self) -> (u64, usize) {
        // TLS has taken plaintext from the queue earlier: the kernel then takes sealed bytes.
        (self.core.metrics.total_sent(), self.held())
    }

    /// The kernel has begun, or ceased, to refuse bytes.
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
        let timer = due.map(|due| self.core.add_timer(due, TimerAction::Write(self.token)));
        let watch = Box::new(WriteWatch { progress, timer });
        self.extras.borrow_mut().get_or_insert_default().write_watch = Some(watch);
    }

    /// Forgets the timer, too.
    pub(super) fn stop_write_watch(&self) {
        let watch = self.extras.borrow_mut().as_mut().and_then(|extras| extras.write_watch.take());
        if let Some(timer) = watch.and_then(|watch| watch.timer) {
            self.core.cancel_timer(timer);
        }
    }

    fn note_write_progress(&self) {
        let now = self.core.now();
        if let Some(watch) = self.extras.borrow_mut().as_mut().and_then(|extras| extras.write_watch.as_mut())
        {
            watch.progress = now;
        }
    }

    /// The timer has fired.
    pub(crate) fn write_due(self: &Rc<Self>) {
        let watch = self.extras.borrow_mut().as_mut().and_then(|extras| extras.write_watch.take());
        let (Some(watch), Some(timeout)) = (watch, self.settings.write_timeout) else { return };
        if self.core.now().saturating_duration_since(watch.progress) < timeout {
            return self.watch_writes(watch.progress);
        }
        self.terminate(WSDisconnectCause::WriteTimeout, None);
    }
}
