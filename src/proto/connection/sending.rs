//! The sending half of a connection: what may be sent, and how it is queued.

use std::cell::RefCell;
use std::io::IoSlice;
use std::time::Instant;

use crate::buf::{BufferPool, MIN_OPENED, SendQueue, WS_HEADROOM};
use crate::mask::{self, MaskKeys};
use crate::proto::header::{FirstByte, FrameHeader};
use crate::proto::{
    ClosePayload, MAX_CONTROL_PAYLOAD, MAX_SHORT_PAYLOAD, Payload, Role, SendContext, SendOptions, WSClose,
    WSCloseCode, WSDropReason, WSMsgType, WSOverflowPolicy, parse_close_payload,
};

use super::{Connection, Flags, Phase};

/// Most bytes that are gathered. A longer queue is written before the dispatch ends: the kernel can
/// go to work, and the memory stays in the cache.
const GATHER_LIMIT: usize = 256 * 1024;

/// Bytes beyond [`max_outbound`](crate::proto::Rules::max_outbound) for control frames only.
const CONTROL_RESERVE: usize = 1024;

impl Connection {
    /// Checks whether a frame may be sent now, drops and counts it if not.
    ///
    /// # Errors
    /// Why it may not.
    #[inline]
    pub(crate) fn admit(
        &mut self,
        msg_type: WSMsgType,
        options: SendOptions,
        len: usize,
    ) -> Result<(), WSDropReason> {
        let sends = self.phase == Phase::Open && !self.flags.has(Flags::LEAVING);
        if sends && !msg_type.is_control() && self.has_room(len) {
            self.count_frame();
            return Ok(());
        }
        self.admit_any(msg_type, options, len)
    }

    #[inline]
    fn count_frame(&mut self) {
        self.queued_frames = self.queued_frames.wrapping_add(1);
    }

