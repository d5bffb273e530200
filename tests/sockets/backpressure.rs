//! Peers that read too slowly: watermarks, the outbound limit, and what is dropped.

use std::time::Duration;

use femtows::{
    SendOptions, WSBuffer, WSConnectConfig, WSDisconnectCause, WSDropReason, WSDropped, WSLimits, WSMsgType,
    WSOverflowPolicy, WSSendStatus, WSServerConfig, WSTransport,
};

use crate::sending::server_with;
use crate::support::eventually;
use crate::support::peer::{Peer, PeerServer};
use crate::support::probe::{Event, Events, Probe, log};
use crate::support::running::{LoopThread, connect};
use crate::support::wire::{BINARY, Frame, PING, PONG};

const BATCH: u32 = 50;

/// Sends `BATCH` numbered messages of 8 KiB.
fn send_batch(on: &LoopThread, first: u32) {
    on.ask_transport(0, move |transport| {
        for n in first..first + BATCH {
            let mut payload = vec![0; 8 << 10];
            payload[..4].copy_from_slice(&n.to_be_bytes());
            assert!(transport.send(WSMsgType::Binary, payload).is_accepted());
        }
    });
}

/// Sends until `pause_writing`, then one batch more. All of it arrives, and `resume_writing` is told.
fn past_the_watermark(on: &LoopThread, peer: &mut Peer, events: &Events) {
    let mut sent = 0;
    loop {
        send_batch(on, sent);
        sent += BATCH;
        // The callback runs right behind the batch that caused it.
        on.ask(|_| ());
        match events.so_far().as_slice() {
            [] => assert!(sent < 100_000, "the kernel takes everything"),
            [Event::PauseWriting] => break,
            other => panic!("{other:?}"),
        }
    }
    send_batch(on, sent);
    sent += BATCH;
    for n in 0..sent {
        assert_eq!(peer.read_frame().payload[..4], n.to_be_bytes());
    }
    events.expect(&Event::ResumeWriting);
    assert_eq!(on.ask_transport(0, WSTransport::buffered_amount), 0);
    assert_eq!(events.so_far(), [], "once each");
}

#[test]
fn t06_what_is_sent_past_pause_writing_arrives_in_order() {
    let (server, mut peer, events) = server_with(WSServerConfig::default());
    past_the_watermark(&server.on, &mut peer, &events);
}

#[test]
fn t06_what_a_client_sends_past_pause_writing_arrives_in_order() {
    let (log, events) = log();
    let server = PeerServer::bind();
    let client = connect(&server.url("/"), WSConnectConfig::default(), Probe::new(&log));
    let mut peer = server.accept();
    events.connected();
    past_the_watermark(&client.on, &mut peer, &events);
}

/// Sends `count` frames of 60 000 bytes without waiting for the kernel to take more.
fn send_many(transport: &WSTransport, count: usize) {
    for _ in 0..count {
        assert!(transport.send(WSMsgType::Binary, vec![3; 60_000]).is_accepted());
    }
    transport.flush();
}

#[test]
fn watermarks_can_be_set_per_connection() {
    let (server, mut peer, events) = server_with(WSServerConfig::default());
    server.on.ask_transport(0, |transport| {
        transport.set_write_watermarks(100_000, 5_000_000);
        while transport.buffered_amount() < 4_000_000 {
            send_many(transport, 1);
        }
    });
    server.on.ask(|_| ());
    assert_eq!(events.so_far(), [], "below the high watermark");
    let frames = server.on.ask_transport(0, |transport| {
        let mut more = 0;
        while transport.buffered_amount() <= 5_000_000 {
            send_many(transport, 1);
            more += 1;
        }
        more
    });
    assert!(frames > 0);
    events.expect(&Event::PauseWriting);
    // Below the high one, but not down to the low one.
    while server.on.ask_transport(0, WSTransport::buffered_amount) > 4_500_000 {
        peer.read_frame();
    }
    if server.on.ask_transport(0, WSTransport::buffered_amount) > 100_000 {
        assert_eq!(events.so_far(), []);
    }
    while server.on.ask_transport(0, WSTransport::buffered_amount) > 100_000 {
        peer.read_frame();
    }
    events.expect(&Event::ResumeWriting);
    // A mark that is moved below what waits counts at once.
    server.on.ask_transport(0, |transport| {
        while transport.buffered_amount() < 1_000_000 {
            send_many(transport, 1);
        }
        transport.set_write_watermarks(0, 1000);
    });
    events.expect(&Event::PauseWriting);
}

