//! One server on several threads.

use std::collections::HashSet;
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

use femtows::{
    WSCloseCode, WSDisconnectCause, WSError, WSFrame, WSListener, WSLoopHandle, WSMsgType, WSPerCoreConfig,
    WSPreparedFrame, WSResult, WSServerConfig, WSServerThreads, WSSpread, WSTransport, WSUpgradeRequest,
    ws_serve_per_core,
};

use crate::support::peer::Peer;
use crate::support::probe::{Events, Log, Probe, log};
use crate::support::wire::Frame;
use crate::support::{PATIENCE, eventually};

type Factory = Box<dyn FnMut(&WSUpgradeRequest) -> Probe>;

/// Makes factories that must not leave their thread.
fn echo(log: &Log) -> impl FnOnce(&WSLoopHandle) -> Factory + Clone + Send + use<> {
    let log = log.clone();
    move |_| {
        let log = Rc::new(log);
        Box::new(move |_| Probe::new(&log).echo())
    }
}

fn serve(threads: WSPerCoreConfig) -> (WSServerThreads, Events) {
    let (log, events) = log();
    let server = ws_serve_per_core(echo(&log), "127.0.0.1:0", WSServerConfig::default(), threads).unwrap();
    (server, events)
}

fn check_echo(peer: &mut Peer) {
    peer.send(&Frame::text("there and back"));
    assert_eq!(peer.read_frame(), Frame::text("there and back"));
}

/// The threads that `post_each` reaches.
fn reached(server: &WSServerThreads) -> Vec<ThreadId> {
    let (tell, told) = channel();
    server.post_each(move |_| tell.send(thread::current().id()).unwrap()).unwrap();
    (0..server.threads()).map(|_| told.recv_timeout(PATIENCE).unwrap()).collect()
}

#[test]
fn connections_are_served_on_all_threads_and_counted() {
    for spread in [WSSpread::Kernel, WSSpread::RoundRobin] {
        let (server, _events) = serve(WSPerCoreConfig::default().threads(3).spread(spread));
        let mut peers: Vec<Peer> = (0..60).map(|_| Peer::connect(server.local_addr())).collect();
        peers.iter_mut().for_each(check_echo);
        assert_eq!((server.threads(), server.connections()), (3, 60));
        // With the kernel's hash a thread goes empty once in ten thousand million runs.
        assert!(server.connections_by_thread().all(|count| count > 0), "{server:?}");
        assert_eq!(reached(&server).into_iter().collect::<HashSet<_>>().len(), 3);
        peers.truncate(10);
        eventually("the rest is gone", || server.connections() == 10);
        server.stop();
        server.join().unwrap();
    }
}

#[test]
fn round_robin_is_exactly_even() {
    let (server, _events) = serve(WSPerCoreConfig::default().threads(4).spread(WSSpread::RoundRobin));
    let mut peers = Vec::new();
    for round in 1..=3 {
        peers.extend((0..4).map(|_| Peer::connect(server.local_addr())));
        peers.iter_mut().for_each(check_echo);
        assert_eq!(server.connections_by_thread().collect::<Vec<_>>(), [round; 4]);
    }
    server.stop();
    server.join().unwrap();
}

#[test]
fn one_thread_is_enough() {
    for spread in [WSSpread::Kernel, WSSpread::RoundRobin] {
        let (server, _events) = serve(WSPerCoreConfig::default().threads(1).spread(spread));
        check_echo(&mut Peer::connect(server.local_addr()));
        server.stop();
        server.join().unwrap();
    }
}

#[test]
fn each_thread_makes_its_own_factory() {
    let made = Arc::new(Mutex::new(Vec::new()));
    let (log, _events) = log();
    let make_factory = {
        let made = Arc::clone(&made);
        move |handle: &WSLoopHandle| {
            let name = thread::current().name().unwrap().to_owned();
            let cpus = thread::available_parallelism().unwrap().get();
            made.lock().unwrap().push((name, handle.slots(), cpus));
            move |_: &WSUpgradeRequest| Probe::new(&log)
        }
    };
    let threads = WSPerCoreConfig::default().threads(2).pin(true).thread_name("io");
    let server = ws_serve_per_core(make_factory, "127.0.0.1:0", WSServerConfig::default(), threads).unwrap();
    let mut made = made.lock().unwrap().clone();
    made.sort();
    let cpus = if cfg!(target_os = "linux") { 1 } else { made[0].2 };
    assert_eq!(made, [("io-0".into(), 0, cpus), ("io-1".into(), 0, cpus)]);
    server.stop();
    server.join().unwrap();
}

