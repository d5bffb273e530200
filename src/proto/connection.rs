//! The protocol state of one open connection.

use std::cell::RefCell;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Instant;

use crate::buf::{BufferPool, SendQueue};

use super::header::FrameHeader;
use super::lifecycle::Lifecycle;
use super::receiver::{FrameHead, Receiver};
use super::{
    ClosePayload, Payload, Role, Rules, SendContext, SendOptions, WSCloseCode, WSDisconnectCause, WSMsgType,
    WSProtocolError, deadline_after, parse_close_payload,
};

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
/// Bytes, facts and time come in; bytes and actions come out. Nothing here reads a socket or a
/// clock, calls the application, or waits.
///
/// - **Frames in.** [`poll`](Self::poll) finds the frames in what arrived. Each control frame goes
///   through [`handle_control`](Self::handle_control), which does what the protocol requires and
///   returns whether the frame is also the user's. An `Err` of either goes into
///   [`fail`](Self::fail). Once [`is_receiving`](Self::is_receiving) is false, what arrives is thrown
///   away. [`hold_data`](Self::hold_data) stops before the next data frame: back-pressure that leaves
///   control frames in front of it alone.
/// - **Frames out.** [`send`](Self::send) queues. [`io_slices`](Self::io_slices) shows what leaves next,
///   [`consume`](Self::consume) takes away what left.
/// - **Other input** comes in through the `handle_` methods: the connection is open
///   ([`handle_open`](Self::handle_open)), bytes arrived ([`handle_arrival`](Self::handle_arrival)),
///   the kernel refuses or takes bytes ([`handle_refused`](Self::handle_refused)), the stream has
///   ended ([`handle_end`](Self::handle_end), [`handle_held_end`](Self::handle_held_end)), the timer
///   has fired ([`handle_timeout`](Self::handle_timeout)). An error of the stream goes into
///   [`abort`](Self::abort).
/// - **Commands** change the state: [`send`](Self::send), [`send_close`](Self::send_close),
///   [`disconnect`](Self::disconnect), [`fail`](Self::fail), [`abort`](Self::abort),
///   [`ping_sent`](Self::ping_sent), [`pong_received`](Self::pong_received),
///   [`set_watermarks`](Self::set_watermarks), [`answer_late`](Self::answer_late), and the pairs that
///   pause reading and hold data. None of them has an effect outside of the connection.
/// - **Actions** carry the effects. After input, commands and writes, and once the queue was written
///   as far as the kernel takes it, the caller tests [`has_actions`](Self::has_actions). If it is
///   true, it carries out what [`poll_action`](Self::poll_action) returns, one action after the
///   other, until that is `None`. [`Action::Disconnected`](super::Action::Disconnected) comes exactly
///   once, and nothing after it; the caller then calls [`abandon`](Self::abandon).
/// - **Events** for the application are announced by [`Action::Notify`](super::Action::Notify) and
///   returned by [`poll_event`](Self::poll_event), so that no action runs user code.
/// - **Time** is passed in as `now` and does not go backwards. There is one timer. Only
///   [`Action::SetTimer`](super::Action::SetTimer) moves it, and arriving bytes and the progress of
///   writes never do: a deadline that has moved is noticed when the timer fires.
///
/// A connection that is open, keeps up and is not watched has no actions, so sending and receiving
/// cost it one test of a flag. As long as the kernel refuses bytes, or an end is under way,
/// `has_actions` stays true, since what is due depends on the queue.
#[derive(Debug)]
pub struct Connection {
    pub(super) rules: Arc<Rules>,
    pub(super) receiver: Receiver,
    /// `None` while nothing waits: an idle connection owns no memory for sending.
    pub(super) queue: Option<Box<SendQueue>>,
    /// `None` until something begins to end the connection.
    pub(super) closing: Option<Box<Closing>>,
    /// What few connections ever need.
    pub(super) overload: Option<Box<Overload>>,
    pub(super) role: Role,
    pub(super) phase: Phase,
    /// A graceful disconnect was asked for: flush, then close TCP, with or without a closing handshake.
    pub(super) leaving: bool,
    /// The peer has half-closed TCP, and the local end sends on.
    pub(super) half_closed: bool,
    /// Back-pressure, liveness and the end of TCP.
    pub(super) life: Lifecycle,
    /// The kernel refuses bytes ([`handle_refused`](Self::handle_refused)).
    pub(super) refused: bool,
    /// Frames queued since they were last asked for.
    pub(super) queued_frames: u32,
    /// Most bytes that may be queued the short way; zero in any state in which not every data frame
    /// may be queued without a further look.
    pub(super) gather_limit: usize,
    /// The longest payload that is gathered, in bytes.
    pub(super) gathered_end: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    CloseSent,
    CloseReceived,
    Closed,
    Failed,
}

