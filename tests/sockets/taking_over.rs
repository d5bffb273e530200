//! Connections whose opening handshake other code has done.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use femtows::{
    WSCloseCode, WSConnectConfig, WSConnectError, WSLimits, WSLoop, WSLoopConfig, WSMsgType, WSRemoteError,
    WSServeError, WSServerConfig, WSUpgradeRequest, WSUpgradeResponse, WSUpgraded,
    ws_create_server_without_socket, ws_take_over,
};

use crate::support::eventually;
use crate::support::peer::Peer;
use crate::support::probe::{Event, Probe, log};
use crate::support::running::LoopThread;
use crate::support::wire::Frame;

const KEY: [u8; 4] = [1, 2, 3, 4];

/// A factory for servers that only take connections over.
fn refuse(_: &WSUpgradeRequest) -> Result<Probe, WSUpgradeResponse> {
    Err(WSUpgradeResponse::not_found())
}

/// Two ends of a TCP connection; the first as if a handshake had been read from it.
fn tcp_pair() -> (TcpStream, Peer) {
    let listening = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = Peer::connect_tcp(listening.local_addr().unwrap());
    (listening.accept().unwrap().0, peer)
}

#[test]
fn leftover_bytes_are_the_first_frames() {
    let (log, events) = log();
    let on = LoopThread::start(WSLoopConfig::default());
    let remote = on.ask(|handle| {
        let server = ws_create_server_without_socket(handle, refuse, WSServerConfig::default()).unwrap();
        server.remote().unwrap()
    });
    let (socket, mut peer) = tcp_pair();
    // One frame and a part of the next one came with the head of the request.
    let mut leftover = Frame::text("first").encode(Some(KEY));
    let second = Frame::text("second").encode(Some(KEY));
    leftover.extend_from_slice(&second[..3]);
    let make_listener = move |_: &_| Probe::new(&log).echo();
    remote.take_over(WSUpgraded::new(socket).leftover(leftover), make_listener).unwrap();
    events.connected();
    assert_eq!(peer.read_frame(), Frame::text("first"));
    peer.write(&second[3..]);
    assert_eq!(peer.read_frame(), Frame::text("second"));
    peer.send(&Frame::close(1000, ""));
    assert_eq!(peer.read_frame(), Frame::close(1000, ""));
    peer.expect_eof();
    assert_eq!(events.until_disconnected().code, WSCloseCode::OK);
}

#[test]
fn a_client_masks_and_a_server_does_not() {
    let (server_log, server_events) = log();
    let (client_log, client_events) = crate::support::probe::log();
    let mut event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
    let handle = event_loop.handle();
    let server = ws_create_server_without_socket(&handle, refuse, WSServerConfig::default()).unwrap();
    let (one, other) = UnixStream::pair().unwrap();
    let taken = server.take_over(WSUpgraded::new(one), Probe::new(&server_log).echo()).unwrap();
    let client =
        ws_take_over(&handle, Probe::new(&client_log), WSUpgraded::new(other), WSConnectConfig::default());
    let client = client.unwrap();
    assert!(client.is_client_side() && !taken.is_client_side());
    assert!(client.request().is_none() && taken.subprotocol().is_none());
    // What is sent before `on_ws_connected` is not lost and not out of order.
    client.send(WSMsgType::Text, "early");
    assert_eq!(client_events.so_far(), [], "taking over runs no callback");
    let mut seen = Vec::new();
    eventually("the echo came", || {
        event_loop.run_once(Some(Duration::from_millis(1))).unwrap();
        seen.extend(client_events.so_far());
        seen.contains(&Event::Frame(Frame::text("early")))
    });
    assert_eq!(seen[0], Event::Connected);
    assert_eq!(server_events.so_far(), [Event::Connected, Event::Frame(Frame::text("early"))]);
    assert_eq!(server.connections(), 1);
    let closed = server.shutdown(WSCloseCode::GOING_AWAY, "", Duration::ZERO, Duration::from_secs(5));
    assert_eq!(event_loop.block_on(closed).unwrap(), 0);
    assert_eq!(client.received_close().unwrap().code, WSCloseCode::GOING_AWAY);
}

#[test]
fn unmasked_leftover_fails_with_1002() {
    let (log, events) = log();
    let on = LoopThread::start(WSLoopConfig::default());
    let remote = on.ask(|handle| {
        let config = WSServerConfig::default().limits(WSLimits::default());
        ws_create_server_without_socket(handle, refuse, config).unwrap().remote().unwrap()
    });
    let (socket, mut peer) = tcp_pair();
    let upgraded = WSUpgraded::new(socket).leftover(Frame::text("unmasked").encode(None));
    remote.take_over(upgraded, move |_: &_| Probe::new(&log)).unwrap();
    events.connected();
    assert_eq!(peer.read_frame().close_code(), Some(1002));
    peer.expect_eof();
    assert_eq!(events.until_disconnected().code, WSCloseCode::PROTOCOL_ERROR);
}

