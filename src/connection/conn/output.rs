//! The way out: send, gather, write, and carry out what the protocol asks for.

use std::io;
use std::rc::{Rc, Weak};

#[cfg(feature = "deflate")]
use crate::buf::WS_HEADROOM;
use crate::connection::{Receivers, WSSendStatus, WSTransport};
use crate::net::Io;
use crate::proto::{
    self, Action, Event, FirstByte, MAX_SHORT_PAYLOAD, Payload, Role, SendContext, SendOptions, WSCloseCode,
    WSDisconnectCause, WSDropReason, WSMsgType, WSPreparedFrame, WSPreparedMessage,
};
use crate::runtime::{Readiness, TimerId, TimerKind};

use super::super::budget::Budget;
#[cfg(feature = "deflate")]
use super::super::deflate::{COMPRESSED, LoopDeflate};
use super::super::flags::Flags;
use super::super::listener::ListenerEvent;
use super::super::wire::Gathered;
use super::{Conn, EVENT};

impl Conn {
    /// Sends a message, or a control frame, from borrowed memory.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "mostly the type is a constant, and so is the byte")]
    pub(crate) fn send(self: &Rc<Self>, msg_type: WSMsgType, payload: &[u8]) -> WSSendStatus {
        self.send_borrowed::<true>(FirstByte::new(msg_type, SendOptions::default()), payload)
    }

    /// Sends a frame from borrowed memory. It is never compressed.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "mostly both are constants, and so is the byte")]
    pub(crate) fn send_frame(
        self: &Rc<Self>,
        msg_type: WSMsgType,
        payload: &[u8],
        options: SendOptions,
    ) -> WSSendStatus {
        self.send_borrowed::<false>(FirstByte::new(msg_type, options), payload)
    }

    /// Appends the frame to the gathered ones, which is all that most need. The rest is up
    /// to [`send_message`](Self::send_message) and [`send_any`](Self::send_any).
    #[inline]
    fn send_borrowed<const MESSAGE: bool>(self: &Rc<Self>, first: FirstByte, payload: &[u8]) -> WSSendStatus {
        if payload.len() > MAX_SHORT_PAYLOAD {
            self.send_longer::<MESSAGE>(first, payload)
        } else if self.append::<2>(first, payload) {
            WSSendStatus::Queued
        } else {
            self.send_otherwise::<MESSAGE>(first, payload)
        }
    }

    /// By itself, so that nothing has to be saved for the call that copies the payload on the way of
    /// those that are short.
    #[inline(never)]
    fn send_longer<const MESSAGE: bool>(self: &Rc<Self>, first: FirstByte, payload: &[u8]) -> WSSendStatus {
        if self.append::<4>(first, payload) {
            WSSendStatus::Queued
        } else {
            self.send_otherwise::<MESSAGE>(first, payload)
        }
    }

    #[inline]
    fn send_otherwise<const MESSAGE: bool>(
        self: &Rc<Self>,
        first: FirstByte,
        payload: &[u8],
    ) -> WSSendStatus {
        let payload = Payload::Borrowed(payload);
        if MESSAGE && self.flags.has(Flags::DEFLATE) {
            self.send_message(first.msg_type(), payload, None)
        } else {
            self.send_any(first, payload)
        }
    }

    /// A connection with compression appends nothing here: its messages are compressed first.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the way of nearly all frames, in each of its callers")]
    fn append<const HEADER: usize>(&self, first: FirstByte, payload: &[u8]) -> bool {
        self.flags.all(Flags::CORKED | Flags::DEFLATE) == Flags::CORKED
            && self.wire.proto_mut().append::<HEADER>(first, payload)
    }

    /// Appends a message to what is gathered. Returns `false`, and does nothing, if it has to go
    /// through [`send`](Self::send).
    #[inline]
    pub(crate) fn gather_message(&self, msg_type: WSMsgType, payload: &[u8]) -> bool {
        let first = FirstByte::new(msg_type, SendOptions::default());
        if payload.len() > MAX_SHORT_PAYLOAD {
            self.gather_longer(first, payload)
        } else {
            self.append::<2>(first, payload)
        }
    }

