//! The end of a connection, in all its orders.

use std::time::Duration;

use femtows::proto::Role;
use femtows::testkit::{Peer, TestKit};
use femtows::*;

use crate::recorder::{Entry, Log, Recorder};

const SECOND: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_nanos(1);
/// A second but for a tick.
const NEARLY_A_SECOND: Duration = Duration::from_nanos(999_999_999);

fn open_server(kit: &mut TestKit, log: &Log, config: WSServerConfig) -> Peer {
    let server = log.clone();
    let mut peer = kit.raw_server(move |_: &WSUpgradeRequest| Recorder::echo(&server), config);
    peer.upgrade(kit);
    peer
}

/// Whether the last that the listener was told is the end, for this cause.
fn has_ended(log: &Log, cause: WSDisconnectCause) -> bool {
    log.last() == Some(Entry::Disconnected(cause))
}

#[test]
fn close_and_end_of_stream_arrive_together() {
    let mut kit = TestKit::new(1);
    let log = Log::default();
    let mut peer = open_server(&mut kit, &log, WSServerConfig::default());
    peer.send_frame(WSMsgType::Text, b"last words");
    peer.send_frame(WSMsgType::Close, b"\x03\xe8bye");
    peer.shutdown_write();
    kit.run_until_idle();
    let frames = peer.frames();
    assert_eq!(frames[0].payload, b"last words");
    assert_eq!((frames[1].msg_type, &frames[1].payload[..]), (WSMsgType::Close, &b"\x03\xe8bye"[..]));
    assert!(peer.is_ended());
    let info = log.transport().disconnect_info().cloned().unwrap();
    assert_eq!((info.cause, info.side), (WSDisconnectCause::Closed, WSDisconnectSide::Remote));
    assert_eq!((info.code, &*info.reason), (WSCloseCode::OK, "bye"));
}

#[test]
fn both_ends_close_at_the_same_time() {
    let mut kit = TestKit::new(2);
    let (server_log, client_log) = (Log::default(), Log::default());
    let server = server_log.clone();
    let pair = kit
        .pair(
            move |_: &WSUpgradeRequest| Recorder::new(&server),
            Recorder::new(&client_log),
            WSServerConfig::default(),
            WSConnectConfig::default(),
        )
        .unwrap();
    assert!(pair.client.close(WSCloseCode(4001), "from the client").unwrap());
    assert!(pair.server.close(WSCloseCode(4002), "from the server").unwrap());
    kit.run_until_idle();
    for (log, transport, sent, received) in
        [(&server_log, &pair.server, 4002, 4001), (&client_log, &pair.client, 4001, 4002)]
    {
        assert!(has_ended(log, WSDisconnectCause::Closed));
        let handshake = transport.close_handshake();
        assert!(!handshake.recv_then_sent);
        let codes = [handshake.sent, handshake.recv].map(|close| close.unwrap().code);
        assert_eq!(codes, [WSCloseCode(sent), WSCloseCode(received)]);
    }
    assert_eq!(kit.leftovers(), [""; 0]);
}

#[test]
fn a_close_that_is_not_answered_ends_at_the_deadline() {
    let mut kit = TestKit::new(3);
    let log = Log::default();
    let mut peer = open_server(&mut kit, &log, WSServerConfig::default().close_timeout(3 * SECOND));
    log.transport().close(WSCloseCode::OK, "").unwrap();
    for _ in 0..20 {
        // What still arrives does not move the deadline.
        kit.advance(SECOND / 10);
        peer.send_frame(WSMsgType::Text, b"not listening");
    }
    kit.advance(NEARLY_A_SECOND);
    assert!(!log.transport().is_disconnected());
    kit.advance(TICK);
    assert!(has_ended(&log, WSDisconnectCause::CloseTimeout));
}

