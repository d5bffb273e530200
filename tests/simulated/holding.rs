//! `pause_reading_on_backlog`: data is held while more than the high watermark waits to be sent.

use std::time::Duration;

use femtows::testkit::{Peer, TestKit};
use femtows::*;

use crate::recorder::{Entry, Log, Recorder};

const SECOND: Duration = Duration::from_secs(1);
const LOW: usize = 100;
const HIGH: usize = 1000;

fn config() -> WSServerConfig {
    let tuning = WSTuning::default().write_watermarks(LOW, HIGH);
    // Peers here read nothing for a minute.
    WSServerConfig::default().tuning(tuning).pause_reading_on_backlog(true).write_timeout(None)
}

/// An echo server whose peer takes no more than 500 bytes.
fn echo_server(kit: &mut TestKit, log: &Log, config: WSServerConfig) -> Peer {
    let server = log.clone();
    let mut peer = kit.raw_server(move |_: &WSUpgradeRequest| Recorder::echo(&server), config);
    peer.upgrade(kit);
    peer.link().to_client().capacity(500);
    peer
}

/// An echo server that holds data: more than the high watermark waits, and two messages and a PING
/// are unread.
fn holding_server(kit: &mut TestKit, log: &Log, config: WSServerConfig) -> Peer {
    let mut peer = echo_server(kit, log, config);
    for number in 0..20u8 {
        peer.send_frame(WSMsgType::Binary, &[number; 100]);
        kit.run_until_idle();
    }
    assert!(log.transport().buffered_amount() > HIGH);
    peer
}

fn numbers(log: &Log) -> Vec<u8> {
    log.payloads(WSMsgType::Binary).iter().map(|payload| payload[0]).collect()
}

#[test]
fn a_peer_that_never_reads_is_answered_up_to_the_high_watermark() {
    for piece in [usize::MAX, 1, 300] {
        let mut kit = TestKit::new(1);
        let log = Log::default();
        let mut peer = echo_server(&mut kit, &log, config());
        let frames: Vec<u8> = (0..200u8)
            .flat_map(|number| peer.encode_frame(WSMsgType::Binary, &[number; 10], SendOptions::default()))
            .collect();
        for piece in frames.chunks(piece.min(frames.len())) {
            assert_eq!(peer.write(piece), piece.len());
            kit.run_until_idle();
        }
        // What one dispatch gathers comes on top, and that is 256 KiB at most.
        let most = if piece == usize::MAX { 200 * 12 } else { HIGH + 300 };
        assert!(log.transport().buffered_amount() <= most, "{}", log.transport().buffered_amount());
        assert!(log.transport().is_reading_paused());
        let mut received = Vec::new();
        while received.len() < 200 {
            kit.run_until_idle();
            received.extend(peer.frames().into_iter().map(|frame| frame.payload));
            assert!(log.transport().buffered_amount() <= most);
        }
        assert_eq!(received, (0..200u8).map(|number| vec![number; 10]).collect::<Vec<_>>());
        assert!(!log.transport().is_reading_paused());
    }
}

#[test]
fn without_the_option_a_backlog_does_not_stop_delivery() {
    let mut kit = TestKit::new(1);
    let log = Log::default();
    let mut peer = echo_server(&mut kit, &log, config().pause_reading_on_backlog(false));
    for number in 0..100u8 {
        peer.send_frame(WSMsgType::Binary, &[number; 100]);
        kit.run_until_idle();
    }
    assert_eq!(numbers(&log), (0..100).collect::<Vec<_>>());
}

#[test]
fn delivery_goes_on_at_the_low_watermark_and_not_before() {
    let mut kit = TestKit::new(1);
    let log = Log::default();
    let mut peer = holding_server(&mut kit, &log, config());
    let before = numbers(&log).len();
    assert!(before < 20);
    let mut lowest = usize::MAX;
    while numbers(&log).len() == before {
        lowest = log.transport().buffered_amount();
        peer.frames();
        kit.turn();
    }
    assert!(
        lowest <= LOW + 500,
        "one more write of the kernel's capacity brought it to the low watermark: {lowest}"
    );
    assert_eq!(log.count(&Entry::ResumeWriting), 1);
}

