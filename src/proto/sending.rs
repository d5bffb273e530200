//! The sending half of a connection: what may be sent, and how it is queued.

use std::cell::RefCell;

use crate::buf::{BufferPool, MIN_OPENED, SendQueue, WS_HEADROOM};
use crate::mask::{self, MaskKeys};

use super::connection::{Connection, Overload, Phase};
use super::header::{FirstByte, FrameHeader};
use super::{
    MAX_CONTROL_PAYLOAD, MAX_SHORT_PAYLOAD, Payload, Role, SendContext, SendOptions, WSDropReason, WSMsgType,
    WSOverflowPolicy,
};

/// Most bytes that are gathered. A longer queue is written before the dispatch ends: the kernel can
/// go to work, and the memory stays in the cache.
pub(crate) const GATHER_LIMIT: usize = 256 * 1024;

/// Bytes beyond [`Rules::max_outbound`](super::Rules::max_outbound) that only control frames may use.
const CONTROL_RESERVE: usize = 1024;

impl Connection {
    /// Checks whether a frame may be sent now, drops and counts it if not.
    ///
    /// # Errors
    /// Why it may not.
    #[inline]
    pub fn admit(
        &mut self,
        msg_type: WSMsgType,
        options: SendOptions,
        len: usize,
    ) -> Result<(), WSDropReason> {
        let sends = !self.leaving && self.phase == Phase::Open;
        if sends && !msg_type.is_control() && self.has_room(len) {
            self.count_frame();
            return Ok(());
        }
        self.admit_any(msg_type, options, len)
    }

    #[inline]
    pub(super) fn count_frame(&mut self) {
        self.queued_frames = self.queued_frames.wrapping_add(1);
    }

