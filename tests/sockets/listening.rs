//! Addresses that a server listens on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};

use femtows::message::{WebSocket, WebSocketConfig, WebSocketError, serve_websocket};
use femtows::server::WSServer;
use femtows::{
    WSError, WSLoop, WSLoopConfig, WSLoopHandle, WSPerCoreConfig, WSServerConfig, WSSpread, WSUpgradeRequest,
    ws_create_server, ws_serve_per_core,
};

use crate::support::peer::Peer;
use crate::support::probe::{Probe, log};
use crate::support::running::LoopThread;
use crate::support::wire::Frame;

/// A server on a loop that does not run: the kernel accepts for it.
fn listen(addrs: &[SocketAddr], config: WSServerConfig) -> Result<(WSLoop, WSServer), WSError> {
    let event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
    let (log, _events) = log();
    let factory = move |_: &WSUpgradeRequest| Probe::new(&log).echo();
    let server = ws_create_server(&event_loop.handle(), factory, addrs, config)?;
    Ok((event_loop, server))
}

/// Four addresses of this machine.
const FOUR: [SocketAddr; 4] = [v4(1, 0), v4(2, 0), v4(3, 0), v4(4, 0)];

const fn v4(last: u8, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), port)
}

fn has_ipv6() -> bool {
    let has = TcpListener::bind("[::1]:0").is_ok();
    if !has {
        println!("skipped: this machine has no IPv6");
    }
    has
}

fn check_echo(addr: SocketAddr) {
    let mut peer = Peer::connect(addr);
    peer.send(&Frame::text("there and back"));
    assert_eq!(peer.read_frame(), Frame::text("there and back"), "{addr}");
}

/// Serves echoes on all of these addresses. Returns the addresses that the server reports.
fn serve(addrs: impl ToSocketAddrs + Send + 'static) -> (LoopThread, Vec<SocketAddr>) {
    let (log, _events) = log();
    let on = LoopThread::start(WSLoopConfig::default());
    let addrs = on.ask(move |handle| {
        let factory = move |_: &WSUpgradeRequest| Probe::new(&log).echo();
        ws_create_server(handle, factory, addrs, WSServerConfig::default()).unwrap().local_addrs()
    });
    (on, addrs)
}

#[test]
fn each_address_of_a_list_is_served() {
    let (_on, addrs) = serve(&FOUR[..]);
    assert_eq!(addrs.len(), 4);
    addrs.into_iter().for_each(check_echo);
}

#[test]
fn port_0_is_one_free_port_for_all_addresses() {
    let (_on, addrs) = serve(&FOUR[..]);
    let port = addrs[0].port();
    assert_ne!(port, 0);
    assert_eq!(addrs, [1, 2, 3, 4].map(|last| v4(last, port)));
}

#[test]
fn an_address_that_is_repeated_is_bound_once() {
    let (_event_loop, server) = listen(&[v4(1, 0), v4(2, 0), v4(1, 0)], WSServerConfig::default()).unwrap();
    let port = server.local_addr().port();
    assert_eq!(server.local_addrs(), [v4(1, port), v4(2, port)]);
}

#[test]
fn each_address_of_a_name_is_served() {
    let mut resolved: Vec<IpAddr> = "localhost:0".to_socket_addrs().unwrap().map(|addr| addr.ip()).collect();
    resolved.dedup();
    let (_on, addrs) = serve("localhost:0");
    assert_eq!(addrs.iter().map(SocketAddr::ip).collect::<Vec<_>>(), resolved);
    addrs.into_iter().for_each(check_echo);
}

#[test]
fn addresses_of_both_families_are_served() {
    const BOTH: [SocketAddr; 2] = [SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 0), v4(1, 0)];
    if !has_ipv6() {
        return;
    }
    let (_on, addrs) = serve(&BOTH[..]);
    assert_eq!(addrs.iter().map(SocketAddr::ip).collect::<Vec<_>>(), BOTH.map(|addr| addr.ip()));
    addrs.into_iter().for_each(check_echo);
}

