//! Closing everything: a server, a loop.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use femtows::{
    WSCloseCode, WSConnectConfig, WSDisconnectCause, WSFrame, WSListener, WSLoop, WSLoopConfig, WSResult,
    WSServer, WSServerConfig, WSTransport, WSUpgradeRequest, ws_connect, ws_create_server,
};

use crate::support::PATIENCE;

struct Quiet;

impl WSListener for Quiet {
    fn on_ws_frame(&mut self, _: &WSTransport, _: &mut WSFrame<'_>) -> WSResult {
        Ok(())
    }
}

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

fn serve(event_loop: &WSLoop) -> WSServer {
    let factory = |_: &WSUpgradeRequest| Quiet;
    ws_create_server(&event_loop.handle(), factory, "127.0.0.1:0", WSServerConfig::default()).unwrap()
}

fn connect(event_loop: &mut WSLoop, server: &WSServer) -> WSTransport {
    let url = format!("ws://{}/", server.local_addr());
    let connect = ws_connect(&event_loop.handle(), Quiet, &url, WSConnectConfig::default());
    event_loop.block_on(connect).unwrap().unwrap()
}

/// A peer that opens a connection and then neither reads nor answers.
fn mute_peer(event_loop: &mut WSLoop, server: &WSServer) -> TcpStream {
    let mut peer = TcpStream::connect(server.local_addr()).unwrap();
    peer.write_all(REQUEST.as_bytes()).unwrap();
    let open = server.connections();
    while server.connections() == open {
        event_loop.run_once(Some(PATIENCE)).unwrap();
    }
    peer
}

#[test]
fn shutdown_of_a_server_closes_every_connection_with_its_code() {
    let mut event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
    let (server, other) = (serve(&event_loop), serve(&event_loop));
    let clients: Vec<_> = (0..5).map(|_| connect(&mut event_loop, &server)).collect();
    let bystander = connect(&mut event_loop, &other);
    let shutdown =
        server.shutdown(WSCloseCode::SERVICE_RESTART, "back soon", Duration::from_millis(50), PATIENCE);
    assert!(!server.is_listening() && other.is_listening());
    assert_eq!(event_loop.block_on(shutdown).unwrap(), 0, "none had to be aborted");
    for client in clients {
        event_loop.block_on(client.wait_disconnected()).unwrap().unwrap();
        let info = client.disconnect_info().unwrap();
        assert_eq!((info.code, &*info.reason), (WSCloseCode::SERVICE_RESTART, "back soon"));
        assert_eq!(info.cause, WSDisconnectCause::Closed);
    }
    assert_eq!(server.connections(), 0);
    assert!(!bystander.is_disconnected() && other.connections() == 1);
    assert!(TcpStream::connect(server.local_addr()).is_err(), "nobody listens any more");
}

#[test]
fn shutdown_aborts_who_does_not_answer_by_the_deadline() {
    let mut event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
    let server = serve(&event_loop);
    let client = connect(&mut event_loop, &server);
    let mut mute = mute_peer(&mut event_loop, &server);
    let shutdown = server.shutdown(WSCloseCode::GOING_AWAY, "", Duration::ZERO, Duration::from_millis(300));
    assert_eq!(event_loop.block_on(shutdown).unwrap(), 1, "the mute one");
    assert_eq!(client.received_close().unwrap().code, WSCloseCode::GOING_AWAY);
    assert_eq!(server.connections(), 0);
    event_loop.run_once(Some(Duration::ZERO)).unwrap();
    mute.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut received = Vec::new();
    mute.read_to_end(&mut received).unwrap();
    assert!(received.ends_with(b"\x88\x02\x03\xe9"), "it was told all the same");
}

#[test]
fn an_opening_that_a_shutdown_overtakes_is_refused() {
    let mut event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
    let server = serve(&event_loop);
    let mut late = TcpStream::connect(server.local_addr()).unwrap();
    let (first, second) = REQUEST.split_at(40);
    late.write_all(first.as_bytes()).unwrap();
    while event_loop.handle().slots() < 2 {
        event_loop.run_once(Some(PATIENCE)).unwrap();
    }
    let shutdown = server.shutdown(WSCloseCode::GOING_AWAY, "", Duration::ZERO, PATIENCE);
    assert_eq!(event_loop.block_on(shutdown).unwrap(), 0);
    late.write_all(second.as_bytes()).unwrap();
    let reader = std::thread::spawn(move || {
        late.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut received = String::new();
        late.read_to_string(&mut received).unwrap();
        received
    });
    while event_loop.handle().slots() > 0 {
        event_loop.run_once(Some(PATIENCE)).unwrap();
    }
    let received = reader.join().unwrap();
    assert!(received.starts_with("HTTP/1.1 503 "), "{received}");
}

#[test]
fn shutdown_of_a_loop_leaves_nothing_open() {
    let mut event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
    let server = serve(&event_loop);
    let client = connect(&mut event_loop, &server);
    let _mute = mute_peer(&mut event_loop, &server);
    let aborted = event_loop.shutdown(WSCloseCode::GOING_AWAY, "bye", Duration::from_millis(300)).unwrap();
    assert_eq!(aborted, 1, "the mute one");
    assert!(client.is_disconnected() && !server.is_listening());
    assert_eq!(event_loop.handle().slots(), 0);
}
