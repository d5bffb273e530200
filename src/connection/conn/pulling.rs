//! Messages that tasks take straight from the bytes of a read.
//!
//! While a task waits for a message and none is queued, received frames are not delivered: the
//! receive buffer is lent to the connection, the task is woken, and its poll takes the messages out
//! of the buffer. One wake-up serves a whole read, and no message is queued. The frames that are
//! left, and all frames other than whole uncompressed messages, are delivered to the listener,
//! which queues the messages.

use std::panic::{self, AssertUnwindSafe};
use std::rc::{Rc, Weak};
use std::task::Waker;

use crate::buf::RecvBuffer;
use crate::connection::WSTransport;
use crate::net::Read;
use crate::proto::{FrameHeader, WSMsgType, WSProtocolError};
use crate::runtime::{TaskId, WSListenerError, guard};

use super::super::flags::Flags;
use super::Conn;
use super::input::Delivered;

/// Most messages that are pulled after one wake-up. The task is woken again for the next ones, so that
/// others that are ready run in between.
const PULLS_PER_WAKE: u32 = 128;

/// The tasks that receive messages from a connection, and the queue of messages that they have not
/// taken.
pub(crate) trait Receivers {
    /// Wakes the task that is first in line if the next message is for it to [pull](Conn::pull).
    fn offer(&self) -> Offer;

    /// Holds data if there is no room for a further message.
    fn hold_if_full(&self);

    /// Is called when the connection fails because of what the peer sent; `on_ws_disconnected`
    /// follows when TCP is closed.
    fn peer_failed(&self, error: &WSProtocolError);

    /// Is called when the peer has half-closed TCP without CLOSE; what is sent may still reach it.
    fn peer_ended(&self);
}

/// Who takes the next message.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Offer {
    /// No task waits for it.
    Nobody,
    /// This task of the loop, which is to be polled.
    Task(TaskId),
    /// A task that was woken.
    Woken,
}

/// A message at the front of the bytes that are lent, which a task takes. To be
/// [finished](Self::finish) when it is copied.
pub(crate) struct Pull<'a> {
    conn: &'a Conn,
    buffer: Box<RecvBuffer>,
    header: FrameHeader,
}

impl Pull<'_> {
    #[inline]
    pub(crate) fn is_text(&self) -> bool {
        self.header.msg_type() == WSMsgType::Text
    }

    #[inline]
    fn payload(&mut self) -> &mut [u8] {
        let (start, len) = (self.header.header_len(), self.header.payload_len() as usize);
        &mut self.buffer.filled_mut()[start..][..len]
    }

    /// Unmasks the payload and returns it. To be called once.
    #[inline]
    pub(crate) fn unmasked(&mut self) -> &[u8] {
        let header = self.header;
        let payload = self.payload();
        header.unmask(payload);
        payload
    }

    /// Returns an unmasked copy of the payload. To be called once.
    #[inline]
    pub(crate) fn take_bytes(&mut self) -> Box<[u8]> {
        if self.header.is_long() {
            // One pass over both.
            let header = self.header;
            return header.unmasked_copy(self.payload()).into();
        }
        // Below a page, unmasking in place is cheaper than a copy that writes into a `Vec`.
        self.unmasked().into()
    }

    /// Takes the message out of the bytes that are lent.
    #[inline]
    pub(crate) fn finish(mut self) {
        let wire_len = self.header.header_len() + self.header.payload_len() as usize;
        self.buffer.consume(wire_len);
        let pulls_left = &self.conn.pulls_left;
        // Mostly the task asks once more, which is then answered at once.
        pulls_left.set(if self.buffer.is_empty() { 0 } else { pulls_left.get() - 1 });
        self.conn.leftover.put(self.buffer);
        self.conn.core.frame_delivered();
    }
}

impl Conn {
    /// Makes whole messages of the frames for `receivers`, and keeps the write side open after the
    /// peer's half-close. Long frames come masked, since they are copied anyway. `pulls`: tasks may
    /// take messages past the listener, since no other listener has to see the frames.
    pub(crate) fn serve(&self, receivers: Weak<dyn Receivers>, pulls: bool) {
        // There is one `on_ws_connected`.
        let _ = self.receivers.set(Box::new(receivers));
        self.flags.set(if pulls { Flags::SERVES_TASKS | Flags::PULLED } else { Flags::SERVES_TASKS });
        let mut proto = self.wire.proto_mut();
        proto.expect_messages();
        proto.leave_long_masked();
        proto.answer_late();
    }

    fn receivers(&self) -> Option<Rc<dyn Receivers>> {
        self.receivers.get()?.upgrade()
    }

    /// Tells the tasks, if there are any. Wakers, which may panic, are called by that.
    pub(super) fn tell_receivers(&self, tell: impl FnOnce(&dyn Receivers)) {
        if let Some(receivers) = self.receivers() {
            guard("a waker", || tell(&*receivers));
        }
    }

