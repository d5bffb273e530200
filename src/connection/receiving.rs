//! Receiving on an open connection: read, find frames, deliver them, keep what is left.

use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::time::SystemTime;

use crate::buf::RecvBuffer;
use crate::connection::{WSListener, WSTransport};
use crate::net::{Io, Read};
use crate::proto::{Disposition, WSFrame, WSMsgType, WSProtocolError};
use crate::runtime::WSListenerError;

use super::conn::{Conn, Flags};
use super::listener::ListenerEvent;

/// A partial frame of at most this many bytes is copied in front of the next read, unless it would take more than half of the
/// buffer; a larger one is read on in place.
const SMALL_PARTIAL: usize = 4096;

/// Least room, in bytes, that a large partial frame is given for its next read.
const MIN_GROWTH: usize = 16 * 1024;

/// How a run over the received bytes ended.
pub(super) enum Delivered {
    /// All whole frames were delivered, or delivery stopped for a reason that the state tells.
    Done,
    Failed(WSProtocolError),
}

/// What follows a read.
enum Next {
    /// The socket may hold more.
    Read,
    /// It does, but others come first.
    LetOthersRead,
    /// An event will tell.
    Wait,
}

impl Conn {
    /// Reads once and delivers: nearly all reads, of a connection of which nothing is to be heeded.
    #[inline]
    pub(super) fn receive_plain(self: &Rc<Self>, transport: &WSTransport) {
        let mut buffer = self.core.take_recv();
        let read = match self.io.borrow_mut().as_mut() {
            Some(io) => io.read(&mut buffer),
            None => return self.core.give_recv(buffer),
        };
        match read {
            Read::Data { len, more: false } => {
                self.core.metrics().bytes_received(len);
                match self.deliver_all::<true>(transport, &mut buffer, None) {
                    Delivered::Done if buffer.is_empty() => self.core.give_recv(buffer),
                    delivered => self.delivered(delivered, buffer),
                }
            }
            read => self.receive_on(transport, buffer, read),
        }
    }

    /// Goes on after a first read that has not drained the socket.
    #[inline(never)]
    pub(super) fn receive_on(self: &Rc<Self>, transport: &WSTransport, buffer: Box<RecvBuffer>, read: Read) {
        match self.received(transport, buffer, read) {
            Next::Read => self.receive(transport, 1),
            Next::LetOthersRead => self.make_ready(),
            Next::Wait => {}
        }
    }

    /// Reads until the socket is drained, the bound of a turn is reached, or nothing more is wanted.
    /// The turn has had `reads` before.
    pub(super) fn receive(self: &Rc<Self>, transport: &WSTransport, reads: usize) {
        if self.flags.has(Flags::HELD) {
            self.deliver_held(transport);
        }
        for _ in reads..self.core.config().reads_per_turn {
            let Some(mut buffer) = self.buffer_for_read() else { return self.leave_unread() };
            let Some(read) = self.read(&mut buffer) else {
                return self.core.give_recv(buffer);
            };
            match self.received(transport, buffer, read) {
                Next::Read => {}
                Next::LetOthersRead => break,
                Next::Wait => return,
            }
        }
        self.make_ready();
    }

    /// Does what a read asks for.
    fn received(self: &Rc<Self>, transport: &WSTransport, buffer: Box<RecvBuffer>, read: Read) -> Next {
        match read {
            Read::Data { len, more } => {
                self.core.metrics().bytes_received(len);
                self.dispatch(transport, buffer);
                if more { Next::Read } else { Next::Wait }
            }
            Read::Blocked { again } => {
                self.keep_or_give(buffer);
                if again { Next::LetOthersRead } else { Next::Wait }
            }
            Read::End => {
                self.keep_or_give(buffer);
                self.proto.borrow_mut().handle_end();
                self.act();
                Next::Wait
            }
            Read::Failed(error) => {
                self.core.give_recv(buffer);
                self.io_failed("receive", &error);
                self.act();
                Next::Wait
            }
        }
    }

    /// `None` if the socket is closed.
    #[inline]
    fn read(&self, buffer: &mut RecvBuffer) -> Option<Read> {
        if self.flags.has(Flags::WATCHED | Flags::STAMPED) {
            return self.read_and_note(buffer);
        }
        self.io.borrow_mut().as_mut().map(|io| io.read(buffer))
    }

