//! Bytes that are not TLS, where there has to be TLS.

use femtows::{WSConnectConfig, WSDisconnectCause, WSError, WSHandshakeFailure, WSServerConfig};
use rustls::AlertDescription;

use crate::heap;
use crate::own_process;
use crate::scene::Scene;
use crate::support::peer::{Peer, PeerServer, header, switching};
use crate::support::probe::{Probe, log};
use crate::support::running::connect;
use crate::support::wire::Frame;
use crate::way::Way;

/// Records that nobody may send behind the handshake.
fn garbage() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("noise in a data record", [&[23, 3, 3, 0, 100][..], &[7; 100]].concat()),
        ("a data record too short for its tag", [&[23, 3, 3, 0, 5][..], &[7; 5]].concat()),
        ("an empty data record", vec![23, 3, 3, 0, 0]),
        ("a record that is too long", [&[23, 3, 3, 0xff, 0xff][..], &[7; 2000]].concat()),
        ("an unknown type", vec![99, 3, 3, 0, 4, 1, 2, 3, 4]),
        ("a heartbeat", vec![24, 3, 3, 0, 3, 1, 0x40, 0]),
        ("an alert in the clear", vec![21, 3, 3, 0, 2, 2, 40]),
        ("a handshake message in the clear", vec![22, 3, 3, 0, 4, 20, 0, 0, 0]),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: here\r\n\r\n".to_vec()),
        ("zeros", vec![0; 100]),
    ]
}

/// The alert that the other end has sent; TCP ends behind it.
fn alert(peer: &mut Peer) -> AlertDescription {
    let error = loop {
        match peer.try_fill() {
            Ok(true) => {}
            Ok(false) => panic!("an end, and no alert"),
            Err(error) => break error,
        }
    };
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(rustls::Error::AlertReceived(alert)) => *alert,
        other => panic!("{other:?}: {error}"),
    }
}

#[test]
fn garbage_behind_the_handshake_is_answered_with_an_alert() {
    let _process = own_process();
    let scene = Scene::set(&Way::tls(), WSServerConfig::default());
    for (name, bytes) in garbage() {
        let mut peer = scene.connect();
        peer.send_and_sync(&[]);
        peer.write_raw(&bytes);
        let told = alert(&mut peer);
        assert_ne!(told, AlertDescription::CloseNotify, "{name}");
        peer.expect_gone();
        assert_eq!(scene.next_end().cause, WSDisconnectCause::Tls, "{name}");
    }
    scene.ends_well();
}

#[test]
fn garbage_from_a_server_is_an_error_of_tls() {
    let _process = own_process();
    let way = Way::tls();
    let server = PeerServer::bind();
    for (name, bytes) in garbage() {
        let (log, events) = log();
        let config = way.client(WSConnectConfig::default());
        let client = connect(&way.url(server.addr()), config, Probe::new(&log));
        let mut peer = way.accept(&server);
        let key = header(&peer.read_head(), "Sec-WebSocket-Key").unwrap();
        peer.write(switching(&key, "").as_bytes());
        client.opened().unwrap();
        let good = peer.encode(&Frame::text("good"));
        let record = peer.session().seal(&good);
        peer.write_raw(&[record, bytes].concat());
        events.connected();
        assert_eq!(events.frame(), Frame::text("good"), "{name}");
        assert_eq!(events.disconnected().cause, WSDisconnectCause::Tls, "{name}");
        let error = client.ended().unwrap_err();
        assert!(matches!(error, WSError::Tls(_)), "{name}: {error}");
        alert(&mut peer);
    }
}

/// Half a record, and then the end.
#[test]
fn records_that_are_cut_short_are_truncations() {
    let _process = own_process();
    let scene = Scene::set(&Way::tls(), WSServerConfig::default());
    for len in [1, 4, 5, 6, 30] {
        let mut peer = scene.connect();
        peer.send_and_sync(&[]);
        let frame = peer.encode(&Frame::text("never whole"));
        let record = peer.session().seal(&frame);
        peer.write_raw(&record[..len]);
        peer.cut_write();
        peer.expect_gone();
        assert_eq!(scene.next_end().cause, WSDisconnectCause::Truncated, "{len}");
    }
    scene.ends_well();
}

