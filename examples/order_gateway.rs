//! An order gateway: bearer tokens, a rate limit per connection, acknowledgements with the kernel's
//! timestamp, and cancel-on-disconnect.
//!
//! ```text
//! order_gateway [--addr 127.0.0.1:9004]    serve; the tokens are ann-secret and bob-secret
//! order_gateway --demo                     gateway and clients in this process, and it ends
//! ```
//!
//! | request | answer |
//! |---|---|
//! | `{"op":"new","symbol":"BTC","side":"buy","price":100,"quantity":5}` | `{"ack":1,"received_at":NS}` |
//! | `{"op":"cancel","id":1}` | `{"canceled":1}` |
//! | `{"op":"list"}` | `{"orders":{"1":{"symbol":"BTC",...}}}` |
//! | any other | `{"error":"..."}` |

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::error::Error;
use std::future::pending;
use std::rc::Rc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use femtows::message::{JsonMode, WebSocket, WebSocketConfig, WebSocketError, connect_websocket_url};
use femtows::{
    WSCloseCode, WSConnectConfig, WSLoopHandle, WSMessage, WSMessageAdapter, WSMessageListener, WSResult,
    WSServeError, WSServer, WSServerConfig, WSTransport, WSTuning, WSUpgradeRequest, WSUpgradeResponse, run,
    ws_create_server,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[path = "support/args.rs"]
mod args;

use args::Args;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = Args::parse("order_gateway [--addr 127.0.0.1:9004] | order_gateway --demo");
    let is_demo = args.flag("--demo");
    let addr = args.value("--addr").unwrap_or_else(|| "127.0.0.1:9004".into());
    args.finish();
    if is_demo {
        return run(demo);
    }
    run(async |handle| {
        let server = serve(&handle, Rc::default(), &addr)?;
        println!("orders on ws://{}/", server.local_addr());
        pending().await
    })
}

// --- the gateway ---------------------------------------------------------------------------------

/// Open orders of all accounts. All connections live on one loop, so there is nothing to lock.
#[derive(Default)]
struct Orders {
    open: BTreeMap<u64, Order>,
    last_id: u64,
}

fn serve(handle: &WSLoopHandle, orders: Rc<RefCell<Orders>>, addr: &str) -> Result<WSServer, WSServeError> {
    let config = WSServerConfig::default()
        .tuning(WSTuning::default().receive_timestamps(true))
        .max_frame_size(4096)
        // Orders of a client that has died without a word are canceled, too.
        .enable_auto_ping(true);
    ws_create_server(handle, move |request| admit(request, &orders), addr, config)
}

fn admit(
    request: &WSUpgradeRequest,
    orders: &Rc<RefCell<Orders>>,
) -> Result<WSMessageAdapter<Session>, WSUpgradeResponse> {
    let account = match request.bearer() {
        Some("ann-secret") => "ann",
        Some("bob-secret") => "bob",
        _ => return Err(WSUpgradeResponse::unauthorized("Bearer")?),
    };
    let session = Session { account, orders: Rc::clone(orders), next: request.handle().now() };
    Ok(WSMessageAdapter::new(session))
}

/// A client's connection.
struct Session {
    account: &'static str,
    orders: Rc<RefCell<Orders>>,
    /// The time of the next request if all had come evenly.
    next: Instant,
}

/// A client may send a burst of ten requests, then one each 100 ms.
const BURST: u32 = 10;
const INTERVAL: Duration = Duration::from_millis(100);

impl WSMessageListener for Session {
    fn on_ws_message(&mut self, transport: &WSTransport, message: WSMessage<'_>) -> WSResult {
        let answer = self.answer(transport, message).unwrap_or_else(|error| json!({ "error": error }));
        transport.send_text(answer.to_string());
        Ok(())
    }

    fn on_ws_disconnected(&mut self, transport: &WSTransport) {
        self.orders.borrow_mut().open.retain(|_, order| order.connection != transport.id());
    }
}

