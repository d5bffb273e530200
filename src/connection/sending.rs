//! Sending on an open connection: gather, write through, flush.

use std::io::{self, IoSlice};
use std::rc::Rc;

use bytes::Bytes;

use crate::buf::WSBuffer;
use crate::connection::WSSendStatus;
use crate::net::Io;
use crate::proto::{
    self, FirstByte, GATHER_LIMIT, MAX_SHORT_PAYLOAD, Role, SendOptions, WSCloseCode, WSDropReason,
    WSMsgType, WSPreparedFrame, WSPreparedMessage,
};

use super::conn::{Conn, Flags};

/// Most pieces of memory handed to the kernel in one call.
const MAX_SLICES: usize = 64;

impl Conn {
    /// Sends a frame from borrowed memory.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "mostly both are constants, and so is the byte")]
    pub(crate) fn send(
        self: &Rc<Self>,
        msg_type: WSMsgType,
        payload: &[u8],
        options: SendOptions,
    ) -> WSSendStatus {
        self.send_frame(FirstByte::new(msg_type, options), payload)
    }

    #[inline]
    fn send_frame(self: &Rc<Self>, first: FirstByte, payload: &[u8]) -> WSSendStatus {
        if payload.len() > MAX_SHORT_PAYLOAD {
            return self.send_longer(first, payload);
        }
        if self.flags.has(Flags::CORKED) && self.proto.borrow_mut().append_short(first, payload) {
            return WSSendStatus::Queued;
        }
        self.send_any(first, payload)
    }

    /// [`send`](Self::send) of a payload that is not short. By itself, so that nothing has to be
    /// saved for the call that copies it on the way of those that are.
    #[inline(never)]
    fn send_longer(self: &Rc<Self>, first: FirstByte, payload: &[u8]) -> WSSendStatus {
        if self.flags.has(Flags::CORKED) && self.proto.borrow_mut().append_longer(first, payload) {
            return WSSendStatus::Queued;
        }
        self.send_any(first, payload)
    }

