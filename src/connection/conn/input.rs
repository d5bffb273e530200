//! The way in: read, find frames, deliver them to the listener, keep what is left.

use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::time::SystemTime;

use crate::buf::RecvBuffer;
use crate::connection::{Offer, Receivers, WSListener, WSResult, WSTransport};
use crate::net::{Io, Read};
use crate::proto::{Connection, Disposition, WSFrame, WSMsgType, WSProtocolError};
use crate::runtime::{WSListenerError, guard};

#[cfg(feature = "deflate")]
use super::super::deflate::LoopDeflate;
use super::super::flags::Flags;
use super::super::listener::{ListenerEvent, Nobody};
use super::super::pulling::Pull;
use super::super::timed::call_timed;
use super::{Conn, failing};

/// Most messages that are pulled after one wake-up. The task is woken again for the next ones, so that
/// others that are ready run in between.
const PULLS_PER_WAKE: u32 = 128;

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
        self.receive_once(transport, |mut buffer| {
            match self.deliver_all::<true>(transport, &mut buffer, None) {
                Delivered::Done if buffer.is_empty() => self.core.give_recv(buffer),
                delivered => self.delivered(delivered, buffer),
            }
        });
    }

    /// Reads once and serves tasks: nearly all reads of a connection that has such.
    #[inline(never)]
    pub(super) fn receive_for_tasks(self: &Rc<Self>, transport: &WSTransport) {
        self.receive_once(transport, |buffer| {
            let buffer = self.lend(buffer);
            if buffer.is_empty() {
                return self.core.give_recv(buffer);
            }
            self.deliver_to_tasks(transport, buffer);
        });
    }

    /// Reads once. If that drains the socket, as mostly, `deliver` gets the bytes.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "see `deliver_all`")]
    fn receive_once(self: &Rc<Self>, transport: &WSTransport, deliver: impl FnOnce(Box<RecvBuffer>)) {
        let mut buffer = self.core.take_recv();
        match self.wire.read(&mut buffer) {
            Some(Read::Data { len, more: false }) => {
                self.core.metrics().bytes_received(len);
                deliver(buffer);
            }
            Some(read) => self.receive_on(transport, buffer, read),
            None => {
                self.flags.set(Flags::MISSED);
                self.core.give_recv(buffer);
            }
        }
    }

    /// Goes on after a first read that has not drained the socket.
    #[inline(never)]
    pub(super) fn receive_on(self: &Rc<Self>, transport: &WSTransport, buffer: Box<RecvBuffer>, read: Read) {
        match self.received(transport, buffer, read) {
            Next::Read => self.receive(transport, 1),
            Next::LetOthersRead => self.core.make_ready(self.token),
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
        self.core.make_ready(self.token);
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
                self.keep(buffer);
                if again { Next::LetOthersRead } else { Next::Wait }
            }
            Read::End => {
                self.keep(buffer);
                self.wire.proto_mut().handle_end();
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

    /// Reads, and notes that something came, or when. `None` if the socket is closed.
    fn read(&self, buffer: &mut RecvBuffer) -> Option<Read> {
        let read = if self.flags.has(Flags::STAMPED) {
            let (read, received_at) = self.wire.read_with_timestamp(buffer)?;
            if let Read::Data { .. } = read {
                self.rare.set_received_at(received_at);
            }
            read
        } else {
            self.wire.read(buffer)?
        };
        if self.flags.has(Flags::WATCHED) && matches!(read, Read::Data { .. } | Read::End) {
            self.wire.proto_mut().handle_arrival(self.core.now());
        }
        Some(read)
    }

    /// Leaves the socket unread, and notices an end of TCP that reading would have found.
    #[cold]
    fn leave_unread(self: &Rc<Self>) {
        self.wire.with_io(Io::leave_unread);
        // `pause_reading` hides the end of the stream, as documented. Data that is held must not.
        if self.wire.proto().is_paused() {
            return;
        }
        // An error can be taken once only: what is taken is acted on.
        let end_ahead = self.wire.with_io(|io| io.is_end_ahead().then(|| io.take_error())).flatten();
        match end_ahead {
            Some(Some(error)) => self.io_failed("receive", &error),
            Some(None) => self.wire.proto_mut().handle_held_end(self.core.now()),
            None => {}
        }
        self.act();
    }

    /// Returns the time at which the kernel received the last read, if it was asked to note it.
    pub(crate) fn received_at(&self) -> Option<SystemTime> {
        if self.flags.has(Flags::STAMPED) { self.rare.received_at() } else { None }
    }

    // --- buffers -------------------------------------------------------------------------------

    /// Returns the buffer for the next read. `None` if bytes from the socket have no use now: the
    /// socket is closed, or delivery has stopped. At the end of a connection they do, as the peer's
    /// FIN is behind them.
    fn buffer_for_read(&self) -> Option<Box<RecvBuffer>> {
        if !self.wire.has_io() {
            return None;
        }
        let proto = self.wire.proto();
        if !proto.is_reading_paused() {
            self.flags.clear(Flags::LEFTOVER);
            return Some(self.leftover.read_on(|| proto.pending_wire_len(), &self.core));
        }
        if proto.is_stopped() {
            return None;
        }
        if !proto.is_receiving() {
            // All of it is thrown away.
            self.drop_leftover();
            return Some(self.core.take_recv());
        }
        self.flags.clear(Flags::LEFTOVER);
        Some(self.leftover.read_control_frames(&self.core))
    }

    /// Keeps what is left in the buffer. A buffer without bytes goes back.
    fn keep(&self, buffer: Box<RecvBuffer>) {
        if buffer.is_empty() {
            return self.core.give_recv(buffer);
        }
        self.leftover.keep(buffer, &self.core);
        self.flags.set(Flags::LEFTOVER);
    }

    pub(super) fn drop_leftover(&self) {
        self.flags.clear(Flags::LEFTOVER | Flags::HELD);
        self.leftover.drop_bytes(&self.core);
    }

    // --- frames ------------------------------------------------------------------------------------------------------------

    /// Delivers the frames that were left when delivery stopped, unless it is to stop still.
    #[cold]
    fn deliver_held(self: &Rc<Self>, transport: &WSTransport) {
        if self.wire.proto().is_stopped() {
            return;
        }
        self.flags.clear(Flags::HELD | Flags::LEFTOVER);
        if let Some(held) = self.leftover.take() {
            self.dispatch(transport, held);
        }
    }

    /// Delivers the whole frames in `buffer` and keeps the rest.
    #[inline(never)]
    pub(super) fn dispatch(self: &Rc<Self>, transport: &WSTransport, mut buffer: Box<RecvBuffer>) {
        if self.flags.has(Flags::SERVES_TASKS) {
            let buffer = self.lend_on(buffer);
            return self.deliver_to_tasks(transport, buffer);
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
        if !self.wire.proto().is_receiving() {
            buffer.clear();
        } else if !buffer.is_empty() && self.wire.proto().is_stopped() {
            self.flags.set(Flags::HELD);
        }
        self.keep(buffer);
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
                let awaits_pong = || self.wire.proto().is_pong_awaited();
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
            failing::listener_failed(self, &WSListenerError::from_panic(&*panic));
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
            if buffer.is_empty() || !self.wire.proto().is_delivering() {
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
            let mut proto = self.wire.proto_mut();
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
        let polled = self.wire.proto_mut().poll(bytes);
        let Some(head) = polled? else { return Ok(0) };
        let wire_len = head.wire_len();
        let payload = &mut bytes[head.header.header_len()..wire_len];
        let mut frame = WSFrame::new(head, payload).with_received_at(received_at);
        #[cfg(feature = "deflate")]
        if self.flags.has(Flags::DEFLATE)
            && self.with_deflate(|deflate, _| deflate.is_compressed(&frame)) == Some(true)
        {
            self.deliver_compressed(transport, listener, &frame)?;
            return Ok(wire_len);
        }
        if frame.msg_type().is_control() {
            self.deliver_control(transport, listener, &mut frame)?;
        } else {
            self.deliver_one(transport, listener, &mut frame);
        }
        Ok(wire_len)
    }

    /// Takes a frame of a compressed message. If it ends the message, delivers that, inflated, as one
    /// frame.
    #[cfg(feature = "deflate")]
    fn deliver_compressed(
        self: &Rc<Self>,
        transport: &WSTransport,
        listener: &mut dyn WSListener,
        last: &WSFrame<'_>,
    ) -> Result<(), WSProtocolError> {
        let shared = self.core.local::<LoopDeflate>();
        let limit = usize::try_from(self.settings.rules.max_message_size).unwrap_or(usize::MAX);
        let mut inflated = shared.inflated.take();
        let taken = self.with_deflate(|deflate, _| deflate.inflate(last, limit, &mut inflated));
        if let Some((msg_type, wire_len)) = taken.transpose()?.flatten() {
            let mut message = last.inflated(msg_type, wire_len, inflated.filled_mut());
            if msg_type == WSMsgType::Text && self.wire.proto().checks_text() {
                message.payload_as_utf8()?;
            }
            self.deliver_one(transport, listener, &mut message);
        }
        shared.inflated.give(inflated);
        Ok(())
    }

    /// Delivers a frame, unless it is the answer to a ping.
    fn deliver_one(
        self: &Rc<Self>,
        transport: &WSTransport,
        listener: &mut dyn WSListener,
        frame: &mut WSFrame<'_>,
    ) {
        if self.wire.proto().is_pong_awaited() && self.is_awaited_pong(transport, listener, frame) {
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

    /// Callbacks that became due run before the next frame: the listener is in its place meanwhile, as they may be its own.
    #[inline(never)]
    fn run_deferred_between_frames(self: &Rc<Self>, listener: &mut Box<dyn WSListener>) {
        self.listener.set(Some(std::mem::replace(listener, Box::new(Nobody))));
        self.core.run_deferred();
        if let Some(back) = self.listener.take() {
            *listener = back;
        }
    }

    /// Calls the listener for an event. All calls of a listener go through here. `PLAIN`: callbacks
    /// are not measured.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "for a known event it is one virtual call")]
    pub(super) fn raise<const PLAIN: bool>(
        &self,
        listener: &mut dyn WSListener,
        transport: &WSTransport,
        event: ListenerEvent<'_, '_>,
    ) -> WSResult {
        let may_be_timed = !PLAIN || cfg!(debug_assertions);
        if may_be_timed && self.flags.has(Flags::MEASURED | Flags::CLOCKED) {
            return call_timed(listener, transport, event);
        }
        event.call(listener, transport)
    }

    // --- tasks ---------------------------------------------------------------------------------

    fn receivers(&self) -> Option<Rc<dyn Receivers>> {
        self.receivers.get()?.upgrade()
    }

    /// Tells the tasks, if there are any. Wakers, which may panic, are called by that.
    pub(super) fn tell_receivers(&self, tell: impl FnOnce(&dyn Receivers)) {
        if let Some(receivers) = self.receivers() {
            guard("a waker", || tell(&*receivers));
        }
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
        let header = self.wire.proto_mut().take_message(buffer.filled());
        if let Some(header) = header {
            return Some(Pull::new(self, buffer, header));
        }
        self.leftover.put(buffer);
        None
    }

    /// Takes the lent bytes back, out of which a message was taken.
    #[inline]
    pub(crate) fn pulled(&self, buffer: Box<RecvBuffer>) {
        // Mostly the task asks once more, which is then answered at once.
        self.pulls_left.set(if buffer.is_empty() { 0 } else { self.pulls_left.get() - 1 });
        self.leftover.put(buffer);
        self.core.frame_delivered();
    }

    /// Calls `look` with the bytes that are lent, or what tasks have left of them.
    pub(crate) fn with_lent<R>(&self, look: impl FnOnce(&mut Connection, &[u8]) -> R) -> R {
        self.leftover.with_bytes(|bytes| look(&mut self.wire.proto_mut(), bytes))
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
            let lent = buffer.len();
            self.leftover.put(buffer);
            self.pulls_left.set(PULLS_PER_WAKE);
            match offer {
                Offer::Task(task) => self.core.tasks().run_now(task),
                Offer::Woken | Offer::Nobody => self.core.tasks().run_ready(),
            }
            self.pulls_left.set(0);
            // It is gone if the connection ended meanwhile.
            buffer = self.leftover.take().unwrap_or_default();
            if buffer.is_empty() || buffer.len() == lent {
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
}
