//! Peers that do not read: pongs that wait, and the write timeout.

use std::time::Duration;

use femtows::testkit::{Peer, TestKit};
use femtows::*;

use crate::recorder::{Log, Recorder};

const SECOND: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_nanos(1);
/// The default write timeout of a server but for a tick.
const NEARLY_30_SECONDS: Duration = Duration::from_nanos(29_999_999_999);

/// A server whose kernel takes no more than 300 bytes, none of which arrive.
fn open_server(kit: &mut TestKit, log: &Log, config: WSServerConfig) -> Peer {
    let server = log.clone();
    let mut peer = kit.raw_server(move |_: &WSUpgradeRequest| Recorder::new(&server), config);
    peer.upgrade(kit);
    peer.link().to_client().capacity(300).stall();
    peer
}

/// Sends more than the kernel takes.
fn block(log: &Log) {
    log.transport().send(WSMsgType::Binary, [7; 1000]);
    assert!(log.transport().buffered_amount() > 0);
}

/// A server whose kernel refuses the rest of a message.
fn refused_server(seed: u64, config: WSServerConfig) -> (TestKit, Log, Peer) {
    let mut kit = TestKit::new(seed);
    let log = Log::default();
    let peer = open_server(&mut kit, &log, config);
    block(&log);
    (kit, log, peer)
}

/// Asserts that the write timeout of 30 seconds has begun now.
fn assert_ends_in_30_seconds(kit: &mut TestKit, log: &Log) {
    kit.advance(NEARLY_30_SECONDS);
    assert!(!log.transport().is_disconnected());
    kit.advance(TICK);
    assert_eq!(cause(log), WSDisconnectCause::WriteTimeout);
}

fn block_more(log: &Log) {
    log.transport().send(WSMsgType::Binary, [7; 1000]);
    log.transport().flush();
}

fn cause(log: &Log) -> WSDisconnectCause {
    log.transport().disconnect_info().expect("it has ended").cause
}

fn ping(peer: &mut Peer, kit: &mut TestKit, number: u32) {
    peer.send_frame(WSMsgType::Ping, &number.to_be_bytes());
    kit.run_until_idle();
}

/// The numbers of the pongs that arrive, once everything that waits has left.
fn pongs(peer: &mut Peer, kit: &mut TestKit) -> Vec<u32> {
    peer.link().to_client().unstall();
    let mut frames = Vec::new();
    for _ in 0..100 {
        kit.run_until_idle();
        frames.extend(peer.frames());
    }
    let pongs = frames.into_iter().filter(|frame| frame.msg_type == WSMsgType::Pong);
    pongs.map(|pong| u32::from_be_bytes(pong.payload[..].try_into().unwrap())).collect()
}

#[test]
fn while_the_kernel_refuses_bytes_pings_add_nothing_to_the_queue() {
    let (mut kit, log, mut peer) = refused_server(1, WSServerConfig::default());
    let waiting = log.transport().buffered_amount();
    for number in 0..1000 {
        ping(&mut peer, &mut kit, number);
    }
    assert_eq!(log.transport().buffered_amount(), waiting);
}

#[test]
fn of_the_pings_that_came_while_the_kernel_refused_bytes_the_newest_is_answered() {
    let (mut kit, _log, mut peer) = refused_server(2, WSServerConfig::default());
    for number in 0..1000 {
        ping(&mut peer, &mut kit, number);
    }
    assert_eq!(pongs(&mut peer, &mut kit), [999]);
}

/// A producer that sends as fast as the peer reads must not keep the pong back for ever.
#[test]
fn a_ping_is_answered_though_the_queue_never_empties() {
    let (mut kit, log, mut peer) = refused_server(3, WSServerConfig::default());
    ping(&mut peer, &mut kit, 1);
    let mut received = Vec::new();
    for _ in 0..100 {
        peer.link().to_client().release(300);
        received.extend(peer.frames());
        block(&log);
        kit.run_until_idle();
    }
    assert!(log.transport().buffered_amount() > 0);
    let pongs = received.iter().filter(|frame| frame.msg_type == WSMsgType::Pong).count();
    assert_eq!(pongs, 1);
}

/// Their pongs are gathered, and a long queue is flushed early: that shows that the kernel refuses
/// bytes.
#[test]
fn pings_of_one_dispatch_queue_no_more_than_is_flushed_early() {
    const EARLY_FLUSH: usize = 256 * 1024;
    let mut kit = TestKit::new(4);
    let log = Log::default();
    let mut peer = open_server(&mut kit, &log, WSServerConfig::default());
    peer.link().to_server().capacity(16 << 20);
    let ping = peer.encode_frame(WSMsgType::Ping, &[1; 125], SendOptions::default());
    peer.write(&ping.repeat(20_000));
    kit.run_until_idle();
    let waiting = log.transport().buffered_amount();
    assert!(waiting < EARLY_FLUSH + 2 * ping.len(), "{waiting} bytes wait");
}

#[test]
fn a_close_behind_pings_is_answered_and_they_are_not() {
    let (mut kit, log, mut peer) = refused_server(5, WSServerConfig::default());
    ping(&mut peer, &mut kit, 1);
    peer.send_frame(WSMsgType::Close, b"\x03\xe8");
    assert_eq!(pongs(&mut peer, &mut kit), [0; 0]);
    assert_eq!(cause(&log), WSDisconnectCause::Closed);
}

#[test]
fn a_server_gives_up_on_a_peer_that_takes_no_byte_for_30_seconds() {
    let (mut kit, log, _peer) = refused_server(6, WSServerConfig::default());
    assert_ends_in_30_seconds(&mut kit, &log);
}

