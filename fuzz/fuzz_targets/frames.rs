#![no_main]
//! The parser against its reference implementation, over any bytes in any pieces.

libfuzzer_sys::fuzz_target!(|data: &[u8]| femtows::proto::internal::fuzz_frames(data));