/// How far the end of a connection has come.
#[derive(Debug, Default)]
pub(super) struct Closing {
    pub(super) handshake: WSCloseHandshake,
    /// Set by what first began to end the connection, and never moved later: the peer cannot prolong
    /// it.
    pub(super) deadline: Option<Instant>,
    /// The first reason to end the connection.
    pub(super) cause: Option<WSDisconnectCause>,
    /// How the end was met. The connection is over.
    pub(super) found: Option<WSDisconnectCause>,
    /// The connection is over after one more write.
    pub(super) parting: Option<WSDisconnectCause>,
}

/// The state of a queue that is, or was, too slow to leave: the kernel refuses bytes, or it was
/// full.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Overload {
    pub(super) dropped_frames: u64,
    pub(super) dropped_bytes: u64,
    /// Of both, what was told already.
    pub(super) told: (u64, u64),
    /// The newest ping that there was no room to answer, or that came while the kernel refused
    /// bytes.
    pub(super) unanswered_ping: Option<Vec<u8>>,
    /// Queued bytes that leave before `unanswered_ping` is answered.
    pub(super) ahead_of_pong: usize,
    /// See [`left_since_refusal`](Connection::left_since_refusal).
    pub(super) left_since_refusal: u64,
    /// An outbound frame met [`WSOverflowPolicy::Close`](super::WSOverflowPolicy::Close).
    pub(super) overflowed: bool,
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

/// Whose a control frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The listener sees it.
    Deliver,
    /// The protocol dealt with it.
    Consumed,
}

