//! One answer: its frame, and the message in it.

use flate2::{Decompress, FlushDecompress, Status};

use super::script::{FLUSH_TAIL, RSV1};
use crate::generator::Fault;

/// The first byte of a compressed text message in one frame.
const WHOLE_TEXT: u8 = 0x81 | RSV1;

/// Length of the frame that `bytes` begin with, header included, if enough has arrived to know it.
///
/// # Errors
/// If it is not the only frame of a compressed text message, or masked.
pub(super) fn frame_len(bytes: &[u8]) -> Result<Option<usize>, Fault> {
    let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
    if first & RSV1 == 0 {
        return Err(Fault::Reply("it is not compressed (RSV1)"));
    }
    if first != WHOLE_TEXT {
        return Err(Fault::Reply("it is not one frame of text"));
    }
    Ok(match second {
        0..126 => Some(2 + usize::from(second)),
        126 => rest.first_chunk().map(|&len| 4 + usize::from(u16::from_be_bytes(len))),
        127 => rest.first_chunk().map(|&len| 10 + u64::from_be_bytes(len) as usize),
        _ => return Err(Fault::Reply("it is masked")),
    })
}

/// The payload of a whole frame.
fn payload(frame: &[u8]) -> &[u8] {
    match frame[1] {
        126 => &frame[4..],
        127 => &frame[10..],
        _ => &frame[2..],
    }
}

/// Inflates the answers of one connection.
#[derive(Debug)]
pub(super) struct AnswerReader {
    stream: Decompress,
    keeps_context: bool,
}

impl AnswerReader {
    /// A reader for a server that keeps its context from message to message, or not.
    pub(super) fn new(keeps_context: bool) -> Self {
        Self { stream: Decompress::new(false), keeps_context }
    }

    /// Compares the message in a whole frame.
    ///
    /// # Errors
    /// If it differs, or cannot be inflated.
    pub(super) fn compare(&mut self, frame: &[u8], text: &str) -> Result<(), Fault> {
        let mut message = Vec::with_capacity(text.len() + 64);
        let mut input = payload(frame).to_vec();
        input.extend(FLUSH_TAIL);
        if !self.keeps_context {
            self.stream.reset(false);
        }
        let before = self.stream.total_in();
        let status = self.stream.decompress_vec(&input, &mut message, FlushDecompress::Sync);
        match status {
            Ok(Status::Ok | Status::BufError) if self.stream.total_in() - before == input.len() as u64 => {}
            // Legal without context: a last block, and an empty one that the tail completes (RFC 7692 section 7.2.3.4).
            Ok(Status::StreamEnd) if !self.keeps_context && payload(frame).ends_with(&[0x00]) => {}
            _ => return Err(Fault::Reply("it cannot be inflated")),
        }
        if message == text.as_bytes() { Ok(()) } else { Err(Fault::Reply("it is another message")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "Hello" compressed (RFC 7692 sections 7.2.3.1 and 7.2.3.2).
    const HELLO: [u8; 9] = [0xc1, 0x07, 0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    const HELLO_AGAIN: [u8; 7] = [0xc1, 0x05, 0xf2, 0x00, 0x11, 0x00, 0x00];

    #[test]
    fn frames_have_to_be_whole_compressed_text() {
        assert!(matches!(frame_len(&HELLO), Ok(Some(9))));
        assert!(matches!(frame_len(&HELLO[..1]), Ok(None)));
        assert!(matches!(frame_len(&[0xc1, 126, 1]), Ok(None)));
        assert!(matches!(frame_len(&[0xc1, 126, 1, 2]), Ok(Some(262))));
        assert!(matches!(frame_len(&[0xc1, 127, 0, 0, 0, 0, 0, 1, 0, 0]), Ok(Some(65_546))));
        for bad in [[0x81, 5], [0x41, 5], [0xc2, 5], [0xc1, 0x85]] {
            assert!(frame_len(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn messages_are_compared_in_their_context() {
        let mut reader = AnswerReader::new(true);
        reader.compare(&HELLO, "Hello").unwrap();
        reader.compare(&HELLO_AGAIN, "Hello").unwrap();
        let mut reader = AnswerReader::new(false);
        reader.compare(&HELLO, "Hello").unwrap();
        assert!(reader.compare(&HELLO_AGAIN, "Hello").is_err(), "it refers to what may be forgotten");
        assert!(reader.compare(&HELLO, "Hellp").is_err());
        assert!(reader.compare(&HELLO[..6], "Hello").is_err());
    }

    #[test]
    fn a_last_block_may_end_a_message_without_context() {
        // RFC 7692 section 7.2.3.4.
        let last = [0xc1, 0x08, 0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
        let mut reader = AnswerReader::new(false);
        reader.compare(&last, "Hello").unwrap();
        reader.compare(&last, "Hello").unwrap();
        assert!(AnswerReader::new(true).compare(&last, "Hello").is_err());
    }
}