    /// Reads, and notes that something came, or when.
    #[cold]
    fn read_and_note(&self, buffer: &mut RecvBuffer) -> Option<Read> {
        let read = self.io.borrow_mut().as_mut().map(|io| {
            if !self.flags.has(Flags::STAMPED) {
                return io.read(buffer);
            }
            let (read, received_at) = io.read_with_timestamp(buffer);
            if let Read::Data { .. } = read {
                self.extras.borrow_mut().get_or_insert_default().received_at = received_at;
            }
            read
        });
        if self.flags.has(Flags::WATCHED) && matches!(read, Some(Read::Data { .. } | Read::End)) {
            self.proto.borrow_mut().handle_arrival(self.core.now());
        }
        read
    }

    /// Leaves the socket unread, and notices an end of TCP that reading would have found.
    #[cold]
    fn leave_unread(self: &Rc<Self>) {
        self.note_unread();
        // `pause_reading` hides the end of the stream, as documented. Data that is held must not.
        let end_ahead = self.io.borrow().as_ref().is_some_and(Io::is_end_ahead);
        if self.proto.borrow().is_paused() || !end_ahead {
            return;
        }
        let error = self.io.borrow().as_ref().and_then(Io::take_error);
        match error {
            Some(error) => self.io_failed("receive", &error),
            None => self.proto.borrow_mut().handle_held_end(self.core.now()),
        }
        self.act();
    }

    /// Returns the time at which the kernel received the last read, if it was asked to note it.
    pub(super) fn received_at(&self) -> Option<SystemTime> {
        if !self.flags.has(Flags::STAMPED) {
            return None;
        }
        self.extras.borrow().as_ref().and_then(|extras| extras.received_at)
    }

    // --- buffers -------------------------------------------------------------------------------

    /// Returns the buffer for the next read. `None` if bytes from the socket have no use now: the
    /// socket is closed, or delivery has stopped. At the end of a connection they do, as the peer's
    /// FIN is behind them.
    #[inline]
    fn buffer_for_read(&self) -> Option<Box<RecvBuffer>> {
        if self.io.borrow().is_none() {
            return None;
        }
        if self.proto.borrow().is_reading_paused() {
            return self.buffer_for_control_frames();
        }
        Some(self.take_buffer())
    }

    /// Returns the buffer for a read while data is held: a control frame fits in, and little of a
    /// data frame that must wait.
    #[cold]
    fn buffer_for_control_frames(&self) -> Option<Box<RecvBuffer>> {
        if self.proto.borrow().is_stopped() {
            return None;
        }
        if !self.proto.borrow().is_receiving() {
            // All of it is thrown away.
            self.drop_partial();
            return Some(self.core.take_recv());
        }
        let mut pool = self.core.pool();
        Some(match self.take_partial() {
            Some(partial) => pool.grow_recv(partial, SMALL_PARTIAL),
            None => pool.take_recv(SMALL_PARTIAL),
        })
    }

    /// The buffer for the next read: the loop's, with a small partial frame in front; or the one that holds a large partial frame,
    /// with room to go on. The room grows with what has arrived, not with what the header claims.
    #[expect(clippy::unnecessary_box_returns, reason = "a buffer changes hands as one pointer")]
    fn take_buffer(&self) -> Box<RecvBuffer> {
        let Some(partial) = self.take_partial() else { return self.core.take_recv() };
        let arrived = partial.len();
        if arrived <= SMALL_PARTIAL.min(self.core.config().read_buffer_size / 2) {
            let mut buffer = self.core.take_recv();
            buffer.extend_from_slice(partial.filled());
            self.core.give_recv(partial);
            return buffer;
        }
        let missing =
            self.proto.borrow().pending_wire_len().map_or(0, |total| total.saturating_sub(arrived as u64));
        let growth = (2 * arrived).max(MIN_GROWTH);
        let room = usize::try_from(missing).unwrap_or(usize::MAX).clamp(1, growth);
        self.core.pool().grow_recv(partial, room)
    }

