//! How a client asks a proxy, and what it makes of answers. The proxy is played by hand; once it has opened the tunnel it plays the
//! server too.

use std::time::Duration;

use femtows::{
    WSConnectConfig, WSConnectError, WSLoopHandle, WSPhase, WSProxy, WSProxyErrorKind, WSTransport,
};

use crate::support::peer::{Peer, PeerServer, header, switching};
use crate::support::probe::{Probe, log};
use crate::support::running::{Client, connect};
use crate::support::wire::Frame;

const REQUEST_OF_SOCKS4: &[u8] = b"\x04\x01\x00\x50\x7f\x00\x00\x01me\0";
const SOCKS5_OPEN: &[u8] = b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00";

/// A client that goes to `url` through a proxy; `ADDR` in its URL stands for the address of this server.
fn ask(proxy_url: &str, url: &str, timeout: Option<Duration>) -> (PeerServer, Client) {
    let (log, _events) = log();
    let proxy = PeerServer::bind();
    let parsed = WSProxy::parse(&proxy_url.replace("ADDR", &proxy.addr().to_string())).unwrap();
    let config = WSConnectConfig::default().handshake_timeout(timeout).proxy(parsed);
    let client = connect(url, config, Probe::new(&log));
    (proxy, client)
}

/// Plays the server at the end of the tunnel, and sees the client open.
fn finish(mut peer: Peer, client: &Client, host: &str) {
    let request = peer.read_head();
    assert!(request.starts_with("GET /path HTTP/1.1\r\n"), "{request}");
    assert_eq!(header(&request, "Host").as_deref(), Some(host), "the server's, not the proxy's");
    assert_eq!(
        header(&request, "Proxy-Authorization"),
        None,
        "credentials of the proxy are not the server's business"
    );
    let key = header(&request, "Sec-WebSocket-Key").unwrap();
    peer.write(switching(&key, "").as_bytes());
    client.opened().unwrap();
    peer.send_and_sync(&[Frame::text("through")]);
    let report = client.on.ask_transport(0, |transport| {
        let report = transport.connect_report().expect("a client has one");
        (report.proxy.is_some(), report.winner(), transport.peer_addr().unwrap())
    });
    assert_eq!((report.0, report.1), (true, Some(report.2)));
}

/// What `ws_connect` makes of a proxy that answers the first bytes of the client with this, and then closes.
fn answered(proxy_url: &str, answer: &[u8]) -> WSProxyErrorKind {
    let (proxy, client) = ask(proxy_url, "ws://server.test/", Some(Duration::from_secs(60)));
    let mut peer = proxy.accept_tcp();
    peer.read_bytes(3);
    peer.try_write(answer);
    peer.shutdown_write();
    let kind = match client.opened() {
        Err(WSConnectError::Proxy(error)) => {
            let shown = format!("{error}");
            assert!(shown.contains(&proxy.addr().to_string()) && !shown.contains("secret"), "{shown}");
            error.kind
        }
        other => panic!("{proxy_url}: {other:?}"),
    };
    assert_eq!(client.on.ask(WSLoopHandle::slots), 0, "the slot is free");
    peer.expect_gone();
    kind
}

#[test]
fn http_proxy_looks_the_name_up() {
    let (proxy, client) = ask("http://user:secret@ADDR", "ws://server.invalid/path", None);
    let mut peer = proxy.accept_tcp();
    let head = peer.read_head();
    assert!(head.starts_with("CONNECT server.invalid:80 HTTP/1.1\r\n"), "{head}");
    assert_eq!(header(&head, "Host").as_deref(), Some("server.invalid:80"));
    assert_eq!(header(&head, "Proxy-Authorization").as_deref(), Some("Basic dXNlcjpzZWNyZXQ="));
    // In two pieces, with an interim response before it.
    peer.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 Connection est");
    std::thread::sleep(Duration::from_millis(20));
    peer.write(b"ablished\r\nX: y\r\n\r\n");
    finish(peer, &client, "server.invalid");
}

#[test]
fn socks4_is_given_an_address() {
    let (proxy, client) = ask("socks4://me@ADDR", "ws://127.0.0.1/path", None);
    let mut peer = proxy.accept_tcp();
    assert_eq!(peer.read_bytes(REQUEST_OF_SOCKS4.len()), REQUEST_OF_SOCKS4);
    peer.write(b"\x00\x5a\x00\x00\x00\x00\x00\x00");
    finish(peer, &client, "127.0.0.1");
    let (proxy, _client) = ask("socks4://me@ADDR", "ws://localhost/path", None);
    assert_eq!(
        proxy.accept_tcp().read_bytes(REQUEST_OF_SOCKS4.len()),
        REQUEST_OF_SOCKS4,
        "looked up at this end"
    );
}

