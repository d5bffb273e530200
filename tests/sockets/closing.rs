//! How connections end: closing handshakes, disconnects, and what is told of them.

use std::time::Duration;

use femtows::{
    WSClose, WSCloseCode, WSCloseHandshake, WSConnectConfig, WSDisconnectCause, WSDisconnectInfo,
    WSDisconnectSide, WSDropReason, WSError, WSMsgType, WSRemoteError, WSSendStatus, WSServerConfig,
    WSTransport,
};

use crate::support::eventually;
use crate::support::peer::{Peer, PeerServer};
use crate::support::probe::{Event, Events, Probe, log};
use crate::support::running::{Client, LoopThread, Server, connect, serve};
use crate::support::wire::{CLOSE, Frame};

/// The library's end, whichever it is, and the peer at the other one.
struct Pair {
    peer: Peer,
    events: Events,
    end: End,
}

enum End {
    Server(Server),
    Client(Client),
}

impl Pair {
    fn on(&self) -> &LoopThread {
        match &self.end {
            End::Server(server) => &server.on,
            End::Client(client) => &client.on,
        }
    }

    fn ask<T: Send + 'static>(&self, question: impl FnOnce(&WSTransport) -> T + Send + 'static) -> T {
        self.on().ask_transport(0, question)
    }

    fn close_handshake(&self) -> WSCloseHandshake {
        self.ask(WSTransport::close_handshake)
    }

    fn is_client(&self) -> bool {
        matches!(self.end, End::Client(_))
    }
}

/// The library as server, then as client, with the same settings.
fn both_ends(close_timeout: Duration, auto_close: bool, probe: fn(Probe) -> Probe) -> [Pair; 2] {
    let (server_log, server_events) = log();
    let config = WSServerConfig::default().close_timeout(close_timeout).enable_auto_close(auto_close);
    let server = serve(config, move |_| probe(Probe::new(&server_log)));
    let client_peer = Peer::connect(server.addr);
    server_events.connected();
    let (client_log, client_events) = log();
    let peer_server = PeerServer::bind();
    let config = WSConnectConfig::default().close_timeout(close_timeout).enable_auto_close(auto_close);
    let client = connect(&peer_server.url("/"), config, probe(Probe::new(&client_log)));
    let server_peer = peer_server.accept();
    client.opened().unwrap();
    client_events.connected();
    [
        Pair { peer: client_peer, events: server_events, end: End::Server(server) },
        Pair { peer: server_peer, events: client_events, end: End::Client(client) },
    ]
}

fn plain() -> [Pair; 2] {
    both_ends(Duration::from_secs(30), true, |probe| probe)
}

#[expect(clippy::unnecessary_wraps, reason = "the fields it is compared with are options")]
fn half(code: u16, reason: &str) -> Option<WSClose> {
    Some(WSClose { code: WSCloseCode(code), reason: reason.into() })
}

fn told(info: &WSDisconnectInfo) -> (WSDisconnectCause, WSDisconnectSide, u16, &str) {
    (info.cause, info.side, info.code.0, &*info.reason)
}

#[test]
fn t09_this_end_closes_and_is_answered() {
    for mut pair in plain() {
        assert!(pair.ask(|transport| transport.close(WSCloseCode(4000), "bye").unwrap()));
        assert_eq!(pair.peer.read_frame(), Frame::close(4000, "bye"));
        let handshake = pair.close_handshake();
        assert_eq!(
            handshake,
            WSCloseHandshake { recv: None, sent: half(4000, "bye"), recv_then_sent: false }
        );
        pair.peer.send(&Frame::close(4000, "you too"));
        assert_eq!(pair.events.frame(), Frame::close(4000, "you too"));
        if pair.is_client() {
            // RFC 6455 section 7.1.1: the server closes TCP first.
            pair.peer.expect_silence(Duration::from_millis(100));
            pair.peer.shutdown_write();
        }
        pair.peer.expect_eof();
        let info = pair.events.disconnected();
        assert_eq!(told(&info), (WSDisconnectCause::Closed, WSDisconnectSide::Local, 4000, "bye"));
        assert_eq!(info.bytes_unsent, 0);
        let (recv, sent) = (half(4000, "you too"), half(4000, "bye"));
        assert_eq!(pair.close_handshake(), WSCloseHandshake { recv, sent, recv_then_sent: false });
    }
}

