//! A program for `MicroPie`, line by line: accept with a session, echo, close with a reason.
//!
//! ```text
//! cargo run --example from_micropie
//! ```
//!
//! The Python line stands above the Rust lines that it becomes. What became of each name: docs/asyncapi.md.

use std::error::Error;
use std::time::Duration;

use femtows::message::{
    AcceptOptions, HandlerError, Routes, WebSocket, WebSocketConfig, WebSocketError, connect_websocket_url,
    serve_websocket,
};
use femtows::{WSLoop, WSLoopConfig, WSLoopHandle};

/// All of it takes a moment; this is for the day when it does not.
const PATIENCE: Duration = Duration::from_secs(30);

// --- the server ----------------------------------------------------------------------------------------------------------

// class Root(App):
//     async def ws_echo(self, ws):
async fn echo(ws: WebSocket) -> Result<(), HandlerError> {
    // await ws.accept()
    ws.accept().await?;
    // message = await ws.receive_text()
    let message = ws.receive_text().await?;
    // await ws.send_text(f"Echo: {message}")
    ws.send_text(format!("Echo: {message}")).await?;
    // await ws.close(1000, "Done")
    ws.close(1000, "Done")?;
    Ok(())
}

//     async def ws_session(self, ws):
async fn session(ws: WebSocket) -> Result<(), WebSocketError> {
    // session = self.request.session.get("id") or "s-1"
    let session = ws.session_id().unwrap_or_else(|| "s-1".into());
    // await ws.accept(session_id=session)
    ws.accept_with(AcceptOptions::new().session_id(&session)).await?;
    // assert ws.accepted and ws.session_id == session
    assert!(ws.accepted() && ws.session_id().as_ref() == Some(&session));
    // try:
    loop {
        // message = await ws.receive_bytes()
        let message = match ws.receive_bytes().await {
            Ok(message) => message,
            // except ConnectionClosed: pass
            Err(WebSocketError::Closed(_)) => break,
            Err(error) => return Err(error),
        };
        // await ws.send_text(f"{ws.session_id}: {len(message)} bytes")
        ws.send_text(format!("{session}: {} bytes", message.len())).await?;
    }
    Ok(())
}

// --- the clients ---------------------------------------------------------------------------------------------------------

async fn visit_echo(handle: &WSLoopHandle, host: &str) -> Result<(), HandlerError> {
    let ws = connect_websocket_url(handle, &format!("ws://{host}/echo"), WebSocketConfig::default()).await?;
    ws.send_text("Hello").await?;
    assert_eq!(ws.receive_text().await?, "Echo: Hello");
    let Err(WebSocketError::Closed(end)) = ws.receive_text().await else { return Err("not closed".into()) };
    assert_eq!((end.reason.code.0, &*end.reason.reason), (1000, "Done"));
    Ok(())
}

async fn visit_session(handle: &WSLoopHandle, host: &str) -> Result<(), HandlerError> {
    let url = format!("ws://{host}/session");
    let ws = connect_websocket_url(handle, &url, WebSocketConfig::default()).await?;
    let response = ws.transport().and_then(|transport| transport.response()).ok_or("no response")?;
    let cookie = response.get_header("Set-Cookie");
    assert_eq!(cookie.as_deref(), Some("session_id=s-1; Path=/; SameSite=Lax; HttpOnly; Secure;"));
    // Text is as good as bytes.
    ws.send_text("four").await?;
    assert_eq!(ws.receive_text().await?, "s-1: 4 bytes");
    ws.send_bytes(b"a\xffb").await?;
    assert_eq!(ws.receive_text().await?, "s-1: 3 bytes");
    ws.aclose(1000, "").await?;
    Ok(())
}

// --- both ends in one process --------------------------------------------------------------------------------------------

fn main() -> Result<(), Box<dyn Error>> {
    let mut event_loop = WSLoop::new(WSLoopConfig::default())?;
    let handle = event_loop.handle();
    // app = Root(): the methods' names are the paths
    let app = Routes::new().route("/echo", echo).route("/session", session);
    let server = serve_websocket(&handle, app, "127.0.0.1:0", WebSocketConfig::default())?;
    let host = server.local_addr().to_string();

    event_loop.block_on(handle.timeout(PATIENCE, async {
        visit_echo(&handle, &host).await?;
        visit_session(&handle, &host).await
    }))???;
    println!("all came back as it was sent");
    Ok(())
}
