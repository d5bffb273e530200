//! axum and femtows on one port: axum parses each request and serves HTTP, femtows takes over the
//! connections that are upgraded.
//!
//! `cargo run --release --manifest-path examples/axum/Cargo.toml [ADDR]`, then
//! `curl http://127.0.0.1:3000/` and a WebSocket client on `ws://127.0.0.1:3000/echo`.

use std::error::Error;
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use femtows::handshake::accept_key;
use femtows::message::{WSMessage, WSMessageAdapter, WSMessageListener};
use femtows::{
    WSError, WSLoop, WSLoopConfig, WSResult, WSServerConfig, WSServerRemote, WSTransport, WSUpgradeRequest,
    WSUpgradeResponse, WSUpgraded, ws_create_server_without_socket,
};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto::upgrade;

struct Echo;

impl WSMessageListener for Echo {
    fn on_ws_message(&mut self, transport: &WSTransport, message: WSMessage<'_>) -> WSResult {
        transport.send(message.msg_type(), message);
        Ok(())
    }
}

/// Runs the loop of femtows on a thread of its own. Returns the handle to its server.
fn start_loop() -> Result<WSServerRemote, Box<dyn Error>> {
    let (ready, started) = mpsc::channel();
    thread::spawn(move || -> Result<(), WSError> {
        let mut event_loop = WSLoop::new(WSLoopConfig::default())?;
        // The server has no socket and gets no requests: it only takes connections over.
        let refuse = |_: &WSUpgradeRequest| WSUpgradeResponse::not_found();
        let server =
            ws_create_server_without_socket(&event_loop.handle(), refuse, WSServerConfig::default())?;
        let _ = ready.send(server.remote());
        event_loop.run()
    });
    started.recv()?.ok_or_else(|| "the server has ended".into())
}

/// Returns the value of `Sec-WebSocket-Accept` (RFC 6455 section 4.2), or the refusal.
fn accept(headers: &HeaderMap) -> Result<HeaderValue, StatusCode> {
    let value = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let is_websocket = value(header::UPGRADE).is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
    if !is_websocket || value(header::SEC_WEBSOCKET_VERSION) != Some("13") {
        return Err(StatusCode::UPGRADE_REQUIRED);
    }
    let key = value(header::SEC_WEBSOCKET_KEY).ok_or(StatusCode::BAD_REQUEST)?;
    HeaderValue::from_bytes(&accept_key(key.as_bytes())).map_err(|_| StatusCode::BAD_REQUEST)
}

async fn echo(State(server): State<WSServerRemote>, request: Request) -> Response {
    let accept = match accept(request.headers()) {
        Ok(accept) => accept,
        Err(refusal) => return refusal.into_response(),
    };
    // The socket is free once hyper has sent the response.
    tokio::spawn(async move {
        if let Err(error) = hand_over(server, request).await {
            eprintln!("an upgraded connection is lost: {error}");
        }
    });
    let headers = [
        (header::CONNECTION, HeaderValue::from_static("Upgrade")),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::SEC_WEBSOCKET_ACCEPT, accept),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

async fn hand_over(server: WSServerRemote, request: Request) -> Result<(), Box<dyn Error>> {
    let upgraded = hyper::upgrade::on(request).await?;
    let parts = upgrade::downcast::<TokioIo<tokio::net::TcpStream>>(upgraded).map_err(|_| "not plain TCP")?;
    let socket: TcpStream = parts.io.into_inner().into_std()?;
    let upgraded = WSUpgraded::new(socket).leftover(parts.read_buf);
    server.take_over(upgraded, |_| WSMessageAdapter::new(Echo))?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let app = Router::new()
        .route("/", get(|| async { "HTTP by axum, WebSocket by femtows\n" }))
        .route("/echo", get(echo))
        .with_state(start_loop()?);
    let listener = tokio::net::TcpListener::bind(addr).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app).await?;
    Ok(())
}
