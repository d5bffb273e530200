//! Unix domain sockets, and sockets that the application brings along.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::time::Duration;

use femtows::{
    WSConnectConfig, WSDisconnectCause, WSLoop, WSLoopConfig, WSLoopHandle, WSMsgType, WSRemoteError,
    WSServeError, WSServerConfig, WSTuning, WSUpgradeRequest, ws_connect_over, ws_create_server_on,
    ws_create_server_without_socket,
};

use crate::support::eventually;
use crate::support::peer::{Peer, status, upgrade_request};
use crate::support::probe::{Event, Probe, log};
use crate::support::running::{LoopThread, block_on};
use crate::support::wire::Frame;

/// A path for a socket; what is there is removed before and after.
struct SocketPath(PathBuf);

impl SocketPath {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("femtows-{}-{name}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        Self(path)
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn t01_both_ends_over_a_unix_domain_socket() {
    let path = SocketPath::new("echo");
    let (log, events) = log();
    let mut event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
    let handle = event_loop.handle();
    let listening = UnixListener::bind(&path.0).unwrap();
    let server_log = log.clone();
    let factory = move |_: &WSUpgradeRequest| Probe::new(&server_log).echo();
    // Options of TCP are for TCP.
    let tuning = WSTuning::default().no_delay(true).quick_ack(true);
    let config = WSServerConfig::default().max_connections_per_ip(1).tuning(tuning);
    let server = ws_create_server_on(&handle, factory, listening, config).unwrap();
    assert_eq!(server.local_addr().port(), 0, "there is no address");

    for size in [0, 1, 125, 65_536, 3 << 20] {
        let (client_log, client_events) = crate::support::probe::log();
        let socket = UnixStream::connect(&path.0).unwrap();
        let connecting = ws_connect_over(
            &handle,
            Probe::new(&client_log),
            socket,
            "ws://localhost/path",
            WSConnectConfig::default(),
        );
        let client = block_on(&mut event_loop, connecting).unwrap();
        let payload = crate::support::pattern(size);
        client.send(WSMsgType::Binary, &payload);
        let mut seen = Vec::new();
        while !matches!(seen.last(), Some(Event::Frame(_))) {
            event_loop.run_once(Some(Duration::from_secs(60))).unwrap();
            seen.extend(client_events.so_far());
        }
        assert!(seen.contains(&Event::Frame(Frame::binary(&payload))), "{size}");
        assert_eq!(client.request().unwrap().path(), "/path");
        assert!(client.peer_addr().is_err());
        assert!(client.with_socket(|socket| socket.recv_buffer_size().unwrap() > 0).unwrap());
        client.close(femtows::WSCloseCode::OK, "").unwrap();
        block_on(&mut event_loop, client.wait_disconnected()).unwrap();
    }
    assert!(events.so_far().len() > 10, "the server's listeners were told");
    server.close();
    assert!(UnixStream::connect(&path.0).is_err());
    assert_eq!(handle.slots(), 0);
}

#[test]
fn a_unix_peer_that_goes_is_noticed() {
    let path = SocketPath::new("gone");
    let (log, events) = log();
    let on = LoopThread::start(WSLoopConfig::default());
    let listening = UnixListener::bind(&path.0).unwrap();
    on.ask(move |handle| {
        let factory = move |_: &WSUpgradeRequest| Probe::new(&log);
        ws_create_server_on(handle, factory, listening, WSServerConfig::default()).map(drop)
    })
    .unwrap();
    let mut socket = UnixStream::connect(&path.0).unwrap();
    socket.write_all(upgrade_request("/", "").as_bytes()).unwrap();
    events.connected();
    // All of it: unread bytes would make the end a reset.
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    drop(socket);
    assert_eq!(events.disconnected().cause, WSDisconnectCause::PeerEof);
}

#[test]
fn a_listening_tcp_socket_is_adopted() {
    let (log, _events) = log();
    let on = LoopThread::start(WSLoopConfig::default());
    let listening = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listening.local_addr().unwrap();
    let seen = on.ask(move |handle| {
        let factory = move |_: &WSUpgradeRequest| Probe::new(&log).echo();
        ws_create_server_on(handle, factory, listening, WSServerConfig::default()).unwrap().local_addr()
    });
    assert_eq!(seen, addr);
    let mut peer = Peer::connect(addr);
    peer.send(&Frame::text("a"));
    assert_eq!(peer.read_frame(), Frame::text("a"));
    assert!(on.ask_transport(0, |transport| {
        transport.with_socket(|socket| socket.tcp_nodelay().unwrap()).unwrap()
    }));
}

/// A blocking socket that was accepted elsewhere, with a request in it already, from another thread.
#[test]
fn an_accepted_socket_is_adopted() {
    let (log, events) = log();
    let on = LoopThread::start(WSLoopConfig::default());
    let remote = on.ask(move |handle| {
        let factory = move |_: &WSUpgradeRequest| Probe::new(&log).echo();
        let server = ws_create_server_without_socket(handle, factory, WSServerConfig::default()).unwrap();
        server.remote().unwrap()
    });
    let listening = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut peer = Peer::connect_tcp(listening.local_addr().unwrap());
    peer.write(upgrade_request("/", "").as_bytes());
    let (socket, _) = listening.accept().unwrap();
    remote.adopt(socket).unwrap();
    assert_eq!(status(&peer.read_head()), 101);
    events.connected();
    peer.send(&Frame::text("a"));
    assert_eq!(peer.read_frame(), Frame::text("a"));
    assert!(on.ask_transport(0, |transport| {
        transport.with_socket(|socket| socket.tcp_nodelay().unwrap()).unwrap()
    }));

    remote.close().unwrap();
    let mut late = Peer::connect_tcp(listening.local_addr().unwrap());
    remote.adopt(listening.accept().unwrap().0).unwrap();
    late.expect_eof();
    peer.send(&Frame::text("lives on"));
    assert_eq!(peer.read_frame(), Frame::text("lives on"));
    on.stop();
    let (one, _other) = UnixStream::pair().unwrap();
    assert_eq!(remote.adopt(one), Err(WSRemoteError::LoopClosed));
}

/// The loop is held up, so that it cannot look for room itself.
#[test]
fn a_busy_loop_is_handed_no_more_sockets_than_it_has_room_for() {
    let (log, _events) = log();
    let on = LoopThread::start(WSLoopConfig::default());
    let remote = on.ask(move |handle| {
        let factory = move |_: &WSUpgradeRequest| Probe::new(&log);
        let config = WSServerConfig::default().max_connections(2);
        ws_create_server_without_socket(handle, factory, config).unwrap().remote().unwrap()
    });
    let (go, wait) = std::sync::mpsc::channel::<()>();
    on.remote.post(move |_| _ = wait.recv()).unwrap();
    let (sockets, mut peers): (Vec<_>, Vec<_>) = (0..3).map(|_| UnixStream::pair().unwrap()).unzip();
    for socket in sockets {
        remote.adopt(socket).unwrap();
    }
    let mut is_closed = |nth: usize| {
        peers[nth].set_nonblocking(true).unwrap();
        peers[nth].read(&mut [0]).is_ok_and(|read| read == 0)
    };
    assert_eq!([is_closed(0), is_closed(1), is_closed(2)], [false, false, true]);
    drop(go);
    assert_eq!(on.ask(WSLoopHandle::slots), 3, "the server and two connections");
}

#[test]
fn a_server_that_is_closed_adopts_nothing() {
    let (log, _events) = log();
    let event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
    let factory = move |_: &WSUpgradeRequest| Probe::new(&log);
    let server =
        ws_create_server_without_socket(&event_loop.handle(), factory, WSServerConfig::default()).unwrap();
    assert!(server.is_listening());
    let (one, _other) = UnixStream::pair().unwrap();
    server.adopt(one).unwrap();
    assert_eq!(event_loop.handle().slots(), 2);
    server.close();
    let (two, _other_two) = UnixStream::pair().unwrap();
    assert!(matches!(server.adopt(two), Err(WSServeError::Gone)));
    drop(event_loop);
    assert!(matches!(server.adopt(UnixStream::pair().unwrap().0), Err(WSServeError::Gone)));
}

#[test]
fn a_connection_of_tcp_is_taken_over_by_a_client() {
    let peer_server = crate::support::peer::PeerServer::bind();
    let addr = peer_server.addr();
    let peer = std::thread::spawn(move || {
        let (mut peer, request) = peer_server.accept_asked();
        peer.send(&Frame::text("hello"));
        (peer, request)
    });
    let (log, events) = log();
    let mut event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
    let socket = TcpStream::connect(addr).unwrap();
    let connecting = ws_connect_over(
        &event_loop.handle(),
        Probe::new(&log),
        socket,
        "ws://some.host:81/x",
        WSConnectConfig::default(),
    );
    let client = block_on(&mut event_loop, connecting).unwrap();
    assert!(client.with_socket(|socket| socket.tcp_nodelay().unwrap()).unwrap());
    let (_peer, request) = peer.join().unwrap();
    assert_eq!(crate::support::peer::header(&request, "Host").as_deref(), Some("some.host:81"));
    let mut seen = events.so_far();
    eventually("the frame came", || {
        event_loop.run_once(Some(Duration::from_millis(1))).unwrap();
        seen.extend(events.so_far());
        seen.contains(&Event::Frame(Frame::text("hello")))
    });
}
