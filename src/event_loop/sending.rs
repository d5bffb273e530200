//! Sending on an open connection: gather, write through, flush.

use std::io::{self, IoSlice};
use std::rc::Rc;

use bytes::Bytes;

use crate::buf::WSBuffer;
use crate::proto::{MAX_SHORT_PAYLOAD, Role, SendOptions, WSDropReason};
use crate::{
    WSCloseCode, WSDisconnectCause, WSListener, WSMsgType, WSPreparedFrame, WSPreparedMessage, WSSendStatus,
    WSTransport, WSWriteStrategy,
};

use super::callbacks::Callback;
use super::connection::{Conn, Flags};
use super::deferred::Deferred;
use super::stream::Stream;

/// Most pieces of memory handed to the kernel in one call.
const MAX_SLICES: usize = 64;

/// A gathered queue of this many bytes is flushed before the dispatch ends: the kernel can go to work, and the memory stays in the
/// cache.
const EARLY_FLUSH: usize = 256 * 1024;

impl Conn {
    /// Sends a frame from borrowed memory.
    #[inline]
    pub(crate) fn send(
        self: &Rc<Self>,
        msg_type: WSMsgType,
        payload: &[u8],
        options: SendOptions,
    ) -> WSSendStatus {
        // Open only while the connection is on the dirty list: what is queued leaves when the dispatch ends.
        if payload.len() <= MAX_SHORT_PAYLOAD
            && self.proto.borrow_mut().gather_short(msg_type, payload, options)
        {
            return WSSendStatus::Queued;
        }
        self.send_any(msg_type, payload, options)
    }

    /// Sends a message, compressed if that was agreed on; `compress` overrules what the configuration says.
    #[inline]
    #[cfg_attr(not(feature = "deflate"), expect(unused_variables, reason = "nothing is compressed"))]
    pub(crate) fn send_message(
        self: &Rc<Self>,
        msg_type: WSMsgType,
        payload: &[u8],
        compress: Option<bool>,
    ) -> WSSendStatus {
        #[cfg(feature = "deflate")]
        if self.flags.has(Flags::DEFLATE) {
            return self.send_compressing(msg_type, payload, compress);
        }
        self.send(msg_type, payload, SendOptions::default())
    }

    #[inline(never)]
    fn send_any(self: &Rc<Self>, msg_type: WSMsgType, payload: &[u8], options: SendOptions) -> WSSendStatus {
        if payload.len() < self.settings.tuning.no_copy_threshold && self.gather(msg_type, payload, options) {
            return WSSendStatus::Queued;
        }
        if self.writes_through(payload.len()) && self.protocol_role() == Role::Server {
            return self.send_through(msg_type, payload, options);
        }
        if let Err(reason) = self.make_room(msg_type, options, payload.len()) {
            return self.sent(Err(reason));
        }
        let queued = self.with_proto(|proto, out| proto.send(msg_type, payload, options, out));
        self.sent(queued)
    }

    /// Queues a frame behind those that leave when the dispatch ends, or as the first of them. False, and nothing done, if it has to go
    /// the long way.
    fn gather(self: &Rc<Self>, msg_type: WSMsgType, payload: &[u8], options: SendOptions) -> bool {
        let mut proto = self.proto.borrow_mut();
        if proto.gather(msg_type, payload, options) {
            return true;
        }
        if !self.gathers() || self.settings.tuning.no_copy_threshold <= MAX_SHORT_PAYLOAD {
            return false;
        }
        let pool = &mut self.core.pool.borrow_mut();
        let begun = proto.begin_gathering(msg_type, payload, options, EARLY_FLUSH, pool);
        if begun && !self.flags.set(Flags::DIRTY) {
            self.core.mark_dirty(self);
        }
        begun
    }

    /// Whether what is sent now leaves when the dispatch ends.
    #[inline]
    fn gathers(&self) -> bool {
        self.core.is_dispatching()
            && self.settings.tuning.write_strategy == WSWriteStrategy::Cork
            && !self.flags.has(Flags::BLOCKED)
    }

    /// Sends a frame whose header goes in front of `buffer[offset..]`; the payload is masked in place if this is a client.
    pub(crate) fn send_in_place(
        self: &Rc<Self>,
        msg_type: WSMsgType,
        buffer: &mut [u8],
        offset: usize,
        options: SendOptions,
    ) -> WSSendStatus {
        let payload_len = buffer.len() - offset;
        if let Err(reason) = self.make_room(msg_type, options, payload_len) {
            return self.sent(Err(reason));
        }
        let admitted = self.proto.borrow_mut().admit(msg_type, options, payload_len);
        if admitted.is_err() {
            return self.sent(admitted);
        }
        let start =
            self.with_proto(|proto, out| proto.encode_in_place(msg_type, buffer, offset, options, out.keys));
        let frame = &buffer[start..];
        if self.writes_through(payload_len) {
            self.write_through(&[frame])
        } else {
            self.with_proto(|proto, out| proto.enqueue_raw(frame, out.pool));
            self.sent(Ok(()))
        }
    }

