//! What is sent, compressed beforehand.

use flate2::{Compress, Compression, FlushCompress};

use super::feed::Feed;
use crate::generator::script::{Opcode, Random, encode};

/// Text of all messages of a script in bytes: several times what the largest window holds, so that no answer can refer to the same
/// message of the cycle before.
const CYCLE: usize = 256 * 1024;

/// The first byte of a frame: the message, or its first fragment, is compressed (RFC 7692 section 6).
pub(super) const RSV1: u8 = 0x40;

/// What a sync flush ends with, and what is not sent of it (RFC 7692 section 7.2.1).
pub(super) const FLUSH_TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// A cycle of messages of a feed.
#[derive(Debug)]
pub(crate) struct CompressedScript {
    exchanges: Vec<CompressedExchange>,
}

/// A message, and the frame that carries it.
#[derive(Debug)]
pub(super) struct CompressedExchange {
    /// The compressed message in a masked frame.
    pub(super) request: Vec<u8>,
    /// The message.
    pub(super) text: String,
}

impl CompressedScript {
    /// Messages of about `size` bytes each.
    pub(crate) fn new(size: usize) -> Self {
        let mut feed = Feed::new();
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let count = (CYCLE / size).clamp(8, 4096);
        let exchanges = (0..count).map(|_| {
            let text = feed.message(size);
            let mut request = Vec::new();
            let [.., a, b, c, d] = random.next().to_be_bytes();
            encode(&mut request, Opcode::Text, &deflate(text.as_bytes()), Some([a, b, c, d]));
            request[0] |= RSV1;
            CompressedExchange { request, text }
        });
        Self { exchanges: exchanges.collect() }
    }

    /// The exchange number `index`, counted on without end.
    pub(super) fn exchange(&self, index: usize) -> &CompressedExchange {
        &self.exchanges[index % self.exchanges.len()]
    }
}

/// As zlib's default level does, which is that of browsers.
fn deflate(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 64);
    let result =
        Compress::new(Compression::new(6), false).compress_vec(message, &mut out, FlushCompress::Sync);
    assert!(result.is_ok() && out.ends_with(&FLUSH_TAIL), "there is room for all of it");
    out.truncate(out.len() - FLUSH_TAIL.len());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cycle_is_longer_than_any_window() {
        for size in [200, 1024, 16 * 1024] {
            let script = CompressedScript::new(size);
            let text: usize = script.exchanges.iter().map(|exchange| exchange.text.len()).sum();
            assert!(text > 4 * 32 * 1024, "{size}: {text}");
            for exchange in &script.exchanges {
                assert_eq!(exchange.request[0], 0xc1, "text, FIN and RSV1");
                assert!(exchange.request.len() < exchange.text.len());
            }
        }
    }
}
