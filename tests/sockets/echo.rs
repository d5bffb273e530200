//! What is sent comes back as it was, whatever its size and its bits, and however it was cut.

use std::thread;

use femtows::{WSConnectConfig, WSServerConfig};

use crate::support::pattern;
use crate::support::peer::{Peer, PeerServer, status, upgrade_request};
use crate::support::probe::{Probe, log};
use crate::support::running::{connect, serve};
use crate::support::wire::{BINARY, CONTINUATION, Frame, PING, PONG, TEXT};

const SMALL: [usize; 14] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 29, 64, 125, 126, 127];
const LARGE: [usize; 4] = [65_535, 65_536, 256 << 10, 6 << 20];

/// Each frame and each pair of fragments comes back from an echo with the same bits.
fn all_sizes_and_bits(peer: &mut Peer) {
    for size in SMALL.into_iter().chain(LARGE) {
        let payload = pattern(size);
        for rsv in 0..8 {
            let opcode = if rsv % 2 == 0 { BINARY } else { TEXT };
            for frame in [
                Frame::new(opcode, &payload).bits(true, rsv),
                Frame::new(opcode, &payload).bits(false, rsv),
                Frame::new(CONTINUATION, &payload).bits(false, rsv),
                Frame::new(CONTINUATION, &payload).bits(true, rsv),
            ] {
                peer.send(&frame);
                assert_eq!(peer.read_frame(), frame);
            }
        }
    }
}

/// Each small frame comes back, cut at each byte. A PING goes ahead of the first part in the same segment, so its PONG says
/// that the first part was received alone.
fn every_cut(peer: &mut Peer) {
    let ahead = peer.encode(&Frame::new(PING, "cut"));
    for size in SMALL {
        for cut in 1.. {
            let frame = Frame::binary(pattern(size)).bits(true, (cut % 8) as u8);
            let bytes = peer.encode(&frame);
            if cut == bytes.len() {
                break;
            }
            peer.write(&[&ahead, &bytes[..cut]].concat());
            assert_eq!(peer.read_frame(), Frame::new(PONG, "cut"));
            peer.write(&bytes[cut..]);
            assert_eq!(peer.read_frame(), frame, "cut at {cut}");
        }
    }
}

#[test]
fn t01_server_echoes_all_sizes_and_bits() {
    let (log, _events) = log();
    let config = WSServerConfig::default().allow_reserved_bits(true);
    let server = serve(config, move |_| Probe::new(&log).echo());
    all_sizes_and_bits(&mut Peer::connect(server.addr));
}

#[test]
fn t01_client_echoes_all_sizes_and_bits() {
    let (log, _events) = log();
    let server = PeerServer::bind();
    let config = WSConnectConfig::default().allow_reserved_bits(true);
    let _client = connect(&server.url("/"), config, Probe::new(&log).echo());
    all_sizes_and_bits(&mut server.accept());
}

#[test]
fn t01_server_echoes_small_frames_cut_at_every_byte() {
    let (log, _events) = log();
    let config = WSServerConfig::default().allow_reserved_bits(true);
    let server = serve(config, move |_| Probe::new(&log).echo());
    every_cut(&mut Peer::connect(server.addr));
}

#[test]
fn t01_client_echoes_small_frames_cut_at_every_byte() {
    let (log, _events) = log();
    let server = PeerServer::bind();
    let config = WSConnectConfig::default().allow_reserved_bits(true);
    let _client = connect(&server.url("/"), config, Probe::new(&log).echo());
    every_cut(&mut server.accept());
}

/// The opening may be cut anywhere too, and a frame may come with its last byte.
#[test]
fn t01_opening_cut_at_every_byte() {
    let (log, _events) = log();
    let server = serve(WSServerConfig::default(), move |_| Probe::new(&log).echo());
    let request = upgrade_request("/", "");
    for cut in 1..request.len() {
        let mut peer = Peer::connect_tcp(server.addr);
        let behind = peer.encode(&Frame::text("early"));
        peer.write(&request.as_bytes()[..cut]);
        // Not needed for the result; makes it likely that the server sees the cut.
        thread::yield_now();
        peer.write(&[&request.as_bytes()[cut..], &behind].concat());
        assert_eq!(status(&peer.read_head()), 101);
        assert_eq!(peer.read_frame(), Frame::text("early"));
    }
}

/// So many that the loop looks ahead.
#[test]
fn hundreds_of_connections_that_are_ready_at_once_are_all_served() {
    let (log, _events) = log();
    let server = serve(WSServerConfig::default(), move |_| Probe::new(&log).echo());
    let mut peers: Vec<_> = (0..301).map(|_| Peer::connect(server.addr)).collect();
    for round in 0..3 {
        // Nobody is served before all have asked.
        let (go, wait) = std::sync::mpsc::channel::<()>();
        server.on.remote.post(move |_| assert!(wait.recv().is_err())).unwrap();
        for (n, peer) in peers.iter_mut().enumerate() {
            peer.send(&Frame::text(format!("{round} {n}")));
        }
        drop(go);
        for (n, peer) in peers.iter_mut().enumerate() {
            assert_eq!(peer.read_frame(), Frame::text(format!("{round} {n}")));
        }
        // Some go, so that slots that were named to the kernel are empty or somebody else's.
        peers.drain(..13);
        peers.extend((0..13).map(|_| Peer::connect(server.addr)));
    }
}
