//! How a client asks, and what it makes of answers.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use femtows::{
    WSConfigError, WSConnectConfig, WSConnectError, WSHandshakeError, WSHandshakeErrorKind, WSHeaders,
    WSPhase, WSServerConfig, WSTransport,
};

use crate::support::eventually;
use crate::support::peer::{Peer, PeerServer, header, switching};
use crate::support::probe::{Probe, log};
use crate::support::running::{connect, serve};
use crate::support::wire::Frame;

/// What `ws_connect` makes of a server that answers with what `answer` makes of the key, and then closes.
fn answered(config: WSConnectConfig, answer: impl FnOnce(&str) -> String) -> Result<(), WSConnectError> {
    let (log, _events) = log();
    let server = PeerServer::bind();
    let client = connect(&server.url("/"), config, Probe::new(&log));
    let mut peer = server.accept_tcp();
    let key = header(&peer.read_head(), "Sec-WebSocket-Key").unwrap();
    peer.write(answer(&key).as_bytes());
    drop(peer);
    let result = client.opened();
    if result.is_err() {
        assert_eq!(client.on.ask(femtows::WSLoopHandle::slots), 0, "the slot is free");
    }
    result
}

fn handshake_error(result: Result<(), WSConnectError>) -> WSHandshakeError {
    match result {
        Err(WSConnectError::Handshake(error)) => (*error).clone(),
        other => panic!("a handshake error was expected, not {other:?}"),
    }
}

#[test]
fn a_refusal_comes_out_with_its_body() {
    for framing in ["Content-Length: 7\r\n", ""] {
        let answer = |_: &str| format!("HTTP/1.1 403 Forbidden\r\nX-Why: rain\r\n{framing}\r\nnot you");
        let error = handshake_error(answered(WSConnectConfig::default(), answer));
        assert_eq!(error.kind, WSHandshakeErrorKind::InvalidStatus(403));
        assert_eq!(error.raw_body, "not you");
        assert!(error.raw_header.starts_with(b"HTTP/1.1 403 Forbidden\r\n"));
        let response = error.response.unwrap();
        assert_eq!((response.status(), &response.body()[..]), (403, &b"not you"[..]));
        assert_eq!(response.get_header("x-why").as_deref(), Some("rain"));
    }
    let chunked = |_: &str| {
        "HTTP/1.1 503 Later\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nnot\r\n4\r\n now\r\n0\r\n\r\n"
            .to_owned()
    };
    let error = handshake_error(answered(WSConnectConfig::default(), chunked));
    assert_eq!(error.kind, WSHandshakeErrorKind::InvalidStatus(503));
    assert_eq!(error.response.unwrap().body(), "not now");
}

/// A server that says no, and neither how long that is nor that it is over, is not waited for until the deadline, of which there may
/// be none.
#[test]
fn a_refusal_without_an_end_is_told() {
    for framing in ["", "Content-Length: 8\r\n", "Transfer-Encoding: chunked\r\n"] {
        let (log, _events) = log();
        let server = PeerServer::bind();
        let config = WSConnectConfig::default().handshake_timeout(None);
        let client = connect(&server.url("/"), config, Probe::new(&log));
        let mut peer = server.accept_tcp();
        peer.read_head();
        peer.write(format!("HTTP/1.1 403 Forbidden\r\n{framing}\r\n4\r\nno\r\n").as_bytes());
        let error = handshake_error(client.opened());
        assert_eq!(error.kind, WSHandshakeErrorKind::InvalidStatus(403), "{framing}");
        assert_eq!(error.raw_body, "4\r\nno\r\n", "{framing}");
        assert_eq!(client.on.ask(femtows::WSLoopHandle::slots), 0, "the slot is free");
        peer.expect_gone();
    }
}