#[test]
fn t09_a_client_closes_cleanly_though_the_server_leaves_tcp_open() {
    let (log, events) = log();
    let server = PeerServer::bind();
    let config = WSConnectConfig::default().close_timeout(Duration::from_secs(5));
    let client = connect(&server.url("/"), config, Probe::new(&log));
    let mut peer = server.accept();
    client.opened().unwrap();
    events.connected();
    client.on.ask_transport(0, |transport| transport.close(WSCloseCode::OK, "bye").unwrap());
    peer.send(&Frame::close(1000, ""));
    assert_eq!(events.until_disconnected().cause, WSDisconnectCause::Closed);
}

#[test]
fn t09_the_peer_closes_and_is_answered() {
    for mut pair in plain() {
        pair.peer.send(&Frame::close(3001, "enough"));
        assert_eq!(pair.peer.read_frame(), Frame::close(3001, "enough"));
        if pair.is_client() {
            pair.peer.expect_silence(Duration::from_millis(100));
            pair.peer.shutdown_write();
        }
        pair.peer.expect_eof();
        assert_eq!(pair.events.frame(), Frame::close(3001, "enough"));
        let info = pair.events.disconnected();
        assert_eq!(told(&info), (WSDisconnectCause::Closed, WSDisconnectSide::Remote, 3001, "enough"));
        let (recv, sent) = (half(3001, "enough"), half(3001, "enough"));
        assert_eq!(pair.close_handshake(), WSCloseHandshake { recv, sent, recv_then_sent: true });
    }
}

#[test]
fn t09_the_listener_answers_in_its_own_words() {
    let answer = |probe: Probe| {
        probe.on_frame(|transport, frame| {
            assert_eq!((frame.close_code(), frame.close_message()), (WSCloseCode(1001), "away"));
            assert!(transport.close(WSCloseCode(1000), "as you like").unwrap());
            Ok(())
        })
    };
    for mut pair in both_ends(Duration::from_secs(30), true, answer) {
        pair.peer.send(&Frame::close(1001, "away"));
        assert_eq!(pair.peer.read_frame(), Frame::close(1000, "as you like"));
        pair.peer.shutdown_write();
        pair.peer.expect_eof();
        pair.events.until_disconnected();
        let (recv, sent) = (half(1001, "away"), half(1000, "as you like"));
        assert_eq!(pair.close_handshake(), WSCloseHandshake { recv, sent, recv_then_sent: true });
    }
}

#[test]
fn t09_this_end_closes_and_is_never_answered() {
    for mut pair in both_ends(Duration::from_millis(200), true, |probe| probe) {
        pair.ask(|transport| transport.close(WSCloseCode::OK, "bye").unwrap());
        assert_eq!(pair.peer.read_frame(), Frame::close(1000, "bye"));
        // Data is not an answer, and does not extend the deadline.
        pair.peer.send(&Frame::text("late"));
        assert_eq!(pair.events.frame(), Frame::text("late"));
        pair.peer.expect_gone();
        let info = pair.events.disconnected();
        assert_eq!(told(&info), (WSDisconnectCause::CloseTimeout, WSDisconnectSide::Local, 1000, "bye"));
        let handshake = pair.close_handshake();
        assert_eq!(
            handshake,
            WSCloseHandshake { recv: None, sent: half(1000, "bye"), recv_then_sent: false }
        );
    }
}