const LIMIT: usize = 256 << 10;

fn limited(policy: WSOverflowPolicy) -> WSLimits {
    WSLimits::default().max_outbound(LIMIT).overflow_policy(policy)
}

/// Sends numbered frames of `size` bytes until one is dropped; the accepted ones.
fn fill(transport: &WSTransport, size: usize) -> u32 {
    let mut n = 0_u32;
    loop {
        let mut payload = vec![0; size];
        payload[..4].copy_from_slice(&n.to_be_bytes());
        let status = transport.send(WSMsgType::Binary, payload);
        assert!(transport.buffered_amount() <= LIMIT, "the limit is strict");
        if !status.is_accepted() {
            assert_eq!(status, WSSendStatus::Dropped(WSDropReason::Overflow));
            return n;
        }
        n += 1;
    }
}

#[test]
fn drop_new_drops_and_counts_exactly() {
    for size in [1000, 40_000] {
        let (server, mut peer, events) =
            server_with(WSServerConfig::default().limits(limited(WSOverflowPolicy::DropNew)));
        let (accepted, exact) = server.on.ask_transport(0, move |transport| {
            let accepted = fill(transport, size);
            let mut dropped = WSDropped { frames: 1, bytes: size as u64 };
            assert_eq!(transport.dropped(), dropped);
            for more in [size, size + 1, size + 7] {
                assert!(!transport.send(WSMsgType::Text, vec![0; more]).is_accepted());
                assert!(
                    !transport.send_buffer(WSMsgType::Text, WSBuffer::from(&vec![0; more][..])).is_accepted()
                );
                dropped.frames += 2;
                dropped.bytes += 2 * more as u64;
            }
            let huge = transport.send(WSMsgType::Binary, vec![0; LIMIT + 1]);
            assert_eq!(huge, WSSendStatus::Dropped(WSDropReason::Overflow));
            dropped.frames += 1;
            dropped.bytes += LIMIT as u64 + 1;
            assert_eq!(transport.dropped(), dropped);
            // The last byte may be used, and not one more.
            let room = LIMIT - transport.buffered_amount();
            let exact = (room > 135).then(|| {
                let header = if room - 4 <= 65_535 { 4 } else { 10 };
                assert!(!transport.send(WSMsgType::Text, vec![1; room - header + 1]).is_accepted());
                assert!(transport.send(WSMsgType::Text, vec![1; room - header]).is_accepted());
                assert_eq!(transport.buffered_amount(), LIMIT);
                room - header
            });
            (accepted, exact)
        });
        for n in 0..accepted {
            let payload = peer.read_frame().payload;
            assert_eq!((&payload[..4], payload.len()), (&n.to_be_bytes()[..], size));
        }
        if let Some(exact) = exact {
            assert_eq!(peer.read_frame(), Frame::text(vec![1; exact]));
        }
        // There is room again.
        let status = server.on.ask_transport(0, |transport| transport.send(WSMsgType::Text, "again"));
        assert!(status.is_accepted());
        assert_eq!(peer.read_frame(), Frame::text("again"));
        let events = events.so_far();
        assert!(!events.iter().any(|event| matches!(event, Event::Disconnected(_))), "{events:?}");
    }
}

/// Half a message would be garbage for the peer.
#[test]
fn drop_new_closes_rather_than_tear_a_message() {
    let (server, _peer, events) =
        server_with(WSServerConfig::default().limits(limited(WSOverflowPolicy::DropNew)));
    server.on.ask_transport(0, |transport| {
        fill(transport, 40_000);
        let options = SendOptions { fin: false, ..SendOptions::default() };
        let status = transport.send_frame(WSMsgType::Binary, vec![0; 40_000], options);
        assert_eq!(status, WSSendStatus::Dropped(WSDropReason::Overflow));
    });
    assert_eq!(events.until_disconnected().cause, WSDisconnectCause::Overflow);
}

