//! The opening handshake, slow, broken and put off.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use femtows::proto::Role;
use femtows::testkit::{Peer, TestKit};
use femtows::*;

use crate::recorder::{Entry, Log, Recorder};

const SECOND: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_nanos(1);
/// A second but for a tick.
const NEARLY_A_SECOND: Duration = Duration::from_nanos(999_999_999);

#[test]
fn byte_at_a_time_in_both_directions() {
    let mut kit = TestKit::new(1);
    let (server_log, client_log) = (Log::default(), Log::default());
    let (server, client) = (Recorder::echo(&server_log), Recorder::new(&client_log));
    let mut server = Some(server);
    let opening = kit.opening(
        move |_: &WSUpgradeRequest| server.take(),
        move |_: &_, _: &_| client,
        WSServerConfig::default(),
        WSConnectConfig::default(),
    );
    for direction in [opening.link.to_server(), opening.link.to_client()] {
        direction.capacity(1).max_read(1).max_write(1);
    }
    let transport = kit.block_on(opening.client).unwrap();
    let payloads: Vec<Vec<u8>> = [0, 1, 2, 125, 126, 127, 300].map(|len| vec![len as u8; len]).to_vec();
    for payload in &payloads {
        assert!(transport.send(WSMsgType::Binary, payload).is_accepted());
    }
    kit.run_until_idle();
    assert_eq!(server_log.payloads(WSMsgType::Binary), payloads);
    assert_eq!(client_log.payloads(WSMsgType::Binary), payloads);
    transport.close(WSCloseCode::OK, "").unwrap();
    kit.run_until_idle();
    assert_eq!(client_log.last(), Some(Entry::Disconnected(WSDisconnectCause::Closed)));
    assert_eq!(kit.leftovers(), [""; 0]);
}

#[test]
fn reset_after_each_number_of_turns() {
    let mut opened = [0; 2];
    for turns in 0..60 {
        let mut kit = TestKit::new(turns);
        let (server_log, client_log) = (Log::default(), Log::default());
        let (server, client) = (server_log.clone(), Recorder::new(&client_log));
        let opening = kit.opening(
            move |_: &WSUpgradeRequest| Recorder::echo(&server),
            move |_: &_, _: &_| client,
            WSServerConfig::default(),
            WSConnectConfig::default(),
        );
        for direction in [opening.link.to_server(), opening.link.to_client()] {
            direction.capacity(20);
        }
        (0..turns).for_each(|_| {
            kit.turn();
        });
        opening.link.reset();
        kit.run_until_idle();
        let open = client_log.count(&Entry::Connected);
        opened[open] += 1;
        assert_eq!(kit.block_on(opening.client).is_ok(), open == 1, "after {turns} turns");
        server_log.assert_paired();
        client_log.assert_paired();
        assert_eq!(kit.leftovers(), [""; 0], "after {turns} turns");
    }
    assert!(opened.iter().all(|&count| count > 5), "both sides of the opening were met: {opened:?}");
}

#[test]
fn single_bytes_do_not_extend_the_servers_deadline() {
    let mut kit = TestKit::new(2);
    let log = Log::default();
    let server = log.clone();
    let config = WSServerConfig::default().handshake_timeout(Some(5 * SECOND));
    let mut peer = kit.raw_server(move |_: &WSUpgradeRequest| Recorder::new(&server), config);
    for byte in Peer::request().into_iter().take(4) {
        peer.write(&[byte]);
        kit.advance(SECOND);
    }
    peer.write(b"/");
    kit.advance(NEARLY_A_SECOND);
    assert!(!peer.is_ended(), "the deadline has not come");
    kit.advance(TICK);
    assert!(peer.is_ended());
    assert!(log.entries().is_empty());
    peer.close();
    assert_eq!(kit.leftovers(), [""; 0]);
}

