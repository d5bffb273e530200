use super::WSHandshakeErrorKind as Kind;
use super::*;

/// The kind of the error that the answer makes, the connection being closed after it; `None` if it is accepted.
fn refusal(answer: impl AsRef<[u8]>) -> Option<Kind> {
    let mut client = client();
    match client.receive(answer.as_ref()) {
        Ok(ClientProgress::Accepted { .. }) => None,
        Ok(ClientProgress::Incomplete) => Some(client.receive_eof(answer.as_ref()).kind),
        Err(error) => Some(error.kind),
    }
}

fn header_at_fault(answer: impl AsRef<[u8]>) -> Option<String> {
    match refusal(answer)? {
        Kind::InvalidHeader { name, .. } | Kind::InvalidUpgrade { name, .. } => Some(name.into_owned()),
        other => panic!("{other:?}"),
    }
}

fn is_invalid_message(answer: impl AsRef<[u8]>) -> bool {
    matches!(refusal(answer), Some(Kind::InvalidMessage(_)))
}

#[test]
fn the_request_is_that_of_the_rfc() {
    let mut config = ClientHandshakeConfig::new("server.example.com:8080", "/chat?a=b");
    config.subprotocols = vec!["chat".into(), "superchat".into()];
    config.extra_headers.append("Origin", "http://example.com").expect("valid");
    let client = ClientHandshake::new(config, NONCE).expect("a valid configuration");
    assert_eq!(
        String::from_utf8_lossy(client.request_bytes()),
        "GET /chat?a=b HTTP/1.1\r\nHost: server.example.com:8080\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: chat, superchat\r\nOrigin: http://example.com\r\n\r\n"
    );
    assert_eq!(client.request().target(), "/chat?a=b");
    assert!(client.request().is_upgrade());
}

