#![no_main]
//! The first byte cuts the rest in two: whole and cut have to fare alike.

use femtows::handshake::{ServerHandshake, ServerProgress};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&cut, bytes)) = data.split_first() else { return };
    let mut cut_in_two = ServerHandshake::new(Default::default());
    let first = cut_in_two.receive(&bytes[..bytes.len().min(cut.into())]);
    let outcome = if matches!(first, ServerProgress::Incomplete) { cut_in_two.receive(bytes) } else { first };
    let whole = ServerHandshake::new(Default::default()).receive(bytes);
    assert_eq!(format!("{outcome:?}"), format!("{whole:?}"));
});
