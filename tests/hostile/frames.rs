//! Frames in crumbs, and frames that promise too much.

use femtows::{WSDisconnectCause, WSServerConfig};

use crate::heap;
use crate::own_process;
use crate::scene::Scene;
use crate::support::pattern;
use crate::support::peer::Peer;
use crate::support::wire::{BINARY, Frame, PING, PONG};
use crate::way::Way;

/// The frames that are sent in crumbs, and what comes back.
fn crumbs() -> (Vec<Frame>, Vec<Frame>) {
    let sent = vec![
        Frame::binary(pattern(3000)),
        Frame::new(PING, "between"),
        Frame::text("begun").bits(false, 0),
        Frame::new(PING, ""),
        Frame::new(0, pattern(130)),
        Frame::text(""),
    ];
    let answer = |frame: &Frame| match frame.opcode {
        PING => Frame::new(PONG, &frame.payload),
        _ => frame.clone(),
    };
    let answers = sent.iter().map(answer).collect();
    (sent, answers)
}

/// Every byte in a segment of its own, and in a record of its own if there is TLS.
#[test]
fn t01_frames_of_one_byte_per_segment_come_back() {
    let _process = own_process();
    for way in Way::all() {
        let scene = Scene::set(&way, WSServerConfig::default());
        let mut peer = scene.connect();
        let (frames, answers) = crumbs();
        let used = heap::measure(|| {
            for frame in &frames {
                for byte in peer.encode(frame) {
                    peer.write(&[byte]);
                }
            }
        });
        assert!(used.peak < 1 << 20, "{way:?}: {used:?}");
        for answer in &answers {
            assert_eq!(peer.read_frame(), *answer, "{way:?}");
        }
        close(&scene, peer);
        scene.ends_well();
    }
}

/// The same, with records cut into single bytes.
#[cfg(feature = "tls")]
#[test]
fn t01_records_of_one_byte_per_segment_come_back() {
    let _process = own_process();
    let scene = Scene::set(&Way::tls(), WSServerConfig::default());
    let mut peer = scene.connect();
    let (frames, answers) = crumbs();
    for frame in &frames {
        let bytes = peer.encode(frame);
        for byte in peer.session().seal(&bytes) {
            peer.write_raw(&[byte]);
        }
    }
    for answer in &answers {
        assert_eq!(peer.read_frame(), *answer);
    }
    close(&scene, peer);
    scene.ends_well();
}

/// A closing handshake, and how the library tells of it.
fn close(scene: &Scene, mut peer: Peer) {
    peer.send(&Frame::close(1000, ""));
    assert_eq!(peer.read_frame().close_code(), Some(1000));
    peer.expect_eof();
    assert_eq!(scene.next_end().cause, WSDisconnectCause::Closed);
}

/// A header that claims `len` bytes.
fn claim(len: u64) -> Vec<u8> {
    [&[0x80 | BINARY, 0xff][..], &len.to_be_bytes(), &[1, 2, 3, 4]].concat()
}

#[test]
fn t07_claims_within_the_limit_cost_what_arrives() {
    const PEERS: usize = 200;
    let _process = own_process();
    let generous = WSServerConfig::default().max_frame_size(4 << 30);
    for way in Way::all() {
        let scene = Scene::set(&way, generous.clone());
        let mut peers: Vec<_> = (0..PEERS).map(|_| scene.connect()).collect();
        let bytes = [claim(4 << 30), vec![7; 1000]].concat();
        let used = heap::measure(|| {
            for peer in &mut peers {
                peer.write(&bytes);
            }
            // The loop has read what came before this.
            scene.connect().send_and_sync(&[]);
            scene.next_end();
        });
        let most = (1 << 20) + ((PEERS * 8) << 10).cast_signed();
        assert!(used.peak < most, "{way:?}: {used:?}");
        drop(peers);
        (0..PEERS).for_each(|_| drop(scene.next_end()));
        scene.ends_well();
    }
}

#[test]
fn t07_claims_above_the_limit_are_refused() {
    let _process = own_process();
    for way in Way::all() {
        let scene = Scene::set(&way, WSServerConfig::default());
        for len in [(10 << 20) + 1, 1 << 32, 1 << 48, (1 << 63) - 1] {
            let mut peer = scene.connect();
            let used = heap::measure(|| {
                peer.write(&claim(len));
                assert_eq!(peer.read_frame().close_code(), Some(1009), "{way:?}: {len}");
            });
            assert!(used.peak < 1 << 20, "{way:?}: {len}: {used:?}");
            peer.expect_eof();
            peer.shutdown_write();
            let info = scene.next_end();
            assert_eq!((info.cause, info.code.0), (WSDisconnectCause::ProtocolError, 1009));
        }
        scene.ends_well();
    }
}

/// RFC 6455 section 5.2: the most significant bit of a length is zero; and section 5.1: a client masks.
#[test]
fn t08_violations_close_with_1002_over_each_way() {
    let _process = own_process();
    for way in Way::all() {
        let scene = Scene::set(&way, WSServerConfig::default());
        let violations: [&[u8]; 6] = [
            &[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4],
            &[0x82, 0xfe, 0, 125, 1, 2, 3, 4],
            &[0x82, 0x01, b'x'],
            &[0x83, 0x80, 1, 2, 3, 4],
            &[0xc2, 0x80, 1, 2, 3, 4],
            &[0x09, 0x80, 1, 2, 3, 4],
        ];
        for violation in violations {
            let mut peer = scene.connect();
            let good = peer.encode(&Frame::text("good"));
            peer.write(&[&good, violation].concat());
            assert_eq!(peer.read_frame(), Frame::text("good"), "{way:?}: {violation:?}");
            assert_eq!(peer.read_frame().close_code(), Some(1002), "{way:?}: {violation:?}");
            peer.expect_eof();
            peer.shutdown_write();
            let info = scene.next_end();
            assert_eq!((info.cause, info.code.0), (WSDisconnectCause::ProtocolError, 1002));
        }
        scene.ends_well();
    }
}
