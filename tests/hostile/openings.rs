//! Openings that never end.

use std::time::Duration;

use femtows::{WSHandshakeFailure, WSServerConfig};

use crate::heap;
use crate::own_process;
use crate::scene::Scene;
use crate::support::eventually;
use crate::support::peer::{Peer, status, upgrade_request};
use crate::way::Way;

/// Each sends a byte of `bytes` now and then, all the bytes at the end, if the server lets it.
fn all_are_cut_off(scene: Scene, mut peers: Vec<Peer>, bytes: &[u8]) {
    let count = peers.len();
    let mut sent = bytes.iter();
    while !peers.is_empty() {
        let byte = sent.next().unwrap_or_else(|| panic!("{:?}: {} were let in", scene.way, peers.len()));
        peers.retain_mut(|peer| peer.try_write(&[*byte]));
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(scene.handshake_failures(WSHandshakeFailure::Timeout), count as u64, "{:?}", scene.way);
    scene.ends_well();
}

fn impatient() -> WSServerConfig {
    WSServerConfig::default().handshake_timeout(Some(Duration::from_millis(400)))
}

#[test]
fn t02_many_slow_requests_are_cut_off_at_the_deadline() {
    let _process = own_process();
    let request = upgrade_request("/", &format!("X-Long: {}\r\n", "x".repeat(1500)));
    for way in Way::all() {
        let scene = Scene::set(&way, impatient());
        let peers = (0..40).map(|_| way.dial(scene.server.addr)).collect();
        all_are_cut_off(scene, peers, request.as_bytes());
    }
}

#[cfg(feature = "tls")]
#[test]
fn t02_many_slow_tls_handshakes_are_cut_off_at_the_deadline() {
    let _process = own_process();
    let way = Way::tls();
    // A record that is longer than can be sent in time; its message begins well.
    let hello = [&[22, 3, 1, 0x40, 0][..], &[1, 0, 0x3f, 0xfc, 3, 3], &[7; 1500]].concat();
    let scene = Scene::set(&way, impatient());
    let peers = (0..40).map(|_| Peer::connect_tcp(scene.server.addr)).collect();
    all_are_cut_off(scene, peers, &hello);
}

/// Who goes on sending headers is told what is wrong, and then closed on.
#[test]
fn t11_endless_headers_are_refused() {
    let _process = own_process();
    for way in Way::all() {
        let scene = Scene::set(&way, WSServerConfig::default());
        let mut peer = way.dial(scene.server.addr);
        peer.write(b"GET / HTTP/1.1\r\n");
        let lines = "X-Some: thing\r\n".repeat(1000);
        let used = heap::measure(|| {
            for _ in 0..10 {
                peer.write(lines.as_bytes());
            }
            assert_eq!(status(&peer.read_head()), 431, "{way:?}");
            eventually("it is cut off", || !peer.try_write(lines.as_bytes()));
        });
        assert!(used.peak < 1 << 20, "{way:?}: {used:?}");
        drop(peer);
        scene.ends_well();
    }
}

#[test]
fn t11_lines_of_a_megabyte_are_refused() {
    let _process = own_process();
    let long = "x".repeat(1 << 20);
    let heads = [
        ("a header", format!("GET / HTTP/1.1\r\nHost: here\r\nX-Long: {long}\r\n\r\n"), 431),
        ("a name", format!("GET / HTTP/1.1\r\nHost: here\r\n{long}: x\r\n\r\n"), 431),
        ("a target", format!("GET /{long} HTTP/1.1\r\nHost: here\r\n\r\n"), 431),
        ("a method", long, 400),
    ];
    for way in Way::all() {
        let scene = Scene::set(&way, WSServerConfig::default());
        for (name, head, wanted) in &heads {
            let mut peer = way.dial(scene.server.addr);
            let used = heap::measure(|| {
                for part in head.as_bytes().chunks(10_000) {
                    peer.write(part);
                }
                assert_eq!(status(&peer.read_head()), *wanted, "{way:?}: {name}");
            });
            assert!(used.peak < 1 << 19, "{way:?}: {name}: {used:?}");
            peer.read_to_eof();
        }
        scene.ends_well();
    }
}
