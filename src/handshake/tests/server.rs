use bytes::Bytes;

use super::*;

/// The status of the refusal, `None` if the request is accepted. Panics if the server waits for more.
fn status(bytes: impl AsRef<[u8]>) -> Option<u16> {
    match receive_request(bytes.as_ref()) {
        ServerProgress::Request { .. } => None,
        ServerProgress::Reject(response) => Some(response.status()),
        ServerProgress::Incomplete => panic!("still waiting: {:?}", String::from_utf8_lossy(bytes.as_ref())),
    }
}

#[test]
fn a_good_request_is_given_out() {
    let mut bytes = REQUEST.as_bytes().to_vec();
    bytes.extend_from_slice(b"\x81\x80early frame");
    let ServerProgress::Request { request, consumed } = receive_request(&bytes) else { panic!("refused") };
    assert_eq!(consumed, REQUEST.len());
    assert_eq!(request.raw_head(), REQUEST.as_bytes());
    assert_eq!((request.method(), request.version()), ("GET", "HTTP/1.1"));
    assert_eq!(request.target(), "/chat?room=1");
    assert_eq!((request.path(), request.query()), ("/chat", Some("room=1")));
    assert!(request.is_upgrade());
    assert_eq!(request.host().as_deref(), Some("server.example.com"));
    assert_eq!(request.origin().as_deref(), Some("http://example.com"));
    assert_eq!(request.header("UPGRADE").as_deref(), Some("websocket"));
    assert_eq!(request.header("Cookie"), None);
    assert_eq!(request.subprotocols(), ["chat", "superchat"]);
    let headers = request.headers();
    assert_eq!(headers.len(), 7);
    assert!(headers.has_token("connection", "upgrade"));
}