    /// See [`send_longer`](Self::send_longer).
    #[inline(never)]
    fn gather_longer(&self, first: FirstByte, payload: &[u8]) -> bool {
        self.append::<4>(first, payload)
    }

    /// Sends a frame of any kind, in any state: gathers it, hands it to the kernel from where it is,
    /// or queues it.
    #[inline(never)]
    fn send_any(self: &Rc<Self>, first: FirstByte, payload: Payload<'_>) -> WSSendStatus {
        if self.cork() && self.wire.proto_mut().gather(first, &payload, self.core.pool_cell()) {
            return WSSendStatus::Queued;
        }
        let (msg_type, options, len) = (first.msg_type(), first.options(), payload.len());
        if let Err(reason) = self.admit(msg_type, options, len) {
            return self.dropped_for(reason);
        }
        let writes_through = len >= self.settings.tuning.no_copy_threshold && self.wire.takes_bytes();
        match payload {
            Payload::Borrowed(payload) if writes_through && self.protocol_role() == Role::Server => {
                let header = self.with_proto(|proto, out| proto.header(msg_type, options, len, out.keys));
                self.write_through(&[&header.encode(), payload])
            }
            Payload::InPlace(buffer, start) if writes_through => {
                let start = self.with_proto(|proto, out| {
                    proto.encode_in_place(msg_type, buffer, start, options, out.keys)
                });
                self.write_through(&[&buffer[start..]])
            }
            payload => {
                self.change(|proto, out| proto.enqueue(msg_type, payload, options, out));
                if self.rare.ending().is_some() {
                    WSSendStatus::Dropped(WSDropReason::Disconnected)
                } else if self.wire.proto().has_left() {
                    WSSendStatus::Sent
                } else {
                    WSSendStatus::Queued
                }
            }
        }
    }

    /// Writes what waits and then `pieces`, which were admitted, in one system call; copies only
    /// what the kernel refuses.
    fn write_through(self: &Rc<Self>, pieces: &[&[u8]]) -> WSSendStatus {
        if !self.wire.shows(pieces.len()) {
            self.flush();
        }
        let refused = self.wire.write_through(pieces, &self.core);
        if let Err(error) = &refused {
            self.io_failed("send", error);
        }
        self.act();
        match refused {
            Ok(false) => WSSendStatus::Sent,
            Ok(true) => WSSendStatus::Queued,
            Err(_) => WSSendStatus::Dropped(WSDropReason::Disconnected),
        }
    }

    /// Checks whether a frame may be sent. If it does not fit, what was only gathered may still
    /// leave: the limits are for what the kernel refuses.
    fn admit(
        self: &Rc<Self>,
        msg_type: WSMsgType,
        options: SendOptions,
        len: usize,
    ) -> Result<(), WSDropReason> {
        let (refused, fits) = {
            let proto = self.wire.proto();
            (proto.is_refused(), proto.has_room(len))
        };
        if refused {
            self.ask_budget(msg_type, options, len)?;
        } else if !fits {
            self.flush();
        }
        self.wire.proto_mut().admit(msg_type, options, len)
    }

    /// Asks the loop's budget for a frame on a connection whose kernel refuses bytes.
    #[cold]
    fn ask_budget(&self, msg_type: WSMsgType, options: SendOptions, len: usize) -> Result<(), WSDropReason> {
        let mut proto = self.wire.proto_mut();
        // Control frames are small, and their peers wait for them. After CLOSE, or when the
        // connection is over, it is something else why the frame cannot be sent.
        let is_exempt = msg_type.is_control() || proto.is_close_sent() || self.rare.ending().is_some();
        if is_exempt || self.core.local::<Budget>().admits(len) {
            return Ok(());
        }
        proto.drop_frame(msg_type, options, len);
        Err(WSDropReason::Overflow)
    }

    #[cold]
    fn dropped_for(self: &Rc<Self>, reason: WSDropReason) -> WSSendStatus {
        if reason == WSDropReason::Overflow {
            let (frames, bytes) = self.wire.proto_mut().take_new_drops();
            self.core.metrics().dropped(frames, bytes);
        }
        self.act();
        WSSendStatus::Dropped(reason)
    }