#[test]
fn socks4a_is_given_the_name() {
    let (proxy, client) = ask("socks4a://ADDR", "ws://server.invalid/path", None);
    let mut peer = proxy.accept_tcp();
    let wanted = b"\x04\x01\x00\x50\x00\x00\x00\x01\0server.invalid\0";
    assert_eq!(peer.read_bytes(wanted.len()), wanted);
    peer.write(b"\x00\x5a\x00\x00\x00\x00\x00\x00");
    finish(peer, &client, "server.invalid");
}

#[test]
fn socks5_with_user_and_password() {
    let (proxy, client) = ask("socks5h://user:secret@ADDR", "ws://server.invalid/path", None);
    let mut peer = proxy.accept_tcp();
    assert_eq!(peer.read_bytes(4), b"\x05\x02\x00\x02");
    peer.write(b"\x05\x02");
    assert_eq!(peer.read_bytes(13), b"\x01\x04user\x06secret");
    peer.write(b"\x01\x00");
    assert_eq!(peer.read_bytes(21), b"\x05\x01\x00\x03\x0eserver.invalid\x00\x50");
    peer.write(SOCKS5_OPEN);
    finish(peer, &client, "server.invalid");
}

#[test]
fn socks5_is_given_an_address() {
    let (proxy, client) = ask("socks5://ADDR", "ws://127.0.0.1/path", None);
    let mut peer = proxy.accept_tcp();
    assert_eq!(peer.read_bytes(3), b"\x05\x01\x00");
    peer.write(b"\x05\x00");
    assert_eq!(peer.read_bytes(10), b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50");
    peer.write(SOCKS5_OPEN);
    finish(peer, &client, "127.0.0.1");
}

#[test]
fn refusals_are_told_apart() {
    use WSProxyErrorKind as Kind;
    let refusal =
        |status: &str| format!("HTTP/1.1 {status}\r\nContent-Length: 1000000\r\n\r\nwhy").into_bytes();
    assert_eq!(answered("http://ADDR", &refusal("502 Bad Gateway")), Kind::InvalidStatus(502));
    assert_eq!(answered("http://ADDR", &refusal("407 Who?")), Kind::AuthenticationRequired);
    assert_eq!(answered("http://u:secret@ADDR", &refusal("407 Who?")), Kind::AuthenticationFailed);
    assert!(matches!(answered("socks4a://ADDR", b"\x00\x5b"), Kind::Refused { code: 0x5b, .. }));
    assert_eq!(answered("socks4a://ADDR", b"\x00\x5d"), Kind::AuthenticationFailed);
    assert_eq!(answered("socks5h://ADDR", b"\x05\xff"), Kind::AuthenticationRequired);
    assert_eq!(answered("socks5h://u:secret@ADDR", b"\x05\xff"), Kind::AuthenticationFailed);
    assert_eq!(answered("socks5h://u:secret@ADDR", b"\x05\x02\x01\x01"), Kind::AuthenticationFailed);
    let refused = answered("socks5h://ADDR", b"\x05\x00\x05\x05\x00\x01");
    assert_eq!(refused, Kind::Refused { code: 5, meaning: "connection refused" });
}

#[test]
fn closing_midway_is_told() {
    let cases: [(&str, &[u8]); 6] = [
        ("http://ADDR", b""),
        ("http://ADDR", b"HTTP/1.1 200 OK\r\nX: y"),
        ("socks4a://ADDR", b"\x00\x5a\x00"),
        ("socks5h://ADDR", b"\x05"),
        ("socks5h://u:secret@ADDR", b"\x05\x02\x01"),
        ("socks5h://ADDR", b"\x05\x00\x05\x00\x00\x03\x09"),
    ];
    for (proxy, answer) in cases {
        assert_eq!(answered(proxy, answer), WSProxyErrorKind::Closed, "{proxy} {answer:?}");
    }
}

#[test]
fn what_is_no_answer_is_told() {
    let cases: [(&str, &[u8]); 6] = [
        ("http://ADDR", b"\x05\xff"),
        ("http://ADDR", b"HTTP/1.1 200 OK\r\n\r\nearly"),
        ("socks4a://ADDR", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        ("socks4a://ADDR", b"\x00\x5a\x00\x00\x00\x00\x00\x00early"),
        ("socks5h://ADDR", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        ("socks5h://ADDR", b"\x05\x02"),
    ];
    for (proxy, answer) in cases {
        let kind = answered(proxy, answer);
        assert!(matches!(kind, WSProxyErrorKind::InvalidAnswer(_)), "{proxy} {answer:?}: {kind:?}");
    }
}

/// It is not read for ever: the client goes while the proxy still sends.
#[test]
fn endless_headers_are_cut_off() {
    let (proxy, client) = ask("http://ADDR", "ws://server.test/", Some(Duration::from_secs(60)));
    let mut peer = proxy.accept_tcp();
    peer.read_head();
    peer.write(b"HTTP/1.1 200 OK\r\n");
    let line = format!("X: {}\r\n", "y".repeat(1000));
    let sent = (0..1_000_000).take_while(|_| peer.try_write(line.as_bytes())).count();
    assert!(sent < 1_000_000, "the client has gone");
    match client.opened() {
        Err(WSConnectError::Proxy(error)) => {
            assert_eq!(error.kind, WSProxyErrorKind::InvalidAnswer("the response head is too large"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn t02_a_mute_proxy_is_left_at_the_deadline() {
    for proxy_url in ["http://ADDR", "socks4a://ADDR", "socks5h://ADDR"] {
        let timeout = Duration::from_millis(200);
        let (proxy, client) = ask(proxy_url, "ws://server.test/", Some(timeout));
        let mut peer = proxy.accept_tcp();
        peer.read_bytes(3);
        match client.opened() {
            Err(WSConnectError::Timeout { phase: WSPhase::Proxy, timeout: told }) => {
                assert_eq!(told, timeout);
            }
            other => panic!("{other:?}"),
        }
        peer.expect_gone();
        assert_eq!(client.on.ask(WSLoopHandle::slots), 0);
    }
}

#[test]
fn a_proxy_that_is_not_there_is_named() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    let (log, _events) = log();
    let proxy = WSProxy::parse(&format!("socks5h://u:secret@{addr}")).unwrap();
    let client = connect("ws://server.test/", WSConnectConfig::default().proxy(proxy), Probe::new(&log));
    match client.opened() {
        Err(error @ WSConnectError::Io { .. }) => {
            let text = error.to_string();
            assert!(
                text.starts_with(&format!("proxy socks5h://{addr}: cannot connect to {addr}: ")),
                "{text}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[cfg(not(feature = "tls"))]
#[test]
fn tls_is_refused_before_anything_is_sent() {
    let (proxy, client) = ask("https://ADDR", "ws://server.test/", None);
    assert!(matches!(client.opened(), Err(WSConnectError::Config(femtows::WSConfigError::TlsUnsupported))));
    let (other_proxy, client) = ask("http://ADDR", "wss://server.test/", None);
    assert!(matches!(client.opened(), Err(WSConnectError::Config(femtows::WSConfigError::TlsUnsupported))));
    drop((proxy, other_proxy));
}

#[test]
fn an_ipv6_server_is_out_of_reach_of_socks4() {
    for scheme in ["socks4", "socks4a"] {
        let (_proxy, client) = ask(&format!("{scheme}://ADDR"), "ws://[::1]/", None);
        match client.opened() {
            Err(WSConnectError::Proxy(error)) => {
                assert!(matches!(error.kind, WSProxyErrorKind::Unsupported(_)));
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Frames that come in one segment with the server's answer are not lost behind a tunnel either.
#[test]
fn frames_behind_the_answer_are_delivered() {
    let (log, events) = log();
    let proxy = PeerServer::bind();
    let config =
        WSConnectConfig::default().proxy(WSProxy::parse(&format!("http://{}", proxy.addr())).unwrap());
    let client = connect("ws://server.test/", config, Probe::new(&log));
    let mut peer = proxy.accept_tcp();
    peer.read_head();
    peer.write(b"HTTP/1.1 200 OK\r\n\r\n");
    let key = header(&peer.read_head(), "Sec-WebSocket-Key").unwrap();
    let frame = peer.encode(&Frame::text("early"));
    peer.write(&[switching(&key, "").as_bytes(), &frame].concat());
    client.opened().unwrap();
    events.connected();
    assert_eq!(events.frame(), Frame::text("early"));
    assert!(!client.on.ask_transport(0, WSTransport::is_disconnected));
}