#[test]
fn single_bytes_do_not_extend_the_clients_deadline() {
    let mut kit = TestKit::new(3);
    let log = Log::default();
    let config = WSConnectConfig::default().handshake_timeout(Some(5 * SECOND));
    let (mut peer, client) = kit.raw_client(Recorder::new(&log), config);
    kit.run_until_idle();
    let response = Peer::response_to(&peer.read()).unwrap();
    for byte in response.into_iter().take(5) {
        assert!(!client.is_finished());
        peer.write(&[byte]);
        kit.advance(SECOND);
    }
    assert!(client.is_finished(), "the deadline has come");
    let error = kit.block_on(client).unwrap_err();
    assert!(matches!(error, WSConnectError::Timeout { phase: WSPhase::Opening, .. }), "{error}");
    peer.close();
    assert_eq!(kit.leftovers(), [""; 0]);
}

type Tickets = Rc<RefCell<Vec<WSUpgradeTicket>>>;

fn deferring(tickets: &Tickets) -> impl FnMut(&WSUpgradeRequest) -> WSDeferredUpgrade + 'static {
    let tickets = Rc::clone(tickets);
    move |_| {
        let (ticket, later) = WSDeferredUpgrade::new();
        tickets.borrow_mut().push(ticket);
        later
    }
}

#[test]
fn frames_wait_for_a_deferred_upgrade() {
    let mut kit = TestKit::new(4);
    let (log, tickets) = (Log::default(), Tickets::default());
    let mut peer = kit.raw_server(deferring(&tickets), WSServerConfig::default());
    let mut early = Peer::request();
    early.extend(peer.encode_frame(WSMsgType::Text, b"with the request", SendOptions::default()));
    peer.write(&early);
    kit.run_until_idle();
    peer.send_frame(WSMsgType::Text, b"after it");
    kit.advance(29 * SECOND);
    assert!(peer.read().is_empty(), "no answer yet: the deadline of the request does not run any more");
    tickets.borrow_mut().pop().unwrap().accept(Recorder::echo(&log));
    kit.run_until_idle();
    assert_eq!(log.payloads(WSMsgType::Text), [&b"with the request"[..], b"after it"]);
    assert!(peer.read().starts_with(b"HTTP/1.1 101 "));
}

#[test]
fn a_deferred_peer_that_leaves_cancels_its_ticket() {
    let mut kit = TestKit::new(5);
    let tickets = Tickets::default();
    let mut peer = kit.raw_server(deferring(&tickets), WSServerConfig::default());
    peer.write(&Peer::request());
    kit.run_until_idle();
    assert!(!tickets.borrow()[0].is_cancelled());
    peer.close();
    kit.run_until_idle();
    assert!(tickets.borrow()[0].is_cancelled());
    assert_eq!(kit.leftovers(), [""; 0]);
}

#[test]
fn a_refusal_that_does_not_fit_waits_for_room_and_for_nothing_else() {
    let mut kit = TestKit::new(6);
    let mut peer = kit.raw_server(|_: &WSUpgradeRequest| None::<Recorder>, WSServerConfig::default());
    peer.link().to_client().capacity(30).stall();
    peer.write(&Peer::request());
    peer.shutdown_write();
    // A loop that is told of the peer's end again and again never comes to rest.
    kit.run_until_idle();
    peer.link().to_client().unstall();
    let mut answer = Vec::new();
    while !peer.is_ended() {
        kit.run_until_idle();
        answer.extend(peer.read());
    }
    assert!(answer.starts_with(b"HTTP/1.1 404 ") && answer.ends_with(b"404 Not Found"), "{answer:?}");
    kit.run_until_idle();
    assert!(peer.link().is_closed(Role::Server));
}

#[test]
fn a_refused_peer_that_does_not_close_is_left() {
    let mut kit = TestKit::new(7);
    let mut peer = kit.raw_server(|_: &WSUpgradeRequest| None::<Recorder>, WSServerConfig::default());
    peer.write(b"GARBAGE\r\n\r\n");
    kit.run_until_idle();
    assert!(peer.read().starts_with(b"HTTP/1.1 400 ") && peer.is_ended());
    kit.advance(SECOND);
    assert!(!peer.link().is_closed(Role::Server), "the refusal must not be overtaken by a reset");
    kit.advance(SECOND);
    assert!(peer.link().is_closed(Role::Server));
}