    /// Returns `true` if what is sent now leaves when the dispatch ends, and sees to it that it does.
    #[inline]
    fn cork(self: &Rc<Self>) -> bool {
        if self.flags.has(Flags::CORKED) {
            return true;
        }
        let corks = self.core.is_dispatching() && self.settings.corks;
        if corks {
            self.flags.set(Flags::CORKED);
            self.core.mark_dirty(self);
        }
        corks
    }

    /// Sends a frame in whatever memory it is. It is never compressed.
    pub(crate) fn send_payload(
        self: &Rc<Self>,
        msg_type: WSMsgType,
        payload: Payload<'_>,
        options: SendOptions,
    ) -> WSSendStatus {
        self.send_any(FirstByte::new(msg_type, options), payload)
    }

    /// Sends a frame that was encoded once for many connections.
    pub(crate) fn send_prepared_frame(self: &Rc<Self>, frame: &WSPreparedFrame) -> WSSendStatus {
        self.send_payload(frame.msg_type(), Payload::Prepared(frame), frame.options())
    }

    // --- messages ------------------------------------------------------------------------------

    /// Sends a message, or a control frame, in whatever memory it is. `compress` overrules the
    /// configuration.
    #[inline(never)]
    #[cfg_attr(not(feature = "deflate"), expect(unused_variables, reason = "nothing is compressed"))]
    pub(crate) fn send_message(
        self: &Rc<Self>,
        msg_type: WSMsgType,
        payload: Payload<'_>,
        compress: Option<bool>,
    ) -> WSSendStatus {
        #[cfg(feature = "deflate")]
        if self.flags.has(Flags::DEFLATE)
            && matches!(msg_type, WSMsgType::Text | WSMsgType::Binary)
            && let Some(status) = self.send_compressed(msg_type, payload.as_bytes(), compress)
        {
            return status;
        }
        self.send_payload(msg_type, payload, SendOptions::default())
    }

    /// Compresses a message into memory of the loop and sends it. `None` if it is to be sent as it is.
    #[cfg(feature = "deflate")]
    fn send_compressed(
        self: &Rc<Self>,
        msg_type: WSMsgType,
        payload: &[u8],
        compress: Option<bool>,
    ) -> Option<WSSendStatus> {
        let shared = self.core.local::<LoopDeflate>();
        let mut output = shared.output.take();
        output.begin(WS_HEADROOM);
        let deflated =
            self.with_deflate(|deflate, context| deflate.deflate(payload, compress, &mut output, context));
        let status = (deflated == Some(true)).then(|| {
            let in_place = Payload::InPlace(output.filled_mut(), WS_HEADROOM);
            self.send_payload(msg_type, in_place, COMPRESSED)
        });
        shared.output.give(output);
        if status.is_some_and(|status| !status.is_accepted()) {
            // The peer will not get what later messages would refer to.
            self.with_deflate(|deflate, _| deflate.forget());
        }
        status
    }