    /// Returns `true` unless a CLOSE was sent or the end is decided.
    fn may_send(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::CloseReceived) && !self.flags.has(Flags::LEAVING)
    }

    fn admit_any(
        &mut self,
        msg_type: WSMsgType,
        options: SendOptions,
        len: usize,
    ) -> Result<(), WSDropReason> {
        if !self.may_send() {
            return Err(if self.is_close_sent() {
                WSDropReason::CloseSent
            } else {
                WSDropReason::Disconnected
            });
        }
        if msg_type.is_control() {
            if msg_type == WSMsgType::Close {
                return Err(WSDropReason::IsClose);
            }
            if len > MAX_CONTROL_PAYLOAD || !options.fin {
                return Err(WSDropReason::InvalidControl);
            }
        }
        let reserve = if msg_type.is_control() { CONTROL_RESERVE } else { 0 };
        let limit = self.rules.max_outbound.saturating_add(reserve);
        if len <= limit && self.queued() + len + self.header_len(len) <= limit {
            self.count_frame();
            return Ok(());
        }
        self.overflow(msg_type, options, len);
        Err(WSDropReason::Overflow)
    }

    #[inline]
    fn header_len(&self, len: usize) -> usize {
        let key = if self.role == Role::Client { 4 } else { 0 };
        key + match len {
            0..=125 => 2,
            126..=0xffff => 4,
            _ => 10,
        }
    }

    /// Updates how much may be gathered.
    pub(super) fn limit_gathering(&mut self) {
        let may_gather = self.role == Role::Server
            && self.phase == Phase::Open
            && !self.flags.has(Flags::LEAVING | Flags::REFUSED);
        // An empty queue can always be opened for so much.
        let limit = Some(GATHER_LIMIT.min(self.rules.max_outbound)).filter(|&limit| limit >= MIN_OPENED);
        self.gather_limit = if may_gather { limit.unwrap_or(0) as u32 } else { 0 };
        if let Some(queue) = &mut self.queue {
            queue.seal();
        }
    }

    /// Returns `true` if so much waits that it is to be written before the dispatch ends.
    #[inline]
    pub(crate) fn is_long(&self) -> bool {
        self.queued() >= GATHER_LIMIT
    }

    /// Opens the queue for [`append`](Self::append). The caller writes it when the dispatch ends,
    /// which gives it back if it stayed empty.
    #[inline]
    pub(crate) fn open_queue(&mut self, pool: &RefCell<BufferPool>) {
        if self.queue.is_none() && self.gather_limit > 0 {
            let queue = self.queue.insert(pool.borrow_mut().take_queue());
            queue.begin(self.gather_limit as usize);
        }
    }

    /// Appends a data frame to an [open](Self::open_queue) queue. `HEADER` is the length of its
    /// header: 2 up to [`MAX_SHORT_PAYLOAD`] bytes, 4 beyond. Returns `false`, and does nothing, if
    /// the queue is not open or full, or the frame has to go the long way. With a header of two
    /// bytes it calls nothing, so that nothing has to be saved for it.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "its callers would save registers for a call")]
    pub(crate) fn append<const HEADER: usize>(&mut self, first: FirstByte, payload: &[u8]) -> bool {
        let gathers = HEADER == 2 || payload.len() <= usize::from(self.gathered_end);
        let gathers = gathers && !first.is_control();
        let Some(queue) = self.queue.as_mut().filter(|_| gathers) else { return false };
        let appended = queue.append_frame(first.header::<HEADER>(payload.len()), payload);
        self.queued_frames = self.queued_frames.wrapping_add(appended.into());
        appended
    }

    /// The short way of [`send`](Self::send), which nearly all frames go: a server's data frame
    /// behind others of the same dispatch, or as the first. `first` has to be that of a
    /// [prepared](Payload::Prepared) frame. Returns `false`, and does nothing, if the frame has to
    /// go the long way, as one always has that owns its memory and is not copied.
    ///
    /// The queue must be written when the dispatch ends.
    #[inline]
    pub(crate) fn gather(
        &mut self,
        first: FirstByte,
        payload: &Payload<'_>,
        pool: &RefCell<BufferPool>,
    ) -> bool {
        payload.len() <= usize::from(self.gathered_end)
            && !first.is_control()
            && !matches!(payload, Payload::Owned(_))
            && self.gather_short(first, payload, pool)
    }

    fn gather_short(&mut self, first: FirstByte, payload: &Payload<'_>, pool: &RefCell<BufferPool>) -> bool {
        let bytes = payload.as_bytes();
        self.open_queue(pool);
        let (header_len, limit) = (self.header_len(bytes.len()), self.gather_limit as usize);
        let Some(queue) = self.queue.as_mut() else { return false };
        if !queue.has_room(header_len + bytes.len()) && !queue.open(header_len + bytes.len(), limit) {
            return false;
        }
        if let Payload::Prepared(frame) = payload {
            let appended = queue.append_frame([], frame.encoded());
            self.queued_frames = self.queued_frames.wrapping_add(appended.into());
            appended
        } else if bytes.len() <= MAX_SHORT_PAYLOAD {
            self.append::<2>(first, bytes)
        } else {
            self.append::<4>(first, bytes)
        }
    }

    /// Queues a frame. A [prepared](Payload::Prepared) one has its own type and options.
    ///
    /// # Errors
    /// Why the frame was dropped.
    #[inline]
    pub fn send(
        &mut self,
        msg_type: WSMsgType,
        payload: Payload<'_>,
        options: SendOptions,
        out: &mut SendContext<'_>,
    ) -> Result<(), WSDropReason> {
        let (msg_type, options) = match payload {
            Payload::Prepared(frame) => (frame.msg_type(), frame.options()),
            _ => (msg_type, options),
        };
        self.admit(msg_type, options, payload.len())?;
        self.enqueue(msg_type, payload, options, out);
        Ok(())
    }

    /// Queues a frame that was [admitted](Self::admit).
    #[inline]
    pub(crate) fn enqueue(
        &mut self,
        msg_type: WSMsgType,
        payload: Payload<'_>,
        options: SendOptions,
        out: &mut SendContext<'_>,
    ) {
        if let Payload::Borrowed(payload) = payload {
            self.enqueue_copy(msg_type, payload, options, out);
        } else {
            self.enqueue_any(msg_type, payload, options, out);
        }
    }

    fn enqueue_any(
        &mut self,
        msg_type: WSMsgType,
        payload: Payload<'_>,
        options: SendOptions,
        out: &mut SendContext<'_>,
    ) {
        let (is_server, copied_below) = (self.role == Role::Server, self.rules.no_copy_threshold);
        match payload {
            Payload::InPlace(buffer, start) => {
                let start = self.encode_in_place(msg_type, buffer, start, options, out.keys);
                self.enqueue_raw(&buffer[start..], out.pool);
            }
            Payload::Owned(buffer) => {
                let mut data = buffer.into_vec();
                let start = self.encode_in_place(msg_type, &mut data, WS_HEADROOM, options, out.keys);
                self.queue(out.pool).push_owned(data, start);
            }
            Payload::Shared(payload) if is_server && payload.len() >= copied_below => {
                let header = self.header(msg_type, options, payload.len(), out.keys);
                self.enqueue_raw(&header.encode(), out.pool);
                self.queue(out.pool).push_shared(payload.clone());
            }
            Payload::Prepared(frame) if is_server => {
                let encoded = frame.encoded();
                // A piece of memory of its own costs more than the copy of a short frame.
                if encoded.len() < copied_below && self.queued() > 0 {
                    self.enqueue_raw(encoded, out.pool);
                } else {
                    self.queue(out.pool).push_shared(encoded.clone());
                }
            }
            _ => self.enqueue_copy(msg_type, payload.as_bytes(), options, out),
        }
    }

    /// Queues a frame whose payload is copied, and masked if this is a client.
    #[inline]
    fn enqueue_copy(
        &mut self,
        msg_type: WSMsgType,
        payload: &[u8],
        options: SendOptions,
        out: &mut SendContext<'_>,
    ) {
        let header = self.header(msg_type, options, payload.len(), out.keys);
        self.append_with(header.header_len() + payload.len(), out.pool, |buffer| {
            header.encode_to(buffer);
            match header.mask() {
                Some(key) => mask::mask_extend(payload, buffer, key),
                None => buffer.extend_from_slice(payload),
            }
        });
    }

    /// Writes the header in front of `data[start..]` and masks the payload if this is a client.
    /// Returns where the frame begins.
    ///
    /// # Panics
    /// If `start` is less than [`WS_HEADROOM`] or beyond the end.
    pub(crate) fn encode_in_place(
        &self,
        msg_type: WSMsgType,
        data: &mut [u8],
        start: usize,
        options: SendOptions,
        keys: &mut MaskKeys,
    ) -> usize {
        let (headroom, payload) = data.split_at_mut(start);
        let header = self.header(msg_type, options, payload.len(), keys);
        if let Some(key) = header.mask() {
            mask::mask(payload, key);
        }
        header.encode_back(headroom)
    }

    /// Returns the header that a frame of this connection has, with a fresh masking key if this is
    /// a client.
    #[inline]
    pub(crate) fn header(
        &self,
        msg_type: WSMsgType,
        options: SendOptions,
        len: usize,
        keys: &mut MaskKeys,
    ) -> FrameHeader {
        let key = match self.role {
            Role::Client => Some(keys.next_key()),
            Role::Server => None,
        };
        FrameHeader::new(msg_type, options, key, len)
    }

    /// Queues bytes as they are: the head of an opening handshake, or what the kernel refused of a
    /// frame that was written past the queue.
    pub(crate) fn enqueue_raw(&mut self, bytes: &[u8], pool: &mut BufferPool) {
        self.append_with(bytes.len(), pool, |buffer| buffer.extend_from_slice(bytes));
    }

    /// [`enqueue_raw`](Self::enqueue_raw) of bytes that own their memory, which is not copied.
    pub(crate) fn enqueue_owned(&mut self, bytes: Vec<u8>, pool: &mut BufferPool) {
        self.queue(pool).push_owned(bytes, 0);
    }

    #[inline]
    fn queue(&mut self, pool: &mut BufferPool) -> &mut SendQueue {
        self.queue.get_or_insert_with(|| pool.take_queue())
    }

    #[inline]
    fn append_with(&mut self, additional: usize, pool: &mut BufferPool, write: impl FnOnce(&mut Vec<u8>)) {
        self.queue(pool).append(additional, pool, write);
    }

    /// Queues a CLOSE frame. Returns `false`, and does nothing, if one was sent before.
    ///
    /// [`WSCloseCode::NO_INFO`] is sent as an empty payload, 1006 and 1015 as 1000.
    pub fn send_close(
        &mut self,
        code: WSCloseCode,
        reason: &str,
        now: Instant,
        out: &mut SendContext<'_>,
    ) -> bool {
        if !self.may_send() {
            return false;
        }
        // RFC 6455 section 7.4.1: these two are never on the wire.
        let code = match code {
            WSCloseCode::ABNORMAL_CLOSURE | WSCloseCode::TLS_HANDSHAKE => WSCloseCode::OK,
            code => code,
        };
        let payload = ClosePayload::new(code, reason);
        // Past every limit: the frame with the reason must not be the one that is dropped, and
        // there is only one of it.
        let close = Payload::Borrowed(payload.as_bytes());
        self.enqueue(WSMsgType::Close, close, SendOptions::default(), out);
        self.count_frame();
        let answers = self.phase == Phase::CloseReceived;
        self.enter(if answers { Phase::Closed } else { Phase::CloseSent });
        let reason = match parse_close_payload(payload.as_bytes()) {
            Ok((_, reason)) => reason.into(),
            Err(_) => reason.into(),
        };
        self.closing().sent(WSClose { code, reason });
        self.start_deadline(now);
        true
    }
}

