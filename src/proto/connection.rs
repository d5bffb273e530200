//! The protocol state of one open connection.

mod action;
mod closing;
mod flags;
mod lifecycle;
mod overload;
mod sending;
#[cfg(test)]
mod tests;
mod timing;

use std::sync::Arc;
use std::time::Instant;

use crate::buf::SendQueue;

use super::header::FrameHeader;
use super::receiver::{FrameHead, Receiver};
use super::{
    Role, Rules, SendContext, WSClose, WSCloseCode, WSCloseHandshake, WSDisconnectCause, WSMsgType,
    WSProtocolError, parse_close_payload,
};

pub use action::{Action, Disposition, Event, StreamState};
use closing::Closing;
use flags::Flags;
use overload::Overload;
use timing::Timing;

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
///   returns whether the frame is also the user's; [`auto_close`](Self::auto_close) follows a CLOSE
///   that was delivered. An `Err` of either goes into [`fail`](Self::fail). Once
///   [`is_receiving`](Self::is_receiving) is false, what arrives is thrown away.
/// - **Frames out.** [`send`](Self::send) queues. [`io_slices`](Self::io_slices) shows what leaves
///   next, [`consume`](Self::consume) takes away what left, [`queued`](Self::queued) returns the
///   size of the backlog.
/// - **Other input** comes in through the `handle_` methods: the connection is open
///   ([`handle_open`](Self::handle_open)), bytes arrived
///   ([`handle_arrival`](Self::handle_arrival)), the kernel refuses or takes bytes
///   ([`handle_refused`](Self::handle_refused)), the stream has ended
///   ([`handle_end`](Self::handle_end)), the timer has fired
///   ([`handle_timeout`](Self::handle_timeout)). An error of the stream goes into
///   [`abort`](Self::abort).
/// - **Commands** change the state: [`send`](Self::send), [`send_close`](Self::send_close),
///   [`disconnect`](Self::disconnect), [`fail`](Self::fail), [`abort`](Self::abort),
///   [`ping_sent`](Self::ping_sent), [`answer_late`](Self::answer_late),
///   [`pause_reading`](Self::pause_reading) and [`resume_reading`](Self::resume_reading). None of them has an effect outside of the connection.
/// - **Actions** carry the effects. After input, commands and writes, and once the queue was
///   written as far as the kernel takes it, the caller carries out what
///   [`poll_action`](Self::poll_action) returns, one action after the other, until that is `None`.
///   [`Action::Disconnected`] comes exactly once, and nothing after it; the connection may then be
///   dropped.
/// - **Events** for the application are announced by [`Action::Notify`] and returned by
///   [`poll_event`](Self::poll_event), so that no action runs user code.
/// - **Time** is passed in as `now` and does not go backwards. There is one timer. Only
///   [`Action::SetTimer`] moves it, and arriving bytes and the progress of writes never do: a
///   deadline that has moved is noticed when the timer fires.
///
/// A connection that is open, keeps up and is not watched has no actions, so that `poll_action`
/// costs the test of a flag. As long as the kernel refuses bytes, or an end is under way, the
/// actions depend on the queue.
#[derive(Debug)]
pub struct Connection {
    rules: Arc<Rules>,
    receiver: Receiver,
    /// `None` while nothing is queued: an idle connection owns no memory for sending.
    queue: Option<Box<SendQueue>>,
    /// `None` until something begins to end the connection.
    closing: Option<Box<Closing>>,
    /// `None` while the queue leaves as fast as it grows.
    overload: Option<Box<Overload>>,
    /// `None` unless there is a deadline or something to watch.
    timing: Option<Box<Timing>>,
    flags: Flags,
    /// Frames queued since they were last asked for.
    queued_frames: u32,
    /// Most bytes that may be queued the short way; zero in any state in which not every data frame
    /// may be queued without a further look.
    gather_limit: u32,
    /// The longest payload that is gathered, in bytes.
    gathered_end: u16,
    role: Role,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    CloseSent,
    CloseReceived,
    Closed,
    Failed,
}

impl Connection {
    /// Creates the state of a connection whose opening handshake is done.
    pub fn new(role: Role, rules: Arc<Rules>) -> Self {
        // Longer payloads have a longer header than those that are gathered.
        let gathered_end = u16::try_from(rules.no_copy_threshold.saturating_sub(1)).unwrap_or(u16::MAX);
        let mut connection = Self {
            receiver: Receiver::new(role, &rules),
            rules,
            queue: None,
            closing: None,
            overload: None,
            timing: None,
            flags: Flags::default(),
            queued_frames: 0,
            gather_limit: 0,
            gathered_end,
            role,
            phase: Phase::Open,
        };
        connection.state_changed();
        connection
    }