    /// Sends a message that was encoded once for many connections.
    pub(crate) fn send_prepared(self: &Rc<Self>, message: &WSPreparedMessage) -> WSSendStatus {
        #[cfg(feature = "deflate")]
        if let Some(Some(frame)) = self.with_deflate(|deflate, context| deflate.prepared(message, context)) {
            let status = self.send_prepared_frame(frame);
            // The peer's window goes on with a message that this end's compressor has not seen:
            // distances would count from another place.
            self.with_deflate(|deflate, _| deflate.forget());
            return status;
        }
        self.send_prepared_frame(message.plain())
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

    /// Lets tasks run before the next frame is delivered: they may make room, and answer before the
    /// effects of that frame, such as a CLOSE or an error.
    pub(crate) fn yield_to_tasks(&self) {
        self.flags.set(Flags::YIELDS);
    }

    // --- control frames, the queue -------------------------------------------------------------

    /// Queues the head of the opening handshake's response.
    pub(crate) fn send_head(self: &Rc<Self>, head: Vec<u8>) {
        self.change(|proto, out| proto.enqueue_owned(head, out.pool));
    }

    /// Queues a CLOSE frame. Whether one was queued.
    pub(crate) fn send_close(self: &Rc<Self>, code: WSCloseCode, reason: &str) -> bool {
        let now = self.core.now();
        self.change(|proto, out| proto.send_close(code, reason, now, out))
    }

    /// The queue has grown: it leaves at the end of the dispatch, or now if there is none; if the
    /// kernel refuses bytes, when it takes them again.
    #[inline]
    pub(super) fn touch(self: &Rc<Self>) {
        let (leaves, is_long) = {
            let proto = self.wire.proto();
            (proto.queued() > 0 && !proto.is_refused(), proto.is_long())
        };
        if leaves && (is_long || !self.cork()) {
            self.flush();
        }
    }

    /// Hands to the kernel what waits, then does what is due.
    pub(crate) fn flush(self: &Rc<Self>) {
        self.write();
        self.act();
    }

    /// Writes the queue until it is empty or the kernel refuses.
    fn write(&self) {
        let written = self.wire.write(&self.core);
        self.written(written);
    }

    fn written(&self, written: io::Result<()>) {
        if let Err(error) = written {
            self.io_failed("send", &error);
        }
    }

    pub(crate) fn set_watermarks(self: &Rc<Self>, low: usize, high: usize) {
        self.change(|proto, _| proto.set_watermarks(low, high));
    }

    /// Whether more waits than the high watermark; if so, `resume_writing` will be called, whether or not `pause_writing` was.
    pub(crate) fn awaits_resume(&self) -> bool {
        self.wire.proto_mut().awaits_resume()
    }

    pub(crate) fn buffered_amount(&self) -> usize {
        self.wire.buffered_amount()
    }

    pub(crate) fn dropped(&self) -> (u64, u64) {
        self.wire.proto().dropped()
    }

    /// Most bytes that may wait to be sent.
    pub(crate) fn max_outbound(&self) -> usize {
        self.settings.rules.max_outbound
    }
}

// --- driving -----------------------------------------------------------------------------------

impl Conn {
    /// Returns `true` if nothing of the state is to be heeded in receiving. Then frames that are
    /// sent meanwhile find the queue open.
    #[inline]
    pub(super) fn opens_plainly(&self) -> bool {
        let mut proto = self.wire.proto_mut();
        let is_plain = proto.receives_plainly();
        if is_plain && self.flags.has(Flags::CORKED) {
            proto.open_queue(self.core.pool_cell());
        }
        is_plain
    }

    /// Serves a readiness event of any kind, in any state.
    #[inline(never)]
    pub(super) fn ready_any(self: &Rc<Self>, transport: &WSTransport, readiness: Readiness) {
        if !self.wire.has_io() {
            return self.flags.set(Flags::MISSED);
        }
        if readiness.writable && self.wire.proto().is_refused() {
            self.flush();
        }
        if readiness.read_closed {
            self.wire.with_io(|io| io.note(true));
        }
        if readiness.readable {
            self.receive(transport, 0);
        }
    }

    /// Brings the connection up to date at the end of a dispatch: writes what was gathered, then
    /// does what is due.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "an event costs one; saving registers would cost as much again")]
    pub(super) fn drive_now(self: &Rc<Self>) {
        self.flags.clear(Flags::CORKED);
        if self.flags.has(Flags::SECURE) {
            return self.drive_any();
        }
        match self.wire.write_gathered(&self.core) {
            Gathered::Left => {}
            Gathered::InPart { offered, written } => {
                let written = self.wire.write_on(offered, written, &self.core);
                self.written(written);
                self.act();
            }
            Gathered::Untried => self.drive_any(),
        }
    }

    #[inline(never)]
    fn drive_any(self: &Rc<Self>) {
        // Refused bytes wait for the event that announces room: a write now would fail again.
        if !self.wire.proto().is_refused() {
            self.write();
        }
        self.act();
        self.report();
    }

