//! Services for programs, each connection a task: an echo, the time, and calls of procedures.
//!
//! ```text
//! services [--addr 127.0.0.1:9006]    serve
//! services --demo                     server and clients in this process, and it ends
//! ```
//!
//! | path | service |
//! |---|---|
//! | `/echo` | each message comes back |
//! | `/time` | seconds since 1970, each second |
//! | `/rpc` | `{"id":1,"method":"add","params":[1,2]}` is answered with `{"id":1,"result":3}` |
//!
//! A call takes a second at most; after that the answer is an error.

use std::cell::Cell;
use std::error::Error;
use std::future::pending;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use femtows::message::{
    HandlerError, JsonMode, Message, Routes, WebSocket, WebSocketConfig, WebSocketError,
    connect_websocket_url, serve_websocket,
};
use femtows::{WSCloseCode, WSLoopHandle, WSServeError, WSServer, run};
use serde::Deserialize;
use serde_json::{Value, json};

#[path = "support/args.rs"]
mod args;

use args::Args;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = Args::parse("services [--addr 127.0.0.1:9006] | services --demo");
    let is_demo = args.flag("--demo");
    let addr = args.value("--addr").unwrap_or_else(|| "127.0.0.1:9006".into());
    args.finish();
    if is_demo {
        return run(demo);
    }
    run(async |handle| {
        let server = serve(&handle, &addr)?;
        println!("services on ws://{}/", server.local_addr());
        pending().await
    })
}

// --- the services --------------------------------------------------------------------------------

/// Shared by all connections, which live on one loop.
#[derive(Clone)]
struct Services {
    handle: WSLoopHandle,
    calls: Rc<Cell<u64>>,
}

fn serve(handle: &WSLoopHandle, addr: &str) -> Result<WSServer, WSServeError> {
    let state = Services { handle: handle.clone(), calls: Rc::default() };
    let routes = Routes::with_state(state).route("/echo", echo).route("/time", time).route("/rpc", rpc);
    serve_websocket(handle, routes, addr, WebSocketConfig::default())
}

async fn echo(ws: WebSocket) -> Result<(), HandlerError> {
    ws.accept().await?;
    while let Some(message) = ws.recv().await? {
        ws.send(message).await?;
    }
    Ok(())
}

async fn time(ws: WebSocket) -> Result<(), HandlerError> {
    ws.accept().await?;
    // Without a receiver, the CLOSE behind a client's messages would not be seen.
    ws.discard_incoming();
    loop {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        ws.send_text(now.as_secs().to_string()).await?;
        ws.handle().sleep(Duration::from_secs(1)).await;
    }
}

/// Answers calls as they are done: a slow one does not hold up those behind it.
async fn rpc(ws: WebSocket, services: Services) -> Result<(), HandlerError> {
    ws.accept().await?;
    // Ends the calls that are under way when the client leaves.
    let calls = services.handle.task_scope();
    while let Some(message) = ws.recv().await? {
        let call: Call = serde_json::from_slice(message.as_bytes())?;
        let (ws, services) = (ws.clone(), services.clone());
        calls
            .spawn(async move { ws.send_json(&answer(&services, call).await, JsonMode::Text).await })
            .detach();
    }
    Ok(())
}

#[derive(Deserialize)]
struct Call {
    id: u64,
    method: String,
    #[serde(default)]
    params: Vec<f64>,
}

async fn answer(services: &Services, call: Call) -> Value {
    services.calls.set(services.calls.get() + 1);
    let result = services.handle.timeout(Duration::from_secs(1), perform(services, &call)).await;
    match result {
        Ok(Ok(result)) => json!({ "id": call.id, "result": result }),
        Ok(Err(error)) => json!({ "id": call.id, "error": error }),
        Err(_) => json!({ "id": call.id, "error": "timeout" }),
    }
}

async fn perform(services: &Services, call: &Call) -> Result<Value, &'static str> {
    match (&*call.method, &*call.params) {
        ("add", numbers) => Ok(numbers.iter().sum::<f64>().into()),
        ("calls", []) => Ok(services.calls.get().into()),
        ("sleep", &[seconds]) => {
            let time = Duration::try_from_secs_f64(seconds).map_err(|_| "not a time")?;
            services.handle.sleep(time).await;
            Ok(Value::Null)
        }
        _ => Err("no such method"),
    }
}

// --- the demo ------------------------------------------------------------------------------------

async fn demo(handle: WSLoopHandle) -> Result<(), Box<dyn Error>> {
    let server = serve(&handle, "127.0.0.1:0")?;
    let url = format!("ws://{}", server.local_addr());
    handle.timeout(Duration::from_secs(20), visit(&handle, &server, &url)).await?
}

async fn visit(handle: &WSLoopHandle, server: &WSServer, url: &str) -> Result<(), Box<dyn Error>> {
    let connect = async |path: &str| {
        connect_websocket_url(handle, &format!("{url}{path}"), WebSocketConfig::default()).await
    };
    let Err(WebSocketError::Rejected(refusal)) = connect("/elsewhere").await else {
        return Err("there is no service elsewhere".into());
    };
    assert_eq!(refusal.status, 404);

    let echo = connect("/echo").await?;
    for message in [Message::from("text"), Message::from(b"bytes")] {
        echo.send(message.clone()).await?;
        assert_eq!(echo.recv().await?, Some(message));
    }

    let time = connect("/time").await?;
    let first: u64 = time.receive_text().await?.parse()?;
    let second: u64 = time.receive_text().await?.parse()?;
    assert!((1..=2).contains(&(second - first)), "{second} follows {first}");

    let rpc = connect("/rpc").await?;
    for (id, method, params) in
        [(1, "sleep", vec![5.0]), (2, "add", vec![1.0, 2.0]), (3, "dance", vec![]), (4, "calls", vec![])]
    {
        rpc.send_text(json!({ "id": id, "method": method, "params": params }).to_string()).await?;
    }
    for answer in [
        json!({ "id": 2, "result": 3.0 }),
        json!({ "id": 3, "error": "no such method" }),
        json!({ "id": 4, "result": 4 }),
        json!({ "id": 1, "error": "timeout" }),
    ] {
        let received: Value = rpc.receive_json(JsonMode::Text).await?;
        println!("{received}");
        assert_eq!(received, answer);
    }

    for client in [echo, time, rpc] {
        client.aclose(WSCloseCode::OK, "").await?;
    }
    while server.connections() > 0 {
        handle.sleep(Duration::from_millis(1)).await;
    }
    println!("echo, time and calls were served, and no connection is left");
    Ok(())
}