/// A key that came early is no reason to agree early: what follows the head could be taken for frames.
#[test]
fn an_answer_to_half_a_question_is_refused() {
    let (log, _events) = log();
    let server = PeerServer::bind();
    let mut headers = WSHeaders::new();
    headers.append("X-Long", "x".repeat(32 << 20)).unwrap();
    let config = WSConnectConfig::default().extra_headers(headers).handshake_timeout(None);
    let client = connect(&server.url("/"), config, Probe::new(&log));
    let mut peer = server.accept_tcp();
    let begin = String::from_utf8(peer.read_bytes(1000)).unwrap();
    let key = header(&begin, "Sec-WebSocket-Key").unwrap();
    peer.write(switching(&key, "").as_bytes());
    match client.opened() {
        Err(WSConnectError::Io { source, .. }) => assert_eq!(source.kind(), std::io::ErrorKind::InvalidData),
        other => panic!("{other:?}"),
    }
}

/// It was closed with a part of the question unread, which is a reset.
#[test]
fn a_refusal_behind_which_the_server_resets_is_told() {
    let (log, _events) = log();
    let server = PeerServer::bind();
    let client = connect(&server.url("/"), WSConnectConfig::default(), Probe::new(&log));
    let mut peer = server.accept_tcp();
    peer.read_head();
    peer.write(b"HTTP/1.1 503 Later\r\n\r\nnot ");
    peer.reset();
    let error = handshake_error(client.opened());
    assert_eq!(error.kind, WSHandshakeErrorKind::InvalidStatus(503));
    assert_eq!(error.raw_body, "not ");
}

/// The refusals of the library's own server too.
#[test]
fn a_refusal_of_our_server_comes_out_with_its_body() {
    let (log, _events) = log();
    let server = serve(WSServerConfig::default(), |_| None::<Probe>);
    let error =
        handshake_error(connect(&server.url("/"), WSConnectConfig::default(), Probe::new(&log)).opened());
    assert_eq!(error.kind, WSHandshakeErrorKind::InvalidStatus(404));
    assert_eq!(error.raw_body, "404 Not Found");
}

#[test]
fn eof_before_the_answer_is_a_handshake_error() {
    for partial in ["", "HTTP/1.1 101 Swi", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"] {
        let error = handshake_error(answered(WSConnectConfig::default(), |_| partial.to_owned()));
        assert!(matches!(error.kind, WSHandshakeErrorKind::InvalidMessage(_)), "{error:?}");
        assert_eq!(error.raw_header, partial);
    }
}

#[test]
fn wrong_answers_are_refused() {
    type Answer = fn(&str) -> String;
    let invalid_header = |result, wanted: &str| match handshake_error(result).kind {
        WSHandshakeErrorKind::InvalidHeader { name, .. }
        | WSHandshakeErrorKind::InvalidUpgrade { name, .. } => {
            assert!(name.eq_ignore_ascii_case(wanted), "{name} instead of {wanted}");
        }
        other => panic!("{wanted}: {other:?}"),
    };
    let cases: [(&str, Answer); 7] = [
        ("Sec-WebSocket-Accept", |key| switching(key, "").replace("Accept: ", "Accept: x")),
        ("Sec-WebSocket-Accept", |key| switching(key, "").replace("Sec-WebSocket-Accept", "X-Accept")),
        ("Upgrade", |key| switching(key, "").replace("Upgrade: websocket", "Upgrade: h2c")),
        ("Connection", |key| switching(key, "").replace("Connection: Upgrade", "Connection: close")),
        ("Sec-WebSocket-Protocol", |key| switching(key, "Sec-WebSocket-Protocol: chat\r\n")),
        ("Sec-WebSocket-Extensions", |key| {
            switching(key, "Sec-WebSocket-Extensions: permessage-deflate\r\n")
        }),
        ("Content-Length", |key| switching(key, "Content-Length: 3\r\n")),
    ];
    for (name, answer) in cases {
        invalid_header(answered(WSConnectConfig::default(), answer), name);
    }
    let garbage =
        handshake_error(answered(WSConnectConfig::default(), |_| "SSH-2.0-OpenSSH_9\r\n".to_owned()));
    assert!(matches!(garbage.kind, WSHandshakeErrorKind::InvalidMessage(_)), "{garbage:?}");
    let lower_case = |key: &str| switching(key, "").replace("Upgrade: websocket", "upgrade: WebSocket");
    answered(WSConnectConfig::default(), lower_case).expect("case does not matter");
}