#[test]
fn there_are_as_many_threads_as_the_process_can_run() {
    let (server, _events) = serve(WSPerCoreConfig::default());
    assert_eq!(server.threads(), thread::available_parallelism().unwrap().get());
    server.stop();
    server.join().unwrap();
}

#[test]
fn closing_stops_accepting_on_all_threads() {
    for spread in [WSSpread::Kernel, WSSpread::RoundRobin] {
        let (server, _events) = serve(WSPerCoreConfig::default().threads(2).spread(spread));
        let mut peer = Peer::connect(server.local_addr());
        server.close();
        let _ = reached(&server);
        assert!(TcpStream::connect(server.local_addr()).is_err());
        check_echo(&mut peer);
        server.shutdown(WSCloseCode::GOING_AWAY, "", Duration::ZERO, PATIENCE);
        assert_eq!(peer.read_frame().close_code(), Some(1001), "it is known after the close, too");
        peer.send(&Frame::close(1001, ""));
        assert_eq!(server.join().unwrap(), 0);
    }
}

#[test]
fn a_shutdown_reaches_all_threads() {
    let (server, events) = serve(WSPerCoreConfig::default().threads(2).spread(WSSpread::RoundRobin));
    let mut peers: Vec<Peer> = (0..4).map(|_| Peer::connect(server.local_addr())).collect();
    (0..4).for_each(|_| events.connected());
    server.shutdown(WSCloseCode::SERVICE_RESTART, "new version", Duration::from_millis(50), PATIENCE);
    server.shutdown(WSCloseCode::OK, "only the first call counts", Duration::ZERO, Duration::ZERO);
    for peer in &mut peers {
        assert_eq!(peer.read_frame(), Frame::close(1012, "new version"));
        peer.send(&Frame::close(1012, ""));
        peer.expect_eof();
    }
    assert_eq!(server.join().unwrap(), 0);
    for _ in 0..4 {
        assert_eq!(events.until_disconnected().cause, WSDisconnectCause::Closed);
    }
}

#[test]
fn a_shutdown_tells_how_many_it_aborted() {
    let (server, events) = serve(WSPerCoreConfig::default().threads(2).spread(WSSpread::RoundRobin));
    let _mute: Vec<Peer> = (0..3).map(|_| Peer::connect(server.local_addr())).collect();
    (0..3).for_each(|_| events.connected());
    server.shutdown(WSCloseCode::GOING_AWAY, "", Duration::ZERO, Duration::from_millis(200));
    assert_eq!(server.join().unwrap(), 3);
}

#[test]
fn stopping_ends_every_connection_and_thread() {
    let (server, events) = serve(WSPerCoreConfig::default().threads(2));
    let mut peers: Vec<Peer> = (0..4).map(|_| Peer::connect(server.local_addr())).collect();
    (0..4).for_each(|_| events.connected());
    server.stop();
    let addr = server.local_addr();
    assert_eq!(server.join().unwrap(), 0);
    peers.iter_mut().for_each(Peer::expect_gone);
    for _ in 0..4 {
        assert_eq!(events.disconnected().cause, WSDisconnectCause::LoopClosed);
    }
    assert!(TcpStream::connect(addr).is_err());
}

#[test]
fn a_server_that_cannot_start_leaves_nothing_behind() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let threads = WSPerCoreConfig::default().threads(3);
    let (log, _events) = log();
    for spread in [WSSpread::Kernel, WSSpread::RoundRobin] {
        let threads = threads.clone().spread(spread);
        let error = ws_serve_per_core(echo(&log), addr, WSServerConfig::default(), threads).unwrap_err();
        assert!(matches!(error, WSError::Io { .. }), "{error}");
    }
    drop(taken);
    let made = Arc::new(Mutex::new(0));
    let make_factory = move |_: &WSLoopHandle| {
        let made = {
            let mut made = made.lock().unwrap();
            *made += 1;
            *made
        };
        assert!(made < 3, "no third one");
        move |_: &WSUpgradeRequest| Probe::new(&log)
    };
    let error = ws_serve_per_core(make_factory, addr, WSServerConfig::default(), threads).unwrap_err();
    assert_eq!(error.to_string(), "listener: panic: no third one");
    assert!(TcpStream::connect(addr).is_err(), "nobody listens");
}

