//! Values of configured types: their stream, and types that belong to a route.

use std::time::Duration;

use femtows::message::{
    CatchDisconnect, HandlerError, MessageType, Routes, Value, WebSocket, WebSocketConfig, WebSocketError,
    connect_websocket_url, serve_websocket,
};
use femtows::{WSCloseCode, WSLoop, WSLoopConfig};

const PATIENCE: Duration = Duration::from_secs(30);

/// What `values` gives of two messages and a close with 1001.
fn values_of(config: WebSocketConfig) -> Vec<Result<Value, WebSocketError>> {
    let mut event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
    let handle = event_loop.handle();
    let speak = async |ws: WebSocket| {
        ws.accept().await?;
        ws.send_text("one").await?;
        ws.send_bytes(b"two").await?;
        ws.close(WSCloseCode::GOING_AWAY, "")
    };
    let server = serve_websocket(&handle, speak, "127.0.0.1:0", WebSocketConfig::default()).unwrap();
    let url = format!("ws://{}/", server.local_addr());
    let listening = async {
        let ws = connect_websocket_url(&handle, &url, config).await.unwrap();
        let (mut values, mut all) = (ws.values(), Vec::new());
        while let Some(value) = values.next().await {
            all.push(value);
        }
        assert!(values.next().await.is_none());
        all
    };
    event_loop.block_on(handle.timeout(PATIENCE, listening)).unwrap().unwrap()
}

#[test]
fn values_end_with_what_is_caught() {
    let values = values_of(WebSocketConfig::default().value_type(MessageType::Bytes));
    let values: Vec<_> = values.into_iter().map(Result::unwrap).collect();
    assert_eq!(values, [Value::from(b"one"), Value::from(b"two")]);
}

#[test]
fn values_tell_of_an_end_that_is_not_caught() {
    let caught = CatchDisconnect::Codes(vec![WSCloseCode::OK]);
    let mut values = values_of(WebSocketConfig::default().catch_disconnect(caught));
    let end = values.pop().unwrap().unwrap_err();
    assert_eq!(end.close_reason().unwrap().code, WSCloseCode::GOING_AWAY);
    let values: Vec<_> = values.into_iter().map(Result::unwrap).collect();
    assert_eq!(values, [Value::from("one"), Value::from("two")]);
}

#[test]
fn a_route_has_types_of_its_own() {
    async fn echo(ws: WebSocket) -> Result<(), HandlerError> {
        ws.accept().await?;
        loop {
            ws.send_value(ws.receive_value().await?).await?;
        }
    }
    let mut event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
    let handle = event_loop.handle();
    let bytes = WebSocketConfig::default().value_type(MessageType::Bytes);
    let routes = Routes::new().route("/text", echo).route_with("/bytes", bytes, echo);
    let server = serve_websocket(&handle, routes, "127.0.0.1:0", WebSocketConfig::default()).unwrap();
    let answer = async |path: &str| {
        let url = format!("ws://{}{path}", server.local_addr());
        let ws = connect_websocket_url(&handle, &url, WebSocketConfig::default()).await?;
        ws.send_text("x").await?;
        ws.get_message().await
    };
    let asking = async {
        assert!(answer("/text").await.unwrap().is_text());
        assert!(!answer("/bytes").await.unwrap().is_text());
    };
    event_loop.block_on(handle.timeout(PATIENCE, asking)).unwrap().unwrap();
}
