//! The library's client, and servers that go at every stage.

use std::cell::Cell;
use std::sync::Arc;

use femtows::{WSConnectConfig, WSLoopHandle, ws_connect};

use super::{Baseline, Counter, Counts, LEAVES, OPEN, Open, check_counts, loop_config};
use crate::own_process;
use crate::support::eventually;
use crate::support::peer::{Peer, PeerServer, header, switching};
use crate::support::running::LoopThread;
use crate::way::Way;

const CONNECTIONS: usize = 4_000;

/// How far a connection comes.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Tcp,
    /// The client's first message was read, and half of the answer sent.
    HalfAFlight,
    /// After TLS; the request was not read.
    Secured,
    Asked,
    MidHead,
    Refused,
    Open(Open),
}

impl Stage {
    fn all(way: &Way) -> Vec<Self> {
        let mut stages = vec![Self::Tcp, Self::Asked, Self::MidHead, Self::Refused];
        if way.is_secure() {
            stages.extend([Self::HalfAFlight, Self::Secured]);
        }
        stages.extend(OPEN.map(Self::Open));
        stages
    }

    fn reach(self, way: &Way, server: &PeerServer) -> Peer {
        if let Self::Tcp = self {
            return server.accept_tcp();
        }
        if let Self::HalfAFlight = self {
            let mut peer = server.accept_tcp();
            let head = peer.read_bytes(5);
            let rest = peer.read_bytes(usize::from(head[3]) << 8 | usize::from(head[4]));
            let flight = way.server_flight(&[head, rest].concat());
            peer.write(&flight[..flight.len() / 2]);
            return peer;
        }
        let mut peer = way.accept(server);
        if let Self::Secured = self {
            return peer;
        }
        let key = header(&peer.read_head(), "Sec-WebSocket-Key").unwrap();
        match self {
            Self::MidHead => peer.write(b"HTTP/1.1 101 Switch"),
            Self::Refused => peer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
            Self::Open(open) => {
                peer.write(switching(&key, "").as_bytes());
                open.reach(&mut peer);
            }
            _ => {}
        }
        peer
    }
}

/// What the clients of a test have in common.
struct Clients {
    way: Way,
    server: PeerServer,
    on: LoopThread,
    counts: Arc<Counts>,
    /// Connections whose opening handshake the peers have finished.
    opened: Cell<usize>,
}

impl Clients {
    fn begin_to_connect(&self) {
        let (url, counter) = (self.way.url(self.server.addr()), Counter::new(&self.counts));
        let config = self.way.client(WSConnectConfig::default());
        self.on.ask(move |handle| {
            let connecting = ws_connect(handle, counter, &url, config);
            handle.spawn(async move { drop(connecting.await) }).detach();
        });
    }

    /// One connection for each stage and each way to leave.
    fn round(&self, turn: usize) -> usize {
        let mut gone = 0;
        for leave in LEAVES {
            let reach = |stage: &Stage| {
                self.begin_to_connect();
                let peer = stage.reach(&self.way, &self.server);
                if let Stage::Open(_) = stage {
                    self.wait_for_one_more();
                }
                peer
            };
            let stages = Stage::all(&self.way);
            let mut peers: Vec<_> = stages.iter().map(reach).collect();
            peers.rotate_left(turn % stages.len());
            gone += peers.len();
            for peer in peers {
                leave.go(peer);
            }
        }
        gone
    }

    /// Until the response that was sent last has been read: a RST could overtake it.
    fn wait_for_one_more(&self) {
        let opened = self.opened.get() + 1;
        self.opened.set(opened);
        while Counts::get(&self.counts.connected) < opened {
            self.on.ask(|_| ());
        }
    }

    fn settle(&self) {
        eventually("all slots are free", || self.on.ask(WSLoopHandle::slots) == 0);
        eventually("listeners are dropped", || {
            Counts::get(&self.counts.dropped) == Counts::get(&self.counts.made)
        });
    }
}

fn all_leave_nothing(way: Way) {
    let clients = Clients {
        way,
        server: PeerServer::bind(),
        on: LoopThread::start(loop_config()),
        counts: Arc::default(),
        opened: Cell::new(0),
    };
    // What is made once, or kept for the next connection, is there after these.
    let mut turns = 0;
    while turns < 10 {
        clients.round(turns);
        turns += 1;
    }
    clients.settle();
    let baseline = Baseline::take(&clients.on);
    let mut connections = 0;
    while connections < CONNECTIONS {
        connections += clients.round(turns);
        turns += 1;
    }
    clients.settle();
    baseline.check(&clients.way, connections, &clients.on);
    let each = turns * LEAVES.len();
    check_counts(&clients.way, &clients.counts, each * OPEN.len()..=each * OPEN.len(), &clients.on);
    assert_eq!(Counts::get(&clients.counts.blocked), each, "{:?}: queues were blocked", clients.way);
}

#[test]
fn t14_clients_whose_servers_go_leave_nothing() {
    let _process = own_process();
    all_leave_nothing(Way::plain());
}

#[cfg(feature = "tls")]
#[test]
fn t14_clients_over_tls_whose_servers_go_leave_nothing() {
    let _process = own_process();
    all_leave_nothing(Way::tls());
}
