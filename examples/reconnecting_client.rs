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
    WSBackoff, WSCloseCode, WSConnectConfig, WSError, WSFrame, WSListener, WSLoop, WSLoopConfig,
    WSLoopHandle, WSReconnect, WSResult, WSRetry, WSServer, WSServerConfig, WSTransport, WSUpgradeRequest,
    ws_create_server,
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

/// Connects, and connects again when the connection is gone, for ever.
async fn stay_connected(handle: WSLoopHandle, url: String, log: Rc<Log>) -> Result<(), WSError> {
    // Short, so that the demo ends soon: the defaults are 500 ms, 30 s and 10 s.
    let backoff = WSBackoff::default()
        .base(Duration::from_millis(200))
        .max(Duration::from_secs(2))
        .stable_after(Duration::from_millis(500));
    let retries = Rc::clone(&log);
    let mut client = WSReconnect::new(&handle, url, WSConnectConfig::default()).backoff(backoff).on_retry(
        move |retry: WSRetry<'_>| {
            let why = retry.error.map_or("the connection is gone".to_owned(), ToString::to_string);
            let wait = retry.wait.as_millis();
            retries.say("client", &format!("{why}: attempt {} in {wait} ms", retry.attempt));
        },
    );
    loop {
        // Waits for the end of the connection before: it is here that a client would subscribe anew.
        client.next(|| Quiet).await?;
        log.say("client", "connected");
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
        transport.close(WSCloseCode::TRY_AGAIN_LATER, "overloaded")?;
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
