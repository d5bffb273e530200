//! Load from several threads: each has a loop of its own with some connections, one message in flight on each.
//!
//! ```text
//! echo_client_threaded URL [--threads 2] [--connections 8] [--size BYTES] [--secs S]
//! ```
//!
//! `--connections` is per thread. Prints round trips per second and their percentiles over all threads. Ends with 1 if a connection
//! fails, or brings something else back than what was sent.

use std::cell::RefCell;
use std::error::Error;
use std::process::ExitCode;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use femtows::{
    WSCloseCode, WSConnectConfig, WSLoop, WSLoopConfig, WSMessage, WSMessageAdapter, WSMessageListener,
    WSMsgType, WSResult, WSTransport, ws_connect,
};

#[path = "support/args.rs"]
mod args;
#[path = "support/histogram.rs"]
mod histogram;
#[path = "support/numbers.rs"]
mod numbers;
#[path = "support/payload.rs"]
mod payload;

use args::Args;
use histogram::Histogram;
use numbers::{grouped, micros};
use payload::Payload;

const USAGE: &str = "echo_client_threaded URL [--threads 2] [--connections 8] [--size BYTES] [--secs S]";

type AnyError = Box<dyn Error + Send + Sync>;

#[derive(Clone)]
struct Load {
    url: String,
    connections: usize,
    size: usize,
    time: Duration,
}

fn main() -> ExitCode {
    let mut args = Args::parse(USAGE);
    let threads: usize = args.number("--threads").unwrap_or(2);
    let connections = args.number("--connections").unwrap_or(8);
    let size = args.number("--size").unwrap_or(20);
    let time = Duration::from_secs(args.number("--secs").unwrap_or(3).max(1));
    let load = Load { url: args.positional("URL"), connections, size, time };
    args.finish();

    let start = |_| {
        let load = load.clone();
        thread::spawn(move || run(&load))
    };
    let started: Vec<_> = (0..threads).map(start).collect();
    let mut all = Histogram::new();
    for thread in started {
        match thread.join().expect("a thread does not panic") {
            Ok(times) => all.merge(&times),
            Err(error) => {
                eprintln!("{}: {error}", load.url);
                return ExitCode::FAILURE;
            }
        }
    }
    let per_second = all.count() / load.time.as_secs();
    println!("{threads} threads with {connections} connections each, {size} bytes, one message in flight");
    println!("{:>10} round trips per second", grouped(per_second));
    for (name, per_mille) in [("p50", 500), ("p90", 900), ("p99", 990), ("p99.9", 999)] {
        println!("{name:>10} {:>10} us", micros(all.percentile(per_mille)));
    }
    ExitCode::SUCCESS
}

/// One thread: a loop, its connections, and one histogram for all of them.
fn run(load: &Load) -> Result<Histogram, AnyError> {
    let times = Rc::new(RefCell::new(Histogram::new()));
    let mut event_loop = WSLoop::new(WSLoopConfig::default())?;
    let handle = event_loop.handle();
    let end = Instant::now() + load.time;
    let connect = |_| {
        let pinger =
            Pinger { payload: Payload::new(load.size), sent: Instant::now(), end, times: Rc::clone(&times) };
        handle.spawn(ws_connect(
            &handle,
            WSMessageAdapter::new(pinger),
            &load.url,
            WSConnectConfig::default(),
        ))
    };
    let connecting: Vec<_> = (0..load.connections).map(connect).collect();
    let mut transports = Vec::new();
    for connected in connecting {
        transports.push(event_loop.block_on(connected)??);
    }
    for transport in transports {
        event_loop.block_on(transport.wait_disconnected())??;
        if transport.received_close().is_none_or(|close| close.code != WSCloseCode::OK) {
            return Err(transport.disconnect_info().map_or("ended".into(), ToString::to_string).into());
        }
    }
    drop(event_loop);
    Ok(times.replace(Histogram::new()))
}

/// Sends a message, waits for its echo, sends the next.
struct Pinger {
    payload: Payload,
    sent: Instant,
    end: Instant,
    times: Rc<RefCell<Histogram>>,
}

impl Pinger {
    fn ping(&mut self, transport: &WSTransport) {
        let message = self.payload.advance();
        self.sent = Instant::now();
        transport.send(WSMsgType::Binary, message);
    }
}

impl WSMessageListener for Pinger {
    fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
        self.ping(transport);
        Ok(())
    }

    fn on_ws_message(&mut self, transport: &WSTransport, message: WSMessage<'_>) -> WSResult {
        if message.msg_type() != WSMsgType::Binary {
            // The threaded server tells the number of connections in between.
            return Ok(());
        }
        let back = Instant::now();
        self.payload.check(message.as_bytes())?;
        self.times.borrow_mut().record(back - self.sent);
        if back < self.end {
            self.ping(transport);
        } else {
            transport.close(WSCloseCode::OK, "")?;
        }
        Ok(())
    }
}
