//! Ending a server without a stampede: connections are closed one after the other over a second, each with 1001.
//!
//! ```text
//! cargo run --example graceful_shutdown
//! ```
//!
//! Begins to shut down after two seconds, or on SIGINT or SIGTERM. Of ten clients one never answers a CLOSE; it is cut off
//! at the deadline.

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use femtows::{
    WSCloseCode, WSConnectConfig, WSFrame, WSListener, WSLoop, WSLoopConfig, WSResult, WSServerConfig,
    WSTransport, WSUpgradeRequest, ws_connect, ws_create_server,
};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// The closes are spread over this time, so that the clients do not all come back at once.
const OVER: Duration = Duration::from_secs(1);

/// Who is still there after this time is cut off.
const DEADLINE: Duration = Duration::from_secs(2);

/// The server's end: nothing to do here but to exist.
struct Idle;

impl WSListener for Idle {
    fn on_ws_frame(&mut self, _: &WSTransport, _: &mut WSFrame<'_>) -> WSResult {
        Ok(())
    }
}

/// The client's end: tells how it was sent away.
struct Client {
    number: usize,
    born: Instant,
}

impl WSListener for Client {
    fn on_ws_frame(&mut self, _: &WSTransport, _: &mut WSFrame<'_>) -> WSResult {
        Ok(())
    }

    fn on_ws_disconnected(&mut self, transport: &WSTransport) {
        let Some(info) = transport.disconnect_info() else { return };
        let at = self.born.elapsed().as_millis();
        println!("{at:>5} ms  client {}: {} ({}), {:?}", self.number, info.code, info.reason, info.cause);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut event_loop = WSLoop::new(WSLoopConfig::default())?;
    let handle = event_loop.handle();
    let factory = |_: &WSUpgradeRequest| Idle;
    let server = ws_create_server(&handle, factory, "127.0.0.1:0", WSServerConfig::default())?;
    let url = format!("ws://{}/", server.local_addr());

    let born = Instant::now();
    for number in 0..10 {
        // With auto-close off a client has to answer by itself, and client 4 does not.
        let config = WSConnectConfig::default().enable_auto_close(number != 4);
        event_loop.block_on(ws_connect(&handle, Client { number, born }, &url, config))??;
    }
    println!("{} clients are connected to {url}; shutting down in 2 s, or on ctrl-C", server.connections());

    let remote = handle.remote();
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::spawn(move || {
        signals.forever().next();
        remote.stop();
    });
    let stop = handle.clone();
    handle.call_later(Duration::from_secs(2), move || stop.stop()).detach();
    event_loop.run()?;

    println!("{:>5} ms  server: going away", born.elapsed().as_millis());
    let shutdown = server.shutdown(WSCloseCode::GOING_AWAY, "restarting", OVER, DEADLINE);
    let aborted = event_loop.block_on(shutdown)?;
    // The end of the one that was cut off is on its way to its client.
    event_loop.block_on(handle.sleep(Duration::from_millis(100)))?;
    println!("{:>5} ms  server: done, {aborted} connection had to be aborted", born.elapsed().as_millis());
    Ok(())
}
