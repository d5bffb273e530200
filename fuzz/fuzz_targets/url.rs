#![no_main]
//! What parses survives being displayed, and can be asked for.

use femtows::client::WSUrl;
use femtows::handshake::{ClientHandshake, ClientHandshakeConfig};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let Ok(url) = WSUrl::parse(text) else { return };
    let displayed = WSUrl::parse(&url.to_string()).unwrap();
    assert_eq!((displayed.host(), displayed.path_and_query()), (url.host(), url.path_and_query()));
    assert!(displayed.has_same_origin(&url));
    ClientHandshake::new(ClientHandshakeConfig::new(url.host_header(), url.path_and_query()), [0; 16])
        .unwrap();
});
