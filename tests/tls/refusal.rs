//! Bytes that wait sealed, below the queue.

use std::time::Duration;

use femtows::proto::Role;
use femtows::testkit::{Pair, TestKit};
use femtows::*;

use crate::ends::{Received, both_ends, echo};

const SECOND: Duration = Duration::from_secs(1);

/// A client that keeps the pongs it gets.
struct Pongs(Received);

impl WSListener for Pongs {
    fn on_ws_frame(&mut self, _: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        if frame.msg_type() == WSMsgType::Pong {
            self.0.push(frame.payload());
        }
        Ok(())
    }
}

/// A server whose queue is empty, and whose sealed bytes the kernel refuses.
fn sealed(kit: &mut TestKit) -> (Pair, Received) {
    let (server, client) = both_ends();
    let pongs = Received::default();
    let pair = kit.pair(|_: &WSUpgradeRequest| echo(), Pongs(pongs.clone()), server, client).unwrap();
    kit.run_until_idle();
    pair.link.to_client().capacity(100).stall();
    pair.server.send(WSMsgType::Binary, [7; 1000]);
    kit.run_until_idle();
    let waiting = pair.server.buffered_amount();
    assert!((900..1100).contains(&waiting), "{waiting}");
    (pair, pongs)
}

#[test]
fn sealed_bytes_that_do_not_leave_end_the_connection() {
    let mut kit = TestKit::new(60);
    let (pair, _) = sealed(&mut kit);
    kit.advance(29 * SECOND);
    assert!(!pair.server.is_disconnected());
    kit.advance(SECOND);
    assert_eq!(pair.server.disconnect_info().map(|info| info.cause), Some(WSDisconnectCause::WriteTimeout));
}

#[test]
fn sealed_bytes_that_leave_one_by_one_begin_the_write_timeout_anew() {
    let mut kit = TestKit::new(61);
    let (pair, _) = sealed(&mut kit);
    for _ in 0..5 {
        kit.advance(29 * SECOND);
        pair.link.to_client().release(1);
        kit.run_until_idle();
    }
    assert!(!pair.server.is_disconnected());
    kit.advance(30 * SECOND);
    assert!(pair.server.is_disconnected());
}

#[test]
fn of_the_pings_behind_sealed_bytes_the_newest_is_answered_when_they_have_left() {
    let mut kit = TestKit::new(62);
    let (pair, pongs) = sealed(&mut kit);
    let waiting = pair.server.buffered_amount();
    for number in 0..1000u32 {
        pair.client.send_ping(number.to_be_bytes()).unwrap();
        kit.run_until_idle();
    }
    assert_eq!(pair.server.buffered_amount(), waiting);
    pair.link.to_client().unstall();
    kit.run_until_idle();
    assert_eq!(pongs.take(), [999u32.to_be_bytes()]);
    assert!(!pair.link.is_closed(Role::Server));
}
