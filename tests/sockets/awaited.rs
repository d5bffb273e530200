//! Threads that wait for a connection: for room, and for its end.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread;

use femtows::{
    WSCloseCode, WSDisconnectCause, WSLimits, WSLoopConfig, WSMsgType, WSRemote, WSRemoteError,
    WSServerConfig, WSTransport,
};

use crate::support::peer::Peer;
use crate::support::probe::{Events, Probe, log};
use crate::support::running::{Server, serve_on};
use crate::support::wire::Frame;
use crate::support::{eventually, pattern};

fn connected(on: WSLoopConfig, config: WSServerConfig) -> (Server, Peer, WSRemote, Events) {
    let (log, events) = log();
    let server = serve_on(on, config, move |_| Probe::new(&log));
    let peer = Peer::connect(server.addr);
    events.connected();
    let remote = server.on.ask_transport(0, WSTransport::remote);
    (server, peer, remote, events)
}

fn opened() -> (Server, Peer, WSRemote, Events) {
    connected(WSLoopConfig::default(), WSServerConfig::default())
}

/// Runs a future on an executor of another library.
fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Counts how often it is woken.
#[derive(Default)]
struct Counted(AtomicUsize);

impl Wake for Counted {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn counted() -> (Arc<Counted>, Waker) {
    let counted = Arc::new(Counted::default());
    (Arc::clone(&counted), Waker::from(counted))
}

#[test]
fn a_send_after_the_end_is_an_error() {
    let (server, peer, remote, events) = opened();
    let early = remote.clone();
    assert!(!remote.is_disconnected());
    drop(peer);
    events.disconnected();
    eventually("the end is reported", || remote.is_disconnected());
    for remote in [remote, early, server.on.ask_transport(0, WSTransport::remote)] {
        assert!(remote.is_disconnected());
        assert_eq!(remote.send(WSMsgType::Text, "late"), Err(WSRemoteError::Disconnected));
        assert_eq!(block_on(remote.ready()), Err(WSRemoteError::Disconnected));
        assert_eq!((remote.buffered_amount(), remote.abort()), (0, Ok(())));
    }
}

/// The limit is far below what is sent in all.
#[test]
fn a_sender_that_waits_for_room_does_not_overflow_the_connection() {
    const MESSAGES: usize = 20_000;
    let limits = WSLimits::default().max_outbound(256 * 1024);
    let (_server, mut peer, remote, _events) =
        connected(WSLoopConfig::default().inbox_limit(1 << 20), WSServerConfig::default().limits(limits));
    let payload = pattern(1000);
    let sender = {
        let payload = payload.clone();
        thread::spawn(move || {
            block_on(async {
                for _ in 0..MESSAGES {
                    remote.ready().await.unwrap();
                    remote.send(WSMsgType::Binary, payload.clone()).unwrap();
                }
                remote
            })
        })
    };
    for _ in 0..MESSAGES {
        assert_eq!(peer.read_frame(), Frame::binary(payload.clone()));
    }
    let remote = sender.join().unwrap();
    eventually("nothing waits any more", || remote.buffered_amount() == 0);
}

#[test]
fn the_backlog_counts_what_is_under_way_and_what_was_refused() {
    let (server, mut peer, remote, _events) =
        connected(WSLoopConfig::default().inbox_limit(16 << 20), WSServerConfig::default());
    let (go, wait) = mpsc::channel::<()>();
    server.on.remote.post(move |_| _ = wait.recv()).unwrap();
    remote.send(WSMsgType::Binary, vec![1; 1000]).unwrap();
    remote.send(WSMsgType::Binary, vec![2; 500]).unwrap();
    assert_eq!(remote.buffered_amount(), 1500);
    assert_eq!(remote.send(WSMsgType::Binary, vec![3; 16 << 20]), Err(WSRemoteError::InboxFull));
    assert_eq!(remote.buffered_amount(), 1500, "what was refused is not under way");
    drop(go);
    eventually("all has left", || remote.buffered_amount() == 0);
    // More than the kernel takes from a peer that does not read.
    remote.send(WSMsgType::Binary, pattern(12 << 20)).unwrap();
    server.on.ask(|_| ());
    let on_loop = server.on.ask_transport(0, WSTransport::buffered_amount);
    eventually("it is reported", || remote.buffered_amount() == on_loop);
    assert!(on_loop > 1 << 20);
    let (woken, waker) = counted();
    let mut ready = pin!(remote.ready());
    assert!(ready.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    peer.read_frame();
    peer.read_frame();
    peer.read_frame();
    eventually("there is room", || woken.0.load(Ordering::SeqCst) == 1);
    block_on(ready).unwrap();
    eventually("all has left", || remote.buffered_amount() == 0);
}

#[test]
fn the_watermarks_of_the_connection_decide_what_is_room() {
    let (server, _peer, remote, _events) = opened();
    server.on.ask_transport(0, |transport| transport.set_write_watermarks(0, 10));
    let (go, wait) = mpsc::channel::<()>();
    server.on.remote.post(move |_| _ = wait.recv()).unwrap();
    block_on(remote.ready()).unwrap();
    remote.send(WSMsgType::Text, "0123456789").unwrap();
    block_on(remote.ready()).unwrap();
    remote.send(WSMsgType::Text, "x").unwrap();
    let (woken, waker) = counted();
    let mut ready = pin!(remote.ready());
    assert!(ready.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    drop(go);
    eventually("there is room", || woken.0.load(Ordering::SeqCst) == 1);
    block_on(ready).unwrap();
}

#[test]
fn the_end_is_awaited_with_its_record() {
    let (server, mut peer, remote, _events) = opened();
    let waiting = {
        let remote = remote.clone();
        thread::spawn(move || block_on(remote.closed()))
    };
    let (woken, waker) = counted();
    {
        let mut given_up = pin!(remote.closed());
        assert!(given_up.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
    peer.send(&Frame::close(4007, "enough"));
    let record = waiting.join().unwrap();
    assert_eq!((record.cause, record.code), (WSDisconnectCause::Closed, WSCloseCode(4007)));
    assert_eq!(block_on(remote.closed()), record, "afterwards, too");
    assert_eq!(block_on(server.on.ask_transport(0, WSTransport::remote).closed()), record);
    assert_eq!(woken.0.load(Ordering::SeqCst), 0, "a future that was dropped is not woken");
}

#[test]
fn dropping_the_loop_ends_all_waits() {
    let (server, peer, remote, _events) =
        connected(WSLoopConfig::default().inbox_limit(32 << 20), WSServerConfig::default());
    remote.send(WSMsgType::Binary, pattern(12 << 20)).unwrap();
    server.on.ask(|_| ());
    let waits = {
        let remote = remote.clone();
        thread::spawn(move || block_on(async { (remote.ready().await, remote.closed().await) }))
    };
    server.on.stop();
    let (ready, record) = waits.join().unwrap();
    assert_eq!((ready, record.cause), (Err(WSRemoteError::Disconnected), WSDisconnectCause::LoopClosed));
    assert_eq!(remote.send(WSMsgType::Text, "x"), Err(WSRemoteError::LoopClosed));
    drop(peer);
}
