//! Talking to a loop from another thread: calls through `WSLoopRemote`, messages through `WSRemote`.
//!
//! ```text
//! cargo run --example cross_thread
//! ```
//!
//! A loop and all that lives on it stay on one thread, without locks. A worker thread never touches them: it posts.

use std::error::Error;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use femtows::{
    WSCloseCode, WSConnectConfig, WSFrame, WSListener, WSLoop, WSLoopConfig, WSLoopRemote, WSMsgType,
    WSPreparedMessage, WSRemote, WSResult, WSServerConfig, WSTransport, WSUpgradeRequest, ws_connect,
    ws_create_server,
};

type AnyError = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), AnyError> {
    let mut event_loop = WSLoop::new(WSLoopConfig::default())?;
    let handle = event_loop.handle();
    say("the loop runs here");

    let (sender, connections) = mpsc::channel();
    let factory = move |_: &WSUpgradeRequest| Feed(sender.clone());
    let server = ws_create_server(&handle, factory, "127.0.0.1:0", WSServerConfig::default())?;
    let url = format!("ws://{}/", server.local_addr());
    for name in ["ann", "bob"] {
        event_loop.block_on(ws_connect(&handle, Client(name), &url, WSConnectConfig::default()))??;
    }

    let remote = handle.remote();
    let worker = thread::Builder::new().name("worker".into()).spawn(move || work(&remote, &connections))?;
    event_loop.run()?;
    say("the loop was told to stop");
    worker.join().map_err(|_| "the worker panicked")??;

    let remote = handle.remote();
    drop(event_loop);
    if let Err(error) = remote.post(|_| say("this is never said")) {
        say(&format!("posting now is refused: {error}"));
    }
    Ok(())
}

/// What the worker does: it knows connections by their handles for other threads, which are `Send` and `Sync`.
fn work(remote: &WSLoopRemote, connections: &Receiver<WSRemote>) -> Result<(), AnyError> {
    let (first, second) = (connections.recv()?, connections.recv()?);
    say(&format!("has connections {:#x} and {:#x}", first.id(), second.id()));

    let (reply, answer) = mpsc::channel();
    remote.post(move |handle| {
        say("runs a call from the worker");
        // The worker waits for this; if it has given up, nobody is left to tell.
        let _ = reply.send(handle.slots());
    })?;
    say(&format!("the loop answers: {} sockets", answer.recv()?));

    first.send(WSMsgType::Text, "for one")?;
    let for_all = WSPreparedMessage::new(WSMsgType::Text, "for all, encoded once");
    first.send_prepared(&for_all)?;
    second.send_prepared(&for_all)?;

    first.close(WSCloseCode::OK, "that was all")?;
    wait_for_end(&first, connections)?;
    // Ids are never used again: this goes nowhere, and certainly not to another connection in the same place.
    first.send(WSMsgType::Text, "too late")?;
    say("has sent to a connection that is gone: no effect, no harm");

    second.close(WSCloseCode::OK, "that was all")?;
    wait_for_end(&second, connections)?;
    remote.stop();
    Ok(())
}

/// The server's end says once more who it is when it ends.
fn wait_for_end(connection: &WSRemote, ends: &Receiver<WSRemote>) -> Result<(), AnyError> {
    let ended = ends.recv()?;
    assert_eq!(ended.id(), connection.id(), "only this one was closed");
    say(&format!("knows that connection {:#x} has ended", ended.id()));
    Ok(())
}

/// The server's end: hands its remote to the worker, at the beginning and at the end.
struct Feed(Sender<WSRemote>);

impl WSListener for Feed {
    fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
        Ok(self.0.send(transport.remote())?)
    }

    fn on_ws_frame(&mut self, _: &WSTransport, _: &mut WSFrame<'_>) -> WSResult {
        Ok(())
    }

    fn on_ws_disconnected(&mut self, transport: &WSTransport) {
        // The worker may have gone before the connection.
        let _ = self.0.send(transport.remote());
    }
}

/// The client's end.
struct Client(&'static str);

impl WSListener for Client {
    fn on_ws_frame(&mut self, _: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        if frame.msg_type() == WSMsgType::Text {
            say(&format!("{} got {:?}", self.0, frame.payload_as_utf8()?));
        }
        Ok(())
    }
}

/// Prints a line, and which thread says so.
fn say(what: &str) {
    println!("[{:>6}] {what}", thread::current().name().unwrap_or("?"));
}
