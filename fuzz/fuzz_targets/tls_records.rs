#![no_main]
//! A script of records, good and bad, and of cuts, for both sides of a TLS handshake: no panic,
//! nothing is delivered, and the bytes that are held are bounded.

libfuzzer_sys::fuzz_target!(|script: &[u8]| femtows::tls::fuzz_session(script));