    /// The short way of [`send_message`](Self::send_message). Returns `false`, and does nothing, if
    /// the message has to go the long way.
    #[inline]
    pub(crate) fn gather_message(&self, msg_type: WSMsgType, payload: &[u8]) -> bool {
        #[cfg(feature = "deflate")]
        if self.flags.has(Flags::DEFLATE) {
            return false;
        }
        let first = FirstByte::new(msg_type, SendOptions::default());
        let mut proto = self.proto.borrow_mut();
        self.flags.has(Flags::CORKED)
            && if payload.len() > MAX_SHORT_PAYLOAD {
                proto.append_longer(first, payload)
            } else {
                proto.append_short(first, payload)
            }
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
    fn send_any(self: &Rc<Self>, first: FirstByte, payload: &[u8]) -> WSSendStatus {
        if self.cork() && self.proto.borrow_mut().gather(first, payload, self.core.pool_cell()) {
            return WSSendStatus::Queued;
        }
        let (msg_type, options) = (first.msg_type(), first.options());
        if self.writes_through(payload.len()) && self.protocol_role() == Role::Server {
            return self.send_through(msg_type, payload, options);
        }
        if let Err(reason) = self.make_room(msg_type, options, payload.len()) {
            return self.sent(Err(reason));
        }
        let queued = self.with_proto(|proto, out| proto.send(msg_type, payload, options, out));
        self.sent(queued)
    }

    /// Returns `true` if what is sent now leaves when the dispatch ends, and sees to it that it does.
    #[inline]
    fn cork(self: &Rc<Self>) -> bool {
        if self.flags.has(Flags::CORKED) {
            return true;
        }
        let corks = self.core.is_dispatching() && self.may_cork();
        if corks {
            self.flags.set(Flags::CORKED);
            self.core.mark_dirty(self);
        }
        corks
    }

    /// Whether frames may be gathered while the loop dispatches.
    #[inline]
    pub(super) fn may_cork(&self) -> bool {
        self.settings.corks && !self.flags.has(Flags::BLOCKED)
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
        if self.cork() && self.proto.borrow_mut().gather_prepared(frame, self.core.pool_cell()) {
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
            self.act();
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
            return self.act();
        }
        let queued = self.proto.borrow().queued();
        if queued > 0 && (queued >= GATHER_LIMIT || !self.cork()) {
            self.flush();
        }
    }

    /// Brings the connection up to date at the end of a dispatch: writes what was gathered, then
    /// does what is due.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "an event costs one; saving registers would cost as much again")]
    pub(crate) fn drive(self: &Rc<Self>) {
        self.flags.clear(Flags::CORKED);
        if self.flags.has(Flags::DRIVEN_SLOWLY) {
            return self.drive_slowly();
        }
        let (offered, result) = {
            let mut proto = self.proto.borrow_mut();
            let mut stream = self.io.borrow_mut();
            let (true, Some(io)) = (proto.is_undisturbed(), &mut *stream) else {
                drop((proto, stream));
                return self.flush();
            };
            match proto.only_piece() {
                Some([]) => return proto.only_piece_left(self.core.pool_cell()),
                Some(bytes) => match (bytes.len(), io.write(bytes)) {
                    (offered, Ok(n)) if n == offered => {
                        self.core.metrics().sent(proto.take_queued_frames(), n);
                        return proto.only_piece_left(self.core.pool_cell());
                    }
                    result => result,
                },
                None if proto.queued() == 0 => return,
                None => {
                    drop((proto, stream));
                    return self.flush();
                }
            }
        };
        self.write_on(offered, result);
        self.act();
    }

    #[inline(never)]
    fn drive_slowly(self: &Rc<Self>) {
        // Refused bytes wait for the event that announces room: a write now would fail again.
        if self.flags.has(Flags::BLOCKED) { self.act() } else { self.flush() }
    }

    /// Writes what is queued, then does what is due.
    pub(super) fn flush(self: &Rc<Self>) {
        self.write();
        self.act();
    }

    /// Writes the queue until it is empty or the kernel refuses.
    pub(super) fn write(&self) {
        let (offered, result) = {
            let proto = self.proto.borrow();
            let mut io = self.io.borrow_mut();
            let Some(io) = io.as_mut() else { return };
            if proto.queued() == 0 { (0, io.flush().map(|()| 0)) } else { write_queue(&proto, io) }
        };
        self.write_on(offered, result);
    }

    /// Goes on after a first write of `offered` bytes.
    #[inline(never)]
    fn write_on(&self, offered: usize, result: io::Result<usize>) {
        let (mut offered, mut result) = (offered, result);
        loop {
            let refused = match result {
                Ok(n) => {
                    self.with_proto(|proto, out| {
                        self.core.metrics().sent(proto.take_queued_frames(), n);
                        proto.consume(n, out);
                    });
                    n < offered || self.held() > 0
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => true,
                Err(error) => return self.io_failed("send", &error),
            };
            let left = self.with_proto(|proto, out| {
                if refused || proto.queued() == 0 {
                    // May queue a pong that waited for this.
                    proto.handle_refused(refused, out);
                }
                proto.queued()
            });
            if refused || left == 0 {
                return;
            }
            let mut io = self.io.borrow_mut();
            let Some(io) = io.as_mut() else { return };
            (offered, result) = write_queue(&self.proto.borrow(), io);
        }
    }

    /// Bytes that left the queue and wait in the stream.
    pub(super) fn held(&self) -> usize {
        self.io.borrow().as_ref().map_or(0, Io::held)
    }

    /// Whether a payload of this size should go to the kernel from where it is.
    #[inline]
    fn writes_through(&self, len: usize) -> bool {
        len >= self.settings.tuning.no_copy_threshold
            && !self.flags.has(Flags::BLOCKED)
            && self.io.borrow().is_some()
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
            let mut io = self.io.borrow_mut();
            let Some(io) = io.as_mut() else {
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
                io.write_vectored(&slices[..count + pieces.len()])
            } else {
                Ok(0)
            }
        };
        match result {
            Ok(n) => self.wrote_through(n, pieces),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wrote_through(0, pieces),
            Err(error) => {
                self.io_failed("send", &error);
                self.act();
                WSSendStatus::Dropped(WSDropReason::Disconnected)
            }
        }
    }

    fn wrote_through(self: &Rc<Self>, written: usize, pieces: &[&[u8]]) -> WSSendStatus {
        let refused = self.with_proto(|proto, out| {
            self.core.metrics().sent(proto.take_queued_frames(), written);
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
        self.with_proto(|proto, out| proto.handle_refused(refused, out));
        self.act();
        if refused { WSSendStatus::Queued } else { WSSendStatus::Sent }
    }

    fn count_drops(&self, reason: WSDropReason) {
        if reason == WSDropReason::Overflow {
            let (frames, bytes) = self.proto.borrow_mut().take_new_drops();
            self.core.metrics().dropped(frames, bytes);
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
                } else if self.proto.borrow().has_left() {
                    WSSendStatus::Sent
                } else {
                    WSSendStatus::Queued
                }
            }
            Err(reason) => {
                self.count_drops(reason);
                self.act();
                WSSendStatus::Dropped(reason)
            }
        }
    }

    pub(crate) fn set_watermarks(self: &Rc<Self>, low: usize, high: usize) {
        self.proto.borrow_mut().set_watermarks(low, high);
        self.act();
    }

    /// Whether more waits than the high watermark; if so, `resume_writing` will be called, whether or not `pause_writing` was.
    pub(crate) fn awaits_resume(&self) -> bool {
        self.proto.borrow_mut().awaits_resume()
    }

    /// Most bytes that may wait to be sent.
    pub(crate) fn max_outbound(&self) -> usize {
        self.settings.rules.max_outbound
    }
}

/// Hands the queue to the kernel, as much of it as fits into one call. Returns how many bytes that were.
fn write_queue(proto: &proto::Connection, io: &mut Io) -> (usize, io::Result<usize>) {
    if let Some(bytes) = proto.only_piece() {
        return (bytes.len(), io.write(bytes));
    }
    let mut slices = [IoSlice::new(&[]); MAX_SLICES];
    let count = proto.io_slices(&mut slices);
    let offered = slices[..count].iter().map(|slice| slice.len()).sum();
    (offered, io.write_vectored(&slices[..count]))
}
