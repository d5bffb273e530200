//! From bytes to frames.

use crate::mask;

use super::header::{FrameHeader, LONG};
use super::{Role, Rules, Utf8Validator, WSCloseCode, WSMsgType, WSProtocolError};

/// The bit of a frame's first byte that control frames have in common (RFC 6455 section 5.5).
const CONTROL: u8 = 0x08;

/// The frame decoder of one connection.
///
/// # Contract
/// [`poll`](Self::poll) is given the unconsumed bytes, from the first byte of a frame on. It returns
/// - `Ok(Some(head))`: the frame at the front is whole and now unmasked, unless the caller wanted
///   [long ones as they come](Self::leave_long_masked); the caller delivers it, skips [`FrameHead::wire_len`] bytes and calls again;
/// - `Ok(None)`: more bytes are needed; the caller calls again with the same bytes and some more behind them. The bytes may
///   have been moved, and part of the payload may have been unmasked in place: they must come back as they were left;
/// - `Ok(None)` with [`is_data_held`](Self::is_data_held): the next frame is a data frame, and data
///   is [held](Self::hold_data). More bytes change nothing before
///   [`release_data`](Self::release_data);
/// - `Err`: the peer is at fault, and nothing that follows may be read. Every frame before the fault was returned first.
#[derive(Debug)]
pub struct Receiver {
    role: Role,
    text_check: TextCheck,
    /// Whether sizes are counted over whole messages.
    count_messages: bool,
    /// Whether RSV1 marks compressed messages.
    deflate: bool,
    /// Whether [long](FrameHeader::is_long) frames are left masked.
    leave_masked: bool,
    hold: Hold,
    /// No frame may go the short way.
    is_plain_stopped: bool,
    plain: PlainFrames,
    message: Message,
    ahead: Ahead,
    utf8: Utf8Validator,
    fragments: u32,
    /// Payload bytes of the frame in `ahead` that are unmasked and checked already: only text is, and only while it arrives.
    unmasked: usize,
    /// Payload bytes of the current message, the frame in `ahead` included.
    message_len: u64,
}

/// The message that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Message {
    None,
    Text,
    Binary,
    /// Of either type; what it says is known to whoever inflates it.
    Compressed,
}

/// The delivery of data frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    Off,
    /// Control frames are returned up to the next data frame.
    On,
    /// The next frame is a data frame.
    Reached,
}

/// What is known of the frame that has not been returned.
#[derive(Clone, Copy, Debug)]
enum Ahead {
    Unknown,
    /// It is whole and goes the short way.
    Plain(FrameHeader),
    Header(FrameHeader),
}

/// Which frames may go the short way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PlainFrames {
    /// Whether TEXT may, too: not if it is checked here.
    text: bool,
    /// The payload is shorter than this, in bytes: the least of the limits, and of the range of a
    /// 16-bit length. Zero, so none may, while data is held: the short way needs no test of its
    /// own for that.
    len_end: u16,
}

impl PlainFrames {
    const NONE: Self = Self { text: false, len_end: 0 };

    fn new(rules: &Rules, text_check: TextCheck, count_messages: bool) -> Self {
        let limit = if count_messages {
            rules.max_frame_size.min(rules.max_message_size)
        } else {
            rules.max_frame_size
        };
        Self {
            text: text_check != TextCheck::All,
            len_end: limit.saturating_add(1).min(u16::MAX.into()) as u16,
        }
    }
}

/// Which text is checked for UTF-8 here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TextCheck {
    Off,
    /// All but whole messages that arrived whole: the message layer checks those when it makes them a `&str`.
    Pieces,
    All,
}

/// A whole frame at the front of the bytes given to [`Receiver::poll`].
#[derive(Clone, Copy, Debug)]
pub struct FrameHead {
    /// The header.
    pub header: FrameHeader,
    /// Whether the bytes hold no further whole frame.
    pub last_in_buffer: bool,
    /// How many bytes follow this frame.
    pub tail_size: usize,
}

impl FrameHead {
    /// Bytes of header and payload together.
    #[inline]
    pub fn wire_len(&self) -> usize {
        self.header.header_len() + self.header.payload_len() as usize
    }

    /// Unmasks the payload of a frame that was [left as it came](Receiver::leave_long_masked).
    pub fn unmask(&self, payload: &mut [u8]) {
        self.header.unmask(payload);
    }
}