#[test]
fn control_frames_in_front_of_the_next_data_frame_are_served() {
    let mut kit = TestKit::new(1);
    let log = Log::default();
    // Above the high watermark, and nothing unread. The listener gets PINGs and has to answer.
    let mut peer = echo_server(&mut kit, &log, config().enable_auto_pong(false));
    peer.send_frame(WSMsgType::Binary, &[0; 2000]);
    kit.run_until_idle();
    assert!(log.transport().is_reading_paused());
    for msg_type in [WSMsgType::Ping, WSMsgType::Pong] {
        peer.send_frame(msg_type, b"served");
        kit.run_until_idle();
        assert_eq!(log.payloads(msg_type), [b"served"]);
    }
    peer.send_frame(WSMsgType::Close, b"\x03\xe8");
    kit.run_until_idle();
    assert_eq!(log.payloads(WSMsgType::Close), [b"\x03\xe8"]);
}

#[test]
fn a_ping_while_data_is_held_is_answered_when_the_peer_reads() {
    let mut kit = TestKit::new(1);
    let log = Log::default();
    let mut peer = echo_server(&mut kit, &log, config());
    peer.send_frame(WSMsgType::Binary, &[0; 2000]);
    kit.run_until_idle();
    peer.send_frame(WSMsgType::Ping, b"answered");
    kit.run_until_idle();
    let mut frames = Vec::new();
    while frames.len() < 2 {
        frames.extend(peer.frames());
        kit.run_until_idle();
    }
    assert_eq!((frames[1].msg_type, &frames[1].payload[..]), (WSMsgType::Pong, &b"answered"[..]));
}

#[test]
fn control_frames_behind_the_next_data_frame_wait() {
    let mut kit = TestKit::new(1);
    let log = Log::default();
    let mut peer = holding_server(&mut kit, &log, config());
    peer.send_frame(WSMsgType::Pong, b"waits");
    peer.send_frame(WSMsgType::Close, b"\x03\xe8");
    kit.run_until_idle();
    assert_eq!(log.payloads(WSMsgType::Pong), [[0; 0]; 0]);
    let mut echoes = 0;
    while echoes < 20 {
        kit.run_until_idle();
        echoes += peer.frames().iter().filter(|frame| frame.msg_type == WSMsgType::Binary).count();
    }
    assert_eq!(numbers(&log), (0..20).collect::<Vec<_>>());
    assert_eq!(log.payloads(WSMsgType::Pong), [b"waits"]);
    assert_eq!(log.payloads(WSMsgType::Close), [b"\x03\xe8"]);
}

#[test]
fn a_continuation_frame_is_a_data_frame() {
    let mut kit = TestKit::new(1);
    let log = Log::default();
    let mut peer = echo_server(&mut kit, &log, config());
    let not_fin = SendOptions { fin: false, ..SendOptions::default() };
    let first = peer.encode_frame(WSMsgType::Binary, &[1; 2000], not_fin);
    peer.write(&first);
    kit.run_until_idle();
    peer.send_frame(WSMsgType::Pong, b"between");
    peer.send_frame(WSMsgType::Continuation, &[2; 10]);
    kit.run_until_idle();
    assert_eq!(log.payloads(WSMsgType::Pong), [b"between"]);
    assert_eq!(log.payloads(WSMsgType::Continuation), [[0; 0]; 0], "it waits");
    while log.payloads(WSMsgType::Continuation).is_empty() {
        peer.frames();
        kit.run_until_idle();
    }
}

/// The frame that is to wait has come in part, in a buffer of its own, when the backlog grows.
#[test]
fn a_frame_that_has_come_in_part_waits_and_loses_nothing() {
    for (len, first) in [(100, 1), (100, 7), (100, 50), (50_000, 3), (50_000, 5000), (50_000, 49_000)] {
        let mut kit = TestKit::new(1);
        let log = Log::default();
        let mut peer = echo_server(&mut kit, &log, config().validate_utf8(true));
        let text: Vec<u8> = "\u{20ac}".bytes().cycle().take(len / 3 * 3).collect();
        let frame = peer.encode_frame(WSMsgType::Text, &text, SendOptions::default());
        peer.write(&frame[..first]);
        kit.run_until_idle();
        log.transport().send(WSMsgType::Binary, [0; 5000]);
        assert!(log.transport().is_reading_paused());
        peer.write(&frame[first..]);
        kit.run_until_idle();
        assert_eq!(log.payloads(WSMsgType::Text), [[0; 0]; 0], "{len} bytes, {first} of them before");
        while log.payloads(WSMsgType::Text).is_empty() {
            peer.frames();
            kit.run_until_idle();
        }
        assert_eq!(log.payloads(WSMsgType::Text), [text]);
    }
}

