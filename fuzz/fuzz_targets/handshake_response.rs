#![no_main]
//! The first byte cuts the rest in two: whole and cut have to fare alike.
use femtows::handshake::{ClientHandshake, ClientHandshakeConfig, ClientProgress};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&cut, bytes)) = data.split_first() else { return };
    let mut whole = ClientHandshake::new(ClientHandshakeConfig::new("h", "/"), *b"the sample nonce").unwrap();
    let mut cut_in_two = whole.clone();
    let first = cut_in_two.receive(&bytes[..bytes.len().min(cut.into())]);
    let outcome = if let Ok(ClientProgress::Incomplete) = first { cut_in_two.receive(bytes) } else { first };
    let [outcome, whole] = [outcome, whole.receive(bytes)].map(|result| result.map_err(|error| error.kind));
    assert_eq!(format!("{outcome:?}"), format!("{whole:?}"));
});
