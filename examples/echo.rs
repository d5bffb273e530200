//! How long a round trip takes: femtows beside plain TCP, on the loopback of this machine.
//!
//! ```text
//! cargo run --release --example echo
//! ```
//!
//! Server and client are two loops on two threads. For each size the rounds are raw TCP, femtows, raw TCP, so that what
//! else the machine does meanwhile falls on both. Every byte that comes back is checked. Takes about ten seconds.

use std::cell::RefCell;
use std::error::Error;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use femtows::{
    WSCloseCode, WSConnectConfig, WSError, WSLoop, WSLoopConfig, WSLoopRemote, WSMessage, WSMessageAdapter,
    WSMessageListener, WSResult, WSServerConfig, WSTransport, WSUpgradeRequest, ws_connect, ws_create_server,
};

#[path = "support/histogram.rs"]
mod histogram;
#[path = "support/numbers.rs"]
mod numbers;
#[path = "support/payload.rs"]
mod payload;

use histogram::Histogram;
use numbers::{grouped, micros};
use payload::Payload;

const SIZES: [(&str, usize); 7] = [
    ("20 B", 20),
    ("256 B", 256),
    ("1 KiB", 1 << 10),
    ("8 KiB", 8 << 10),
    ("16 KiB", 16 << 10),
    ("100 kB", 100_000),
    ("1 MiB", 1 << 20),
];

/// Round trips at the beginning of each round are not counted for this long.
const WARM_UP: Duration = Duration::from_millis(50);
const FEMTOWS_ROUND: Duration = Duration::from_millis(600);
/// There are two of them.
const RAW_ROUND: Duration = Duration::from_millis(300);

type AnyError = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), AnyError> {
    let server = EchoServer::start()?;
    let mut client = WSLoop::new(WSLoopConfig::default())?;
    let mut rows = Vec::new();
    eprint!("measuring");
    for (label, size) in SIZES {
        eprint!(" .. {label}");
        let (mut raw, femtows) = (Histogram::new(), Rc::new(RefCell::new(Histogram::new())));
        raw_round(size, &mut raw)?;
        femtows_round(&mut client, &server.url, size, &femtows)?;
        raw_round(size, &mut raw)?;
        rows.push(Row { label, femtows, raw });
    }
    eprintln!(" .. done\n");
    server.stop()?;
    print_table(&rows);
    Ok(())
}

// --- femtows -------------------------------------------------------------------------------------------------------------

/// The server's side: everything that it gets goes back.
struct Echo;

impl WSMessageListener for Echo {
    fn on_ws_message(&mut self, transport: &WSTransport, message: WSMessage<'_>) -> WSResult {
        transport.send(message.msg_type(), message);
        Ok(())
    }
}

/// A server on a thread of its own.
struct EchoServer {
    url: String,
    remote: WSLoopRemote,
    thread: JoinHandle<Result<(), WSError>>,
}

impl EchoServer {
    fn start() -> Result<Self, AnyError> {
        let (started, wait) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut event_loop = WSLoop::new(WSLoopConfig::default())?;
            let handle = event_loop.handle();
            let factory = |_: &WSUpgradeRequest| WSMessageAdapter::new(Echo);
            let config = WSServerConfig::default().pause_reading_on_backlog(true);
            let server = ws_create_server(&handle, factory, "127.0.0.1:0", config)?;
            // The other side of the channel waits for exactly this.
            let _ = started.send((server.local_addr(), handle.remote()));
            event_loop.run()
        });
        match wait.recv() {
            Ok((addr, remote)) => Ok(Self { url: format!("ws://{addr}/"), remote, thread }),
            Err(_) => Err(join(thread).err().unwrap_or_else(|| "the server did not start".into())),
        }
    }

    fn stop(self) -> Result<(), AnyError> {
        self.remote.stop();
        join(self.thread)
    }
}

/// The client's side: what comes back is checked and timed, and the next one leaves from the same callback.
struct Pinger {
    payload: Payload,
    times: Rc<RefCell<Histogram>>,
    clock: RoundClock,
    sent: Instant,
}

impl Pinger {
    fn ping(&mut self, transport: &WSTransport) {
        let message = self.payload.advance();
        self.sent = Instant::now();
        transport.send_binary(message);
    }
}

impl WSMessageListener for Pinger {
    fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
        self.ping(transport);
        Ok(())
    }

    fn on_ws_message(&mut self, transport: &WSTransport, message: WSMessage<'_>) -> WSResult {
        let back = Instant::now();
        self.payload.check(message.as_bytes())?;
        if self.clock.counts(self.sent) {
            self.times.borrow_mut().record(back - self.sent);
        }
        if self.clock.is_over(back) {
            transport.close(WSCloseCode::OK, "")?;
        } else {
            self.ping(transport);
        }
        Ok(())
    }
}