#[test]
fn subprotocols_are_offered_and_the_pick_is_told() {
    let (log, _events) = log();
    let server = PeerServer::bind();
    let config = WSConnectConfig::default().subprotocols(["talk", "chat"]);
    let client = connect(&server.url("/"), config, Probe::new(&log));
    let mut peer = server.accept_tcp();
    let request = peer.read_head();
    assert_eq!(header(&request, "Sec-WebSocket-Protocol").as_deref(), Some("talk, chat"));
    let key = header(&request, "Sec-WebSocket-Key").unwrap();
    peer.write(switching(&key, "Sec-WebSocket-Protocol: chat\r\n").as_bytes());
    client.opened().unwrap();
    assert_eq!(client.on.ask_transport(0, WSTransport::subprotocol).as_deref(), Some("chat"));
}

/// The request that a client sends for this URL (`ADDR` stands for the address) and configuration.
fn request_for(url: &str, config: WSConnectConfig) -> String {
    let (log, _events) = log();
    let server = PeerServer::bind();
    let url = url.replace("ADDR", &server.addr().to_string());
    let client = connect(&url, config, Probe::new(&log));
    let (_peer, request) = server.accept_asked();
    client.opened().unwrap();
    request.replace(&server.addr().to_string(), "ADDR")
}

#[test]
fn the_request_says_what_the_rfc_asks_for() {
    let request = request_for("ws://ADDR/path/x?a=b&c", WSConnectConfig::default());
    assert!(request.starts_with("GET /path/x?a=b&c HTTP/1.1\r\n"), "{request}");
    for (name, value) in [
        ("Host", "ADDR"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
    ] {
        assert_eq!(header(&request, name).as_deref(), Some(value), "{request}");
    }
    let key = header(&request, "Sec-WebSocket-Key").unwrap();
    assert_eq!(STANDARD.decode(&key).unwrap().len(), 16);
    let other = request_for("ws://ADDR/", WSConnectConfig::default());
    assert_ne!(header(&other, "Sec-WebSocket-Key").unwrap(), key, "the key is fresh");
    assert_eq!(header(&other, "Authorization"), None);
}

#[test]
fn credentials_in_the_url_become_basic_auth() {
    let request = request_for("ws://us%65r:p%40ss@ADDR/", WSConnectConfig::default());
    let wanted = format!("Basic {}", STANDARD.encode("user:p@ss"));
    assert_eq!(header(&request, "Authorization"), Some(wanted));
    assert!(!request.contains("p%40ss"), "{request}");
    let mut headers = WSHeaders::new();
    headers.append("Authorization", "Bearer own").unwrap();
    let request = request_for("ws://user:pass@ADDR/", WSConnectConfig::default().extra_headers(headers));
    assert_eq!(header(&request, "Authorization").as_deref(), Some("Bearer own"), "the caller's own wins");
}

#[test]
fn header_and_bearer_are_sent() {
    let config = WSConnectConfig::default().header("X-Own", "a").header("x-own", "b").bearer("mF_9.B5f");
    let request = request_for("ws://user:pass@ADDR/", config);
    assert_eq!(header(&request, "Authorization").as_deref(), Some("Bearer mF_9.B5f"));
    assert!(request.contains("\r\nX-Own: a\r\nx-own: b\r\n"), "{request}");
}

#[test]
fn invalid_header_is_the_error_of_the_connect() {
    for config in [
        WSConnectConfig::default().header("X-Own", "a\r\nX-Evil: b"),
        WSConnectConfig::default().bearer("a b secret"),
    ] {
        let (log, _events) = log();
        let server = PeerServer::bind();
        let error = connect(&server.url("/"), config, Probe::new(&log)).opened().unwrap_err();
        assert!(matches!(error, WSConnectError::Config(WSConfigError::Header(_))), "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}

#[test]
fn extra_headers_are_sent_and_host_can_be_replaced() {
    let mut headers = WSHeaders::new();
    headers.append("X-One", "1").unwrap();
    headers.append("x-two", "2").unwrap();
    headers.append("Host", "elsewhere.test:1234").unwrap();
    let request = request_for("ws://ADDR/", WSConnectConfig::default().extra_headers(headers));
    assert_eq!(header(&request, "X-One").as_deref(), Some("1"));
    assert_eq!(header(&request, "X-Two").as_deref(), Some("2"));
    assert_eq!(header(&request, "Host").as_deref(), Some("elsewhere.test:1234"));
}

#[test]
fn the_callers_own_mistakes_are_told_apart() {
    let (log, _events) = log();
    let open = |url: &str, config| connect(url, config, Probe::new(&log)).opened().unwrap_err();
    let mut headers = WSHeaders::new();
    headers.append("Sec-WebSocket-Key", "own").unwrap();
    let config = WSConnectConfig::default().extra_headers(headers);
    assert!(matches!(open("ws://127.0.0.1:1/", config), WSConnectError::Config(WSConfigError::Request(_))));
    let config = WSConnectConfig::default().subprotocols(["a", "a"]);
    assert!(matches!(open("ws://127.0.0.1:1/", config), WSConnectError::Config(WSConfigError::Request(_))));
    for url in ["http://127.0.0.1/", "ws://", "ws://127.0.0.1/#fragment", "nonsense"] {
        assert!(
            matches!(open(url, WSConnectConfig::default()), WSConnectError::Config(WSConfigError::Url(_))),
            "{url}"
        );
    }
    assert!(WSHeaders::new().append("X", "a\r\nb").is_err());
}

#[test]
fn a_refused_connect_is_an_io_error() {
    let (log, _events) = log();
    // Bound but not listening: nobody else gets this port meanwhile.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    let client = connect(&format!("ws://{addr}/"), WSConnectConfig::default(), Probe::new(&log));
    match client.opened() {
        Err(WSConnectError::Io { source, .. }) => {
            assert_eq!(source.kind(), std::io::ErrorKind::ConnectionRefused);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(client.on.ask(femtows::WSLoopHandle::slots), 0);
}

#[test]
fn an_unresolvable_name_is_a_resolve_error() {
    let (log, _events) = log();
    let config = WSConnectConfig::default().handshake_timeout(None);
    match connect("ws://nonexistent.invalid/", config, Probe::new(&log)).opened() {
        Err(WSConnectError::Resolve { host, .. }) => assert_eq!(&*host, "nonexistent.invalid"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_name_is_resolved() {
    let (log, _events) = log();
    let server = serve(WSServerConfig::default(), move |_| Probe::new(&log).echo());
    let (client_log, events) = crate::support::probe::log();
    let url = format!("ws://localhost:{}/", server.addr.port());
    let client = connect(&url, WSConnectConfig::default(), Probe::new(&client_log));
    client.opened().unwrap();
    events.connected();
}

#[test]
fn t02_a_mute_server_is_left_at_the_handshake_deadline() {
    let (log, events) = log();
    let server = PeerServer::bind();
    let timeout = Duration::from_millis(200);
    let config = WSConnectConfig::default().handshake_timeout(Some(timeout));
    let client = connect(&server.url("/"), config, Probe::new(&log));
    let mut peer = server.accept_tcp();
    peer.read_head();
    peer.write(b"HTTP/1.1 101 Switching Protocols\r\n");
    match client.opened() {
        Err(WSConnectError::Timeout { phase: WSPhase::Opening, timeout: told }) => assert_eq!(told, timeout),
        other => panic!("{other:?}"),
    }
    peer.expect_eof();
    assert_eq!(client.on.ask(femtows::WSLoopHandle::slots), 0);
    assert_eq!(events.so_far(), []);
}

#[test]
fn t03_without_a_timeout_a_slow_server_gets_through() {
    let (log, _events) = log();
    let server = PeerServer::bind();
    let config = WSConnectConfig::default().handshake_timeout(None);
    let client = connect(&server.url("/"), config, Probe::new(&log));
    let mut peer = server.accept_tcp();
    let key = header(&peer.read_head(), "Sec-WebSocket-Key").unwrap();
    let answer = switching(&key, "");
    let (first, rest) = answer.split_at(40);
    peer.write(first.as_bytes());
    // Longer than the default deadline.
    std::thread::sleep(Duration::from_secs(6));
    peer.write(rest.as_bytes());
    client.opened().unwrap();
}

/// At each stage of the opening the future is dropped; nothing of it is left.
#[test]
fn a_dropped_connect_leaks_nothing() {
    let (log, events) = log();
    for stage in ["never polled", "connecting", "asked", "half answered"] {
        let server = PeerServer::bind();
        let on = crate::support::running::LoopThread::start(femtows::WSLoopConfig::default());
        let (url, probe) = (server.url("/"), Probe::new(&log));
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        on.ask(move |handle| {
            let connecting = femtows::ws_connect(handle, probe, &url, WSConnectConfig::default());
            if stage == "never polled" {
                return drop(connecting);
            }
            let task = handle.spawn(connecting);
            let owner = handle.clone();
            let polling = async move {
                // One turn at least; then until the test says so.
                owner.sleep(Duration::from_millis(1)).await;
                while stage != "connecting" && stopped.try_recv().is_err() {
                    owner.sleep(Duration::from_millis(1)).await;
                }
                assert!(task.cancel().await.is_none(), "it was not done");
            };
            handle.spawn(polling).detach();
        });
        if stage == "asked" || stage == "half answered" {
            let mut peer: Peer = server.accept_tcp();
            peer.read_head();
            if stage == "half answered" {
                peer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgr");
            }
            stop.send(()).unwrap();
            peer.expect_gone();
        }
        eventually("no slot is left", || on.ask(femtows::WSLoopHandle::slots) == 0);
        assert_eq!(events.so_far(), [], "{stage}");
    }
}

/// Frames that come in one segment with the answer are not lost.
#[test]
fn frames_behind_the_answer_are_delivered() {
    let (log, events) = log();
    let server = PeerServer::bind();
    let _client = connect(&server.url("/"), WSConnectConfig::default(), Probe::new(&log));
    let mut peer = server.accept_tcp();
    let key = header(&peer.read_head(), "Sec-WebSocket-Key").unwrap();
    let frames = [peer.encode(&Frame::text("one")), peer.encode(&Frame::text("two"))].concat();
    peer.write(&[switching(&key, "").as_bytes(), &frames[..7]].concat());
    peer.write(&frames[7..]);
    events.connected();
    assert_eq!(events.frame(), Frame::text("one"));
    assert_eq!(events.frame(), Frame::text("two"));
}

/// As OpenSSL and rustls answer plain HTTP, but that TCP stays open.
#[test]
fn a_tls_server_on_a_ws_url_suggests_wss() {
    let (log, _events) = log();
    let server = PeerServer::bind();
    let client = connect(&server.url("/"), WSConnectConfig::default(), Probe::new(&log));
    let mut peer = server.accept_tcp();
    peer.read_head();
    peer.write(b"\x15\x03\x01\x00\x02\x02\x46");
    let error = client.opened().unwrap_err();
    assert!(error.to_string().contains("wss://"), "{error}");
}
