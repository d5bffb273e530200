//! Programs for bocadillo, line by line: `async with`, `async for`, types of values, which disconnects are caught.
//!
//! ```text
//! cargo run --features json --example from_bocadillo
//! ```
//!
//! The Python line stands above the Rust lines that it becomes. What became of each name: docs/asyncapi.md.

use std::error::Error;
use std::time::Duration;

use femtows::message::{
    CatchDisconnect, HandlerError, MessageType, ReceiveEvent, Routes, SendEvent, Value, WebSocket,
    WebSocketConfig, WebSocketError, connect_websocket_url, serve_websocket,
};
use femtows::{WSCloseCode, WSLoop, WSLoopConfig, WSLoopHandle, WSServer, WSUpgradeResponse};
use serde_json::json;

/// All of it takes a moment; this is for the day when it does not.
const PATIENCE: Duration = Duration::from_secs(30);

// --- text, which is the default ------------------------------------------------------------------------------------------

// @app.websocket_route("/echo")
// async def echo(ws):
async fn echo(ws: WebSocket) -> Result<(), HandlerError> {
    // async with ws:
    ws.with(async |ws| {
        // async for message in ws:
        let mut messages = ws.values();
        while let Some(message) = messages.next().await {
            // await ws.send(message)
            ws.send_value(message?).await?;
        }
        Ok(())
    })
    .await?;
    Ok(())
}

// @app.websocket_route("/raw")
// async def raw(ws):
async fn raw(ws: WebSocket) -> Result<(), HandlerError> {
    // async with ws:
    ws.with(async |ws| {
        // message = await ws.receive_raw()
        let ReceiveEvent::Receive(message) = ws.receive_event().await? else { return Ok(()) };
        // await ws.send_raw({"type": "websocket.send", "text": message["text"]})
        ws.send_event(SendEvent::Send(message)).await?;
        // await ws.close(4242)
        ws.close(4242, "")?;
        Ok(())
    })
    .await?;
    Ok(())
}

// --- JSON, in both directions --------------------------------------------------------------------------------------------

// @app.websocket_route("/json", value_type="json")
// async def sizes(ws):
async fn sizes(ws: WebSocket) -> Result<(), HandlerError> {
    // async with ws:
    ws.with(async |ws| {
        // async for message in ws:
        let mut messages = ws.values();
        while let Some(message) = messages.next().await {
            let Value::Json(message) = message? else { return Err("not JSON".into()) };
            // await ws.send({"keys": len(message)})
            ws.send_value(json!({ "keys": message.as_object().map_or(0, serde_json::Map::len) })).await?;
        }
        Ok(())
    })
    .await?;
    Ok(())
}

// --- which disconnects are caught ----------------------------------------------------------------------------------------

// @app.websocket_route("/strict", catch_disconnect=[1000])
// async def strict(ws):
async fn strict(ws: WebSocket) -> Result<(), HandlerError> {
    // try: async with ws:
    let result = ws.with(async |ws| Ok::<_, HandlerError>(ws.receive_text().await?)).await;
    // except WebSocketDisconnect as end: print(end.code)
    if let Err(error) = &result {
        println!("not caught: {error}");
    }
    result?;
    Ok(())
}

// --- the clients ---------------------------------------------------------------------------------------------------------

async fn connect(handle: &WSLoopHandle, server: &WSServer, path: &str) -> Result<WebSocket, WebSocketError> {
    let url = format!("ws://{}{path}", server.local_addr());
    connect_websocket_url(handle, &url, WebSocketConfig::default()).await
}

async fn visit_text(handle: &WSLoopHandle, server: &WSServer) -> Result<(), HandlerError> {
    let ws = connect(handle, server, "/echo").await?;
    for text in ["one", "two"] {
        ws.send_value(text).await?;
        assert_eq!(ws.receive_value().await?, Value::from(text));
    }
    ws.aclose(1000, "").await?;

    let ws = connect(handle, server, "/raw").await?;
    ws.send_value("raw").await?;
    assert_eq!(ws.receive_value().await?, Value::from("raw"));
    let Err(WebSocketError::Closed(end)) = ws.receive_value().await else { return Err("not closed".into()) };
    assert_eq!(end.reason.code, WSCloseCode::from(4242));

    let ws = connect(handle, server, "/strict").await?;
    ws.aclose(WSCloseCode::GOING_AWAY, "").await?;

    // A path that is not there.
    let refused = connect(handle, server, "/nowhere").await;
    assert!(matches!(refused, Err(WebSocketError::Rejected(refused)) if refused.status == 403));
    Ok(())
}

async fn visit_json(handle: &WSLoopHandle, server: &WSServer) -> Result<(), HandlerError> {
    let ws = connect(handle, server, "/json").await?;
    ws.send_value(r#"{"a": 1, "b": 2}"#).await?;
    assert_eq!(ws.receive_value().await?, Value::from(r#"{"keys":2}"#));
    ws.aclose(1000, "").await?;
    Ok(())
}

// --- both ends in one process --------------------------------------------------------------------------------------------

fn main() -> Result<(), Box<dyn Error>> {
    let mut event_loop = WSLoop::new(WSLoopConfig::default())?;
    let handle = event_loop.handle();
    let json = WebSocketConfig::default().value_type("json".parse::<MessageType>()?);
    let caught = WebSocketConfig::default().catch_disconnect(CatchDisconnect::Codes(vec![WSCloseCode::OK]));
    let app = Routes::new()
        .route("/echo", echo)
        .route("/raw", raw)
        .route_with("/json", json, sizes)
        .route_with("/strict", caught, strict)
        // As bocadillo answers unknown routes; without it they are 404.
        .not_found(WSUpgradeResponse::forbidden());
    let server = serve_websocket(&handle, app, "127.0.0.1:0", WebSocketConfig::default())?;

    event_loop.block_on(handle.timeout(PATIENCE, async {
        visit_text(&handle, &server).await?;
        visit_json(&handle, &server).await
    }))???;
    println!("all came back as it was sent");
    Ok(())
}
