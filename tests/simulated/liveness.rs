//! Pings, idle time-outs, lifetimes, round-trip times; by the virtual clock.

use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;

use femtows::testkit::{Peer, PeerFrame, TestKit};
use femtows::*;

use crate::recorder::{Log, Recorder};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);
const TICK: Duration = Duration::from_nanos(1);

/// A ping when nothing came for 5 s, to be answered within 2 s.
fn auto_ping() -> WSServerConfig {
    WSServerConfig::default()
        .enable_auto_ping(true)
        .auto_ping_idle_timeout(5 * SECOND)
        .auto_ping_reply_timeout(2 * SECOND)
}

fn open_server(kit: &mut TestKit, log: &Log, config: WSServerConfig) -> Peer {
    let server = log.clone();
    let mut peer = kit.raw_server(move |_: &WSUpgradeRequest| Recorder::new(&server), config);
    peer.upgrade(kit);
    peer
}

/// All of a time but its last nanosecond.
fn nearly(time: Duration) -> Duration {
    time.saturating_sub(TICK)
}

fn control(msg_type: WSMsgType) -> PeerFrame {
    PeerFrame { msg_type, fin: true, payload: Vec::new() }
}

fn info(log: &Log) -> WSDisconnectInfo {
    log.transport().disconnect_info().cloned().expect("the connection has ended")
}

#[test]
fn t12_a_mute_peer_sees_ping_then_close_1001() {
    for strategy in [WSAutoPingStrategy::PingWhenIdle, WSAutoPingStrategy::PingPeriodically] {
        let mut kit = TestKit::new(1);
        let log = Log::default();
        let mut peer = open_server(&mut kit, &log, auto_ping().auto_ping_strategy(strategy));
        kit.advance(nearly(5 * SECOND));
        assert_eq!(peer.frames(), []);
        kit.advance(TICK);
        assert_eq!(peer.frames(), [control(WSMsgType::Ping)]);
        kit.advance(nearly(2 * SECOND));
        assert_eq!(peer.frames(), []);
        assert!(!log.transport().is_disconnected());
        kit.advance(TICK);
        let frames = peer.frames();
        let text = b"peer has not replied to ping/heartbeat request within 2 second(s)";
        assert_eq!(frames.len(), 1);
        assert_eq!(frames[0].payload, [&1001u16.to_be_bytes()[..], text].concat());
        let info = info(&log);
        assert_eq!(
            (info.cause, info.side, info.code),
            (WSDisconnectCause::PingTimeout, WSDisconnectSide::Local, WSCloseCode::GOING_AWAY)
        );
        assert_eq!(info.reason.as_bytes(), text);
        peer.close();
        log.assert_paired();
        drop(log);
        assert_eq!(kit.leftovers(), [""; 0]);
    }
}

#[test]
fn t12_data_every_20_ms_spares_the_idle_strategy_its_pings_and_not_the_periodic_one() {
    for (strategy, pings) in
        [(WSAutoPingStrategy::PingWhenIdle, 0), (WSAutoPingStrategy::PingPeriodically, 4)]
    {
        let mut kit = TestKit::new(2);
        let log = Log::default();
        let mut peer = open_server(&mut kit, &log, auto_ping().auto_ping_strategy(strategy));
        let mut seen = 0;
        for _ in 0..1000 {
            peer.send_frame(WSMsgType::Binary, b"tick");
            kit.advance(20 * MILLISECOND);
            for frame in peer.frames() {
                assert_eq!(frame, control(WSMsgType::Ping));
                peer.send_frame(WSMsgType::Pong, b"");
                seen += 1;
            }
        }
        kit.run_until_idle();
        assert_eq!(seen, pings, "{strategy:?} in 20 s");
        assert_eq!(log.payloads(WSMsgType::Binary).len(), 1000);
        assert_eq!(log.payloads(WSMsgType::Pong).len(), 0, "answers are consumed");
    }
}

