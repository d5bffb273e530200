//! Dropping a loop, with whatever is on it.

use std::cell::RefCell;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use femtows::{
    WSConnectConfig, WSDisconnectCause, WSLoop, WSLoopConfig, WSMsgType, WSRemoteError, WSServeError,
    WSServerConfig, ws_connect, ws_create_server,
};

use crate::support::probe::{Event, Probe, log};
use crate::support::running::{LoopThread, block_on, serve};

/// Runs `work` on a thread of its own; a hang is a failure and not the end of the whole run.
fn ends(work: impl FnOnce() + Send + 'static) {
    let (done, ended) = std::sync::mpsc::channel();
    let thread = thread::spawn(move || {
        work();
        let _ = done.send(());
    });
    let in_time = ended.recv_timeout(Duration::from_secs(20));
    if matches!(in_time, Err(std::sync::mpsc::RecvTimeoutError::Timeout)) {
        panic!("it hangs");
    }
    thread.join().unwrap();
}

#[test]
fn a_loop_with_posted_calls_can_be_dropped() {
    ends(|| {
        let event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
        let remote = event_loop.handle().remote();
        let held = std::sync::Arc::new(());
        let inside = std::sync::Arc::clone(&held);
        remote.post(move |_| drop(inside)).unwrap();
        drop(event_loop);
        assert_eq!(std::sync::Arc::strong_count(&held), 1, "the call was dropped");
        assert_eq!(remote.post(|_| ()), Err(WSRemoteError::LoopClosed));
    });
}

#[test]
fn a_loop_with_a_connection_that_is_due_can_be_dropped() {
    ends(|| {
        let (log, events) = log();
        let server = serve(WSServerConfig::default(), {
            let log = log.clone();
            move |_| Probe::new(&log)
        });
        let mut event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
        let (client_log, client_events) = crate::support::probe::log();
        let connecting = ws_connect(
            &event_loop.handle(),
            Probe::new(&client_log),
            &server.url("/"),
            WSConnectConfig::default(),
        );
        let transport = block_on(&mut event_loop, connecting).unwrap();
        // Reading on is due in the next turn, which never comes.
        transport.pause_reading();
        transport.resume_reading();
        drop(event_loop);
        client_events.connected();
        assert_eq!(client_events.disconnected().cause, WSDisconnectCause::LoopClosed);
        events.connected();
        assert_eq!(events.disconnected().cause, WSDisconnectCause::PeerEof);
    });
}

#[test]
fn dropping_the_loop_disconnects_everybody() {
    let (log, events) = log();
    let mut event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
    let handle = event_loop.handle();
    let server_log = log.clone();
    let server =
        ws_create_server(&handle, move |_| Probe::new(&server_log), "127.0.0.1:0", WSServerConfig::default())
            .unwrap();
    let url = format!("ws://{}/", server.local_addr());
    let mut transports = Vec::new();
    for _ in 0..5 {
        let connecting = ws_connect(&handle, Probe::new(&log), &url, WSConnectConfig::default());
        transports.push(block_on(&mut event_loop, connecting).unwrap());
    }
    let waiting = handle.spawn(transports[0].wait_disconnected());
    drop(event_loop);
    let events = events.so_far();
    let connected = events.iter().filter(|event| **event == Event::Connected).count();
    let closed = events.iter().filter(
        |event| matches!(event, Event::Disconnected(info) if info.cause == WSDisconnectCause::LoopClosed),
    );
    assert_eq!((connected, closed.count()), (10, 10));
    assert_eq!(events.len(), 20);
    assert!(transports.iter().all(femtows::WSTransport::is_disconnected));
    assert!(!transports[0].send(WSMsgType::Text, "x").is_accepted());
    assert_eq!(handle.slots(), 0);
    assert!(!server.is_listening());
    drop(waiting);
}

/// What outlives the loop fails, and nothing hangs or panics.
#[test]
fn handles_outlive_the_loop() {
    let (log, _events) = log();
    let event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
    let handle = event_loop.handle();
    drop(event_loop);
    assert!(handle.remote().post(|_| ()).is_err());
    handle.remote().stop();
    let listen =
        ws_create_server(&handle, move |_| Probe::new(&log), "127.0.0.1:0", WSServerConfig::default());
    assert!(matches!(listen, Err(WSServeError::Gone)));
    handle.call_later(Duration::ZERO, || panic!("the loop is gone")).detach();
    handle.call_soon(|| panic!("the loop is gone"));
    let (held, owner) = (Rc::new(()), handle.clone());
    let in_task = Rc::clone(&held);
    let task = handle.spawn(async move {
        std::future::pending::<()>().await;
        drop((in_task, owner));
    });
    assert!(task.is_finished() && Rc::strong_count(&held) == 1, "nobody polls it");
}

/// Tasks, timers and posted calls that are left are dropped with the loop, and what they drop may use the loop.
#[test]
fn what_is_left_is_dropped_with_the_loop() {
    struct UsesLoop(femtows::WSLoopHandle, Rc<RefCell<Vec<&'static str>>>, &'static str);
    impl Drop for UsesLoop {
        fn drop(&mut self) {
            self.1.borrow_mut().push(self.2);
            self.0.call_soon(|| ());
            self.0.spawn(async {}).detach();
            self.0.call_later(Duration::ZERO, || ()).detach();
        }
    }
    let dropped = Rc::new(RefCell::new(Vec::new()));
    let mut event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
    let handle = event_loop.handle();
    let held = |name| UsesLoop(handle.clone(), Rc::clone(&dropped), name);
    let (in_timer, in_ready_task) = (held("timer"), held("ready task"));
    handle.call_later(Duration::from_secs(3600), move || drop(in_timer)).detach();
    let (in_sleeping_task, owner) = (held("sleeping task"), handle.clone());
    handle
        .spawn(async move {
            owner.sleep(Duration::from_secs(3600)).await;
            drop(in_sleeping_task);
        })
        .detach();
    event_loop.run_once(Some(Duration::ZERO)).unwrap();
    handle.spawn(async move { drop(in_ready_task) }).detach();
    drop(event_loop);
    let mut dropped = dropped.borrow().clone();
    dropped.sort_unstable();
    assert_eq!(dropped, ["ready task", "sleeping task", "timer"]);
}

#[test]
fn a_stopped_loop_thread_disconnects_remote_peers() {
    let (log, events) = log();
    let server = serve(WSServerConfig::default(), move |_| Probe::new(&log));
    let mut peer = crate::support::peer::Peer::connect(server.addr);
    events.connected();
    let on: LoopThread = server.on;
    on.stop();
    assert_eq!(events.disconnected().cause, WSDisconnectCause::LoopClosed);
    peer.expect_gone();
}
