//! An application on tokio, and a loop of femtows in a thread of its own, with channels between them.
//!
//! ```text
//! cargo run --example tokio_bridge
//! ```
//!
//! Both directions are bounded. A task on tokio that is slow to take messages fills the channel; then the task of the connection waits,
//! the connection stops reading, and the peer feels it. A connection that is slow to send fills the other channel, and the task on tokio
//! waits. tokio's channels need no runtime of tokio: a task of the loop may await them like any other future.

use std::error::Error;
use std::thread;
use std::time::Duration;

use femtows::message::{
    HandlerError, Message, WebSocket, WebSocketConfig, WebSocketError, connect_websocket_url, serve_websocket,
};
use femtows::{WSLoop, WSLoopConfig, WSLoopHandle, WSServer};
use tokio::sync::{mpsc, oneshot};

/// How many messages may wait in each direction.
const CAPACITY: usize = 8;

/// All of it takes a moment; this is for the day when it does not.
const PATIENCE: Duration = Duration::from_secs(30);

type BridgeError = Box<dyn Error + Send + Sync>;

// --- the side of tokio ---------------------------------------------------------------------------------------------------

/// A connection as tasks of tokio see it: two channels, and a thread that ends when they do.
struct Bridge {
    outgoing: mpsc::Sender<Message>,
    incoming: mpsc::Receiver<Message>,
    ended: oneshot::Receiver<Result<(), BridgeError>>,
}

impl Bridge {
    /// Connects to `url` in a thread of its own.
    fn connect(url: String) -> Self {
        let (outgoing, to_send) = mpsc::channel(CAPACITY);
        let (received, incoming) = mpsc::channel(CAPACITY);
        let (end, ended) = oneshot::channel();
        thread::spawn(move || {
            // Nobody has to be there to hear how it ended.
            let _ = end.send(run_client(&url, to_send, received));
        });
        Self { outgoing, incoming, ended }
    }

    /// Sends nothing more and waits for the end of the connection and its thread's work.
    async fn close(self) -> Result<(), BridgeError> {
        drop(self.outgoing);
        self.ended.await?
    }
}

/// Sends numbers and takes them back, ten times as many as may wait on the way.
async fn talk(url: String) -> Result<(), BridgeError> {
    let mut bridge = Bridge::connect(url);
    let outgoing = bridge.outgoing.clone();
    let count = 10 * CAPACITY;
    let sender = tokio::spawn(async move {
        for number in 0..count {
            // Waits while the channel is full.
            outgoing.send(Message::from(number.to_string())).await?;
        }
        Ok::<_, mpsc::error::SendError<Message>>(())
    });
    for number in 0..count {
        let message = bridge.incoming.recv().await.ok_or("the connection was closed")?;
        assert_eq!(message, Message::from(format!("echo {number}")));
    }
    sender.await??;
    println!("{count} messages have been there and back");
    bridge.close().await?;
    println!("the connection is closed, and its loop has ended");
    Ok(())
}

// --- the side of the loop ------------------------------------------------------------------------------------------------

/// The work of the thread: one loop, one connection, until there is nothing more to send or the server closes.
fn run_client(
    url: &str,
    to_send: mpsc::Receiver<Message>,
    received: mpsc::Sender<Message>,
) -> Result<(), BridgeError> {
    let mut event_loop = WSLoop::new(WSLoopConfig::default())?;
    let handle = event_loop.handle();
    event_loop.block_on(async move {
        let ws = connect_websocket_url(&handle, url, WebSocketConfig::default()).await?;
        let receiving = handle.spawn(receive(ws.clone(), received));
        send(&ws, to_send).await?;
        ws.aclose(1000, "").await?;
        receiving.await
    })??;
    Ok(())
}

/// From the channel to the connection, until all senders of the channel are gone.
async fn send(ws: &WebSocket, mut to_send: mpsc::Receiver<Message>) -> Result<(), WebSocketError> {
    while let Some(message) = to_send.recv().await {
        // Waits while the peer is slow to take what was sent.
        ws.send(message).await?;
    }
    Ok(())
}

/// From the connection to the channel, until either is closed.
async fn receive(ws: WebSocket, received: mpsc::Sender<Message>) -> Result<(), WebSocketError> {
    while let Some(message) = ws.recv().await? {
        // Waits while the channel is full. Meanwhile the connection's own queue fills, and then it stops reading.
        if received.send(message).await.is_err() {
            break;
        }
    }
    Ok(())
}

// --- both in one process -------------------------------------------------------------------------------------------------

async fn echo(ws: WebSocket) -> Result<(), HandlerError> {
    ws.accept().await?;
    loop {
        let text = ws.receive_text().await?;
        ws.send_text(format!("echo {text}")).await?;
    }
}

fn serve(handle: &WSLoopHandle) -> Result<WSServer, BridgeError> {
    Ok(serve_websocket(handle, echo, "127.0.0.1:0", WebSocketConfig::default())?)
}

fn main() -> Result<(), BridgeError> {
    let mut event_loop = WSLoop::new(WSLoopConfig::default())?;
    let handle = event_loop.handle();
    let server = serve(&handle)?;
    let url = format!("ws://{}/", server.local_addr());

    let (through, application) = oneshot::channel();
    thread::spawn(move || through.send(run_application(url)));
    event_loop.block_on(handle.timeout(PATIENCE, application))???
}

fn run_application(url: String) -> Result<(), BridgeError> {
    tokio::runtime::Builder::new_current_thread().build()?.block_on(talk(url))
}