#[test]
fn t12_data_is_no_answer_and_any_pong_is() {
    let mut kit = TestKit::new(3);
    let log = Log::default();
    let mut peer = open_server(&mut kit, &log, auto_ping());
    peer.send_frame(WSMsgType::Pong, b"not asked for");
    kit.run_until_idle();
    assert_eq!(log.payloads(WSMsgType::Pong), [b"not asked for"]);
    for _ in 0..3 {
        kit.advance(5 * SECOND);
        assert_eq!(peer.frames(), [control(WSMsgType::Ping)]);
        kit.advance(SECOND);
        peer.send_frame(WSMsgType::Pong, b"whatever is in it");
        kit.run_until_idle();
    }
    assert_eq!(log.payloads(WSMsgType::Pong).len(), 1, "those that were awaited are consumed");
    kit.advance(5 * SECOND);
    kit.advance(nearly(2 * SECOND));
    peer.send_frame(WSMsgType::Text, b"alive and kicking");
    kit.run_until_idle();
    assert!(!log.transport().is_disconnected());
    kit.advance(TICK);
    assert_eq!(info(&log).cause, WSDisconnectCause::PingTimeout);
    assert_eq!(log.payloads(WSMsgType::Text).len(), 1);
}

/// Its heartbeat is a text message, and the answer to it too.
struct Heartbeats {
    recorder: Recorder,
    notifies: bool,
}

impl WSListener for Heartbeats {
    fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
        self.recorder.on_ws_connected(transport)
    }

    fn on_ws_frame(&mut self, transport: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        if self.notifies && frame.payload() == b"beat" {
            transport.notify_user_specific_pong_received();
        }
        self.recorder.on_ws_frame(transport, frame)
    }

    fn on_ws_disconnected(&mut self, transport: &WSTransport) {
        self.recorder.on_ws_disconnected(transport);
    }

    fn send_user_specific_ping(&mut self, transport: &WSTransport) -> WSResult {
        transport.send(WSMsgType::Text, "heart");
        Ok(())
    }

    fn is_user_specific_pong(&mut self, frame: &WSFrame<'_>) -> bool {
        !self.notifies && frame.payload() == b"beat"
    }
}

#[test]
fn t12_text_heartbeats_are_consumed_and_other_text_is_delivered() {
    for notifies in [false, true] {
        let mut kit = TestKit::new(4);
        let log = Log::default();
        let server = log.clone();
        let factory = move |_: &WSUpgradeRequest| Heartbeats { recorder: Recorder::new(&server), notifies };
        let mut peer = kit.raw_server(factory, auto_ping());
        peer.upgrade(&mut kit);
        peer.send_frame(WSMsgType::Text, b"beat");
        kit.run_until_idle();
        assert_eq!(log.payloads(WSMsgType::Text), [b"beat"], "nothing was asked yet");
        for _ in 0..3 {
            kit.advance(5 * SECOND);
            assert_eq!(peer.frames()[0].payload, b"heart");
            for text in [&b"before"[..], b"beat", b"after"] {
                peer.send_frame(WSMsgType::Text, text);
            }
            kit.run_until_idle();
        }
        let per_round = if notifies { 3 } else { 2 };
        assert_eq!(log.payloads(WSMsgType::Text).len(), 1 + 3 * per_round);
        peer.send_frame(WSMsgType::Pong, b"");
        kit.advance(6 * SECOND);
        peer.send_frame(WSMsgType::Pong, b"");
        kit.advance(SECOND);
        assert_eq!(info(&log).cause, WSDisconnectCause::PingTimeout, "PONG is not its answer");
        assert_eq!(log.payloads(WSMsgType::Pong).len(), 2);
    }
}

