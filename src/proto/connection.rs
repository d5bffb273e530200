//! The protocol state of one open connection.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::buf::{BufferPool, SendQueue, WS_HEADROOM, WSBuffer};
use crate::mask::{self, MaskKeys};

use super::header::{FrameHeader, MAX_HEADER};
use super::receiver::{FrameHead, Receiver};
use super::{
    ClosePayload, MAX_CONTROL_PAYLOAD, Role, Rules, SendOptions, WSCloseCode, WSMsgType, WSOverflowPolicy,
    WSPreparedFrame, WSProtocolError, parse_close_payload,
};

/// Stands for a close time-out that is beyond what the clock can tell.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Bytes beyond [`Rules::max_outbound`] that only control frames may use.
const CONTROL_RESERVE: usize = 1024;

/// One open WebSocket connection without its socket.
///
/// ```text
///             send_close                 CLOSE arrives
///   Open ─────────────────▶ CloseSent ─────────────────▶ Closed
///    │ │  CLOSE arrives                    send_close       ▲
///    │ └─────────────────▶ CloseReceived ───────────────────┘
///    │ fail (from any state)
///    └───────────────────▶ Failed
/// ```
///
/// # Contract
/// Bytes and time come in, bytes come out; nothing here reads a socket or a clock.
/// - In: [`poll`](Self::poll) finds the frames in what arrived. Each control frame goes through
///   [`handle_control`](Self::handle_control), which does what the protocol asks by itself and says whether the frame is also the
///   user's. An `Err` of either goes into [`fail`](Self::fail). Once [`is_receiving`](Self::is_receiving) is false, what
///   arrives is thrown away.
/// - Out: the `send` methods queue; [`io_slices`](Self::io_slices) shows what leaves next, [`consume`](Self::consume) takes
///   away what left. When [`is_finished`](Self::is_finished) and the queue is empty, this end closes TCP.
/// - Time: at [`deadline`](Self::deadline) the caller gives up on the connection.
#[derive(Debug)]
pub struct Connection {
    rules: Arc<Rules>,
    receiver: Receiver,
    /// `None` while nothing waits: an idle connection owns no memory for sending.
    queue: Option<Box<SendQueue>>,
    /// `None` until something begins to end the connection.
    closing: Option<Box<Closing>>,
    /// What few connections ever need.
    overload: Option<Box<Overload>>,
    role: Role,
    phase: Phase,
    /// A graceful disconnect was asked for: flush, then close TCP, with or without a closing handshake.
    leaving: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    CloseSent,
    CloseReceived,
    Closed,
    Failed,
}

/// How far the end of a connection has come.
#[derive(Debug, Default)]
struct Closing {
    handshake: WSCloseHandshake,
    /// Set once, by what first began to end the connection; never moved later.
    deadline: Option<Instant>,
}

/// Traces of a queue that was full at least once.
#[derive(Debug, Default)]
struct Overload {
    dropped_frames: u64,
    dropped_bytes: u64,
    /// The newest ping that there was no room to answer.
    unanswered_ping: Option<Vec<u8>>,
    /// An outbound frame met [`WSOverflowPolicy::Close`].
    overflowed: bool,
}

/// One side's half of the closing handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WSClose {
    /// The code, or [`WSCloseCode::NO_INFO`] if the frame carried none.
    pub code: WSCloseCode,
    /// The reason; empty if there was none.
    pub reason: Box<str>,
}

/// Which CLOSE frames were exchanged so far (RFC 6455 section 7.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WSCloseHandshake {
    /// The CLOSE that the peer sent.
    pub recv: Option<WSClose>,
    /// The CLOSE that this end sent.
    pub sent: Option<WSClose>,
    /// Whether the peer's came first: this end answered, or has still to answer.
    pub recv_then_sent: bool,
}

/// Why a frame was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WSDropReason {
    /// A CLOSE frame was sent before; nothing may follow it (RFC 6455 section 5.5.1).
    CloseSent,
    /// The connection is gone, or was told to go.
    Disconnected,
    /// The outbound limit is reached.
    Overflow,
    /// CLOSE frames are sent with `send_close` only.
    IsClose,
    /// A control frame over 125 bytes or without FIN (RFC 6455 section 5.5).
    InvalidControl,
}

