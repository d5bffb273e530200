//! Drives the fuzzing server of the Autobahn test suite, as a client that echoes.
//!
//! ```text
//! autobahn_client URL AGENT [--api frames|messages]
//! ```

use std::cell::Cell;
use std::error::Error;
use std::rc::Rc;

use femtows::{
    WSConnectConfig, WSLimits, WSListener, WSLoop, WSLoopConfig, WSMessage, WSMessageAdapter,
    WSMessageListener, WSResult, WSTransport, ws_connect,
};

#[path = "support/args.rs"]
mod args;
#[path = "support/echo.rs"]
mod echo;

use args::Args;
use echo::{EchoFrames, EchoMessages};

/// Learns the number of cases.
struct CaseCount(Rc<Cell<usize>>);

impl WSMessageListener for CaseCount {
    fn on_ws_message(&mut self, _: &WSTransport, message: WSMessage<'_>) -> WSResult {
        if let WSMessage::Text(count) = message {
            self.0.set(count.parse()?);
        }
        Ok(())
    }
}

fn config() -> WSConnectConfig {
    let limits =
        WSLimits::default().max_frame_size(32 << 20).max_message_size(32 << 20).max_outbound(64 << 20);
    WSConnectConfig::default().limits(limits).validate_utf8(true)
}

/// Connects and stays until the server ends the connection.
fn visit(event_loop: &mut WSLoop, url: &str, listener: Box<dyn WSListener>) -> Result<(), Box<dyn Error>> {
    let handle = event_loop.handle();
    let transport = event_loop.block_on(ws_connect(&handle, listener, url, config()))??;
    // The peer's faults are what the suite is about: they are not ours.
    let _ = event_loop.block_on(transport.wait_disconnected())?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = Args::parse("autobahn_client URL AGENT [--api frames|messages]");
    let messages = match args.value("--api").as_deref() {
        None | Some("messages") => true,
        Some("frames") => false,
        Some(other) => args.fail(&format!("unknown api {other:?}")),
    };
    let url = args.positional("URL");
    let agent = args.positional("AGENT");
    args.finish();

    let mut event_loop = WSLoop::new(WSLoopConfig::default())?;
    let count = Rc::new(Cell::new(0));
    let counter = Box::new(WSMessageAdapter::new(CaseCount(Rc::clone(&count))));
    visit(&mut event_loop, &format!("{url}/getCaseCount"), counter)?;
    for case in 1..=count.get() {
        let listener: Box<dyn WSListener> =
            if messages { Box::new(WSMessageAdapter::new(EchoMessages)) } else { Box::new(EchoFrames) };
        visit(&mut event_loop, &format!("{url}/runCase?case={case}&agent={agent}"), listener)?;
    }
    visit(&mut event_loop, &format!("{url}/updateReports?agent={agent}"), Box::new(EchoFrames))?;
    println!("{} cases done", count.get());
    Ok(())
}