/// It takes all it is asked about for a heartbeat, and is not asked about that.
#[test]
fn t12_a_close_is_never_a_heartbeat() {
    struct Greedy(Recorder);
    impl WSListener for Greedy {
        fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
            self.0.on_ws_connected(transport)
        }
        fn on_ws_frame(&mut self, transport: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
            self.0.on_ws_frame(transport, frame)
        }
        fn is_user_specific_pong(&mut self, _: &WSFrame<'_>) -> bool {
            true
        }
    }
    let mut kit = TestKit::new(6);
    let log = Log::default();
    let server = log.clone();
    let mut peer = kit.raw_server(move |_: &WSUpgradeRequest| Greedy(Recorder::new(&server)), auto_ping());
    peer.upgrade(&mut kit);
    kit.advance(5 * SECOND);
    assert_eq!(peer.frames(), [control(WSMsgType::Ping)]);
    peer.send_frame(WSMsgType::Close, b"\x03\xe8");
    kit.run_until_idle();
    assert_eq!(log.payloads(WSMsgType::Close), [b"\x03\xe8"]);
}

#[test]
fn t12_a_listener_that_cannot_ping_closes_with_1011() {
    struct Mute(Recorder);
    impl WSListener for Mute {
        fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
            self.0.on_ws_connected(transport)
        }
        fn on_ws_frame(&mut self, _: &WSTransport, _: &mut WSFrame<'_>) -> WSResult {
            Ok(())
        }
        fn send_user_specific_ping(&mut self, _: &WSTransport) -> WSResult {
            Err("no".into())
        }
    }
    let mut kit = TestKit::new(5);
    let log = Log::default();
    let server = log.clone();
    let mut peer = kit.raw_server(move |_: &WSUpgradeRequest| Mute(Recorder::new(&server)), auto_ping());
    peer.upgrade(&mut kit);
    kit.advance(5 * SECOND);
    assert_eq!(peer.frames()[0].payload, 1011u16.to_be_bytes());
    peer.close();
    kit.advance(20 * SECOND);
    assert_eq!(info(&log).cause, WSDisconnectCause::ListenerError);
}

#[test]
fn t12_a_peer_that_is_not_read_is_not_given_up_on() {
    let mut kit = TestKit::new(6);
    let log = Log::default();
    let mut peer = open_server(&mut kit, &log, auto_ping().idle_timeout(Some(6 * SECOND)));
    kit.advance(5 * SECOND);
    assert_eq!(peer.frames().len(), 1);
    log.transport().pause_reading();
    peer.send_frame(WSMsgType::Pong, b"");
    kit.advance(100 * SECOND);
    log.transport().resume_reading();
    kit.advance(nearly(5 * SECOND));
    assert!(!log.transport().is_disconnected());
    assert_eq!(peer.frames(), []);
    kit.advance(2 * SECOND);
    let frames = peer.frames();
    assert_eq!(frames[0], control(WSMsgType::Ping), "5 s after the pause");
    assert!(frames[1].payload.ends_with(b"nothing received for 6 second(s)"));
}

#[test]
fn idle_and_lifetime_end_with_a_closing_handshake() {
    let idle = WSServerConfig::default().idle_timeout(Some(3 * SECOND));
    let lifetime = WSServerConfig::default().max_connection_lifetime(Some(6 * SECOND));
    let cases = [
        (idle, WSDisconnectCause::IdleTimeout, 5, "nothing received for 3 second(s)"),
        (lifetime, WSDisconnectCause::LifetimeOver, 6, "open for 6 second(s), the maximum"),
    ];
    for (config, cause, after, reason) in cases {
        for answers in [true, false] {
            let mut kit = TestKit::new(7);
            let log = Log::default();
            let mut peer = open_server(&mut kit, &log, config.clone().close_timeout(SECOND));
            kit.advance(2 * SECOND);
            // A single byte of a frame is a sign of life.
            peer.write(&[0x81]);
            kit.advance(nearly(Duration::from_secs(after - 2)));
            assert_eq!(peer.frames(), []);
            kit.advance(TICK);
            let close = peer.frames().remove(0);
            assert_eq!(close.payload, [&1001u16.to_be_bytes()[..], reason.as_bytes()].concat());
            assert!(!log.transport().is_disconnected(), "the peer may answer");
            if answers {
                // The rest of the frame that was begun, then CLOSE.
                peer.write(&[0x80, 0, 0, 0, 0]);
                peer.send_frame(WSMsgType::Close, b"\x03\xe9");
                kit.run_until_idle();
            } else {
                kit.advance(SECOND);
            }
            let info = info(&log);
            assert_eq!((info.cause, info.code, &*info.reason), (cause, WSCloseCode::GOING_AWAY, reason));
            assert_eq!(kit.block_on(log.transport().wait_disconnected()).map_err(|e| e.to_string()), Ok(()));
            log.assert_paired();
        }
    }
}

