//! What the heap sees: nothing per frame in the steady state, and little per idle connection.
//!
//! Counted per thread, and everything of one test runs on one: both ends live on the same loop.
//! `ALLOCATIONS_TRACE=1` prints a backtrace for each allocation that should not be.

#[cfg(feature = "tls")]
#[path = "tls/authority.rs"]
#[allow(dead_code, reason = "shared with the tests of TLS, which use all of it")]
mod authority;

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::Cell;
use std::io::Write;
use std::net::TcpStream;
use std::rc::Rc;
use std::time::Duration;

use femtows::message::{WebSocket, WebSocketConfig, WebSocketError, websocket_factory};
use femtows::{
    WSConnectConfig, WSFrame, WSIntoUpgrade, WSListener, WSLoop, WSLoopConfig, WSLoopHandle, WSMessage,
    WSMessageAdapter, WSMessageListener, WSMsgType, WSResult, WSServer, WSServerConfig, WSTransport,
    WSTuning, WSUpgradeRequest, WSWriteStrategy, ws_connect, ws_create_server,
};

const WARM_UP: u32 = 200;
const ROUNDS: u32 = 10_000;

// --- counting ------------------------------------------------------------------------------------------------------------

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static LIVE_BYTES: Cell<isize> = const { Cell::new(0) };
    static TRACING: Cell<bool> = const { Cell::new(false) };
}

/// Counts a change of the heap. A thread that is ending counts no more.
fn count(allocations: u64, bytes: isize) {
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + allocations));
    let _ = LIVE_BYTES.try_with(|live| live.set(live.get() + bytes));
    // Taken while it prints, as printing allocates.
    if allocations > 0 && TRACING.try_with(|tracing| tracing.replace(false)) == Ok(true) {
        eprintln!("allocation of {bytes} bytes more at\n{}", Backtrace::force_capture());
        TRACING.set(true);
    }
}

// SAFETY: everything is passed on to the allocator of the system as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size().cast_signed());
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(0, -layout.size().cast_signed());
        // SAFETY: as the caller promised; the memory came from `System`.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(1, size.cast_signed() - layout.size().cast_signed());
        // SAFETY: as the caller promised; the memory came from `System`.
        unsafe { System.realloc(memory, layout, size) }
    }
}

// --- listeners -----------------------------------------------------------------------------------------------------------

/// Sends everything back.
struct Echo;

impl WSListener for Echo {
    fn on_ws_frame(&mut self, transport: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        transport.send(frame.msg_type(), frame.payload());
        Ok(())
    }
}

impl WSMessageListener for Echo {
    fn on_ws_message(&mut self, transport: &WSTransport, message: WSMessage<'_>) -> WSResult {
        transport.send(message.msg_type(), message);
        Ok(())
    }
}

/// Plays a payload back and forth and counts what that allocates after the warm-up.
struct Player {
    payload: Vec<u8>,
    handle: WSLoopHandle,
    rounds: u32,
    before: u64,
    /// Allocations of all rounds after the warm-up, once these are over.
    allocations: Rc<Cell<Option<u64>>>,
}

impl Player {
    fn play(&mut self, transport: &WSTransport) {
        if self.rounds == WARM_UP {
            TRACING.set(std::env::var_os("ALLOCATIONS_TRACE").is_some());
            self.before = ALLOCATIONS.get();
        }
        if self.rounds == WARM_UP + ROUNDS {
            TRACING.set(false);
            self.allocations.set(Some(ALLOCATIONS.get() - self.before));
            self.handle.stop();
        } else {
            self.rounds += 1;
            transport.send(WSMsgType::Binary, &self.payload);
        }
    }
}

impl WSListener for Player {
    fn on_ws_frame(&mut self, transport: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        assert_eq!(frame.payload(), self.payload);
        self.play(transport);
        Ok(())
    }
}

impl WSMessageListener for Player {
    fn on_ws_message(&mut self, transport: &WSTransport, message: WSMessage<'_>) -> WSResult {
        assert_eq!(message.as_bytes(), self.payload);
        self.play(transport);
        Ok(())
    }
}

