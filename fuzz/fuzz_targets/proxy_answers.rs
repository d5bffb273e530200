#![no_main]
//! Whatever a proxy answers, in whatever pieces: it fares as in one piece, and the client says no more than it has to.

libfuzzer_sys::fuzz_target!(|script: &[u8]| femtows::client::fuzz_proxy_answers(script));
