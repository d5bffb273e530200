//! The way to the server: sockets that the application makes, and the report of what each phase took.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::channel;
use std::time::Duration;

use femtows::{
    WSAttemptOutcome, WSConnectConfig, WSConnectError, WSLoopHandle, WSPhase, WSProxy, WSServerConfig,
    WSTransport,
};

use crate::support::peer::{PeerServer, header};
use crate::support::probe::{Probe, log};
use crate::support::running::{Server, connect, serve};

fn server() -> Server {
    let (log, _events) = log();
    serve(WSServerConfig::default(), move |_| Probe::new(&log).echo())
}

#[test]
fn the_report_tells_phases_and_the_winner() {
    let server = server();
    let addr = server.addr;
    let (log, _events) = log();
    let (tell, told) = channel();
    // It is there as soon as the listener is called.
    let probe = Probe::new(&log).on_connected(move |transport| {
        tell.send(transport.connect_report().is_some()).unwrap();
        Ok(())
    });
    let client = connect(&server.url("/x"), WSConnectConfig::default(), probe);
    client.opened().unwrap();
    assert!(told.recv().unwrap(), "in on_ws_connected");
    let report = client.on.ask_transport(0, |transport| {
        let report = transport.connect_report().unwrap();
        assert_eq!(report.attempts.len(), 1);
        assert!(matches!(report.attempts[0].outcome, WSAttemptOutcome::Won));
        assert_eq!((report.proxy, report.tls, report.redirected.len()), (None, None, 0));
        assert_eq!(report.total, report.resolve + report.tcp + report.upgrade, "nothing is left out");
        assert!(report.to_string().contains("won after"), "{report}");
        (report.winner(), report.url.to_string())
    });
    assert_eq!(report, (Some(addr), server.url("/x")));
    let server_side = server.on.ask_transport(0, |transport| transport.connect_report().is_none());
    assert!(server_side, "a server has none");
}

#[test]
fn a_name_is_looked_up_and_the_winner_told() {
    let server = server();
    let (log, _events) = log();
    let url = format!("ws://localhost:{}/", server.addr.port());
    let client = connect(&url, WSConnectConfig::default(), Probe::new(&log));
    client.opened().unwrap();
    let winner = client.on.ask_transport(0, |transport| transport.connect_report().unwrap().winner());
    assert_eq!(winner, Some(server.addr));
}

#[test]
fn the_socket_factory_makes_the_socket() {
    let server = server();
    let addr = server.addr;
    for nonblocking in [false, true] {
        let (log, _events) = log();
        let config = WSConnectConfig::default().socket_factory(move |url| {
            assert_eq!(url.host(), "server.invalid", "no name is looked up");
            let socket = TcpStream::connect(addr)?;
            socket.set_nonblocking(nonblocking)?;
            Ok(Some(socket))
        });
        let client = connect("ws://server.invalid/", config, Probe::new(&log));
        client.opened().unwrap();
        let attempts = client.on.ask_transport(0, |transport| {
            assert_eq!(
                transport.peer_addr().unwrap(),
                transport.with_socket(|s| s.peer_addr()).unwrap().unwrap().as_socket().unwrap()
            );
            transport.connect_report().unwrap().attempts.len()
        });
        assert_eq!(attempts, 0);
    }
}

#[test]
fn a_socket_that_is_still_connecting_is_waited_for() {
    let server = server();
    let addr = server.addr;
    let (log, _events) = log();
    let config = WSConnectConfig::default().socket_factory(move |_| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        let _ = socket.connect(&addr.into());
        Ok(Some(socket.into()))
    });
    let client = connect("ws://server.invalid/", config, Probe::new(&log));
    client.opened().unwrap();
    assert_eq!(client.on.ask_transport(0, |transport| transport.peer_addr().unwrap()), addr);
}

