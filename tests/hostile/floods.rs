//! More than anybody asked for.

use femtows::{WSDisconnectCause, WSLimits, WSServerConfig, WSTransport};

use crate::heap;
use crate::own_process;
use crate::scene::Scene;
use crate::support::peer::Peer;
use crate::support::wire::{CLOSE, Frame, PING, PONG};
use crate::way::Way;

/// Of a server that keeps no more than this for a peer that does not read.
const LIMIT: usize = 64 << 10;

fn frugal() -> WSServerConfig {
    WSServerConfig::default().limits(WSLimits::default().max_outbound(LIMIT))
}

#[test]
fn t09_a_flood_of_closes_is_answered_once() {
    let _process = own_process();
    for way in Way::all() {
        let scene = Scene::set(&way, WSServerConfig::default());
        let mut peer = scene.connect();
        let closes = peer.encode(&Frame::close(4001, "bye")).repeat(1000);
        let used = heap::measure(|| {
            for _ in 0..100 {
                if !peer.try_write(&closes) {
                    break;
                }
            }
        });
        assert!(used.peak < 1 << 20, "{way:?}: {used:?}");
        // The server closes TCP behind its answer; the rest of the flood may reset the connection before the answer is read.
        let mut answers = Vec::new();
        while let Ok(true) = peer.try_fill() {}
        while let Some(frame) = peer.take_frame() {
            answers.push(frame);
        }
        assert!(answers.len() <= 1, "{way:?}: {answers:?}");
        assert!(answers.iter().all(|frame| frame.opcode == CLOSE && frame.close_code() == Some(4001)));
        let info = scene.next_end();
        assert_eq!((info.cause, info.code.0), (WSDisconnectCause::Closed, 4001), "{way:?}");
        scene.ends_well();
    }
}

/// CLOSE frames that come one by one, behind the first that was answered, are not answered and not read for ever.
#[test]
fn t09_closes_behind_an_answered_one_are_ignored() {
    let _process = own_process();
    for way in Way::all() {
        let scene = Scene::set(&way, WSServerConfig::default());
        let mut peer = scene.connect();
        let two =
            [Frame::close(1000, ""), Frame::close(3000, "again")].map(|frame| peer.encode(&frame)).concat();
        peer.write(&two);
        assert_eq!(peer.read_frame().close_code(), Some(1000));
        peer.expect_eof();
        assert_eq!(scene.next_end().code.0, 1000, "{way:?}");
        scene.ends_well();
    }
}

fn ping(n: u32) -> Frame {
    Frame::new(PING, [&n.to_be_bytes()[..], &[b'x'; 100]].concat())
}

/// The numbers of PONGs, up to that of this one.
fn pongs_up_to(peer: &mut Peer, last: u32) -> Vec<u32> {
    let mut numbers = Vec::new();
    while numbers.last() != Some(&last) {
        let frame = peer.read_frame();
        assert_eq!(frame.opcode, PONG);
        numbers.push(u32::from_be_bytes(*frame.payload.first_chunk().unwrap()));
    }
    numbers
}

#[test]
fn a_flood_of_pings_without_reading_is_bounded() {
    const PINGS: u32 = 200_000;
    let _process = own_process();
    for way in Way::all() {
        let scene = Scene::set(&way, frugal());
        let mut peer = scene.connect();
        let used = heap::measure(|| {
            for batch in 0..PINGS / 100 {
                let pings = (0..100).flat_map(|n| peer.encode(&ping(batch * 100 + n))).collect::<Vec<_>>();
                peer.write(&pings);
            }
            let waiting = scene.server.on.ask_transport(1, WSTransport::buffered_amount);
            assert!(waiting <= 2 * LIMIT, "{way:?}: {waiting} bytes wait");
        });
        assert!(used.peak < 1 << 20, "{way:?}: {used:?}");
        // The newest is answered, those before it in order, and the connection is well.
        let pongs = pongs_up_to(&mut peer, PINGS - 1);
        assert!(pongs.is_sorted() && pongs.len() < PINGS as usize, "{way:?}: {} pongs", pongs.len());
        peer.send(&Frame::text("still here"));
        assert_eq!(peer.read_frame(), Frame::text("still here"));
        drop(peer);
        scene.next_end();
        scene.ends_well();
    }
}

#[test]
fn a_flood_of_echoes_without_reading_is_bounded() {
    let _process = own_process();
    for way in Way::all() {
        let scene = Scene::set(&way, frugal());
        let mut peer = scene.connect();
        let frames = peer.encode(&Frame::binary([5; 1000])).repeat(10);
        let used = heap::measure(|| while peer.try_write(&frames) {});
        assert!(used.peak < 1 << 20, "{way:?}: {used:?}");
        assert_eq!(scene.next_end().cause, WSDisconnectCause::Overflow, "{way:?}");
        scene.ends_well();
    }
}

/// A hundred thousand frames with nothing in them cost the peer more than this end.
#[test]
fn a_flood_of_empty_frames_is_bounded() {
    let _process = own_process();
    for way in Way::all() {
        let scene = Scene::set(&way, WSServerConfig::default());
        let mut peer = scene.connect();
        peer.send(&Frame::text("").bits(false, 0));
        assert_eq!(peer.read_frame(), Frame::text("").bits(false, 0));
        let empty = Frame::new(crate::support::wire::CONTINUATION, "").bits(false, 0);
        let hundred = peer.encode(&empty).repeat(100);
        let used = heap::measure(|| {
            for _ in 0..1000 {
                peer.write(&hundred);
                for _ in 0..100 {
                    assert_eq!(peer.read_frame(), empty);
                }
            }
        });
        assert!(used.peak < 1 << 20, "{way:?}: {used:?}");
        drop(peer);
        scene.next_end();
        scene.ends_well();
    }
}