#[test]
fn t09_the_peer_closes_and_is_left_unanswered() {
    for mut pair in both_ends(Duration::from_secs(30), false, |probe| probe) {
        pair.peer.send(&Frame::close(1000, "bye"));
        assert_eq!(pair.events.frame(), Frame::close(1000, "bye"));
        let handshake = pair.close_handshake();
        assert_eq!(handshake, WSCloseHandshake { recv: half(1000, "bye"), sent: None, recv_then_sent: true });
        assert!(!pair.ask(WSTransport::is_close_frame_sent));
        pair.peer.expect_silence(Duration::from_millis(100));
        // The application's own answer comes later, and with it the disconnect.
        assert!(pair.ask(|transport| {
            let sent = transport.close(WSCloseCode::OK, "").unwrap();
            transport.disconnect();
            sent
        }));
        assert_eq!(pair.peer.read_frame(), Frame::close(1000, ""));
        pair.peer.expect_eof();
    }
}

#[test]
fn t09_tcp_ends_without_a_closing_handshake() {
    for pair in plain() {
        drop(pair.peer);
        let info = pair.events.disconnected();
        assert_eq!(told(&info), (WSDisconnectCause::PeerEof, WSDisconnectSide::Remote, 1006, ""));
    }
    for pair in plain() {
        pair.peer.reset();
        let info = pair.events.disconnected();
        let cause = WSDisconnectCause::Io(std::io::ErrorKind::ConnectionReset);
        assert_eq!(told(&info), (cause, WSDisconnectSide::Remote, 1006, ""));
    }
}

#[test]
fn a_second_close_is_ignored() {
    for mut pair in plain() {
        assert!(pair.ask(|transport| transport.close(WSCloseCode::OK, "first").unwrap()));
        assert!(!pair.ask(|transport| transport.close(WSCloseCode(4000), "second").unwrap()));
        assert_eq!(pair.peer.read_frame(), Frame::close(1000, "first"));
        let answers = [Frame::close(1000, "first"), Frame::close(4000, "second"), Frame::text("late")];
        let bytes: Vec<u8> = answers.iter().flat_map(|frame| pair.peer.encode(frame)).collect();
        pair.peer.write(&bytes);
        pair.peer.shutdown_write();
        pair.peer.expect_eof();
        assert_eq!(pair.events.frame(), Frame::close(1000, "first"));
        assert_eq!(pair.events.disconnected().cause, WSDisconnectCause::Closed);
        let handshake = pair.close_handshake();
        assert_eq!((handshake.recv, handshake.sent), (half(1000, "first"), half(1000, "first")));
    }
}

#[test]
fn nothing_is_sent_behind_a_close() {
    for mut pair in plain() {
        let statuses = pair.ask(|transport| {
            let before = transport.send(WSMsgType::Text, "before");
            assert!(before.is_accepted());
            transport.close(WSCloseCode::OK, "").unwrap();
            let prepared = femtows::WSPreparedFrame::new(WSMsgType::Text, "after");
            [
                transport.send(WSMsgType::Text, "after"),
                transport.send(WSMsgType::Binary, vec![0; 100_000]),
                transport.send_ping("after").unwrap(),
                transport.send_pong("after").unwrap(),
                transport.send_buffer(WSMsgType::Text, "after".into()),
                transport.send_prepared_frame(&prepared),
            ]
        });
        assert_eq!(statuses, [WSSendStatus::Dropped(WSDropReason::CloseSent); 6]);
        // Nor is a PING answered any more.
        pair.peer.send(&Frame::new(crate::support::wire::PING, "x"));
        pair.peer.send(&Frame::close(1000, ""));
        pair.peer.shutdown_write();
        assert_eq!(pair.peer.read_frame(), Frame::text("before"));
        assert_eq!(pair.peer.read_frame(), Frame::close(1000, ""));
        pair.peer.expect_eof();
    }
}

#[test]
fn nothing_is_sent_on_a_connection_that_is_gone() {
    for pair in plain() {
        drop(pair.peer);
        pair.events.disconnected();
        let end = pair.end;
        let on = match &end {
            End::Server(server) => &server.on,
            End::Client(client) => &client.on,
        };
        on.ask_transport(0, |transport| {
            assert_eq!(
                transport.send(WSMsgType::Text, "x"),
                WSSendStatus::Dropped(WSDropReason::Disconnected)
            );
            let large = transport.send(WSMsgType::Binary, vec![0; 100_000]);
            assert_eq!(large, WSSendStatus::Dropped(WSDropReason::Disconnected));
            assert!(!transport.close(WSCloseCode::OK, "").unwrap());
            assert_eq!(transport.buffered_amount(), 0);
            assert!(transport.local_addr().is_err() && transport.peer_addr().is_err());
            assert!(transport.with_socket(|_| ()).is_err());
            transport.disconnect();
            transport.pause_reading();
            transport.resume_reading();
            transport.flush();
        });
    }
}

