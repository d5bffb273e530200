//! A server and its connections, in virtual time.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use femtows::proto::Role;
use femtows::testkit::{Peer, TestKit};
use femtows::*;

use crate::recorder::{Entry, Log, Recorder};

const SECOND: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_nanos(1);

/// All of a time but for a tick.
fn nearly(time: Duration) -> Duration {
    time.saturating_sub(TICK)
}

/// A peer that has asked, and the ticket that decides on it.
fn undecided(kit: &mut TestKit, config: WSServerConfig) -> (Peer, WSUpgradeTicket) {
    let (ticket, later) = WSDeferredUpgrade::new();
    let later = Cell::new(Some(later));
    let mut peer = kit.raw_server(move |_: &WSUpgradeRequest| later.take(), config);
    peer.write(&Peer::request());
    kit.run_until_idle();
    (peer, ticket)
}

fn status(peer: &mut Peer) -> String {
    String::from_utf8_lossy(&peer.read()).lines().next().unwrap_or_default().to_owned()
}

#[test]
fn t10_a_decision_that_never_comes_is_503_at_the_deadline() {
    let mut kit = TestKit::new(1);
    let log = Log::default();
    let config = WSServerConfig::default().decision_timeout(Some(3 * SECOND));
    let (mut peer, ticket) = undecided(&mut kit, config);
    kit.advance(nearly(3 * SECOND));
    assert_eq!(status(&mut peer), "");
    assert!(!ticket.is_cancelled());
    kit.advance(TICK);
    assert_eq!(status(&mut peer), "HTTP/1.1 503 Service Unavailable");
    assert!(peer.is_ended() && ticket.is_cancelled());
    ticket.accept(Recorder::new(&log));
    peer.close();
    kit.run_until_idle();
    assert_eq!((log.entries(), kit.leftovers()), (vec![], vec![]));
}

#[test]
fn t10_a_decision_in_time_ends_its_deadline() {
    for accepts in [true, false] {
        let mut kit = TestKit::new(2);
        let log = Log::default();
        let (mut peer, ticket) = undecided(&mut kit, WSServerConfig::default());
        kit.advance(nearly(30 * SECOND));
        if accepts {
            ticket.accept(Recorder::new(&log));
            kit.advance(3600 * SECOND);
            assert_eq!(status(&mut peer), "HTTP/1.1 101 Switching Protocols");
            assert_eq!(log.entries(), [Entry::Connected], "it lives on");
        } else {
            ticket.reject(WSUpgradeResponse::error(403, "").unwrap());
            // Two seconds for the peer to read the refusal, from the refusal on.
            kit.advance(nearly(2 * SECOND));
            assert_eq!(status(&mut peer), "HTTP/1.1 403 Forbidden");
            assert!(!peer.link().is_closed(Role::Server));
            kit.advance(TICK);
            assert!(peer.link().is_closed(Role::Server));
        }
    }
}

#[test]
fn t10_without_a_deadline_a_decision_may_take_for_ever() {
    let mut kit = TestKit::new(3);
    let config = WSServerConfig::default().decision_timeout(None);
    let (mut peer, ticket) = undecided(&mut kit, config);
    kit.advance(100_000 * SECOND);
    assert!(!ticket.is_cancelled());
    ticket.reject(WSUpgradeResponse::error(410, "").unwrap());
    kit.run_until_idle();
    assert_eq!(status(&mut peer), "HTTP/1.1 410 Gone");
}

fn crowd(kit: &mut TestKit, server: &WSServer, count: usize) -> Vec<Peer> {
    let connect = |_| {
        let mut peer = kit.connect_to(server);
        peer.upgrade(kit);
        peer
    };
    (0..count).map(connect).collect()
}

fn quiet(_: &WSUpgradeRequest) -> Recorder {
    Recorder::default()
}

