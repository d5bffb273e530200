//! What a loop counts.

use std::cell::RefCell;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use femtows::testkit::{Peer, TestKit};
use femtows::*;

use crate::recorder::{Log, Recorder};

#[test]
fn what_went_in_and_out_is_counted_to_the_byte() {
    let mut kit = TestKit::new(1);
    let metrics = kit.handle().metrics();
    let log = Log::default();
    let server = log.clone();
    let mut peer =
        kit.raw_server(move |_: &WSUpgradeRequest| Recorder::echo(&server), WSServerConfig::default());
    assert_eq!(metrics.snapshot().connections_accepted, 1);
    assert_eq!(metrics.snapshot().connections_opened, 0);
    peer.upgrade(&mut kit);
    let opened = metrics.snapshot();
    assert_eq!((opened.connections_opened, opened.connections_open()), (1, 1));
    assert_eq!((opened.frames_received, opened.frames_sent, opened.bytes_received), (0, 0, 0));
    for _ in 0..10 {
        for _ in 0..5 {
            peer.send_frame(WSMsgType::Binary, &[7; 20]);
        }
        peer.send_frame(WSMsgType::Ping, b"");
        kit.run_until_idle();
    }
    // Every way out: long, in place, with its own memory, prepared, through to the kernel.
    let transport = log.transport().clone();
    let mut memory = vec![0; WS_HEADROOM + 10];
    transport.send(WSMsgType::Binary, [1; 200]);
    transport
        .send_reuse_external_buffer(WSMsgType::Binary, &mut memory, WS_HEADROOM, SendOptions::default())
        .unwrap();
    transport.send_prepared_frame(&WSPreparedFrame::new(WSMsgType::Text, "prepared"));
    transport.send(WSMsgType::Binary, vec![2; 20_000]);
    kit.run_until_idle();
    let seen = metrics.snapshot();
    assert_eq!(seen.frames_received, 60);
    assert_eq!(seen.bytes_received, 10 * (5 * (6 + 20) + 6));
    assert_eq!(seen.frames_sent, 60 + 4);
    let sent = 10 * (5 * (2 + 20) + 2) + (4 + 200) + (2 + 10) + (2 + 8) + (4 + 20_000);
    assert_eq!(seen.bytes_sent - opened.bytes_sent, sent);
    peer.send_frame(WSMsgType::Close, b"\x0f\xa1");
    kit.run_until_idle();
    let end = metrics.snapshot();
    assert_eq!((end.connections_closed, end.connections_open()), (1, 0));
    assert_eq!((end.closed_with(WSCloseCode(4001)), end.closed_with(WSCloseCode::OK)), (1, 0));
    assert_eq!((end.frames_received, end.frames_sent), (61, 65));
    assert_eq!((end.longest_callback, end.longest_loop_lag), (None, None), "not asked for");
}

#[test]
fn drops_are_counted() {
    let mut kit = TestKit::new(2);
    let metrics = kit.handle().metrics();
    let log = Log::default();
    let server = log.clone();
    let limits = WSLimits::default().max_outbound(1000).overflow_policy(WSOverflowPolicy::DropNew);
    let config = WSServerConfig::default().limits(limits);
    let mut peer = kit.raw_server(move |_: &WSUpgradeRequest| Recorder::new(&server), config);
    peer.upgrade(&mut kit);
    peer.link().to_client().capacity(1).stall();
    let mut dropped = 0;
    while dropped < 3 {
        dropped += u64::from(!log.transport().send(WSMsgType::Binary, [1; 100]).is_accepted());
    }
    let seen = metrics.snapshot();
    assert_eq!((seen.frames_dropped, seen.bytes_dropped), (3, 300));
}

