#![no_main]
//! A server of messages, with compression, that gets any frames in any pieces: neither it nor its neighbour in the loop minds.

#[path = "../../tests/deflate/fuzzed.rs"]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|script: &[u8]| fuzzed::run(script));