    /// Sends a frame that owns its memory.
    pub(crate) fn send_buffer(
        self: &Rc<Self>,
        msg_type: WSMsgType,
        buffer: WSBuffer,
        options: SendOptions,
    ) -> WSSendStatus {
        if let Err(reason) = self.make_room(msg_type, options, buffer.len()) {
            return self.sent(Err(reason));
        }
        let queued = self.with_proto(|proto, out| proto.send_owned(msg_type, buffer, options, out));
        self.sent(queued)
    }

    /// Sends a payload that is shared with others, without copying it if it is large and this is a server.
    pub(crate) fn send_shared(
        self: &Rc<Self>,
        msg_type: WSMsgType,
        payload: &Bytes,
        options: SendOptions,
    ) -> WSSendStatus {
        if payload.len() < self.settings.tuning.no_copy_threshold || self.protocol_role() == Role::Client {
            return self.send(msg_type, payload, options);
        }
        if let Err(reason) = self.make_room(msg_type, options, payload.len()) {
            return self.sent(Err(reason));
        }
        let queued = self.with_proto(|proto, out| {
            proto.admit(msg_type, options, payload.len())?;
            let header = proto.header(msg_type, options, payload.len(), out.keys).encode();
            proto.enqueue_raw(&header, out.pool);
            proto.enqueue_shared(payload.clone(), out.pool);
            Ok(())
        });
        self.sent(queued)
    }

    /// [`send_message`](Self::send_message), without copying what is not compressed if it is large and this is a server.
    #[cfg_attr(not(feature = "deflate"), expect(unused_variables, reason = "nothing is compressed"))]
    pub(crate) fn send_shared_message(
        self: &Rc<Self>,
        msg_type: WSMsgType,
        payload: &Bytes,
        compress: Option<bool>,
    ) -> WSSendStatus {
        #[cfg(feature = "deflate")]
        if self.flags.has(Flags::DEFLATE) {
            return self.send_compressing(msg_type, payload, compress);
        }
        self.send_shared(msg_type, payload, SendOptions::default())
    }

    pub(crate) fn send_prepared(self: &Rc<Self>, frame: &WSPreparedFrame) -> WSSendStatus {
        let copy_below = self.settings.tuning.no_copy_threshold;
        if frame.encoded().len() < copy_below && self.proto.borrow_mut().gather_prepared(frame) {
            return WSSendStatus::Queued;
        }
        if let Err(reason) = self.make_room(frame.msg_type(), frame.options(), frame.payload().len()) {
            return self.sent(Err(reason));
        }
        let queued = self.with_proto(|proto, out| proto.send_prepared(frame, copy_below, out));
        self.sent(queued)
    }

    pub(crate) fn send_prepared_message(self: &Rc<Self>, message: &WSPreparedMessage) -> WSSendStatus {
        #[cfg(feature = "deflate")]
        if self.flags.has(Flags::DEFLATE) {
            return self.send_prepared_compressing(message);
        }
        self.send_prepared(message.plain())
    }

    /// Queues the head of the opening handshake's response.
    pub(crate) fn send_head(self: &Rc<Self>, head: Vec<u8>) {
        self.with_proto(|proto, out| proto.enqueue_owned(head, out.pool));
        self.touch();
    }

    /// Queues a CLOSE frame. Whether one was queued.
    pub(crate) fn send_close(self: &Rc<Self>, code: WSCloseCode, reason: &str) -> bool {
        let now = self.core.now();
        let queued = self.with_proto(|proto, out| proto.send_close(code, reason, now, out));
        if queued {
            self.touch();
            self.after_change();
        }
        queued
    }

    /// Hands to the kernel what waits.
    pub(crate) fn flush_now(self: &Rc<Self>) {
        self.flush();
    }

    /// The queue has grown: it leaves at the end of the dispatch, or now if there is none; if the kernel refuses bytes, when it takes
    /// them again.
    #[inline]
    pub(super) fn touch(self: &Rc<Self>) {
        if self.flags.has(Flags::BLOCKED) {
            return self.check_watermarks();
        }
        let queued = self.proto.borrow().queued();
        if queued == 0 {
            return;
        }
        if queued >= EARLY_FLUSH || !self.gathers() {
            return self.flush();
        }
        // The short way does not ask for the threshold.
        if self.settings.tuning.no_copy_threshold > MAX_SHORT_PAYLOAD {
            self.proto.borrow_mut().open_gathering(EARLY_FLUSH);
        }
        if !self.flags.set(Flags::DIRTY) {
            self.core.mark_dirty(self);
        }
    }

