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
    /// Bytes that the fragments which are held had on the wire.
    wire_len: usize,
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
            return WSMessage::new(frame.msg_type(), frame.payload(), frame, 0).map(Some);
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
        let Some((msg_type, payload)) = self.assembler.push(frame.msg_type(), frame.fin(), frame.payload())
        else {
            self.wire_len += frame.wire_len();
            return Ok(None);
        };
        let earlier = std::mem::take(&mut self.wire_len);
        WSMessage::new(msg_type, payload, frame, earlier).map(Some)
    }
}
