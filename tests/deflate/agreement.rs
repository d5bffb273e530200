//! What the opening handshake says.

use femtows::testkit::{Peer, TestKit};
use femtows::{
    WSConfigError, WSConnectConfig, WSConnectError, WSDeflateConfig, WSHandshakeErrorKind, WSHeaders,
    WSMessageAdapter, WSServeError, WSServerConfig, WSUpgradeRequest,
};

use crate::ends::{Echo, Messages};

/// Lets a client meet a server by hand that answers with this header.
fn answered(config: WSConnectConfig, extensions: &str) -> (String, Result<(), WSConnectError>) {
    let mut kit = TestKit::new(1);
    let (mut peer, client) = kit.raw_client(WSMessageAdapter::new(Messages::default()), config);
    kit.run_until_idle();
    let request = peer.read();
    let mut response = Peer::response_to(&request).expect("a good request");
    response.truncate(response.len() - 2);
    response.extend_from_slice(extensions.as_bytes());
    response.extend_from_slice(b"\r\n");
    peer.write(&response);
    let result = kit.block_on(client).map(drop);
    (String::from_utf8(request).expect("ASCII"), result)
}

#[test]
fn a_client_offers_and_believes_only_an_answer_to_that() {
    let config = || WSConnectConfig::default().deflate(WSDeflateConfig::default());
    let good = "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover\r\n";
    let (request, result) = answered(config(), good);
    let offer = "\r\nSec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
                 client_no_context_takeover; client_max_window_bits\r\n";
    assert!(request.contains(offer), "{request}");
    result.expect("a good answer");
    answered(config(), "").1.expect("declining is fine");

    for bad in [
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=7\r\n",
        "Sec-WebSocket-Extensions: permessage-deflate; what_is_this\r\n",
        "Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Extensions: permessage-deflate\r\n",
        "Sec-WebSocket-Extensions: permessage-deflate, x-other\r\n",
    ] {
        match answered(config(), bad).1 {
            Err(WSConnectError::Handshake(error)) => {
                let WSHandshakeErrorKind::InvalidHeader { name, value } = &error.kind else {
                    panic!("{:?}", error.kind)
                };
                assert_eq!(name, "Sec-WebSocket-Extensions");
                assert!(value.as_deref().is_some_and(|value| value.starts_with("permessage-deflate")));
                assert!(error.raw_header.starts_with(b"HTTP/1.1 101"));
            }
            other => panic!("{bad}: {other:?}"),
        }
    }
}

#[test]
fn extensions_of_the_callers_own_stand_beside_it() {
    let mut headers = WSHeaders::new();
    headers.append("Sec-WebSocket-Extensions", "x-own").unwrap();
    let config = WSConnectConfig::default().extra_headers(headers.clone());
    let (request, result) = answered(
        config.clone().deflate(WSDeflateConfig::default()),
        "Sec-WebSocket-Extensions: x-own; a=1, permessage-deflate\r\n",
    );
    assert_eq!(request.matches("Sec-WebSocket-Extensions").count(), 2);
    result.expect("both were offered");
    answered(config, "Sec-WebSocket-Extensions: x-own\r\n").1.expect("offered");

    // Without the configuration it is the caller's extension, whatever it says.
    headers.insert("Sec-WebSocket-Extensions", "permessage-deflate; mine").unwrap();
    let config = WSConnectConfig::default().extra_headers(headers);
    let answer = "Sec-WebSocket-Extensions: permessage-deflate; mine\r\n";
    answered(config.clone(), answer).1.expect("offered");
    let mut kit = TestKit::new(1);
    let both = config.deflate(WSDeflateConfig::default());
    let result = kit.pair(
        |_: &_| WSMessageAdapter::new(Echo),
        WSMessageAdapter::new(Messages::default()),
        WSServerConfig::default(),
        both,
    );
    assert!(matches!(result, Err(WSConnectError::Config(WSConfigError::Argument(_)))), "{result:?}");
}

#[test]
fn a_server_declines_what_it_does_not_understand() {
    for (offer, answer) in [
        ("permessage-deflate", Some("permessage-deflate; server_no_context_takeover")),
        ("permessage-deflate; server_max_window_bits=7", None),
        ("permessage-deflate; what=1, x-other", None),
        ("permessage-deflate; ;;;", None),
    ] {
        let mut kit = TestKit::new(1);
        let factory = |_: &WSUpgradeRequest| WSMessageAdapter::new(Echo);
        let config = WSDeflateConfig::default().peer_context_takeover(true);
        let mut peer = kit.raw_server(factory, WSServerConfig::default().deflate(config));
        let mut request = String::from_utf8(Peer::request()).expect("ASCII");
        request.insert_str(request.len() - 2, &format!("Sec-WebSocket-Extensions: {offer}\r\n"));
        peer.write(request.as_bytes());
        kit.run_until_idle();
        let response = String::from_utf8(peer.read()).expect("ASCII");
        assert!(response.starts_with("HTTP/1.1 101 ") && response.ends_with("\r\n\r\n"), "{response}");
        let said = response.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Extensions: "));
        assert_eq!(said, answer, "{offer}");
    }
}

#[test]
fn values_out_of_range_are_refused_before_anything_happens() {
    let config = WSDeflateConfig::default;
    let wrong = [
        config().own_max_window_bits(7),
        config().own_max_window_bits(16),
        config().peer_max_window_bits(7),
        config().peer_max_window_bits(16),
        config().level(0),
        config().level(10),
        config().memory_level(0),
        config().memory_level(10),
    ];
    for wrong in wrong {
        let mut kit = TestKit::new(1);
        let handle = kit.handle();
        let server = WSServerConfig::default().deflate(wrong.clone());
        let factory = |_: &WSUpgradeRequest| WSMessageAdapter::new(Echo);
        let refused = femtows::ws_create_server(&handle, factory, "127.0.0.1:0", server).map(drop);
        assert!(
            matches!(refused, Err(WSServeError::Config(WSConfigError::Argument(_)))),
            "{wrong:?}: {refused:?}"
        );
        let client = WSConnectConfig::default().deflate(wrong.clone());
        let listener = WSMessageAdapter::new(Messages::default());
        let connecting = femtows::ws_connect(&handle, listener, "ws://127.0.0.1:1/", client);
        let refused = kit.block_on(connecting).map(drop);
        assert!(
            matches!(refused, Err(WSConnectError::Config(WSConfigError::Argument(_)))),
            "{wrong:?}: {refused:?}"
        );
    }
}
