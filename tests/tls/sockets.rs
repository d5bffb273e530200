//! TLS on real sockets.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::channel;

use femtows::*;

use crate::authority::Authority;
use crate::support::probe::{Event, Probe, log};
use crate::support::running::{Client, LoopThread, Server, connect, serve};
use crate::support::wire::Frame;
use crate::support::{PATIENCE, pattern};

fn url(server: &Server) -> String {
    format!("wss://localhost:{}/", server.addr.port())
}

fn certificate_seen_by(client: &Client) -> Vec<u8> {
    client.on.ask_transport(0, |transport| transport.tls_info().unwrap().peer_certificates[0].to_vec())
}

fn echo_server(tls: WSServerTls) -> Server {
    let (log, _) = log();
    serve(WSServerConfig::default().tls(tls), move |_| Probe::new(&log).echo())
}

#[test]
fn t01_messages_come_back_over_wss() {
    let authority = Authority::new();
    let server = echo_server(authority.issue(&["localhost", "127.0.0.1"]).server());
    for host in ["localhost", "127.0.0.1"] {
        let (log, events) = log();
        let config = WSConnectConfig::default().tls(authority.client());
        let url = format!("wss://{host}:{}/", server.addr.port());
        let client = connect(&url, config, Probe::new(&log));
        client.opened().unwrap();
        events.connected();
        for size in [0, 1, 125, 65_536, 100_000, 1 << 20, 6 << 20] {
            let payload = pattern(size);
            let send = payload.clone();
            client.on.ask_transport(0, move |transport| transport.send(WSMsgType::Binary, send));
            let echoed = std::iter::repeat_with(|| events.next()).find_map(|event| match event {
                Event::Frame(frame) => Some(frame),
                _ => None,
            });
            assert!(echoed == Some(Frame::binary(payload)), "{size} bytes");
        }
        client.on.ask_transport(0, |transport| transport.close(WSCloseCode::OK, "").unwrap());
        assert_eq!(events.until_disconnected().cause, WSDisconnectCause::Closed);
    }
}

#[test]
fn a_certificate_is_swapped_while_connections_live_on() {
    let authority = Authority::new();
    let (old, new) = (authority.issue(&["localhost"]), authority.issue(&["localhost"]));
    let on = LoopThread::start(WSLoopConfig::default());
    let (events_log, _) = log();
    let config = WSServerConfig::default().tls(old.server());
    let (tell, server) = channel();
    // The server's handle stays on its loop, which keeps it in what is posted below.
    let addr = on.ask(move |handle| {
        let factory = move |_: &WSUpgradeRequest| Probe::new(&events_log).echo();
        let server = ws_create_server(handle, factory, "127.0.0.1:0", config).unwrap();
        SERVER.set(Some(server.clone()));
        tell.send(()).unwrap();
        server.local_addr()
    });
    server.recv_timeout(PATIENCE).unwrap();
    let open = || {
        let (log, events) = log();
        let config = WSConnectConfig::default().tls(authority.client());
        let client = connect(&format!("wss://localhost:{}/", addr.port()), config, Probe::new(&log));
        client.opened().unwrap();
        (client, events)
    };
    let swap = |tls: WSServerTls| {
        on.ask(move |_| {
            let server = SERVER.take().unwrap();
            let result = server.set_tls(&tls);
            SERVER.set(Some(server));
            result
        })
    };
    let (before, events) = open();
    assert!(swap(new.unusable_server()).is_err());
    assert_eq!(certificate_seen_by(&open().0), certificate_seen_by(&before), "the old one stays");
    swap(new.server()).unwrap();
    assert_ne!(certificate_seen_by(&open().0), certificate_seen_by(&before));
    before.on.ask_transport(0, |transport| transport.send(WSMsgType::Text, "still here"));
    events.connected();
    assert_eq!(events.frame(), Frame::text("still here"));
    on.ask(|_| drop(SERVER.take()));
}