#[test]
fn close_codes_and_reasons_on_the_wire() {
    let long = "x".repeat(200);
    // 40 times three bytes, then one that does not fit in the last three.
    let umlauts = format!("{}{}", "\u{20ac}".repeat(40), "x\u{20ac}");
    let cases: [(WSCloseCode, &str, Frame); 5] = [
        (WSCloseCode::NO_INFO, "", Frame::new(CLOSE, "")),
        (WSCloseCode::NO_INFO, "without a code no reason", Frame::new(CLOSE, "")),
        (WSCloseCode::OK, "\u{e9}t\u{e9}", Frame::close(1000, "\u{e9}t\u{e9}")),
        (WSCloseCode(4999), &long, Frame::close(4999, &long[..123])),
        (WSCloseCode(3000), &umlauts, Frame::close(3000, &umlauts[..121])),
    ];
    for (code, reason, wanted) in cases {
        for mut pair in plain() {
            let sent = reason.to_owned();
            pair.ask(move |transport| transport.close(code, &sent).unwrap());
            assert_eq!(pair.peer.read_frame(), wanted);
        }
    }
}

#[test]
fn codes_that_must_not_be_sent_are_refused() {
    for mut pair in plain() {
        for code in [0, 999, 1004, 1006, 1015, 1016, 2999, 5000, u16::MAX].map(WSCloseCode) {
            let refused = pair.ask(move |transport| transport.close(code, "no"));
            assert!(matches!(refused, Err(WSError::InvalidArgument(_))), "{code}");
            let remote = pair.ask(WSTransport::remote);
            assert_eq!(remote.close(code, "no"), Err(WSRemoteError::InvalidCloseCode), "{code}");
        }
        assert!(!pair.ask(WSTransport::is_close_frame_sent));
        assert!(pair.ask(|transport| transport.close(WSCloseCode(4000), "yes").unwrap()));
        assert_eq!(pair.peer.read_frame(), Frame::close(4000, "yes"));
    }
}

#[test]
fn a_close_without_a_code_is_no_info() {
    for mut pair in plain() {
        pair.peer.send(&Frame::new(CLOSE, ""));
        assert_eq!(pair.peer.read_frame(), Frame::new(CLOSE, ""));
        pair.peer.shutdown_write();
        pair.peer.expect_eof();
        assert_eq!(pair.events.frame(), Frame::new(CLOSE, ""));
        assert_eq!(pair.events.disconnected().code, WSCloseCode::NO_INFO);
    }
}

#[test]
fn t04_three_disconnects_are_one() {
    for mix in 0..8 {
        for mut pair in plain() {
            pair.ask(move |transport| {
                for call in 0..3 {
                    if mix >> call & 1 == 1 { transport.disconnect() } else { transport.abort() }
                }
            });
            pair.peer.expect_eof();
            drop(pair.peer);
            let info = pair.events.disconnected();
            assert_eq!((info.cause, info.code.0), (WSDisconnectCause::Disconnected, 1006), "mix {mix:03b}");
            match pair.end {
                End::Client(client) => client.ended().expect("a disconnect is not an error"),
                End::Server(server) => eventually("the slot is free", || server.slots() == 0),
            }
            assert_eq!(pair.events.so_far(), [], "once");
        }
    }
}