#[test]
fn roundtrip_times_are_those_of_the_link() {
    for auto in [false, true] {
        let mut kit = TestKit::new(8);
        let log = Log::default();
        let pair = kit
            .pair(
                |_: &WSUpgradeRequest| Recorder::new(&Log::default()),
                Recorder::new(&log),
                WSServerConfig::default(),
                WSConnectConfig::default().enable_auto_ping(auto).auto_ping_idle_timeout(10 * SECOND),
            )
            .unwrap();
        pair.link.to_server().delay(1500 * MILLISECOND);
        pair.link.to_client().delay(2500 * MILLISECOND);
        // Two at once: each has answers of its own.
        let handle = kit.handle();
        let other = handle.spawn(pair.client.measure_roundtrip_time(3));
        let times = kit.block_on(pair.client.measure_roundtrip_time(4)).unwrap();
        assert_eq!(times, [4 * SECOND; 4]);
        assert_eq!(kit.block_on(other).unwrap(), [4 * SECOND; 3]);
        assert_eq!(log.payloads(WSMsgType::Pong).len(), 0);
        assert_eq!(kit.block_on(pair.client.measure_roundtrip_time(0)).unwrap(), []);
    }
}

#[test]
fn auto_ping_holds_back_while_roundtrips_are_measured() {
    let mut kit = TestKit::new(9);
    let log = Log::default();
    let config = auto_ping().auto_ping_strategy(WSAutoPingStrategy::PingPeriodically);
    let mut peer = open_server(&mut kit, &log, config);
    let measuring = kit.handle().spawn(log.transport().measure_roundtrip_time(20));
    let mut pings = 0;
    for _ in 0..20 {
        kit.advance(SECOND);
        pings += peer.frames().len();
        peer.send_frame(WSMsgType::Pong, b"");
    }
    kit.run_until_idle();
    assert!(measuring.is_finished());
    assert_eq!(pings, 20);
    kit.advance(5 * SECOND);
    assert_eq!(peer.frames(), [control(WSMsgType::Ping)], "auto-ping is back");
}

#[test]
fn a_disconnect_ends_a_measurement() {
    let mut kit = TestKit::new(10);
    let log = Log::default();
    let mut peer = open_server(&mut kit, &log, auto_ping());
    let silent = kit.handle().spawn(log.transport().measure_roundtrip_time(1));
    kit.run_until_idle();
    assert_eq!(peer.frames(), [control(WSMsgType::Ping)]);
    kit.advance(2 * SECOND);
    assert!(matches!(kit.block_on(silent), Err(WSError::Disconnected)));
    assert_eq!(info(&log).cause, WSDisconnectCause::PingTimeout, "its ping counts as auto-ping's");
    let late = log.transport().measure_roundtrip_time(1);
    assert!(matches!(kit.block_on(late), Err(WSError::Disconnected)));
}

#[test]
fn a_measurement_that_is_dropped_leaves_nothing_behind() {
    let mut kit = TestKit::new(11);
    let log = Log::default();
    let mut peer = open_server(&mut kit, &log, auto_ping());
    let mut dropped = Box::pin(log.transport().measure_roundtrip_time(1));
    let pending = kit.block_on(poll_fn(|cx| Poll::Ready(dropped.as_mut().poll(cx).is_pending())));
    assert!(pending);
    drop(dropped);
    kit.run_until_idle();
    peer.send_frame(WSMsgType::Pong, b"");
    kit.run_until_idle();
    assert_eq!(peer.frames().len(), 1);
    kit.advance(5 * SECOND);
    assert_eq!(peer.frames(), [control(WSMsgType::Ping)], "auto-ping is not held back any more");
}