/// Whose a control frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The listener sees it.
    Deliver,
    /// The protocol dealt with it.
    Consumed,
}

/// What sending borrows from the loop.
#[derive(Debug)]
pub struct SendContext<'a> {
    /// Where buffers come from and go to.
    pub pool: &'a mut BufferPool,
    /// Masking keys; a server uses none.
    pub keys: &'a mut MaskKeys,
}

impl Connection {
    /// A connection whose opening handshake is done.
    pub fn new(role: Role, rules: Arc<Rules>) -> Self {
        Self {
            receiver: Receiver::new(role, &rules),
            rules,
            queue: None,
            closing: None,
            overload: None,
            role,
            phase: Phase::Open,
            leaving: false,
        }
    }

    /// Which end this is.
    #[inline]
    pub fn role(&self) -> Role {
        self.role
    }

    /// How this connection behaves.
    #[inline]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// See [`Receiver::expect_messages`].
    pub fn expect_messages(&mut self) {
        self.receiver.expect_messages();
    }

    /// Whether frames that arrive still count. False from the peer's CLOSE, a fault or a disconnect on.
    #[inline]
    pub fn is_receiving(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::CloseSent) && !self.leaving
    }

    /// Looks for a frame at the front of `bytes`. See [`Receiver::poll`].
    ///
    /// # Errors
    /// The peer is at fault: pass it to [`fail`](Self::fail).
    #[inline]
    pub fn poll(&mut self, bytes: &mut [u8]) -> Result<Option<FrameHead>, WSProtocolError> {
        debug_assert!(self.is_receiving());
        self.receiver.poll(bytes, &self.rules)
    }

    /// See [`Receiver::poll_plain`].
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "see there")]
    pub fn poll_plain(&mut self, bytes: &mut [u8]) -> Option<FrameHead> {
        debug_assert!(self.is_receiving());
        self.receiver.poll_plain(bytes, &self.rules)
    }

    /// See [`Receiver::pending_wire_len`].
    pub fn pending_wire_len(&self) -> Option<u64> {
        self.receiver.pending_wire_len()
    }

    /// Does what the protocol asks for a PING, PONG or CLOSE with this payload.
    ///
    /// # Errors
    /// A CLOSE frame whose payload breaks RFC 6455 section 7.4: pass it to [`fail`](Self::fail).
    pub fn handle_control(
        &mut self,
        msg_type: WSMsgType,
        payload: &[u8],
        out: &mut SendContext<'_>,
    ) -> Result<Disposition, WSProtocolError> {
        match msg_type {
            WSMsgType::Ping if self.rules.enable_auto_pong => {
                self.answer_ping(payload, out);
                Ok(Disposition::Consumed)
            }
            WSMsgType::Close => {
                let (code, reason) = parse_close_payload(payload)?;
                let close = &mut self.closing.get_or_insert_default().handshake;
                close.recv_then_sent = close.sent.is_none();
                close.recv = Some(WSClose { code, reason: reason.into() });
                self.phase =
                    if self.phase == Phase::CloseSent { Phase::Closed } else { Phase::CloseReceived };
                Ok(Disposition::Deliver)
            }
            _ => Ok(Disposition::Deliver),
        }
    }

    /// Answers a CLOSE that was delivered and left unanswered, if that is configured.
    pub fn auto_close(&mut self, now: Instant, out: &mut SendContext<'_>) {
        if self.phase == Phase::CloseReceived && self.rules.enable_auto_close {
            let code = self.close_handshake().and_then(|close| close.recv.as_ref()).map(|recv| recv.code);
            self.send_close(code.unwrap_or(WSCloseCode::NO_INFO), "", now, out);
        }
    }

    /// Ends the connection for the peer's fault (RFC 6455 section 7.1.7): queues CLOSE unless one was sent; the rest of what
    /// arrives is thrown away.
    pub fn fail(&mut self, error: &WSProtocolError, now: Instant, out: &mut SendContext<'_>) {
        self.send_close(error.code, &error.message, now, out);
        self.phase = Phase::Failed;
        self.start_deadline(now);
    }

    /// Stops receiving, lets what is queued leave, then closes TCP.
    pub fn leave(&mut self, now: Instant) {
        self.leaving = true;
        self.start_deadline(now);
    }

    /// Whether this end closes TCP as soon as the queue is empty.
    ///
    /// After a clean closing handshake the server does, and the client waits for it (RFC 6455 section 7.1.1).
    #[inline]
    pub fn is_finished(&self) -> bool {
        self.leaving
            || self.phase == Phase::Failed
            || (self.phase == Phase::Closed && self.role == Role::Server)
    }

    /// Whether both CLOSE frames were exchanged.
    pub fn is_closed_cleanly(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// When to give up on an ending connection.
    pub fn deadline(&self) -> Option<Instant> {
        self.closing.as_ref()?.deadline
    }

    /// The CLOSE frames exchanged so far; `None` before the first.
    pub fn close_handshake(&self) -> Option<&WSCloseHandshake> {
        let handshake = &self.closing.as_ref()?.handshake;
        (handshake.recv.is_some() || handshake.sent.is_some()).then_some(handshake)
    }

    /// Whether this end has sent, or queued, its CLOSE frame.
    #[inline]
    pub fn is_close_sent(&self) -> bool {
        self.closing.as_ref().is_some_and(|closing| closing.handshake.sent.is_some())
    }

    /// Whether an outbound frame met the limit under [`WSOverflowPolicy::Close`]: the caller aborts.
    pub fn is_overflowed(&self) -> bool {
        self.overload.as_ref().is_some_and(|overload| overload.overflowed)
    }

    /// Frames and payload bytes that were dropped because the queue was full.
    pub fn dropped(&self) -> (u64, u64) {
        self.overload.as_ref().map_or((0, 0), |o| (o.dropped_frames, o.dropped_bytes))
    }

    /// Bytes that wait to be sent.
    #[inline]
    pub fn queued(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.len())
    }

    /// Number of separate pieces of memory that wait to be sent.
    #[inline]
    pub fn queued_chunks(&self) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.chunk_count())
    }

    /// Whether a data frame with this payload fits under [`Rules::max_outbound`] now.
    #[inline]
    pub fn has_room(&self, payload_len: usize) -> bool {
        payload_len <= self.rules.max_outbound
            && self.queued() + payload_len + self.max_header_len(payload_len) <= self.rules.max_outbound
    }

    /// Fills `slices` with what leaves next. Returns how many were filled.
    pub fn io_slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.queue.as_ref().map_or(0, |queue| queue.io_slices(slices))
    }

    /// What leaves next, up to the end of its piece of memory.
    #[inline]
    pub fn first_slice(&self) -> &[u8] {
        self.queue.as_ref().map_or(&[], |queue| queue.first())
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
        if let Some(ping) = self.overload.as_mut().and_then(|overload| overload.unanswered_ping.take()) {
            self.answer_ping(&ping, out);
        }
    }

    /// The socket is gone: forgets what is queued and refuses more. Returns how many bytes were queued.
    pub fn abandon(&mut self, pool: &mut BufferPool) -> usize {
        self.leaving = true;
        let unsent = self.queued();
        if let Some(mut queue) = self.queue.take() {
            queue.clear(pool);
            pool.give_queue(queue);
        }
        unsent
    }

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
            return Ok(());
        }
        self.admit_any(msg_type, options, len)
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
        if len <= limit && self.queued() + len + self.max_header_len(len) <= limit {
            return Ok(());
        }
        self.overflow(msg_type, options, len);
        Err(WSDropReason::Overflow)
    }

    /// The short way of [`send`](Self::send), which most frames of a burst go: a server's data frame that fits behind those that are
    /// gathered already, and under `limit` bytes in all. False, and nothing done, for any other.
    #[inline]
    pub fn gather(
        &mut self,
        msg_type: WSMsgType,
        payload: &[u8],
        options: SendOptions,
        limit: usize,
    ) -> bool {
        let frame_len = payload.len() + MAX_HEADER;
        let plain = self.role == Role::Server
            && self.phase == Phase::Open
            && !self.leaving
            && !msg_type.is_control()
            && self.queued() + frame_len <= limit.min(self.rules.max_outbound);
        let Some(queue) = self.queue.as_mut().filter(|_| plain) else { return false };
        queue.append_gathered(frame_len, |buffer| {
            FrameHeader::new(msg_type, options, None, payload.len()).encode_to(buffer);
            buffer.extend_from_slice(payload);
        })
    }

    /// Queues a frame, copying (a client: masking) the payload.
    ///
    /// # Errors
    /// Why the frame was dropped.
    #[inline]
    pub fn send(
        &mut self,
        msg_type: WSMsgType,
        payload: &[u8],
        options: SendOptions,
        out: &mut SendContext<'_>,
    ) -> Result<(), WSDropReason> {
        self.admit(msg_type, options, payload.len())?;
        self.enqueue(msg_type, payload, options, out);
        Ok(())
    }

    /// Queues a frame in its own memory: the header goes into the headroom, the payload is (a client:) masked in place.
    ///
    /// # Errors
    /// Why the frame was dropped.
    pub fn send_owned(
        &mut self,
        msg_type: WSMsgType,
        buffer: WSBuffer,
        options: SendOptions,
        out: &mut SendContext<'_>,
    ) -> Result<(), WSDropReason> {
        self.admit(msg_type, options, buffer.len())?;
        let mut data = buffer.into_vec();
        let start = self.encode_in_place(msg_type, &mut data, WS_HEADROOM, options, out.keys);
        self.queue(out.pool).push_owned(data, start);
        Ok(())
    }

    /// Queues an encoded frame by reference; a client has to mask a copy of it.
    ///
    /// # Errors
    /// Why the frame was dropped.
    pub fn send_prepared(
        &mut self,
        frame: &WSPreparedFrame,
        copy_below: usize,
        out: &mut SendContext<'_>,
    ) -> Result<(), WSDropReason> {
        let (msg_type, options) = (frame.msg_type(), frame.options());
        self.admit(msg_type, options, frame.payload().len())?;
        if self.role == Role::Client {
            self.enqueue(msg_type, frame.payload(), options, out);
        } else if frame.encoded().len() < copy_below && self.queued() > 0 {
            let encoded = frame.encoded();
            self.append(encoded.len(), out.pool, |buffer| buffer.extend_from_slice(encoded));
        } else {
            self.queue(out.pool).push_shared(frame.encoded().clone());
        }
        Ok(())
    }

    /// Queues a CLOSE frame; without effect if one was sent before.
    ///
    /// [`WSCloseCode::NO_INFO`] is sent as an empty payload, 1006 and 1015 as 1000. Returns whether it was queued.
    pub fn send_close(
        &mut self,
        code: WSCloseCode,
        reason: &str,
        now: Instant,
        out: &mut SendContext<'_>,
    ) -> bool {
        if self.leaving || !matches!(self.phase, Phase::Open | Phase::CloseReceived) {
            return false;
        }
        // RFC 6455 section 7.4.1: these two are never on the wire.
        let code = match code {
            WSCloseCode::ABNORMAL_CLOSURE | WSCloseCode::TLS_HANDSHAKE => WSCloseCode::OK,
            code => code,
        };
        let payload = ClosePayload::new(code, reason);
        // Past every limit: the frame that says why must not be the one that is dropped, and there is only one of it.
        self.enqueue(WSMsgType::Close, payload.as_bytes(), SendOptions::default(), out);
        let answered = self.phase == Phase::CloseReceived;
        self.phase = if answered { Phase::Closed } else { Phase::CloseSent };
        let reason = match parse_close_payload(payload.as_bytes()) {
            Ok((_, reason)) => reason.into(),
            Err(_) => reason.into(),
        };
        self.closing.get_or_insert_default().handshake.sent = Some(WSClose { code, reason });
        self.start_deadline(now);
        true
    }

    /// Writes the header in front of `data[start..]`, masks if this is a client; returns where the frame begins.
    ///
    /// # Panics
    /// If `start` is less than [`WS_HEADROOM`] or beyond the end.
    pub fn encode_in_place(
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

    /// The header that a frame of this connection has, with a fresh masking key if this is a client.
    #[inline]
    pub fn header(
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

    /// Queues bytes as they are: what the kernel refused of a frame written past the queue, or a handshake.
    pub fn enqueue_raw(&mut self, bytes: &[u8], pool: &mut BufferPool) {
        self.append(bytes.len(), pool, |buffer| buffer.extend_from_slice(bytes));
    }

    /// Queues bytes that own their memory as they are.
    pub fn enqueue_owned(&mut self, bytes: Vec<u8>, pool: &mut BufferPool) {
        self.queue(pool).push_owned(bytes, 0);
    }

    /// Queues shared bytes as they are.
    pub fn enqueue_shared(&mut self, bytes: Bytes, pool: &mut BufferPool) {
        self.queue(pool).push_shared(bytes);
    }

    #[inline]
    fn enqueue(
        &mut self,
        msg_type: WSMsgType,
        payload: &[u8],
        options: SendOptions,
        out: &mut SendContext<'_>,
    ) {
        let header = self.header(msg_type, options, payload.len(), out.keys);
        self.append(header.header_len() + payload.len(), out.pool, |buffer| {
            header.encode_to(buffer);
            match header.mask() {
                Some(key) => mask::mask_extend(payload, buffer, key),
                None => buffer.extend_from_slice(payload),
            }
        });
    }

    #[inline]
    fn queue(&mut self, pool: &mut BufferPool) -> &mut SendQueue {
        self.queue.get_or_insert_with(|| pool.take_queue())
    }

    #[inline]
    fn append(&mut self, additional: usize, pool: &mut BufferPool, write: impl FnOnce(&mut Vec<u8>)) {
        self.queue(pool).append(additional, pool, write);
    }

    /// Answers a ping, now or, if there is no room, as soon as there is; of several waiting ones only the newest.
    fn answer_ping(&mut self, payload: &[u8], out: &mut SendContext<'_>) {
        if self.leaving || !matches!(self.phase, Phase::Open | Phase::CloseReceived) {
            return;
        }
        if self.has_room(payload.len()) {
            // Answers the older pings, too (RFC 6455 section 5.5.3); their own pong must not come after it.
            if let Some(overload) = &mut self.overload {
                overload.unanswered_ping = None;
            }
            self.enqueue(WSMsgType::Pong, payload, SendOptions::default(), out);
        } else {
            let waiting = &mut self.overload.get_or_insert_default().unanswered_ping;
            let waiting = waiting.get_or_insert_default();
            waiting.clear();
            waiting.extend_from_slice(payload);
        }
    }

    #[cold]
    fn overflow(&mut self, msg_type: WSMsgType, options: SendOptions, len: usize) {
        let overload = self.overload.get_or_insert_default();
        overload.dropped_frames += 1;
        overload.dropped_bytes += len as u64;
        let tears_message = msg_type == WSMsgType::Continuation || !options.fin;
        if self.rules.overflow_policy == WSOverflowPolicy::Close || (tears_message && !msg_type.is_control())
        {
            overload.overflowed = true;
        }
    }

    #[inline]
    fn max_header_len(&self, len: usize) -> usize {
        let key = if self.role == Role::Client { 4 } else { 0 };
        key + match len {
            0..=125 => 2,
            126..=0xffff => 4,
            _ => 10,
        }
    }

    fn start_deadline(&mut self, now: Instant) {
        let deadline = &mut self.closing.get_or_insert_default().deadline;
        if deadline.is_none() {
            *deadline = Some(now.checked_add(self.rules.close_timeout).unwrap_or(now + NEVER));
        }
    }
}
