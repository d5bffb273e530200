//! An echo server.
//!
//! ```text
//! echo_server [--addr 127.0.0.1:9001] [--api frames|messages] [--validate-utf8] [--spin MICROS]
//!             [--max-frame BYTES] [--max-message BYTES]
//! ```
//!
//! Prints `listening on ws://ADDR` once it accepts. SIGINT and SIGTERM close every connection with 1001 and end it.

use std::error::Error;
use std::time::Duration;

use femtows::{
    WSCloseCode, WSIntoUpgrade, WSLimits, WSLoop, WSLoopConfig, WSMessageAdapter, WSServerConfig,
    WSUpgradeOutcome, WSUpgradeRequest, ws_create_server,
};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

#[path = "support/args.rs"]
mod args;
#[path = "support/echo.rs"]
mod echo;

use args::Args;
use echo::{EchoFrames, EchoMessages};

const USAGE: &str = "echo_server [--addr 127.0.0.1:9001] [--api frames|messages] [--validate-utf8] [--spin MICROS] \
                     [--max-frame BYTES] [--max-message BYTES]";

#[derive(Clone, Copy)]
enum Api {
    Frames,
    Messages,
}

impl Api {
    fn listener(self) -> WSUpgradeOutcome {
        match self {
            Self::Frames => EchoFrames.into_upgrade(),
            Self::Messages => WSMessageAdapter::new(EchoMessages).into_upgrade(),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = Args::parse(USAGE);
    let addr = args.value("--addr").unwrap_or_else(|| "127.0.0.1:9001".into());
    let api = match args.value("--api").as_deref() {
        None | Some("frames") => Api::Frames,
        Some("messages") => Api::Messages,
        Some(other) => args.fail(&format!("unknown api {other:?}")),
    };
    let validate_utf8 = args.flag("--validate-utf8");
    let spin = Duration::from_micros(args.number("--spin").unwrap_or(0));
    let max_frame = args.number("--max-frame").unwrap_or(16 << 20);
    let max_message = args.number("--max-message").unwrap_or(16 << 20);
    args.finish();

    let limits = WSLimits::default()
        .max_frame_size(max_frame)
        .max_message_size(max_message)
        .max_outbound(4 * max_frame.max(max_message));
    let config = WSServerConfig::default().limits(limits).validate_utf8(validate_utf8);
    let mut event_loop = WSLoop::new(WSLoopConfig::default().spin(spin))?;
    let factory = move |_: &WSUpgradeRequest| api.listener();
    let server = ws_create_server(&event_loop.handle(), factory, addr.as_str(), config)?;
    println!("listening on ws://{}", server.local_addr());

    let remote = event_loop.handle().remote();
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::spawn(move || {
        signals.forever().next();
        remote.stop();
    });
    event_loop.run()?;
    event_loop.shutdown(WSCloseCode::GOING_AWAY, "server shutdown", Duration::from_secs(5))?;
    Ok(())
}
