//! Ten thousand connections that end at every stage of their lives leave nothing behind, over TCP and over TLS.

mod of_clients;
mod of_servers;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use femtows::{
    WSCloseCode, WSFrame, WSListener, WSLoopConfig, WSLoopHandle, WSMsgType, WSResult, WSTransport,
};

use crate::heap;
use crate::support::peer::Peer;
use crate::support::running::LoopThread;
use crate::support::wire::{CONTINUATION, Frame};
use crate::way::Way;

/// Most bytes that the heap may hold more after thousands of connections: lists have grown, but nothing stays for each.
const SLACK: isize = 4 << 10;

/// The same for all of `malloc`, which cryptography written in C uses too: freed chunks that the C library keeps for each thread count.
const CACHED: usize = 512 << 10;

/// What all listeners of a test have seen.
#[derive(Default)]
struct Counts {
    made: AtomicUsize,
    connected: AtomicUsize,
    disconnected: AtomicUsize,
    dropped: AtomicUsize,
    /// Connections that had more to send than the kernel took.
    blocked: AtomicUsize,
}

impl Counts {
    fn get(counter: &AtomicUsize) -> usize {
        counter.load(Ordering::SeqCst)
    }
}

fn add_one(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::SeqCst);
}

/// Counts, and does what a text asks for.
struct Counter(Arc<Counts>);

impl Counter {
    fn new(counts: &Arc<Counts>) -> Self {
        add_one(&counts.made);
        Self(Arc::clone(counts))
    }
}

impl WSListener for Counter {
    fn on_ws_connected(&mut self, _: &WSTransport) -> WSResult {
        add_one(&self.0.connected);
        Ok(())
    }

    fn on_ws_frame(&mut self, transport: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        match frame.payload() {
            b"close" => drop(transport.close(WSCloseCode::OK, "").unwrap()),
            b"leave" => transport.disconnect(),
            b"abort" => transport.abort(),
            b"flood" => {
                transport.with_socket(|socket| socket.set_send_buffer_size(4096))??;
                transport.send(WSMsgType::Binary, vec![7; 256 << 10]);
                transport.flush();
                if transport.buffered_amount() > 0 {
                    add_one(&self.0.blocked);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn on_ws_disconnected(&mut self, _: &WSTransport) {
        add_one(&self.0.disconnected);
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        add_one(&self.0.dropped);
    }
}

/// With a budget, so that it counts what waits. It is never used up.
fn loop_config() -> WSLoopConfig {
    WSLoopConfig::default().outbound_budget(1 << 30)
}

/// How far a connection comes behind its opening handshake.
#[derive(Clone, Copy, Debug)]
enum Open {
    Idle,
    MidHeader,
    MidFrame,
    MidLargeFrame,
    MidMessage,
    /// This end's queue is blocked.
    Blocked,
    /// This end has sent CLOSE.
    ClosedByUs,
    ClosedByPeer,
    ClosedByBoth,
    LeftByUs,
    AbortedByUs,
}

const OPEN: [Open; 11] = [
    Open::Idle,
    Open::MidHeader,
    Open::MidFrame,
    Open::MidLargeFrame,
    Open::MidMessage,
    Open::Blocked,
    Open::ClosedByUs,
    Open::ClosedByPeer,
    Open::ClosedByBoth,
    Open::LeftByUs,
    Open::AbortedByUs,
];

impl Open {
    /// Brings a peer there whose opening handshake is done.
    fn reach(self, peer: &mut Peer) {
        let large = peer.encode(&Frame::binary(vec![1; 30_000]));
        match self {
            Self::Idle => {}
            Self::MidHeader => peer.write(&large[..1]),
            Self::MidFrame => peer.write(&large[..9]),
            Self::MidLargeFrame => peer.write(&large[..20_000]),
            Self::MidMessage => {
                let rest = peer.encode(&Frame::new(CONTINUATION, [2; 300]).bits(false, 0));
                peer.send(&Frame::text("begun").bits(false, 0));
                peer.write(&rest[..100]);
            }
            Self::Blocked => {
                peer.send(&Frame::text("flood"));
                peer.read_bytes(2);
            }
            Self::ClosedByUs => {
                peer.send(&Frame::text("close"));
                assert_eq!(peer.read_frame().close_code(), Some(1000));
            }
            Self::ClosedByPeer => peer.send(&Frame::close(1000, "")),
            Self::ClosedByBoth => {
                peer.send(&Frame::close(4000, ""));
                assert_eq!(peer.read_frame(), Frame::close(4000, ""));
            }
            Self::LeftByUs => peer.send(&Frame::text("leave")),
            Self::AbortedByUs => peer.send(&Frame::text("abort")),
        }
    }
}

/// How a peer goes.
#[derive(Clone, Copy, Debug)]
enum Leave {
    /// With a FIN, and without `close_notify`. What it has not read makes it a RST.
    Close,
    Reset,
    /// It ends its half, behind `close_notify` if there is TLS, and waits for the end of the other one.
    Wait,
}

const LEAVES: [Leave; 3] = [Leave::Close, Leave::Reset, Leave::Wait];

impl Leave {
    fn go(self, mut peer: Peer) {
        match self {
            Self::Close => {}
            Self::Reset => peer.reset(),
            Self::Wait => {
                if peer.try_shutdown_write() {
                    peer.expect_gone();
                }
            }
        }
    }
}

/// What there is before the connections, and has to be there again after them.
struct Baseline {
    descriptors: usize,
    live: isize,
    foreign: usize,
}

impl Baseline {
    fn take(on: &LoopThread) -> Self {
        Self { descriptors: open_descriptors(), live: live_beside_kept(on), foreign: foreign_bytes() }
    }

    fn check(&self, way: &Way, connections: usize, on: &LoopThread) {
        assert_eq!(open_descriptors(), self.descriptors, "{way:?}");
        let grown = live_beside_kept(on) - self.live;
        assert!(grown <= SLACK, "{way:?}: {grown} bytes are left of {connections} connections");
        let grown = foreign_bytes().saturating_sub(self.foreign);
        assert!(grown <= CACHED, "{way:?}: {grown} bytes of malloc are left of {connections} connections");
    }
}

/// Without what the loop keeps for reuse: that depends on what came at once, and has its own bound.
fn live_beside_kept(on: &LoopThread) -> isize {
    let kept = on.ask(WSLoopHandle::retained_memory);
    heap::live() - kept.cast_signed()
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// All that `malloc` has given to the process.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn foreign_bytes() -> usize {
    // SAFETY: the function has no preconditions.
    let info = unsafe { libc::mallinfo2() };
    info.uordblks + info.hblkhd
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn foreign_bytes() -> usize {
    0
}

/// Callbacks are paired, listeners are dropped, and the pool keeps no more than it says. `opened`: at least, at most.
fn check_counts(way: &Way, counts: &Counts, opened: std::ops::RangeInclusive<usize>, on: &LoopThread) {
    let connected = Counts::get(&counts.connected);
    assert!(opened.contains(&connected), "{way:?}: {connected} of {opened:?} were opened");
    assert_eq!(Counts::get(&counts.disconnected), connected, "{way:?}: callbacks are paired");
    assert_eq!(Counts::get(&counts.dropped), Counts::get(&counts.made), "{way:?}: listeners are dropped");
    let retained = on.ask(WSLoopHandle::retained_memory);
    assert!(retained <= 8 << 20, "{way:?}: {retained} bytes are kept");
    let waiting = on.ask(|handle| handle.outbound().waiting);
    assert_eq!(waiting, 0, "{way:?}: bytes of connections that have ended still wait");
}