    /// Keeps the bytes of an incomplete frame; a buffer without bytes goes back.
    ///
    /// A large part stays where it is, and the loop takes another buffer; a small one is copied, so that a connection does not hold
    /// much more memory than has arrived.
    fn keep_or_give(&self, buffer: Box<RecvBuffer>) {
        if buffer.is_empty() {
            return self.core.give_recv(buffer);
        }
        if buffer.len() >= buffer.capacity() / 4 {
            return self.set_partial(buffer);
        }
        let mut partial = self.core.pool().take_recv(buffer.len());
        partial.extend_from_slice(buffer.filled());
        self.core.give_recv(buffer);
        self.set_partial(partial);
    }

    fn set_partial(&self, partial: Box<RecvBuffer>) {
        self.partial.replace(Some(partial));
        self.flags.set(Flags::PARTIAL);
    }

    fn take_partial(&self) -> Option<Box<RecvBuffer>> {
        self.flags.clear(Flags::PARTIAL);
        self.partial.take()
    }

    pub(super) fn drop_partial(&self) {
        if let Some(partial) = self.take_partial() {
            self.core.give_recv(partial);
        }
    }

    /// Delivers the frames that were left when delivery stopped, unless it is to stop still.
    #[cold]
    fn deliver_held(self: &Rc<Self>, transport: &WSTransport) {
        if self.proto.borrow().is_stopped() {
            return;
        }
        self.flags.clear(Flags::HELD);
        if let Some(held) = self.take_partial() {
            self.dispatch(transport, held);
        }
    }

    // --- frames ------------------------------------------------------------------------------------------------------------

    /// Delivers the whole frames in `buffer` and keeps the rest.
    #[inline(never)]
    pub(super) fn dispatch(self: &Rc<Self>, transport: &WSTransport, mut buffer: Box<RecvBuffer>) {
        if self.flags.has(Flags::SERVES_TASKS) {
            return self.dispatch_to_tasks(transport, buffer);
        }
        let received_at = self.received_at();
        match self.deliver_all::<false>(transport, &mut buffer, received_at.as_ref()) {
            Delivered::Done if buffer.is_empty() => self.core.give_recv(buffer),
            delivered => self.delivered(delivered, buffer),
        }
    }

    /// Does what is left to do after a delivery that has left bytes, or failed.
    #[inline(never)]
    pub(super) fn delivered(self: &Rc<Self>, delivered: Delivered, mut buffer: Box<RecvBuffer>) {
        if let Delivered::Failed(error) = delivered {
            self.peer_failed(&error);
        }
        if !self.proto.borrow().is_receiving() {
            buffer.clear();
        } else if !buffer.is_empty() && self.proto.borrow().is_stopped() {
            self.flags.set(Flags::HELD);
        }
        self.keep_or_give(buffer);
        self.act();
    }

    /// Delivers the whole frames in `buffer`. `PLAIN`: no ping is under way, the kernel does not
    /// note when it receives bytes, and callbacks are not measured.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "saving registers for each call costs as much as a stage does")]
    fn deliver_all<const PLAIN: bool>(
        self: &Rc<Self>,
        transport: &WSTransport,
        buffer: &mut RecvBuffer,
        received_at: Option<&SystemTime>,
    ) -> Delivered {
        self.deliver_with(|listener| {
            if !PLAIN {
                let awaits_pong = || self.proto.borrow().is_pong_awaited();
                if let Some(outcome) =
                    self.deliver_while(awaits_pong, transport, listener, buffer, received_at)
                {
                    return outcome;
                }
            }
            self.deliver_frames::<PLAIN>(transport, listener, buffer, received_at)
        })
    }

    /// Lends the listener to `deliver` and catches its panics.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "see `deliver_all`")]
    pub(super) fn deliver_with(
        self: &Rc<Self>,
        deliver: impl FnOnce(&mut Box<dyn WSListener>) -> Delivered,
    ) -> Delivered {
        let Some(mut listener) = self.listener.take() else { return Delivered::Done };
        // One guard for the whole run: what is behind it is consistent whichever callback panics.
        let result = panic::catch_unwind(AssertUnwindSafe(|| deliver(&mut listener)));
        self.listener.set(Some(listener));
        self.core.frames_delivered();
        result.unwrap_or_else(|panic| {
            self.listener_failed(WSListenerError::from_panic(&*panic));
            Delivered::Done
        })
    }

