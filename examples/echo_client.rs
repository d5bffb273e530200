//! Measures round trips to an echo server, one message at a time, and checks every byte that comes back.
//!
//! ```text
//! echo_client URL [--api messages|async] [--size BYTES] [--count N | --secs S] [--proxy PROXY_URL] [--spin] [--json]
//!             [--deflate | --deflate-context] [--tls-ca FILE | --insecure]
//! ```
//!
//! `--proxy` goes through a proxy: `http://`, `https://`, `socks4://`, `socks4a://`, `socks5://` or `socks5h://`, with
//! `user:password@` if it asks. The table is preceded by what the connect took, and by which addresses were tried.
//!
//! A `wss` URL needs the feature `tls`. `--tls-ca` trusts the authorities in a PEM file too; `--insecure` trusts anybody.
//!
//! `--deflate` offers compression (feature `deflate`) of each message by itself, `--deflate-context` with reference to earlier ones.
//!
//! `--spin` polls without sleeping: fewer microseconds for a whole core. Ends with 1 if the server cannot be reached,
//! refuses, goes away, falls silent for five seconds, or sends something else than an echo.

use std::cell::RefCell;
use std::error::Error;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use femtows::message::{WebSocket, WebSocketConfig, connect_websocket_url};
use femtows::{
    WSCloseCode, WSConnectConfig, WSDisconnectCause, WSLimits, WSLoop, WSLoopConfig, WSMessage,
    WSMessageAdapter, WSMessageListener, WSMsgType, WSProxy, WSResult, WSTransport, ws_connect,
};

#[path = "support/args.rs"]
mod args;
#[path = "support/deflate.rs"]
mod deflate;
#[path = "support/histogram.rs"]
mod histogram;
#[path = "support/numbers.rs"]
mod numbers;
#[path = "support/payload.rs"]
mod payload;
#[path = "support/trust.rs"]
mod trust;

use args::Args;
use deflate::Deflate;
use histogram::Histogram;
use numbers::{grouped, micros};
use payload::Payload;
use trust::Trust;

const USAGE: &str = "echo_client URL [--api messages|async] [--size BYTES] [--count N | --secs S] [--proxy PROXY_URL] [--spin] [--json] \
                     [--deflate | --deflate-context] [--tls-ca FILE | --insecure]";

