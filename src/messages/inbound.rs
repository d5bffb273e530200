//! From frames to whole messages.

use crate::proto::{MessageAssembler, WSFrame, WSMsgType, WSProtocolError};

use super::WSMessage;

/// Makes whole messages of the data frames of one connection: puts fragments together, and checks text for UTF-8.
///
/// Its connection must have been told to [`expect_messages`](crate::connection::Conn::expect_messages): that enforces the order of
/// fragments, the limits of messages, and UTF-8 of text that comes in pieces. Compressed messages come
/// inflated, each in one frame.
///
/// # Contract
/// Every data frame goes to [`push`](Self::push), control frames do not. When the message that it returned has been used,
/// [`release`](Self::release) gives back the memory that it was put together in; at no other time. After a frame that
/// [is a message](Self::is_whole) there is nothing to give back.
#[derive(Debug, Default)]
pub(crate) struct MessageReader {
    assembler: MessageAssembler,
}

impl MessageReader {
    /// Takes a data frame; returns the message that it ends, if it ends one.
    ///
    /// The message is borrowed from the frame if it came in one, else from the reader.
    ///
    /// # Errors
    /// 1007 if a text is not UTF-8.
    #[inline]
    pub(crate) fn push<'a>(
        &'a mut self,
        frame: &'a mut WSFrame<'_>,
    ) -> Result<Option<WSMessage<'a>>, WSProtocolError> {
        debug_assert!(!frame.msg_type().is_control());
        if Self::is_whole(frame) {
            return message(frame.msg_type(), frame.payload()).map(Some);
        }
        self.push_piece(frame)
    }

    /// Whether the frame is a message by itself: the reader knows nothing of it.
    #[inline]
    pub(crate) fn is_whole(frame: &WSFrame<'_>) -> bool {
        frame.fin() && frame.msg_type() != WSMsgType::Continuation
    }

    /// Gives back the memory of the message that was returned last.
    #[inline]
    pub(crate) fn release(&mut self) {
        self.assembler.release();
    }

    #[inline(never)]
    fn push_piece<'a>(
        &'a mut self,
        frame: &'a WSFrame<'_>,
    ) -> Result<Option<WSMessage<'a>>, WSProtocolError> {
        let whole = self.assembler.push(frame.msg_type(), frame.fin(), frame.payload());
        whole.map(|(msg_type, payload)| message(msg_type, payload)).transpose()
    }
}

#[inline]
fn message(msg_type: WSMsgType, payload: &[u8]) -> Result<WSMessage<'_>, WSProtocolError> {
    if msg_type != WSMsgType::Text {
        return Ok(WSMessage::Binary(payload));
    }
    match simdutf8::basic::from_utf8(payload) {
        Ok(text) => Ok(WSMessage::Text(text)),
        Err(_) => Err(WSProtocolError::bad_text()),
    }
}