/// What is queued, and how it leaves.
impl Connection {
    /// Returns the bytes that wait to be sent.
    #[inline]
    pub fn queued(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.len())
    }

    /// Returns the number of separate pieces of memory that wait to be sent.
    #[inline]
    pub(crate) fn queued_chunks(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.chunk_count())
    }

    /// Returns `true` if a data frame with a payload of this length fits under the limit now.
    #[inline]
    pub(crate) fn has_room(&self, payload_len: usize) -> bool {
        payload_len <= self.rules.max_outbound
            && self.queued() + payload_len + self.header_len(payload_len) <= self.rules.max_outbound
    }

    /// Returns how many frames were queued, or admitted to be written past the queue, since this
    /// was last called.
    #[inline]
    pub(crate) fn take_queued_frames(&mut self) -> u32 {
        std::mem::take(&mut self.queued_frames)
    }

    /// Fills `slices` with what leaves next. Returns how many were filled.
    pub fn io_slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.io_slices(slices))
    }

    /// Returns `true` if nothing waits to be done, and the kernel has refused nothing of late.
    #[inline]
    pub(crate) fn is_undisturbed(&self) -> bool {
        !self.has_actions() && self.overload.is_none()
    }

    /// Returns what leaves next, up to the end of its piece of memory.
    pub(crate) fn first_slice(&self) -> &[u8] {
        self.queue.as_ref().map_or(&[], |queue| queue.first())
    }

    /// Returns what waits to be sent if it is in one piece, as nearly always.
    #[inline]
    pub(crate) fn only_piece(&self) -> Option<&[u8]> {
        self.queue.as_ref()?.only_piece()
    }

    /// Takes away what is queued, which is [one piece](Self::only_piece): it has left.
    #[inline]
    pub(crate) fn only_piece_left(&mut self, pool: &RefCell<BufferPool>) {
        debug_assert!(self.overload.is_none());
        if let Some(mut queue) = self.queue.take() {
            queue.clear_gathered();
            pool.borrow_mut().give_queue(queue);
        }
    }

    /// Takes the first `n` queued bytes away: they left.
    pub fn consume(&mut self, n: usize, out: &mut SendContext<'_>) {
        if let Some(mut queue) = self.queue.take() {
            queue.consume(n, out.pool);
            if queue.is_empty() {
                out.pool.give_queue(queue);
            } else {
                self.queue = Some(queue);
            }
        }
        if let Some(overload) = &mut self.overload {
            overload.left(n);
            self.answer_kept_ping(out);
        }
    }

    /// Forgets what is queued and refuses more: the socket is gone. Returns how many bytes were
    /// queued.
    pub(crate) fn abandon(&mut self, pool: &mut BufferPool) -> usize {
        self.stop_sending();
        let unsent = self.queued();
        if let Some(mut queue) = self.queue.take() {
            queue.clear(pool);
            pool.give_queue(queue);
        }
        unsent
    }

    /// Handles the result of a write: whether the kernel refused bytes, of the queue or of what the
    /// stream holds. Without effect if that is known.
    ///
    /// While it refuses them only the newest ping is kept, and answered when what was queued before
    /// has left (RFC 6455 section 5.5.3): a peer that pings and never reads costs one pong. The
    /// answer may be queued by this call.
    #[inline]
    pub fn handle_refused(&mut self, refused: bool, out: &mut SendContext<'_>) {
        if refused != self.is_refused() {
            self.refusal_changed(refused, out);
        }
    }

    #[cold]
    fn refusal_changed(&mut self, refused: bool, out: &mut SendContext<'_>) {
        self.flags.put(Flags::REFUSED, refused);
        self.flags.set(Flags::ATTENTION);
        if let Some(timing) = &mut self.timing {
            timing.refusal_changed();
        }
        self.state_changed();
        self.overload.get_or_insert_default().refusal_changed();
        if refused {
            return;
        }
        // Bytes that waited below the queue, sealed by TLS, have left without a call of `consume`.
        self.answer_kept_ping(out);
        // A connection that keeps up again costs no memory for the time when it did not.
        self.overload.take_if(|overload| overload.is_unused());
    }

    /// Returns `true` while the kernel refuses bytes, as far as was reported.
    #[inline]
    pub(crate) fn is_refused(&self) -> bool {
        self.flags.has(Flags::REFUSED)
    }

    /// Returns `true` if everything was handed to the kernel, as far as was reported.
    pub(crate) fn has_left(&self) -> bool {
        self.queued() == 0 && !self.is_refused()
    }
}