#[test]
fn the_default_policy_closes_a_slow_peer() {
    let (server, mut peer, events) =
        server_with(WSServerConfig::default().limits(limited(WSOverflowPolicy::Close)));
    let dropped = server.on.ask_transport(0, |transport| {
        fill(transport, 40_000);
        let after = transport.send(WSMsgType::Text, "x");
        assert_eq!(after, WSSendStatus::Dropped(WSDropReason::Disconnected));
        transport.dropped()
    });
    assert_eq!(dropped, WSDropped { frames: 1, bytes: 40_000 });
    let info = events.until_disconnected();
    assert_eq!(info.cause, WSDisconnectCause::Overflow);
    assert!(info.bytes_unsent > LIMIT - 40_100 && info.bytes_unsent <= LIMIT, "{info}");
    peer.expect_gone();
    eventually("the slot is free", || server.slots() == 0);
}

#[test]
fn control_frames_have_a_reserve() {
    let (server, mut peer, _events) =
        server_with(WSServerConfig::default().limits(limited(WSOverflowPolicy::DropNew)));
    let accepted = server.on.ask_transport(0, |transport| {
        let accepted = fill(transport, 1000);
        let room = LIMIT - transport.buffered_amount();
        if room > 4 {
            transport.send(WSMsgType::Binary, vec![0; room.saturating_sub(4)]);
        }
        assert!(transport.send_ping([1; 125]).unwrap().is_accepted());
        assert!(transport.close(femtows::WSCloseCode::OK, "always").unwrap());
        accepted
    });
    for _ in 0..accepted {
        assert_eq!(peer.read_frame().opcode, BINARY);
    }
    let mut frame = peer.read_frame();
    if frame.opcode == BINARY {
        frame = peer.read_frame();
    }
    assert_eq!(frame, Frame::new(PING, [1; 125]));
    assert_eq!(peer.read_frame(), Frame::close(1000, "always"));
}

#[test]
fn only_the_newest_ping_is_answered_when_the_queue_is_full() {
    let (server, mut peer, events) =
        server_with(WSServerConfig::default().limits(limited(WSOverflowPolicy::DropNew)));
    // Until the kernel takes no more either, and not even a pong of eight bytes fits.
    let mut accepted = 0;
    let mut full = 0;
    while full < 5 {
        let more = server.on.ask_transport(0, |transport| {
            let small = std::iter::repeat_with(|| transport.send(WSMsgType::Binary, "1234"));
            fill(transport, 1000) + small.take_while(|status| status.is_accepted()).count() as u32
        });
        accepted += more;
        full = if more == 0 { full + 1 } else { 0 };
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    for ping in ["first", "second", "newest"] {
        peer.send(&Frame::new(PING, ping));
    }
    peer.send(&Frame::text("pings are done"));
    loop {
        match events.next() {
            Event::Frame(frame) => break assert_eq!(frame, Frame::text("pings are done")),
            Event::PauseWriting | Event::ResumeWriting => {}
            other => panic!("{other:?}"),
        }
    }
    for _ in 0..accepted {
        assert_eq!(peer.read_frame().opcode, BINARY);
    }
    assert_eq!(peer.read_frame(), Frame::new(PONG, "newest"));
    peer.send_and_sync(&[]);
}

#[test]
fn a_peer_that_pings_and_never_reads_is_given_up_on() {
    let config = WSServerConfig::default().write_timeout(Some(Duration::from_millis(500)));
    let (_server, mut peer, events) = server_with(config);
    let pings = peer.encode(&Frame::new(PING, [1; 125])).repeat(100);
    // They are read without end, so a write fails only once the server has closed the connection.
    while peer.try_write(&pings) {}
    assert_eq!(events.until_disconnected().cause, WSDisconnectCause::WriteTimeout);
}

/// Linux tells of room only when a third of its buffer is free.
#[test]
fn a_peer_that_reads_slowly_is_not_given_up_on() {
    let config = WSServerConfig::default().write_timeout(Some(Duration::from_secs(2)));
    let (server, mut peer, events) = server_with(config);
    server.on.ask_transport(0, |transport| {
        assert!(transport.send(WSMsgType::Binary, vec![0; 12 << 20]).is_accepted());
    });
    // Less than a third in twice the timeout.
    for _ in 0..40 {
        peer.read_bytes(20_000);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(events.so_far(), [Event::PauseWriting]);
}
