//! Programs for the WebSocket class of Starlette and its relatives, line by line: receive and send, JSON, iterators, two tasks, events.
//!
//! ```text
//! cargo run --features json --example from_starlette
//! ```
//!
//! The Python line stands above the Rust lines that it becomes. What became of each name: docs/asyncapi.md.

use std::error::Error;
use std::time::Duration;

use femtows::message::{
    AcceptOptions, CloseReason, HandlerError, JsonMode, Message, ReceiveEvent, Routes, SendEvent, WebSocket,
    WebSocketConfig, WebSocketError, connect_websocket_url, serve_websocket,
};
use femtows::{WSCloseCode, WSLoop, WSLoopConfig, WSLoopHandle, WSUpgradeResponse};
use serde_json::{Value, json};

/// All of it takes a moment; this is for the day when it does not.
const PATIENCE: Duration = Duration::from_secs(30);

// --- receive and send ----------------------------------------------------------------------------------------------------

// @app.websocket("/once")
// async def once(socket: WebSocket):
async fn once(socket: WebSocket) -> Result<(), HandlerError> {
    // await socket.accept()
    socket.accept().await?;
    // data_json = await socket.receive_json()
    let data_json: Value = socket.receive_json(JsonMode::Text).await?;
    // data_text = await socket.receive_text()
    let data_text = socket.receive_text().await?;
    // data_bytes = await socket.receive_bytes()
    let data_bytes = socket.receive_bytes().await?;
    // await socket.send_json(data_json)
    socket.send_json(&data_json, JsonMode::Text).await?;
    // await socket.send_text(data_text)
    socket.send_text(data_text).await?;
    // await socket.send_bytes(data_bytes)
    socket.send_bytes(data_bytes).await?;
    // data = await socket.receive_json(mode="binary")
    let data: Value = socket.receive_json(JsonMode::Binary).await?;
    // await socket.send_json(data, mode="binary")
    socket.send_json(&data, JsonMode::Binary).await?;
    // await socket.close(1001, "Going Away")
    socket.close(1001, "Going Away")?;
    Ok(())
}

// --- iterators -----------------------------------------------------------------------------------------------------------

// @app.websocket("/echo/{name}")
// async def echo(socket: WebSocket):
async fn echo(socket: WebSocket) -> Result<(), HandlerError> {
    // await socket.accept(subprotocol="chat", headers=[(b"x-server", b"femtows")])
    socket.accept_with(AcceptOptions::new().subprotocol("chat").header("X-Server", "femtows")).await?;
    // name = socket.path_params["name"]
    let name = socket.path_parameter("name").unwrap_or_default().to_owned();
    // async for text in socket.iter_text():
    let mut texts = socket.iter_text();
    while let Some(text) = texts.next().await {
        // await socket.send_text(f"{name}: {text}")
        socket.send_text(format!("{name}: {}", text?)).await?;
    }
    // The client has closed: the loop is over, and so is the handler.
    Ok(())
}

// @app.websocket("/sum")
// async def sum_up(socket: WebSocket):
async fn sum_up(socket: WebSocket) -> Result<(), HandlerError> {
    // await socket.accept()
    socket.accept().await?;
    let mut sum = 0;
    // async for data in socket.iter_json():
    let mut numbers = socket.iter_json::<i64>(JsonMode::Text);
    while let Some(number) = numbers.next().await {
        // total += data
        sum += number?;
        // await socket.send_json({"total": total})
        socket.send_json(&json!({ "total": sum }), JsonMode::Text).await?;
    }
    Ok(())
}

// --- events --------------------------------------------------------------------------------------------------------------

// @app.websocket("/events")
// async def events(socket: WebSocket):
async fn events(socket: WebSocket) -> Result<(), HandlerError> {
    // while True: message = await socket.receive()
    loop {
        match socket.receive_event().await? {
            // if message["type"] == "websocket.connect":
            ReceiveEvent::Connect => {
                // await socket.send({"type": "websocket.accept"})
                socket.send_event(SendEvent::Accept(AcceptOptions::new())).await?;
            }
            // elif message["type"] == "websocket.receive":
            ReceiveEvent::Receive(message) => {
                // await socket.send({"type": "websocket.send", "text": message["text"]})
                socket.send_event(SendEvent::Send(message)).await?;
            }
            // elif message["type"] == "websocket.disconnect": break
            ReceiveEvent::Disconnect(_) => break,
        }
    }
    Ok(())
}

// --- the clients ---------------------------------------------------------------------------------------------------------