#[test]
fn t04_disconnects_from_each_callback_are_one() {
    let everywhere = |probe: Probe| {
        probe
            .on_frame(|transport, _| {
                transport.disconnect();
                transport.abort();
                transport.disconnect();
                Ok(())
            })
            .on_disconnected(|transport| {
                transport.abort();
                transport.disconnect();
            })
    };
    for mut pair in both_ends(Duration::from_secs(30), true, everywhere) {
        pair.peer.send(&Frame::text("go"));
        pair.peer.expect_eof();
        assert_eq!(pair.events.frame(), Frame::text("go"));
        pair.events.disconnected();
        pair.ask(WSTransport::abort);
        assert_eq!(pair.events.so_far(), []);
    }
}

/// Several tasks may wait, before the end and after it.
#[test]
fn wait_disconnected_completes_for_everybody() {
    let [server, _] = plain();
    let (done, finished) = std::sync::mpsc::channel();
    let wait = move |transport: &WSTransport| {
        let (waiting, done) = (transport.wait_disconnected(), done.clone());
        let task = async move { done.send(waiting.await.is_ok()).unwrap() };
        transport.handle().spawn(task).detach();
    };
    server.ask({
        let wait = wait.clone();
        move |transport| (0..3).for_each(|_| wait(transport))
    });
    assert!(finished.try_recv().is_err());
    server.ask(WSTransport::abort);
    server.ask(move |transport| wait(transport));
    for _ in 0..4 {
        assert!(finished.recv_timeout(crate::support::PATIENCE).unwrap());
    }
}

/// Whoever has waited finds all callbacks done.
#[test]
fn wait_disconnected_is_done_behind_the_last_callback() {
    for pair in plain() {
        let (done, finished) = std::sync::mpsc::channel();
        pair.ask(move |transport| {
            let waiting = transport.wait_disconnected();
            let task = async move { done.send(waiting.await.is_ok()).unwrap() };
            transport.handle().spawn(task).detach();
        });
        pair.ask(WSTransport::abort);
        assert!(finished.recv_timeout(crate::support::PATIENCE).unwrap());
        assert!(matches!(pair.events.so_far()[..], [Event::Disconnected(_)]));
    }
}

#[test]
fn a_graceful_disconnect_flushes_first() {
    for mut pair in plain() {
        pair.ask(|transport| {
            for n in 0..100_u8 {
                transport.send(WSMsgType::Binary, vec![n; 30_000]);
            }
            transport.disconnect();
            let after = transport.send(WSMsgType::Text, "after");
            assert_eq!(after, WSSendStatus::Dropped(WSDropReason::Disconnected));
        });
        for n in 0..100 {
            assert_eq!(pair.peer.read_frame(), Frame::binary(vec![n; 30_000]));
        }
        pair.peer.expect_eof();
        drop(pair.peer);
        let info = pair.events.disconnected();
        assert_eq!((info.cause, info.bytes_unsent), (WSDisconnectCause::Disconnected, 0));
    }
}

#[test]
fn a_graceful_disconnect_has_a_deadline() {
    for pair in both_ends(Duration::from_millis(200), true, |probe| probe) {
        pair.ask(|transport| {
            while transport.buffered_amount() < 1 << 20 {
                transport.send(WSMsgType::Binary, vec![1; 60_000]);
                transport.flush();
            }
            transport.disconnect();
        });
        // The peer never reads.
        let info = pair.events.until_disconnected();
        assert!(info.bytes_unsent > 0, "{info}");
        assert_eq!(info.cause, WSDisconnectCause::CloseTimeout);
    }
}

/// The peer ends its half only: what is on its way to it still arrives.
#[test]
fn a_peer_that_ends_its_half_gets_the_rest() {
    for mut pair in both_ends(Duration::from_secs(30), true, Probe::echo) {
        let frames: Vec<_> = (0..20).map(|n| Frame::binary(vec![n; 100_000])).collect();
        let bytes: Vec<u8> = frames.iter().flat_map(|frame| pair.peer.encode(frame)).collect();
        pair.peer.write(&bytes);
        pair.peer.shutdown_write();
        for frame in &frames {
            assert_eq!(pair.peer.read_frame(), *frame);
        }
        pair.peer.expect_eof();
        assert_eq!(pair.events.until_disconnected().cause, WSDisconnectCause::PeerEof);
    }
}
