//! Connections used from other threads.

use std::sync::{Barrier, mpsc};
use std::thread;

use femtows::{
    SendOptions, WSCloseCode, WSDisconnectCause, WSLoopConfig, WSLoopHandle, WSMsgType, WSPerCoreConfig,
    WSPreparedFrame, WSPreparedMessage, WSRemote, WSRemoteError, WSServerConfig, WSTransport,
    WSUpgradeRequest, ws_create_server, ws_serve_per_core,
};

use crate::support::peer::Peer;
use crate::support::probe::{Events, Probe, log};
use crate::support::running::{LoopThread, Server, serve};
use crate::support::wire::{Frame, PING};
use crate::support::{eventually, pattern};

fn connected() -> (Server, Peer, WSRemote, Events) {
    let (log, events) = log();
    let server = serve(WSServerConfig::default(), move |_| Probe::new(&log));
    let peer = Peer::connect(server.addr);
    events.connected();
    let remote = server.on.ask_transport(0, WSTransport::remote);
    (server, peer, remote, events)
}

#[test]
fn another_thread_sends_in_order() {
    let (server, mut peer, remote, events) = connected();
    assert_eq!(remote.id(), server.on.ask_transport(0, WSTransport::id));
    let options = SendOptions { fin: false, ..SendOptions::default() };
    remote.send(WSMsgType::Text, "one").unwrap();
    remote.send_frame(WSMsgType::Binary, "two", options).unwrap();
    remote.send_frame(WSMsgType::Continuation, pattern(200_000), SendOptions::default()).unwrap();
    remote.send_prepared_frame(&WSPreparedFrame::new(WSMsgType::Ping, "four")).unwrap();
    remote.send(WSMsgType::Text, "whole").unwrap();
    remote.send(WSMsgType::Binary, pattern(100_000)).unwrap();
    remote.send_prepared(&WSPreparedMessage::new(WSMsgType::Binary, "for many")).unwrap();
    assert_eq!(remote.send(WSMsgType::Close, ""), Err(WSRemoteError::IsClose));
    assert_eq!(remote.send(WSMsgType::Close, ""), Err(WSRemoteError::IsClose));
    remote.close(WSCloseCode(4000), "five").unwrap();
    remote.send(WSMsgType::Text, "too late").unwrap();
    let wanted = [
        Frame::text("one"),
        Frame::binary("two").bits(false, 0),
        Frame::new(crate::support::wire::CONTINUATION, pattern(200_000)),
        Frame::new(PING, "four"),
        Frame::text("whole"),
        Frame::binary(pattern(100_000)),
        Frame::binary("for many"),
        Frame::close(4000, "five"),
    ];
    for frame in wanted {
        assert_eq!(peer.read_frame(), frame);
    }
    remote.abort().unwrap();
    assert_eq!(events.disconnected().cause, WSDisconnectCause::Disconnected);
}

#[test]
fn many_threads_send_without_tearing() {
    const THREADS: usize = 4;
    const FRAMES: usize = 200;
    let (_server, mut peer, remote, _events) = connected();
    let barrier = Barrier::new(THREADS);
    thread::scope(|scope| {
        for n in 0..THREADS {
            let (remote, barrier) = (remote.clone(), &barrier);
            scope.spawn(move || {
                barrier.wait();
                for frame in 0..FRAMES {
                    remote.send(WSMsgType::Binary, format!("{n} {frame}")).unwrap();
                }
            });
        }
        let mut next = [0; THREADS];
        for _ in 0..THREADS * FRAMES {
            let text = String::from_utf8(peer.read_frame().payload).unwrap();
            let (thread, frame) = text.split_once(' ').unwrap();
            let thread: usize = thread.parse().unwrap();
            assert_eq!(frame.parse::<usize>().unwrap(), next[thread]);
            next[thread] += 1;
        }
    });
}

/// The slot is used again at once, by a connection that must not get anything of this.
#[test]
fn a_stale_remote_reaches_nobody() {
    let (server, peer, stale, events) = connected();
    drop(peer);
    events.disconnected();
    eventually("the slot is free", || server.slots() == 0);
    let mut next = Peer::connect(server.addr);
    events.connected();
    assert_ne!(server.on.ask_transport(1, WSTransport::id), stale.id());
    assert_eq!(
        server.on.ask_transport(1, WSTransport::id) & 0xffff_ffff,
        stale.id() & 0xffff_ffff,
        "same slot"
    );
    let gone = Err(WSRemoteError::Disconnected);
    assert_eq!(stale.send(WSMsgType::Text, "not for you"), gone);
    assert_eq!(stale.send_prepared_frame(&WSPreparedFrame::new(WSMsgType::Text, "nor this")), gone);
    stale.close(WSCloseCode::OK, "").unwrap();
    stale.abort().unwrap();
    server.on.ask(|_| ());
    next.send_and_sync(&[]);
    assert!(!server.on.ask_transport(1, WSTransport::is_close_frame_sent));
}