/// A socket of `[::]` that took IPv4, too, would leave no room for that of `0.0.0.0`.
#[test]
fn the_wildcards_of_both_families_are_served_together() {
    if !has_ipv6() {
        return;
    }
    for addrs in [["[::]:0", "0.0.0.0:0"], ["0.0.0.0:0", "[::]:0"]] {
        let addrs: Vec<SocketAddr> = addrs.iter().map(|addr| addr.parse().unwrap()).collect();
        let (_event_loop, server) = listen(&addrs, WSServerConfig::default()).unwrap();
        assert_eq!(server.local_addrs().len(), 2, "{addrs:?}");
    }
}

#[test]
fn closing_a_server_closes_all_of_its_addresses() {
    let (_event_loop, server) = listen(&FOUR, WSServerConfig::default()).unwrap();
    server.close();
    for addr in server.local_addrs() {
        assert!(TcpStream::connect(addr).is_err(), "{addr}");
    }
}

#[test]
fn an_empty_list_is_an_error() {
    let error = listen(&[], WSServerConfig::default()).map(drop).unwrap_err();
    assert_eq!(error.to_string(), "cannot listen: no address to listen on");
}

#[test]
fn one_address_that_is_taken_is_an_error_and_closes_the_others() {
    let holder = TcpListener::bind("127.0.0.8:0").unwrap();
    let taken = holder.local_addr().unwrap();
    // No other test uses this address.
    let free = v4(9, taken.port());
    let error = listen(&[free, taken], WSServerConfig::default()).map(drop).unwrap_err();
    assert!(error.to_string().starts_with(&format!("cannot listen on {taken}: ")), "{error}");
    assert!(TcpStream::connect(free).is_err());
}

#[test]
fn an_address_that_is_taken_is_named() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap();
    let error = listen(&[taken], WSServerConfig::default()).map(drop).unwrap_err();
    assert!(error.to_string().starts_with(&format!("cannot listen on {taken}: ")), "{error}");
}

#[test]
fn threads_name_the_address_that_is_taken() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap();
    let (log, _events) = log();
    let make_factory = |_: &WSLoopHandle| move |_: &WSUpgradeRequest| Probe::new(&log);
    let threads = WSPerCoreConfig::default().threads(2);
    let error = ws_serve_per_core(make_factory, taken, WSServerConfig::default(), threads).unwrap_err();
    assert!(error.to_string().starts_with(&format!("cannot listen on {taken}: ")), "{error}");
}

#[test]
fn threads_serve_each_address_of_a_list() {
    for spread in [WSSpread::Kernel, WSSpread::RoundRobin] {
        let (log, _events) = log();
        let make_factory = |_: &WSLoopHandle| {
            let log = std::rc::Rc::new(log);
            move |_: &WSUpgradeRequest| Probe::new(&log).echo()
        };
        let threads = WSPerCoreConfig::default().threads(2).spread(spread);
        let server = ws_serve_per_core(make_factory, &FOUR[..], WSServerConfig::default(), threads).unwrap();
        let addrs = server.local_addrs();
        assert_eq!((addrs.len(), addrs[0]), (4, server.local_addr()));
        // Enough for each thread to get some of each address.
        for addr in addrs.repeat(8) {
            check_echo(addr);
        }
        server.stop();
        server.join().unwrap();
    }
}

#[test]
fn serve_websocket_serves_each_address_of_a_list() {
    let on = LoopThread::start(WSLoopConfig::default());
    let addrs = on.ask(|handle| {
        let handler = async |websocket: WebSocket| {
            websocket.accept().await?;
            while let Ok(message) = websocket.get_message().await {
                websocket.send_message(message).await?;
            }
            Ok::<(), WebSocketError>(())
        };
        serve_websocket(handle, handler, &FOUR[..], WebSocketConfig::default()).unwrap().local_addrs()
    });
    assert_eq!(addrs.len(), 4);
    addrs.into_iter().for_each(check_echo);
}