    /// Returns which end this is.
    #[inline]
    pub(crate) fn role(&self) -> Role {
        self.role
    }

    /// Updates what the short ways of sending and receiving depend on. Called after each change of
    /// the state, and of whether the kernel refuses bytes.
    fn state_changed(&mut self) {
        self.limit_gathering();
        if !self.is_receiving() {
            self.receiver.stop_plain();
        }
    }

    /// Changes the state.
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.state_changed();
    }

    /// Returns the state of the end, begun if it was not.
    fn closing(&mut self) -> &mut Closing {
        self.closing.get_or_insert_default()
    }

    fn timing(&mut self) -> &mut Timing {
        self.timing.get_or_insert_default()
    }
}

/// Frames in.
impl Connection {
    /// See [`Receiver::leave_long_masked`].
    pub(crate) fn leave_long_masked(&mut self) {
        self.receiver.leave_long_masked();
    }

    /// See [`Receiver::expect_messages`].
    pub(crate) fn expect_messages(&mut self) {
        self.receiver.expect_messages(&self.rules);
    }

    /// See [`Receiver::expect_compression`].
    #[cfg(feature = "deflate")]
    pub(crate) fn expect_compression(&mut self) {
        self.receiver.expect_compression();
    }

    /// See [`Receiver::checks_text`].
    #[cfg(feature = "deflate")]
    pub(crate) fn checks_text(&self) -> bool {
        self.receiver.checks_text()
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
    pub(crate) fn peek_plain(&self, bytes: &[u8]) -> Option<FrameHeader> {
        self.receiver.peek_plain(bytes)
    }

    /// See [`Receiver::has_message`].
    #[inline]
    pub(crate) fn has_message(&mut self, bytes: &[u8]) -> bool {
        self.receiver.has_message(bytes, &self.rules)
    }

    /// See [`Receiver::take_message`].
    #[inline]
    pub(crate) fn take_message(&mut self, bytes: &[u8]) -> Option<FrameHeader> {
        self.receiver.take_message(bytes, &self.rules)
    }

    /// See [`Receiver::is_last_before`].
    pub(crate) fn is_last_before(&mut self, tail: &[u8]) -> bool {
        self.receiver.is_last_before(tail, &self.rules)
    }

    /// See [`Receiver::take_plain`].
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "see there")]
    pub(crate) fn take_plain<'a>(
        &mut self,
        header: FrameHeader,
        bytes: &'a mut [u8],
    ) -> (FrameHead, &'a mut [u8], &'a mut [u8]) {
        self.receiver.take_plain(header, bytes, &self.rules)
    }

    /// See [`Receiver::pending_wire_len`].
    pub(crate) fn pending_wire_len(&self) -> Option<u64> {
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
                self.closing().received(WSClose { code, reason: reason.into() });
                let answers = self.phase == Phase::CloseSent;
                self.enter(if answers { Phase::Closed } else { Phase::CloseReceived });
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
            let (code, reason) =
                recv.map_or((WSCloseCode::NO_INFO, "".into()), |close| (close.code, close.reason));
            self.send_close(code, &reason, now, out);
        }
    }

    /// Notes that the caller delivers nothing any more. Silence while reading is paused is excused.
    pub fn pause_reading(&mut self) {
        self.flags.set(Flags::PAUSED);
        self.receiver.stop_plain();
    }

    /// Undoes [`pause_reading`](Self::pause_reading).
    pub fn resume_reading(&mut self) {
        if self.flags.clear(Flags::PAUSED) {
            if self.is_receiving() {
                self.receiver.resume_plain(&self.rules);
            }
            self.flags.set(Flags::READ_ON | Flags::ATTENTION);
        }
    }

    /// Stops before the next data frame, as [`Receiver::hold_data`](super::Receiver::hold_data)
    /// does: the caller has no room for it.
    pub(crate) fn hold_data(&mut self) {
        self.hold(Flags::NO_ROOM);
    }

    /// Undoes [`hold_data`](Self::hold_data). Data stays held while the backlog holds it
    /// ([`hold_data_on_backlog`](super::Rules::hold_data_on_backlog)).
    pub(crate) fn release_data(&mut self) {
        self.release(Flags::NO_ROOM);
    }

    fn hold(&mut self, reason: u32) {
        if !self.flags.has(Flags::HOLDING) {
            self.receiver.hold_data();
        }
        self.flags.set(reason);
    }

    fn release(&mut self, reason: u32) {
        if !self.flags.clear(reason) || self.flags.has(Flags::HOLDING) {
            return;
        }
        self.receiver.release_data(&self.rules);
        if let Some(timing) = &mut self.timing {
            timing.release_end();
        }
        self.flags.set(Flags::READ_ON | Flags::ATTENTION);
    }
}