#[test]
fn a_remote_outlives_its_loop() {
    let (server, _peer, remote, _events) = connected();
    let on_loop = server.on.remote.clone();
    server.on.stop();
    assert_eq!(remote.send(WSMsgType::Text, "x"), Err(WSRemoteError::LoopClosed));
    assert_eq!(remote.close(WSCloseCode::OK, ""), Err(WSRemoteError::LoopClosed));
    assert_eq!(remote.disconnect(), Err(WSRemoteError::LoopClosed));
    assert_eq!(on_loop.post(|_| panic!("it is gone")), Err(WSRemoteError::LoopClosed));
}

#[test]
fn the_inbox_is_bounded_by_bytes() {
    let (log, events) = log();
    let on = LoopThread::start(WSLoopConfig::default().inbox_limit(10_000));
    let addr = on.ask(move |handle| {
        ws_create_server(handle, move |_| Probe::new(&log), "127.0.0.1:0", WSServerConfig::default())
            .unwrap()
            .local_addr()
    });
    let mut peer = Peer::connect(addr);
    events.connected();
    let remote = on.ask_transport(0, WSTransport::remote);
    assert_eq!(remote.send(WSMsgType::Binary, vec![0; 10_001]), Err(WSRemoteError::InboxFull));
    // The loop is held up, so that nothing leaves the inbox meanwhile.
    let (go, wait) = mpsc::channel::<()>();
    let (tell, holding) = mpsc::channel();
    on.remote
        .post(move |_: &WSLoopHandle| {
            tell.send(()).unwrap();
            let _ = wait.recv();
        })
        .unwrap();
    holding.recv().unwrap();
    remote.send(WSMsgType::Binary, vec![1; 6000]).unwrap();
    remote.send(WSMsgType::Binary, vec![2; 3000]).unwrap();
    let kilobyte = [3; 1000];
    assert_eq!(remote.send(WSMsgType::Binary, kilobyte.to_vec()), Err(WSRemoteError::InboxFull));
    assert_eq!(
        remote.send_prepared_frame(&WSPreparedFrame::new(WSMsgType::Binary, kilobyte)),
        Err(WSRemoteError::InboxFull)
    );
    assert_eq!(
        remote.send_prepared(&WSPreparedMessage::new(WSMsgType::Binary, kilobyte)),
        Err(WSRemoteError::InboxFull)
    );
    assert_eq!(on.remote.post(move |_| _ = std::hint::black_box(kilobyte)), Err(WSRemoteError::InboxFull));
    remote.send(WSMsgType::Binary, "small").expect("for this there is room");
    drop(go);
    assert_eq!(peer.read_frame(), Frame::binary([1; 6000]));
    assert_eq!(peer.read_frame(), Frame::binary([2; 3000]));
    assert_eq!(peer.read_frame(), Frame::binary("small"));
    eventually("there is room again", || remote.send(WSMsgType::Binary, vec![3; 9000]).is_ok());
    assert_eq!(peer.read_frame(), Frame::binary([3; 9000]));
}

/// The peer reads nothing, so that a graceful disconnect alone would wait for it.
#[test]
fn an_abort_posted_behind_a_graceful_disconnect_aborts() {
    let (server, _peer, remote, events) = connected();
    remote.send(WSMsgType::Binary, pattern(12 << 20)).unwrap();
    remote.disconnect().unwrap();
    remote.disconnect().unwrap();
    remote.abort().unwrap();
    let info = events.until_disconnected();
    assert_eq!(info.cause, WSDisconnectCause::Disconnected);
    assert!(info.bytes_unsent > 0, "{info}");
    drop(server);
}

#[test]
fn of_several_closes_that_are_posted_the_first_is_sent() {
    let (server, mut peer, remote, _events) = connected();
    let (go, wait) = mpsc::channel::<()>();
    server.on.remote.post(move |_| _ = wait.recv()).unwrap();
    remote.send(WSMsgType::Text, "before").unwrap();
    remote.close(WSCloseCode(4001), &"r".repeat(200)).unwrap();
    remote.close(WSCloseCode(4002), "second").unwrap();
    drop(go);
    assert_eq!(peer.read_frame(), Frame::text("before"));
    assert_eq!(peer.read_frame(), Frame::close(4001, &"r".repeat(123)));
    peer.send(&Frame::close(4001, ""));
    peer.expect_eof();
}

#[test]
fn post_each_reports_a_full_inbox_and_reaches_the_others() {
    let (log, _events) = log();
    let make_factory = |_: &WSLoopHandle| move |_: &WSUpgradeRequest| Probe::new(&log);
    let loops = WSLoopConfig::default().inbox_limit(10_000);
    let threads = WSPerCoreConfig::default().threads(2).loop_config(loops);
    let server = ws_serve_per_core(make_factory, "127.0.0.1:0", WSServerConfig::default(), threads).unwrap();
    let (go, wait) = mpsc::channel::<()>();
    let busy = server.loops().next().unwrap();
    busy.post(move |_| _ = wait.recv()).unwrap();
    while busy.post(|_| ()).is_ok() {}
    let (tell, told) = mpsc::channel();
    assert_eq!(server.post_each(move |_| tell.send(()).unwrap()), Err(WSRemoteError::InboxFull));
    assert_eq!(told.iter().count(), 1);
    drop(go);
    server.stop();
    server.join().unwrap();
}