#[test]
fn failed_openings_are_counted_by_kind() {
    let mut kit = TestKit::new(3);
    let metrics = kit.handle().metrics();
    let factory = |request: &WSUpgradeRequest| {
        assert!(request.headers().contains("upgrade"), "a factory that fails");
        None::<Recorder>
    };
    let config = WSServerConfig::default().handshake_timeout(Some(Duration::from_secs(1)));
    let requests: [&[u8]; 4] =
        [b"", b"NONSENSE\r\n\r\n", &Peer::request(), b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"];
    let mut peers: Vec<_> = requests
        .iter()
        .map(|request| {
            let mut peer = kit.raw_server(factory, config.clone());
            peer.write(request);
            peer
        })
        .collect();
    kit.run_until_idle();
    let mut gone = kit.raw_server(factory, config);
    gone.close();
    kit.advance(Duration::from_secs(10));
    peers.iter_mut().for_each(Peer::close);
    kit.run_until_idle();
    let seen = metrics.snapshot();
    let counts = WSHandshakeFailure::ALL.map(|kind| (kind, seen.handshake_failures(kind)));
    // Nothing here spoke TLS.
    let expected = |kind| (kind, u64::from(kind != WSHandshakeFailure::Tls));
    assert_eq!(counts, WSHandshakeFailure::ALL.map(expected));
    assert_eq!((seen.connections_accepted, seen.connections_opened), (5, 0));
}

#[test]
fn a_clients_failures_are_counted_by_kind() {
    let mut kit = TestKit::new(4);
    let metrics = kit.handle().metrics();
    let answers: [(&[u8], WSHandshakeFailure); 3] = [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", WSHandshakeFailure::Refused),
        (b"HTTP/1.1 101 Fine\r\n\r\n", WSHandshakeFailure::Invalid),
        (b"", WSHandshakeFailure::Timeout),
    ];
    for (answer, kind) in answers {
        let (mut peer, client) = kit.raw_client(Recorder::default(), WSConnectConfig::default());
        kit.run_until_idle();
        peer.write(answer);
        assert!(kit.block_on(client).is_err());
        assert_eq!(metrics.snapshot().handshake_failures(kind), 1, "{kind:?}");
    }
    let seen = metrics.snapshot();
    assert_eq!(WSHandshakeFailure::ALL.map(|kind| seen.handshake_failures(kind)).iter().sum::<u64>(), 3);
}

/// Sleeps longer in each callback than in the one before, and notes the names of the callbacks.
struct Sleeper(Rc<RefCell<Vec<&'static str>>>);

impl Sleeper {
    fn nap(number: usize) -> Duration {
        Duration::from_millis(4 * number as u64)
    }

    fn called(&self, name: &'static str) {
        self.0.borrow_mut().push(name);
        thread::sleep(Self::nap(self.0.borrow().len()));
    }
}

impl WSListener for Sleeper {
    fn on_ws_connected(&mut self, _: &WSTransport) -> WSResult {
        self.called("connected");
        Ok(())
    }

    fn on_ws_frame(&mut self, transport: &WSTransport, _: &mut WSFrame<'_>) -> WSResult {
        self.called("frame");
        transport.send(WSMsgType::Binary, [1; 200]);
        Ok(())
    }

    fn on_ws_disconnected(&mut self, _: &WSTransport) {
        self.called("disconnected");
    }

    fn send_user_specific_ping(&mut self, transport: &WSTransport) -> WSResult {
        self.called("send ping");
        transport.send_ping([])?;
        Ok(())
    }

    fn is_user_specific_pong(&mut self, frame: &WSFrame<'_>) -> bool {
        self.called("is pong");
        frame.msg_type() == WSMsgType::Pong
    }

    fn pause_writing(&mut self, _: &WSTransport) {
        self.called("pause writing");
    }

    fn resume_writing(&mut self, _: &WSTransport) {
        self.called("resume writing");
    }
}

#[test]
fn each_callback_is_measured() {
    let mut kit = TestKit::with_config(4, WSLoopConfig::default().measure_callbacks(true));
    let metrics = kit.handle().metrics();
    let called = Rc::default();
    let names = Rc::clone(&called);
    let config = WSServerConfig::default()
        .tuning(WSTuning::default().write_watermarks(0, 100))
        .enable_auto_ping(true)
        .auto_ping_idle_timeout(Duration::from_secs(1));
    // Called through a reference and a box, each of which passes every callback on.
    let listener = move |_: &WSUpgradeRequest| Box::leak(Box::new(Box::new(Sleeper(Rc::clone(&names)))));
    let mut peer = kit.raw_server(listener, config);
    let mut seen = 0;
    let mut expect = |names: &[&str]| {
        assert_eq!(called.borrow()[seen..], *names);
        seen += names.len();
        let longest = metrics.snapshot().longest_callback;
        assert!(longest >= Some(Sleeper::nap(seen)), "{names:?}: {longest:?}");
    };
    peer.upgrade(&mut kit);
    expect(&["connected"]);
    kit.advance(Duration::from_secs(1));
    expect(&["send ping"]);
    peer.send_frame(WSMsgType::Pong, b"");
    kit.run_until_idle();
    expect(&["is pong"]);
    peer.link().to_client().capacity(1).stall();
    peer.send_frame(WSMsgType::Binary, b"");
    kit.turn();
    expect(&["frame", "pause writing"]);
    peer.link().to_client().unstall().capacity(usize::MAX);
    kit.run_until_idle();
    expect(&["resume writing"]);
    peer.send_frame(WSMsgType::Binary, b"");
    kit.run_until_idle();
    expect(&["frame"]);
    peer.close();
    kit.run_until_idle();
    expect(&["disconnected"]);
}
