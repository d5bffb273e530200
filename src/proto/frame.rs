use std::fmt;
use std::time::SystemTime;

#[cfg(feature = "deflate")]
use super::FrameHeader;
use super::{FrameHead, SendOptions, WSCloseCode, WSMsgType, WSProtocolError, parse_close_payload};

/// A frame that arrived, borrowed from the receive buffer for the time of one callback.
///
/// The borrow checker makes keeping it a compile error; copy what must outlive the callback.
///
/// ```compile_fail
/// struct Keeper<'a>(Option<femtows::WSFrame<'a>>);
/// impl<'a> femtows::WSListener for Keeper<'a> {
///     fn on_ws_frame(&mut self, _: &femtows::WSTransport, frame: &mut femtows::WSFrame<'_>) -> femtows::WSResult {
///         self.0 = Some(*frame);
///         Ok(())
///     }
/// }
/// ```
pub struct WSFrame<'a> {
    head: FrameHead,
    payload: &'a mut [u8],
    /// A reference, so that connections without timestamps pay one store for each frame.
    received_at: Option<&'a SystemTime>,
}

impl<'a> WSFrame<'a> {
    /// The frame with this head and this unmasked payload, for those who drive [`proto`](crate::proto) themselves.
    #[inline]
    pub fn new(head: FrameHead, payload: &'a mut [u8]) -> Self {
        Self { head, payload, received_at: None }
    }

    /// Sets the time that [`received_at`](Self::received_at) returns.
    #[inline]
    pub(crate) fn with_received_at(mut self, received_at: Option<&'a SystemTime>) -> Self {
        self.received_at = received_at;
        self
    }

    /// Returns the compressed message that this frame ends as one frame, with its inflated payload.
    /// `wire_len`: the bytes that all its frames had on the wire.
    #[cfg(feature = "deflate")]
    pub(crate) fn inflated<'b>(
        &self,
        msg_type: WSMsgType,
        wire_len: usize,
        payload: &'b mut [u8],
    ) -> WSFrame<'b>
    where
        'a: 'b,
    {
        let header = FrameHeader::of_inflated(msg_type, wire_len);
        WSFrame { head: FrameHead { header, ..self.head }, payload, received_at: self.received_at }
    }

    /// Whether the frame is [long](crate::proto::FrameHeader::is_long).
    #[inline]
    pub(crate) fn is_long(&self) -> bool {
        self.head.header.is_long()
    }

    /// A copy of the payload of a frame that was [left masked](crate::proto::Receiver::leave_long_masked), unmasked.
    pub(crate) fn unmasked_copy(&self) -> Vec<u8> {
        self.head.header.unmasked_copy(self.payload)
    }

    /// Message type.
    #[inline]
    pub fn msg_type(&self) -> WSMsgType {
        self.head.header.msg_type()
    }

    /// Whether this frame ends its message (RFC 6455 section 5.4). A compressed message arrives
    /// inflated, as one frame.
    #[inline]
    pub fn fin(&self) -> bool {
        self.head.header.fin()
    }

    /// First reserved bit. Set only with `allow_reserved_bits`, and not for a compressed message, which
    /// arrives inflated.
    #[inline]
    pub fn rsv1(&self) -> bool {
        self.head.header.rsv1()
    }

    /// Second reserved bit. Set only with `allow_reserved_bits`.
    #[inline]
    pub fn rsv2(&self) -> bool {
        self.head.header.rsv2()
    }

    /// Third reserved bit. Set only with `allow_reserved_bits`.
    #[inline]
    pub fn rsv3(&self) -> bool {
        self.head.header.rsv3()
    }

    /// The options that send a frame with the bits of this one.
    #[inline]
    pub fn send_options(&self) -> SendOptions {
        self.head.header.options()
    }

    /// Whether no further whole frame is in the receive buffer. Part of one may be.
    #[inline]
    pub fn last_in_buffer(&self) -> bool {
        self.head.last_in_buffer
    }

    /// How many bytes are in the receive buffer behind this frame, as they came: inflated messages
    /// behind it may be longer.
    #[inline]
    pub fn tail_size(&self) -> usize {
        self.head.tail_size
    }

    /// Returns the number of bytes that the frame had on the wire, header included. For a compressed
    /// message, returns that of all its frames.
    #[inline]
    pub fn wire_len(&self) -> usize {
        self.head.wire_len()
    }

    /// Returns `true` if this is a message that was compressed on the wire.
    #[inline]
    pub fn is_compressed(&self) -> bool {
        // Only an inflated message has a header without bytes.
        self.head.header.header_len() == 0
    }

    /// When the kernel received the last of the bytes that were read together with the end of this frame, by its own clock: how long
    /// the frame waited for the loop is the difference to [`SystemTime::now`].
    ///
    /// `None` unless [`receive_timestamps`](crate::WSTuning::receive_timestamps) is on and the system
    /// has noted it, which it may not have done for the first bytes of a connection.
    pub fn received_at(&self) -> Option<SystemTime> {
        self.received_at.copied()
    }

    /// The payload, unmasked.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        self.payload
    }

    /// The payload, for parsers that work in place.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        self.payload
    }

    /// The payload as text.
    ///
    /// A fragment of a text message may end in the middle of a character, and then is not UTF-8 by itself.
    ///
    /// # Errors
    /// 1007 if it is not UTF-8; returned from the callback it closes the connection as RFC 6455 section 8.1 asks.
    #[inline]
    pub fn payload_as_utf8(&self) -> Result<&str, WSProtocolError> {
        simdutf8::basic::from_utf8(self.payload).map_err(|_| WSProtocolError::bad_text())
    }

    /// The payload as ASCII text.
    ///
    /// # Errors
    /// 1007 if a byte is above 127.
    #[inline]
    pub fn payload_as_ascii(&self) -> Result<&str, WSProtocolError> {
        if self.payload.is_ascii() {
            self.payload_as_utf8()
        } else {
            Err(WSProtocolError::new(WSCloseCode::INVALID_TEXT, "text is not ASCII"))
        }
    }

    /// The code of a CLOSE frame; [`WSCloseCode::NO_INFO`] if it carries none, or for another type of frame.
    pub fn close_code(&self) -> WSCloseCode {
        self.close().map_or(WSCloseCode::NO_INFO, |(code, _)| code)
    }

    /// The reason of a CLOSE frame; empty if it carries none, or for another type of frame.
    pub fn close_message(&self) -> &str {
        self.close().map_or("", |(_, reason)| reason)
    }

    fn close(&self) -> Option<(WSCloseCode, &str)> {
        if self.msg_type() == WSMsgType::Close { parse_close_payload(self.payload).ok() } else { None }
    }
}

