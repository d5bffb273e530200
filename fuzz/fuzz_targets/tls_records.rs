#![no_main]
//! A script of records, good and bad, and of cuts: nothing is delivered that was not sealed, and nothing behind a fault.

libfuzzer_sys::fuzz_target!(|script: &[u8]| femtows::tls::fuzz_records(script));
