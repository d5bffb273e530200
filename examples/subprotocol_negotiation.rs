//! Who may come in, and what will be spoken: the server's answers to a request, and what the client makes of them.
//!
//! ```text
//! cargo run --example subprotocol_negotiation
//! ```
//!
//! RFC 6455 section 1.9: the client offers subprotocols, the server picks one or none.

use std::error::Error;
use std::time::Duration;

use femtows::{
    WSCloseCode, WSConnectConfig, WSConnectError, WSDeferredUpgrade, WSFrame, WSHeaders, WSIntoUpgrade,
    WSListener, WSLoop, WSLoopConfig, WSLoopHandle, WSMsgType, WSResult, WSServerConfig, WSTransport,
    WSUpgradeOutcome, WSUpgradeRequest, WSUpgradeResponse, WSUpgradeResponseWithListener, ws_connect,
    ws_create_server,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut event_loop = WSLoop::new(WSLoopConfig::default())?;
    let handle = event_loop.handle();
    let tasks = handle.clone();
    let factory = move |request: &WSUpgradeRequest| decide(request, &tasks);
    let server = ws_create_server(&handle, factory, "127.0.0.1:0", WSServerConfig::default())?;
    let host = server.local_addr().to_string();

    let offers = |names: &[&str]| WSConnectConfig::default().subprotocols(names.iter().copied());
    event_loop.block_on(visit(&handle, &host, "/chat", offers(&["chat", "superchat"])))?;
    event_loop.block_on(visit(&handle, &host, "/chat", offers(&["chat"])))?;
    event_loop.block_on(visit(&handle, &host, "/chat", offers(&["soap"])))?;
    event_loop.block_on(visit(&handle, &host, "/elsewhere", offers(&[])))?;

    let mut ticket = WSHeaders::new();
    ticket.append("X-Ticket", "ann")?;
    event_loop.block_on(visit(&handle, &host, "/members", offers(&[]).extra_headers(ticket)))?;
    event_loop.block_on(visit(&handle, &host, "/members", offers(&[])))?;
    Ok(())
}

// --- the server ----------------------------------------------------------------------------------------------------------

type Decision = Result<WSUpgradeOutcome, Box<dyn Error + Send + Sync>>;

/// The answer to a request. An error here would be answered with 500, without its text.
fn decide(request: &WSUpgradeRequest, handle: &WSLoopHandle) -> Decision {
    match request.path() {
        "/chat" => negotiate(request),
        "/members" => Ok(decide_later(request, handle)),
        _ => Ok(None::<Greeter>.into_upgrade()),
    }
}

/// Picks what this server likes best of what the client offers.
fn negotiate(request: &WSUpgradeRequest) -> Decision {
    let offered = request.subprotocols();
    for name in ["superchat", "chat"] {
        if offered.iter().any(|offer| offer == name) {
            let response = WSUpgradeResponse::switching_protocols().subprotocol(name)?;
            return Ok(WSUpgradeResponseWithListener::new(response, Greeter)?.into_upgrade());
        }
    }
    Ok(WSUpgradeResponse::error(400, "this server speaks superchat and chat\n")?.into_upgrade())
}

/// Decides in a task, which may ask whom it likes; the client waits.
fn decide_later(request: &WSUpgradeRequest, handle: &WSLoopHandle) -> WSUpgradeOutcome {
    let (ticket, later) = WSDeferredUpgrade::new();
    let (request, tasks) = (request.clone(), handle.clone());
    let task = async move {
        // As if a database were asked.
        tasks.sleep(Duration::from_millis(50)).await;
        if request.header("X-Ticket").as_deref() == Some("ann") {
            ticket.accept(Greeter);
        } else if let Ok(refusal) = WSUpgradeResponse::error(401, "members only\n") {
            ticket.reject(refusal);
        } // A ticket that is dropped refuses with 500.
    };
    handle.spawn(task).detach();
    later.into_upgrade()
}

/// Says which subprotocol was agreed on.
struct Greeter;

impl WSListener for Greeter {
    fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
        let subprotocol = transport.subprotocol();
        transport
            .send(WSMsgType::Text, format!("welcome to {}", subprotocol.as_deref().unwrap_or("the club")));
        Ok(())
    }

    fn on_ws_frame(&mut self, _: &WSTransport, _: &mut WSFrame<'_>) -> WSResult {
        Ok(())
    }
}

// --- the client ----------------------------------------------------------------------------------------------------------

async fn visit(handle: &WSLoopHandle, host: &str, path: &str, config: WSConnectConfig) {
    println!("{path}");
    match ws_connect(handle, Visitor, &format!("ws://{host}{path}"), config).await {
        Ok(transport) => {
            println!("  accepted, subprotocol: {}", transport.subprotocol().as_deref().unwrap_or("none"));
            if let Err(error) = transport.wait_disconnected().await {
                println!("  {error}");
            }
        }
        Err(WSConnectError::Handshake(refused)) => {
            println!("  refused: {refused}");
            if let Some(response) = &refused.response {
                println!("  body: {}", String::from_utf8_lossy(response.body()).trim_end());
            }
        }
        Err(error) => println!("  {error}"),
    }
}

/// Prints the greeting and leaves.
struct Visitor;

impl WSListener for Visitor {
    fn on_ws_frame(&mut self, transport: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        if frame.msg_type() == WSMsgType::Text {
            println!("  the server says: {}", frame.payload_as_utf8()?);
            transport.close(WSCloseCode::OK, "")?;
        }
        Ok(())
    }
}