#[derive(Clone, Copy, Debug)]
enum Api {
    Frames,
    Messages,
}

impl Api {
    fn listener<L: WSListener + WSMessageListener + 'static>(self, listener: L) -> Box<dyn WSListener> {
        match self {
            Self::Frames => Box::new(listener),
            Self::Messages => Box::new(WSMessageAdapter::new(listener)),
        }
    }
}

// --- per frame -----------------------------------------------------------------------------------------------------------

#[test]
fn frames_of_20_bytes() {
    assert_no_allocation(20, &WSLoopConfig::default());
}

#[test]
fn frames_of_1_kib() {
    assert_no_allocation(1024, &WSLoopConfig::default());
}

#[test]
fn frames_of_16_kib() {
    assert_no_allocation(16 * 1024, &WSLoopConfig::default());
}

#[test]
fn frames_of_100_kb() {
    assert_no_allocation(100_000, &WSLoopConfig::default());
}

/// Four reads at least. A buffer that had to grow beyond four times the size of the loop's would not be kept.
#[test]
fn frames_of_100_kb_in_many_reads() {
    assert_no_allocation(100_000, &WSLoopConfig::default().read_buffer_size(32 * 1024));
}

/// rustls makes one allocation to open a record and one to seal it; the library adds none. A round
/// is a record in each direction.
#[cfg(feature = "tls")]
#[test]
fn frames_over_tls_cost_rustls_allocations_only() {
    let authority = authority::Authority::new();
    let server = WSServerConfig::default().tls(authority.issue(&["127.0.0.1"]).server());
    let client = WSConnectConfig::default().tls(authority.client());
    for len in [20, 1024] {
        let configs = (server.clone(), client.clone());
        let allocations = play(len, WSLoopConfig::default(), Api::Frames, "wss", configs);
        assert_eq!(allocations, 4 * u64::from(ROUNDS), "{len} bytes");
    }
}

/// Plays through both listener types and both write strategies.
fn assert_no_allocation(len: usize, config: &WSLoopConfig) {
    for api in [Api::Frames, Api::Messages] {
        for strategy in [WSWriteStrategy::Cork, WSWriteStrategy::Immediate] {
            let tuning = WSTuning::default().write_strategy(strategy);
            let configs =
                (WSServerConfig::default().tuning(tuning.clone()), WSConnectConfig::default().tuning(tuning));
            let allocations = play(len, config.clone(), api, "ws", configs);
            assert_eq!(allocations, 0, "{ROUNDS} rounds of {len} bytes, {api:?}, {strategy:?}");
        }
    }
}

fn play(
    len: usize,
    config: WSLoopConfig,
    api: Api,
    scheme: &str,
    (server_config, client_config): (WSServerConfig, WSConnectConfig),
) -> u64 {
    let mut event_loop = WSLoop::new(config).expect("a loop");
    let handle = event_loop.handle();
    let factory = move |_: &WSUpgradeRequest| api.listener(Echo).into_upgrade();
    let server = ws_create_server(&handle, factory, "127.0.0.1:0", server_config).expect("a server");

    let allocations = Rc::new(Cell::new(None));
    let player = Player {
        payload: (0..len).map(|i| i as u8).collect(),
        handle: handle.clone(),
        rounds: 0,
        before: 0,
        allocations: Rc::clone(&allocations),
    };
    let url = format!("{scheme}://{}/", server.local_addr());
    let connecting = ws_connect(&handle, api.listener(player), &url, client_config);
    let client = event_loop.block_on(connecting).expect("the loop runs").expect("a connection");
    client.send(WSMsgType::Binary, (0..len).map(|i| i as u8).collect::<Vec<_>>());
    event_loop.run().expect("the loop runs");
    allocations.get().expect("all rounds were played")
}