impl Session {
    fn answer(&mut self, transport: &WSTransport, message: WSMessage<'_>) -> Result<Value, String> {
        let now = transport.handle().now();
        let next = self.next.max(now);
        if next >= now + BURST * INTERVAL {
            return Err("too many requests".into());
        }
        self.next = next + INTERVAL;
        let Orders { open, last_id } = &mut *self.orders.borrow_mut();
        match serde_json::from_slice(message.as_bytes()).map_err(|error| error.to_string())? {
            Request::New(ticket) => {
                *last_id += 1;
                open.insert(*last_id, Order { account: self.account, connection: transport.id(), ticket });
                // Systems other than Linux have no timestamp.
                let received_at = message.received_at().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
                Ok(json!({ "ack": *last_id, "received_at": received_at.map(|at| at.as_nanos() as u64) }))
            }
            Request::Cancel { id } if open.get(&id).is_some_and(|order| order.account == self.account) => {
                open.remove(&id);
                Ok(json!({ "canceled": id }))
            }
            Request::List => {
                let own = open.iter().filter(|(_, order)| order.account == self.account);
                let tickets: BTreeMap<_, _> = own.map(|(id, order)| (id, &order.ticket)).collect();
                Ok(json!({ "orders": tickets }))
            }
            Request::Cancel { id } => Err(format!("{} has no order {id}", self.account)),
        }
    }
}

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Request {
    New(Ticket),
    Cancel { id: u64 },
    List,
}

#[derive(Deserialize, Serialize)]
struct Ticket {
    symbol: String,
    side: Side,
    price: u64,
    quantity: u64,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Side {
    Buy,
    Sell,
}

struct Order {
    account: &'static str,
    /// The connection that the order ends with.
    connection: u64,
    ticket: Ticket,
}

// --- the demo ------------------------------------------------------------------------------------

async fn demo(handle: WSLoopHandle) -> Result<(), Box<dyn Error>> {
    let orders = Rc::<RefCell<Orders>>::default();
    let server = serve(&handle, Rc::clone(&orders), "127.0.0.1:0")?;
    let url = format!("ws://{}/", server.local_addr());
    handle.timeout(Duration::from_secs(20), trade(&handle, &url, &orders)).await?
}

async fn trade(handle: &WSLoopHandle, url: &str, orders: &RefCell<Orders>) -> Result<(), Box<dyn Error>> {
    let connect = |token| {
        let client = WSConnectConfig::default().bearer(token);
        connect_websocket_url(handle, url, WebSocketConfig::default().client(client))
    };
    let Err(WebSocketError::Rejected(refusal)) = connect("eve-secret").await else {
        return Err("a client with a wrong token got in".into());
    };
    assert_eq!(refusal.status, 401);

    let (ann, bob) = (connect("ann-secret").await?, connect("bob-secret").await?);
    let buy = json!({ "op": "new", "symbol": "BTC", "side": "buy", "price": 100, "quantity": 5 });
    let sell = json!({ "op": "new", "symbol": "BTC", "side": "sell", "price": 101, "quantity": 2 });
    let first = ask(&ann, &buy).await?;
    println!("{first}");
    assert_eq!(first["ack"], 1);
    assert_eq!(first["received_at"].is_u64(), cfg!(target_os = "linux"));
    assert_eq!(ask(&bob, &sell).await?["ack"], 2);
    assert_eq!(ask(&bob, &json!({ "op": "cancel", "id": 1 })).await?["error"], "bob has no order 1");
    assert_eq!(ask(&ann, &json!({ "op": "cancel", "id": 1 })).await?["canceled"], 1);
    assert!(ask(&ann, &json!({ "op": "hope" })).await?["error"].is_string());

    let mut refused = 0;
    for _ in 0..30 {
        refused += u32::from(ask(&ann, &buy).await?["error"] == "too many requests");
    }
    assert!(refused > 0, "30 requests are more than the limit admits");
    println!("ann has {} orders, {refused} requests were too many", orders.borrow().open.len() - 1);

    ann.aclose(WSCloseCode::OK, "").await?;
    // The server's end of the connection may end a moment later.
    while orders.borrow().open.len() > 1 {
        handle.sleep(Duration::from_millis(1)).await;
    }
    let list = json!({ "op": "list" });
    let left = json!({ "2": { "symbol": "BTC", "side": "sell", "price": 101, "quantity": 2 } });
    assert_eq!(ask(&bob, &list).await?["orders"], left);
    let ann = connect("ann-secret").await?;
    assert_eq!(ask(&ann, &list).await?["orders"], json!({}));
    println!("ann's orders have left with her connection, bob's are open: {left}");
    Ok(())
}

async fn ask(ws: &WebSocket, request: &Value) -> Result<Value, WebSocketError> {
    ws.send_json(request, JsonMode::Text).await?;
    ws.receive_json(JsonMode::Text).await
}
