//! A decision on a request that comes later.

use std::cell::RefCell;

use femtows::{
    WSDeferredUpgrade, WSServerConfig, WSUpgradeRequest, WSUpgradeResponse, WSUpgradeResponseWithListener,
    WSUpgradeTicket,
};

use crate::support::eventually;
use crate::support::peer::{Peer, header, status, upgrade_request};
use crate::support::probe::{Probe, log};
use crate::support::running::{LoopThread, Server, serve};
use crate::support::wire::Frame;

thread_local! {
    static TICKETS: RefCell<Vec<WSUpgradeTicket>> = const { RefCell::new(Vec::new()) };
}

fn keep_ticket(_: &WSUpgradeRequest) -> WSDeferredUpgrade {
    let (ticket, later) = WSDeferredUpgrade::new();
    TICKETS.with_borrow_mut(|tickets| tickets.push(ticket));
    later
}

fn deferring_server() -> Server {
    serve(WSServerConfig::default(), keep_ticket)
}

/// Decides with the ticket of the last request.
fn decide(on: &LoopThread, decision: impl FnOnce(WSUpgradeTicket) + Send + 'static) {
    eventually("the factory was asked", || on.ask(|_| TICKETS.with_borrow(|tickets| !tickets.is_empty())));
    on.ask(|_| {
        let ticket = TICKETS.with_borrow_mut(Vec::pop).unwrap();
        decision(ticket);
    });
}

fn ask(server: &Server) -> Peer {
    let mut peer = Peer::connect_tcp(server.addr);
    peer.write(upgrade_request("/", "").as_bytes());
    peer
}

#[test]
fn t10_deferred_accept() {
    let (log, events) = log();
    let server = deferring_server();
    let mut peer = ask(&server);
    decide(&server.on, move |ticket| {
        assert!(!ticket.is_cancelled());
        ticket.accept(Probe::new(&log).echo());
    });
    assert_eq!(status(&peer.read_head()), 101);
    events.connected();
    peer.send(&Frame::text("a"));
    assert_eq!(peer.read_frame(), Frame::text("a"));
}

#[test]
fn t10_deferred_accept_with_headers() {
    let (log, _events) = log();
    let server = deferring_server();
    let mut peer = ask(&server);
    decide(&server.on, move |ticket| {
        let response = WSUpgradeResponse::switching_protocols().header("X-Own", "yes").unwrap();
        ticket.accept_with(WSUpgradeResponseWithListener::new(response, Probe::new(&log).echo()).unwrap());
    });
    assert_eq!(header(&peer.read_head(), "X-Own").as_deref(), Some("yes"));
    peer.send(&Frame::text("a"));
    assert_eq!(peer.read_frame(), Frame::text("a"));
}

#[test]
fn t10_deferred_reject() {
    let server = deferring_server();
    let mut peer = ask(&server);
    decide(&server.on, |ticket| ticket.reject(WSUpgradeResponse::error(403, "not you").unwrap()));
    assert_eq!(status(&peer.read_head()), 403);
    assert_eq!(peer.read_to_eof(), b"not you");
    eventually("the slot is free", || server.slots() == 0);
}

#[test]
fn t10_a_dropped_ticket_refuses() {
    let server = deferring_server();
    let mut peer = ask(&server);
    decide(&server.on, drop);
    assert_eq!(status(&peer.read_head()), 500);
    peer.read_to_eof();
    eventually("the slot is free", || server.slots() == 0);
}

/// A decision from inside the factory is one too.
#[test]
fn t10_a_decision_before_the_factory_returns() {
    let (log, _events) = log();
    let server = serve(WSServerConfig::default(), move |_| {
        let (ticket, later) = WSDeferredUpgrade::new();
        ticket.accept(Probe::new(&log).echo());
        later
    });
    let mut peer = Peer::connect(server.addr);
    peer.send(&Frame::text("a"));
    assert_eq!(peer.read_frame(), Frame::text("a"));
}

#[test]
fn t10_a_peer_that_goes_meanwhile_cancels_the_ticket() {
    let (log, events) = log();
    for reset in [false, true] {
        let server = deferring_server();
        let peer = ask(&server);
        let tickets = || {
            server.on.ask(|_| {
                TICKETS.with_borrow(|tickets| {
                    tickets.iter().map(WSUpgradeTicket::is_cancelled).collect::<Vec<_>>()
                })
            })
        };
        eventually("the factory was asked", || tickets() == [false]);
        if reset {
            peer.reset();
        } else {
            drop(peer);
        }
        eventually("the ticket is cancelled", || tickets() == [true]);
        assert_eq!(server.slots(), 0);
        let log = log.clone();
        decide(&server.on, move |ticket| ticket.accept(Probe::new(&log)));
        server.on.ask(|_| ());
        assert_eq!(events.so_far(), [], "the decision came too late");
    }
}

/// Bytes that come before the decision, with the request and behind it, are neither lost nor looked at.
#[test]
fn early_bytes_stay_unparsed_until_accepted() {
    let (log, events) = log();
    let server = deferring_server();
    let mut peer = Peer::connect_tcp(server.addr);
    let first = peer.encode(&Frame::text("with the request"));
    let (begin, rest) = first.split_at(9);
    peer.write(&[upgrade_request("/", "").as_bytes(), begin].concat());
    eventually("the factory was asked", || {
        server.on.ask(|_| TICKETS.with_borrow(|tickets| tickets.len() == 1))
    });
    peer.write(rest);
    peer.send(&Frame::text("behind it"));
    // The end of TCP comes last: it must not overtake the frames.
    server.on.ask(|_| ());
    assert_eq!(events.so_far(), []);
    decide(&server.on, move |ticket| ticket.accept(Probe::new(&log).echo()));
    assert_eq!(status(&peer.read_head()), 101);
    events.connected();
    assert_eq!(events.frame(), Frame::text("with the request"));
    assert_eq!(events.frame(), Frame::text("behind it"));
    assert_eq!(peer.read_frame(), Frame::text("with the request"));
    assert_eq!(peer.read_frame(), Frame::text("behind it"));
}

/// Garbage behind the request is garbage only once somebody listens.
#[test]
fn early_garbage_is_a_fault_only_after_accepting() {
    let (log, events) = log();
    let server = deferring_server();
    let mut peer = Peer::connect_tcp(server.addr);
    peer.write(&[upgrade_request("/", "").as_bytes(), b"\xff\xff"].concat());
    decide(&server.on, move |ticket| ticket.accept(Probe::new(&log)));
    assert_eq!(status(&peer.read_head()), 101);
    assert_eq!(peer.read_frame().close_code(), Some(1002));
    events.connected();
    events.disconnected();
}

/// The handshake deadline is for the peer, not for the application.
#[test]
fn a_late_decision_is_not_too_late() {
    let (log, _events) = log();
    let config = WSServerConfig::default().handshake_timeout(Some(std::time::Duration::from_millis(100)));
    let server = serve(config, keep_ticket);
    let mut peer = ask(&server);
    peer.expect_silence(std::time::Duration::from_millis(400));
    decide(&server.on, move |ticket| ticket.accept(Probe::new(&log)));
    assert_eq!(status(&peer.read_head()), 101);
}
