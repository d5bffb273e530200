#![no_main]
//! Whatever arrives stays within the limit, and what is inflated alone is the first message of a stream, too.

use femtows::deflate::internal::{DeflateDirection, Inflater, ScratchBuffer};

libfuzzer_sys::fuzz_target!(|payload: &[u8]| {
    let (mut one, mut other) = (ScratchBuffer::default(), ScratchBuffer::default());
    let alone = Inflater::without_context().inflate(payload, &mut one, 10_000);
    let direction = DeflateDirection { context_takeover: true, window_bits: 15 };
    let in_stream = Inflater::new(direction).inflate(payload, &mut other, 10_000);
    assert!(one.capacity() <= 10_300 && other.capacity() <= 10_300);
    if alone.is_ok() {
        assert!(in_stream.is_ok() && one.filled() == other.filled());
    }
});
