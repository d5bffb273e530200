//! A client that comes back: exponential back-off with full jitter, reset only by a connection that lasted.
//!
//! ```text
//! cargo run --example reconnecting_client
//! ```
//!
//! The server of this demo stops, comes back on the same port, then throws everybody out at once for a while, and at last
//! stays. Takes about eight seconds.

use std::error::Error;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use femtows::{
    WSCloseCode, WSConnectConfig, WSFrame, WSListener, WSLoop, WSLoopConfig, WSLoopHandle, WSResult,
    WSServer, WSServerConfig, WSTransport, WSUpgradeRequest, ws_connect, ws_create_server,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut event_loop = WSLoop::new(WSLoopConfig::default())?;
    let handle = event_loop.handle();
    let log = Rc::new(Log(Instant::now()));
    let server = serve(&handle, Mood::Patient, "127.0.0.1:0".parse()?)?;
    let addr = server.local_addr();
    let client = stay_connected(handle.clone(), format!("ws://{addr}/"), Rc::clone(&log));
    let client = handle.spawn(client);
    event_loop.block_on(run_moody_server(handle, server, log))??;
    event_loop.block_on(client.cancel())?;
    Ok(())
}

// --- the client ----------------------------------------------------------------------------------------------------------

/// How long to wait before the next attempt.
///
/// The ceiling doubles with each attempt in a row. The wait is anywhere between nothing and the ceiling: clients that were
/// cut off at the same moment come back spread out, which a fixed wait, or one with a little jitter, does not achieve.
struct Backoff {
    attempts: u32,
}

impl Backoff {
    const BASE: Duration = Duration::from_millis(200);
    /// Short, so that the demo ends soon: 30 s is more usual.
    const MAX: Duration = Duration::from_secs(2);
    /// A connection that lived for less does not count as a success: the server may be accepting and falling over.
    const STABLE: Duration = Duration::from_millis(500);

    fn next(&mut self) -> Duration {
        let ceiling = Self::BASE.saturating_mul(1 << self.attempts.min(16)).min(Self::MAX);
        self.attempts += 1;
        // Without a source of chance: the ceiling itself.
        let chance = getrandom::u32().unwrap_or(u32::MAX);
        ceiling.mul_f64(f64::from(chance) / f64::from(u32::MAX))
    }

    fn lived(&mut self, time: Duration) {
        if time >= Self::STABLE {
            self.attempts = 0;
        }
    }
}

/// Connects, and connects again when the connection is gone, for ever.
async fn stay_connected(handle: WSLoopHandle, url: String, log: Rc<Log>) {
    let mut backoff = Backoff { attempts: 0 };
    loop {
        match ws_connect(&handle, Quiet, &url, WSConnectConfig::default()).await {
            Ok(transport) => {
                let since = Instant::now();
                log.say("client", "connected");
                let result = transport.wait_disconnected().await;
                let why = transport.disconnect_info().map(ToString::to_string).unwrap_or_default();
                log.say("client", &result.err().map_or(why, |error| error.to_string()));
                backoff.lived(since.elapsed());
            }
            Err(error) => log.say("client", &error.to_string()),
        }
        let attempt = backoff.attempts + 1;
        let wait = backoff.next();
        log.say("client", &format!("attempt {attempt} in {} ms", wait.as_millis()));
        handle.sleep(wait).await;
    }
}

// --- the server ----------------------------------------------------------------------------------------------------------

#[derive(Clone, Copy)]
enum Mood {
    /// Keeps its connections.
    Patient,
    /// Closes each as soon as it is open.
    Overloaded,
}

async fn run_moody_server(
    handle: WSLoopHandle,
    server: WSServer,
    log: Rc<Log>,
) -> Result<(), Box<dyn Error>> {
    let addr = server.local_addr();
    handle.sleep(Duration::from_secs(1)).await;

    stop(&server, &log).await;
    handle.sleep(Duration::from_secs(2)).await;

    log.say("server", "back, but overloaded: it accepts and closes");
    let server = serve(&handle, Mood::Overloaded, addr)?;
    handle.sleep(Duration::from_secs(2)).await;

    stop(&server, &log).await;
    log.say("server", "back, and well");
    let server = serve(&handle, Mood::Patient, addr)?;
    handle.sleep(Duration::from_secs(3)).await;
    log.say("demo", &format!("the end, with {} connection open", server.connections()));
    Ok(())
}

fn serve(handle: &WSLoopHandle, mood: Mood, addr: SocketAddr) -> Result<WSServer, Box<dyn Error>> {
    let factory = move |_: &WSUpgradeRequest| match mood {
        Mood::Patient => Box::new(Quiet) as Box<dyn WSListener>,
        Mood::Overloaded => Box::new(Bouncer),
    };
    Ok(ws_create_server(handle, factory, addr, WSServerConfig::default())?)
}

async fn stop(server: &WSServer, log: &Log) {
    log.say("server", "stops");
    server.shutdown(WSCloseCode::SERVICE_RESTART, "back soon", Duration::ZERO, Duration::from_secs(1)).await;
}

/// Either end of a connection on which nothing is said.
struct Quiet;

impl WSListener for Quiet {
    fn on_ws_frame(&mut self, _: &WSTransport, _: &mut WSFrame<'_>) -> WSResult {
        Ok(())
    }
}

/// The server's end of a connection that it cannot keep.
struct Bouncer;

impl WSListener for Bouncer {
    fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
        transport.send_close(WSCloseCode::TRY_AGAIN_LATER, "overloaded");
        Ok(())
    }

    fn on_ws_frame(&mut self, _: &WSTransport, _: &mut WSFrame<'_>) -> WSResult {
        Ok(())
    }
}

/// Lines with the time since the beginning.
struct Log(Instant);

impl Log {
    fn say(&self, who: &str, what: &str) {
        println!("{:>5} ms  {who}: {what}", self.0.elapsed().as_millis());
    }
}