impl Receiver {
    /// A decoder for what this end receives.
    pub fn new(role: Role, rules: &Rules) -> Self {
        let text_check = if rules.validate_utf8 { TextCheck::All } else { TextCheck::Off };
        Self {
            role,
            text_check,
            count_messages: false,
            deflate: false,
            leave_masked: false,
            hold: Hold::Off,
            is_plain_stopped: false,
            plain: PlainFrames::new(rules, text_check, false),
            message: Message::None,
            ahead: Ahead::Unknown,
            utf8: Utf8Validator::default(),
            fragments: 0,
            unmasked: 0,
            message_len: 0,
        }
    }

    /// Serves a layer that assembles messages: sizes are limited over whole messages, and text that arrives in pieces is
    /// checked as it comes. The layer itself checks text that arrived whole.
    pub fn expect_messages(&mut self, rules: &Rules) {
        self.count_messages = true;
        self.text_check = TextCheck::Pieces;
        self.choose_plain(rules);
    }

    /// Leaves payloads of 4 KiB or more masked so that the caller can unmask them while copying.
    pub fn leave_long_masked(&mut self) {
        if self.role == Role::Server {
            self.leave_masked = true;
            self.plain.len_end = self.plain.len_end.min(LONG);
        }
    }

    /// Stops before the next data frame, whether it begins a message or continues one. Control
    /// frames in front of it are returned as before; it stays unparsed, and what lies behind it
    /// waits.
    pub fn hold_data(&mut self) {
        self.plain = PlainFrames::NONE;
        self.hold = match self.ahead {
            Ahead::Plain(_) => Hold::Reached,
            Ahead::Header(header) if !header.msg_type().is_control() => Hold::Reached,
            Ahead::Header(_) | Ahead::Unknown => Hold::On,
        };
        self.forget_plain();
    }

    /// Closes the short way: [`peek_plain`](Self::peek_plain) finds no frame any more. So delivery
    /// has to ask only once, for a frame that goes the long way, whether it is to go on.
    pub(crate) fn stop_plain(&mut self) {
        self.is_plain_stopped = true;
        self.plain = PlainFrames::NONE;
        self.forget_plain();
    }

    /// Undoes [`stop_plain`](Self::stop_plain).
    pub(crate) fn resume_plain(&mut self, rules: &Rules) {
        self.is_plain_stopped = false;
        self.choose_plain(rules);
    }

    /// The look-ahead has promised a frame the short way, which is closed now. Parsing it has
    /// changed nothing.
    fn forget_plain(&mut self) {
        if let Ahead::Plain(_) = self.ahead {
            self.ahead = Ahead::Unknown;
        }
    }

    /// Undoes [`hold_data`](Self::hold_data): the frame that was held is returned by the next
    /// [`poll`](Self::poll) with the same bytes.
    pub fn release_data(&mut self, rules: &Rules) {
        self.hold = Hold::Off;
        self.choose_plain(rules);
    }

    /// Returns `true` if the next frame is a data frame that [`hold_data`](Self::hold_data) keeps
    /// from being returned.
    #[inline]
    pub fn is_data_held(&self) -> bool {
        self.hold == Hold::Reached
    }

    /// Derives which frames may go the short way.
    fn choose_plain(&mut self, rules: &Rules) {
        if self.hold != Hold::Off || self.is_plain_stopped {
            return;
        }
        self.plain = PlainFrames::new(rules, self.text_check, self.count_messages);
        if self.leave_masked {
            self.plain.len_end = self.plain.len_end.min(LONG);
        }
    }

    /// Compression of messages was agreed on: RSV1 is let through in the first frame of a message, and nowhere else (RFC 7692
    /// section 6). Compressed text is not checked here. What does not compress gets longer, so frames of compressed messages, and their
    /// sum, may pass the limits of sizes by an eighth and 1 KiB; the size of the message itself is for whoever inflates it.
    pub fn expect_compression(&mut self) {
        self.deflate = true;
    }

    /// Returns `true` if all text is checked here, but for that of compressed messages: whoever
    /// inflates them checks it.
    #[cfg(feature = "deflate")]
    pub(crate) fn checks_text(&self) -> bool {
        self.text_check == TextCheck::All
    }

    /// Looks for a frame at the front of `bytes`. See the contract of the type.
    ///
    /// # Errors
    /// The peer broke RFC 6455 or a limit of `rules`; `code` says how to close.
    #[inline]
    pub fn poll(&mut self, bytes: &mut [u8], rules: &Rules) -> Result<Option<FrameHead>, WSProtocolError> {
        match self.peek_plain(bytes) {
            Some(header) => Ok(Some(self.take_plain(header, bytes, rules).0)),
            None => self.poll_any(bytes, rules),
        }
    }

