//! A server, and a connection of good will on its loop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use femtows::{
    WSCloseCode, WSDisconnectInfo, WSFrame, WSHandshakeFailure, WSListener, WSResult, WSServerConfig,
    WSTransport,
};

use crate::support::peer::Peer;
use crate::support::probe::echo;
use crate::support::running::{self, Server, serve};
use crate::support::wire::Frame;
use crate::support::{PATIENCE, eventually, pattern};
use crate::way::Way;

/// An echo server, and the neighbour.
pub(crate) struct Scene {
    pub(crate) way: Way,
    pub(crate) server: Server,
    ended: Receiver<WSDisconnectInfo>,
    neighbour: Neighbour,
}

impl Scene {
    pub(crate) fn set(way: &Way, config: WSServerConfig) -> Self {
        let (tell, ended) = channel();
        let server = serve(way.server(config), move |_| Echo(tell.clone()));
        let neighbour = Neighbour::start(way, server.addr);
        Self { way: way.clone(), server, ended, neighbour }
    }

    /// A further connection, open.
    pub(crate) fn connect(&self) -> Peer {
        self.way.connect(self.server.addr)
    }

    /// Sends CLOSE on the connection that was opened last.
    pub(crate) fn close_newest(&self, code: u16) {
        self.server.on.ask(move |_| {
            running::opened().last().unwrap().close(WSCloseCode(code), "").unwrap();
        });
    }

    /// How the connection ended that ended next.
    pub(crate) fn next_end(&self) -> WSDisconnectInfo {
        self.ended.recv_timeout(PATIENCE).expect("a connection ends")
    }

    pub(crate) fn handshake_failures(&self, kind: WSHandshakeFailure) -> u64 {
        self.server.on.ask(move |handle| handle.metrics().snapshot().handshake_failures(kind))
    }

    /// Nothing is left but the neighbour, whose echoes were right and still come; no other connection has ended since.
    pub(crate) fn ends_well(self) {
        eventually("only the neighbour is left", || self.server.slots() == 1);
        assert!(
            self.ended.try_recv().is_err(),
            "{:?}: a connection ended twice, or the neighbour's",
            self.way
        );
        self.neighbour.ends_well();
    }
}

/// Sends data back, and tells how a connection ended.
struct Echo(Sender<WSDisconnectInfo>);

impl WSListener for Echo {
    fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
        running::remember(transport);
        Ok(())
    }

    fn on_ws_frame(&mut self, transport: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        echo(transport, frame)
    }

    fn on_ws_disconnected(&mut self, transport: &WSTransport) {
        // A test that has ended listens no more.
        let _ = self.0.send(transport.disconnect_info().expect("it says why").clone());
    }
}

/// An echo that goes on all the time.
struct Neighbour {
    stop: Arc<AtomicBool>,
    echoes: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Neighbour {
    fn start(way: &Way, addr: SocketAddr) -> Self {
        let (stop, echoes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut peer = way.connect(addr);
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&echoes));
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                let n = counted.fetch_add(1, Ordering::SeqCst);
                let frame = Frame::binary(pattern(n % 3000));
                peer.send(&frame);
                assert!(peer.read_frame() == frame, "echo {n}");
                thread::sleep(Duration::from_millis(1));
            }
            peer.send(&Frame::close(1000, ""));
            assert_eq!(peer.read_frame().close_code(), Some(1000));
            peer.expect_eof();
        });
        let neighbour = Self { stop, echoes, thread };
        neighbour.wait_for_more();
        neighbour
    }

    fn wait_for_more(&self) {
        let before = self.echoes.load(Ordering::SeqCst);
        eventually("the neighbour's echoes come", || {
            self.thread.is_finished() || self.echoes.load(Ordering::SeqCst) > before + 3
        });
    }

    fn ends_well(self) {
        self.wait_for_more();
        self.stop.store(true, Ordering::SeqCst);
        if let Err(cause) = self.thread.join() {
            std::panic::resume_unwind(cause);
        }
    }
}