fn femtows_round(
    event_loop: &mut WSLoop,
    url: &str,
    size: usize,
    times: &Rc<RefCell<Histogram>>,
) -> Result<(), WSError> {
    let pinger = Pinger {
        payload: Payload::new(size),
        times: Rc::clone(times),
        clock: RoundClock::start(FEMTOWS_ROUND),
        sent: Instant::now(),
    };
    let handle = event_loop.handle();
    let listener = WSMessageAdapter::new(pinger);
    let transport = event_loop.block_on(ws_connect(&handle, listener, url, WSConnectConfig::default()))??;
    event_loop.block_on(transport.wait_disconnected())?
}

// --- raw TCP -------------------------------------------------------------------------------------------------------------

/// The same ping-pong with nothing but blocking reads and writes.
fn raw_round(size: usize, times: &mut Histogram) -> Result<(), AnyError> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let addr = listener.local_addr()?;
    let server = thread::spawn(move || raw_echo(&listener, size));
    raw_ping_pong(addr, size, times)?;
    join(server)
}

/// Sends back messages of this size until the client has gone.
fn raw_echo(listener: &TcpListener, size: usize) -> std::io::Result<()> {
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    let mut message = vec![0; size];
    while stream.read_exact(&mut message).is_ok() {
        stream.write_all(&message)?;
    }
    Ok(())
}

fn raw_ping_pong(addr: SocketAddr, size: usize, times: &mut Histogram) -> Result<(), AnyError> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_nodelay(true)?;
    let (mut payload, mut echo) = (Payload::new(size), vec![0; size]);
    let clock = RoundClock::start(RAW_ROUND);
    loop {
        let message = payload.advance();
        let sent = Instant::now();
        stream.write_all(message)?;
        stream.read_exact(&mut echo)?;
        let back = Instant::now();
        payload.check(&echo)?;
        if clock.counts(sent) {
            times.record(back - sent);
        }
        if clock.is_over(back) {
            return Ok(());
        }
    }
}

// --- shared --------------------------------------------------------------------------------------------------------------

/// When the round trips of a round begin to count, and when they end.
#[derive(Clone, Copy)]
struct RoundClock {
    warm: Instant,
    over: Instant,
}

impl RoundClock {
    fn start(length: Duration) -> Self {
        let warm = Instant::now() + WARM_UP;
        Self { warm, over: warm + length }
    }

    fn counts(self, sent: Instant) -> bool {
        sent >= self.warm
    }

    fn is_over(self, now: Instant) -> bool {
        now >= self.over
    }
}

/// The result of a thread, a panic in it included.
fn join<E: Into<AnyError>>(thread: JoinHandle<Result<(), E>>) -> Result<(), AnyError> {
    thread.join().map_err(|_| "a thread of the benchmark panicked")?.map_err(Into::into)
}

struct Row {
    label: &'static str,
    femtows: Rc<RefCell<Histogram>>,
    raw: Histogram,
}

fn print_table(rows: &[Row]) {
    println!("round trips over loopback, in microseconds");
    println!();
    println!("        |               femtows               |               raw TCP               | femtows");
    println!("   size |     p50     p99    p99.9      msg/s |     p50     p99    p99.9      msg/s |   / raw");
    println!("--------+-------------------------------------+-------------------------------------+--------");
    for Row { label, femtows, raw } in rows {
        let femtows = femtows.borrow();
        let percent = 100 * femtows.percentile(500) / raw.percentile(500).max(1);
        let (left, right) = (columns(&femtows), columns(raw));
        println!("{label:>7} | {left} | {right} | {:>6}.{:02}", percent / 100, percent % 100);
    }
    let round_trips: u64 = rows.iter().map(|row| row.femtows.borrow().count() + row.raw.count()).sum();
    println!();
    println!("{} round trips, one at a time; every byte that came back was compared.", grouped(round_trips));
    println!(
        "How to read it: half of all round trips took no longer than p50, 1 in 1,000 took longer than p99.9."
    );
    println!(
        "Raw TCP is two threads in blocking reads and writes. The last column is p50 over p50: 1.15 says that"
    );
    println!(
        "the WebSocket protocol, masking, and a loop that could serve thousands of peers add 15 % to bare TCP."
    );
}

fn columns(times: &Histogram) -> String {
    let [p50, p99, p999] = [500, 990, 999].map(|per_mille| micros(times.percentile(per_mille)));
    format!("{p50:>7} {p99:>7} {p999:>8} {:>10}", grouped(times.per_second()))
}