#[test]
fn a_certificate_is_swapped_on_all_threads() {
    let authority = Authority::new();
    let (old, new) = (authority.issue(&["localhost"]), authority.issue(&["localhost"]));
    let (events, _) = log();
    let make_factory = move |_: &WSLoopHandle| {
        let events = std::rc::Rc::new(events);
        move |_: &WSUpgradeRequest| Probe::new(&events).echo()
    };
    let config = WSServerConfig::default().tls(old.server());
    let threads = WSPerCoreConfig::default().threads(2).spread(WSSpread::RoundRobin);
    let server = ws_serve_per_core(make_factory, "127.0.0.1:0", config, threads).unwrap();
    let url = format!("wss://localhost:{}/", server.local_addr().port());
    // One after the other they come to both threads.
    let seen = || {
        let seen = [(); 2].map(|()| {
            let (log, _) = log();
            let client = connect(&url, WSConnectConfig::default().tls(authority.client()), Probe::new(&log));
            client.opened().unwrap();
            certificate_seen_by(&client)
        });
        assert_eq!(seen[0], seen[1]);
        seen[0].clone()
    };
    let before = seen();
    assert!(server.set_tls(&new.unusable_server()).is_err());
    assert_eq!(seen(), before, "the old one stays");
    server.set_tls(&new.server()).unwrap();
    // What was posted before the answer to this has been done.
    let (tell, told) = channel();
    server.post_each(move |_| tell.send(()).unwrap()).unwrap();
    (0..2).for_each(|_| told.recv_timeout(PATIENCE).unwrap());
    assert_ne!(seen(), before);
    server.stop();
    server.join().unwrap();
}

thread_local! {
    /// The server of this thread's loop.
    static SERVER: std::cell::Cell<Option<femtows::server::WSServer>> = const { std::cell::Cell::new(None) };
}

#[test]
fn web_roots_do_not_know_the_tests_authority() {
    let server = echo_server(Authority::new().issue(&["localhost"]).server());
    let (log, _) = log();
    let client = connect(&url(&server), WSConnectConfig::default(), Probe::new(&log));
    let error = client.opened().unwrap_err();
    assert!(matches!(&error, WSConnectError::Tls(tls) if tls.is_certificate_problem()), "{error}");
}

#[test]
fn t11_plain_bytes_get_an_alert_and_an_end() {
    let server = echo_server(Authority::new().issue(&["localhost"]).server());
    let mut socket = TcpStream::connect(server.addr).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    assert_eq!((answer.first(), answer.len()), (Some(&21), 7), "an alert: {answer:?}");
}

/// Session secrets are written where `SSLKEYLOGFILE` says, by those who asked for it and by nobody else.
#[test]
fn the_key_log_has_to_be_asked_for() {
    const CHILD: &str = "FEMTOWS_TEST_KEY_LOG";
    let Ok(on) = std::env::var(CHILD) else {
        for (on, lines) in [("true", true), ("false", false)] {
            let file = crate::authority::file(&format!("key_log.{on}"), "");
            let status = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["sockets::the_key_log_has_to_be_asked_for", "--exact"])
                .env(CHILD, on)
                .env("SSLKEYLOGFILE", &file)
                .stdout(std::process::Stdio::null())
                .status()
                .unwrap();
            assert!(status.success());
            let text = std::fs::read_to_string(&file).unwrap();
            assert_eq!(text.contains("CLIENT_TRAFFIC_SECRET_0"), lines, "asked for: {on}\n{text}");
        }
        return;
    };
    let authority = Authority::new();
    let server = echo_server(authority.issue(&["localhost"]).server());
    let (log, _) = log();
    let tls = authority.client().key_log(on == "true");
    connect(&url(&server), WSConnectConfig::default().tls(tls), Probe::new(&log)).opened().unwrap();
}

#[test]
fn a_plain_server_on_a_wss_url_suggests_ws() {
    let (events, _) = log();
    let server = serve(WSServerConfig::default(), move |_| Probe::new(&events).echo());
    let (log, _) = log();
    let client = connect(&url(&server), WSConnectConfig::default(), Probe::new(&log));
    let error = client.opened().unwrap_err();
    assert!(error.to_string().contains("a ws:// URL"), "{error}");
}

#[test]
fn a_tls_server_of_this_library_on_a_ws_url_suggests_wss() {
    let server = echo_server(Authority::new().issue(&["localhost"]).server());
    let (log, _) = log();
    let client = connect(&server.url("/"), WSConnectConfig::default(), Probe::new(&log));
    let error = client.opened().unwrap_err();
    assert!(error.to_string().contains("wss://"), "{error}");
}
