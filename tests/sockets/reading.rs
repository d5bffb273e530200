//! What a listener learns of the receive buffer, and how it stops reading and goes on.

use std::time::Duration;

use femtows::{WSDisconnectCause, WSMsgType, WSServerConfig, WSTransport};

use crate::support::pattern;
use crate::support::peer::{Peer, PeerServer};
use crate::support::probe::{Event, Events, Probe, log};
use crate::support::running::{Server, connect, serve};
use crate::support::wire::{Frame, PING, PONG};

/// Pauses at each frame with the text `pause`.
fn pausing(probe: Probe) -> Probe {
    probe.on_frame(|transport, frame| {
        if frame.payload().starts_with(b"pause") {
            transport.pause_reading();
            assert!(transport.is_reading_paused());
        }
        Ok(())
    })
}

fn pausing_server() -> (Server, Peer, Events) {
    let (log, events) = log();
    let server = serve(WSServerConfig::default(), move |_| pausing(Probe::new(&log)));
    let peer = Peer::connect(server.addr);
    events.connected();
    (server, peer, events)
}

/// Nothing is delivered, though there was time for it.
fn expect_pause(server: &Server, events: &Events) {
    for _ in 0..5 {
        server.on.ask(|_| ());
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(events.so_far(), []);
}

fn write_all(peer: &mut Peer, frames: &[Frame]) {
    let bytes: Vec<u8> = frames.iter().flat_map(|frame| peer.encode(frame)).collect();
    peer.write(&bytes);
}

#[test]
fn a_pause_stops_after_the_current_frame_and_loses_nothing() {
    let (server, mut peer, events) = pausing_server();
    let frames = [
        Frame::text("before"),
        Frame::text("pause 1"),
        Frame::binary(pattern(100_000)),
        Frame::text("pause 2"),
        Frame::text("after"),
    ];
    write_all(&mut peer, &frames);
    assert_eq!([events.frame(), events.frame()], frames[..2]);
    expect_pause(&server, &events);
    server.on.ask_transport(0, WSTransport::resume_reading);
    assert_eq!([events.frame(), events.frame()], frames[2..4]);
    expect_pause(&server, &events);
    server.on.ask_transport(0, WSTransport::resume_reading);
    assert_eq!(events.frame(), frames[4]);
    assert!(!server.on.ask_transport(0, WSTransport::is_reading_paused));
}

/// The frame behind the pause comes in any number of pieces.
#[test]
fn a_pause_within_a_frame_that_follows() {
    let (server, mut peer, events) = pausing_server();
    for cut in [1, 2, 5, 6, 7, 20] {
        let first = peer.encode(&Frame::text("pause"));
        let second = peer.encode(&Frame::text("the one behind it"));
        peer.write(&[&first, &second[..cut]].concat());
        assert_eq!(events.frame(), Frame::text("pause"));
        expect_pause(&server, &events);
        peer.write(&second[cut..]);
        server.on.ask_transport(0, WSTransport::resume_reading);
        assert_eq!(events.frame(), Frame::text("the one behind it"), "cut at {cut}");
    }
}

#[test]
fn a_paused_reader_makes_its_peer_wait() {
    let (server, mut peer, events) = pausing_server();
    write_all(&mut peer, &[Frame::text("pause")]);
    assert_eq!(events.frame(), Frame::text("pause"));
    let frame = Frame::binary(pattern(500_000));
    let bytes = peer.encode(&frame);
    let (told, finished) = std::sync::mpsc::channel();
    let writer = std::thread::spawn(move || {
        (0..100).for_each(|_| peer.write(&bytes));
        told.send(()).unwrap();
        peer
    });
    expect_pause(&server, &events);
    assert!(finished.try_recv().is_err(), "50 MB do not fit into the kernel");
    server.on.ask_transport(0, WSTransport::resume_reading);
    for _ in 0..100 {
        assert_eq!(events.frame(), frame);
    }
    writer.join().unwrap();
}

#[test]
fn pausing_again_and_again_for_every_frame() {
    let (server, mut peer, events) = pausing_server();
    let frames: Vec<_> = (0..300).map(|n| Frame::text(format!("pause {n}"))).collect();
    write_all(&mut peer, &frames);
    for frame in &frames {
        assert_eq!(events.frame(), *frame);
        server.on.ask(|_| ());
        assert_eq!(events.so_far(), []);
        server.on.ask_transport(0, |transport| {
            // Only the last of these counts.
            transport.resume_reading();
            transport.pause_reading();
            transport.resume_reading();
        });
    }
}

#[test]
fn a_pause_from_outside_and_in_on_ws_connected() {
    let (log, events) = log();
    let server = serve(WSServerConfig::default(), move |_| {
        Probe::new(&log).on_connected(|transport| {
            transport.pause_reading();
            Ok(())
        })
    });
    let mut peer = Peer::connect_tcp(server.addr);
    let early = peer.encode(&Frame::text("early"));
    peer.write(&[crate::support::peer::upgrade_request("/", "").as_bytes(), &early].concat());
    peer.read_head();
    write_all(&mut peer, &[Frame::text("later")]);
    events.connected();
    expect_pause(&server, &events);
    server.on.ask_transport(0, WSTransport::resume_reading);
    assert_eq!([events.frame(), events.frame()], [Frame::text("early"), Frame::text("later")]);
    server.on.ask_transport(0, WSTransport::pause_reading);
    write_all(&mut peer, &[Frame::text("from outside")]);
    expect_pause(&server, &events);
    server.on.ask_transport(0, WSTransport::resume_reading);
    assert_eq!(events.frame(), Frame::text("from outside"));
}

/// No PING is answered and no CLOSE seen during a pause, and the end of TCP waits its turn.
#[test]
fn control_frames_and_eof_wait_for_the_end_of_a_pause() {
    let (server, mut peer, events) = pausing_server();
    write_all(&mut peer, &[Frame::text("pause"), Frame::new(PING, "x"), Frame::text("last")]);
    peer.shutdown_write();
    assert_eq!(events.frame(), Frame::text("pause"));
    expect_pause(&server, &events);
    assert!(!server.on.ask_transport(0, WSTransport::is_disconnected));
    server.on.ask_transport(0, WSTransport::resume_reading);
    assert_eq!(peer.read_frame(), Frame::new(PONG, "x"));
    assert_eq!(events.frame(), Frame::text("last"));
    assert_eq!(events.disconnected().cause, WSDisconnectCause::PeerEof);
}

/// The error of a socket can be taken once, so it is not taken before it counts.
#[test]
fn a_reset_during_a_pause_is_reported_behind_it() {
    let (server, mut peer, events) = pausing_server();
    write_all(&mut peer, &[Frame::text("pause")]);
    assert_eq!(events.frame(), Frame::text("pause"));
    peer.reset();
    expect_pause(&server, &events);
    server.on.ask_transport(0, WSTransport::resume_reading);
    let reset = WSDisconnectCause::Io(std::io::ErrorKind::ConnectionReset);
    let info = events.disconnected();
    assert_eq!(info.cause, reset);
    let error = info.error.expect("the text of the system's error");
    assert!(error.starts_with("receive: "), "{error}");
}

#[test]
fn a_paused_connection_can_send_and_close() {
    let (server, mut peer, events) = pausing_server();
    write_all(&mut peer, &[Frame::text("pause"), Frame::text("never seen")]);
    assert_eq!(events.frame(), Frame::text("pause"));
    server.on.ask_transport(0, |transport| {
        transport.send(WSMsgType::Text, "still sending");
        transport.disconnect();
    });
    assert_eq!(peer.read_frame(), Frame::text("still sending"));
    peer.expect_eof();
    drop(peer);
    assert_eq!(events.disconnected().cause, WSDisconnectCause::Disconnected);
}

#[test]
fn a_client_pauses_too() {
    let (log, events) = log();
    let server = PeerServer::bind();
    let client = connect(&server.url("/"), femtows::WSConnectConfig::default(), pausing(Probe::new(&log)));
    let mut peer = server.accept();
    client.opened().unwrap();
    events.connected();
    write_all(&mut peer, &[Frame::text("pause"), Frame::text("after")]);
    assert_eq!(events.frame(), Frame::text("pause"));
    client.on.ask(|_| ());
    assert_eq!(events.so_far(), []);
    client.on.ask_transport(0, WSTransport::resume_reading);
    assert_eq!(events.frame(), Frame::text("after"));
}

#[test]
fn the_listener_learns_what_is_behind_a_frame() {
    let (log, events) = log();
    let (tell, told) = std::sync::mpsc::channel();
    let server = serve(WSServerConfig::default(), move |_| {
        let tell = tell.clone();
        Probe::new(&log).on_frame(move |_, frame| {
            tell.send((frame.last_in_buffer(), frame.tail_size())).unwrap();
            Ok(())
        })
    });
    let mut peer = Peer::connect(server.addr);
    let encoded = |peer: &Peer, text: &str| peer.encode(&Frame::text(text));
    let (one, two, three) = (encoded(&peer, "1"), encoded(&peer, "22"), encoded(&peer, "333"));
    peer.write(&[&one[..], &two, &three[..4]].concat());
    assert_eq!(told.recv_timeout(crate::support::PATIENCE).unwrap(), (false, two.len() + 4));
    assert_eq!(told.recv_timeout(crate::support::PATIENCE).unwrap(), (true, 4));
    peer.write(&three[4..]);
    assert_eq!(told.recv_timeout(crate::support::PATIENCE).unwrap(), (true, 0));
    assert_eq!(events.next(), Event::Connected);
}

/// In the receive buffer itself; what lies behind the frame is not touched.
#[test]
fn a_payload_may_be_changed_in_place() {
    let (log, events) = log();
    let server = serve(WSServerConfig::default(), move |_| {
        Probe::new(&log).on_frame(|transport, frame| {
            frame.payload_mut().reverse();
            transport.send(frame.msg_type(), frame.payload());
            Ok(())
        })
    });
    let mut peer = Peer::connect(server.addr);
    write_all(&mut peer, &[Frame::text("abc"), Frame::text("def")]);
    assert_eq!([peer.read_frame(), peer.read_frame()], [Frame::text("cba"), Frame::text("fed")]);
    events.connected();
    assert_eq!([events.frame(), events.frame()], [Frame::text("abc"), Frame::text("def")]);
}

#[test]
fn without_auto_pong_the_listener_sees_pings() {
    let (log, events) = log();
    let server = serve(WSServerConfig::default().enable_auto_pong(false), move |_| Probe::new(&log));
    let mut peer = Peer::connect(server.addr);
    peer.send(&Frame::new(PING, "yours"));
    events.connected();
    assert_eq!(events.frame(), Frame::new(PING, "yours"));
    server.on.ask_transport(0, |transport| drop(transport.send_pong("mine")));
    assert_eq!(peer.read_frame(), Frame::new(PONG, "mine"));
    peer.send(&Frame::new(PONG, "unasked"));
    assert_eq!(events.frame(), Frame::new(PONG, "unasked"));
}
