//! Drives the fuzzing server of the Autobahn test suite, as a client that echoes.
//!
//! ```text
//! autobahn_client URL AGENT [--api frames|messages|async] [--deflate | --deflate-context] [--tls-ca FILE | --insecure]
//! ```
//!
//! A `wss` URL needs the feature `tls`. `--tls-ca` trusts the authorities in a PEM file too; `--insecure` trusts anybody.

use std::cell::Cell;
use std::error::Error;
use std::rc::Rc;

use femtows::message::{WebSocketConfig, connect_websocket_url};
use femtows::{
    WSCloseCode, WSConnectConfig, WSLimits, WSListener, WSLoop, WSLoopConfig, WSMessage, WSMessageAdapter,
    WSMessageListener, WSResult, WSTransport, ws_connect,
};

#[path = "support/args.rs"]
mod args;
#[path = "support/deflate.rs"]
mod deflate;
#[path = "support/echo.rs"]
mod echo;
#[path = "support/trust.rs"]
mod trust;

use args::Args;
use deflate::Deflate;
use echo::{EchoFrames, EchoMessages, echo_websocket};
use trust::Trust;

const USAGE: &str = "autobahn_client URL AGENT [--api frames|messages|async] [--deflate | --deflate-context] \
                     [--tls-ca FILE | --insecure]";

/// Learns the number of cases.
struct CaseCount(Rc<Cell<usize>>);

impl WSMessageListener for CaseCount {
    fn on_ws_message(&mut self, _: &WSTransport, message: WSMessage<'_>) -> WSResult {
        if let Some(count) = message.as_text() {
            self.0.set(count.parse()?);
        }
        Ok(())
    }
}

/// Connects and stays until the server ends the connection.
fn visit(
    event_loop: &mut WSLoop,
    url: &str,
    listener: Box<dyn WSListener>,
    config: &WSConnectConfig,
) -> Result<(), Box<dyn Error>> {
    let handle = event_loop.handle();
    let transport = event_loop.block_on(ws_connect(&handle, listener, url, config.clone()))??;
    // The peer's faults are what the suite is about: they are not ours.
    let _ = event_loop.block_on(transport.wait_disconnected())?;
    Ok(())
}

/// The same, as a task that echoes.
fn visit_as_task(event_loop: &mut WSLoop, url: &str, config: &WSConnectConfig) -> Result<(), Box<dyn Error>> {
    let handle = event_loop.handle();
    let settings = WebSocketConfig::default().max_message_size(32 << 20).client(config.clone());
    let url = url.to_owned();
    // One task connects and echoes. It runs between two frames, which the future of `block_on` does
    // not, so that a message that comes with the response is answered before a fault behind it.
    let echo = event_loop.handle().spawn(async move {
        let ws = connect_websocket_url(&handle, &url, settings).await?;
        // As above.
        let _ = echo_websocket(ws.clone()).await;
        ws.aclose(WSCloseCode::OK, "").await
    });
    event_loop.block_on(echo)??;
    Ok(())
}

/// Echoes on one connection.
type Echo = fn(&mut WSLoop, &str, &WSConnectConfig) -> Result<(), Box<dyn Error>>;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = Args::parse(USAGE);
    let echo: Echo = match args.value("--api").as_deref() {
        None | Some("messages") => |event_loop, url, config| {
            visit(event_loop, url, Box::new(WSMessageAdapter::new(EchoMessages)), config)
        },
        Some("frames") => |event_loop, url, config| visit(event_loop, url, Box::new(EchoFrames), config),
        Some("async") => visit_as_task,
        Some(other) => args.fail(&format!("unknown api {other:?}")),
    };
    let trust = Trust::parse(&mut args);
    let deflate = Deflate::parse(&mut args);
    let url = args.positional("URL");
    let agent = args.positional("AGENT");
    args.finish();
    let limits =
        WSLimits::default().max_frame_size(32 << 20).max_message_size(32 << 20).max_outbound(64 << 20);
    let config = WSConnectConfig::default().limits(limits).validate_utf8(true).pause_reading_on_backlog(true);
    let config = trust.apply(deflate.connecting(config))?;

    let mut event_loop = WSLoop::new(WSLoopConfig::default())?;
    let count = Rc::new(Cell::new(0));
    let counter = Box::new(WSMessageAdapter::new(CaseCount(Rc::clone(&count))));
    visit(&mut event_loop, &format!("{url}/getCaseCount"), counter, &config)?;
    for case in 1..=count.get() {
        echo(&mut event_loop, &format!("{url}/runCase?case={case}&agent={agent}"), &config)?;
    }
    visit(&mut event_loop, &format!("{url}/updateReports?agent={agent}"), Box::new(EchoFrames), &config)?;
    println!("{} cases done", count.get());
    Ok(())
}
