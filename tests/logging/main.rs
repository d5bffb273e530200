//! Log lines that peers can trigger.
//!
//! The log belongs to the process, so each test has it for itself.

#[cfg(feature = "tls")]
#[path = "../tls/authority.rs"]
#[allow(dead_code, reason = "shared with the tests of TLS, which use all of it")]
mod authority;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "shared with other test targets, each of which uses a part")]
mod support;

use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use femtows::message::{HandlerError, WebSocket, WebSocketConfig, WebSocketRequest, serve_websocket};
use femtows::{
    WSConnectConfig, WSDisconnectCause, WSError, WSLoopConfig, WSMessage, WSMessageAdapter,
    WSMessageListener, WSResult, WSServerConfig, WSTransport, WSUpgradeRequest,
};
use log::{Level, LevelFilter, Log, Metadata, Record};

use support::eventually;
use support::peer::{Peer, PeerServer, status, upgrade_request};
use support::probe::{Probe, log};
use support::running::{LoopThread, Server, connect, serve, serve_on};
use support::wire::Frame;

/// Keeps the lines of this crate, and of the one that speaks TLS for it.
struct Recorder;

static RECORDER: Recorder = Recorder;
static LINES: Mutex<Vec<(Level, String)>> = Mutex::new(Vec::new());
static PROCESS: Mutex<()> = Mutex::new(());

impl Log for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        ["femtows", "rustls"].iter().any(|of| metadata.target().starts_with(of))
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            lines().push((record.level(), record.args().to_string()));
        }
    }

    fn flush(&self) {}
}

fn lines() -> MutexGuard<'static, Vec<(Level, String)>> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reserves the log until this is dropped.
fn own_log() -> MutexGuard<'static, ()> {
    static INSTALLED: Once = Once::new();
    let process = PROCESS.lock().unwrap_or_else(PoisonError::into_inner);
    INSTALLED.call_once(|| {
        log::set_logger(&RECORDER).unwrap();
        log::set_max_level(LevelFilter::Debug);
    });
    lines().clear();
    process
}

/// Returns the lines above debug.
fn loud() -> Vec<String> {
    let is_loud = |line: &&(Level, String)| line.0 < Level::Debug;
    lines().iter().filter(is_loud).map(|(level, line)| format!("{level} {line}")).collect()
}

/// Returns the debug line about the end of a connection.
fn end() -> String {
    let found = || {
        let lines = lines();
        lines.iter().map(|(_, line)| line).find(|line| line.contains("disconnected by")).cloned()
    };
    eventually("the line about the end", || found().is_some());
    found().unwrap()
}

// --- errors of the peer ---

struct Echo;

impl WSMessageListener for Echo {
    fn on_ws_message(&mut self, transport: &WSTransport, message: WSMessage<'_>) -> WSResult {
        transport.send(message.msg_type(), message);
        Ok(())
    }
}

fn server_config() -> WSServerConfig {
    let config = WSServerConfig::default();
    #[cfg(feature = "deflate")]
    let config = config.deflate(femtows::WSDeflateConfig::default());
    config
}

fn callback_server() -> Server {
    serve(server_config(), |_: &WSUpgradeRequest| WSMessageAdapter::new(Echo))
}

async fn echo(request: WebSocketRequest) -> Result<(), HandlerError> {
    let websocket = request.accept().await?;
    loop {
        websocket.send_message(websocket.get_message().await?).await?;
    }
}

fn task_server() -> Server {
    let on = LoopThread::start(WSLoopConfig::default());
    let addr = on.ask(|handle| {
        let config = WebSocketConfig::default().server(server_config());
        serve_websocket(handle, echo, "127.0.0.1:0", config).unwrap().local_addr()
    });
    Server { addr, on }
}

fn open(addr: SocketAddr) -> Peer {
    let mut peer = Peer::connect_tcp(addr);
    let head = peer.ask(&upgrade_request("/", "Sec-WebSocket-Extensions: permessage-deflate\r\n"));
    assert_eq!(status(&head), 101, "{head}");
    peer
}

/// Sends a frame that the server closes for; returns its line about the end and those above debug.
fn rejected(server: &Server, frame: &Frame) -> (String, Vec<String>) {
    let mut peer = open(server.addr);
    peer.send(frame);
    assert_eq!(peer.read_frame().close_code(), Some(1007));
    peer.expect_eof();
    drop(peer);
    (end(), loud())
}

fn is_the_peers_error(line: &str) -> bool {
    line.contains("protocol error of the peer, 1007")
}