async fn visit_once(handle: &WSLoopHandle, host: &str) -> Result<(), HandlerError> {
    let ws = connect_websocket_url(handle, &format!("ws://{host}/once"), WebSocketConfig::default()).await?;
    let greeting = json!({ "greeting": "h\u{e4}llo", "to": ["a", "b"] });
    ws.send_json(&greeting, JsonMode::Text).await?;
    ws.send_text("text").await?;
    ws.send_bytes([0, 1, 2]).await?;
    ws.send_json(&greeting, JsonMode::Binary).await?;

    assert_eq!(ws.get_message().await?, Message::from(greeting.to_string()));
    assert_eq!(ws.receive_text().await?, "text");
    assert_eq!(ws.receive_bytes().await?, &[0, 1, 2][..]);
    assert_eq!(ws.get_message().await?, Message::from(greeting.to_string().into_bytes()));
    // except WebSocketDisconnect as end: assert (end.code, end.reason) == (1001, "Going Away")
    let Err(WebSocketError::Closed(end)) = ws.get_message().await else { return Err("not closed".into()) };
    assert_eq!(end.reason, CloseReason::new(WSCloseCode::GOING_AWAY, "Going Away"));
    Ok(())
}

/// A task that reads and a task that writes, on one connection.
async fn visit_echo(handle: &WSLoopHandle, host: &str) -> Result<(), HandlerError> {
    let offer = femtows::WSConnectConfig::default().subprotocols(["chat"]);
    let config = WebSocketConfig::default().client(offer);
    let ws = connect_websocket_url(handle, &format!("ws://{host}/echo/ann"), config).await?;
    assert_eq!(ws.subprotocol().as_deref(), Some("chat"));

    // reader = asyncio.create_task(read(ws))
    let reader = handle.spawn({
        let ws = ws.clone();
        async move { Ok::<_, WebSocketError>([ws.receive_text().await?, ws.receive_text().await?]) }
    });
    // await asyncio.gather(write(ws), reader)
    ws.send_text("one").await?;
    ws.send_text("two").await?;
    assert_eq!(reader.await?, ["ann: one", "ann: two"]);
    ws.aclose(1000, "").await?;
    Ok(())
}

async fn visit_the_rest(handle: &WSLoopHandle, host: &str) -> Result<(), HandlerError> {
    let ws = connect_websocket_url(handle, &format!("ws://{host}/sum"), WebSocketConfig::default()).await?;
    ws.send_json(&2, JsonMode::Text).await?;
    ws.send_json(&40, JsonMode::Text).await?;
    assert_eq!(ws.receive_text().await?, r#"{"total":2}"#);
    assert_eq!(ws.receive_text().await?, r#"{"total":42}"#);
    ws.aclose(1000, "").await?;

    let ws =
        connect_websocket_url(handle, &format!("ws://{host}/events"), WebSocketConfig::default()).await?;
    ws.send_text("as it is").await?;
    assert_eq!(ws.receive_text().await?, "as it is");
    ws.aclose(1000, "").await?;

    // A denial: websocket.http.response.start and .body in place of websocket.accept
    let url = format!("ws://{host}/members");
    let Err(WebSocketError::Rejected(refused)) =
        connect_websocket_url(handle, &url, WebSocketConfig::default()).await
    else {
        return Err("not refused".into());
    };
    assert_eq!((refused.status, &refused.body[..]), (404, &b"nobody here\n"[..]));
    Ok(())
}

// --- both ends in one process --------------------------------------------------------------------------------------------

// @app.websocket("/members")
// async def members(socket): await socket.send_denial_response(Response("nobody here\n", 404))
async fn members(socket: WebSocket) -> Result<(), HandlerError> {
    socket.reject(WSUpgradeResponse::error(404, "nobody here\n")?)?;
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut event_loop = WSLoop::new(WSLoopConfig::default())?;
    let handle = event_loop.handle();
    // app = Starlette(routes=[WebSocketRoute("/once", once), ...])
    let app = Routes::new()
        .route("/once", once)
        .route("/echo/{name}", echo)
        .route("/sum", sum_up)
        .route("/events", events)
        .route("/members", members);
    let server = serve_websocket(&handle, app, "127.0.0.1:0", WebSocketConfig::default())?;
    let host = server.local_addr().to_string();

    event_loop.block_on(handle.timeout(PATIENCE, async {
        visit_once(&handle, &host).await?;
        visit_echo(&handle, &host).await?;
        visit_the_rest(&handle, &host).await
    }))???;
    println!("all came back as it was sent");
    Ok(())
}