    fn admit_any(
        &mut self,
        msg_type: WSMsgType,
        options: SendOptions,
        len: usize,
    ) -> Result<(), WSDropReason> {
        if self.leaving || !matches!(self.phase, Phase::Open | Phase::CloseReceived) {
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

    /// Updates what the short ways of sending and receiving depend on. Called after each change of
    /// the state, and of whether the kernel refuses bytes.
    pub(super) fn state_changed(&mut self) {
        let may_gather =
            self.role == Role::Server && self.phase == Phase::Open && !self.leaving && !self.refused;
        // An empty queue can always be opened for so much.
        let limit = Some(GATHER_LIMIT.min(self.rules.max_outbound)).filter(|&limit| limit >= MIN_OPENED);
        self.gather_limit = if may_gather { limit.unwrap_or(0) } else { 0 };
        if let Some(queue) = &mut self.queue {
            queue.seal();
        }
        if !self.is_receiving() {
            self.receiver.stop_plain();
        }
    }

    /// Opens the queue for [`append`](Self::append). The caller writes it when the dispatch ends,
    /// which gives it back if it stayed empty.
    #[inline]
    pub(crate) fn open_queue(&mut self, pool: &RefCell<BufferPool>) {
        if self.queue.is_none() && self.gather_limit > 0 {
            let queue = self.queue.insert(pool.borrow_mut().take_queue());
            queue.begin(self.gather_limit);
        }
    }

    /// Appends a data frame to an [open](Self::open_queue) queue. `HEADER` is the length of its
    /// header: 2 up to [`MAX_SHORT_PAYLOAD`] bytes, 4 beyond. Returns `false`, and does nothing, if
    /// the queue is not open or full, or the frame has to go the long way. With a header of two bytes
    /// it calls nothing, so that nothing has to be saved for it.
    #[inline]
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
    /// go the long way.
    ///
    /// The queue must be written when the dispatch ends.
    pub(crate) fn gather(
        &mut self,
        first: FirstByte,
        payload: &Payload<'_>,
        pool: &RefCell<BufferPool>,
    ) -> bool {
        let bytes = payload.as_bytes();
        let is_owned = matches!(payload, Payload::Owned(_));
        if bytes.len() > usize::from(self.gathered_end) || first.is_control() || is_owned {
            return false;
        }
        self.open_queue(pool);
        let (header_len, limit) = (self.header_len(bytes.len()), self.gather_limit);
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

    /// Returns the header that a frame of this connection has, with a fresh masking key if this is a
    /// client.
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
    pub fn enqueue_raw(&mut self, bytes: &[u8], pool: &mut BufferPool) {
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

    /// Answers a ping now, or as soon as there is room and the kernel takes bytes; of several
    /// waiting ones only the newest.
    pub(super) fn answer_ping(&mut self, payload: &[u8], out: &mut SendContext<'_>) {
        if !self.may_answer() {
            return;
        }
        if self.refused || !self.has_room(payload.len()) {
            return self.keep_ping(payload);
        }
        // Answers the older pings, too (RFC 6455 section 5.5.3); their own pong must not come after
        // it.
        if let Some(overload) = &mut self.overload {
            overload.unanswered_ping = None;
        }
        self.enqueue_pong(payload, out);
    }

    fn may_answer(&self) -> bool {
        !self.leaving && matches!(self.phase, Phase::Open | Phase::CloseReceived)
    }

    fn enqueue_pong(&mut self, payload: &[u8], out: &mut SendContext<'_>) {
        self.enqueue(WSMsgType::Pong, Payload::Borrowed(payload), SendOptions::default(), out);
        self.count_frame();
    }

    /// Keeps a ping to be answered later, in place of the one that was kept before.
    #[cold]
    fn keep_ping(&mut self, payload: &[u8]) {
        let queued = self.queued();
        let overload = self.overload.get_or_insert_default();
        // Set by the first ping that is kept: if newer ones moved it, or the answer waited for an
        // empty queue, a producer that keeps the queue filled would hold it back for ever.
        if overload.unanswered_ping.is_none() {
            overload.ahead_of_pong = if self.refused { queued } else { 0 };
        }
        let kept = overload.unanswered_ping.get_or_insert_default();
        kept.clear();
        kept.extend_from_slice(payload);
    }

    /// [`consume`](Self::consume) of a connection whose queue was too slow to leave.
    #[cold]
    pub(super) fn consume_under_overload(&mut self, n: usize, out: &mut SendContext<'_>) {
        self.consume_queued(n, out);
        let Some(overload) = &mut self.overload else { return };
        overload.left_since_refusal += n as u64;
        overload.ahead_of_pong = overload.ahead_of_pong.saturating_sub(n);
        self.answer_kept_ping(out);
    }

    /// Answers the ping that was kept, if what was queued before it has left and there is room.
    fn answer_kept_ping(&mut self, out: &mut SendContext<'_>) {
        let may_answer = self.may_answer();
        let kept = self.overload.as_mut().filter(|overload| overload.ahead_of_pong == 0);
        let Some(ping) = kept.and_then(|overload| overload.unanswered_ping.take()) else { return };
        if may_answer && self.has_room(ping.len()) {
            self.enqueue_pong(&ping, out);
        } else if may_answer && let Some(overload) = &mut self.overload {
            overload.unanswered_ping = Some(ping);
        }
    }

    /// Handles the result of a write: whether the kernel refused bytes, of the queue or of what the
    /// stream holds. Without effect if that is known.
    ///
    /// While it refuses them only the newest ping is kept, and answered when what was queued before
    /// has left (RFC 6455 section 5.5.3): a peer that pings and never reads costs one pong. The
    /// answer may be queued by this call.
    pub fn handle_refused(&mut self, refused: bool, out: &mut SendContext<'_>) {
        if refused == self.refused {
            return;
        }
        self.refused = refused;
        self.life.refusal_changed();
        self.state_changed();
        if refused {
            self.overload.get_or_insert_default().left_since_refusal = 0;
            return;
        }
        // Bytes that waited below the queue, sealed by TLS, have left without a call of `consume`.
        self.answer_kept_ping(out);
        if let Some(overload) = &mut self.overload {
            overload.left_since_refusal = 0;
            // A connection that keeps up again costs no memory for the time when it did not.
            if **overload == Overload::default() {
                self.overload = None;
            }
        }
    }

    /// Returns `true` while the kernel refuses bytes, as far as was reported.
    #[inline]
    pub fn is_refused(&self) -> bool {
        self.refused
    }

    /// Returns how many queued bytes have left since the kernel began to refuse bytes; 0 if it
    /// takes them.
    pub fn left_since_refusal(&self) -> u64 {
        self.overload.as_ref().map_or(0, |overload| overload.left_since_refusal)
    }

    /// Counts a frame that the caller drops because it has no room for it. If that tears a message, the connection
    /// [has overflowed](Self::is_overflowed).
    #[cold]
    pub fn drop_frame(&mut self, msg_type: WSMsgType, options: SendOptions, len: usize) {
        let overload = self.overload.get_or_insert_default();
        overload.dropped_frames += 1;
        overload.dropped_bytes += len as u64;
        let tears_message = msg_type == WSMsgType::Continuation || !options.fin;
        overload.overflowed |= tears_message && !msg_type.is_control();
        self.life.attend();
    }

    #[cold]
    fn overflow(&mut self, msg_type: WSMsgType, options: SendOptions, len: usize) {
        self.drop_frame(msg_type, options, len);
        if self.rules.overflow_policy == WSOverflowPolicy::Close {
            self.overload.get_or_insert_default().overflowed = true;
        }
    }

    #[inline]
    pub(super) fn header_len(&self, len: usize) -> usize {
        let key = if self.role == Role::Client { 4 } else { 0 };
        key + match len {
            0..=125 => 2,
            126..=0xffff => 4,
            _ => 10,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use bytes::Bytes;

    use super::*;
    use crate::buf::WSBuffer;
    use crate::proto::{Rules, WSCloseCode, WSDisconnectCause, WSPreparedFrame};

    /// A server's connection with one frame gathered.
    fn gathering(pool: &RefCell<BufferPool>) -> Connection {
        let mut connection = Connection::new(Role::Server, Arc::new(Rules::default()));
        assert!(gathers(&mut connection, pool));
        connection
    }

    fn text() -> FirstByte {
        FirstByte::new(WSMsgType::Text, SendOptions::default())
    }

    fn gathers(connection: &mut Connection, pool: &RefCell<BufferPool>) -> bool {
        let prepared = WSPreparedFrame::new(WSMsgType::Text, "prepared");
        let gathered = [
            Payload::Borrowed(b"short"),
            Payload::Borrowed(&[b'l'; 200]),
            Payload::InPlace(&mut [b'i'; WS_HEADROOM + 20], WS_HEADROOM),
            Payload::Owned(WSBuffer::from(&b"owned"[..])),
            Payload::Shared(&Bytes::from_static(b"shared")),
            Payload::Prepared(&prepared),
        ]
        .map(|payload| connection.gather(text(), &payload, pool));
        assert!(gathered.iter().all(|&gathered_too| gathered_too == gathered[0]), "{gathered:?}");
        gathered[0]
    }

    #[test]
    fn the_short_way_is_closed_by_what_lets_not_every_frame_leave() {
        type Change = fn(&mut Connection, &mut SendContext<'_>);
        let changes: [(&str, Change); 6] = [
            ("leave", |connection, _| connection.leave(Instant::now())),
            ("CLOSE arrived", |connection, out| {
                connection.handle_control(WSMsgType::Close, b"", out).unwrap();
            }),
            ("CLOSE sent", |connection, out| {
                connection.send_close(WSCloseCode::OK, "", Instant::now(), out);
            }),
            ("failed", |connection, out| {
                let fault = crate::proto::WSProtocolError::new(WSCloseCode::PROTOCOL_ERROR, "fault");
                connection.fail(&fault, WSDisconnectCause::ProtocolError, Instant::now(), out);
            }),
            ("abandoned", |connection, out| {
                connection.abandon(out.pool);
            }),
            ("the kernel refuses", |connection, out| connection.handle_refused(true, out)),
        ];
        for (what, change) in changes {
            let (pool, mut keys) = (RefCell::new(BufferPool::new(1 << 20)), MaskKeys::fixed([0; 4]));
            let mut connection = gathering(&pool);
            change(&mut connection, &mut SendContext { pool: &mut pool.borrow_mut(), keys: &mut keys });
            assert!(!gathers(&mut connection, &pool), "{what}");
        }
    }

    #[test]
    fn what_is_gathered_keeps_its_place_in_the_order() {
        type Change = fn(&mut Connection, &mut SendContext<'_>);
        let changes: [(&str, Change); 3] = [
            ("bytes left", |connection, out| connection.consume(1, out)),
            ("raw bytes queued", |connection, out| connection.enqueue_raw(b"raw", out.pool)),
            ("shared bytes queued", |connection, out| {
                let shared = Bytes::from_static(&[b's'; 16 * 1024]);
                connection
                    .send(WSMsgType::Binary, Payload::Shared(&shared), SendOptions::default(), out)
                    .unwrap();
            }),
        ];
        for (what, change) in changes {
            let (pool, mut keys) = (RefCell::new(BufferPool::new(1 << 20)), MaskKeys::fixed([0; 4]));
            let mut connection = gathering(&pool);
            change(&mut connection, &mut SendContext { pool: &mut pool.borrow_mut(), keys: &mut keys });
            let before = queued(&connection);
            let gathered = gathers(&mut connection, &pool);
            let after = queued(&connection);
            assert!(after.starts_with(&before), "{what}");
            assert_eq!(gathered, after.len() > before.len(), "{what}");
        }
    }

    fn queued(connection: &Connection) -> Vec<u8> {
        let mut slices = [std::io::IoSlice::new(&[]); 8];
        let count = connection.io_slices(&mut slices);
        slices[..count].iter().flat_map(|slice| slice.to_vec()).collect()
    }

    #[test]
    fn no_more_is_gathered_than_the_limits_allow() {
        let pool = RefCell::new(BufferPool::new(1 << 20));
        let rules = Rules { max_outbound: 3000, ..Rules::default() };
        let mut connection = Connection::new(Role::Server, Arc::new(rules));
        while connection.gather(text(), &Payload::Borrowed(&[b'x'; 100]), &pool) {}
        assert!(connection.queued() > 1500 && connection.queued() <= 3000, "{}", connection.queued());
        assert!(!connection.gather(text(), &Payload::Borrowed(&[b'x'; 2000]), &pool));
        assert!(connection.queued() <= 3000);
    }

    #[test]
    fn a_client_has_no_short_way_and_control_frames_do_not_go_it() {
        let pool = RefCell::new(BufferPool::new(1 << 20));
        let mut server = gathering(&pool);
        let ping = FirstByte::new(WSMsgType::Ping, SendOptions::default());
        assert!(!server.gather(ping, &Payload::Borrowed(b""), &pool));
        assert!(!server.gather(ping, &Payload::Borrowed(&[0; 200]), &pool));
        let mut client = Connection::new(Role::Client, Arc::new(Rules::default()));
        assert!(!gathers(&mut client, &pool));
    }
}