#[test]
fn invalid_utf8_is_an_error_of_the_peer_logged_at_debug() {
    let _log = own_log();
    let (end, loud) = rejected(&callback_server(), &Frame::text(b"\xff"));
    assert!(is_the_peers_error(&end), "{end}");
    assert_eq!(loud, [""; 0]);
}

#[test]
fn invalid_utf8_for_a_task_is_an_error_of_the_peer_logged_at_debug() {
    let _log = own_log();
    let (end, loud) = rejected(&task_server(), &Frame::text(b"\xff"));
    assert!(is_the_peers_error(&end), "{end}");
    assert_eq!(loud, [""; 0]);
}

#[cfg(feature = "deflate")]
#[test]
fn corrupt_compressed_data_are_an_error_of_the_peer_logged_at_debug() {
    let _log = own_log();
    let (end, loud) = rejected(&callback_server(), &Frame::text([0xff; 9]).bits(true, 4));
    assert!(is_the_peers_error(&end), "{end}");
    assert_eq!(loud, [""; 0]);
}

#[cfg(feature = "deflate")]
#[test]
fn corrupt_compressed_data_for_a_task_are_an_error_of_the_peer_logged_at_debug() {
    let _log = own_log();
    let (end, loud) = rejected(&task_server(), &Frame::text([0xff; 9]).bits(true, 4));
    assert!(is_the_peers_error(&end), "{end}");
    assert_eq!(loud, [""; 0]);
}

#[test]
fn a_protocol_error_that_a_listener_returns_is_logged_at_debug() {
    let _log = own_log();
    let (events_log, events) = log();
    let server = serve(WSServerConfig::default(), move |_: &WSUpgradeRequest| {
        Probe::new(&events_log).on_frame(|_, frame| Ok(frame.payload_as_utf8().map(drop)?))
    });
    let (_, loud) = rejected(&server, &Frame::text(b"\xff"));
    assert_eq!(events.until_disconnected().cause, WSDisconnectCause::ListenerError);
    assert_eq!(loud, [""; 0]);
}

#[test]
fn a_client_gets_a_protocol_error_for_invalid_utf8_of_its_server() {
    let _log = own_log();
    let server = PeerServer::bind();
    let listener = WSMessageAdapter::new(Echo);
    let client = connect(&server.url("/"), WSConnectConfig::default(), listener);
    let mut peer = server.accept();
    client.opened().unwrap();
    peer.send(&Frame::text(b"\xff"));
    assert_eq!(peer.read_frame().close_code(), Some(1007));
    drop(peer);
    let error = client.ended().unwrap_err();
    assert!(matches!(error, WSError::Protocol(_)), "{error:?}");
}

struct PanicsAtTheEnd;

impl WSMessageListener for PanicsAtTheEnd {
    fn on_ws_message(&mut self, _: &WSTransport, _: WSMessage<'_>) -> WSResult {
        Ok(())
    }

    fn on_ws_disconnected(&mut self, _: &WSTransport) {
        panic!("at the end");
    }
}

/// `wait_disconnected` returns the first error only.
#[test]
fn a_clients_panic_behind_another_error_is_logged() {
    let _log = own_log();
    let server = PeerServer::bind();
    let listener = WSMessageAdapter::new(PanicsAtTheEnd);
    let client = connect(&server.url("/"), WSConnectConfig::default(), listener);
    let mut peer = server.accept();
    client.opened().unwrap();
    peer.send(&Frame::text(b"\xff"));
    assert_eq!(peer.read_frame().close_code(), Some(1007));
    drop(peer);
    assert!(matches!(client.ended(), Err(WSError::Protocol(_))));
    assert!(loud().iter().any(|line| line.contains("at the end")), "{:?}", loud());
}

/// Alerts before the handshake need no key; rustls passes over the first four.
#[cfg(feature = "tls")]
#[test]
fn alerts_of_a_tls_peer_are_not_logged_above_debug() {
    const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 1, 0, 2, 1, 112];
    let _log = own_log();
    let tls = authority::Authority::new().issue(&["localhost"]).server();
    let server = serve(server_config().tls(tls), |_: &WSUpgradeRequest| WSMessageAdapter::new(Echo));
    for _ in 0..3 {
        let mut peer = Peer::connect_tcp(server.addr);
        peer.write(&UNRECOGNIZED_NAME.repeat(4));
        // No record: the answer shows that all before it was read.
        peer.write(b"GET / HTTP/1.1\r\n\r\n");
        peer.read_to_eof();
    }
    assert_eq!(loud(), [""; 0]);
}

// --- failures of the application ---