/// State that the caller may ask for at any time.
impl Connection {
    /// Returns `true` while frames that arrive count: until the peer's CLOSE, an error or a
    /// disconnect. A half-close makes no difference, as nothing follows it.
    #[inline]
    pub fn is_receiving(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::CloseSent) && !self.flags.has(Flags::LEAVING)
    }

    /// Returns `true` if the next frame that arrives is to be delivered. It may be a data frame
    /// that is held.
    #[inline]
    pub(crate) fn is_delivering(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::CloseSent)
            && !self.flags.has(Flags::LEAVING | Flags::PAUSED)
    }

    /// Returns `true` while data is held ([`Receiver::is_data_held`]).
    pub(crate) fn is_data_held(&self) -> bool {
        self.receiver.is_data_held()
    }

    /// Returns `true` if an event is for receiving only, and what arrives needs no look at the state
    /// before it is delivered.
    #[inline]
    pub(crate) fn receives_plainly(&self) -> bool {
        !self.flags.has(Flags::NOT_PLAIN)
    }

    /// Returns `true` while the application has paused reading.
    pub(crate) fn is_paused(&self) -> bool {
        self.flags.has(Flags::PAUSED)
    }

    /// Returns `true` while no data frame is delivered: reading is paused, or data is to be held.
    #[inline]
    pub(crate) fn is_reading_paused(&self) -> bool {
        self.flags.has(Flags::PAUSED | Flags::HOLDING)
    }

    /// Returns `true` if delivery has stopped, so that bytes from the stream have no use now.
    pub(crate) fn is_stopped(&self) -> bool {
        self.is_receiving() && (self.flags.has(Flags::PAUSED) || self.is_data_held())
    }

    /// Returns `true` once an end of the connection has begun that has a deadline, or is over.
    pub(crate) fn is_ending(&self) -> bool {
        self.flags.has(Flags::OVER) || self.closing.as_ref().is_some_and(|closing| closing.is_ending())
    }

    /// Returns `true` once the end is decided: nothing is sent or received any more.
    pub(crate) fn is_aborted(&self) -> bool {
        self.found().is_some()
    }

    /// Returns how the end was met, once it is decided.
    fn found(&self) -> Option<WSDisconnectCause> {
        self.closing.as_ref()?.found()
    }

    /// Returns `true` while a ping is under way: any frame may be its answer.
    #[inline]
    pub(crate) fn is_pong_awaited(&self) -> bool {
        self.flags.has(Flags::PONG_AWAITED)
    }

    /// Returns `true` once a client's closing handshake is complete and everything has left.
    pub(crate) fn is_handshake_closed(&self) -> bool {
        self.flags.has(Flags::SERVER_ENDS)
    }

    /// Returns `true` after the peer's half-close, if it is [answered late](Self::answer_late).
    pub(crate) fn is_half_closed(&self) -> bool {
        self.flags.has(Flags::HALF_CLOSED)
    }

    /// Returns `true` if the local end closes TCP as soon as the queue is empty.
    ///
    /// After a clean closing handshake the server does, and the client waits for it (RFC 6455
    /// section 7.1.1). A peer that has half-closed TCP does not answer a CLOSE.
    pub(crate) fn is_finished(&self) -> bool {
        self.flags.has(Flags::LEAVING)
            || self.phase == Phase::Failed
            || (self.phase == Phase::Closed && self.role == Role::Server)
            || (self.phase == Phase::CloseSent && self.is_half_closed())
    }

    /// Returns `true` once both CLOSE frames were exchanged.
    pub(crate) fn is_closed_cleanly(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Returns when to give up on an ending connection.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.closing.as_ref()?.deadline()
    }

    /// Returns the CLOSE frames exchanged so far; `None` before the first.
    pub fn close_handshake(&self) -> Option<&WSCloseHandshake> {
        self.closing.as_ref()?.handshake()
    }

    /// Returns `true` if the local CLOSE frame was sent or queued.
    #[inline]
    pub(crate) fn is_close_sent(&self) -> bool {
        self.closing.as_ref().is_some_and(|closing| closing.is_close_sent())
    }
}