impl fmt::Debug for WSFrame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WSFrame")
            .field("msg_type", &self.msg_type())
            .field("fin", &self.fin())
            .field("rsv1", &self.rsv1())
            .field("rsv2", &self.rsv2())
            .field("rsv3", &self.rsv3())
            .field("payload_len", &self.payload.len())
            .field("last_in_buffer", &self.last_in_buffer())
            .field("tail_size", &self.tail_size())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::FrameHeader;

    #[test]
    fn debug_shows_reserved_bits() {
        let options = SendOptions { rsv1: true, rsv2: false, rsv3: true, ..SendOptions::default() };
        let header = FrameHeader::new(WSMsgType::Text, options, None, 0);
        let frame = WSFrame::new(FrameHead { header, last_in_buffer: true, tail_size: 0 }, &mut []);
        let shown = format!("{frame:?}");
        assert!(shown.contains("rsv1: true, rsv2: false, rsv3: true"), "{shown}");
    }

    #[test]
    fn payloads_as_text() {
        let header = FrameHeader::new(WSMsgType::Text, SendOptions::default(), None, 2);
        let head = FrameHead { header, last_in_buffer: true, tail_size: 0 };
        let mut cases = [*b"ab", *b"\xc3\xa4", *b"\xc3a"];
        let results = cases.each_mut().map(|payload| {
            let frame = WSFrame::new(head, payload);
            (frame.payload_as_utf8().is_ok(), frame.payload_as_ascii().is_ok(), frame.close_code())
        });
        let none = WSCloseCode::NO_INFO;
        assert_eq!(results, [(true, true, none), (true, false, none), (false, false, none)]);
    }
}
