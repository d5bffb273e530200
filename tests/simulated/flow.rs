//! Full pipes, paused ends and buffers at their limits.

use std::time::Duration;

use femtows::testkit::{Peer, TestKit};
use femtows::*;

use crate::recorder::{Entry, Log, Recorder};

fn open_server(kit: &mut TestKit, log: &Log, config: WSServerConfig) -> Peer {
    let server = log.clone();
    let mut peer = kit.raw_server(move |_: &WSUpgradeRequest| Recorder::new(&server), config);
    peer.upgrade(kit);
    peer
}

#[test]
fn a_full_pipe_pauses_writing_and_resumes_it() {
    let mut kit = TestKit::new(1);
    let log = Log::default();
    let tuning = WSTuning::default().write_watermarks(100, 1000);
    let mut peer = open_server(&mut kit, &log, WSServerConfig::default().tuning(tuning));
    peer.link().to_client().capacity(500);
    let mut sent = Vec::new();
    while log.count(&Entry::PauseWriting) == 0 {
        sent.push(vec![sent.len() as u8; 60]);
        log.transport().send(WSMsgType::Binary, sent.last().unwrap());
        kit.turn();
    }
    assert!(log.transport().buffered_amount() > 1000);
    assert_eq!(log.count(&Entry::ResumeWriting), 0);
    let mut received = Vec::new();
    while received.len() < sent.len() {
        kit.run_until_idle();
        received.extend(peer.frames().into_iter().map(|frame| frame.payload));
    }
    assert_eq!(received, sent);
    assert_eq!((log.count(&Entry::PauseWriting), log.count(&Entry::ResumeWriting)), (1, 1));
}

#[test]
fn of_a_flood_of_pings_at_a_full_queue_the_newest_is_answered() {
    let mut kit = TestKit::new(2);
    let log = Log::default();
    let limits = WSLimits::default().max_outbound(2000).overflow_policy(WSOverflowPolicy::DropNew);
    let mut peer = open_server(&mut kit, &log, WSServerConfig::default().limits(limits));
    peer.link().to_client().capacity(300).stall();
    let mut accepted = 0;
    while log.transport().send(WSMsgType::Binary, [1; 100]).is_accepted() {
        accepted += 1;
    }
    assert_eq!(log.transport().dropped(), WSDropped { frames: 1, bytes: 100 });
    for number in 0..1000u32 {
        peer.send_frame(WSMsgType::Ping, &number.to_be_bytes());
        kit.run_until_idle();
        assert!(log.transport().buffered_amount() <= 2000);
    }
    peer.link().to_client().unstall();
    let mut frames = Vec::new();
    for _ in 0..20 {
        kit.run_until_idle();
        frames.extend(peer.frames());
    }
    let (data, pongs): (Vec<_>, Vec<_>) =
        frames.into_iter().partition(|frame| frame.msg_type == WSMsgType::Binary);
    assert_eq!(data.len(), accepted);
    let numbers: Vec<_> =
        pongs.iter().map(|pong| u32::from_be_bytes(pong.payload[..].try_into().unwrap())).collect();
    assert_eq!(numbers.last(), Some(&999));
    assert!(
        numbers.is_sorted() && numbers.len() < 20,
        "what was queued before the queue was full: {numbers:?}"
    );
}

#[test]
fn paused_reading_stops_after_the_current_frame() {
    struct PauseAtOnce(Log);
    impl WSListener for PauseAtOnce {
        fn on_ws_frame(&mut self, transport: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
            transport.pause_reading();
            Recorder::new(&self.0).on_ws_frame(transport, frame)
        }
    }
    let mut kit = TestKit::new(3);
    let log = Log::default();
    let server = log.clone();
    let mut peer =
        kit.raw_server(move |_: &WSUpgradeRequest| PauseAtOnce(server.clone()), WSServerConfig::default());
    peer.upgrade(&mut kit);
    for number in 0..4u8 {
        peer.send_frame(WSMsgType::Binary, &[number]);
    }
    let link = peer.link().clone();
    let transport = kit.transport(&link, femtows::proto::Role::Server).unwrap();
    for delivered in 1..=4 {
        kit.advance(Duration::from_secs(100));
        assert_eq!(log.payloads(WSMsgType::Binary).len(), delivered);
        transport.resume_reading();
    }
    assert_eq!(log.payloads(WSMsgType::Binary), [[0], [1], [2], [3]]);
}

#[test]
fn a_partial_frame_of_any_size_leaves_room_in_the_smallest_buffer() {
    for first in [1, 2048, 2049, 4090, 4095, 4096, 4097] {
        let mut kit = TestKit::with_config(4, WSLoopConfig::default().read_buffer_size(4096));
        let log = Log::default();
        let mut peer = open_server(&mut kit, &log, WSServerConfig::default());
        let frame = peer.encode_frame(WSMsgType::Binary, &[9; 7000], SendOptions::default());
        peer.write(&frame[..first]);
        kit.run_until_idle();
        peer.write(&frame[first..]);
        kit.run_until_idle();
        assert_eq!(log.payloads(WSMsgType::Binary), [[9; 7000]], "after a first part of {first} bytes");
    }
}

#[test]
fn the_same_seed_makes_the_same_bytes_at_the_same_times() {
    let run = |seed| {
        let mut kit = TestKit::new(seed);
        let log = Log::default();
        let (mut peer, client) = kit.raw_client(Recorder::new(&log), WSConnectConfig::default());
        peer.upgrade(&mut kit);
        let transport = kit.block_on(client).unwrap();
        peer.link().to_server().capacity(50).max_write(9);
        transport.send(WSMsgType::Binary, [5; 400]);
        let mut turns: Vec<Vec<u8>> = Vec::new();
        while turns.concat().len() < 400 {
            kit.turn();
            turns.push(peer.read());
        }
        turns
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

/// A kernel that takes nothing at all of a burst: what is sent after that is no part of the burst.
#[test]
fn a_burst_refused_as_a_whole_is_watched_like_any_other() {
    let mut kit = TestKit::new(11);
    let log = Log::default();
    let peer = open_server(&mut kit, &log, WSServerConfig::default());
    let transport = log.transport().clone();
    transport.set_write_watermarks(0, 50);
    // The first frame takes the last of ten bytes of room.
    peer.link().to_client().capacity(10).stall();
    for (payload, waiting) in [(8, 0), (20, 22), (20, 44), (20, 66)] {
        let transport = transport.clone();
        // From a task: gathered until the dispatch ends.
        kit.handle().spawn(async move { transport.send(WSMsgType::Binary, vec![7; payload]) }).detach();
        kit.run_until_idle();
        assert_eq!(log.transport().buffered_amount(), waiting);
    }
    assert_eq!(log.count(&Entry::PauseWriting), 1, "66 bytes are above the high watermark");
    peer.link().to_client().capacity(1000).unstall();
    kit.run_until_idle();
    assert_eq!((log.count(&Entry::ResumeWriting), log.transport().buffered_amount()), (1, 0));
}

#[test]
fn bytes_with_the_longest_delay_arrive_in_the_longest_time() {
    let mut kit = TestKit::new(1);
    let log = Log::default();
    let mut peer = open_server(&mut kit, &log, WSServerConfig::default());
    peer.link().to_client().delay(Duration::MAX);
    log.transport().send(WSMsgType::Text, "late");
    kit.advance(Duration::from_secs(1_000_000));
    assert!(peer.frames().is_empty());
    kit.advance(Duration::MAX);
    assert_eq!(peer.frames().len(), 1);
}
