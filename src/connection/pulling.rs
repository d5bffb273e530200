//! Messages that tasks take straight from the bytes of a read.
//!
//! While a task waits for a message and none is queued, received frames are not delivered: the
//! receive buffer is lent to the connection, the task is polled, and takes the messages out
//! of the buffer. One wake-up serves a whole read, and no message is queued. The frames that are
//! left, and all frames other than whole uncompressed messages, are delivered to the listener,
//! which queues the messages.
//!
//! The order for one read (`Conn::lend`, `deliver_to_tasks` in `conn/input.rs`):
//!
//! 1. As long as a task waits and a whole message is next, the bytes are lent and that task runs,
//!    then the others that are ready.
//! 2. What is left is delivered frame by frame. A message that is queued this way sets
//!    `Flags::YIELDS`, which stops the delivery.
//! 3. Woken tasks run, data is held if the queue is still full, and it begins again with 1.

use crate::buf::RecvBuffer;
use crate::proto::{FrameHeader, WSMsgType, WSProtocolError};
use crate::runtime::TaskId;

use super::conn::Conn;

/// The tasks that receive messages from a connection, and the queue of messages that they have not
/// taken.
pub(crate) trait Receivers {
    /// Returns the task that is first in line if the next message is for it to [pull](Conn::pull). A
    /// task that the loop cannot poll at once is woken.
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
#[must_use = "the bytes that are lent go back with it"]
pub(crate) struct Pull<'a> {
    conn: &'a Conn,
    buffer: Box<RecvBuffer>,
    header: FrameHeader,
}

impl<'a> Pull<'a> {
    /// `buffer` begins with a frame that has this header.
    #[inline]
    pub(super) fn new(conn: &'a Conn, buffer: Box<RecvBuffer>, header: FrameHeader) -> Self {
        Self { conn, buffer, header }
    }

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
        self.conn.pulled(self.buffer);
    }
}