    /// Delivers frames of any kind as long as `goes_on` returns `true` before each. `None` once it
    /// has returned `false`.
    #[inline(never)]
    pub(super) fn deliver_while(
        self: &Rc<Self>,
        goes_on: impl Fn() -> bool,
        transport: &WSTransport,
        listener: &mut Box<dyn WSListener>,
        buffer: &mut RecvBuffer,
        received_at: Option<&SystemTime>,
    ) -> Option<Delivered> {
        while goes_on() {
            if buffer.is_empty() || !self.proto.borrow().is_delivering() {
                return Some(Delivered::Done);
            }
            match self.deliver_any(transport, &mut **listener, buffer.filled_mut(), received_at) {
                Ok(0) => return Some(Delivered::Done),
                Ok(wire_len) => buffer.consume(wire_len),
                Err(error) => return Some(Delivered::Failed(error)),
            }
            if self.core.frame_delivered() {
                self.run_deferred_between_frames(listener);
            }
        }
        None
    }

    #[inline(always)]
    #[expect(clippy::inline_always, reason = "see `deliver_all`")]
    fn deliver_frames<const PLAIN: bool>(
        self: &Rc<Self>,
        transport: &WSTransport,
        listener: &mut Box<dyn WSListener>,
        buffer: &mut RecvBuffer,
        received_at: Option<&SystemTime>,
    ) -> Delivered {
        let received = buffer.len();
        let mut rest = buffer.filled_mut();
        let outcome = loop {
            let mut proto = self.proto.borrow_mut();
            if let Some(header) = proto.peek_plain(rest) {
                let (head, payload, tail) = proto.take_plain(header, rest);
                drop(proto);
                rest = tail;
                let mut frame = WSFrame::new(head, payload).with_received_at(received_at);
                let event = ListenerEvent::Frame(&mut frame);
                let result = self.raise::<PLAIN>(&mut **listener, transport, event);
                self.frame_returned(result);
            } else {
                if rest.is_empty() || !proto.is_delivering() {
                    break Delivered::Done;
                }
                drop(proto);
                match self.deliver_any(transport, &mut **listener, rest, received_at) {
                    Ok(0) => break Delivered::Done,
                    Ok(wire_len) => rest = &mut rest[wire_len..],
                    Err(error) => break Delivered::Failed(error),
                }
            }
            if self.core.frame_delivered() {
                self.run_deferred_between_frames(listener);
            }
        };
        let left = rest.len();
        buffer.consume(received - left);
        outcome
    }

    /// Delivers a frame of any kind; the bytes it had on the wire, or zero if it is not whole.
    fn deliver_any(
        self: &Rc<Self>,
        transport: &WSTransport,
        listener: &mut dyn WSListener,
        bytes: &mut [u8],
        received_at: Option<&SystemTime>,
    ) -> Result<usize, WSProtocolError> {
        let polled = self.proto.borrow_mut().poll(bytes);
        let Some(head) = polled? else { return Ok(0) };
        let wire_len = head.wire_len();
        let payload = &mut bytes[head.header.header_len()..wire_len];
        let mut frame = WSFrame::new(head, payload).with_received_at(received_at);
        if frame.msg_type().is_control() {
            self.deliver_control(transport, listener, &mut frame)?;
        } else {
            self.deliver_one(transport, listener, &mut frame);
        }
        Ok(wire_len)
    }

    /// Delivers a frame, unless it is the answer to a ping.
    fn deliver_one(
        self: &Rc<Self>,
        transport: &WSTransport,
        listener: &mut dyn WSListener,
        frame: &mut WSFrame<'_>,
    ) {
        if self.proto.borrow().is_pong_awaited() && self.is_awaited_pong(transport, listener, frame) {
            return;
        }
        let result = self.raise::<false>(listener, transport, ListenerEvent::Frame(frame));
        self.frame_returned(result);
    }

    fn deliver_control(
        self: &Rc<Self>,
        transport: &WSTransport,
        listener: &mut dyn WSListener,
        frame: &mut WSFrame<'_>,
    ) -> Result<(), WSProtocolError> {
        let msg_type = frame.msg_type();
        let disposition =
            self.with_proto(|proto, out| proto.handle_control(msg_type, frame.payload(), out))?;
        self.touch();
        if disposition == Disposition::Deliver {
            self.deliver_one(transport, listener, frame);
        }
        if msg_type == WSMsgType::Close {
            let now = self.core.now();
            self.with_proto(|proto, out| proto.auto_close(now, out));
            self.touch();
        }
        Ok(())
    }
}
