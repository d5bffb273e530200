#![no_main]
//! Both sides read any header; what a server answers to what, a client that is content with all understands.

use femtows::deflate::{DeflatePreferences, accept_offer, check_response};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&[own, peer], value)) = data.split_first_chunk() else { return };
    let bits = |byte: u8| (8 + byte % 8, byte & 8 != 0);
    let ((own_max_window_bits, own_context_takeover), (peer_max_window_bits, peer_context_takeover)) =
        (bits(own), bits(peer));
    let preferences = DeflatePreferences {
        own_context_takeover,
        peer_context_takeover,
        own_max_window_bits,
        peer_max_window_bits,
    };
    let _ = check_response(&preferences, [value]);
    let Some(accepted) = accept_offer(&preferences, [value]) else { return };
    let content = DeflatePreferences {
        own_context_takeover: true,
        peer_context_takeover: true,
        own_max_window_bits: 15,
        peer_max_window_bits: 15,
    };
    assert_eq!(check_response(&content, [accepted.header.as_bytes()]), Ok(Some(accepted.parameters)));
});
