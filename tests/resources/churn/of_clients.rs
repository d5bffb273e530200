//! The library's server, and clients that go at every stage.

use std::cell::RefCell;
use std::sync::Arc;

use femtows::{
    WSDeferredUpgrade, WSIntoUpgrade, WSServerConfig, WSUpgradeOutcome, WSUpgradeRequest, WSUpgradeResponse,
    WSUpgradeTicket,
};

use super::{Baseline, Counter, Counts, LEAVES, Leave, OPEN, Open, check_counts, loop_config};
use crate::own_process;
use crate::support::eventually;
use crate::support::peer::{Peer, status, upgrade_request};
use crate::support::running::{Server, serve_on};
use crate::way::Way;

const CONNECTIONS: usize = 10_000;

/// How far a connection comes.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Tcp,
    HalfAHello,
    /// After TLS, before HTTP.
    Secured,
    MidHead,
    /// The response was not read.
    Asked,
    Refused,
    /// The decision was deferred and has not come.
    Pending,
    Open(Open),
}

impl Stage {
    fn all(way: &Way) -> Vec<Self> {
        let mut stages = vec![Self::Tcp, Self::MidHead, Self::Asked, Self::Refused, Self::Pending];
        if way.is_secure() {
            stages.extend([Self::HalfAHello, Self::Secured]);
        }
        stages.extend(OPEN.map(Self::Open));
        stages
    }

    fn reach(self, way: &Way, server: &Server) -> Peer {
        if let Self::Tcp = self {
            return Peer::connect_tcp(server.addr);
        }
        if let Self::HalfAHello = self {
            let mut peer = Peer::connect_tcp(server.addr);
            let hello = way.client_hello();
            peer.write(&hello[..hello.len() / 2]);
            return peer;
        }
        let mut peer = way.dial(server.addr);
        match self {
            Self::MidHead => peer.write(b"GET / HTTP/1.1\r\nHo"),
            Self::Asked => peer.write(upgrade_request("/", "").as_bytes()),
            Self::Refused => assert_eq!(status(&peer.ask("POST / HTTP/1.1\r\n\r\n")), 405),
            Self::Pending => peer.write(upgrade_request("/later", "").as_bytes()),
            Self::Open(open) => {
                peer = peer.upgraded();
                open.reach(&mut peer);
            }
            _ => {}
        }
        peer
    }
}

thread_local! {
    /// Of the upgrades that are pending on this thread's loop.
    static TICKETS: RefCell<Vec<WSUpgradeTicket>> = const { RefCell::new(Vec::new()) };
}

fn upgrade(request: &WSUpgradeRequest, counts: &Arc<Counts>) -> WSUpgradeOutcome {
    if request.path() != "/later" {
        return Counter::new(counts).into_upgrade();
    }
    let (ticket, later) = WSDeferredUpgrade::new();
    TICKETS.with_borrow_mut(|tickets| tickets.push(ticket));
    later.into_upgrade()
}

/// Decides on all that is pending; who has asked may have gone.
fn decide(server: &Server, counts: &Arc<Counts>) {
    let counts = Arc::clone(counts);
    server.on.ask(move |_| {
        for (n, ticket) in TICKETS.take().into_iter().enumerate() {
            match n % 3 {
                0 => ticket.accept(Counter::new(&counts)),
                1 => ticket.reject(WSUpgradeResponse::error(403, "no").unwrap()),
                _ => drop(ticket),
            }
        }
    });
}

/// One connection for each stage and each way to leave. `turn` changes what is decided before they leave, and who goes first.
fn round(way: &Way, server: &Server, counts: &Arc<Counts>, turn: usize) -> usize {
    let mut gone = 0;
    for (n, leave) in LEAVES.into_iter().enumerate() {
        let stages = Stage::all(way);
        let mut peers: Vec<_> = stages.iter().map(|stage| stage.reach(way, server)).collect();
        if (turn + n).is_multiple_of(2) {
            decide(server, counts);
        }
        peers.rotate_left(turn % stages.len());
        gone += peers.len();
        // Who waits for the other end has to be told something.
        if let Leave::Wait = leave {
            decide(server, counts);
        }
        for peer in peers {
            leave.go(peer);
        }
    }
    gone
}

fn all_leave_nothing(way: &Way) {
    let counts = Arc::new(Counts::default());
    let factory = Arc::clone(&counts);
    let config = way.server(WSServerConfig::default());
    let server = serve_on(loop_config(), config, move |request| upgrade(request, &factory));
    let settle = || {
        eventually("all slots are free", || {
            decide(&server, &counts);
            server.slots() == 0
        });
    };
    // What is made once, or kept for the next connection, is there after these.
    let mut turns = 0;
    while turns < 10 {
        round(way, &server, &counts, turns);
        turns += 1;
    }
    settle();
    let baseline = Baseline::take(&server.on);
    let mut connections = 0;
    while connections < CONNECTIONS {
        connections += round(way, &server, &counts, turns);
        turns += 1;
    }
    settle();
    baseline.check(way, connections, &server.on);
    let each = turns * LEAVES.len();
    // Those whose response was not read, or whose upgrade was pending, were opened or not.
    check_counts(way, &counts, each * OPEN.len()..=each * (OPEN.len() + 2), &server.on);
    assert_eq!(Counts::get(&counts.blocked), each, "{way:?}: queues were blocked");
    way.connect(server.addr).send_and_sync(&[]);
}

#[test]
fn t14_ten_thousand_connections_leave_nothing() {
    let _process = own_process();
    all_leave_nothing(&Way::plain());
}

#[cfg(feature = "tls")]
#[test]
fn t14_ten_thousand_connections_over_tls_leave_nothing() {
    let _process = own_process();
    all_leave_nothing(&Way::tls());
}