/// A peer that writes a frame bit by bit: the part that has come moves from buffer to buffer, and all of them come from the pool.
#[test]
fn frames_in_small_pieces() {
    let frame = masked_frame(&vec![b'x'; 100_000]);
    let cuts: &[&[usize]] =
        &[&[1, 7, 20, 6_000, 50_000], &[5_000, 17_000, 40_000], &[10, 90_000], &[70_000, 100_013]];
    let mut site = Site::new(true);
    site.connect(1);
    for round in 0..200 {
        TRACING.set(round >= 100 && std::env::var_os("ALLOCATIONS_TRACE").is_some());
        let before = ALLOCATIONS.get();
        for cuts in cuts {
            let mut start = 0;
            for &end in cuts.iter().chain([&frame.len()]) {
                site.write(0, &frame[start..end]);
                start = end;
            }
        }
        site.turn_until(|site| site.frames.get() == cuts.len() * (round + 1));
        let allocations = ALLOCATIONS.get() - before;
        assert!(round < 100 || allocations == 0, "{allocations} allocations for {} frames", cuts.len());
    }
}

// --- per connection ------------------------------------------------------------------------------------------------------

/// Bytes per connection allowed; the sizes of today are printed. Some of it is the room that tables leave as they grow.
const MOST_BYTES: [isize; 2] = [1_300, 560];

#[test]
fn an_idle_connection_is_small() {
    const CONNECTIONS: usize = 500;
    for (keep_handshake, most) in [true, false].into_iter().zip(MOST_BYTES) {
        let mut site = Site::new(keep_handshake);
        // Buffers of the loop, and of the test, get their size.
        site.connect(10);
        let before = LIVE_BYTES.get();
        site.connect(CONNECTIONS);
        let each = (LIVE_BYTES.get() - before) / CONNECTIONS.cast_signed();
        println!("keep_handshake({keep_handshake}): {each} bytes, the request has {}", REQUEST.len());
        assert!(each <= most, "{each} bytes per idle connection, keep_handshake({keep_handshake})");

        let message = masked_frame(&[b'x'; 1000]);
        for peer in 0..CONNECTIONS {
            site.write(peer, &message[..500]);
            site.write(peer, &message[500..]);
        }
        site.turn_until(|site| site.frames.get() == CONNECTIONS);
        let grown = (LIVE_BYTES.get() - before) / CONNECTIONS.cast_signed() - each;
        println!("keep_handshake({keep_handshake}): {grown} bytes more after a message");
        assert!(grown <= 16, "{grown} bytes are kept per connection that has received");
    }
}

/// A task that waits for a message costs what its future holds, and the messages' queue; before the first message and after it.
#[test]
fn an_idle_connection_of_a_task_is_small() {
    const CONNECTIONS: usize = 500;
    let config = WebSocketConfig::default();
    let mut site = Site::with(config.server_config(), |_, counter| {
        let echo = move |ws: WebSocket| {
            let counter = Rc::clone(&counter);
            async move {
                ws.accept().await?;
                while let Ok(message) = ws.get_message().await {
                    counter.set(counter.get() + 1);
                    ws.send_message(message).await?;
                }
                Ok::<(), WebSocketError>(())
            }
        };
        websocket_factory(echo, config)
    });
    site.connect(10);
    let before = LIVE_BYTES.get();
    site.connect(CONNECTIONS);
    let each = (LIVE_BYTES.get() - before) / CONNECTIONS.cast_signed();
    println!("task: {each} bytes, the request has {}", REQUEST.len());
    assert!(each < 2_600, "{each} bytes per idle connection");
    let message = masked_frame(&[b'x'; 1000]);
    for peer in 0..CONNECTIONS {
        site.write(10 + peer, &message);
    }
    site.turn_until(|site| site.frames.get() == CONNECTIONS);
    let grown = (LIVE_BYTES.get() - before) / CONNECTIONS.cast_signed() - each;
    println!("task: {grown} bytes more after a message");
    assert!(grown <= 16, "{grown} bytes are kept per connection that has received");
}