#[test]
fn a_fault_is_told_and_the_rest_is_thrown_away_for_a_while() {
    let mut kit = TestKit::new(4);
    let log = Log::default();
    let mut peer = open_server(&mut kit, &log, WSServerConfig::default());
    peer.write(b"\x83\x80\x00\x00\x00\x00");
    for _ in 0..15 {
        peer.write(&[0xff; 1000]);
        kit.advance(SECOND / 10);
    }
    let frames = peer.frames();
    assert_eq!(frames[0].msg_type, WSMsgType::Close);
    assert!(frames[0].payload.starts_with(b"\x03\xea"), "1002: {:?}", frames[0]);
    assert!(peer.is_ended() && peer.error().is_none(), "the CLOSE was not overtaken by a reset");
    assert!(!peer.link().is_closed(Role::Server));
    kit.advance(SECOND / 2);
    assert!(peer.link().is_closed(Role::Server), "two seconds are enough");
    assert!(has_ended(&log, WSDisconnectCause::ProtocolError));
    assert_eq!(log.entries().len(), 2, "nothing was delivered: {:?}", log.entries());
}

#[test]
fn bytes_behind_a_close_that_filled_the_buffer_do_not_cost_the_answer() {
    const BUFFER: usize = 4096;
    let mut kit = TestKit::with_config(8, WSLoopConfig::default().read_buffer_size(BUFFER).reads_per_turn(1));
    let log = Log::default();
    let mut peer = open_server(&mut kit, &log, WSServerConfig::default());
    let close = peer.encode_frame(WSMsgType::Close, b"\x03\xe8", SendOptions::default());
    let filler = vec![0; BUFFER - close.len() - 8];
    let mut bytes = peer.encode_frame(WSMsgType::Binary, &filler, SendOptions::default());
    bytes.extend(close);
    assert_eq!(bytes.len(), BUFFER);
    bytes.extend([0xff; 1000]);
    peer.write(&bytes);
    kit.run_until_idle();
    // The echo, then the answer to the CLOSE, then the end: a reset could have destroyed them.
    assert_eq!(peer.frames().last().map(|frame| frame.msg_type), Some(WSMsgType::Close));
    assert!(peer.is_ended() && peer.error().is_none(), "{:?}", peer.error());
    peer.close();
    kit.run_until_idle();
    assert!(has_ended(&log, WSDisconnectCause::Closed));
    assert_eq!(kit.leftovers(), [""; 0]);
}

#[test]
fn a_lingering_end_closes_as_soon_as_the_peer_has() {
    let mut kit = TestKit::new(5);
    let log = Log::default();
    let mut peer = open_server(&mut kit, &log, WSServerConfig::default());
    peer.write(b"\x83\x80\x00\x00\x00\x00");
    kit.run_until_idle();
    peer.shutdown_write();
    kit.run_until_idle();
    assert!(has_ended(&log, WSDisconnectCause::ProtocolError));
    assert!(peer.link().is_closed(Role::Server));
}

#[test]
fn a_client_waits_for_the_server_to_end_tcp() {
    let mut kit = TestKit::new(6);
    let log = Log::default();
    let config = WSConnectConfig::default().close_timeout(4 * SECOND);
    let (mut peer, client) = kit.raw_client(Recorder::new(&log), config);
    peer.upgrade(&mut kit);
    let transport = kit.block_on(client).unwrap();
    transport.close(WSCloseCode::OK, "").unwrap();
    peer.send_frame(WSMsgType::Close, b"\x03\xe8");
    kit.advance(SECOND);
    assert!(!transport.is_disconnected(), "it is the server's turn (RFC 6455 section 7.1.1)");
    peer.shutdown_write();
    kit.run_until_idle();
    assert!(has_ended(&log, WSDisconnectCause::Closed));
}

#[test]
fn a_graceful_disconnect_flushes_or_gives_up() {
    for drains in [true, false] {
        let mut kit = TestKit::new(7);
        let log = Log::default();
        let mut peer = open_server(&mut kit, &log, WSServerConfig::default().close_timeout(3 * SECOND));
        peer.link().to_client().capacity(100).stall();
        log.transport().send(WSMsgType::Binary, [7; 1000]);
        log.transport().disconnect();
        kit.advance(2 * SECOND + NEARLY_A_SECOND);
        assert!(!log.transport().is_disconnected());
        if drains {
            peer.link().to_client().unstall();
            let mut received = Vec::new();
            while !peer.is_ended() {
                kit.run_until_idle();
                received.extend(peer.read());
            }
            peer.close();
            assert_eq!(received.len(), 4 + 1000);
        }
        kit.advance(TICK);
        let info = log.transport().disconnect_info().cloned().unwrap();
        let cause = if drains { WSDisconnectCause::Disconnected } else { WSDisconnectCause::CloseTimeout };
        assert_eq!((info.cause, info.bytes_unsent > 0), (cause, !drains));
        log.assert_paired();
    }
}

