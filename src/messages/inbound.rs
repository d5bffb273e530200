//! From frames to whole messages.

#[cfg(feature = "deflate")]
use crate::connection::Inflated;
use crate::connection::WSTransport;
use crate::proto::{MessageAssembler, WSCloseCode, WSFrame, WSMsgType, WSProtocolError};

use super::WSMessage;

/// Makes whole messages of the data frames of one connection: puts fragments together, inflates, and checks text for UTF-8.
///
/// Its connection must have been told to [`expect_messages`](crate::connection::Conn::expect_messages): that enforces the order of
/// fragments, the limits of messages, and UTF-8 of text that comes in pieces.
///
/// # Contract
/// Every data frame goes to [`push`](Self::push), control frames do not. When the message that it returned has been used,
/// [`release`](Self::release) gives back the memory that it was put together in; at no other time. After a frame that
/// [is a message](Self::is_whole) there is nothing to give back.
#[derive(Debug, Default)]
pub(crate) struct MessageReader {
    assembler: MessageAssembler,
    #[cfg(feature = "deflate")]
    inflated: Option<Inflated>,
}

impl MessageReader {
    /// Takes a data frame of `transport`; returns the message that it ends, if it ends one.
    ///
    /// The message is borrowed from the frame if it came in one and was not compressed, else from the reader.
    ///
    /// # Errors
    /// 1007 if a text is not UTF-8 or a compressed message is corrupt, 1009 if one inflates to more than
    /// [`max_message_size`](crate::WSLimits::max_message_size).
    #[inline]
    pub(crate) fn push<'a>(
        &'a mut self,
        transport: &WSTransport,
        frame: &'a mut WSFrame<'_>,
    ) -> Result<Option<WSMessage<'a>>, WSProtocolError> {
        debug_assert!(!frame.msg_type().is_control());
        if Self::is_whole(frame) {
            return message(frame.msg_type(), frame.payload()).map(Some);
        }
        self.push_piece(transport, frame)
    }

    /// Whether the frame is a message by itself, and not compressed: the reader knows nothing of it.
    #[inline]
    pub(crate) fn is_whole(frame: &WSFrame<'_>) -> bool {
        frame.fin() && frame.msg_type() != WSMsgType::Continuation && !is_marked(frame)
    }

    /// Gives back the memory of the message that was returned last.
    #[inline]
    pub(crate) fn release(&mut self) {
        self.assembler.release();
        #[cfg(feature = "deflate")]
        if self.inflated.is_some() {
            self.inflated = None;
        }
    }

    /// A fragment, or a message that may be compressed.
    #[inline(never)]
    fn push_piece<'a>(
        &'a mut self,
        transport: &WSTransport,
        frame: &'a WSFrame<'_>,
    ) -> Result<Option<WSMessage<'a>>, WSProtocolError> {
        #[cfg(feature = "deflate")]
        let compressed = {
            let begins = frame.msg_type() != WSMsgType::Continuation;
            transport.conn().is_compressed(begins, frame.rsv1())
        };
        let whole = self.assembler.push(frame.msg_type(), frame.fin(), frame.payload());
        let Some((msg_type, payload)) = whole else { return Ok(None) };
        #[cfg(feature = "deflate")]
        if compressed {
            let inflated = self.inflated.insert(transport.conn().inflate(payload)?);
            return message(msg_type, inflated.as_bytes()).map(Some);
        }
        #[cfg(not(feature = "deflate"))]
        let _ = transport;
        message(msg_type, payload).map(Some)
    }
}

/// Whether the frame has the mark of a compressed message. What the mark means is not known here.
#[inline]
fn is_marked(frame: &WSFrame<'_>) -> bool {
    cfg!(feature = "deflate") && frame.rsv1()
}

#[inline]
fn message(msg_type: WSMsgType, payload: &[u8]) -> Result<WSMessage<'_>, WSProtocolError> {
    if msg_type != WSMsgType::Text {
        return Ok(WSMessage::Binary(payload));
    }
    match simdutf8::basic::from_utf8(payload) {
        Ok(text) => Ok(WSMessage::Text(text)),
        Err(_) => Err(bad_text()),
    }
}

#[cold]
pub(crate) fn bad_text() -> WSProtocolError {
    WSProtocolError::new(WSCloseCode::INVALID_TEXT, "text is not UTF-8")
}