#[test]
fn path_and_query_are_parts_of_the_target() {
    for (target, path, query) in [
        ("/", "/", None),
        ("/a?", "/a", Some("")),
        ("/a?b?c", "/a", Some("b?c")),
        ("/a?u=http://other/b", "/a", Some("u=http://other/b")),
        ("http://other:81/a/b?c", "/a/b", Some("c")),
        ("https://other", "/", None),
        ("http://other?c", "/", Some("c")),
    ] {
        let request = accepted_request(format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert_eq!((request.target(), request.path(), request.query()), (target, path, query));
    }
}

/// RFC 9112 section 3.2.2: `Host` is ignored for an absolute target.
#[test]
fn host_of_an_absolute_target_is_its_authority() {
    for (target, host) in [("/", "h:80"), ("http://other:81/", "other:81"), ("http://[::1]?h", "[::1]")] {
        let request = accepted_request(format!("GET {target} HTTP/1.1\r\nHost: h:80\r\n\r\n"));
        assert_eq!(request.host().as_deref(), Some(host), "{target}");
        assert_eq!(request.header("host").as_deref(), Some("h:80"), "{target}");
    }
}

/// `application/x-www-form-urlencoded`, as the URL standard parses it.
#[test]
fn query_parameters_are_decoded() {
    for (query, expected) in [
        ("", &[][..]),
        ("?", &[]),
        ("?&&", &[]),
        ("?a", &[("a", "")]),
        ("?=b", &[("", "b")]),
        ("?a=b=c&a=d", &[("a", "b=c"), ("a", "d")]),
        ("?a+b=c%2Bd%20e", &[("a b", "c+d e")]),
        ("?%C3%BC=%ff%", &[("\u{fc}", "\u{fffd}%")]),
        ("?a;b=c", &[("a;b", "c")]),
    ] {
        let request = accepted_request(format!("GET /x{query} HTTP/1.1\r\nHost: h\r\n\r\n"));
        let found: Vec<_> = request.query_parameters().collect();
        let found: Vec<_> = found.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(found, expected, "{query}");
    }
    let request = accepted_request("GET /?a=1&b=2&a=3 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(request.query_parameter("a").as_deref(), Some("1"));
    assert_eq!(request.query_parameter("c"), None);
}

#[test]
fn bearer_is_the_token_of_one_authorization() {
    for (lines, token) in [
        ("", None),
        ("Authorization: Bearer mF_9.B5f-4.1JqM\r\n", Some("mF_9.B5f-4.1JqM")),
        ("authorization:  bearer   a=\r\n", Some("a=")),
        ("Authorization: Basic YTpi\r\n", None),
        ("Authorization: Bearer\r\n", None),
        ("Authorization: Bearera b\r\n", None),
        ("Authorization: Bearer a\r\nAuthorization: Bearer b\r\n", None),
    ] {
        let head = format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
        assert_eq!(accepted_request(head).bearer(), token, "{lines:?}");
    }
    let not_utf8 = b"GET / HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer \xff\r\n\r\n";
    assert_eq!(accepted_request(not_utf8).bearer(), None);
}

#[test]
fn subprotocols_of_repeated_headers_are_one_list() {
    let request = accepted_request(with_header(REQUEST, "sec-websocket-PROTOCOL: first,,second"));
    assert_eq!(request.subprotocols(), ["first", "second", "chat", "superchat"]);
}

#[test]
fn values_that_are_not_utf_8_are_latin_1() {
    let mut bytes = b"GET / HTTP/1.1\r\nHost: h\r\nX-Name: gr\xFCn\r\n\r\n".to_vec();
    assert_eq!(accepted_request(&bytes).header("x-name").as_deref(), Some("gr\u{fc}n"));
    assert_eq!(accepted_request(&bytes).headers().get("x-name"), Some("gr\u{fc}n"));
    bytes.insert(18, 0xFF);
    assert_eq!(status(&bytes), Some(400));
}

#[test]
fn garbage_and_tls_are_refused_at_their_first_byte() {
    for bytes in [&b"\x16\x03\x01\x02\x00"[..], b"\x16", b"\0", b"\n", b"\rX", b"\xFF", b"G\0", b"\r\n\r\n"] {
        assert_eq!(status(bytes), Some(400), "{bytes:?}");
    }
}

#[test]
fn http_1_0_is_refused() {
    assert_eq!(status(REQUEST.replace("HTTP/1.1", "HTTP/1.0")), Some(400));
    assert_eq!(status("GET / HTTP/1.0\r\n"), Some(400), "as soon as the request line is complete");
    assert_eq!(status("GET / HTTP/2.0\r\n"), Some(400));
    assert_eq!(status("GET /\r\n"), Some(400));
}

#[test]
fn methods_other_than_get_and_head_are_405() {
    for method in ["POST", "OPTIONS", "get", "GETX", "HEADX", "GE", "HEA", "X", "x-y"] {
        assert_eq!(status(format!("{method} / HTTP/1.1\r\n")), Some(405), "{method}");
        assert_eq!(status(format!("{method} ")), Some(405), "{method}, as soon as it is certain");
    }
}

#[test]
fn what_cannot_be_a_method_is_400() {
    for start in [" ", " GET", "x\0", "POST\t", "HEAD\t/", "{", "P\u{e4}"] {
        assert_eq!(status(start), Some(400), "{start:?}, at once");
    }
    assert_eq!(status("X".repeat(32) + " "), Some(405), "as long as a method may be");
    assert_eq!(status("X".repeat(33)), Some(400), "longer than any method");
    for line in ["x\r\n", "GET\r\n", "HEAD\r\n", "SSH-2.0-OpenSSH_9.6\r\n"] {
        assert_eq!(status(line), Some(400), "{line:?}");
    }
}

#[test]
fn head_is_given_out_as_plain_http() {
    let request = accepted_request("HEAD /health HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!((request.method(), request.path(), request.is_upgrade()), ("HEAD", "/health", false));
}

/// RFC 6455 section 4.2.1, item 1.
#[test]
fn an_upgrade_by_head_is_400() {
    assert_eq!(status(REQUEST.replace("GET ", "HEAD ")), Some(400));
}

#[test]
fn upgrade_and_connection_are_token_lists() {
    assert_eq!(status(with_line(REQUEST, "Upgrade", "upgrade: WebSocket")), None);
    assert_eq!(status(with_line(REQUEST, "Upgrade", "Upgrade: h2c, websocket")), None);
    assert_eq!(status(with_line(REQUEST, "Connection", "connection: upgrade")), None);
    assert_eq!(status(with_line(REQUEST, "Connection", "Connection: keep-alive, Upgrade")), None);
    assert_eq!(status(with_header(REQUEST, "Connection: close")), None);
    assert_eq!(status(with_line(REQUEST, "Upgrade", "Upgrade: websockets")), Some(400));
    assert_eq!(status(with_line(REQUEST, "Upgrade", "")), Some(400));
    assert_eq!(status(with_line(REQUEST, "Connection", "Connection: keep-alive")), Some(400));
    assert_eq!(status(with_line(REQUEST, "Connection", "")), Some(400));
}

#[test]
fn folded_headers_are_refused() {
    assert_eq!(status(with_header(REQUEST, "X-Folded: a\r\n b")), Some(400));
    assert_eq!(status(with_header(REQUEST, "\tX: a")), Some(400));
    assert_eq!(status("GET / HTTP/1.1\r\nHost: h\r\n "), Some(400), "at once");
    let ServerProgress::Reject(response) = receive_request(with_header(REQUEST, "X: a\r\n b")) else {
        panic!()
    };
    assert_eq!(response.body(), "a header line is folded\n");
}

#[test]
fn header_names_are_tokens() {
    for line in ["X Y: a", ": a", "X", "X\0: a", "\u{e4}: a", "X : a", "(X): a", "X\x7F: a"] {
        assert_eq!(status(with_header(REQUEST, line)), Some(400), "{line:?}");
    }
    assert_eq!(status("GET / HTTP/1.1\r\nHost "), Some(400), "at once");
}

#[test]
fn control_characters_are_refused_at_once() {
    for bytes in ["GET / HTTP/1.1\r\nHost: \0", "GET /\x01", "GET / HTTP/1.1\r\nHost: a\rb", "GET /\u{e4}"] {
        assert_eq!(status(bytes), Some(400), "{bytes:?}");
    }
    assert_eq!(status(with_header(REQUEST, "X: a\tb")), None);
}

#[test]
fn bare_line_feeds_are_refused_at_once() {
    assert_eq!(status(REQUEST.replace("\r\n", "\n")), Some(400));
    assert_eq!(status("GET / HTTP/1.1\n"), Some(400));
    assert_eq!(status("GET / HTTP/1.1\r\nHost: h\n"), Some(400));
    assert_eq!(status("GET / HTTP/1.1\r\nHost: h\r\n\n"), Some(400));
}

#[test]
fn up_to_128_headers_are_accepted() {
    let extra = |count| with_header(REQUEST, &vec!["X: y"; count].join("\r\n"));
    assert_eq!(status(extra(128 - 7)), None);
    assert_eq!(status(extra(129 - 7)), Some(431));
}

#[test]
fn up_to_16_kib_are_accepted() {
    let sized = |size: usize| {
        let padding = size - REQUEST.len() - "X: \r\n".len();
        with_header(REQUEST, &format!("X: {}", "y".repeat(padding)))
    };
    assert_eq!(sized(16 * 1024).len(), 16 * 1024);
    assert_eq!(status(sized(16 * 1024)), None);
    assert_eq!(status(sized(16 * 1024 + 1)), Some(431));
    assert_eq!(status(sized(17 * 1024)), Some(431));
    assert_eq!(status(format!("GET /{}", "a".repeat(17 * 1024))), Some(431));
}

#[test]
fn the_limits_can_be_set() {
    let mut small = ServerHandshake::new(HandshakeLimits { max_head: 100, ..HandshakeLimits::default() });
    assert!(matches!(small.receive(REQUEST.as_bytes()), ServerProgress::Reject(r) if r.status() == 431));
    let mut few = ServerHandshake::new(HandshakeLimits { max_headers: 6, ..HandshakeLimits::default() });
    assert!(matches!(few.receive(REQUEST.as_bytes()), ServerProgress::Reject(r) if r.status() == 431));
    let mut none = ServerHandshake::new(HandshakeLimits { max_head: 0, max_headers: 0 });
    assert!(matches!(none.receive(b""), ServerProgress::Reject(r) if r.status() == 431));
}

#[test]
fn smuggled_bodies_are_refused() {
    for line in [
        "Content-Length: 5",
        "Content-Length: +0",
        "Content-Length: -0",
        "Content-Length: 0x0",
        "Content-Length: 0, 5",
        "Content-Length:",
        "Content-Length: 0\r\nContent-Length: 5",
        "content-length: 0\r\nCONTENT-LENGTH: 0",
        "Content-Length: 18446744073709551616",
        "Transfer-Encoding: chunked",
        "transfer-encoding: identity",
        "Transfer-Encoding:",
    ] {
        assert_eq!(status(with_header(REQUEST, line)), Some(400), "{line}");
        assert_eq!(
            status(format!("GET / HTTP/1.1\r\nHost: h\r\n{line}\r\n\r\n")),
            Some(400),
            "plain, {line}"
        );
    }
    assert_eq!(status(with_header(REQUEST, "Content-Length: 0")), None);
}

#[test]
fn exactly_one_host_is_asked_for() {
    assert_eq!(status(with_line(REQUEST, "Host", "")), Some(400));
    assert_eq!(status(with_header(REQUEST, "host: server.example.com")), Some(400));
    for host in ["", ":80", "a b", "user@host", "host/path", "h\u{e4}", "[::1", "h:80:90", "h:65536"] {
        assert_eq!(status(with_line(REQUEST, "Host", &format!("Host: {host}"))), Some(400), "{host:?}");
    }
    for host in ["h", "h:", "[::1]:8080", "127.0.0.1:9001", "a_b.example"] {
        assert_eq!(status(with_line(REQUEST, "Host", &format!("Host: {host}"))), None, "{host:?}");
    }
}

#[test]
fn version_13_is_asked_for() {
    for line in ["Sec-WebSocket-Version: 8", "Sec-WebSocket-Version: 13, 8", "Sec-WebSocket-Version:", ""] {
        let ServerProgress::Reject(response) =
            receive_request(with_line(REQUEST, "Sec-WebSocket-Version", line))
        else {
            panic!("accepted: {line}");
        };
        let mut out = Vec::new();
        response.encode(&mut out);
        let text = String::from_utf8(out).expect("the answer is ASCII");
        assert!(text.starts_with("HTTP/1.1 426 Upgrade Required\r\n"), "{text}");
        assert!(text.contains("\r\nSec-WebSocket-Version: 13\r\n"), "{text}");
        assert!(text.contains("\r\nUpgrade: websocket\r\n"), "{text}");
        assert!(text.contains("\r\nConnection: close, Upgrade\r\n"), "{text}");
    }
    assert_eq!(status(with_header(REQUEST, "Sec-WebSocket-Version: 13")), Some(400));
}

#[test]
fn exactly_one_key_of_16_bytes_is_asked_for() {
    for line in
        ["", "Sec-WebSocket-Key:", "Sec-WebSocket-Key: AAAA", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZTE="]
    {
        assert_eq!(status(with_line(REQUEST, "Sec-WebSocket-Key", line)), Some(400), "{line}");
    }
    assert_eq!(status(with_header(REQUEST, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")), Some(400));
}

#[test]
fn plain_http_is_given_out_as_such() {
    let request = accepted_request("GET /health HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\n\r\n");
    assert!(!request.is_upgrade());
    assert_eq!(request.path(), "/health");
    assert!(encode_default_switching(&request, &mut Vec::new()).is_err());
    for line in ["Upgrade: h2c", "Connection: Upgrade", "Sec-WebSocket-Key: x", "Sec-WebSocket-Foo: x"] {
        assert_eq!(status(format!("GET / HTTP/1.1\r\nHost: h\r\n{line}\r\n\r\n")), Some(400), "{line}");
    }
}

#[test]
fn one_empty_line_before_the_request_is_skipped() {
    let bytes = format!("\r\n{REQUEST}");
    let ServerProgress::Request { request, consumed } = receive_request(&bytes) else { panic!("refused") };
    assert_eq!(consumed, bytes.len());
    assert_eq!(request.raw_head(), REQUEST.as_bytes());
    assert_eq!(status(format!("\r\n\r\n{REQUEST}")), Some(400));
}

#[test]
fn refusals_say_what_is_wrong_and_close() {
    let ServerProgress::Reject(response) = receive_request("GET / HTTP/1.1\r\n\r\n") else {
        panic!("accepted")
    };
    let mut out = Vec::new();
    response.encode(&mut out);
    assert_eq!(
        String::from_utf8_lossy(&out),
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 27\r\n\
         Connection: close\r\n\r\nthe header Host is missing\n"
    );
}

#[test]
fn the_default_101_is_that_of_the_rfc() {
    let request = accepted_request(REQUEST);
    let (mut fast, mut general) = (Vec::new(), Vec::new());
    encode_default_switching(&request, &mut fast).expect("an upgrade");
    WSUpgradeResponse::switching_protocols()
        .encode_switching(&request, &mut general)
        .expect("a valid response");
    assert_eq!(fast, general);
    assert_eq!(String::from_utf8_lossy(&fast), with_line(RESPONSE, "Sec-WebSocket-Protocol", ""));
}

#[test]
fn a_101_carries_subprotocol_and_headers() {
    let request = accepted_request(REQUEST);
    let response = WSUpgradeResponse::switching_protocols().subprotocol("superchat").expect("a token");
    let response =
        response.header("Set-Cookie", "a=b").expect("valid").header("Set-Cookie", "c=d").expect("valid");
    let mut out = Vec::new();
    response.encode_switching(&request, &mut out).expect("a valid response");
    let text = String::from_utf8_lossy(&out);
    let end = "Sec-WebSocket-Protocol: superchat\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n\r\n";
    assert!(text.ends_with(end), "{text}");
}

#[test]
fn a_101_that_breaks_the_protocol_is_refused() {
    let request = accepted_request(REQUEST);
    let ours = WSUpgradeResponse::switching_protocols;
    for name in ["Sec-WebSocket-Accept", "upgrade", "Sec-WebSocket-Extensions", "Content-Length"] {
        assert!(ours().header(name, "x").is_err(), "{name}");
    }
    assert!(ours().header("Transfer-Encoding", "chunked").is_err());
    assert!(ours().header("X", "a\r\nb: c").is_err());
    assert!(ours().subprotocol("a b").is_err());

    let mut out = b"before".to_vec();
    let mut refused = |response: WSUpgradeResponse| {
        let result = response.encode_switching(&request, &mut out);
        assert_eq!(out, b"before");
        result.is_err()
    };
    assert!(refused(ours().subprotocol("other").expect("a token")));
    assert!(refused(ours().subprotocol("Chat").expect("a token")), "names are compared exactly");
    assert!(refused(
        ours().subprotocol("chat").expect("a token").header("Sec-WebSocket-Protocol", "chat").expect("valid")
    ));
    assert!(refused(WSUpgradeResponse::ok("body")));
    let received = WSUpgradeResponse::received(101, Bytes::from_static(RESPONSE.as_bytes()), Bytes::new());
    assert!(refused(received));
}

#[test]
fn other_responses() {
    let encoded = |response: &WSUpgradeResponse| {
        let mut out = Vec::new();
        response.encode(&mut out);
        String::from_utf8(out).expect("the response is ASCII")
    };
    let page = WSUpgradeResponse::ok("<p>").content_type("text/html").expect("valid");
    assert_eq!(
        encoded(&page),
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 3\r\nConnection: close\r\n\r\n<p>"
    );
    let redirect = WSUpgradeResponse::redirect(307, "wss://other/").expect("valid");
    assert_eq!(
        encoded(&redirect),
        "HTTP/1.1 307 Temporary Redirect\r\nLocation: wss://other/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    assert!(encoded(&WSUpgradeResponse::switching_protocols()).starts_with("HTTP/1.1 500 "));
    for status in [0, 101, 200, 399, 600] {
        assert!(WSUpgradeResponse::error(status, "").is_err(), "{status}");
    }
    for (status, location) in [(200, "/"), (400, "/"), (302, ""), (302, "/\r\nX: y")] {
        assert!(WSUpgradeResponse::redirect(status, location).is_err(), "{status} {location:?}");
    }
}

#[test]
fn a_client_hello_is_told_apart_from_bad_http() {
    let mut handshake = ServerHandshake::new(HandshakeLimits::default());
    let ServerProgress::Reject(response) = handshake.receive(b"\x16\x03\x01\x02\x00\x01") else {
        panic!("it is no request")
    };
    let body = String::from_utf8_lossy(response.body()).into_owned();
    assert!(body.contains("TLS"), "{body}");
}