/// Pings that are answered, frames that are dropped.
impl Connection {
    /// Answers a ping now, or as soon as there is room and the kernel takes bytes; of several
    /// waiting ones only the newest.
    pub(super) fn answer_ping(&mut self, payload: &[u8], out: &mut SendContext<'_>) {
        if !self.may_send() {
            return;
        }
        if self.is_refused() || !self.has_room(payload.len()) {
            let ahead = if self.is_refused() { self.queued() } else { 0 };
            return self.overload.get_or_insert_default().keep_ping(payload, ahead);
        }
        // Answers the older pings, too (RFC 6455 section 5.5.3); their own pong must not come after
        // it.
        if let Some(overload) = &mut self.overload {
            overload.forget_ping();
        }
        self.enqueue_pong(payload, out);
    }

    fn enqueue_pong(&mut self, payload: &[u8], out: &mut SendContext<'_>) {
        self.enqueue(WSMsgType::Pong, Payload::Borrowed(payload), SendOptions::default(), out);
        self.count_frame();
    }

    /// Answers the ping that was kept, if what was queued before it has left and there is room.
    #[cold]
    fn answer_kept_ping(&mut self, out: &mut SendContext<'_>) {
        let (may_send, overload) = (self.may_send(), self.overload.as_ref());
        let Some(len) = overload.and_then(|overload| overload.ping_due()) else { return };
        if may_send && !self.has_room(len) {
            return;
        }
        let Some(overload) = &mut self.overload else { return };
        let ping = overload.take_ping();
        if may_send {
            self.enqueue_pong(&ping, out);
        }
    }