/// A server that sends nothing for this long is given up.
const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let mut args = Args::parse(USAGE);
    let size = args.number("--size").unwrap_or(20);
    let end = match (args.number("--count"), args.number("--secs")) {
        (Some(_), Some(_)) => args.fail("--count and --secs exclude each other"),
        (Some(count), None) => End::Count(count),
        (None, secs) => End::After(Duration::from_secs(secs.unwrap_or(3))),
    };
    let spin = args.flag("--spin").then_some(Duration::MAX);
    let json = args.flag("--json");
    let proxy = args.value("--proxy").map(|url| WSProxy::parse(&url));
    let proxy = proxy.transpose().unwrap_or_else(|error| args.fail(&error.to_string()));
    let trust = Trust::parse(&mut args);
    let deflate = Deflate::parse(&mut args);
    let connect: Connect = match args.value("--api").as_deref() {
        None | Some("messages") => connect_listener,
        Some("async") => connect_task,
        Some(other) => args.fail(&format!("unknown api {other:?}")),
    };
    let url = args.positional("URL");
    args.finish();

    let config = deflate.connecting(WSConnectConfig::default().proxy(proxy));
    let measured = trust.apply(config).and_then(|config| measure(&url, config, size, end, spin, connect));
    match measured {
        Ok((_, times)) if json => print_json(size, &times),
        Ok((report, times)) => {
            println!("{report}");
            print_table(&url, size, &times);
        }
        Err(error) => {
            eprintln!("{url}: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// When to stop.
#[derive(Clone, Copy)]
enum End {
    Count(u64),
    After(Duration),
}

/// What came out so far.
struct Measured {
    times: Histogram,
    is_complete: bool,
}

/// Sends a message, waits for its echo, sends the next.
///
/// A server may cut its answer into fragments, so this listens to messages. One that is not cut is borrowed from the receive
/// buffer, just as a frame is.
struct Pinger {
    payload: Payload,
    measured: Rc<RefCell<Measured>>,
    end: End,
    started: Instant,
    sent: Instant,
}

impl Pinger {
    fn ping(&mut self, transport: &WSTransport) {
        let message = self.payload.advance();
        self.sent = Instant::now();
        transport.send(WSMsgType::Binary, message);
    }

    /// All round trips, then the end.
    async fn run(mut self, ws: WebSocket) -> Result<(), Box<dyn Error>> {
        self.started = Instant::now();
        loop {
            let message = self.payload.advance();
            self.sent = Instant::now();
            ws.send_binary(message).await?;
            let echo = ws.recv().await?.ok_or("the server has closed")?;
            let back = Instant::now();
            self.payload.check(echo.as_bytes())?;
            if self.record(back) {
                return Ok(ws.aclose(WSCloseCode::OK, "").await?);
            }
        }
    }

    /// Notes a round trip. Whether it was the last.
    fn record(&self, back: Instant) -> bool {
        let mut measured = self.measured.borrow_mut();
        measured.times.record(back - self.sent);
        measured.is_complete = match self.end {
            End::Count(count) => measured.times.count() >= count,
            End::After(time) => back - self.started >= time,
        };
        measured.is_complete
    }
}

impl WSMessageListener for Pinger {
    fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
        self.started = Instant::now();
        self.ping(transport);
        Ok(())
    }

    fn on_ws_message(&mut self, transport: &WSTransport, message: WSMessage<'_>) -> WSResult {
        let back = Instant::now();
        self.payload.check(message.as_bytes())?;
        if self.record(back) {
            transport.close(WSCloseCode::OK, "")?;
        } else {
            self.ping(transport);
        }
        Ok(())
    }
}

/// Connects, and begins to ping.
type Connect = fn(&mut WSLoop, Pinger, &str, WSConnectConfig) -> Result<WSTransport, Box<dyn Error>>;

/// With a listener.
fn connect_listener(
    event_loop: &mut WSLoop,
    pinger: Pinger,
    url: &str,
    config: WSConnectConfig,
) -> Result<WSTransport, Box<dyn Error>> {
    let handle = event_loop.handle();
    Ok(event_loop.block_on(ws_connect(&handle, WSMessageAdapter::new(pinger), url, config))??)
}

/// With a task.
fn connect_task(
    event_loop: &mut WSLoop,
    pinger: Pinger,
    url: &str,
    config: WSConnectConfig,
) -> Result<WSTransport, Box<dyn Error>> {
    let handle = event_loop.handle();
    let largest = pinger.payload.len().max(125);
    let settings = WebSocketConfig::default().max_message_size(largest).client(config);
    let ws = event_loop.block_on(connect_websocket_url(&handle, url, settings))??;
    let transport = ws.transport().ok_or("not open")?.clone();
    handle
        .spawn(async move {
            if let Err(error) = pinger.run(ws).await {
                eprintln!("{error}");
            }
        })
        .detach();
    Ok(transport)
}

/// The report of the connect, and the round trips.
fn measure(
    url: &str,
    config: WSConnectConfig,
    size: usize,
    end: End,
    spin: Option<Duration>,
    connect: Connect,
) -> Result<(String, Histogram), Box<dyn Error>> {
    let measured = Rc::new(RefCell::new(Measured { times: Histogram::new(), is_complete: false }));
    let now = Instant::now();
    let pinger =
        Pinger { payload: Payload::new(size), measured: Rc::clone(&measured), end, started: now, sent: now };
    let limits = WSLimits::default()
        .max_frame_size(size.max(125))
        .max_message_size(size.max(125))
        .max_outbound(2 * size + 1024);
    let config = config.limits(limits);

    let mut event_loop = WSLoop::new(WSLoopConfig::default().spin(spin))?;
    let handle = event_loop.handle();
    let transport = connect(&mut event_loop, pinger, url, config)?;
    let report = transport.connect_report().map(|report| report.to_string()).unwrap_or_default();
    loop {
        let before = measured.borrow().times.count();
        match event_loop.block_on(handle.timeout(PATIENCE, transport.wait_disconnected()))? {
            Ok(ended) => break ended?,
            // All echoes came: the closing handshake has a deadline of its own.
            Err(_) if measured.borrow().is_complete => {}
            Err(_) if measured.borrow().times.count() == before => {
                return Err(format!("no echo for {} seconds", PATIENCE.as_secs()).into());
            }
            Err(_) => {}
        }
    }
    let measured = measured.replace(Measured { times: Histogram::new(), is_complete: false });
    match transport.disconnect_info() {
        Some(info) if !measured.is_complete => Err(format!("ended too early: {info}").into()),
        Some(info) if info.cause == WSDisconnectCause::CloseTimeout => {
            eprintln!("all echoes came, but the server did not end the connection: {info}");
            Ok((report, measured.times))
        }
        _ => Ok((report, measured.times)),
    }
}

fn print_table(url: &str, size: usize, times: &Histogram) {
    let size = u64::try_from(size).unwrap_or(u64::MAX);
    println!("{} round trips of {} bytes to {url}", grouped(times.count()), grouped(size));
    println!();
    println!("   p50 {:>10} us", micros(times.percentile(500)));
    println!("   p90 {:>10} us", micros(times.percentile(900)));
    println!("   p99 {:>10} us", micros(times.percentile(990)));
    println!(" p99.9 {:>10} us", micros(times.percentile(999)));
    println!("   max {:>10} us", micros(times.max()));
    println!("  rate {:>10} messages per second", grouped(times.per_second()));
}

/// Times in nanoseconds.
fn print_json(size: usize, times: &Histogram) {
    println!(
        r#"{{"size":{size},"count":{},"p50":{},"p90":{},"p99":{},"p99_9":{},"max":{},"per_second":{}}}"#,
        times.count(),
        times.percentile(500),
        times.percentile(900),
        times.percentile(990),
        times.percentile(999),
        times.max(),
        times.per_second(),
    );
}