/// Any stream of bytes will do: here one of another family than TCP.
#[test]
fn the_socket_factory_may_make_a_unix_socket() {
    use std::io::{Read, Write};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let ours = std::sync::Mutex::new(Some(ours));
    let (log, events) = log();
    let config = WSConnectConfig::default().socket_factory(move |_| {
        let socket = ours.lock().unwrap().take().expect("asked once");
        Ok(Some(TcpStream::from(OwnedFd::from(socket))))
    });
    let client = connect("ws://server.invalid/", config, Probe::new(&log));
    let mut request = String::new();
    let mut byte = [0];
    while !request.ends_with("\r\n\r\n") {
        theirs.read_exact(&mut byte).unwrap();
        request.push(char::from(byte[0]));
    }
    let key = header(&request, "Sec-WebSocket-Key").unwrap();
    theirs.write_all(crate::support::peer::switching(&key, "").as_bytes()).unwrap();
    client.opened().unwrap();
    events.connected();
}

#[test]
fn the_socket_factory_may_leave_it_or_fail() {
    let server = server();
    let (log, _events) = log();
    let config = WSConnectConfig::default().socket_factory(|_| Ok(None));
    connect(&server.url("/"), config, Probe::new(&log)).opened().unwrap();
    let config = WSConnectConfig::default().socket_factory(|_| Err(io::Error::other("none today")));
    let client = connect(&server.url("/"), config, Probe::new(&log));
    match client.opened() {
        Err(WSConnectError::Io { source, .. }) => assert_eq!(source.to_string(), "none today"),
        other => panic!("{other:?}"),
    }
    assert_eq!(client.on.ask(WSLoopHandle::slots), 0);
}

/// With a proxy, the factory's socket leads there.
#[test]
fn the_socket_factory_under_a_proxy() {
    let proxy = PeerServer::bind();
    let addr = proxy.addr();
    let (log, _events) = log();
    let config = WSConnectConfig::default()
        .proxy(WSProxy::parse("http://proxy.invalid").unwrap())
        .socket_factory(move |_| TcpStream::connect(addr).map(Some));
    let _client = connect("ws://server.invalid/", config, Probe::new(&log));
    let head = proxy.accept_tcp().read_head();
    assert!(head.starts_with("CONNECT server.invalid:80 "), "{head}");
}

#[test]
fn sockets_can_be_configured_before_they_connect() {
    let server = server();
    let addr = server.addr;
    let (log, _events) = log();
    let (tell, told) = channel();
    let config = WSConnectConfig::default().configure_socket(move |socket, to| {
        tell.send(to).unwrap();
        socket.set_recv_buffer_size(10_000)?;
        socket.bind(&SocketAddr::from(([127, 0, 0, 7], 0)).into())
    });
    let client = connect(&server.url("/"), config, Probe::new(&log));
    client.opened().unwrap();
    assert_eq!(told.recv().unwrap(), addr);
    let (local, buffer) = client.on.ask_transport(0, |transport: &WSTransport| {
        let buffer = transport.with_socket(|socket| socket.recv_buffer_size().unwrap()).unwrap();
        (transport.local_addr().unwrap(), buffer)
    });
    assert_eq!(local.ip().to_string(), "127.0.0.7");
    assert!(buffer < 50_000, "{buffer}: not the system's default");
}

/// A listener that takes no more connections drops what is sent to it, as a black hole does.
#[test]
fn t02_a_black_hole_is_left_at_the_deadline() {
    let hole = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    hole.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    hole.listen(0).unwrap();
    let addr = hole.local_addr().unwrap().as_socket().unwrap();
    let fillers: Vec<_> = (0..4)
        .map(|_| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&addr.into());
            socket
        })
        .collect();
    let (log, _events) = log();
    let config = WSConnectConfig::default().handshake_timeout(Some(Duration::from_millis(200)));
    let client = connect(&format!("ws://{addr}/"), config, Probe::new(&log));
    assert!(matches!(client.opened(), Err(WSConnectError::Timeout { phase: WSPhase::Connect, .. })));
    assert_eq!(client.on.ask(WSLoopHandle::slots), 0);
    drop(fillers);
}

/// RFC 6761 section 6.3; the system's resolver here finds `localhost` at most.
#[test]
fn localhost_and_names_below_it_are_loopback_addresses() {
    let server = server();
    for host in ["localhost", "LocalHost", "localhost.", "app.localhost", "a.b.localhost."] {
        let (log, _events) = log();
        let url = format!("ws://{host}:{}/", server.addr.port());
        let client = connect(&url, WSConnectConfig::default(), Probe::new(&log));
        client.opened().unwrap_or_else(|error| panic!("{host}: {error}"));
    }
}
