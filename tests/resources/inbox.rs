//! The memory of requests from other threads that the loop has not carried out.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Waker};

use femtows::{
    WSCloseCode, WSLoop, WSLoopConfig, WSMsgType, WSRemote, WSRemoteError, WSServerConfig, WSSocket,
    WSUpgradeRequest, ws_connect_over, ws_create_server_without_socket,
};

use crate::heap;
use crate::own_process;
use crate::support::probe::{Event, Events, Probe, log};
use crate::support::running::block_on;

const MIB: usize = 1 << 20;

/// A connection whose loop runs only when a test lets it.
struct Connected {
    event_loop: WSLoop,
    server: femtows::server::WSServer,
    remote: WSRemote,
    /// Events of the client's listener.
    events: Events,
    _server_events: Events,
}

fn connected(config: WSLoopConfig) -> Connected {
    let mut event_loop = WSLoop::new(config).unwrap();
    let handle = event_loop.handle();
    let (server_log, server_events) = log();
    let (client_log, events) = log();
    let factory = move |_: &WSUpgradeRequest| Probe::new(&server_log);
    let server = ws_create_server_without_socket(&handle, factory, WSServerConfig::default()).unwrap();
    let (one, other) = WSSocket::pair().unwrap();
    server.adopt(one).unwrap();
    let url = "ws://localhost/";
    let connecting = ws_connect_over(&handle, Probe::new(&client_log), other, url, <_>::default());
    block_on(&mut event_loop, connecting).unwrap();
    let transports = server.transports();
    assert_eq!(transports.len(), 1);
    let remote = transports[0].remote();
    Connected { event_loop, server, remote, events, _server_events: server_events }
}

impl Connected {
    /// Runs the loop until the client's listener has seen `wanted`; returns what it saw before.
    fn run_until(&mut self, wanted: impl Fn(&Event) -> bool) -> usize {
        let mut seen = Vec::new();
        while !seen.iter().any(&wanted) {
            self.event_loop.run_once(Some(crate::support::PATIENCE)).unwrap();
            seen.extend(self.events.so_far());
        }
        seen.len()
    }
}

/// Posts calls until one is refused, at most `most`.
fn fill(event_loop: &WSLoop, most: usize) -> usize {
    let remote = event_loop.handle().remote();
    (0..most).take_while(|_| remote.post(|_| ()).is_ok()).count()
}

#[test]
fn four_million_one_byte_messages_stay_within_the_inbox_limit() {
    let _process = own_process();
    let mut connected = connected(WSLoopConfig::default().inbox_limit(16 * MIB));
    let mut accepted = 0;
    let used = heap::measure(|| {
        for _ in 0..4_000_000 {
            accepted += usize::from(connected.remote.send(WSMsgType::Binary, vec![7]).is_ok());
        }
    });
    println!("{accepted} accepted, {used:?}");
    assert!(used.peak <= (16 * MIB).cast_signed(), "{used:?}");
    assert_eq!(connected.remote.send(WSMsgType::Binary, "x"), Err(WSRemoteError::InboxFull));
    assert!(accepted > 16 * MIB / 200, "{accepted} for 16 MiB");
    // What was accepted is sent, and there is room again.
    let seen = connected.run_until(|event| matches!(event, Event::Frame(_)));
    assert!(seen > 0);
    assert_eq!(connected.remote.send(WSMsgType::Binary, "x"), Ok(()));
}

#[test]
fn the_memory_of_a_burst_is_given_back() {
    let _process = own_process();
    let mut event_loop = WSLoop::new(WSLoopConfig::default().inbox_limit(16 * MIB)).unwrap();
    let before = heap::live();
    assert!(fill(&event_loop, 10_000_000) > 1000);
    event_loop.run_once(Some(std::time::Duration::ZERO)).unwrap();
    let kept = heap::live() - before;
    assert!(kept < 4096, "{kept} bytes");
}

#[test]
fn posted_calls_are_refused_beyond_the_inbox_limit() {
    let _process = own_process();
    let event_loop = WSLoop::new(WSLoopConfig::default().inbox_limit(MIB)).unwrap();
    let remote = event_loop.handle().remote();
    let mut refused = None;
    let mut posted = 0;
    let used = heap::measure(|| {
        while refused.is_none() && posted < 4096 {
            let kilobyte = [7u8; 1024];
            refused = remote.post(move |_| _ = std::hint::black_box(kilobyte)).err();
            posted += usize::from(refused.is_none());
        }
    });
    println!("{posted} posted, {used:?}");
    assert_eq!(refused, Some(WSRemoteError::InboxFull));
    assert!(used.peak <= MIB.cast_signed(), "{used:?}");
    assert!(posted > 900, "{posted}");
}

#[test]
fn calls_that_capture_nothing_are_refused_beyond_the_inbox_limit() {
    let _process = own_process();
    let event_loop = WSLoop::new(WSLoopConfig::default().inbox_limit(MIB)).unwrap();
    let posted = fill(&event_loop, 10_000_000);
    println!("{posted} posted");
    assert!(posted <= MIB / 32, "{posted}");
    assert!(posted >= MIB / 128, "{posted}");
}

