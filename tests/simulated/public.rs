//! The preset for servers on the open internet.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use femtows::proto::Role;
use femtows::testkit::{Peer, PeerFrame, TestKit};
use femtows::*;

use crate::recorder::{Entry, Log, Logs, Recorder};

const SECOND: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_nanos(1);
/// All of a time but for a tick.
fn nearly(time: Duration) -> Duration {
    time.saturating_sub(TICK)
}

const MIB: usize = 1 << 20;

fn quiet(_: &WSUpgradeRequest) -> Recorder {
    Recorder::default()
}

/// An open connection of a server with this configuration.
fn open(kit: &mut TestKit, config: WSServerConfig) -> (Peer, Log) {
    let log = Log::default();
    let listener = log.clone();
    let mut peer = kit.raw_server(move |_: &WSUpgradeRequest| Recorder::new(&listener), config);
    peer.upgrade(kit);
    peer.link().to_server().capacity(usize::MAX);
    (peer, log)
}

/// The close codes of the frames that arrived; other frames by their type.
fn told(peer: &mut Peer) -> Vec<String> {
    let name = |frame: PeerFrame| match (frame.msg_type, &frame.payload[..]) {
        (WSMsgType::Close, [high, low, ..]) => format!("CLOSE {}", u16::from_be_bytes([*high, *low])),
        (msg_type, _) => format!("{msg_type:?}"),
    };
    peer.frames().into_iter().map(name).collect()
}

#[test]
fn public_preset_refuses_connection_10001() {
    let mut kit = TestKit::new(1);
    let server = kit.server(quiet, WSServerConfig::public());
    let _peers: Vec<Peer> = (0..10_000).map(|_| kit.connect_to(&server)).collect();
    assert_eq!(server.refused(), 0);
    let one_more = kit.connect_to(&server);
    assert!(one_more.link().is_closed(Role::Server));
    assert_eq!(server.refused(), 1);
}

#[test]
fn public_preset_gives_a_request_5_seconds() {
    let mut kit = TestKit::new(1);
    let mut peer = kit.raw_server(quiet, WSServerConfig::public());
    peer.write(b"GET / HTTP/1.1\r\nHost");
    kit.advance(nearly(5 * SECOND));
    assert!(!peer.link().is_closed(Role::Server));
    kit.advance(TICK);
    assert!(peer.link().is_closed(Role::Server));
}

#[test]
fn public_preset_pings_after_20_seconds_and_gives_up_20_seconds_later() {
    let mut kit = TestKit::new(1);
    let (mut peer, log) = open(&mut kit, WSServerConfig::public());
    kit.advance(nearly(20 * SECOND));
    assert_eq!(told(&mut peer), [""; 0]);
    kit.advance(TICK);
    assert_eq!(told(&mut peer), ["Ping"]);
    kit.advance(nearly(20 * SECOND));
    assert_eq!(told(&mut peer), [""; 0]);
    kit.advance(TICK);
    assert_eq!(told(&mut peer), ["CLOSE 1001"]);
    assert_eq!(log.last(), Some(Entry::Disconnected(WSDisconnectCause::PingTimeout)));
}

#[test]
fn public_preset_takes_a_shorter_ping_interval_alone() {
    let mut kit = TestKit::new(1);
    let (mut peer, _log) = open(&mut kit, WSServerConfig::public().auto_ping_idle_timeout(10 * SECOND));
    kit.advance(10 * SECOND);
    assert_eq!(told(&mut peer), ["Ping"]);
    kit.advance(10 * SECOND);
    assert_eq!(told(&mut peer), ["CLOSE 1001"], "the reply timeout follows");
}

/// Of a server that replaces auto-ping by something of its own.
#[test]
fn public_preset_closes_with_1001_after_5_idle_minutes() {
    let mut kit = TestKit::new(1);
    let (mut peer, _log) = open(&mut kit, WSServerConfig::public().enable_auto_ping(false));
    kit.advance(nearly(300 * SECOND));
    assert_eq!(told(&mut peer), [""; 0]);
    kit.advance(TICK);
    assert_eq!(told(&mut peer), ["CLOSE 1001"]);
}

#[test]
fn public_preset_takes_a_frame_of_1_mib_and_closes_a_larger_one_with_1009() {
    let mut kit = TestKit::new(1);
    let (mut peer, log) = open(&mut kit, WSServerConfig::public());
    peer.send_frame(WSMsgType::Binary, &vec![0; MIB]);
    kit.run_until_idle();
    assert_eq!(log.payloads(WSMsgType::Binary).len(), 1);
    peer.send_frame(WSMsgType::Binary, &vec![0; MIB + 1]);
    kit.run_until_idle();
    assert_eq!(log.payloads(WSMsgType::Binary).len(), 1);
    assert_eq!(told(&mut peer), ["CLOSE 1009"]);
}

