//! One server on several cores: what threads share, what they do not, and how they hear of each other.
//!
//! ```text
//! echo_server_threaded [--addr 127.0.0.1:9001] [--threads N] [--pin] [--round-robin] [--secs S]
//! ```
//!
//! Echoes whatever comes, and once a second sends the number of connections on all threads to everybody. Ends on SIGINT or SIGTERM,
//! or after S seconds. Without `--threads` there are as many as the machine has cores.

use std::cell::RefCell;
use std::error::Error;
use std::rc::Rc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use femtows::{
    WSCloseCode, WSLoopHandle, WSMessage, WSMessageAdapter, WSMessageListener, WSMsgType, WSPerCoreConfig,
    WSPreparedMessage, WSResult, WSServerConfig, WSServerThreads, WSSpread, WSTransport, WSUpgradeRequest,
    ws_serve_per_core,
};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

#[path = "support/args.rs"]
mod args;

use args::Args;

const USAGE: &str =
    "echo_server_threaded [--addr 127.0.0.1:9001] [--threads N] [--pin] [--round-robin] [--secs S]";

thread_local! {
    /// The connections of this thread. No lock: nobody else sees them.
    static HERE: Rc<RefCell<Vec<WSTransport>>> = Rc::default();
}

struct Echo {
    here: Rc<RefCell<Vec<WSTransport>>>,
}

impl WSMessageListener for Echo {
    fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
        self.here.borrow_mut().push(transport.clone());
        Ok(())
    }

    fn on_ws_message(&mut self, transport: &WSTransport, message: WSMessage<'_>) -> WSResult {
        transport.send(message.msg_type(), message);
        Ok(())
    }

    fn on_ws_disconnected(&mut self, transport: &WSTransport) {
        self.here.borrow_mut().retain(|other| other != transport);
    }
}

/// Runs once on each thread; what it returns stays there, and so need not be `Send`.
fn make_factory(_: &WSLoopHandle) -> impl FnMut(&WSUpgradeRequest) -> WSMessageAdapter<Echo> + use<> {
    let here = HERE.with(Rc::clone);
    move |_| WSMessageAdapter::new(Echo { here: Rc::clone(&here) })
}

/// Sends to every connection on every thread; the message is encoded once.
fn tell_all(server: &WSServerThreads, text: &str) {
    let message = WSPreparedMessage::new(WSMsgType::Text, text);
    let posted = server.post_each(move |_| {
        for transport in HERE.with(Rc::clone).borrow().iter() {
            transport.send_prepared(&message);
        }
    });
    if let Err(error) = posted {
        eprintln!("not sent on all threads: {error}");
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = Args::parse(USAGE);
    let addr = args.value("--addr").unwrap_or_else(|| "127.0.0.1:9001".into());
    let threads = args.number("--threads").unwrap_or(0);
    let pin = args.flag("--pin");
    let spread = if args.flag("--round-robin") { WSSpread::RoundRobin } else { WSSpread::default() };
    let end = args.number("--secs").map(|secs| Instant::now() + Duration::from_secs(secs));
    args.finish();

    let (tell, signalled) = channel();
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::spawn(move || signals.forever().next().map(|signal| tell.send(signal)));

    let threads = WSPerCoreConfig::default().threads(threads).pin(pin).spread(spread);
    let config = WSServerConfig::default().pause_reading_on_backlog(true);
    let server = ws_serve_per_core(make_factory, addr.as_str(), config, threads)?;
    println!("listening on ws://{} with {} threads", server.local_addr(), server.threads());

    while signalled.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout)
        && end.is_none_or(|end| Instant::now() < end)
    {
        let by_thread: Vec<usize> = server.connections_by_thread().collect();
        let text = format!("{} connections: {by_thread:?}", server.connections());
        println!("{text}");
        tell_all(&server, &text);
    }
    server.shutdown(WSCloseCode::GOING_AWAY, "bye", Duration::from_millis(500), Duration::from_secs(2));
    println!("{} connections had to be aborted", server.join()?);
    Ok(())
}
