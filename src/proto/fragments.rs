//! From frames to messages (RFC 6455 section 5.4).

use super::WSMsgType;

/// Puts the fragments of a message together.
///
/// The rules were enforced before: [`Receiver::poll`](super::Receiver::poll) lets no fragment through that does not fit, and
/// limits size and number. A message of one frame is not copied.
#[derive(Debug, Default)]
pub struct MessageAssembler {
    /// Type and payload so far of a message under way.
    partial: Option<(WSMsgType, Vec<u8>)>,
}

impl MessageAssembler {
    /// Takes a data frame; returns type and payload of the message if this frame ends it.
    ///
    /// The payload is borrowed from the frame if the message was one frame, else from the assembler; the memory of an
    /// assembled message is released by [`release`](Self::release).
    #[inline]
    pub fn push<'a>(
        &'a mut self,
        msg_type: WSMsgType,
        fin: bool,
        payload: &'a [u8],
    ) -> Option<(WSMsgType, &'a [u8])> {
        debug_assert!(!msg_type.is_control());
        if msg_type == WSMsgType::Continuation {
            let (msg_type, message) = self.partial.as_mut()?;
            message.extend_from_slice(payload);
            return fin.then_some((*msg_type, message.as_slice()));
        }
        if fin {
            return Some((msg_type, payload));
        }
        self.partial = Some((msg_type, payload.to_vec()));
        None
    }

    /// Returns `true` while fragments are held.
    #[cfg(feature = "deflate")]
    pub(crate) fn is_under_way(&self) -> bool {
        self.partial.is_some()
    }

    /// Gives the memory of the last assembled message back.
    #[inline]
    pub fn release(&mut self) {
        self.partial = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_make_a_message() {
        let mut assembler = MessageAssembler::default();
        assert_eq!(
            assembler.push(WSMsgType::Binary, true, b"whole"),
            Some((WSMsgType::Binary, &b"whole"[..]))
        );
        assert_eq!(assembler.push(WSMsgType::Text, false, b"a"), None);
        assert_eq!(assembler.push(WSMsgType::Continuation, false, b""), None);
        assert_eq!(
            assembler.push(WSMsgType::Continuation, true, b"bc"),
            Some((WSMsgType::Text, &b"abc"[..]))
        );
        assembler.release();
        assert_eq!(assembler.push(WSMsgType::Continuation, true, b"stray"), None);
    }
}
