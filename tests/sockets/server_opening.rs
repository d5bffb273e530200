//! What a server answers to requests, good and bad, and when it loses patience.

use std::time::{Duration, Instant};

use femtows::{
    WSIntoUpgrade, WSServerConfig, WSUpgradeOutcome, WSUpgradeRequest, WSUpgradeResponse,
    WSUpgradeResponseWithListener,
};

use crate::support::eventually;
use crate::support::peer::{Peer, header, status, upgrade_request};
use crate::support::probe::{Log, Probe, log};
use crate::support::running::{Server, serve};
use crate::support::wire::Frame;

fn quiet_server(config: WSServerConfig) -> Server {
    let (log, _) = log();
    serve(config, move |_| Probe::new(&log).echo())
}

/// Asks over a new connection; reads the answer up to EOF.
fn refused(server: &Server, request: &[u8]) -> (u16, String, String) {
    let mut peer = Peer::connect_tcp(server.addr);
    peer.write(request);
    let head = peer.read_head();
    let body = String::from_utf8(peer.read_to_eof()).unwrap();
    assert!(header(&head, "Connection").unwrap().starts_with("close"), "{head}");
    assert_eq!(header(&head, "Content-Length").unwrap(), body.len().to_string());
    (status(&head), head, body)
}

#[test]
fn t02_mute_client_is_closed_at_the_handshake_deadline() {
    let server = quiet_server(WSServerConfig::default().handshake_timeout(Some(Duration::from_millis(200))));
    let mut peer = Peer::connect_tcp(server.addr);
    peer.expect_eof();
    eventually("the slot is free", || server.slots() == 0);
}

#[test]
fn t02_single_bytes_do_not_extend_the_handshake_deadline() {
    let server = quiet_server(WSServerConfig::default().handshake_timeout(Some(Duration::from_millis(300))));
    let mut peer = Peer::connect_tcp(server.addr);
    let request = upgrade_request("/", &format!("X-Long: {}\r\n", "x".repeat(10_000)));
    let begin = Instant::now();
    // At one byte per 20 ms the whole of it would take minutes.
    let sent = request.bytes().take_while(|byte| {
        std::thread::sleep(Duration::from_millis(20));
        peer.try_write(&[*byte])
    });
    let sent = sent.count();
    assert!(sent < request.len(), "the server took all of it in {:?}", begin.elapsed());
    peer.expect_gone();
}

#[test]
fn t03_without_a_timeout_a_slow_peer_gets_through() {
    let server = quiet_server(WSServerConfig::default().handshake_timeout(None));
    let mut peer = Peer::connect_tcp(server.addr);
    let request = upgrade_request("/", "");
    let (first, rest) = request.split_at(30);
    peer.write(first.as_bytes());
    // Longer than the default deadline.
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(status(&peer.ask(rest)), 101);
}

#[test]
fn the_default_deadline_closes_a_slow_peer() {
    let server = quiet_server(WSServerConfig::default());
    let mut peer = Peer::connect_tcp(server.addr);
    peer.write(b"GET / HTTP/1.1\r\n");
    peer.expect_eof();
}

fn decide(request: &WSUpgradeRequest, log: &Log) -> WSUpgradeOutcome {
    let probe = Probe::new(log).echo();
    match request.path() {
        "/none" => None::<Probe>.into_upgrade(),
        "/error" => {
            Err::<Probe, Box<dyn std::error::Error + Send + Sync>>("the inner detail".into()).into_upgrade()
        }
        "/panic" => panic!("the inner detail"),
        "/teapot" => WSUpgradeResponse::error(418, "short and stout").unwrap().into_upgrade(),
        "/own-404" => {
            let response = WSUpgradeResponse::error(404, "nothing of that name").unwrap();
            response.header("X-Own", "yes").unwrap().into_upgrade()
        }
        "/err-403" => Err::<Probe, _>(WSUpgradeResponse::error(403, "not you").unwrap()).into_upgrade(),
        "/moved" => WSUpgradeResponse::redirect(302, "/new").unwrap().into_upgrade(),
        "/health" => WSUpgradeResponse::ok("fine").into_upgrade(),
        "/bare-101" => WSUpgradeResponse::switching_protocols().into_upgrade(),
        "/with-headers" => {
            let response = WSUpgradeResponse::switching_protocols().header("X-Own", "yes").unwrap();
            let response = response.subprotocol("chat").unwrap();
            WSUpgradeResponseWithListener::new(response, probe).unwrap().into_upgrade()
        }
        _ => probe.into_upgrade(),
    }
}