#[test]
fn silence_is_not_counted_while_data_is_held() {
    // With data frames unread, and with nothing unread.
    for messages in [20, 1] {
        let mut kit = TestKit::new(1);
        let log = Log::default();
        let config = config()
            .enable_auto_ping(true)
            .auto_ping_idle_timeout(2 * SECOND)
            .auto_ping_reply_timeout(SECOND)
            .idle_timeout(Some(5 * SECOND));
        let mut peer = echo_server(&mut kit, &log, config);
        for _ in 0..messages {
            peer.send_frame(WSMsgType::Binary, &vec![0; 2000 / messages]);
            kit.run_until_idle();
        }
        assert!(log.transport().is_reading_paused());
        kit.advance(60 * SECOND);
        assert!(!log.transport().is_disconnected());
        let mut frames = Vec::new();
        while numbers(&log).len() < messages || log.transport().buffered_amount() > 0 {
            frames.extend(peer.frames());
            kit.run_until_idle();
        }
        frames.extend(peer.frames());
        assert!(frames.iter().all(|frame| frame.msg_type == WSMsgType::Binary), "no PING and no CLOSE");
        // From here on it counts.
        kit.advance(4 * SECOND);
        assert!(log.transport().is_disconnected());
    }
}

#[test]
fn a_reset_is_noticed_while_data_is_held() {
    let mut kit = TestKit::new(1);
    let log = Log::default();
    let peer = holding_server(&mut kit, &log, config());
    peer.link().reset();
    kit.run_until_idle();
    assert!(matches!(log.last(), Some(Entry::Disconnected(WSDisconnectCause::Io(_)))), "{:?}", log.last());
}

#[test]
fn an_end_of_stream_while_data_is_held_ends_the_connection_after_the_close_timeout() {
    let mut kit = TestKit::new(1);
    let log = Log::default();
    let mut peer = holding_server(&mut kit, &log, config().close_timeout(3 * SECOND));
    peer.shutdown_write();
    kit.advance(2 * SECOND);
    assert!(!log.transport().is_disconnected(), "the peer may read yet");
    kit.advance(SECOND);
    assert_eq!(log.last(), Some(Entry::Disconnected(WSDisconnectCause::PeerEof)));
    peer.close();
    kit.run_until_idle();
    assert_eq!(kit.leftovers(), [""; 0]);
}

#[test]
fn a_half_closed_peer_that_reads_on_gets_all_that_was_held() {
    let mut kit = TestKit::new(1);
    let log = Log::default();
    let mut peer = holding_server(&mut kit, &log, config().close_timeout(3 * SECOND));
    peer.shutdown_write();
    let mut echoes = Vec::new();
    while echoes.len() < 20 {
        kit.advance(SECOND);
        echoes.extend(peer.frames().iter().map(|frame| frame.payload[0]));
        assert!(echoes.len() == 20 || !log.transport().is_disconnected());
    }
    assert_eq!(echoes, (0..20).collect::<Vec<_>>());
}

#[test]
fn a_connection_that_holds_data_can_be_closed_from_this_end() {
    let mut kit = TestKit::new(1);
    let log = Log::default();
    let mut peer = holding_server(&mut kit, &log, config().close_timeout(3 * SECOND));
    log.transport().disconnect();
    kit.advance(3 * SECOND);
    assert!(log.transport().is_disconnected());
    log.assert_paired();
    peer.close();
    kit.run_until_idle();
    assert_eq!(kit.leftovers(), [""; 0]);
}

#[test]
fn a_client_holds_data_too() {
    let mut kit = TestKit::new(1);
    let log = Log::default();
    let tuning = WSTuning::default().write_watermarks(LOW, HIGH);
    let config = WSConnectConfig::default().tuning(tuning).pause_reading_on_backlog(true);
    let (mut peer, client) = kit.raw_client(Recorder::echo(&log), config);
    peer.upgrade(&mut kit);
    kit.block_on(client).unwrap();
    peer.link().to_server().capacity(500);
    for number in 0..100u8 {
        peer.send_frame(WSMsgType::Binary, &[number; 100]);
        kit.run_until_idle();
    }
    assert!(log.transport().buffered_amount() <= HIGH + 108);
    let mut received = Vec::new();
    while received.len() < 100 {
        kit.run_until_idle();
        received.extend(peer.frames().into_iter().map(|frame| frame.payload[0]));
    }
    assert_eq!(received, (0..100).collect::<Vec<_>>());
}