/// Triggers failures that are logged with `what`. Checks that there is one line per second, and
/// that all failures are counted.
fn lines_are_limited(what: &str, mut fail: impl FnMut()) {
    const TIMES: u64 = 40;
    let begin = Instant::now();
    for _ in 0..TIMES {
        fail();
    }
    let seconds = begin.elapsed().as_secs();
    // The next line carries the count.
    thread::sleep(Duration::from_millis(1100));
    fail();
    let lines = || -> Vec<_> { loud().into_iter().filter(|line| line.contains(what)).collect() };
    let left_out = |line: &String| {
        let (_, count) = line.split_once("(and ")?;
        count.split_once(" more like it")?.0.parse::<u64>().ok()
    };
    // A listener or a handler may end after its peer has seen the end.
    eventually("a line or a count for each failure", || {
        let lines = lines();
        lines.len() as u64 + lines.iter().filter_map(left_out).sum::<u64>() == TIMES + 1
    });
    let lines = lines().len() as u64;
    assert!(lines <= seconds + 3, "{lines} lines in {seconds} seconds");
}

#[test]
fn failures_of_a_listener_are_one_error_line_per_second() {
    let _log = own_log();
    let server = serve(WSServerConfig::default(), |_: &WSUpgradeRequest| {
        Probe::new(&log().0).on_frame(|_, _| Err("no such thing".into()))
    });
    lines_are_limited("the listener failed: no such thing", || {
        let mut peer = Peer::connect(server.addr);
        peer.send(&Frame::text("fail"));
        assert_eq!(peer.read_frame().close_code(), Some(1011));
    });
}

#[test]
fn failures_for_each_message_are_one_error_line_per_second() {
    let _log = own_log();
    let config = WSServerConfig::default().disconnect_on_error(false);
    let server = serve(config, |_: &WSUpgradeRequest| {
        Probe::new(&log().0).on_frame(|_, _| Err("no such thing".into()))
    });
    let mut peer = Peer::connect(server.addr);
    lines_are_limited("on_ws_frame failed: no such thing", || {
        peer.send_and_sync(&[Frame::text("fail")]);
    });
}

#[test]
fn a_slow_callback_is_one_warning_per_connection() {
    let _log = own_log();
    let slow = |limit: Option<Duration>| {
        let loops = WSLoopConfig::default().slow_callback(limit);
        let server = serve_on(loops, WSServerConfig::default(), |_: &WSUpgradeRequest| {
            Probe::new(&log().0).on_frame(|_, frame| {
                if frame.payload() == b"slow" {
                    thread::sleep(Duration::from_millis(30));
                }
                Ok(())
            })
        });
        let mut peer = Peer::connect(server.addr);
        let texts = ["quick", "slow", "slow"].map(Frame::text);
        peer.send_and_sync(&texts);
        peer.send_and_sync(&texts);
        (server.on.ask_transport(0, WSTransport::id), loud())
    };
    assert_eq!(slow(None).1, <[&str; 0]>::default());
    let (id, lines) = slow(Some(Duration::from_millis(20)));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].starts_with(&format!("WARN connection {id}: a callback blocked the loop for ")),
        "{lines:?}"
    );
}

#[test]
fn failures_of_a_factory_are_one_error_line_per_second() {
    let _log = own_log();
    let server = serve(WSServerConfig::default(), |_: &WSUpgradeRequest| {
        Err::<Probe, _>(Box::<dyn Error + Send + Sync>::from("out of order"))
    });
    lines_are_limited("the listener factory failed: out of order", || {
        let head = Peer::connect_tcp(server.addr).ask(&upgrade_request("/", ""));
        assert_eq!(status(&head), 500);
    });
}

#[test]
fn panics_of_a_factory_are_one_error_line_per_second() {
    let _log = own_log();
    let server = serve(WSServerConfig::default(), |_: &WSUpgradeRequest| -> Probe { panic!("out of order") });
    lines_are_limited("the listener factory failed: panic: out of order", || {
        let head = Peer::connect_tcp(server.addr).ask(&upgrade_request("/", ""));
        assert_eq!(status(&head), 500);
    });
}

#[test]
fn failures_of_a_handler_are_one_error_line_per_second() {
    let _log = own_log();
    let on = LoopThread::start(WSLoopConfig::default());
    let handler = async |websocket: WebSocket| -> Result<(), HandlerError> {
        websocket.accept().await?;
        Err("no such thing".into())
    };
    let addr = on.ask(move |handle| {
        serve_websocket(handle, handler, "127.0.0.1:0", WebSocketConfig::default()).unwrap().local_addr()
    });
    lines_are_limited("a handler failed: no such thing", || {
        assert_eq!(Peer::connect(addr).read_frame().close_code(), Some(1011));
    });
}