#[test]
fn a_shutdown_is_spread_evenly_over_its_time() {
    let mut kit = TestKit::new(4);
    let server = kit.server(quiet, WSServerConfig::default());
    let mut peers = crowd(&mut kit, &server, 10);
    let done = Rc::new(Cell::new(None));
    let shutdown = server.shutdown(WSCloseCode::GOING_AWAY, "restart", SECOND, 10 * SECOND);
    let tell = Rc::clone(&done);
    kit.handle().spawn(async move { tell.set(Some(shutdown.await)) }).detach();
    kit.run_until_idle();
    for due in 1..=10 {
        let mut told = 0;
        for peer in &mut peers {
            for frame in peer.frames() {
                assert_eq!((frame.msg_type, &frame.payload[..]), (WSMsgType::Close, &b"\x03\xe9restart"[..]));
                peer.send_frame(WSMsgType::Close, b"\x03\xe9");
                told += 1;
            }
        }
        assert_eq!(told, 1, "one in each tenth of the second: number {due}");
        assert_eq!(done.get(), None);
        kit.advance(nearly(SECOND / 10));
        assert!(peers.iter_mut().all(|peer| peer.frames().is_empty()), "not a tick too early");
        kit.advance(TICK);
    }
    assert_eq!(done.get(), Some(0));
    assert_eq!(server.connections(), 0);
}

#[test]
fn a_shutdown_aborts_at_its_deadline_and_not_before() {
    let mut kit = TestKit::new(5);
    let server = kit.server(quiet, WSServerConfig::default().close_timeout(100 * SECOND));
    let mut peers = crowd(&mut kit, &server, 4);
    let done = Rc::new(Cell::new(None));
    let shutdown = server.shutdown(WSCloseCode::GOING_AWAY, "", SECOND, 5 * SECOND);
    let tell = Rc::clone(&done);
    kit.handle().spawn(async move { tell.set(Some(shutdown.await)) }).detach();
    kit.advance(SECOND);
    peers[0].send_frame(WSMsgType::Close, b"\x03\xe9");
    kit.advance(nearly(4 * SECOND));
    assert_eq!((server.connections(), done.get()), (3, None));
    kit.advance(TICK);
    assert_eq!((server.connections(), done.get()), (0, Some(3)));
}

#[test]
fn connections_beyond_the_limit_are_closed_unread() {
    let mut kit = TestKit::new(6);
    let server = kit.server(quiet, WSServerConfig::default().max_connections(3));
    let mut peers = crowd(&mut kit, &server, 2);
    // An opening counts, too.
    let mut opening = kit.connect_to(&server);
    let mut fourth = kit.connect_to(&server);
    fourth.write(&Peer::request());
    kit.run_until_idle();
    assert!(fourth.link().is_closed(Role::Server) && fourth.read().is_empty());
    assert_eq!((server.connections(), server.refused()), (2, 1));
    // An open one makes room when it is gone, an opening too.
    peers[0].close();
    kit.run_until_idle();
    let mut fifth = kit.connect_to(&server);
    fifth.upgrade(&mut kit);
    opening.close();
    kit.run_until_idle();
    let mut sixth = kit.connect_to(&server);
    sixth.upgrade(&mut kit);
    assert_eq!((server.connections(), server.refused()), (3, 1));
    for peer in [&mut peers[1], &mut fifth, &mut sixth] {
        peer.close();
    }
    kit.run_until_idle();
    assert_eq!(crowd(&mut kit, &server, 3).len(), 3, "nothing is left counted");
    assert_eq!(server.refused(), 1);
}

#[test]
fn a_refusal_counts_until_its_peer_is_gone() {
    let mut kit = TestKit::new(7);
    let no = |_: &WSUpgradeRequest| None::<Recorder>;
    let server = kit.server(no, WSServerConfig::default().max_connections(1));
    for turn in 0..3 {
        let mut peer = kit.connect_to(&server);
        peer.write(&Peer::request());
        kit.run_until_idle();
        assert_eq!(status(&mut peer), "HTTP/1.1 404 Not Found");
        drop(kit.connect_to(&server));
        assert_eq!(server.refused(), turn + 1);
        peer.close();
        kit.run_until_idle();
    }
}