#[test]
fn a_peer_that_pings_and_never_reads_is_given_up_on() {
    let mut kit = TestKit::new(7);
    let log = Log::default();
    let mut peer = open_server(&mut kit, &log, WSServerConfig::default());
    for number in 0..310 {
        peer.send_frame(WSMsgType::Ping, &[1; 100]);
        kit.advance(SECOND / 10);
        assert!(number > 300 || !log.transport().is_disconnected(), "after {number}");
    }
    assert_eq!(cause(&log), WSDisconnectCause::WriteTimeout);
}

#[test]
fn each_byte_that_the_kernel_takes_begins_the_write_timeout_anew() {
    let (mut kit, log, mut peer) = refused_server(8, WSServerConfig::default());
    for _ in 0..5 {
        kit.advance(29 * SECOND);
        peer.link().to_client().release(1);
        // The peer reads the byte, and the kernel has room for another.
        peer.read();
        kit.run_until_idle();
    }
    assert_ends_in_30_seconds(&mut kit, &log);
}

#[test]
fn what_is_sent_to_a_peer_that_does_not_read_does_not_move_the_write_timeout() {
    let (mut kit, log, _peer) = refused_server(9, WSServerConfig::default());
    for _ in 0..30 {
        assert!(!log.transport().is_disconnected());
        kit.advance(SECOND);
        block_more(&log);
    }
    assert_eq!(cause(&log), WSDisconnectCause::WriteTimeout);
}

#[test]
fn a_peer_that_reads_again_leaves_no_timer_behind() {
    let (mut kit, log, mut peer) = refused_server(10, WSServerConfig::default());
    kit.advance(10 * SECOND);
    assert!(kit.next_due().is_some());
    pongs(&mut peer, &mut kit);
    assert_eq!(log.transport().buffered_amount(), 0);
    assert_eq!(kit.next_due(), None);
}

#[test]
fn the_write_timeout_begins_with_each_refusal() {
    let (mut kit, log, mut peer) = refused_server(11, WSServerConfig::default());
    kit.advance(20 * SECOND);
    pongs(&mut peer, &mut kit);
    peer.link().to_client().stall();
    block(&log);
    assert_ends_in_30_seconds(&mut kit, &log);
}

#[test]
fn the_write_timeout_is_told_as_an_end_by_this_side_with_what_is_unsent() {
    let (mut kit, log, _peer) = refused_server(12, WSServerConfig::default());
    let waiting = log.transport().buffered_amount();
    kit.advance(30 * SECOND);
    let info = log.transport().disconnect_info().cloned().unwrap();
    assert_eq!((info.side, info.bytes_unsent), (WSDisconnectSide::Local, waiting));
    assert_eq!(info.code, WSCloseCode::ABNORMAL_CLOSURE);
    log.assert_paired();
}

/// Closes a connection whose peer does not read. Returns why it ended, and after how long.
fn closed_while_refused(close_timeout: Duration, write_timeout: Duration) -> (WSDisconnectCause, Duration) {
    let config = WSServerConfig::default().close_timeout(close_timeout).write_timeout(Some(write_timeout));
    let (mut kit, log, _peer) = refused_server(13, config);
    let start = kit.now();
    log.transport().close(WSCloseCode::OK, "").unwrap();
    kit.block_on(log.transport().wait_disconnected()).unwrap();
    (cause(&log), kit.now() - start)
}

#[test]
fn the_write_timeout_applies_while_closing() {
    let ended = closed_while_refused(10 * SECOND, 3 * SECOND);
    assert_eq!(ended, (WSDisconnectCause::WriteTimeout, 3 * SECOND));
}

#[test]
fn the_close_timeout_bounds_the_write_timeout() {
    let ended = closed_while_refused(2 * SECOND, 3 * SECOND);
    assert_eq!(ended, (WSDisconnectCause::CloseTimeout, 2 * SECOND));
}

/// A client whose server takes no more than 300 bytes.
fn refused_client(config: WSConnectConfig) -> (TestKit, Log, Peer) {
    let mut kit = TestKit::new(14);
    let log = Log::default();
    let (mut peer, client) = kit.raw_client(Recorder::new(&log), config);
    peer.upgrade(&mut kit);
    kit.block_on(client).unwrap();
    peer.link().to_server().capacity(300).stall();
    block(&log);
    (kit, log, peer)
}

#[test]
fn a_client_has_no_write_timeout_by_default() {
    let (mut kit, log, _peer) = refused_client(WSConnectConfig::default());
    kit.advance(1000 * SECOND);
    assert!(!log.transport().is_disconnected());
}

#[test]
fn a_client_may_have_a_write_timeout() {
    let config = WSConnectConfig::default().write_timeout(Some(5 * SECOND));
    let (mut kit, log, _peer) = refused_client(config);
    kit.advance(5 * SECOND);
    assert_eq!(cause(&log), WSDisconnectCause::WriteTimeout);
}

#[test]
fn a_server_may_have_no_write_timeout() {
    for timeout in [None, Some(Duration::MAX)] {
        let config = WSServerConfig::default().write_timeout(timeout);
        let (mut kit, log, _peer) = refused_server(15, config);
        kit.advance(1000 * SECOND);
        assert!(!log.transport().is_disconnected());
    }
}

#[test]
fn a_write_timeout_of_zero_is_refused() {
    let event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
    let config = WSServerConfig::default().write_timeout(Some(Duration::ZERO));
    let factory = |_: &WSUpgradeRequest| Recorder::default();
    let server = ws_create_server(&event_loop.handle(), factory, "127.0.0.1:0", config);
    assert!(matches!(server, Err(WSServeError::Config(WSConfigError::Argument(_)))));
}