    /// Lets tasks run before the next frame is delivered: they may make room, and answer before the
    /// effects of that frame, such as a CLOSE or an error.
    pub(crate) fn yield_to_tasks(&self) {
        self.flags.set(Flags::YIELDS);
    }

    /// Returns `true` if received bytes are lent for a task to [pull](Self::pull) messages out of.
    #[inline]
    pub(crate) fn lends(&self) -> bool {
        self.pulls_left.get() > 0
    }

    /// Returns the next message in the bytes that [are lent](Self::lends), which the caller takes.
    /// `None` if no whole message is next.
    #[inline]
    pub(crate) fn pull(&self) -> Option<Pull<'_>> {
        debug_assert!(self.lends());
        let buffer = self.leftover.take()?;
        match self.wire.proto_mut().take_message(buffer.filled()) {
            Some(header) => Some(Pull { conn: self, buffer, header }),
            None => {
                self.leftover.put(buffer);
                None
            }
        }
    }

    /// Reads once and serves tasks: nearly all reads of a connection that has such.
    #[inline(never)]
    pub(super) fn receive_for_tasks(self: &Rc<Self>, transport: &WSTransport) {
        let mut buffer = self.core.take_recv();
        let Some(read) = self.wire.read(&mut buffer) else { return self.core.give_recv(buffer) };
        match read {
            Read::Data { len, more: false } => {
                self.core.metrics().bytes_received(len);
                buffer = self.lend(buffer);
                if buffer.is_empty() {
                    return self.core.give_recv(buffer);
                }
                self.deliver_to_tasks(transport, buffer);
            }
            read => self.receive_on(transport, buffer, read),
        }
    }

    /// Serves the tasks that receive from this connection: [`dispatch`](Self::dispatch), if it has
    /// such.
    #[inline(never)]
    pub(super) fn dispatch_to_tasks(self: &Rc<Self>, transport: &WSTransport, buffer: Box<RecvBuffer>) {
        let buffer = self.lend_on(buffer);
        self.deliver_to_tasks(transport, buffer);
    }

    #[inline(never)]
    #[expect(clippy::unnecessary_box_returns, reason = "see `lend`")]
    fn lend_on(self: &Rc<Self>, buffer: Box<RecvBuffer>) -> Box<RecvBuffer> {
        self.lend(buffer)
    }

    /// Delivers what tasks have not taken out of the buffer, and lets them run after each message.
    #[inline(never)]
    fn deliver_to_tasks(self: &Rc<Self>, transport: &WSTransport, mut buffer: Box<RecvBuffer>) {
        let received_at = self.received_at();
        let delivered = loop {
            let delivered = self.deliver_with(|listener| {
                let goes_on = || !self.flags.has(Flags::YIELDS);
                let delivered =
                    self.deliver_while(goes_on, transport, listener, &mut buffer, received_at.as_ref());
                delivered.unwrap_or(Delivered::Done)
            });
            if !self.flags.clear(Flags::YIELDS) {
                break delivered;
            }
            self.core.tasks().run_ready();
            self.tell_receivers(|receivers| receivers.hold_if_full());
            buffer = self.lend_on(buffer);
        };
        match delivered {
            Delivered::Done if buffer.is_empty() => self.core.give_recv(buffer),
            delivered => self.delivered(delivered, buffer),
        }
    }

    /// Lets tasks take messages out of `buffer` as long as they wait for them. Returns what is left.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "most reads need nothing else; the other callers are rare")]
    #[expect(clippy::unnecessary_box_returns, reason = "a buffer changes hands as one pointer")]
    fn lend(self: &Rc<Self>, mut buffer: Box<RecvBuffer>) -> Box<RecvBuffer> {
        if !self.flags.has(Flags::PULLED) {
            return buffer;
        }
        let Some(receivers) = self.receivers() else { return buffer };
        while self.wire.proto_mut().has_message(buffer.filled()) {
            let offer = receivers.offer();
            if let Offer::Nobody = offer {
                break;
            }
            self.leftover.put(buffer);
            self.pulls_left.set(PULLS_PER_WAKE);
            match offer {
                Offer::Task(task) => self.core.tasks().run_now(task),
                Offer::Woken | Offer::Nobody => self.core.tasks().run_ready(),
            }
            self.pulls_left.set(0);
            // It is gone if the connection ended meanwhile.
            buffer = self.leftover.take().unwrap_or_default();
            if buffer.is_empty() {
                break;
            }
            // Others that are ready come before the rest.
            self.core.tasks().run_ready();
        }
        if self.flags.clear(Flags::YIELDS) {
            receivers.hold_if_full();
        }
        self.core.frames_delivered();
        buffer
    }

    /// Calls a waker of the application, which may panic.
    pub(crate) fn wake(self: &Rc<Self>, waker: Waker) {
        if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(|| waker.wake())) {
            self.listener_failed(WSListenerError::from_panic(&*panic));
        }
    }
}
