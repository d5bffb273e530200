#![no_main]
//! A script of calls, with what arrives in between.

#[path = "../../tests/properties/model/session.rs"]
mod session;
#[path = "../../tests/properties/model/wire.rs"]
mod wire;

libfuzzer_sys::fuzz_target!(|script: &[u8]| session::Session::run(script));