#[test]
fn time_outs_of_auto_ping_that_contradict_each_other_are_refused() {
    let event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
    let config = auto_ping().auto_ping_reply_timeout(6 * SECOND);
    let factory = |_: &WSUpgradeRequest| Recorder::default();
    let server = ws_create_server(&event_loop.handle(), factory, "127.0.0.1:0", config);
    assert!(matches!(server, Err(WSServeError::Config(WSConfigError::Argument(_)))));
}

#[test]
fn auto_ping_idle_timeout_alone_may_be_short() {
    let event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
    let config = WSServerConfig::default().enable_auto_ping(true).auto_ping_idle_timeout(3 * SECOND);
    let factory = |_: &WSUpgradeRequest| Recorder::default();
    ws_create_server(&event_loop.handle(), factory, "127.0.0.1:0", config).unwrap();
}

/// A peer that answers no ping is pinged after `ping` and given up on `reply` later.
fn pings_and_gives_up(config: WSServerConfig, ping: Duration, reply: Duration) {
    let mut kit = TestKit::new(11);
    let log = Log::default();
    let mut peer = open_server(&mut kit, &log, config.enable_auto_ping(true));
    kit.advance(ping);
    assert_eq!(peer.frames(), [control(WSMsgType::Ping)]);
    kit.advance(nearly(reply));
    assert!(!log.transport().is_disconnected());
    kit.advance(TICK);
    assert_eq!(info(&log).cause, WSDisconnectCause::PingTimeout);
}

#[test]
fn auto_ping_reply_timeout_follows_a_shorter_idle_timeout() {
    pings_and_gives_up(WSServerConfig::default().auto_ping_idle_timeout(3 * SECOND), 3 * SECOND, 3 * SECOND);
}

#[test]
fn auto_ping_reply_timeout_keeps_its_default_under_a_longer_idle_timeout() {
    pings_and_gives_up(
        WSServerConfig::default().auto_ping_idle_timeout(60 * SECOND),
        60 * SECOND,
        20 * SECOND,
    );
}

#[test]
fn auto_ping_reply_timeout_of_a_client_follows_a_shorter_idle_timeout() {
    let mut kit = TestKit::new(12);
    let log = Log::default();
    let config = WSConnectConfig::default().enable_auto_ping(true).auto_ping_idle_timeout(3 * SECOND);
    let (mut peer, client) = kit.raw_client(Recorder::new(&log), config);
    peer.upgrade(&mut kit);
    let transport = kit.block_on(client).unwrap();
    kit.advance(6 * SECOND);
    assert_eq!(transport.disconnect_info().unwrap().cause, WSDisconnectCause::PingTimeout);
}

#[test]
fn a_ping_that_fails_closes_with_the_code_and_text_of_its_error() {
    struct Picky(Recorder);
    impl WSListener for Picky {
        fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
            self.0.on_ws_connected(transport)
        }
        fn on_ws_frame(&mut self, _: &WSTransport, _: &mut WSFrame<'_>) -> WSResult {
            Ok(())
        }
        fn send_user_specific_ping(&mut self, _: &WSTransport) -> WSResult {
            Err(WSProtocolError::new(WSCloseCode(4321), "no heartbeat").into())
        }
    }
    for measures in [false, true] {
        let mut kit = TestKit::new(12);
        let log = Log::default();
        let server = log.clone();
        let mut peer = kit.raw_server(move |_: &WSUpgradeRequest| Picky(Recorder::new(&server)), auto_ping());
        peer.upgrade(&mut kit);
        if measures {
            let measured = kit.handle().spawn(log.transport().measure_roundtrip_time(1));
            kit.run_until_idle();
            drop(measured);
        } else {
            kit.advance(5 * SECOND);
        }
        let payloads: Vec<_> = peer.frames().into_iter().map(|frame| frame.payload).collect();
        assert_eq!(payloads, [[&4321u16.to_be_bytes()[..], b"no heartbeat"].concat()], "{measures}");
    }
}
