//! The inflater beside zlib's: the same messages, the same verdicts; and what it keeps.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::super::{DeflateDirection, Inflater};
use crate::buf::ScratchBuffer;
use crate::testkit::Random;

const LIMIT: usize = 100_000;

/// How zlib sees the payload of a message by itself; `None` where a last block makes it end before the payload does.
fn verdict_of_zlib(payload: &[u8]) -> Option<Result<Vec<u8>, ()>> {
    let mut zlib = Decompress::new(false);
    let mut out = vec![0; LIMIT + 1];
    match zlib.decompress(payload, &mut out, FlushDecompress::Sync) {
        Ok(Status::StreamEnd) => return None,
        Ok(_) if zlib.total_in() as usize == payload.len() => {}
        _ => return Some(Err(())),
    }
    // What is not sent, and a last block: they have to be taken for what they are.
    let len = zlib.total_out() as usize;
    let mut more = [0; 300];
    let end = zlib.decompress(
        &[0x00, 0x00, 0xff, 0xff, 0x01, 0x00, 0x00, 0xff, 0xff],
        &mut more,
        FlushDecompress::Sync,
    );
    let is_whole = matches!(end, Ok(Status::StreamEnd))
        && zlib.total_out() as usize == len
        && zlib.total_in() as usize == payload.len() + 9;
    out.truncate(len);
    Some(if is_whole { Ok(out) } else { Err(()) })
}

fn deflated(level: u32, message: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(message.len() * 2 + 100);
    let mut zlib = Compress::new(Compression::new(level), false);
    zlib.compress_vec(message, &mut payload, FlushCompress::Sync).expect("room for it");
    payload.truncate(payload.len() - 4);
    payload
}

/// Letters of which each is as frequent as the two before it together, so that codes get as long as they may.
fn skewed(random: &mut Random) -> Vec<u8> {
    let mut counts = vec![1, 1];
    let letters = 2 + random.below(20);
    while counts.len() < letters {
        counts.push(counts[counts.len() - 1] + counts[counts.len() - 2]);
    }
    let mut message = Vec::new();
    for (letter, &count) in counts.iter().enumerate() {
        message.extend(std::iter::repeat_n(letter as u8 * 11, count));
    }
    random.shuffle(&mut message);
    message
}

#[test]
fn verdicts_are_those_of_zlib() {
    let mut random = Random::new(61);
    let (mut good, mut bad, mut long) = (0, 0, 0);
    for round in 0..1500 {
        let message: Vec<u8> = match random.below(3) {
            0 => skewed(&mut random),
            1 => {
                let (len, letters) = (random.below(3000), 1 + random.below(256));
                (0..len).map(|_| random.below(letters) as u8).collect()
            }
            _ => (0..random.below(200))
                .flat_map(|n| format!("{n},{},", random.below(50)).into_bytes())
                .collect(),
        };
        let level = random.below(10) as u32;
        let mut payload = deflated(level, &message);
        long += usize::from(message.len() > 20_000);
        if random.chance(70) && !payload.is_empty() {
            // Near the beginning are the codes.
            let near = if random.chance(50) { payload.len().min(60) } else { payload.len() };
            let at = random.below(near);
            match random.below(3) {
                0 => payload.truncate(at),
                1 => payload[at] ^= 1 << random.below(8),
                _ => payload[at] = random.next_u64() as u8,
            }
        }
        if payload.is_empty() {
            continue;
        }
        let Some(expected) = verdict_of_zlib(&payload) else { continue };
        if expected.as_ref().is_ok_and(|message| message.len() > LIMIT) {
            continue;
        }
        let mut out = ScratchBuffer::default();
        let result = Inflater::without_context().inflate(&payload, &mut out, LIMIT);
        if let Ok(message) = expected {
            assert!(result.is_ok() && out.filled() == message, "round {round}: {result:?}");
            good += 1;
        } else {
            assert!(result.is_err(), "round {round}: {} bytes", out.len());
            bad += 1;
        }
    }
    assert!(good > 400 && bad > 400 && long > 20, "{good} good, {bad} bad, {long} with long codes");
}

#[test]
fn what_is_kept_is_what_may_be_referred_to() {
    let mut random = Random::new(62);
    for window_bits in 8..=15 {
        for context_takeover in [false, true] {
            let mut inflater = Inflater::new(DeflateDirection { context_takeover, window_bits });
            let (mut out, mut said) = (ScratchBuffer::default(), 0);
            for len in [0, 1, 100, 3, 5_000, 100_000, 7] {
                let message: Vec<u8> = (0..len).map(|_| random.below(30) as u8).collect();
                inflater.inflate(&deflated(6, &message), &mut out, len).expect("a good message");
                said += len;
                // 512 bytes are kept where 256 are enough.
                let most = if context_takeover { (1 << window_bits).max(512).min(2 * said) } else { 0 };
                assert!(inflater.memory() <= most, "{} bytes, {window_bits} bits", inflater.memory());
                assert!(inflater.memory() >= most.min(said), "{window_bits} bits");
            }
        }
    }
}