#[test]
fn limits_of_connections_apply() {
    let (log, _events) = log();
    let mut event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
    let config = WSServerConfig::default().max_connections(1);
    let server = ws_create_server_without_socket(&event_loop.handle(), refuse, config).unwrap();
    let (one, first_peer) = UnixStream::pair().unwrap();
    server.take_over(WSUpgraded::new(one), Probe::new(&log)).unwrap();
    let (two, mut second_peer) = UnixStream::pair().unwrap();
    let refused = server.take_over(WSUpgraded::new(two), Probe::new(&log));
    assert!(matches!(refused, Err(WSServeError::Full)));
    assert_eq!(second_peer.read(&mut [0]).unwrap(), 0, "the socket is closed");
    assert_eq!(server.refused(), 1);
    drop(first_peer);
    eventually("the first one has left", || {
        event_loop.run_once(Some(Duration::from_millis(1))).unwrap();
        server.connections() == 0
    });
    let (three, _third_peer) = UnixStream::pair().unwrap();
    server.take_over(WSUpgraded::new(three), Probe::new(&log)).unwrap();
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_disconnect_before_the_first_callback_is_reported_behind_it() {
    let (log, events) = log();
    let mut event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
    let handle = event_loop.handle();
    let server = ws_create_server_without_socket(&handle, refuse, WSServerConfig::default()).unwrap();
    let (one, mut peer) = UnixStream::pair().unwrap();
    let leftover = Frame::text("not delivered").encode(Some(KEY));
    let transport = server.take_over(WSUpgraded::new(one).leftover(leftover), Probe::new(&log)).unwrap();
    transport.abort();
    event_loop.run_once(Some(Duration::ZERO)).unwrap();
    let seen = events.so_far();
    assert!(matches!(&seen[..], [Event::Connected, Event::Disconnected(_)]), "{seen:?}");
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    assert_eq!(handle.slots(), 1, "only the server is left");
}

#[test]
fn a_server_that_is_closed_takes_nothing_over() {
    let (log, _events) = log();
    let event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
    let handle = event_loop.handle();
    let server = ws_create_server_without_socket(&handle, refuse, WSServerConfig::default()).unwrap();
    let remote = server.remote().unwrap();
    server.close();
    let (one, mut peer) = UnixStream::pair().unwrap();
    let refused = server.take_over(WSUpgraded::new(one), Probe::new(&log));
    assert!(matches!(refused, Err(WSServeError::Gone)));
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    drop(event_loop);
    let (two, mut peer) = UnixStream::pair().unwrap();
    let thread_log = log.clone();
    let refused = remote.take_over(WSUpgraded::new(two), move |_: &_| Probe::new(&thread_log));
    assert_eq!(refused, Err(WSRemoteError::LoopClosed));
    assert!(peer.write(b"x").is_err());
    let (three, _peer) = UnixStream::pair().unwrap();
    let refused = ws_take_over(&handle, Probe::new(&log), WSUpgraded::new(three), WSConnectConfig::default());
    assert!(matches!(refused, Err(WSConnectError::Gone)));
}

/// What the application pauses or resumes before the first callback is its own.
#[test]
fn pauses_before_the_first_callback_count() {
    for (resumes, is_delivered) in [(false, false), (true, true)] {
        let (log, events) = log();
        let mut event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
        let server =
            ws_create_server_without_socket(&event_loop.handle(), refuse, WSServerConfig::default()).unwrap();
        let (one, mut peer) = UnixStream::pair().unwrap();
        peer.write_all(&Frame::text("second").encode(Some(KEY))).unwrap();
        let leftover = Frame::text("first").encode(Some(KEY));
        let upgraded = WSUpgraded::new(one).leftover(leftover);
        let transport = server.take_over(upgraded, Probe::new(&log)).unwrap();
        assert!(!transport.is_reading_paused());
        transport.pause_reading();
        if resumes {
            transport.resume_reading();
        }
        let mut seen = Vec::new();
        for _ in 0..5 {
            event_loop.run_once(Some(Duration::from_millis(1))).unwrap();
            seen.extend(events.so_far());
        }
        assert_eq!(seen[0], Event::Connected);
        let frames = [Event::Frame(Frame::text("first")), Event::Frame(Frame::text("second"))];
        assert_eq!(seen[1..], frames[..if is_delivered { 2 } else { 0 }]);
        assert_eq!(transport.is_reading_paused(), !is_delivered);
        transport.resume_reading();
        eventually("both frames came", || {
            event_loop.run_once(Some(Duration::from_millis(1))).unwrap();
            seen.extend(events.so_far());
            seen[1..] == frames
        });
    }
}

/// A shutdown of the loop reaches a connection whose listener does not know of it yet.
#[test]
fn shutdown_of_the_loop_closes_a_connection_before_its_first_callback() {
    let (log, events) = log();
    let event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
    let server =
        ws_create_server_without_socket(&event_loop.handle(), refuse, WSServerConfig::default()).unwrap();
    let (one, mut peer) = UnixStream::pair().unwrap();
    server.take_over(WSUpgraded::new(one), Probe::new(&log)).unwrap();
    drop(event_loop);
    let seen = events.so_far();
    assert!(matches!(&seen[..], [Event::Connected, Event::Disconnected(_)]), "{seen:?}");
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
}

/// [`WSServer::shutdown`](femtows::WSServer::shutdown) in the same turn as the take-over.
#[test]
fn shutdown_of_the_server_closes_a_connection_before_its_first_callback() {
    let (log, events) = log();
    let mut event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
    let handle = event_loop.handle();
    let server = ws_create_server_without_socket(&handle, refuse, WSServerConfig::default()).unwrap();
    let (one, mut peer) = UnixStream::pair().unwrap();
    server.take_over(WSUpgraded::new(one), Probe::new(&log)).unwrap();
    assert_eq!((server.connections(), server.transports().len()), (1, 1));
    let shutdown = server.shutdown(WSCloseCode::GOING_AWAY, "", Duration::ZERO, Duration::from_secs(5));
    peer.write_all(&Frame::close(1001, "").encode(Some(KEY))).unwrap();
    assert_eq!(event_loop.block_on(shutdown).unwrap(), 0, "none had to be aborted");
    assert!(matches!(&events.so_far()[..], [Event::Connected, .., Event::Disconnected(_)]));
    let mut received = Vec::new();
    peer.read_to_end(&mut received).unwrap();
    assert_eq!(received, Frame::close(1001, "").encode(None));
}
