//! Programs for trio-websocket, line by line: an echo server, a client that says hello, a heartbeat.
//!
//! ```text
//! cargo run --example from_trio
//! ```
//!
//! The Python line stands above the Rust lines that it becomes. What became of each name: docs/asyncapi.md.

use std::error::Error;
use std::time::Duration;

use femtows::message::{
    HandlerError, Message, WebSocket, WebSocketConfig, WebSocketError, WebSocketRequest, open_websocket,
    open_websocket_url, serve_websocket,
};
use femtows::{WSLoop, WSLoopConfig, WSLoopHandle};

/// All of it takes a moment; this is for the day when it does not.
const PATIENCE: Duration = Duration::from_secs(30);

// --- the echo server -----------------------------------------------------------------------------------------------------

// async def echo(request):
async fn echo(request: WebSocketRequest) -> Result<(), WebSocketError> {
    // ws = await request.accept()
    let ws = request.accept().await?;
    // while True:
    loop {
        // try: message = await ws.get_message()
        let message = match ws.get_message().await {
            Ok(message) => message,
            // except ConnectionClosed: break
            Err(WebSocketError::Closed(_)) => break,
            Err(error) => return Err(error),
        };
        // await ws.send_message(message)
        ws.send_message(message).await?;
    }
    Ok(())
}

/// The same as it would be written here: that the connection is closed is no failure of a handler, so `?` may end the loop.
async fn echo_in_short(request: WebSocketRequest) -> Result<(), HandlerError> {
    let ws = request.accept().await?;
    loop {
        ws.send_message(ws.get_message().await?).await?;
    }
}

// --- the client ----------------------------------------------------------------------------------------------------------

// async def hello(url):
async fn hello(handle: &WSLoopHandle, url: &str) -> Result<Message, WebSocketError> {
    // async with open_websocket_url(url) as ws:
    open_websocket_url(handle, url, WebSocketConfig::default(), async |ws| {
        // await ws.send_message("hello world!")
        ws.send_message("hello world!").await?;
        // message = await ws.get_message()
        let message = ws.get_message().await?;
        // print(f"received: {message}")
        println!("received: {message:?}");
        Ok(message)
    })
    .await?
    // The end of `async with`: the connection was closed with 1000, and TCP is closed.
}

// --- the heartbeat -------------------------------------------------------------------------------------------------------

// async def heartbeat(ws, timeout, interval):
async fn heartbeat(
    ws: WebSocket,
    handle: WSLoopHandle,
    timeout: Duration,
    interval: Duration,
) -> Result<(), HandlerError> {
    // while True:
    loop {
        // with trio.fail_after(timeout): await ws.ping()
        let took = handle.timeout(timeout, ws.ping(None)).await??;
        println!("the peer is alive, {took:?} away");
        // await trio.sleep(interval)
        handle.sleep(interval).await;
    }
}

// async def client_with_heartbeat(port):
async fn client_with_heartbeat(handle: &WSLoopHandle, port: u16) -> Result<Vec<Message>, WebSocketError> {
    let config = WebSocketConfig::default();
    // async with open_websocket("127.0.0.1", port, "/", use_ssl=False) as ws:
    open_websocket(handle, "127.0.0.1", port, "/", config, async |ws| {
        // async with trio.open_nursery() as nursery:
        // nursery.start_soon(heartbeat, ws, 5, 0.01)
        let beating = handle.spawn(heartbeat(
            ws.clone(),
            handle.clone(),
            Duration::from_secs(5),
            Duration::from_millis(10),
        ));
        let mut answers = Vec::new();
        // for text in ("1", "2"):
        for text in ["1", "2"] {
            // await ws.send_message(text)
            ws.send_message(text).await?;
            // answers.append(await ws.get_message())
            answers.push(ws.get_message().await?);
            // await trio.sleep(0.02)
            handle.sleep(Duration::from_millis(20)).await;
        }
        // nursery.cancel_scope.cancel()
        beating.cancel().await;
        // return answers
        Ok(answers)
    })
    .await?
}

// --- both ends in one process --------------------------------------------------------------------------------------------

fn main() -> Result<(), Box<dyn Error>> {
    let mut event_loop = WSLoop::new(WSLoopConfig::default())?;
    let handle = event_loop.handle();
    // await serve_websocket(echo, "127.0.0.1", 0, ssl_context=None)
    let server = serve_websocket(&handle, echo, "127.0.0.1:0", WebSocketConfig::default())?;
    let short = serve_websocket(&handle, echo_in_short, "127.0.0.1:0", WebSocketConfig::default())?;

    // trio.run(main)
    event_loop.block_on(handle.timeout(PATIENCE, async {
        for server in [&server, &short] {
            let url = format!("ws://{}/", server.local_addr());
            assert_eq!(hello(&handle, &url).await?, Message::from("hello world!"));
        }
        let answers = client_with_heartbeat(&handle, server.local_addr().port()).await?;
        assert_eq!(answers, [Message::from("1"), Message::from("2")]);
        Ok::<_, WebSocketError>(())
    }))???;
    println!("all came back as it was sent");
    Ok(())
}