#[test]
fn our_server_accepts_our_client_and_back() {
    let mut client = client();
    let request = accepted_request(client.request_bytes());
    assert_eq!(request.raw_head(), client.request().raw_head());
    let mut answer = Vec::new();
    let response = WSUpgradeResponse::switching_protocols().subprotocol("superchat").expect("a token");
    response.encode_switching(&request, &mut answer).expect("a valid response");
    answer.extend_from_slice(b"\x81\x00");
    match client.receive(&answer) {
        Ok(ClientProgress::Accepted { response, subprotocol, consumed }) => {
            assert_eq!(consumed, answer.len() - 2);
            assert_eq!(subprotocol.as_deref(), Some("superchat"));
            assert_eq!((response.status(), response.version()), (101, "HTTP/1.1"));
            assert_eq!(response.raw_head(), Some(&answer[..consumed]));
            assert_eq!(response.get_header("UPGRADE").as_deref(), Some("websocket"));
            assert_eq!(response.headers().len(), 4);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn host_among_the_extra_headers_replaces_the_generated_one() {
    let mut config = ClientHandshakeConfig::new("10.0.0.1", "/");
    config.extra_headers.append("host", "virtual.example").expect("valid");
    let client = ClientHandshake::new(config, NONCE).expect("a valid configuration");
    assert_eq!(client.request().headers().get_all("host").collect::<Vec<_>>(), ["virtual.example"]);
}

#[test]
fn configurations_that_break_the_request_are_refused() {
    let refused = |change: fn(&mut ClientHandshakeConfig)| {
        let mut config = ClientHandshakeConfig::new("h", "/");
        change(&mut config);
        ClientHandshake::new(config, NONCE).is_err()
    };
    assert!(!refused(|_| {}));
    assert!(refused(|config| config.path = "/a b".into()));
    assert!(refused(|config| config.path = "/\r\nX: y".into()));
    assert!(refused(|config| config.path = "/\0".into()));
    assert!(refused(|config| config.path = "a".into()));
    assert!(refused(|config| config.path = "/#f".into()));
    assert!(refused(|config| config.path.clear()));
    assert!(refused(|config| config.host = "h\r\nX: y".into()));
    assert!(refused(|config| config.host.clear()));
    assert!(refused(|config| config.subprotocols = vec!["a\r\n".into()]));
    assert!(refused(|config| config.subprotocols = vec![String::new()]));
    assert!(refused(|config| config.subprotocols = vec!["a,b".into()]));
    assert!(refused(|config| config.subprotocols = vec!["a".into(), "a".into()]));
    for name in
        ["Sec-WebSocket-Key", "sec-websocket-version", "Sec-WebSocket-Accept", "Upgrade", "Connection"]
    {
        let mut config = ClientHandshakeConfig::new("h", "/");
        config.extra_headers.append(name, "x").expect("valid");
        let error = ClientHandshake::new(config, NONCE).expect_err(name).to_string();
        assert!(error.contains(&name.to_ascii_lowercase()), "{error}");
    }
    assert!(refused(|config| config.extra_headers.append("Content-Length", "1").expect("valid")));
    assert!(refused(|config| {
        config.subprotocols = vec!["a".into()];
        config.extra_headers.append("Sec-WebSocket-Protocol", "b").expect("valid");
    }));
}

#[test]
fn good_answers() {
    let good = [
        RESPONSE.to_owned(),
        with_line(RESPONSE, "Sec-WebSocket-Protocol", ""),
        with_line(RESPONSE, "Upgrade", "upgrade: WebSocket"),
        with_line(RESPONSE, "Connection", "connection: keep-alive, upgrade"),
        with_line(RESPONSE, "Connection", "Connection: keep-alive\r\nConnection: Upgrade"),
        with_header(RESPONSE, "Content-Length: 0"),
        with_line(RESPONSE, "HTTP/1.1", "HTTP/1.1 101"),
        with_line(RESPONSE, "HTTP/1.1", "HTTP/1.1 101 "),
    ];
    for answer in good {
        assert_eq!(refusal(&answer), None, "{answer}");
    }
}

#[test]
fn each_header_of_a_101_is_checked() {
    let changed = |start, line| header_at_fault(with_line(RESPONSE, start, line));
    let added = |line| header_at_fault(with_header(RESPONSE, line));
    for line in ["", "Upgrade: h2c", "Upgrade: websocket, h2c", "Upgrade: websocket\r\nUpgrade: websocket"] {
        assert_eq!(changed("Upgrade", line).as_deref(), Some("Upgrade"), "{line}");
    }
    for line in ["", "Connection: keep-alive", "Connection: upgrades"] {
        assert_eq!(changed("Connection", line).as_deref(), Some("Connection"), "{line}");
    }
    let accept = "Sec-WebSocket-Accept";
    for line in ["", "Sec-WebSocket-Accept: S3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "Sec-WebSocket-Accept:"] {
        assert_eq!(changed(accept, line).as_deref(), Some(accept), "{line}");
    }
    assert_eq!(added("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=").as_deref(), Some(accept));
    assert_eq!(added("Transfer-Encoding: chunked").as_deref(), Some("Transfer-Encoding"));
    for line in ["Content-Length: 5", "Content-Length: 00", "Content-Length: 0\r\nContent-Length: 0"] {
        assert_eq!(added(line).as_deref(), Some("Content-Length"), "{line}");
    }
    for line in [
        "Sec-WebSocket-Protocol: other",
        "Sec-WebSocket-Protocol: chat, superchat",
        "Sec-WebSocket-Protocol:",
    ] {
        assert_eq!(
            changed("Sec-WebSocket-Protocol", line).as_deref(),
            Some("Sec-WebSocket-Protocol"),
            "{line}"
        );
    }
    assert_eq!(added("Sec-WebSocket-Protocol: chat").as_deref(), Some("Sec-WebSocket-Protocol"));
    for line in ["Sec-WebSocket-Extensions: permessage-deflate", "Sec-WebSocket-Extensions:"] {
        assert_eq!(added(line).as_deref(), Some("Sec-WebSocket-Extensions"), "{line}");
    }
}

#[test]
fn errors_tell_header_and_value() {
    let answer = with_header(&with_line(RESPONSE, "Upgrade", "Upgrade: h2c"), "Upgrade: x");
    let error = client().receive(answer.as_bytes()).expect_err("the upgrade is wrong");
    let value = Some("x, h2c".into());
    assert_eq!(error.kind, Kind::InvalidUpgrade { name: "Upgrade".into(), value });
    assert_eq!(error.raw_header, answer.as_bytes());
    assert_eq!(error.response.map(|response| response.status()), Some(101));
}

#[test]
fn an_extension_that_was_offered_may_be_chosen() {
    let mut config = ClientHandshakeConfig::new("h", "/");
    let offer = "permessage-deflate; client_max_window_bits, x-other";
    config.extra_headers.append("Sec-WebSocket-Extensions", offer).expect("valid");
    let client = ClientHandshake::new(config, NONCE).expect("a valid configuration");
    let base = with_line(RESPONSE, "Sec-WebSocket-Protocol", "");
    let accepts = |line| client.clone().receive(with_header(&base, line).as_bytes()).is_ok();
    assert!(accepts("Sec-WebSocket-Extensions: permessage-deflate"));
    assert!(accepts("Sec-WebSocket-Extensions: X-Other, permessage-deflate; server_no_context_takeover"));
    assert!(!accepts("Sec-WebSocket-Extensions: permessage-deflate, foo"));
}

#[test]
fn what_is_not_http_1_1_is_an_invalid_message() {
    for answer in
        ["\x15\x03\x01", "SSH-2.0", "HTTP/2", "HTTP/1.1 abc\r\n", "HTTP/1.1 101 x\n", "HTTP/1.1 101 \0"]
    {
        let result = client().receive(answer.as_bytes());
        assert!(matches!(result, Err(WSHandshakeError { kind: Kind::InvalidMessage(_), .. })), "{answer:?}");
    }
    assert!(is_invalid_message(RESPONSE.replace("HTTP/1.1", "HTTP/1.0")));
    assert!(is_invalid_message(with_header(RESPONSE, "X: a\r\n b")));
    assert!(is_invalid_message(with_header(RESPONSE, &format!("X: {}", "y".repeat(17 * 1024)))));
    assert!(is_invalid_message(with_header(RESPONSE, &["X: y"; 129].join("\r\n"))));
}

#[test]
fn eof_before_the_answer_is_an_error() {
    for end in 0..RESPONSE.len() {
        let mut client = client();
        let error = client.receive_eof(&RESPONSE.as_bytes()[..end]);
        assert!(matches!(error.kind, Kind::InvalidMessage(_)), "{error}");
        assert_eq!(error.raw_header, &RESPONSE.as_bytes()[..end]);
        assert!(error.response.is_none());
    }
}

#[test]
fn a_refusal_comes_with_its_body() {
    let cases = [
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nno!\nrest", 403, "no!\n"),
        ("HTTP/1.0 503 Busy\r\n\r\nlater", 503, "later"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1\r\n!\r\n0\r\n\r\n", 200, "hi!"),
        ("HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", 302, ""),
        ("HTTP/1.1 204 None\r\n\r\n", 204, ""),
    ];
    for (answer, status, body) in cases {
        let mut client = client();
        let error = match client.receive(answer.as_bytes()) {
            Ok(ClientProgress::Incomplete) => client.receive_eof(answer.as_bytes()),
            Err(error) => error,
            Ok(accepted) => panic!("{accepted:?}"),
        };
        assert_eq!(error.kind, Kind::InvalidStatus(status));
        let response = error.response.expect("the response is known");
        assert_eq!((response.status(), &response.body()[..]), (status, body.as_bytes()));
        assert!(answer.as_bytes().starts_with(&error.raw_header));
        assert!(answer.as_bytes()[error.raw_header.len()..].starts_with(&error.raw_body));
    }
}

#[test]
fn the_body_of_a_refusal_is_bounded() {
    for header in ["Content-Length: 99999999", "X: y", "Content-Length: 65536"] {
        let answer = format!("HTTP/1.1 500 x\r\n{header}\r\n\r\n{}", "b".repeat(65_536));
        assert!(matches!(
            client().receive(&answer.as_bytes()[..answer.len() - 1]),
            Ok(ClientProgress::Incomplete)
        ));
        let error = client().receive(answer.as_bytes()).expect_err("a refusal");
        assert_eq!((error.kind, error.raw_body.len()), (Kind::InvalidStatus(500), 65_536));
    }
}

#[test]
fn interim_responses_are_skipped() {
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let answer = format!("{interim}{interim}{RESPONSE}");
    match client().receive(answer.as_bytes()) {
        Ok(ClientProgress::Accepted { consumed, response, .. }) => {
            assert_eq!(consumed, answer.len());
            assert_eq!(response.raw_head(), Some(RESPONSE.as_bytes()));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(refusal(interim.repeat(8) + RESPONSE), None);
    assert!(is_invalid_message(interim.repeat(9) + RESPONSE));
    assert!(is_invalid_message(interim));
}

/// The first bytes of TLS records (RFC 8446 section 5.1): a fatal alert, and a handshake message.
#[test]
fn an_answer_in_tls_suggests_wss() {
    for answer in [&b"\x15\x03\x01\x00\x02\x02\x0a"[..], b"\x15", b"\x16\x03\x03"] {
        let error = client().receive(answer).expect_err("no HTTP");
        assert!(error.to_string().contains("wss://"), "{error}");
    }
}

#[test]
fn an_answer_that_is_neither_http_nor_tls_suggests_nothing() {
    for answer in ["SSH-2.0", "H\x15\x03", "\x14\x03\x01"] {
        let error = client().receive(answer.as_bytes()).expect_err("no HTTP");
        assert!(!error.to_string().contains("wss://"), "{error}");
    }
}