impl Connection {
    /// A connection whose opening handshake is done.
    pub fn new(role: Role, rules: Arc<Rules>) -> Self {
        // The lengths that are gathered have a header of at most four bytes.
        let gathered_end = u16::try_from(rules.no_copy_threshold.saturating_sub(1)).unwrap_or(u16::MAX);
        let mut connection = Self {
            receiver: Receiver::new(role, &rules),
            rules,
            queue: None,
            closing: None,
            overload: None,
            role,
            phase: Phase::Open,
            leaving: false,
            half_closed: false,
            life: Lifecycle::default(),
            refused: false,
            queued_frames: 0,
            gather_limit: 0,
            gathered_end,
        };
        connection.state_changed();
        connection
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

    /// See [`Receiver::leave_long_masked`].
    pub fn leave_long_masked(&mut self) {
        self.receiver.leave_long_masked();
    }

    /// See [`Receiver::expect_messages`].
    pub fn expect_messages(&mut self) {
        self.receiver.expect_messages(&self.rules);
    }

    /// Returns `true` while data is held ([`Receiver::is_data_held`]).
    pub fn is_data_held(&self) -> bool {
        self.receiver.is_data_held()
    }

    /// See [`Receiver::expect_compression`].
    pub fn expect_compression(&mut self) {
        self.receiver.expect_compression();
    }

    /// Whether frames that arrive still count. False from the peer's CLOSE, a fault or a disconnect on.
    ///
    /// After a half-close nothing arrives any more, so it does not count here.
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

    /// See [`Receiver::peek_plain`].
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "see there")]
    pub fn peek_plain(&self, bytes: &[u8]) -> Option<FrameHeader> {
        self.receiver.peek_plain(bytes)
    }

    /// See [`Receiver::has_message`].
    #[inline]
    pub(crate) fn has_message(&mut self, bytes: &[u8]) -> bool {
        self.receiver.has_message(bytes, &self.rules)
    }

    /// See [`Receiver::take_plain`].
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "see there")]
    pub fn take_plain<'a>(
        &mut self,
        header: FrameHeader,
        bytes: &'a mut [u8],
    ) -> (FrameHead, &'a mut [u8], &'a mut [u8]) {
        self.receiver.take_plain(header, bytes, &self.rules)
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
                self.state_changed();
                Ok(Disposition::Deliver)
            }
            _ => Ok(Disposition::Deliver),
        }
    }

    /// Answers a CLOSE that was delivered and left unanswered with its own code and reason, if that
    /// is configured.
    pub fn auto_close(&mut self, now: Instant, out: &mut SendContext<'_>) {
        if self.phase == Phase::CloseReceived && self.rules.enable_auto_close {
            let recv = self.close_handshake().and_then(|close| close.recv.clone());
            let WSClose { code, reason } =
                recv.unwrap_or(WSClose { code: WSCloseCode::NO_INFO, reason: "".into() });
            self.send_close(code, &reason, now, out);
        }
    }

    /// Ends the connection once the queue has left; the rest of what arrives is thrown away.
    pub(super) fn set_failed(&mut self, now: Instant) {
        self.phase = Phase::Failed;
        self.state_changed();
        self.start_deadline(now);
    }

    /// Neither sends nor receives any more.
    pub(super) fn stop_sending(&mut self) {
        self.leaving = true;
        self.state_changed();
    }

    /// Stops receiving, lets what is queued leave, then closes TCP.
    pub fn leave(&mut self, now: Instant) {
        self.stop_sending();
        self.start_deadline(now);
    }

    /// Begins the closing deadline after the peer's half-close without CLOSE. The peer may still
    /// read: frames leave until [`send_close`](Self::send_close) or the deadline.
    pub(super) fn half_close(&mut self, now: Instant) {
        self.half_closed = true;
        self.start_deadline(now);
    }

    /// Returns `true` after the peer's half-close, if it is [answered late](Self::answer_late).
    pub fn is_half_closed(&self) -> bool {
        self.half_closed
    }

    /// Whether this end closes TCP as soon as the queue is empty.
    ///
    /// After a clean closing handshake the server does, and the client waits for it (RFC 6455
    /// section 7.1.1). A peer that has ended its half does not answer a CLOSE.
    #[inline]
    pub fn is_finished(&self) -> bool {
        self.leaving
            || self.phase == Phase::Failed
            || (self.phase == Phase::Closed && self.role == Role::Server)
            || (self.phase == Phase::CloseSent && self.half_closed)
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

    /// Whether an outbound frame met the limit under [`WSOverflowPolicy::Close`](super::WSOverflowPolicy::Close): the caller aborts.
    pub fn is_overflowed(&self) -> bool {
        self.overload.as_ref().is_some_and(|overload| overload.overflowed)
    }

    /// Frames and payload bytes that were dropped because the queue was full.
    pub fn dropped(&self) -> (u64, u64) {
        self.overload.as_ref().map_or((0, 0), |o| (o.dropped_frames, o.dropped_bytes))
    }

    /// Of [`dropped`](Self::dropped), what is new since this was last called.
    pub fn take_new_drops(&mut self) -> (u64, u64) {
        let Some(overload) = &mut self.overload else { return (0, 0) };
        let all = (overload.dropped_frames, overload.dropped_bytes);
        let told = std::mem::replace(&mut overload.told, all);
        (all.0 - told.0, all.1 - told.1)
    }

    /// How many frames were queued, or admitted to be written past the queue, since this was last called.
    #[inline]
    pub fn take_queued_frames(&mut self) -> u32 {
        std::mem::take(&mut self.queued_frames)
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
            && self.queued() + payload_len + self.header_len(payload_len) <= self.rules.max_outbound
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

    /// What leaves next, up to the end of its piece of memory.
    #[inline]
    pub fn first_slice(&self) -> &[u8] {
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
        if self.overload.is_some() {
            return self.consume_under_overload(n, out);
        }
        self.consume_queued(n, out);
    }

    #[inline]
    pub(super) fn consume_queued(&mut self, n: usize, out: &mut SendContext<'_>) {
        if let Some(mut queue) = self.queue.take() {
            queue.consume(n, out.pool);
            if queue.is_empty() {
                out.pool.give_queue(queue);
            } else {
                self.queue = Some(queue);
            }
        }
    }

    /// The socket is gone: forgets what is queued and refuses more. Returns how many bytes were queued.
    pub fn abandon(&mut self, pool: &mut BufferPool) -> usize {
        self.stop_sending();
        let unsent = self.queued();
        if let Some(mut queue) = self.queue.take() {
            queue.clear(pool);
            pool.give_queue(queue);
        }
        unsent
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
        let close = Payload::Borrowed(payload.as_bytes());
        self.enqueue(WSMsgType::Close, close, SendOptions::default(), out);
        self.count_frame();
        let answered = self.phase == Phase::CloseReceived;
        self.phase = if answered { Phase::Closed } else { Phase::CloseSent };
        self.state_changed();
        let reason = match parse_close_payload(payload.as_bytes()) {
            Ok((_, reason)) => reason.into(),
            Err(_) => reason.into(),
        };
        self.closing.get_or_insert_default().handshake.sent = Some(WSClose { code, reason });
        self.start_deadline(now);
        true
    }

    pub(super) fn start_deadline(&mut self, now: Instant) {
        self.life.attend();
        let deadline = &mut self.closing.get_or_insert_default().deadline;
        if deadline.is_none() {
            *deadline = Some(deadline_after(now, self.rules.close_timeout));
        }
    }
}