#[test]
fn t10_each_outcome_of_the_factory() {
    let (log, events) = log();
    let server = serve(WSServerConfig::default(), move |request| decide(request, &log));
    let mut answers = Vec::new();
    for path in
        ["/none", "/error", "/panic", "/teapot", "/own-404", "/err-403", "/moved", "/health", "/bare-101"]
    {
        let (status, head, body) = refused(&server, upgrade_request(path, "").as_bytes());
        assert!(!format!("{head}{body}").contains("inner detail"), "{head}{body}");
        answers.push((status, body));
        match path {
            "/own-404" => assert_eq!(header(&head, "x-own").as_deref(), Some("yes")),
            "/moved" => assert_eq!(header(&head, "location").as_deref(), Some("/new")),
            _ => {}
        }
    }
    let answers: Vec<_> = answers.iter().map(|(status, body)| (*status, body.as_str())).collect();
    assert_eq!(
        answers,
        [
            (404, "404 Not Found"),
            (500, "500 Internal Server Error"),
            (500, "500 Internal Server Error"),
            (418, "short and stout"),
            (404, "nothing of that name"),
            (403, "not you"),
            (302, ""),
            (200, "fine"),
            (500, "500 Internal Server Error"),
        ]
    );
    assert_eq!(events.so_far(), [], "no listener saw anything");
    eventually("all slots are free", || server.slots() == 0);
}

#[test]
fn t10_headers_and_subprotocol_of_an_accepting_response() {
    let (log, _events) = log();
    let server = serve(WSServerConfig::default(), move |request| decide(request, &log));
    let mut peer = Peer::connect_tcp(server.addr);
    let head = peer.ask(&upgrade_request("/with-headers", "Sec-WebSocket-Protocol: talk, chat\r\n"));
    assert_eq!(status(&head), 101);
    assert_eq!(header(&head, "X-Own").as_deref(), Some("yes"));
    assert_eq!(header(&head, "Sec-WebSocket-Protocol").as_deref(), Some("chat"));
    peer.send(&Frame::text("x"));
    assert_eq!(peer.read_frame(), Frame::text("x"));
    let subprotocol = server.on.ask_transport(0, femtows::WSTransport::subprotocol);
    assert_eq!(subprotocol.as_deref(), Some("chat"));
    // The subprotocol is not one of those offered: the server's own mistake.
    assert_eq!(refused(&server, upgrade_request("/with-headers", "").as_bytes()).0, 500);
}