#[test]
fn garbage_instead_of_a_handshake_is_answered_with_an_alert() {
    let _process = own_process();
    let scene = Scene::set(&Way::tls(), WSServerConfig::default());
    let garbage = [
        ("HTTP", b"GET / HTTP/1.1\r\nHost: here\r\n\r\n".to_vec()),
        ("a frame", vec![0x81, 0x85, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ("data before a handshake", vec![23, 3, 3, 0, 4, 1, 2, 3, 4]),
        ("a server's message", [&[22, 3, 3, 0, 8, 2, 0, 0, 4][..], &[3; 4]].concat()),
        ("a hello that is none", [&[22, 3, 1, 0, 8, 1, 0, 0, 4][..], &[9; 4]].concat()),
        ("zeros", vec![0; 100]),
    ];
    let count = garbage.len() as u64;
    for (name, bytes) in garbage {
        let mut peer = Peer::connect_tcp(scene.server.addr);
        peer.write(&bytes);
        let answer = peer.read_to_eof();
        assert_eq!((answer.first(), answer.len()), (Some(&21), 7), "{name}: {answer:?}");
    }
    assert_eq!(scene.handshake_failures(WSHandshakeFailure::Tls), count);
    scene.ends_well();
}

/// RFC 8446 section 4.6.3 lets a peer change its keys, and ask for other ones, as often as it likes.
#[test]
fn a_flood_of_key_updates_is_bounded() {
    let _process = own_process();
    let scene = Scene::set(&Way::tls(), WSServerConfig::default());
    let mut peer = scene.connect();
    let updates: Vec<u8> = (0..20_000).flat_map(|_| peer.session().update_keys()).collect();
    let used = heap::measure(|| {
        for part in updates.chunks(10_000) {
            if !peer.try_write_raw(part) {
                break;
            }
        }
    });
    assert!(used.peak < 1 << 20, "{used:?}");
    assert_eq!(scene.next_end().cause, WSDisconnectCause::Tls);
    scene.ends_well();
}

/// A first message in records of one byte each, of which each comes alone.
#[test]
fn a_hello_in_crumbs_is_read_on() {
    let _process = own_process();
    let scene = Scene::set(&Way::tls(), WSServerConfig::default());
    let mut peer = Peer::connect_tcp(scene.server.addr);
    let hello = [&[1, 0, 1, 0][..], &[9; 256]].concat();
    for byte in hello {
        peer.write_raw(&[22, 3, 1, 0, 1, byte]);
        std::thread::sleep(std::time::Duration::from_micros(200));
    }
    let answer = peer.read_to_eof();
    assert_eq!((answer.first(), answer.len()), (Some(&21), 7), "it was none: {answer:?}");
    assert_eq!(scene.handshake_failures(WSHandshakeFailure::Tls), 1);
    scene.ends_well();
}

/// A first message that claims 16 MiB, in records that are as they should be. rustls gives up on it without an alert.
#[test]
fn an_endless_handshake_message_is_bounded() {
    let _process = own_process();
    let scene = Scene::set(&Way::tls(), WSServerConfig::default());
    let mut peer = Peer::connect_tcp(scene.server.addr);
    let first = [&[22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xf0][..], &[3; 16_380]].concat();
    let next = [&[22, 3, 1, 0x40, 0][..], &[3; 16_384]].concat();
    let used = heap::measure(|| {
        peer.write_raw(&first);
        for _ in 0..1000 {
            peer.write_raw(&next);
        }
        peer.expect_eof();
    });
    assert!(used.peak < 1 << 19, "{used:?}");
    assert_eq!(scene.handshake_failures(WSHandshakeFailure::Tls), 1);
    drop(peer);
    scene.ends_well();
}
