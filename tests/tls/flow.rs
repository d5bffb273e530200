//! Messages through TLS over simulated links.

use std::time::Duration;

use femtows::proto::Role;
use femtows::testkit::TestKit;
use femtows::*;

use crate::ends::{Keeper, Received, both_ends, echo, secure_pair};
use crate::support::pattern;

const SIZES: [usize; 14] =
    [0, 1, 125, 126, 16_383, 16_384, 16_385, 32_768, 65_535, 65_536, 65_537, 100_000, 200_000, 1 << 20];

#[test]
fn t01_messages_of_all_sizes_come_back() {
    for seed in 0..20 {
        let mut kit = TestKit::new(seed);
        let (pair, received) = secure_pair(&mut kit);
        if seed > 0 {
            kit.spurious_events(10);
            pair.link.to_server().max_read(40_000).max_write(50_000).capacity(70_000);
            pair.link.to_client().max_read(9_000).max_write(30_000).capacity(20_000);
            pair.link.late_arrivals(20);
        }
        for size in SIZES {
            let payload = pattern(size);
            assert!(pair.client.send(WSMsgType::Binary, &payload).is_accepted());
            kit.run_until_idle();
            assert!(received.take() == [payload], "seed {seed}, {size} bytes");
        }
        assert_eq!((pair.client.buffered_amount(), pair.server.buffered_amount()), (0, 0));
    }
}

/// Many small frames share records, and frames lie across records.
#[test]
fn bursts_come_back_in_order() {
    let mut kit = TestKit::new(30);
    let (pair, received) = secure_pair(&mut kit);
    let sent: Vec<Vec<u8>> =
        (0..3000).map(pattern).map(|mut payload| payload.split_off(payload.len() / 2)).collect();
    kit.handle()
        .call_later(Duration::ZERO, {
            let (client, sent) = (pair.client.clone(), sent.clone());
            move || {
                for payload in &sent {
                    assert!(client.send(WSMsgType::Binary, payload).is_accepted());
                }
            }
        })
        .detach();
    kit.run_until_idle();
    assert!(received.take() == sent);
}

/// Ten thousand bytes of frames in one turn of the loop are one record, not one for each frame.
#[test]
fn what_one_dispatch_sends_is_sealed_together() {
    let mut kit = TestKit::new(31);
    let (pair, _) = secure_pair(&mut kit);
    kit.run_until_idle();
    pair.link.to_server().stall();
    let client = pair.client.clone();
    let burst = move || (0..1000).for_each(|_| assert!(client.send(WSMsgType::Binary, [7; 4]).is_accepted()));
    kit.handle().call_later(Duration::ZERO, burst).detach();
    kit.run_until_idle();
    let on_the_wire = pair.link.to_server().in_flight();
    assert!((10_000..10_100).contains(&on_the_wire), "{on_the_wire} bytes for 10 000");
}

/// A large payload that is sent from the caller's memory brings its header into the first record.
#[test]
fn headers_do_not_cost_a_record() {
    let (server, client) = both_ends();
    let server = server.tuning(WSTuning::default().no_copy_threshold(1000));
    let mut kit = TestKit::new(32);
    let pair = kit.pair(|_: &WSUpgradeRequest| echo(), echo(), server, client).unwrap();
    kit.run_until_idle();
    pair.link.to_client().stall();
    pair.server.send(WSMsgType::Binary, [1; 16_000]);
    kit.run_until_idle();
    let overhead = pair.link.to_client().in_flight() - 16_000 - 4;
    assert!(overhead < 30, "{overhead} bytes around one record");
}

#[test]
fn t06_what_the_kernel_refuses_is_counted_and_paused() {
    struct Pausing(Received);
    impl WSListener for Pausing {
        fn on_ws_frame(&mut self, _: &WSTransport, _: &mut WSFrame<'_>) -> WSResult {
            Ok(())
        }
        fn pause_writing(&mut self, _: &WSTransport) {
            self.0.push(b"pause");
        }
        fn resume_writing(&mut self, _: &WSTransport) {
            self.0.push(b"resume");
        }
    }
    let (server, client) = both_ends();
    let told = Received::default();
    let listener = told.clone();
    let server = server.tuning(WSTuning::default().write_watermarks(1000, 50_000));
    let received = Received::default();
    let keeper = Keeper { received: received.clone(), is_echo: false };
    let mut kit = TestKit::new(33);
    let pair =
        kit.pair(move |_: &WSUpgradeRequest| Pausing(listener.clone()), keeper, server, client).unwrap();
    kit.run_until_idle();
    pair.link.to_client().capacity(10_000).stall();
    let status = pair.server.send(WSMsgType::Binary, pattern(150_000));
    assert_eq!(status, WSSendStatus::Queued);
    kit.run_until_idle();
    let buffered = pair.server.buffered_amount();
    assert!(
        (140_000..141_000).contains(&buffered),
        "{buffered} of 150 000 bytes, 10 000 of them in the kernel"
    );
    assert_eq!(told.take(), [b"pause"]);
    pair.link.to_client().unstall();
    kit.run_until_idle();
    assert!(received.take() == [pattern(150_000)]);
    assert_eq!((pair.server.buffered_amount(), told.take()), (0, vec![b"resume".to_vec()]));
}