#[test]
fn close_and_disconnect_do_not_grow_the_inbox() {
    let _process = own_process();
    let connected = connected(WSLoopConfig::default());
    let reason = "r".repeat(10_000);
    let used = heap::measure(|| {
        for _ in 0..100_000 {
            connected.remote.close(WSCloseCode::OK, &reason).unwrap();
            connected.remote.disconnect().unwrap();
            connected.remote.abort().unwrap();
        }
    });
    println!("{used:?}");
    assert!(used.peak < 16 * 1024, "{used:?}");
}

#[test]
fn closing_a_server_from_another_thread_does_not_grow_the_inbox() {
    let _process = own_process();
    let connected = connected(WSLoopConfig::default());
    let remote = connected.server.remote().unwrap();
    let used = heap::measure(|| (0..100_000).for_each(|_| remote.close().unwrap()));
    println!("{used:?}");
    assert!(used.peak < 16 * 1024, "{used:?}");
}

#[test]
fn close_arrives_although_the_inbox_is_full() {
    let _process = own_process();
    let mut connected = connected(WSLoopConfig::default().inbox_limit(10_000));
    assert!(fill(&connected.event_loop, 100_000) < 100_000);
    connected.remote.close(WSCloseCode(4000), "still heard").unwrap();
    connected.run_until(|event| matches!(event, Event::Frame(frame) if frame.close_code() == Some(4000)));
}

#[test]
fn disconnect_arrives_although_the_inbox_is_full() {
    let _process = own_process();
    let mut connected = connected(WSLoopConfig::default().inbox_limit(10_000));
    assert!(fill(&connected.event_loop, 100_000) < 100_000);
    connected.remote.abort().unwrap();
    connected.run_until(|event| matches!(event, Event::Disconnected(_)));
}

#[test]
fn a_task_is_woken_although_the_inbox_is_full() {
    let _process = own_process();
    let mut event_loop = WSLoop::new(WSLoopConfig::default().inbox_limit(10_000)).unwrap();
    let polls = Arc::new(AtomicUsize::new(0));
    let (tell, told) = std::sync::mpsc::channel::<Waker>();
    let counted = Arc::clone(&polls);
    let task = event_loop.handle().spawn(std::future::poll_fn(move |cx| {
        tell.send(cx.waker().clone()).unwrap();
        counted.fetch_add(1, Ordering::Relaxed);
        Poll::<()>::Pending
    }));
    event_loop.run_once(Some(std::time::Duration::ZERO)).unwrap();
    let waker = told.recv().unwrap();
    assert!(fill(&event_loop, 100_000) < 100_000);
    std::thread::spawn(move || waker.wake()).join().unwrap();
    event_loop.run_once(Some(std::time::Duration::ZERO)).unwrap();
    assert_eq!(polls.load(Ordering::Relaxed), 2);
    drop(task);
}

#[test]
fn a_socket_is_adopted_although_the_inbox_is_full() {
    let _process = own_process();
    let mut connected = connected(WSLoopConfig::default().inbox_limit(10_000));
    let remote = connected.server.remote().unwrap();
    assert!(fill(&connected.event_loop, 100_000) < 100_000);
    let (one, other) = WSSocket::pair().unwrap();
    remote.adopt(one).unwrap();
    let (log, _events) = log();
    let handle = connected.event_loop.handle();
    let connecting = ws_connect_over(&handle, Probe::new(&log), other, "ws://localhost/", <_>::default());
    block_on(&mut connected.event_loop, connecting).unwrap();
    assert_eq!(connected.server.connections(), 2);
}

#[test]
fn a_server_is_closed_although_the_inbox_is_full() {
    let _process = own_process();
    let mut connected = connected(WSLoopConfig::default().inbox_limit(10_000));
    let remote = connected.server.remote().unwrap();
    assert!(fill(&connected.event_loop, 100_000) < 100_000);
    remote.close().unwrap();
    connected.event_loop.run_once(Some(std::time::Duration::ZERO)).unwrap();
    assert!(!connected.server.is_listening());
}

#[cfg(feature = "tls")]
#[test]
fn changing_tls_from_another_thread_does_not_grow_the_inbox() {
    let _process = own_process();
    let connected = connected(WSLoopConfig::default());
    let remote = connected.server.remote().unwrap();
    let tls = crate::authority::Authority::new().issue(&["localhost"]).server();
    remote.set_tls(&tls).unwrap();
    let used = heap::measure(|| (0..1000).for_each(|_| remote.set_tls(&tls).unwrap()));
    println!("{used:?}");
    assert!(used.peak < 16 * 1024, "{used:?}");
}

#[cfg(feature = "tls")]
#[test]
fn tls_is_changed_although_the_inbox_is_full() {
    let _process = own_process();
    let mut connected = connected(WSLoopConfig::default().inbox_limit(10_000));
    let remote = connected.server.remote().unwrap();
    assert!(fill(&connected.event_loop, 100_000) < 100_000);
    remote.set_tls(&crate::authority::Authority::new().issue(&["localhost"]).server()).unwrap();
    connected.event_loop.run_once(Some(std::time::Duration::ZERO)).unwrap();
    assert!(connected.server.is_secure());
}