    pub(crate) fn flush_dirty(self: &Rc<Self>) {
        self.flags.clear(Flags::DIRTY);
        self.flush();
    }

    /// Writes the queue until it is empty or the kernel refuses.
    pub(super) fn flush(self: &Rc<Self>) {
        let blocked = loop {
            let (offered, result, held) = {
                let proto = self.proto.borrow();
                let mut stream = self.stream.borrow_mut();
                let Some(stream) = stream.as_mut() else { return };
                let (offered, result) = match proto.queued_chunks() {
                    0 => match stream.flush() {
                        Ok(()) => break false,
                        Err(error) => (0, Err(error)),
                    },
                    1 => (proto.queued(), stream.send(proto.first_slice())),
                    _ => {
                        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
                        let count = proto.io_slices(&mut slices);
                        let offered = slices[..count].iter().map(|slice| slice.len()).sum();
                        (offered, stream.send_vectored(&slices[..count]))
                    }
                };
                (offered, result, stream.held() > 0)
            };
            match result {
                Ok(n) => {
                    let left = self.with_proto(|proto, out| {
                        self.core.metrics.sent(proto.take_queued_frames(), n);
                        proto.consume(n, out);
                        proto.queued()
                    });
                    let refused = n < offered || held;
                    if refused || left == 0 {
                        break refused;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break true,
                Err(error) => return self.io_failed("send", &error),
            }
        };
        if blocked || self.flags.has(Flags::BLOCKED) {
            self.refusal_updated(blocked);
        }
        self.after_change();
    }

    /// Whether the kernel has everything. Not to be asked between a write and its `update_interest`.
    #[inline]
    pub(super) fn has_left(&self) -> bool {
        self.proto.borrow().queued() == 0 && !self.flags.has(Flags::BLOCKED)
    }

    /// Bytes that left the queue and wait in the stream.
    pub(super) fn held(&self) -> usize {
        self.stream.borrow().as_ref().map_or(0, Stream::held)
    }

    /// Whether a payload of this size should go to the kernel from where it is.
    #[inline]
    fn writes_through(&self, len: usize) -> bool {
        len >= self.settings.tuning.no_copy_threshold
            && !self.flags.has(Flags::BLOCKED)
            && self.stream.borrow().is_some()
    }

    fn send_through(
        self: &Rc<Self>,
        msg_type: WSMsgType,
        payload: &[u8],
        options: SendOptions,
    ) -> WSSendStatus {
        if let Err(reason) = self.make_room(msg_type, options, payload.len()) {
            return self.sent(Err(reason));
        }
        let header = self.with_proto(|proto, out| {
            proto.admit(msg_type, options, payload.len())?;
            Ok(proto.header(msg_type, options, payload.len(), out.keys).encode())
        });
        match header {
            Ok(header) => self.write_through(&[&header, payload]),
            Err(reason) => self.sent(Err(reason)),
        }
    }

    /// Writes what waits and then `pieces`, which were admitted, in one system call; copies only what the kernel refuses.
    fn write_through(self: &Rc<Self>, pieces: &[&[u8]]) -> WSSendStatus {
        if self.proto.borrow().queued_chunks() + pieces.len() > MAX_SLICES {
            self.flush();
        }
        let result = {
            let proto = self.proto.borrow();
            let mut stream = self.stream.borrow_mut();
            let Some(stream) = stream.as_mut() else {
                return WSSendStatus::Dropped(WSDropReason::Disconnected);
            };
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let count = proto.io_slices(&mut slices[..MAX_SLICES - pieces.len()]);
            for (slot, piece) in slices[count..].iter_mut().zip(pieces) {
                *slot = IoSlice::new(piece);
            }
            // A queue longer than the slices can show must leave first.
            let all_shown = count == proto.queued_chunks();
            if all_shown && !self.flags.has(Flags::BLOCKED) {
                stream.send_vectored(&slices[..count + pieces.len()])
            } else {
                Ok(0)
            }
        };
        match result {
            Ok(n) => self.wrote_through(n, pieces),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wrote_through(0, pieces),
            Err(error) => {
                self.io_failed("send", &error);
                WSSendStatus::Dropped(WSDropReason::Disconnected)
            }
        }
    }

    fn wrote_through(self: &Rc<Self>, written: usize, pieces: &[&[u8]]) -> WSSendStatus {
        let refused = self.with_proto(|proto, out| {
            self.core.metrics.sent(proto.take_queued_frames(), written);
            let from_queue = written.min(proto.queued());
            let mut from_pieces = written - from_queue;
            // A pong that waited for room may be queued by this: it must come after the pieces, so they go in first.
            for piece in pieces {
                let skip = from_pieces.min(piece.len());
                from_pieces -= skip;
                if skip < piece.len() {
                    proto.enqueue_raw(&piece[skip..], out.pool);
                }
            }
            if from_queue > 0 {
                proto.consume(from_queue, out);
            }
            proto.queued() > 0
        });
        let refused = refused || self.held() > 0;
        self.update_interest(refused);
        self.check_watermarks();
        self.after_change();
        if refused { WSSendStatus::Queued } else { WSSendStatus::Sent }
    }

    fn count_drops(&self, reason: WSDropReason) {
        if reason == WSDropReason::Overflow {
            let (frames, bytes) = self.proto.borrow_mut().take_new_drops();
            self.core.metrics.dropped(frames, bytes);
        }
    }

    /// If the frame does not fit, what was only gathered may still leave: the limits are for what the kernel refuses.
    #[inline]
    fn make_room(
        self: &Rc<Self>,
        msg_type: WSMsgType,
        options: SendOptions,
        payload_len: usize,
    ) -> Result<(), WSDropReason> {
        if self.flags.has(Flags::BLOCKED) {
            return self.fits_budget(msg_type, options, payload_len);
        }
        if !self.proto.borrow().has_room(payload_len) {
            self.flush();
        }
        Ok(())
    }

    fn sent(self: &Rc<Self>, queued: Result<(), WSDropReason>) -> WSSendStatus {
        match queued {
            Ok(()) => {
                self.touch();
                if self.ending.get().is_some() {
                    WSSendStatus::Dropped(WSDropReason::Disconnected)
                } else if self.has_left() {
                    WSSendStatus::Sent
                } else {
                    WSSendStatus::Queued
                }
            }
            Err(reason) => {
                self.count_drops(reason);
                if self.proto.borrow().is_overflowed() {
                    self.terminate(WSDisconnectCause::Overflow, None);
                }
                WSSendStatus::Dropped(reason)
            }
        }
    }

    pub(crate) fn watermarks(&self) -> (usize, usize) {
        let own = self.extras.borrow().as_ref().and_then(|extras| extras.watermarks);
        own.unwrap_or((self.settings.tuning.low_watermark, self.settings.tuning.high_watermark))
    }

    pub(crate) fn set_watermarks(self: &Rc<Self>, low: usize, high: usize) {
        self.extras.borrow_mut().get_or_insert_default().watermarks = Some((low.min(high), high));
        self.check_watermarks();
    }

    /// Whether more waits than the high watermark; if so, `resume_writing` will be called, whether or not `pause_writing` was.
    pub(crate) fn awaits_resume(&self) -> bool {
        let is_paused = self.flags.has(Flags::WRITING_PAUSED);
        if is_paused {
            self.flags.set(Flags::PAUSE_TOLD);
        }
        is_paused
    }

    /// Most bytes that may wait to be sent.
    pub(crate) fn max_outbound(&self) -> usize {
        self.settings.rules.max_outbound
    }

    /// Queues `pause_writing` or `resume_writing` when what the kernel refused crosses a watermark.
    #[inline]
    pub(super) fn check_watermarks(self: &Rc<Self>) {
        let queued = if self.flags.has(Flags::BLOCKED) { self.buffered_amount() } else { 0 };
        if queued == 0 && !self.flags.has(Flags::WRITING_PAUSED | Flags::ACCOUNTED) {
            return;
        }
        self.waits(queued);
    }

    /// So many bytes wait that the kernel refused, or did until now.
    #[cold]
    fn waits(self: &Rc<Self>, queued: usize) {
        self.account(queued);
        if self.ending.get().is_some() {
            return;
        }
        let (low, high) = self.watermarks();
        let crossed = if queued > high {
            !self.flags.set(Flags::WRITING_PAUSED)
        } else {
            queued <= low && self.flags.clear(Flags::WRITING_PAUSED)
        };
        if crossed && self.settings.pause_reading_on_backlog {
            self.hold_for_backlog();
        }
        if crossed && !self.flags.set(Flags::WATERMARK_DUE) {
            self.defer(Deferred::Watermark(Rc::clone(self)));
        }
    }

    /// Tells the listener on which side of the watermarks the queue is, unless it knows.
    pub(crate) fn run_watermark(self: &Rc<Self>) {
        self.flags.clear(Flags::WATERMARK_DUE);
        let paused = self.flags.has(Flags::WRITING_PAUSED);
        if paused == self.flags.has(Flags::PAUSE_TOLD) {
            return;
        }
        let transport = WSTransport::new(Rc::clone(self));
        if paused {
            self.flags.set(Flags::PAUSE_TOLD);
            let pause = |listener: &mut dyn WSListener| {
                listener.pause_writing(&transport);
                Ok(())
            };
            self.call_listener(pause, Callback::Other);
        } else {
            self.flags.clear(Flags::PAUSE_TOLD);
            let resume = |listener: &mut dyn WSListener| {
                listener.resume_writing(&transport);
                Ok(())
            };
            self.call_listener(resume, Callback::Other);
        }
    }
}
