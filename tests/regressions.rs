//! Faults that were mended: each test failed before.

#[path = "support/mod.rs"]
#[allow(dead_code, reason = "shared with other test targets, each of which uses a part")]
mod support;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{self, AssertUnwindSafe};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use femtows::{
    WSConnectConfig, WSConnectError, WSDeferredUpgrade, WSDropReason, WSFrame, WSListener, WSLoop,
    WSLoopConfig, WSMsgType, WSResult, WSSendStatus, WSServerConfig, WSTransport, WSUpgradeRequest,
    ws_connect, ws_create_server,
};

use support::peer::{Peer, PeerServer, status, upgrade_request};
use support::probe::{Event, Probe, log};
use support::running::{block_on, serve};
use support::wire::Frame;
use support::{PATIENCE, eventually};

/// A listener that is a closure.
struct OnFrame<F>(F);

impl<F: FnMut(&mut WSFrame<'_>)> WSListener for OnFrame<F> {
    fn on_ws_frame(&mut self, _: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        (self.0)(frame);
        Ok(())
    }
}

/// Turns of the loop until `condition` is true.
fn turn_until(event_loop: &mut WSLoop, what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never came true: {what}");
        event_loop.run_once(Some(Duration::from_millis(5))).unwrap();
    }
}

/// A connection on `event_loop` to a peer on a blocking socket.
fn open(event_loop: &mut WSLoop) -> (WSTransport, Peer) {
    let server = PeerServer::bind();
    let url = server.url("/");
    let accepting = thread::spawn(move || server.accept());
    let config = WSConnectConfig::default();
    let connecting = ws_connect(&event_loop.handle(), OnFrame(|_: &mut WSFrame<'_>| ()), &url, config);
    let transport = block_on(event_loop, connecting).unwrap();
    (transport, accepting.join().unwrap())
}

#[test]
fn a_busy_peer_gets_no_more_of_a_turn_the_longer_it_is_busy() {
    const BUFFER: usize = 4096;
    let config = WSLoopConfig::default().read_buffer_size(BUFFER).reads_per_turn(1);
    let mut event_loop = WSLoop::new(config).unwrap();
    let received = Rc::new(Cell::new(0));
    let count = Rc::clone(&received);
    let factory = move |_: &WSUpgradeRequest| {
        let count = Rc::clone(&count);
        OnFrame(move |frame: &mut WSFrame<'_>| count.set(count.get() + frame.payload().len()))
    };
    let config = WSServerConfig::default();
    let server = ws_create_server(&event_loop.handle(), factory, "127.0.0.1:0", config).unwrap();
    let addr = server.local_addr();
    let total = 2 * 1024 * 1024;
    let flood = thread::spawn(move || {
        let mut peer = Peer::connect(addr);
        for _ in 0..total / 1024 {
            peer.send(&Frame::binary([7; 1024]));
        }
        peer
    });
    let deadline = Instant::now() + PATIENCE;
    let mut most = 0;
    while received.get() < total {
        assert!(Instant::now() < deadline, "the flood does not arrive");
        let before = received.get();
        event_loop.run_once(Some(Duration::ZERO)).unwrap();
        most = most.max(received.get() - before);
        // Time for the peer to refill the socket, so that there is an event in every turn.
        thread::sleep(Duration::from_millis(1));
    }
    // One read for the event, one from the list of those that had more to read, each with a little kept from before.
    assert!(most <= 4 * BUFFER, "{most} bytes in one turn");
    drop(flood.join().unwrap());
}

#[test]
fn pause_writing_comes_while_the_kernel_goes_on_refusing() {
    let (log, events) = log();
    let server = serve(WSServerConfig::default(), move |_| Probe::new(&log));
    let _peer = Peer::connect(server.addr);
    events.connected();
    server.on.ask_transport(0, |transport| {
        transport.with_socket(|socket| socket.set_send_buffer_size(4096)).unwrap().unwrap();
    });
    // One send per dispatch: it is the first that the kernel refuses and all later ones that queue up.
    let deadline = Instant::now() + PATIENCE;
    let send = |transport: &WSTransport| {
        assert!(transport.send(WSMsgType::Binary, [0; 4096]).is_accepted());
        transport.buffered_amount()
    };
    while server.on.ask_transport(0, send) < 1 << 20 {
        assert!(Instant::now() < deadline, "the kernel takes everything");
    }
    assert_eq!(events.so_far(), [Event::PauseWriting]);
}

#[test]
fn decisions_that_come_together_do_not_nest() {
    const CONNECTIONS: usize = 40;
    let mut event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
    let tickets = Rc::new(RefCell::new(Vec::new()));
    let keep = Rc::clone(&tickets);
    let factory = move |_: &WSUpgradeRequest| {
        let (ticket, later) = WSDeferredUpgrade::new();
        keep.borrow_mut().push(ticket);
        later
    };
    let config = WSServerConfig::default();
    let server = ws_create_server(&event_loop.handle(), factory, "127.0.0.1:0", config).unwrap();
    let connect = |_| {
        let mut peer = Peer::connect_tcp(server.local_addr());
        let early = peer.encode(&Frame::text("early"));
        peer.write(&[upgrade_request("/", "").as_bytes(), &early].concat());
        peer
    };
    let _peers: Vec<_> = (0..CONNECTIONS).map(connect).collect();
    turn_until(&mut event_loop, "all have asked", || tickets.borrow().len() == CONNECTIONS);
    let places = Rc::new(RefCell::new(Vec::new()));
    let note = Rc::clone(&places);
    event_loop.handle().call_soon(move || {
        for ticket in tickets.take() {
            let note = Rc::clone(&note);
            ticket.accept(OnFrame(move |_: &mut WSFrame<'_>| {
                let on_the_stack = 0_u8;
                note.borrow_mut().push(std::ptr::from_ref(&on_the_stack).addr());
            }));
        }
    });
    turn_until(&mut event_loop, "all were heard", || places.borrow().len() == CONNECTIONS);
    let places = places.borrow();
    let depth = places.iter().max().unwrap() - places.iter().min().unwrap();
    assert!(depth < 16 * 1024, "the stack grew by {depth} bytes over {CONNECTIONS} connections");
}

#[test]
fn a_panic_of_with_socket_leaves_the_connection_its_socket() {
    let mut event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
    let (transport, mut peer) = open(&mut event_loop);
    let result = panic::catch_unwind(AssertUnwindSafe(|| transport.with_socket(|_| panic!("on purpose"))));
    assert!(result.is_err());
    assert!(transport.send(WSMsgType::Text, "still there").is_accepted());
    transport.flush();
    assert_eq!(peer.read_frame(), Frame::text("still there"));
}

#[test]
fn frames_sent_while_the_socket_is_shown_are_not_lost() {
    for size in [10, 100_000] {
        let (log, events) = log();
        let server = serve(WSServerConfig::default(), move |_| Probe::new(&log));
        let mut peer = Peer::connect(server.addr);
        events.connected();
        let sent = server.on.ask_transport(0, move |transport| {
            transport.with_socket(|_| transport.send(WSMsgType::Binary, vec![1; size])).unwrap()
        });
        assert!(sent.is_accepted(), "{size} bytes: {sent:?}");
        assert_eq!(peer.read_frame(), Frame::binary(vec![1; size]));
    }
}

#[test]
fn durations_without_bound_are_no_panic() {
    let (log, events) = log();
    let config =
        WSServerConfig::default().handshake_timeout(Some(Duration::MAX)).close_timeout(Duration::MAX);
    let server = serve(config, move |_| Probe::new(&log));
    let mut peer = Peer::connect(server.addr);
    events.connected();
    peer.send(&Frame::close(1000, ""));
    assert_eq!(peer.read_frame().close_code(), Some(1000));
    events.frame();
    events.disconnected();
    let mut refused = Peer::connect_tcp(server.addr);
    assert_eq!(status(&refused.ask("POST / HTTP/1.1\r\n\r\n")), 405);
}

#[test]
fn a_shutdown_over_an_endless_time_is_no_panic() {
    let mut event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
    let factory = |_: &WSUpgradeRequest| OnFrame(|_: &mut WSFrame<'_>| ());
    let config = WSServerConfig::default();
    let server = ws_create_server(&event_loop.handle(), factory, "127.0.0.1:0", config).unwrap();
    let addr = server.local_addr();
    let connecting = thread::spawn(move || [(); 3].map(|()| Peer::connect(addr)));
    turn_until(&mut event_loop, "three connections", || server.connections() == 3);
    let mut peers = connecting.join().unwrap();
    let code = femtows::WSCloseCode::GOING_AWAY;
    let _endless = server.shutdown(code, "", Duration::MAX, Duration::MAX);
    turn_until(&mut event_loop, "the first is told at once", || {
        server.transports().iter().any(WSTransport::is_close_frame_sent)
    });
    drop(event_loop);
    peers.iter_mut().for_each(Peer::expect_gone);
}

#[test]
fn a_frame_that_broke_the_connection_is_not_reported_as_sent() {
    let mut event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
    let (transport, peer) = open(&mut event_loop);
    peer.reset();
    let mut last = WSSendStatus::Sent;
    eventually("the reset shows", || {
        last = transport.send(WSMsgType::Text, "into the void");
        transport.is_disconnected()
    });
    assert_eq!(last, WSSendStatus::Dropped(WSDropReason::Disconnected));
}

#[test]
fn a_panic_in_block_on_leaves_the_loop_in_order() {
    let (done, is_done) = channel();
    thread::spawn(move || {
        let mut event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
        let panics = AssertUnwindSafe(|| event_loop.block_on(async { panic!("on purpose") }));
        assert!(panic::catch_unwind(panics).is_err());
        // Time goes on only if the loop knows that it is between two turns.
        let sleep = event_loop.handle().sleep(Duration::from_millis(1));
        event_loop.block_on(sleep).unwrap();
        done.send(()).unwrap();
    });
    is_done.recv_timeout(PATIENCE).expect("the sleep ends");
}

#[test]
fn a_server_that_ends_before_it_was_asked_is_seen_at_once() {
    let mut event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
    let handle = event_loop.handle();
    let server = PeerServer::bind();
    let config = WSConnectConfig::default().handshake_timeout(Some(Duration::from_secs(10)));
    let listener = OnFrame(|_: &mut WSFrame<'_>| ());
    let connecting = handle.spawn(ws_connect(&handle, listener, &server.url("/"), config));
    event_loop.run_once(Some(Duration::ZERO)).unwrap();
    // TCP is there before the loop looks: the event that says so says of the end too.
    let mut peer = server.accept_tcp();
    peer.shutdown_write();
    thread::sleep(Duration::from_millis(50));
    let error = block_on(&mut event_loop, connecting).unwrap_err();
    assert!(matches!(error, WSConnectError::Handshake(_)), "{error}");
}

/// A future whose drop panics.
struct Grudge;

impl Future for Grudge {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

impl Drop for Grudge {
    fn drop(&mut self) {
        panic!("on purpose");
    }
}

#[test]
fn a_task_that_panics_when_dropped_does_not_take_the_loop_down() {
    let mut event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
    let handle = event_loop.handle();
    handle.spawn(Grudge).detach();
    let after = handle.spawn(async { 7 });
    assert_eq!(block_on(&mut event_loop, after), 7);
}

struct Counted;

impl Wake for Counted {
    fn wake(self: Arc<Self>) {}
}

#[test]
fn who_waits_no_more_leaves_nothing_behind() {
    let mut event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
    let (transport, mut peer) = open(&mut event_loop);
    let counted = Arc::new(Counted);
    let waker = Waker::from(Arc::clone(&counted));
    let before = Arc::strong_count(&counted);
    let mut stays = pin!(transport.wait_disconnected());
    assert!(stays.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert_eq!(Arc::strong_count(&counted), before + 1);
    // One that shares the waker of the one that stays, and one with a waker of its own.
    let other = Arc::new(Counted);
    for goes_with in [waker.clone(), Waker::from(Arc::clone(&other))] {
        let mut goes = Box::pin(transport.wait_disconnected());
        for _ in 0..3 {
            assert!(goes.as_mut().poll(&mut Context::from_waker(&goes_with)).is_pending());
        }
    }
    assert_eq!(Arc::strong_count(&other), 1, "nobody waits with this");
    assert_eq!(Arc::strong_count(&counted), before + 1, "one waits");
    transport.abort();
    block_on(&mut event_loop, transport.wait_disconnected()).unwrap();
    assert_eq!(Arc::strong_count(&counted), before, "the one was woken");
    peer.expect_gone();
}

/// A `ws_connect` under way.
type Connect = Pin<Box<dyn Future<Output = Result<WSTransport, WSConnectError>>>>;

/// Gives up the connect that made it, from its own `on_ws_connected`.
struct GivesUp {
    connect: Rc<RefCell<Option<Connect>>>,
    transport: Rc<RefCell<Option<WSTransport>>>,
}

impl WSListener for GivesUp {
    fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
        self.transport.replace(Some(transport.clone()));
        drop(self.connect.take());
        Ok(())
    }

    fn on_ws_frame(&mut self, _: &WSTransport, _: &mut WSFrame<'_>) -> WSResult {
        Ok(())
    }
}

#[test]
fn a_connect_given_up_by_its_own_listener_leaves_no_connection() {
    let mut event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
    let handle = event_loop.handle();
    let factory = |_: &WSUpgradeRequest| OnFrame(|_: &mut WSFrame<'_>| {});
    let server = ws_create_server(&handle, factory, "127.0.0.1:0", WSServerConfig::default()).unwrap();
    let (connect, transport) = (Rc::default(), Rc::default());
    let listener = GivesUp { connect: Rc::clone(&connect), transport: Rc::clone(&transport) };
    let url = format!("ws://{}/", server.local_addr());
    connect
        .replace(Some(Box::pin(ws_connect(&handle, listener, &url, WSConnectConfig::default())) as Connect));
    let given_up = std::future::poll_fn(|cx| match &mut *connect.borrow_mut() {
        Some(connect) => connect.as_mut().poll(cx).map(drop),
        None => Poll::Ready(()),
    });
    let mut given_up = pin!(given_up);
    let waker = Waker::from(Arc::new(Counted));
    while given_up.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
        event_loop.run_once(Some(Duration::from_millis(10))).unwrap();
    }
    let transport: WSTransport = transport.borrow_mut().take().expect("it was opened");
    block_on(&mut event_loop, transport.wait_disconnected()).unwrap();
    assert!(transport.is_disconnected());
}