/// What waits is sealed and less than a record: the queue is empty, and still the connection may not end.
#[test]
fn a_sealed_rest_leaves_before_the_end() {
    let mut kit = TestKit::new(34);
    let (pair, received) = secure_pair(&mut kit);
    kit.run_until_idle();
    pair.link.to_server().capacity(10).stall();
    assert_eq!(pair.client.send(WSMsgType::Binary, pattern(100)), WSSendStatus::Queued);
    assert!(pair.client.buffered_amount() > 90);
    pair.client.disconnect();
    kit.run_until_idle();
    assert!(pair.client.disconnect_info().is_none(), "bytes are left");
    pair.link.to_server().unstall();
    kit.advance(Duration::from_secs(5));
    assert!(received.take().is_empty());
    let info = pair.server.disconnect_info().unwrap();
    assert_eq!(
        (info.cause, pair.client.disconnect_info().unwrap().bytes_unsent),
        (WSDisconnectCause::PeerEof, 0)
    );
}

#[test]
fn an_abort_counts_what_was_sealed_and_did_not_leave() {
    let mut kit = TestKit::new(35);
    let (pair, _) = secure_pair(&mut kit);
    kit.run_until_idle();
    pair.link.to_server().capacity(10).stall();
    pair.client.send(WSMsgType::Binary, pattern(100));
    pair.client.abort();
    let unsent = pair.client.disconnect_info().unwrap().bytes_unsent;
    assert!((100..150).contains(&unsent), "{unsent}");
}

#[test]
fn t09_the_closing_handshake_ends_both_ends_cleanly() {
    for closer in [Role::Client, Role::Server] {
        let mut kit = TestKit::new(36);
        let (pair, _) = secure_pair(&mut kit);
        let transport = if closer == Role::Client { &pair.client } else { &pair.server };
        transport.close(WSCloseCode::OK, "bye").unwrap();
        kit.advance(Duration::from_secs(3));
        for end in [&pair.client, &pair.server] {
            let info = end.disconnect_info().unwrap();
            assert_eq!((info.cause, info.code), (WSDisconnectCause::Closed, WSCloseCode::OK), "{closer:?}");
        }
        drop(pair);
        assert_eq!(kit.leftovers(), Vec::<&str>::new());
    }
}

#[test]
fn t09_close_notify_tells_an_end_from_a_cut() {
    for (cut, cause) in [(false, WSDisconnectCause::PeerEof), (true, WSDisconnectCause::Truncated)] {
        let mut kit = TestKit::new(37);
        let (pair, _) = secure_pair(&mut kit);
        kit.run_until_idle();
        if cut {
            pair.link.to_client().cut();
        } else {
            pair.server.disconnect();
        }
        kit.advance(Duration::from_secs(3));
        let info = pair.client.disconnect_info().unwrap();
        assert_eq!((info.cause, info.side), (cause, WSDisconnectSide::Remote));
    }
}

#[test]
fn random_schedules_keep_every_byte() {
    let (server, client) = both_ends();
    for seed in 0..300 {
        let mut kit = TestKit::new(seed);
        let mut random = femtows::testkit::Random::new(seed);
        kit.spurious_events(random.below(30));
        let received = Received::default();
        let keeper = Keeper { received: received.clone(), is_echo: false };
        let pair = kit.pair(|_: &WSUpgradeRequest| echo(), keeper, server.clone(), client.clone()).unwrap();
        for direction in [pair.link.to_server(), pair.link.to_client()] {
            direction
                .capacity(1 + random.below(50_000))
                .max_read(1 + random.below(3000))
                .max_write(1 + random.below(30_000));
        }
        pair.link.late_arrivals(random.below(50));
        let sent: Vec<_> = (0..10).map(|_| pattern(random.below(20_000))).collect();
        for payload in &sent {
            pair.client.send(WSMsgType::Binary, payload);
            if random.chance(30) {
                kit.run_until_idle();
            }
        }
        kit.run_until_idle();
        assert!(received.take() == sent, "seed {seed}");
    }
}