    /// The first half of the part of [`poll`](Self::poll) that nearly all frames need: the header of a TEXT or BINARY frame that is
    /// whole, is a message by itself and breaks no rule, to be handed to [`take_plain`](Self::take_plain) with the same bytes. `None`
    /// says nothing about the bytes; `poll` does.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "out of line, its result would go through memory: a quarter of the time per frame"
    )]
    pub fn peek_plain(&self, bytes: &[u8]) -> Option<FrameHeader> {
        match self.ahead {
            Ahead::Plain(header) => Some(header),
            Ahead::Unknown => self.plain_header(bytes),
            Ahead::Header(_) => None,
        }
    }

    /// Returns `true` if the frame at the front of `bytes` is whole, is an uncompressed message by
    /// itself, and may be returned: [`peek_plain`](Self::peek_plain) finds it, or it is
    /// [long](FrameHeader::is_long) and [`poll`](Self::poll) returns it. The header is kept, so that it
    /// is parsed once for both.
    #[inline]
    pub(crate) fn has_message(&mut self, bytes: &[u8], rules: &Rules) -> bool {
        match self.ahead {
            Ahead::Plain(_) => true,
            Ahead::Header(_) => self.has_long(bytes, rules),
            Ahead::Unknown => match self.plain_header(bytes) {
                Some(header) => {
                    self.ahead = Ahead::Plain(header);
                    true
                }
                None => self.has_long(bytes, rules),
            },
        }
    }

    /// Returns the header of the frame that [`has_message`](Self::has_message) finds with the same
    /// bytes, which is left masked and counts as returned. No header is parsed ahead.
    #[inline]
    pub(crate) fn take_message(&mut self, bytes: &[u8], rules: &Rules) -> Option<FrameHeader> {
        match self.peek_plain(bytes) {
            Some(header) => {
                self.ahead = Ahead::Unknown;
                Some(header)
            }
            None => self.take_long(bytes, rules),
        }
    }

    #[inline(never)]
    fn take_long(&mut self, bytes: &[u8], rules: &Rules) -> Option<FrameHeader> {
        if !self.has_long(bytes, rules) {
            return None;
        }
        let Ahead::Header(header) = std::mem::replace(&mut self.ahead, Ahead::Unknown) else { return None };
        self.message = Message::None;
        Some(header)
    }

    #[inline(never)]
    fn has_long(&mut self, bytes: &[u8], rules: &Rules) -> bool {
        if self.hold != Hold::Off || self.is_plain_stopped {
            return false;
        }
        if let Ahead::Unknown = self.ahead {
            self.look_ahead_any(bytes, rules);
        }
        match self.ahead {
            Ahead::Header(header) => {
                header.is_long() && header.payload_len() <= (bytes.len() - header.header_len()) as u64
            }
            _ => false,
        }
    }

    /// The second half: unmasks the frame that [`peek_plain`](Self::peek_plain) has found. Returns what `poll` would, the payload, and
    /// the bytes behind it.
    ///
    /// # Panics
    /// If `bytes` are not those that `header` was found in.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "see `peek_plain`")]
    pub fn take_plain<'a>(
        &mut self,
        header: FrameHeader,
        bytes: &'a mut [u8],
        rules: &Rules,
    ) -> (FrameHead, &'a mut [u8], &'a mut [u8]) {
        let (payload, tail) = bytes[header.header_len()..].split_at_mut(header.payload_len() as usize);
        if let Some(key) = header.mask() {
            mask::mask(payload, key);
        }
        self.ahead = Ahead::Unknown;
        let last_in_buffer = self.is_last_before(tail, rules);
        (FrameHead { header, last_in_buffer, tail_size: tail.len() }, payload, tail)
    }

    /// Total bytes on the wire of the frame at the front, once its header is known.
    pub fn pending_wire_len(&self) -> Option<u64> {
        match &self.ahead {
            Ahead::Plain(header) | Ahead::Header(header) => {
                Some(header.header_len() as u64 + header.payload_len())
            }
            Ahead::Unknown => None,
        }
    }

    /// The short way, which nearly all frames go: the header of a frame that is whole, is a message by itself, breaks no rule and needs
    /// no check of its text. `None` says nothing about the bytes.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "see `peek_plain`")]
    fn plain_header(&self, bytes: &[u8]) -> Option<FrameHeader> {
        let header = FrameHeader::parse_plain(bytes, self.role == Role::Server, self.plain.text)?;
        let allowed = self.message == Message::None && header.payload_len() < self.plain.len_end.into();
        allowed.then_some(header)
    }

    /// The long way, which every frame can go.
    #[inline(never)]
    fn poll_any(&mut self, bytes: &mut [u8], rules: &Rules) -> Result<Option<FrameHead>, WSProtocolError> {
        if self.hold != Hold::Off && self.holds(bytes) {
            return Ok(None);
        }
        let header = match std::mem::replace(&mut self.ahead, Ahead::Unknown) {
            Ahead::Plain(header) | Ahead::Header(header) => header,
            Ahead::Unknown => match self.next_header(bytes, rules)? {
                Some(header) => header,
                None => return Ok(None),
            },
        };
        let header_len = header.header_len();
        let received = bytes.len() - header_len;
        if header.payload_len() > received as u64 {
            self.ahead = Ahead::Header(header);
            self.check_arriving_text(&header, &mut bytes[header_len..])?;
            return Ok(None);
        }
        let (payload, tail) = bytes[header_len..].split_at_mut(header.payload_len() as usize);
        if let Some(key) = header.mask()
            && !(self.leave_masked && header.is_long())
        {
            let unmasked = self.unmasked;
            if unmasked == 0 {
                mask::mask(payload, key);
            } else {
                mask::mask_with_offset(&mut payload[unmasked..], key, unmasked);
            }
        }
        if self.text_check != TextCheck::Off {
            self.check_whole_frame(&header, payload)?;
        }
        if header.fin() && !header.msg_type().is_control() {
            self.message = Message::None;
        }
        let last_in_buffer = self.is_last_before(tail, rules);
        Ok(Some(FrameHead { header, last_in_buffer, tail_size: tail.len() }))
    }

    /// Returns `true` if the next frame is a data frame, which is not to be returned.
    #[cold]
    fn holds(&mut self, bytes: &[u8]) -> bool {
        let is_data = match self.ahead {
            Ahead::Plain(header) | Ahead::Header(header) => !header.msg_type().is_control(),
            // Its rules are not checked: a frame that breaks them is an error when it is parsed.
            Ahead::Unknown => bytes.first().is_some_and(|first| first & CONTROL == 0),
        };
        if is_data {
            self.hold = Hold::Reached;
        }
        is_data
    }

    /// Returns `true` if `tail`, the bytes behind a frame that was returned, does not begin with a whole
    /// frame. Reads the next header into `ahead`.
    #[inline]
    pub(crate) fn is_last_before(&mut self, tail: &[u8], rules: &Rules) -> bool {
        if tail.is_empty() {
            return true;
        }
        if let Some(header) = self.plain_header(tail) {
            self.ahead = Ahead::Plain(header);
            return false;
        }
        !self.look_ahead_any(tail, rules)
    }

    /// A bad header is left to the next poll, which finds it again: the frame before it comes first.
    #[inline(never)]
    fn look_ahead_any(&mut self, tail: &[u8], rules: &Rules) -> bool {
        let before = (self.message, self.message_len, self.fragments);
        match self.next_header(tail, rules) {
            Ok(None) => false,
            Ok(Some(header)) => {
                self.ahead = Ahead::Header(header);
                header.payload_len() <= (tail.len() - header.header_len()) as u64
            }
            Err(_) => {
                (self.message, self.message_len, self.fragments) = before;
                false
            }
        }
    }

    fn next_header(&mut self, bytes: &[u8], rules: &Rules) -> Result<Option<FrameHeader>, WSProtocolError> {
        let Some(header) = FrameHeader::parse(bytes)? else { return Ok(None) };
        self.check_header(&header, rules)?;
        Ok(Some(header))
    }

    /// The rules that depend on the connection (RFC 6455 sections 5.1, 5.2 and 5.4); moves the message state on.
    fn check_header(&mut self, header: &FrameHeader, rules: &Rules) -> Result<(), WSProtocolError> {
        if header.has_reserved_bits() {
            self.check_reserved_bits(header, rules)?;
        }
        match (self.role, header.mask()) {
            (Role::Server, None) => return Err(violation("frame from the client is not masked")),
            (Role::Client, Some(_)) => return Err(violation("frame from the server is masked")),
            _ => {}
        }
        self.unmasked = 0;
        if header.msg_type().is_control() {
            return Ok(());
        }
        let first = header.msg_type() != WSMsgType::Continuation;
        match (first, self.message) {
            (true, Message::None) => {
                self.message = match header.msg_type() {
                    _ if self.deflate && header.rsv1() => Message::Compressed,
                    WSMsgType::Text => Message::Text,
                    _ => Message::Binary,
                };
                self.message_len = 0;
                self.fragments = 0;
            }
            (false, Message::None) => {
                return Err(violation("continuation frame without a message to continue"));
            }
            (true, _) => return Err(violation("new message inside a fragmented message")),
            (false, _) => {}
        }
        self.check_size(header, rules)
    }

    #[cold]
    fn check_reserved_bits(&self, header: &FrameHeader, rules: &Rules) -> Result<(), WSProtocolError> {
        let is_first = matches!(header.msg_type(), WSMsgType::Text | WSMsgType::Binary);
        if self.deflate && header.rsv1() && !is_first {
            return Err(violation("RSV1 set in a frame that does not begin a message"));
        }
        let unexplained = header.rsv2() || header.rsv3() || (header.rsv1() && !self.deflate);
        if unexplained && !rules.allow_reserved_bits {
            return Err(violation("reserved bit set without an extension that defines it"));
        }
        Ok(())
    }

    fn check_size(&mut self, header: &FrameHeader, rules: &Rules) -> Result<(), WSProtocolError> {
        let max_frame_size = self.limit(rules.max_frame_size);
        if header.payload_len() > max_frame_size {
            return Err(too_big("frame", header.payload_len(), max_frame_size));
        }
        // The fragments of a compressed message are put together below every listener.
        if self.count_messages || self.message == Message::Compressed {
            // Neither sum can overflow: both are below 2^63.
            self.message_len += header.payload_len();
            let max_message_size = self.limit(rules.max_message_size);
            if self.message_len > max_message_size {
                return Err(too_big("message", self.message_len, max_message_size));
            }
            self.fragments += 1;
            let (count, most) = (self.fragments.into(), rules.max_fragments.max(1).into());
            if count > most {
                return Err(too_big("number of fragments", count, most));
            }
        }
        Ok(())
    }

    /// What a limit of the rules means for the message under way.
    #[inline]
    fn limit(&self, limit: u64) -> u64 {
        match self.message {
            Message::Compressed => limit.saturating_add(limit / 8 + 1024),
            _ => limit,
        }
    }

    /// Unmasks and checks what has come of a text frame that is not whole, so that bad text fails at its first bad byte.
    fn check_arriving_text(
        &mut self,
        header: &FrameHeader,
        received: &mut [u8],
    ) -> Result<(), WSProtocolError> {
        if self.text_check == TextCheck::Off || !self.is_text(header) {
            return Ok(());
        }
        let fresh = &mut received[self.unmasked..];
        if let Some(key) = header.mask() {
            mask::mask_with_offset(fresh, key, self.unmasked);
        }
        self.unmasked += fresh.len();
        self.utf8.push(fresh).map_err(|_| WSProtocolError::bad_text())
    }

    fn check_whole_frame(&mut self, header: &FrameHeader, payload: &[u8]) -> Result<(), WSProtocolError> {
        if header.msg_type().is_control() || self.message == Message::Compressed {
            return Ok(());
        }
        let whole = header.msg_type() == WSMsgType::Text && header.fin() && self.unmasked == 0;
        if whole {
            if self.text_check == TextCheck::All && simdutf8::basic::from_utf8(payload).is_err() {
                return Err(WSProtocolError::bad_text());
            }
        } else if self.is_text(header) {
            self.utf8.push(&payload[self.unmasked..]).map_err(|_| WSProtocolError::bad_text())?;
            if header.fin() {
                self.utf8.finish().map_err(|_| WSProtocolError::bad_text())?;
            }
        }
        Ok(())
    }

    /// Whether this frame is part of a text message. `check_header` has seen it, and nothing behind it.
    fn is_text(&self, header: &FrameHeader) -> bool {
        !header.msg_type().is_control() && self.message == Message::Text
    }
}

#[cold]
fn violation(message: &'static str) -> WSProtocolError {
    WSProtocolError::new(WSCloseCode::PROTOCOL_ERROR, message)
}

#[cold]
fn too_big(what: &str, size: u64, limit: u64) -> WSProtocolError {
    WSProtocolError::new(
        WSCloseCode::MESSAGE_TOO_BIG,
        format!("{what} of {size} exceeds the limit of {limit}"),
    )
}
