//! The way in: read, find frames, deliver them to the listener, keep what is left.

use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::time::SystemTime;

use crate::buf::RecvBuffer;
#[cfg(feature = "deflate")]
use crate::connection::Inflated;
use crate::connection::{WSListener, WSResult, WSTransport};
use crate::net::{Io, Read};
use crate::proto::{Disposition, Role, WSCloseCode, WSDisconnectCause, WSFrame, WSMsgType, WSProtocolError};
use crate::runtime::WSListenerError;

use super::super::flags::Flags;
use super::super::listener::ListenerEvent;
use super::super::timed::call_timed;
use super::Conn;

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
        let Some(read) = self.wire.read(&mut buffer) else { return self.core.give_recv(buffer) };
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
                self.with_extras(|extras| extras.received_at = received_at);
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
        let end_ahead = self.wire.with_io(|io| io.is_end_ahead().then(|| io.take_error())).flatten();
        match end_ahead {
            _ if self.wire.proto().is_paused() => {}
            Some(Some(error)) => self.io_failed("receive", &error),
            Some(None) => self.wire.proto_mut().handle_held_end(self.core.now()),
            None => {}
        }
        self.act();
    }

    /// Reads on in the next turn, whatever the events tell.
    pub(super) fn read_again(&self) {
        self.wire.with_io(Io::leave_unread);
        self.core.make_ready(self.token);
    }

    /// Returns the time at which the kernel received the last read, if it was asked to note it.
    pub(super) fn received_at(&self) -> Option<SystemTime> {
        if !self.flags.has(Flags::STAMPED) {
            return None;
        }
        self.rare.get().and_then(|rare| rare.extras.borrow().received_at)
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
        self.flags.clear(Flags::LEFTOVER);
        self.leftover.drop_bytes(&self.core);
    }

    // --- reading on and off --------------------------------------------------------------------

    pub(crate) fn pause_reading(&self) {
        self.wire.proto_mut().pause_reading();
    }

    pub(crate) fn resume_reading(self: &Rc<Self>) {
        self.change(|proto, _| proto.resume_reading());
    }

    /// Holds data because the queue of the tasks that receive is full.
    pub(crate) fn hold_for_receivers(&self) {
        self.wire.proto_mut().hold_data();
    }

    /// Takes back the reason of a full queue: it has room again.
    pub(crate) fn release_for_receivers(self: &Rc<Self>) {
        self.change(|proto, _| proto.release_data());
    }

    pub(crate) fn is_reading_paused(&self) -> bool {
        self.wire.proto().is_reading_paused()
    }

    pub(crate) fn expect_messages(&self) {
        self.wire.proto_mut().expect_messages();
    }

    /// Returns `true` if the data frame with this RSV1 belongs to a compressed message. `begins` says
    /// whether it begins one.
    #[cfg(feature = "deflate")]
    pub(crate) fn is_compressed(&self, begins: bool, rsv1: bool) -> bool {
        self.flags.has(Flags::DEFLATE)
            && self.with_deflate(|deflate, _| deflate.is_compressed(begins, rsv1)) == Some(true)
    }

    /// Inflates a message.
    #[cfg(feature = "deflate")]
    pub(crate) fn inflate(&self, payload: &[u8]) -> Result<Inflated, WSProtocolError> {
        let limit = usize::try_from(self.settings.rules.max_message_size).unwrap_or(usize::MAX);
        let inflated = self.with_deflate(|deflate, context| deflate.inflate(payload, limit, context.core));
        inflated.unwrap_or_else(|| Ok(Inflated::default()))
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
        let disposition = self
            .wire
            .with_proto(&self.core, |proto, out| proto.handle_control(msg_type, frame.payload(), out))?;
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

    /// Asks the listener whether a frame is the answer that is awaited; if so, takes it for that.
    #[cold]
    fn is_awaited_pong(
        &self,
        transport: &WSTransport,
        listener: &mut dyn WSListener,
        frame: &WSFrame<'_>,
    ) -> bool {
        if frame.msg_type() == WSMsgType::Close {
            return false;
        }
        let mut is_pong = false;
        let asked = self.raise::<false>(listener, transport, ListenerEvent::IsPong(frame, &mut is_pong));
        debug_assert!(asked.is_ok(), "the question has no error");
        if is_pong {
            self.pong_received();
        }
        is_pong
    }

    // --- the listener --------------------------------------------------------------------------

    /// Calls the listener for an event. All calls of a listener go through here. `PLAIN`: callbacks
    /// are not measured.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "for a known event it is one virtual call")]
    fn raise<const PLAIN: bool>(
        &self,
        listener: &mut dyn WSListener,
        transport: &WSTransport,
        event: ListenerEvent<'_, '_>,
    ) -> WSResult {
        if !PLAIN && self.flags.has(Flags::MEASURED) {
            return call_timed(self.core.metrics(), listener, transport, event);
        }
        event.call(listener, transport)
    }

    /// Calls the listener for an event other than a frame, and handles its error or panic.
    pub(super) fn call_listener(self: &Rc<Self>, event: ListenerEvent<'_, '_>) {
        let Some(mut listener) = self.listener.take() else { return };
        let transport = WSTransport::new(Rc::clone(self));
        let is_last = matches!(event, ListenerEvent::Disconnected);
        let call = || self.raise::<false>(&mut *listener, &transport, event);
        let result = panic::catch_unwind(AssertUnwindSafe(call));
        self.listener.set(Some(listener));
        match result {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.callback_failed(error, true),
            Err(panic) => {
                let error = WSListenerError::from_panic(&*panic);
                if is_last {
                    self.note_last_error(&error);
                }
                self.listener_failed(error);
            }
        }
    }

    /// Whether no callback of the listener is running.
    pub(super) fn is_listener_free(&self) -> bool {
        let listener = self.listener.take();
        let is_free = listener.is_some();
        self.listener.set(listener);
        is_free
    }

    /// Handles the result of `on_ws_frame`.
    #[inline]
    fn frame_returned(self: &Rc<Self>, result: WSResult) {
        if let Err(error) = result {
            self.callback_failed(error, self.settings.disconnect_on_error);
        }
    }

    /// Fails the connection for an error of the peer that was found in its frames or messages.
    #[cold]
    pub(crate) fn peer_failed(self: &Rc<Self>, error: &WSProtocolError) {
        self.fail(error, WSDisconnectCause::ProtocolError, error.clone().into());
        self.tell_receivers(|receivers| receivers.peer_failed(error));
    }

    #[cold]
    fn callback_failed(self: &Rc<Self>, error: Box<dyn std::error::Error + Send + Sync>, disconnects: bool) {
        match error.downcast::<WSProtocolError>() {
            Ok(error) => {
                // The listener has not failed, it rejects the peer's data. With a louder line a
                // peer could fill the log.
                log::debug!("connection {}: the listener closes: {error}", self.id());
                let close = (*error).clone();
                self.listener_ended(WSListenerError::new(error), &close);
            }
            Err(error) if !disconnects => {
                error_limited!("connection {}: on_ws_frame failed: {error}", self.id());
            }
            Err(error) => self.listener_failed(WSListenerError::new(error)),
        }
    }

    /// Closes with 1011. A client's error comes out of `wait_disconnected`, a server's is logged.
    pub(super) fn listener_failed(self: &Rc<Self>, error: WSListenerError) {
        if self.protocol_role() == Role::Server {
            error_limited!("connection {}: the listener failed: {error}", self.id());
        }
        self.listener_ended(error, &WSProtocolError::new(WSCloseCode::INTERNAL_ERROR, ""));
    }

    fn listener_ended(self: &Rc<Self>, error: WSListenerError, close: &WSProtocolError) {
        self.fail(close, WSDisconnectCause::ListenerError, error.into());
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
}

/// Stands in for a listener that is in use elsewhere for a moment.
struct Nobody;

impl WSListener for Nobody {
    fn on_ws_frame(&mut self, _: &WSTransport, _: &mut WSFrame<'_>) -> WSResult {
        Ok(())
    }
}
