//! Random messages through both directions, each beside another implementation.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use super::super::{DeflateDirection, DeflateSettings, Deflater, Inflater};
use super::twin;
use crate::buf::ScratchBuffer;
use crate::proto::WSCloseCode;
use crate::testkit::Random;

/// A message that compresses, or does not, or a little; and repeats some of what was said.
fn message(random: &mut Random, said: &[u8]) -> Vec<u8> {
    let len = match random.below(6) {
        0 => 0,
        1 => 1 + random.below(8),
        2..5 => random.below(700),
        _ => random.below(40_000),
    };
    let letters = 1 + random.below(256);
    let mut message: Vec<u8> = (0..len).map(|_| random.below(letters) as u8).collect();
    if !said.is_empty() && random.chance(50) {
        let from = random.below(said.len());
        let piece = &said[from..(from + 300).min(said.len())];
        message.extend_from_slice(piece);
        message.extend_from_slice(piece);
    }
    message
}

fn directions() -> impl Iterator<Item = DeflateDirection> {
    let takeovers = [false, true].into_iter();
    takeovers.flat_map(|context_takeover| {
        (8..=15).map(move |window_bits| DeflateDirection { context_takeover, window_bits })
    })
}

#[test]
fn what_is_deflated_is_legal_and_inflates_to_the_message() {
    let mut random = Random::new(1);
    for direction in directions() {
        for (level, memory_level) in [(1, 8), (3, 1), (6, 5), (9, 9)] {
            let settings = DeflateSettings { level, memory_level };
            let takeover = direction.context_takeover && direction.window_bits > 8;
            let mut deflater = Deflater::new(direction, settings);
            let mut inflater = Inflater::new(DeflateDirection { context_takeover: takeover, ..direction });
            let (mut out, mut back, mut said) =
                (ScratchBuffer::default(), ScratchBuffer::default(), Vec::new());
            for round in 0..7 {
                let message = message(&mut random, &said);
                if !Deflater::fits(direction, message.len()) {
                    continue;
                }
                let context = format!("{direction:?} {settings:?} round {round}, {} bytes", message.len());
                out.begin(3);
                assert!(deflater.deflate(&message, &mut out), "{context}");
                let payload = &out.filled()[3..];
                if round % 4 == 3 && takeover {
                    // As if it had been dropped.
                    deflater.forget();
                    continue;
                }
                let window = 1 << direction.window_bits;
                let history = if takeover { &said[said.len().saturating_sub(window)..] } else { &[][..] };
                let (twins, distance) = twin::inflate(payload, history).expect("a valid stream");
                assert_eq!(twins, message, "{context}");
                assert!(distance <= window, "{context}: a distance of {distance}");
                inflater.inflate(payload, &mut back, message.len()).expect("a valid message");
                assert_eq!(back.filled(), message, "{context}");
                said.extend_from_slice(&message);
            }
        }
    }
}

#[test]
fn what_zlib_deflates_is_inflated() {
    let mut random = Random::new(2);
    for direction in directions().filter(|direction| direction.window_bits > 8) {
        let mut compress = Compress::new_with_window_bits(Compression::new(5), false, direction.window_bits);
        let mut inflater = Inflater::new(direction);
        let (mut back, mut said) = (ScratchBuffer::default(), Vec::new());
        for round in 0..20 {
            if !direction.context_takeover {
                compress.reset();
            }
            let message = message(&mut random, &said);
            let mut payload = Vec::with_capacity(2 * message.len() + 1000);
            // Flushes cut it into blocks; the last of them loses its tail.
            let cut = random.below(message.len() + 1);
            for part in [&message[..cut], &message[cut..]] {
                compress.compress_vec(part, &mut payload, FlushCompress::Sync).expect("room for it");
            }
            if payload.ends_with(&[0, 0, 0xff, 0xff]) {
                payload.truncate(payload.len() - 4);
            } else {
                payload.push(0);
            }
            inflater.inflate(&payload, &mut back, message.len()).expect("a valid message");
            assert_eq!(back.filled(), message, "{direction:?} round {round}");
            said.extend_from_slice(&message);
        }
    }
}

#[test]
fn what_is_deflated_is_inflated_by_zlib() {
    let mut random = Random::new(3);
    for direction in directions().filter(|direction| direction.window_bits > 8) {
        let mut deflater = Deflater::new(direction, DeflateSettings { level: 1, memory_level: 8 });
        let mut decompress = Decompress::new_with_window_bits(false, direction.window_bits);
        let (mut out, mut said) = (ScratchBuffer::default(), Vec::new());
        for round in 0..20 {
            let message = message(&mut random, &said);
            out.begin(0);
            assert!(deflater.deflate(&message, &mut out));
            out.extend_from_slice(&[0x00, 0x00, 0xff, 0xff]);
            let mut back = Vec::with_capacity(message.len() + 1);
            decompress.decompress_vec(out.filled(), &mut back, FlushDecompress::Sync).expect("valid");
            assert_eq!(back, message, "{direction:?} round {round}");
            said.extend_from_slice(&message);
        }
    }
}

#[test]
fn limits_hold_while_inflating() {
    let direction = DeflateDirection { context_takeover: false, window_bits: 15 };
    let mut deflater = Deflater::new(direction, DeflateSettings { level: 9, memory_level: 8 });
    let mut piece = ScratchBuffer::default();
    assert!(deflater.deflate(&vec![0; 4 << 20], &mut piece));
    piece.extend_from_slice(&[0x00, 0x00, 0xff, 0xff]);
    // 1 GiB in all: the pieces are blocks of one message.
    let bomb = piece.filled().repeat(256);
    assert!(bomb.len() < 2 << 20, "{} bytes", bomb.len());
    for context_takeover in [false, true] {
        for limit in [0, 1, 1000, 1 << 20, 9 << 20] {
            let mut inflater = Inflater::new(DeflateDirection { context_takeover, ..direction });
            let mut out = ScratchBuffer::default();
            let error = inflater.inflate(&bomb, &mut out, limit).expect_err("too much");
            assert_eq!(error.code, WSCloseCode::MESSAGE_TOO_BIG);
            assert!(out.capacity() <= limit + 300, "{} bytes for a limit of {limit}", out.capacity());
        }
    }
}

#[test]
fn a_message_of_the_limit_passes_and_one_byte_more_does_not() {
    let direction = DeflateDirection { context_takeover: false, window_bits: 15 };
    let mut deflater = Deflater::new(direction, DeflateSettings { level: 1, memory_level: 8 });
    let mut random = Random::new(4);
    for len in [1, 255, 256, 257, 1000, 65_536] {
        for letters in [1, 256] {
            let message: Vec<u8> = (0..len).map(|_| random.below(letters) as u8).collect();
            let (mut out, mut back) = (ScratchBuffer::default(), ScratchBuffer::default());
            assert!(deflater.deflate(&message, &mut out));
            let mut inflater = Inflater::without_context();
            inflater.inflate(out.filled(), &mut back, len).expect("it is no longer than the limit");
            assert_eq!(back.filled(), message);
            let error = inflater.inflate(out.filled(), &mut back, len - 1).expect_err("it is longer");
            assert_eq!(error.code, WSCloseCode::MESSAGE_TOO_BIG);
        }
    }
}
