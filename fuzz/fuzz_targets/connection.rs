#![no_main]
//! A script of calls, with what arrives in between.

libfuzzer_sys::fuzz_target!(|script: &[u8]| femtows::proto::internal::fuzz_calls(script));