#[test]
fn plain_http_is_answered_too() {
    let (log, _events) = log();
    let server = serve(WSServerConfig::default(), move |request| decide(request, &log));
    let (status, _, body) = refused(&server, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!((status, body.as_str()), (200, "fine"));
    let (status, head, _) = refused(&server, b"GET /listener HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(status, 426);
    assert_eq!(header(&head, "Sec-WebSocket-Version").as_deref(), Some("13"));
}

/// A request to upgrade with one line replaced.
fn with(line: &str, replacement: &str) -> Vec<u8> {
    let request = upgrade_request("/", "");
    assert!(request.contains(line));
    request.replace(line, replacement).into_bytes()
}

/// So many lines.
fn headers(count: usize) -> String {
    "X-Some: thing\r\n".repeat(count)
}

#[test]
fn t11_bad_requests_get_a_status_and_eof() {
    let server = quiet_server(WSServerConfig::default());
    let client_hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let cases: Vec<(&str, Vec<u8>, u16)> = vec![
        ("garbage", b"\x00\x01\x02garbage\r\n\r\n".to_vec(), 400),
        ("a TLS ClientHello", client_hello.to_vec(), 400),
        ("HTTP/1.0", with("HTTP/1.1", "HTTP/1.0"), 400),
        ("HTTP/2.0", with("HTTP/1.1", "HTTP/2.0"), 400),
        ("POST", with("GET", "POST"), 405),
        ("a folded header", with("Host: localhost\r\n", "Host: localhost\r\n folded\r\n"), 400),
        ("129 headers", upgrade_request("/", &headers(124)).into_bytes(), 431),
        ("17 KiB", upgrade_request("/", &format!("X: {}\r\n", "y".repeat(17 << 10))).into_bytes(), 431),
        ("a body", upgrade_request("/", "Content-Length: 5\r\n").into_bytes(), 400),
        ("two lengths", upgrade_request("/", "Content-Length: 0\r\nContent-Length: 0\r\n").into_bytes(), 400),
        ("chunks", upgrade_request("/", "Transfer-Encoding: chunked\r\n").into_bytes(), 400),
        ("no host", with("Host: localhost\r\n", ""), 400),
        ("two hosts", upgrade_request("/", "Host: b\r\n").into_bytes(), 400),
        ("version 8", with("Version: 13", "Version: 8"), 426),
        ("no version", with("Sec-WebSocket-Version: 13\r\n", ""), 426),
        ("a short key", with("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZQ=="), 400),
        ("no key", with("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""), 400),
        ("no upgrade", with("Upgrade: websocket\r\n", ""), 400),
        ("no connection", with("Connection: Upgrade\r\n", ""), 400),
        ("another upgrade", with("Upgrade: websocket", "Upgrade: h2c"), 400),
        ("space in a name", with("Host:", "Host :"), 400),
        ("bare LF", with("Host: localhost\r\n", "Host: localhost\n"), 400),
    ];
    for (name, request, wanted) in &cases {
        assert_eq!(refused(&server, request).0, *wanted, "{name}");
    }
    eventually("all slots are free", || server.slots() == 0);
}

/// The peer has ended its half only, and still reads.
#[test]
fn t11_a_request_that_is_cut_short_is_answered() {
    let server = quiet_server(WSServerConfig::default().handshake_timeout(None));
    for part in ["G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: x\r\n"] {
        let mut peer = Peer::connect_tcp(server.addr);
        peer.write(part.as_bytes());
        peer.shutdown_write();
        assert_eq!(status(&peer.read_head()), 400, "{part}");
        assert_eq!(peer.read_to_eof(), b"the request is incomplete\n", "{part}");
    }
    let mut silent = Peer::connect_tcp(server.addr);
    silent.shutdown_write();
    assert_eq!(silent.read_to_eof(), b"", "who has asked nothing");
    eventually("all slots are free", || server.slots() == 0);
}

#[test]
fn t11_the_refusal_of_a_version_names_the_right_one() {
    let server = quiet_server(WSServerConfig::default());
    let (_, head, _) = refused(&server, &with("Version: 13", "Version: 12"));
    assert_eq!(header(&head, "Sec-WebSocket-Version").as_deref(), Some("13"));
}

/// Neither a line end nor the deadline is waited for.
#[test]
fn t11_a_tls_client_hello_is_refused_at_once() {
    let server = quiet_server(WSServerConfig::default().handshake_timeout(None));
    assert_eq!(refused(&server, b"\x16").0, 400);
}

#[test]
fn t11_odd_but_good_requests_are_accepted() {
    let server = quiet_server(WSServerConfig::default());
    let lower: String = {
        let request = upgrade_request("/", "");
        let lines = request.split("\r\n").map(|line| match line.split_once(':') {
            Some((name, value)) => format!("{}:{value}", name.to_lowercase()),
            None => line.to_owned(),
        });
        lines.collect::<Vec<_>>().join("\r\n")
    };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("lower-case upgrade", with("Connection: Upgrade", "Connection: upgrade")),
        ("upper-case websocket", with("Upgrade: websocket", "Upgrade: WebSocket")),
        ("a list", with("Connection: Upgrade", "Connection: keep-alive, Upgrade")),
        ("a list of upgrades", with("Upgrade: websocket", "Upgrade: h2c, websocket")),
        ("lower-case names", lower.into_bytes()),
        ("128 headers", upgrade_request("/", &headers(123)).into_bytes()),
        ("15 KiB", upgrade_request("/", &format!("X: {}\r\n", "y".repeat(15 << 10))).into_bytes()),
        ("an empty body", upgrade_request("/", "Content-Length: 0\r\n").into_bytes()),
        ("an absolute target", with("GET / ", "GET http://localhost/ ")),
    ];
    for (name, request) in &cases {
        let mut peer = Peer::connect_tcp(server.addr);
        peer.write(request);
        assert_eq!(status(&peer.read_head()), 101, "{name}");
        peer.send(&Frame::text("x"));
        assert_eq!(peer.read_frame(), Frame::text("x"), "{name}");
    }
}

#[test]
fn t11_limits_of_the_head_are_configurable() {
    let limits = femtows::WSLimits::default().max_head_size(300).max_headers(6);
    let server = quiet_server(WSServerConfig::default().limits(limits));
    assert_eq!(refused(&server, upgrade_request("/", "A: b\r\nC: d\r\n").as_bytes()).0, 431);
    assert_eq!(refused(&server, upgrade_request(&format!("/{}", "x".repeat(300)), "").as_bytes()).0, 431);
    let mut peer = Peer::connect_tcp(server.addr);
    assert_eq!(status(&peer.ask(&upgrade_request("/", "A: b\r\n"))), 101);
}

#[test]
fn a_peer_that_goes_in_the_middle_of_its_head_frees_its_slot() {
    let server = quiet_server(WSServerConfig::default().handshake_timeout(None));
    for reset in [false, true] {
        let mut peer = Peer::connect_tcp(server.addr);
        peer.write(b"GET / HTTP/1.1\r\nHost");
        eventually("it was accepted", || server.slots() == 1);
        if reset {
            peer.reset();
        } else {
            drop(peer);
        }
        eventually("the slot is free", || server.slots() == 0);
    }
}
