//! Ten thousand connections that end at every stage leave nothing behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use femtows::{WSFrame, WSListener, WSLoopHandle, WSResult, WSServerConfig, WSTransport};

use crate::own_process;
use crate::support::eventually;
use crate::support::peer::{Peer, upgrade_request};
use crate::support::running::{Server, serve};
use crate::support::wire::Frame;

#[derive(Default)]
struct Counts {
    connected: AtomicUsize,
    disconnected: AtomicUsize,
    dropped: AtomicUsize,
}

struct Counter(Arc<Counts>);

impl WSListener for Counter {
    fn on_ws_connected(&mut self, _: &WSTransport) -> WSResult {
        self.0.connected.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn on_ws_frame(&mut self, transport: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        match frame.payload() {
            b"close" => drop(transport.send_close(femtows::WSCloseCode::OK, "")),
            b"leave" => transport.disconnect(true),
            b"abort" => transport.disconnect(false),
            _ => {}
        }
        Ok(())
    }

    fn on_ws_disconnected(&mut self, _: &WSTransport) {
        self.0.disconnected.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

/// How far a connection comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Tcp,
    MidHead,
    Refused,
    Open,
    MidFrame,
    MidLargeFrame,
    ClosedByPeer,
    ClosedByServer,
    LeftByServer,
    AbortedByServer,
}

const STAGES: [Stage; 10] = [
    Stage::Tcp,
    Stage::MidHead,
    Stage::Refused,
    Stage::Open,
    Stage::MidFrame,
    Stage::MidLargeFrame,
    Stage::ClosedByPeer,
    Stage::ClosedByServer,
    Stage::LeftByServer,
    Stage::AbortedByServer,
];

impl Stage {
    fn is_opened(self) -> bool {
        !matches!(self, Self::Tcp | Self::MidHead | Self::Refused)
    }

    fn reach(self, server: &Server) -> Peer {
        let mut peer = Peer::connect_tcp(server.addr);
        match self {
            Self::Tcp => return peer,
            Self::MidHead => {
                peer.write(b"GET / HTTP/1.1\r\nHo");
                return peer;
            }
            Self::Refused => {
                peer.write(b"POST / HTTP/1.1\r\n");
                return peer;
            }
            _ => drop(peer.ask(&upgrade_request("/", ""))),
        }
        let large = peer.encode(&Frame::binary(vec![1; 30_000]));
        match self {
            Self::MidFrame => peer.write(&large[..7]),
            Self::MidLargeFrame => peer.write(&large[..20_000]),
            Self::ClosedByPeer => peer.send(&Frame::close(1000, "")),
            Self::ClosedByServer => peer.send(&Frame::text("close")),
            Self::LeftByServer => peer.send(&Frame::text("leave")),
            Self::AbortedByServer => peer.send(&Frame::text("abort")),
            _ => {}
        }
        peer
    }
}

pub(crate) fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn t14_ten_thousand_connections_leave_nothing() {
    const ROUNDS: usize = 500;
    let _process = own_process();
    let counts = Arc::new(Counts::default());
    let factory = Arc::clone(&counts);
    let server = serve(WSServerConfig::default(), move |_| Counter(Arc::clone(&factory)));
    let before = open_descriptors();
    let mut opened = 0;
    for round in 0..ROUNDS {
        // Both kinds of end at each stage; some connections stay for a moment, so that slots are freed out of order.
        let mut peers = Vec::new();
        for stage in STAGES {
            for reset in [false, true] {
                let peer = stage.reach(&server);
                opened += usize::from(stage.is_opened());
                if reset && round % 2 == 0 {
                    peer.reset();
                } else {
                    peers.push((peer, reset));
                }
            }
        }
        for (peer, reset) in peers {
            if reset {
                peer.reset();
            }
        }
    }
    assert_eq!(ROUNDS * STAGES.len() * 2, 10_000);
    eventually("all slots are free", || server.slots() == 0);
    assert_eq!(counts.connected.load(Ordering::SeqCst), opened);
    assert_eq!(counts.disconnected.load(Ordering::SeqCst), opened, "callbacks are paired");
    assert_eq!(counts.dropped.load(Ordering::SeqCst), opened, "listeners are dropped");
    assert_eq!(open_descriptors(), before);
    let retained = server.on.ask(WSLoopHandle::retained_memory);
    assert!(retained <= 8 << 20, "{retained} bytes are kept");
    Peer::connect(server.addr).send_and_sync(&[]);
}

/// The client's side: servers that end at every stage.
#[test]
fn t14_clients_whose_servers_go_leave_nothing() {
    let _process = own_process();
    let server = crate::support::peer::PeerServer::bind();
    let counts = Arc::new(Counts::default());
    let on = crate::support::running::LoopThread::start(femtows::WSLoopConfig::default());
    let before = open_descriptors();
    let mut opened = 0;
    for n in 0..400 {
        let (url, counter) = (server.url("/"), Counter(Arc::clone(&counts)));
        on.ask(move |handle| {
            let connecting = femtows::ws_connect(handle, counter, &url, femtows::WSConnectConfig::default());
            handle.spawn(async move { drop(connecting.await) }).detach();
        });
        let mut peer = server.accept_tcp();
        match n % 4 {
            0 => {}
            1 => {
                peer.read_head();
                peer.write(b"HTTP/1.1 101 Switch");
            }
            stage => {
                let key = crate::support::peer::header(&peer.read_head(), "Sec-WebSocket-Key").unwrap();
                peer.write(crate::support::peer::switching(&key, "").as_bytes());
                opened += 1;
                eventually("it is open", || counts.connected.load(Ordering::SeqCst) == opened);
                if stage == 3 {
                    peer.write(&Frame::binary(vec![1; 30_000]).encode(None)[..9000]);
                }
            }
        }
        if n % 8 < 4 {
            peer.reset();
        }
    }
    eventually("all slots are free", || on.ask(WSLoopHandle::slots) == 0);
    assert_eq!(counts.disconnected.load(Ordering::SeqCst), opened);
    eventually("listeners are dropped", || counts.dropped.load(Ordering::SeqCst) == 400);
    assert_eq!(open_descriptors(), before);
}