/// Keeps the lengths of messages.
struct Lengths(Rc<RefCell<Vec<usize>>>);

impl WSMessageListener for Lengths {
    fn on_ws_message(&mut self, _: &WSTransport, message: WSMessage<'_>) -> WSResult {
        self.0.borrow_mut().push(message.as_bytes().len());
        Ok(())
    }
}

#[test]
fn public_preset_closes_a_message_of_more_than_1_mib_in_fragments_with_1009() {
    for (last, lengths, end) in [(MIB / 2, vec![MIB], vec![]), (MIB / 2 + 1, vec![], vec!["CLOSE 1009"])] {
        let mut kit = TestKit::new(1);
        let seen = Rc::new(RefCell::new(Vec::new()));
        let log = Rc::clone(&seen);
        let factory = move |_: &WSUpgradeRequest| WSMessageAdapter::new(Lengths(Rc::clone(&log)));
        let mut peer = kit.raw_server(factory, WSServerConfig::public());
        peer.upgrade(&mut kit);
        peer.link().to_server().capacity(usize::MAX);
        let first = SendOptions { fin: false, ..SendOptions::default() };
        let first = peer.encode_frame(WSMsgType::Binary, &vec![0; MIB / 2], first);
        assert_eq!(peer.write(&first), first.len());
        peer.send_frame(WSMsgType::Continuation, &vec![0; last]);
        kit.run_until_idle();
        assert_eq!(*seen.borrow(), lengths, "{last}");
        assert_eq!(told(&mut peer), end, "{last}");
    }
}

/// As many connections, whose peers read nothing, and to each of which `len` bytes were sent.
/// Returns the number that the budget cost.
fn aborted(kit: &mut TestKit, config: WSServerConfig, count: usize, len: usize) -> u64 {
    let logs = Logs::default();
    let server = kit.server(logs.factory(), config);
    let frame = WSPreparedFrame::new(WSMsgType::Binary, vec![0; len]);
    let mut peers = Vec::new();
    for nth in 0..count {
        let mut peer = kit.connect_to(&server);
        peer.upgrade(kit);
        peer.link().to_client().capacity(1);
        peer.link().to_client().stall();
        peers.push(peer);
        logs.nth(nth).transport().send_prepared_frame(&frame);
    }
    kit.handle().outbound().aborted
}

#[test]
fn public_preset_holds_64_mib_for_slow_peers_on_a_loop() {
    assert_eq!(aborted(&mut TestKit::new(1), WSServerConfig::public(), 4, 15 * MIB), 0);
    assert_eq!(aborted(&mut TestKit::new(1), WSServerConfig::public(), 5, 15 * MIB), 1);
}

#[test]
fn outbound_budget_of_the_loop_takes_precedence_over_the_public_preset() {
    for (budget, expected) in [(10 * MIB, 4), (usize::MAX, 0)] {
        let mut kit = TestKit::with_config(1, WSLoopConfig::default().outbound_budget(budget));
        assert_eq!(aborted(&mut kit, WSServerConfig::public(), 5, 8 * MIB), expected, "{budget}");
    }
}

#[test]
fn public_preset_ends_a_peer_from_which_nothing_is_taken_for_30_seconds() {
    let mut kit = TestKit::new(1);
    let (peer, log) = open(&mut kit, WSServerConfig::public().enable_auto_ping(false));
    peer.link().to_client().capacity(1);
    peer.link().to_client().stall();
    let transport = log.transport().clone();
    transport.send(WSMsgType::Binary, [0; 100]);
    kit.advance(nearly(30 * SECOND));
    assert!(!transport.is_disconnected());
    kit.advance(TICK);
    assert_eq!(log.last(), Some(Entry::Disconnected(WSDisconnectCause::WriteTimeout)));
}

/// A transport that outlives its loop may be sent on: that has no effect, and keeps nothing alive.
#[test]
fn sending_on_a_transport_that_outlives_its_loop_keeps_nothing_alive() {
    let mut kit = TestKit::new(1);
    let pair = kit
        .pair(
            |_: &WSUpgradeRequest| Recorder::new(&Log::default()),
            Recorder::new(&Log::default()),
            WSServerConfig::default(),
            WSConnectConfig::default(),
        )
        .unwrap();
    let metrics = kit.handle().metrics();
    drop(kit);
    let expected = WSSendStatus::Dropped(WSDropReason::Disconnected);
    assert_eq!(pair.server.send(WSMsgType::Text, "late"), expected);
    assert_eq!(pair.client.send(WSMsgType::Text, "late"), expected);
    drop(pair);
    assert_eq!(std::sync::Arc::strong_count(&metrics), 1, "the loop is still in memory");
}
