//! Memory: grows with what arrives, never with what a header claims; none per frame once things are running.

use std::sync::atomic::{AtomicUsize, Ordering};

use femtows::{WSFrame, WSListener, WSLoopHandle, WSResult, WSServerConfig, WSTransport};

use crate::heap;
use crate::own_process;
use crate::support::eventually;
use crate::support::peer::Peer;
use crate::support::probe::{Probe, echo, log};
use crate::support::running::{Server, serve};
use crate::support::wire::{BINARY, Frame};

/// Echoes, and allocates nothing itself.
struct Echo;

impl WSListener for Echo {
    fn on_ws_frame(&mut self, transport: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        echo(transport, frame)
    }
}

/// A header that claims `len` bytes.
fn claim(len: u64) -> Vec<u8> {
    [&[0x80 | BINARY, 0xff][..], &len.to_be_bytes(), &[1, 2, 3, 4]].concat()
}

const MIB: usize = 1 << 20;

#[test]
fn t07_no_allocation_of_a_claimed_size_above_the_limit() {
    let _process = own_process();
    let server = serve(WSServerConfig::default().max_frame_size(64 << 10), |_| Echo);
    let mut peer = Peer::connect(server.addr);
    let used = heap::measure(|| {
        peer.write(&claim(128 << 10));
        assert_eq!(peer.read_frame().close_code(), Some(1009));
    });
    // What is there already is reused; this is the test's own buffer.
    assert!(used.largest <= 64 << 10, "{used:?}");
}

#[test]
fn t07_no_allocation_of_a_claimed_size_below_the_limit() {
    let _process = own_process();
    let server = serve(WSServerConfig::default().max_frame_size(64 * MIB), |_| Echo);
    let mut peer = Peer::connect(server.addr);
    let used = heap::measure(|| {
        peer.write(&claim(60 * MIB as u64));
        for _ in 0..10 {
            peer.write(&[7; 5000]);
            // The loop has seen it when it has served another connection since.
            Peer::connect(server.addr).send_and_sync(&[]);
        }
        server.slots();
    });
    assert!(used.largest < MIB, "{used:?} for 50 KB that arrived");
    eventually("the connection lives on, alone", || server.slots() == 1);
}

#[test]
fn memory_of_a_large_frame_goes_back() {
    let _process = own_process();
    let (log, events) = log();
    let server = serve(WSServerConfig::default().max_frame_size(32 * MIB), move |_| Probe::new(&log));
    let mut peer = Peer::connect(server.addr);
    events.connected();
    peer.send(&Frame::binary(vec![1; 30 * MIB]));
    assert_eq!(events.frame().payload.len(), 30 * MIB);
    let retained = server.on.ask(WSLoopHandle::retained_memory);
    assert!(retained <= 8 * MIB, "{retained} bytes are kept, the documented bound is 8 MiB");
}

/// Frames of these sizes go both ways; after a while nothing is allocated for them any more.
#[test]
fn no_allocation_per_frame_in_the_steady_state() {
    let _process = own_process();
    let server = serve(WSServerConfig::default(), |_| Echo);
    let client = EchoingClient::connect(&server);
    for size in [0, 5, 125, 1000, 20_000, 100_000] {
        client.round_trips(size, 50);
        let heap::Use { allocations, .. } = heap::measure(|| client.round_trips(size, 200));
        // What is asked of the loop costs some; 200 frames that cost one each cost more.
        assert!(allocations < 100, "{allocations} allocations in 400 frames of {size} bytes");
    }
}

/// The library's own client, which throws a frame back and forth with the echo.
struct EchoingClient {
    on: crate::support::running::Client,
    frames: std::sync::Arc<AtomicUsize>,
}

struct Thrower {
    frames: std::sync::Arc<AtomicUsize>,
}

/// Throws back as long as there are throws left.
impl WSListener for Thrower {
    fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
        THROWER.set(Some(transport.clone()));
        Ok(())
    }

    fn on_ws_frame(&mut self, transport: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        if self.frames.fetch_sub(1, Ordering::SeqCst) > 1 {
            transport.send(frame.msg_type(), frame.payload());
        }
        Ok(())
    }
}

thread_local! {
    static THROWER: std::cell::RefCell<Option<WSTransport>> = const { std::cell::RefCell::new(None) };
}

impl EchoingClient {
    fn connect(server: &Server) -> Self {
        let frames = std::sync::Arc::new(AtomicUsize::new(0));
        let thrower = Thrower { frames: std::sync::Arc::clone(&frames) };
        let config = femtows::WSConnectConfig::default();
        let on = crate::support::running::connect(&server.url("/"), config, thrower);
        on.opened().unwrap();
        Self { on, frames }
    }

    fn round_trips(&self, size: usize, count: usize) {
        self.frames.store(count, Ordering::SeqCst);
        self.on.on.ask(move |_| {
            let transport = THROWER.with_borrow(|transport| transport.clone().unwrap());
            transport.send(femtows::WSMsgType::Binary, vec![1; size]);
        });
        eventually("all came back", || self.frames.load(Ordering::SeqCst) == 0);
    }
}