#[test]
fn the_automatic_answer_to_a_close_has_its_code_and_reason() {
    let mut kit = TestKit::new(9);
    let log = Log::default();
    let mut peer = open_server(&mut kit, &log, WSServerConfig::default());
    peer.send_frame(WSMsgType::Close, b"\x03\xe9going home");
    kit.run_until_idle();
    assert_eq!(peer.frames()[0].payload, b"\x03\xe9going home");
}

/// A client whose server answers its CLOSE and leaves TCP open.
fn answered_client(kit: &mut TestKit, config: WSConnectConfig) -> (Log, Peer) {
    let log = Log::default();
    let (mut peer, client) = kit.raw_client(Recorder::new(&log), config);
    peer.upgrade(kit);
    kit.block_on(client).unwrap().close(WSCloseCode::OK, "").unwrap();
    peer.send_frame(WSMsgType::Close, b"\x03\xe8");
    kit.run_until_idle();
    (log, peer)
}

#[test]
fn a_client_ends_tcp_itself_two_seconds_after_the_closing_handshake() {
    let mut kit = TestKit::new(10);
    let (log, peer) = answered_client(&mut kit, WSConnectConfig::default());
    kit.advance(SECOND + NEARLY_A_SECOND);
    assert!(!log.transport().is_disconnected());
    kit.advance(TICK);
    assert!(peer.link().is_closed(Role::Client));
}

#[test]
fn a_client_that_ends_tcp_itself_has_closed_cleanly() {
    let mut kit = TestKit::new(11);
    let (log, _peer) = answered_client(&mut kit, WSConnectConfig::default());
    kit.advance(10 * SECOND);
    assert!(has_ended(&log, WSDisconnectCause::Closed), "{:?}", log.last());
}

#[test]
fn a_client_waits_for_the_end_of_tcp_no_longer_than_the_close_timeout() {
    let mut kit = TestKit::new(12);
    let (log, _peer) = answered_client(&mut kit, WSConnectConfig::default().close_timeout(SECOND));
    kit.advance(SECOND);
    assert!(has_ended(&log, WSDisconnectCause::Closed), "{:?}", log.last());
}

#[test]
fn a_client_that_answers_a_close_ends_tcp_itself_after_two_seconds() {
    let mut kit = TestKit::new(13);
    let log = Log::default();
    let (mut peer, client) = kit.raw_client(Recorder::new(&log), WSConnectConfig::default());
    peer.upgrade(&mut kit);
    kit.block_on(client).unwrap();
    peer.send_frame(WSMsgType::Close, b"\x03\xe8");
    kit.advance(2 * SECOND);
    assert!(has_ended(&log, WSDisconnectCause::Closed), "{:?}", log.last());
}

/// The closing handshake is not complete before the CLOSE has left.
#[test]
fn a_client_whose_close_does_not_leave_has_the_close_timeout() {
    let mut kit = TestKit::new(14);
    let log = Log::default();
    let config = WSConnectConfig::default().close_timeout(5 * SECOND);
    let (mut peer, client) = kit.raw_client(Recorder::new(&log), config);
    peer.upgrade(&mut kit);
    let transport = kit.block_on(client).unwrap();
    peer.link().to_server().capacity(100).stall();
    transport.send(WSMsgType::Binary, [7; 1000]);
    peer.send_frame(WSMsgType::Close, b"\x03\xe8");
    kit.advance(4 * SECOND + NEARLY_A_SECOND);
    assert!(!transport.is_disconnected());
    kit.advance(TICK);
    assert!(has_ended(&log, WSDisconnectCause::CloseTimeout), "{:?}", log.last());
}

/// Sends a message and aborts, in one callback.
struct Farewell;

impl WSListener for Farewell {
    fn on_ws_frame(&mut self, transport: &WSTransport, _: &mut WSFrame<'_>) -> WSResult {
        transport.send(WSMsgType::Text, "farewell");
        transport.abort();
        Ok(())
    }
}

