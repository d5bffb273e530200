//! An echo server.
//!
//! ```text
//! echo_server [--addr 127.0.0.1:9001] [--threads 1] [--api messages|frames|async] [--validate-utf8] [--spin MICROS]
//!             [--max-frame BYTES] [--max-message BYTES] [--deadline-ms 5000] [--deflate | --deflate-context]
//!             [--tls-cert FILE --tls-key FILE]
//! ```
//!
//! Prints `listening on ws://ADDR` once it accepts, or `wss://ADDR` with certificate and key, which
//! are PEM files (feature `tls`). SIGINT and SIGTERM close every connection with 1001 and end it.
//! Both an opening handshake and the closing of all connections may take until the deadline; slower
//! peers are cut off. With several threads each has a loop of its own, and the kernel spreads
//! the connections. A peer that sends without reading is not read on while more than the high
//! watermark waits for it. `--deflate` accepts compression (feature `deflate`) of each message by
//! itself, `--deflate-context` with reference to earlier ones.

use std::error::Error;
use std::time::Duration;

use femtows::message::{WebSocketConfig, WebSocketFactory, websocket_factory};
use femtows::{
    WSCloseCode, WSIntoUpgrade, WSLimits, WSLoopConfig, WSLoopHandle, WSMessageAdapter, WSPerCoreConfig,
    WSServerConfig, ws_serve_per_core,
};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

#[path = "support/args.rs"]
mod args;
#[path = "support/deflate.rs"]
mod deflate;
#[path = "support/echo.rs"]
mod echo;

use args::Args;
use deflate::Deflate;
use echo::{EchoFrames, EchoMessages, echo_websocket};

const USAGE: &str = "echo_server [--addr 127.0.0.1:9001] [--threads 1] [--api messages|frames|async] [--validate-utf8] \
                     [--spin MICROS] [--max-frame BYTES] [--max-message BYTES] [--deadline-ms 5000] \
                     [--deflate | --deflate-context] [--tls-cert FILE --tls-key FILE]";

#[derive(Clone, Copy)]
enum Api {
    Frames,
    Messages,
    Async,
}

impl Api {
    fn factory(self, config: WebSocketConfig) -> WebSocketFactory {
        match self {
            Self::Frames => Box::new(|_| EchoFrames.into_upgrade()),
            Self::Messages => Box::new(|_| WSMessageAdapter::new(EchoMessages).into_upgrade()),
            Self::Async => websocket_factory(echo_websocket, config),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = Args::parse(USAGE);
    let addr = args.value("--addr").unwrap_or_else(|| "127.0.0.1:9001".into());
    let threads = args.number("--threads").unwrap_or(1);
    let api = match args.value("--api").as_deref() {
        None | Some("messages") => Api::Messages,
        Some("frames") => Api::Frames,
        Some("async") => Api::Async,
        Some(other) => args.fail(&format!("unknown api {other:?}")),
    };
    let validate_utf8 = args.flag("--validate-utf8");
    let spin = args.number("--spin").map(Duration::from_micros);
    let max_frame = args.number("--max-frame").unwrap_or(16 << 20);
    let max_message = args.number("--max-message").unwrap_or(16 << 20);
    let deadline = Duration::from_millis(args.number("--deadline-ms").unwrap_or(5_000));
    let deflate = Deflate::parse(&mut args);
    let tls = (args.value("--tls-cert"), args.value("--tls-key"));
    args.finish();

    let limits = WSLimits::default()
        .max_frame_size(max_frame)
        .max_message_size(max_message)
        .max_outbound(4 * max_frame.max(max_message));
    let config = WSServerConfig::default()
        .limits(limits)
        .validate_utf8(validate_utf8)
        .pause_reading_on_backlog(true)
        .handshake_timeout(Some(deadline));
    let config = deflate.serving(config);
    let (scheme, config) = match tls {
        (None, None) => ("ws", config),
        (Some(chain), Some(key)) => ("wss", with_tls(config, &chain, &key)?),
        _ => return Err("--tls-cert and --tls-key belong together".into()),
    };
    let threads = WSPerCoreConfig::default().threads(threads).loop_config(WSLoopConfig::default().spin(spin));
    // Its limits and deadlines are those of `config`.
    let websockets = WebSocketConfig::default()
        .max_message_size(max_message)
        .connect_timeout(Some(deadline))
        .disconnect_timeout(deadline)
        .server(config.clone());
    let make_factory = move |_: &WSLoopHandle| api.factory(websockets.clone());
    // Before the first thread: from here on these signals wait for us.
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let server = ws_serve_per_core(make_factory, addr.as_str(), config, threads)?;
    println!("listening on {scheme}://{}", server.local_addr());

    signals.forever().next();
    server.shutdown(WSCloseCode::GOING_AWAY, "server shutdown", Duration::ZERO, deadline);
    server.join()?;
    Ok(())
}

#[cfg(feature = "tls")]
fn with_tls(config: WSServerConfig, chain: &str, key: &str) -> Result<WSServerConfig, Box<dyn Error>> {
    Ok(config.tls(femtows::WSServerTls::from_pem_files(chain, key)?))
}

#[cfg(not(feature = "tls"))]
fn with_tls(_: WSServerConfig, _: &str, _: &str) -> Result<WSServerConfig, Box<dyn Error>> {
    Err("TLS needs the feature `tls`".into())
}