    /// Counts a frame that the caller drops because it has no room for it. A dropped fragment tears
    /// its message: then the connection has overflowed.
    #[cold]
    pub(crate) fn drop_frame(&mut self, msg_type: WSMsgType, options: SendOptions, len: usize) {
        let overload = self.overload.get_or_insert_default();
        overload.count_drop(len);
        let tears_message = msg_type == WSMsgType::Continuation || !options.fin;
        if tears_message && !msg_type.is_control() {
            overload.overflow();
        }
        self.flags.set(Flags::ATTENTION);
    }

    #[cold]
    fn overflow(&mut self, msg_type: WSMsgType, options: SendOptions, len: usize) {
        self.drop_frame(msg_type, options, len);
        if self.rules.overflow_policy == WSOverflowPolicy::Close {
            self.overload.get_or_insert_default().overflow();
        }
    }

    /// Returns `true` once a frame was dropped that ends the connection
    /// ([`WSOverflowPolicy::Close`], or a fragment).
    pub(super) fn is_overflowed(&self) -> bool {
        self.overload.as_ref().is_some_and(|overload| overload.is_overflowed())
    }

    /// Returns the frames and payload bytes that were dropped because the queue was full.
    pub(crate) fn dropped(&self) -> (u64, u64) {
        self.overload.as_ref().map_or((0, 0), |overload| overload.dropped())
    }

    /// Of [`dropped`](Self::dropped), returns what is new since this was last called.
    pub(crate) fn take_new_drops(&mut self) -> (u64, u64) {
        self.overload.as_mut().map_or((0, 0), |overload| overload.take_new_drops())
    }
}