/// Connects 60 silent peers to a server of two threads, the second of which is held up. Returns how
/// many of them stay open.
fn held_by_a_busy_thread(config: WSServerConfig) -> usize {
    let (log, _events) = log();
    let threads = WSPerCoreConfig::default().threads(2).spread(WSSpread::RoundRobin);
    let config = config.handshake_timeout(None);
    let server = ws_serve_per_core(echo(&log), "127.0.0.1:0", config, threads).unwrap();
    let (go, wait) = channel::<()>();
    let busy = server.loops().nth(1).unwrap();
    busy.post(move |_| _ = wait.recv()).unwrap();
    let peers: Vec<_> = (0..60).map(|_| TcpStream::connect(server.local_addr()).unwrap()).collect();
    let (tell, told) = channel();
    let first = server.loops().next().unwrap();
    eventually("the first thread has accepted all but those that it hands over", || {
        let tell = tell.clone();
        first.post(move |handle| tell.send(handle.metrics().snapshot()).unwrap()).unwrap();
        told.recv_timeout(PATIENCE).unwrap().connections_accepted == 60 - 8
    });
    let is_open = |peer: &TcpStream| {
        peer.set_nonblocking(true).unwrap();
        peer.peek(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    };
    let open = peers.iter().filter(|peer| is_open(peer)).count();
    drop(go);
    server.stop();
    server.join().unwrap();
    open
}

#[test]
fn a_busy_thread_is_handed_no_more_than_max_connections() {
    assert_eq!(held_by_a_busy_thread(WSServerConfig::default().max_connections(8)), 16);
}

#[test]
fn a_busy_thread_is_handed_no_more_than_max_connections_per_ip() {
    assert_eq!(held_by_a_busy_thread(WSServerConfig::default().max_connections_per_ip(8)), 16);
}

/// Sends a large frame to a peer that does not read it.
struct Flood(WSPreparedFrame);

impl WSListener for Flood {
    fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
        transport.send_prepared_frame(&self.0);
        Ok(())
    }

    fn on_ws_frame(&mut self, _: &WSTransport, _: &mut WSFrame<'_>) -> WSResult {
        Ok(())
    }
}

#[test]
fn public_preset_holds_64_mib_for_slow_peers_on_each_thread() {
    let make_factory = |_: &WSLoopHandle| {
        let frame = WSPreparedFrame::new(WSMsgType::Binary, vec![0; 15 << 20]);
        move |_: &WSUpgradeRequest| Flood(frame.clone())
    };
    let threads = WSPerCoreConfig::default().threads(1);
    let server = ws_serve_per_core(make_factory, "127.0.0.1:0", WSServerConfig::public(), threads).unwrap();
    // More than 64 MiB, whatever the kernel takes of each.
    let _peers: Vec<Peer> = (0..20).map(|_| Peer::connect(server.local_addr())).collect();
    let (tell, told) = channel();
    server.post_each(move |handle| tell.send(handle.outbound()).unwrap()).unwrap();
    let outbound = told.recv_timeout(PATIENCE).unwrap();
    assert!(outbound.aborted > 0, "{outbound:?}");
    assert!(outbound.waiting <= 64 << 20, "{outbound:?}");
    server.stop();
    server.join().unwrap();
}

#[test]
fn metrics_of_all_threads_add_up_and_outlive_them() {
    let (server, _events) = serve(WSPerCoreConfig::default().threads(2).spread(WSSpread::RoundRobin));
    let mut peers: Vec<Peer> = (0..10).map(|_| Peer::connect(server.local_addr())).collect();
    peers.iter_mut().for_each(check_echo);
    eventually("all is counted", || server.metrics().frames_sent == 10);
    let all = server.metrics();
    assert_eq!((all.connections_opened, all.frames_received), (10, 10));
    let each: Vec<_> = server.loops().map(|on_loop| on_loop.metrics().snapshot().frames_received).collect();
    assert_eq!(each, [5, 5]);
    server.stop();
    eventually("both have ended", || server.loops().all(|on_loop| on_loop.post(|_| ()).is_err()));
    eventually("all have ended", || server.metrics().connections_closed == 10);
    server.join().unwrap();
}