    /// Changes the state of the protocol, then does what follows from that.
    pub(super) fn change<R>(
        self: &Rc<Self>,
        change: impl FnOnce(&mut proto::Connection, &mut SendContext<'_>) -> R,
    ) -> R {
        let result = self.wire.with_proto(&self.core, change);
        self.follow();
        result
    }

    /// Does what follows from a change: what was queued leaves, actions are carried out.
    pub(super) fn follow(self: &Rc<Self>) {
        if !self.wire.proto().is_aborted() {
            self.touch();
        }
        self.act();
    }

    /// Carries out the actions of the protocol. Runs no user code.
    #[inline]
    pub(super) fn act(self: &Rc<Self>) {
        if self.wire.proto().has_actions() {
            self.act_on();
        }
    }

    #[cold]
    fn act_on(self: &Rc<Self>) {
        // While `with_socket` lends the stream, only an end that is decided is carried out. The rest
        // follows when the stream is back.
        if !self.wire.has_io() && !self.wire.proto().is_aborted() {
            return;
        }
        let now = self.core.now();
        loop {
            let stream = self.wire.stream_state();
            let Some(action) = self.wire.proto_mut().poll_action(now, stream) else { break };
            match action {
                Action::Write => self.write(),
                Action::ShutdownWrite => self.shutdown_write(),
                Action::SetInterest { writable } => self.set_interest(writable),
                Action::SetTimer(at) => {
                    let timer = at.map(|at| self.core.add_timer(at, self.token, TimerKind::DEADLINE));
                    self.replace_timer(timer);
                }
                Action::ReadOn => {
                    self.wire.with_io(Io::leave_unread);
                    self.core.make_ready(self.token);
                }
                Action::Notify => self.core.defer_source(self, EVENT),
                Action::Disconnected(info) => return self.end(info),
            }
        }
        let refused = if self.wire.proto().is_refused() { self.buffered_amount() } else { 0 };
        self.account(refused);
        self.report();
    }

    fn shutdown_write(&self) {
        match self.wire.with_io(|io| (io.shutdown_write(), io.held() > 0)) {
            Some((Ok(()), refused)) => {
                self.with_proto(|proto, out| proto.handle_refused(refused, out));
            }
            _ => {
                self.wire.proto_mut().abort(WSDisconnectCause::Closed);
            }
        }
    }

    /// Arms writable interest exactly while the kernel refuses bytes.
    fn set_interest(&self, writable: bool) {
        let changed =
            self.wire.with_io(|io| io.want_write(self.core.registry(), self.token.to_mio(), writable));
        if let Some(Err(error)) = changed {
            error_limited!("connection {}: cannot change interest: {error}", self.id());
        }
    }

    /// Cancels the timer and notes the one that takes its place.
    pub(super) fn replace_timer(&self, timer: Option<TimerId>) {
        if let Some(old) = self.rare.replace_timer(timer) {
            self.core.cancel_timer(old);
        }
    }

    /// Tells the loop's budget how many bytes the kernel refuses. May end this connection, or
    /// others.
    pub(super) fn account(self: &Rc<Self>, refused: usize) {
        let before = self.rare.accounted();
        if refused == before {
            return;
        }
        let budget = self.core.local::<Budget>();
        if budget.is_limited() {
            self.rare.set_accounted(refused);
            budget.account(self, before, refused, &self.core);
        }
    }

    /// Passes an event of the protocol to the listener.
    pub(super) fn run_event(self: &Rc<Self>) {
        let Some(event) = self.wire.proto_mut().poll_event() else { return };
        match event {
            Event::PauseWriting => self.call_listener(ListenerEvent::PauseWriting),
            Event::ResumeWriting => self.call_listener(ListenerEvent::ResumeWriting),
            Event::PeerEnded => {
                // The rest of the frame does not come any more.
                self.drop_leftover();
                self.tell_receivers(|receivers| receivers.peer_ended());
            }
            Event::HandshakeClosed => self.rare.tell_end_waiters(),
            Event::SendPing => self.ping(),
        }
        self.follow();
    }
}
