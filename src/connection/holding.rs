//! Data that is held back: delivery has stopped before the next data frame.
//!
//! Control frames in front of that frame are served, what lies behind it waits, and the socket is
//! read no further than it takes to find the frame. The end of TCP is noticed all the same.

use std::rc::Rc;

use crate::net::Io;
use crate::runtime::TimerKind;

use super::conn::{Conn, Flags};

impl Conn {
    /// Holds data because the queue of the tasks that receive is full.
    pub(crate) fn hold_for_receivers(&self) {
        self.hold_data(Flags::QUEUE_FULL);
    }

    /// Takes back the reason of a full queue: it has room again.
    pub(crate) fn release_for_receivers(self: &Rc<Self>) {
        self.release_data(Flags::QUEUE_FULL);
    }

    /// Holds or releases data after the backlog has crossed a watermark.
    #[cold]
    pub(super) fn hold_for_backlog(self: &Rc<Self>) {
        if self.flags.has(Flags::WRITING_PAUSED) {
            self.hold_data(Flags::BACKLOGGED);
        } else {
            self.release_data(Flags::BACKLOGGED);
        }
    }

    /// Stops delivery before the next data frame; `reason` is one of [`Flags::HOLDING`].
    fn hold_data(&self, reason: u32) {
        if !self.flags.has(Flags::HOLDING) {
            self.proto.borrow_mut().hold_data();
        }
        self.flags.set(reason);
    }

    /// Takes back a reason to hold data. Delivery goes on when there is none left.
    fn release_data(self: &Rc<Self>, reason: u32) {
        if !self.flags.clear(reason) || self.flags.has(Flags::HOLDING) {
            return;
        }
        self.proto.borrow_mut().release_data();
        if self.flags.clear(Flags::END_TIMED) {
            self.cancel_deadline();
            // If a teardown has begun meanwhile, its own deadline counts.
            self.after_change();
        }
        self.go_on_reading();
    }

    /// Returns `true` if delivery has stopped, so that bytes from the socket have no use now.
    #[cold]
    pub(super) fn is_stopped(&self) -> bool {
        let proto = self.proto.borrow();
        proto.is_receiving() && (self.flags.has(Flags::PAUSED) || proto.is_data_held())
    }

    /// Leaves the socket unread, and notices an end of TCP that reading would have found.
    #[cold]
    pub(super) fn leave_unread(self: &Rc<Self>) {
        self.note_unread();
        // `pause_reading` hides the end of the stream, as documented. Data that is held must not.
        let holds = self.flags.has(Flags::HOLDING) && !self.flags.has(Flags::PAUSED);
        let end_ahead = self.io.borrow().as_ref().is_some_and(Io::is_end_ahead);
        if !holds || !end_ahead {
            return;
        }
        let error = self.io.borrow().as_ref().and_then(Io::take_error);
        if let Some(error) = error {
            return self.io_failed("receive", &error);
        }
        // The peer has half-closed TCP behind the frames that are held, and may still read. They
        // are dropped only if none of them is delivered within the closing deadline;
        // `release_data` stops the timer.
        if !self.is_ending() && !self.flags.set(Flags::END_TIMED) {
            let timeout = self.settings.rules.close_timeout;
            if let Some(deadline) = self.core.now().checked_add(timeout) {
                let timer = self.core.add_timer(deadline, self.token, TimerKind::DEADLINE);
                self.replace_timer(Some(timer));
            }
        }
    }
}