#[test]
fn what_a_callback_sends_before_it_aborts_is_written_once() {
    let mut kit = TestKit::new(15);
    let mut peer = kit.raw_server(|_: &WSUpgradeRequest| Farewell, WSServerConfig::default());
    peer.upgrade(&mut kit);
    peer.send_frame(WSMsgType::Text, b"go");
    kit.run_until_idle();
    let payloads: Vec<_> = peer.frames().into_iter().map(|frame| frame.payload).collect();
    assert_eq!(payloads, [b"farewell"]);
}

#[test]
fn an_abort_does_not_wait_for_what_the_kernel_refuses() {
    let mut kit = TestKit::new(16);
    let log = Log::default();
    let peer = open_server(&mut kit, &log, WSServerConfig::default());
    peer.link().to_client().capacity(100).stall();
    let transport = log.transport().clone();
    let farewell = move || {
        transport.send(WSMsgType::Binary, [7; 200]);
        transport.abort();
    };
    kit.handle().call_later(Duration::ZERO, farewell).detach();
    kit.run_until_idle();
    let info = log.transport().disconnect_info().cloned().unwrap();
    assert_eq!((info.cause, info.bytes_unsent), (WSDisconnectCause::Disconnected, 4 + 200 - 100));
}

/// Panics in its last callback.
struct Dying;

impl WSListener for Dying {
    fn on_ws_frame(&mut self, _: &WSTransport, _: &mut WSFrame<'_>) -> WSResult {
        Ok(())
    }
    fn on_ws_disconnected(&mut self, _: &WSTransport) {
        panic!("it failed");
    }
}

#[test]
fn a_panic_in_on_ws_disconnected_comes_out_of_wait_disconnected() {
    let mut kit = TestKit::new(17);
    let (mut peer, client) = kit.raw_client(Dying, WSConnectConfig::default());
    peer.upgrade(&mut kit);
    let transport = kit.block_on(client).unwrap();
    let early = [(); 2].map(|()| kit.handle().spawn(transport.wait_disconnected()));
    transport.abort();
    let failed = |result: Result<(), WSError>| match result {
        Err(WSError::Listener(error)) => error.to_string(),
        other => format!("{other:?}"),
    };
    let mut told: Vec<_> = early.map(|waiting| failed(kit.block_on(waiting))).into();
    told.push(failed(kit.block_on(transport.wait_disconnected())));
    assert_eq!(told, ["panic: it failed"; 3]);
}

#[test]
fn a_panic_in_on_ws_disconnected_of_a_server_comes_out_of_wait_disconnected() {
    let mut kit = TestKit::new(18);
    let mut peer = kit.raw_server(|_: &WSUpgradeRequest| Dying, WSServerConfig::default());
    peer.upgrade(&mut kit);
    let transport = kit.transport(peer.link(), Role::Server).expect("it is open");
    let waiting = [(); 2].map(|()| kit.handle().spawn(transport.wait_disconnected()));
    peer.close();
    for wait in waiting {
        let told = kit.block_on(wait).map_err(|error| error.to_string());
        assert!(told.as_ref().is_err_and(|error| error.ends_with("panic: it failed")), "{told:?}");
    }
}

/// A CLOSE that came with the request, and crosses the server's own.
#[test]
fn a_close_that_came_early_ends_tcp_at_once_if_the_server_has_closed_before() {
    struct CloseAtOnce(Recorder);
    impl WSListener for CloseAtOnce {
        fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
            transport.close(WSCloseCode::OK, "").unwrap();
            self.0.on_ws_connected(transport)
        }
        fn on_ws_frame(&mut self, transport: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
            self.0.on_ws_frame(transport, frame)
        }
        fn on_ws_disconnected(&mut self, transport: &WSTransport) {
            self.0.on_ws_disconnected(transport);
        }
    }
    for strategy in [WSWriteStrategy::Cork, WSWriteStrategy::Immediate] {
        let mut kit = TestKit::new(1);
        let log = Log::default();
        let server = log.clone();
        let config = WSServerConfig::default().tuning(WSTuning::default().write_strategy(strategy));
        let mut peer =
            kit.raw_server(move |_: &WSUpgradeRequest| CloseAtOnce(Recorder::new(&server)), config);
        let mut early = Peer::request();
        early.extend(peer.encode_frame(WSMsgType::Close, &[0x03, 0xe8], SendOptions::default()));
        peer.write(&early);
        kit.run_until_idle();
        assert_eq!(log.last(), Some(Entry::Disconnected(WSDisconnectCause::Closed)), "{strategy:?}");
    }
}