/// Compression costs an idle connection a few words, before and after messages, unless they refer to earlier ones.
#[cfg(feature = "deflate")]
#[test]
fn an_idle_connection_with_compression_is_small() {
    const CONNECTIONS: usize = 200;
    let request = compressing_request();
    let config = WSServerConfig::default()
        .tuning(WSTuning::default().keep_handshake(false))
        .deflate(femtows::WSDeflateConfig::default().threshold(0));
    let mut site = Site::serving(config, |counter| {
        Box::new(WSMessageAdapter::new(CompressingEcho(counter))) as Box<dyn WSListener>
    });
    site.connect_as(10, request.as_bytes());
    // Compressed "Hello" three times; what the loop needs is made for the first.
    let hello = [0xc2, 0x87, 0, 0, 0, 0, 0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    site.write(0, &hello);
    site.turn_until(|site| site.frames.get() == 1);
    let before = LIVE_BYTES.get();
    site.connect_as(CONNECTIONS, request.as_bytes());
    let each = (LIVE_BYTES.get() - before) / CONNECTIONS.cast_signed();
    println!("compression: {each} bytes per idle connection");
    assert!(each < 1024, "{each} bytes per idle connection");
    for peer in 0..CONNECTIONS {
        site.write(10 + peer, &hello);
    }
    site.turn_until(|site| site.frames.get() == 1 + CONNECTIONS);
    let after = (LIVE_BYTES.get() - before) / CONNECTIONS.cast_signed();
    println!("compression: {after} bytes per connection that has received and sent");
    assert!(after < 1024, "{after} bytes per connection that has received and sent");
    let before = ALLOCATIONS.get();
    for peer in 0..CONNECTIONS {
        site.write(10 + peer, &hello);
    }
    site.turn_until(|site| site.frames.get() == 1 + 2 * CONNECTIONS);
    assert_eq!(ALLOCATIONS.get() - before, 0, "allocations for {CONNECTIONS} compressed messages");
}

/// With context takeover a connection that has received and sent keeps what its peer may refer to, and no compressor.
#[cfg(feature = "deflate")]
#[test]
fn an_idle_connection_with_context_keeps_only_its_history() {
    const CONNECTIONS: usize = 1000;
    let request = compressing_request();
    let deflate =
        femtows::WSDeflateConfig::small_feeds().compressor_idle_timeout(Some(Duration::from_millis(20)));
    let config = WSServerConfig::default().tuning(WSTuning::default().keep_handshake(false)).deflate(deflate);
    let mut site = Site::serving(config, |counter| {
        Box::new(WSMessageAdapter::new(CompressingEcho(counter))) as Box<dyn WSListener>
    });
    let hello = [0xc2, 0x87, 0, 0, 0, 0, 0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    site.connect_as(20, request.as_bytes());
    // The loop gets what it keeps: compressors for connections to come, among them.
    for peer in 0..20 {
        site.write(peer, &hello);
    }
    site.turn_until(|site| site.frames.get() == 20);
    site.rest(Duration::from_millis(100));
    let before = LIVE_BYTES.get();
    site.connect_as(CONNECTIONS, request.as_bytes());
    let mut frames = 20;
    for peer in 0..CONNECTIONS {
        site.write(20 + peer, &hello);
        site.write(20 + peer, &hello);
        frames += 2;
    }
    site.turn_until(|site| site.frames.get() == frames);
    site.rest(Duration::from_millis(100));
    let each = (LIVE_BYTES.get() - before) / CONNECTIONS.cast_signed();
    println!("compression with context: {each} bytes per idle connection that has received and sent");
    assert!(each < 1024, "{each} bytes per idle connection that has received and sent");

    // A stored block of 4000 bytes, and the header of the next.
    let history = 4000;
    let block = [&[0x00, 0xa0, 0x0f, 0x5f, 0xf0], [b'x'; 4000].as_slice(), &[0x00]].concat();
    let mut message = masked_frame(&block);
    message[0] |= 0x40;
    for peer in 0..CONNECTIONS {
        site.write(20 + peer, &message);
        frames += 1;
    }
    site.turn_until(|site| site.frames.get() == frames);
    site.rest(Duration::from_millis(100));
    let grown = (LIVE_BYTES.get() - before) / CONNECTIONS.cast_signed() - each;
    println!("compression with context: {grown} bytes more after a message of {history}");
    assert!(grown >= history - 64 && grown <= history + 64, "{grown} bytes for a history of {history}");
}

/// Offers compression.
#[cfg(feature = "deflate")]
fn compressing_request() -> String {
    String::from_utf8_lossy(REQUEST).replace(
        "Upgrade\r\n",
        "Upgrade\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n",
    )
}

/// Says more than it was told, so that it compresses.
#[cfg(feature = "deflate")]
struct CompressingEcho(Rc<Cell<usize>>);

#[cfg(feature = "deflate")]
impl WSMessageListener for CompressingEcho {
    fn on_ws_message(&mut self, transport: &WSTransport, message: WSMessage<'_>) -> WSResult {
        assert!(message.as_bytes() == b"Hello" || message.as_bytes() == [b'x'; 4000]);
        self.0.set(self.0.get() + 1);
        transport.send(message.msg_type(), [b'x'; 100]);
        Ok(())
    }
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A server whose peers are plain sockets, which allocate nothing.
struct Site {
    event_loop: WSLoop,
    server: WSServer,
    peers: Vec<TcpStream>,
    /// Frames that the server's listeners got.
    frames: Rc<Cell<usize>>,
}

struct Counter(Rc<Cell<usize>>);

impl WSListener for Counter {
    fn on_ws_frame(&mut self, _: &WSTransport, _: &mut WSFrame<'_>) -> WSResult {
        self.0.set(self.0.get() + 1);
        Ok(())
    }
}

impl Site {
    fn new(keep_handshake: bool) -> Self {
        let config = WSServerConfig::default().tuning(WSTuning::default().keep_handshake(keep_handshake));
        Self::serving(config, |counter| Box::new(Counter(counter)))
    }

    fn serving(config: WSServerConfig, listener: fn(Rc<Cell<usize>>) -> Box<dyn WSListener>) -> Self {
        Self::with(config, |_, counter| move |_: &WSUpgradeRequest| listener(Rc::clone(&counter)))
    }

    /// With the factory that `make` makes; what it makes counts the frames.
    fn with<F, U>(config: WSServerConfig, make: impl FnOnce(&WSLoopHandle, Rc<Cell<usize>>) -> F) -> Self
    where
        F: FnMut(&WSUpgradeRequest) -> U + 'static,
        U: WSIntoUpgrade,
    {
        let event_loop = WSLoop::new(WSLoopConfig::default()).expect("a loop");
        let frames = Rc::new(Cell::new(0));
        let factory = make(&event_loop.handle(), Rc::clone(&frames));
        let server =
            ws_create_server(&event_loop.handle(), factory, "127.0.0.1:0", config).expect("a server");
        Self { event_loop, server, peers: Vec::with_capacity(1100), frames }
    }

    fn connect(&mut self, count: usize) {
        self.connect_as(count, REQUEST);
    }

    fn connect_as(&mut self, count: usize, request: &[u8]) {
        for _ in 0..count {
            let mut peer = TcpStream::connect(self.server.local_addr()).expect("the server listens");
            peer.set_nonblocking(true).expect("an option of every socket");
            peer.write_all(request).expect("room for a request");
            self.peers.push(peer);
            self.turn_until(|site| site.server.connections() == site.peers.len());
        }
    }

    /// Writes to the server, which reads meanwhile.
    fn write(&mut self, peer: usize, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let written = self.peers[peer].write(bytes).unwrap_or(0);
            bytes = &bytes[written..];
            self.turn();
        }
    }

    fn turn_until(&mut self, is_done: impl Fn(&Self) -> bool) {
        while !is_done(self) {
            self.turn();
        }
    }

    /// Lets time pass.
    #[cfg(feature = "deflate")]
    fn rest(&mut self, time: Duration) {
        let handle = self.event_loop.handle();
        self.event_loop.block_on(handle.sleep(time)).expect("the loop runs");
    }

    fn turn(&mut self) {
        self.event_loop.run_once(Some(Duration::from_millis(10))).expect("the loop runs");
    }
}

/// A binary frame as a client sends it. The key is zero, which leaves the payload as it is.
fn masked_frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x82];
    if payload.len() < 65_536 {
        frame.push(0x80 + 126);
        frame.extend((payload.len() as u16).to_be_bytes());
    } else {
        frame.push(0x80 + 127);
        frame.extend((payload.len() as u64).to_be_bytes());
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}
