//! A market-data client: an order book per symbol, kept from a feed of JSON messages.
//!
//! ```text
//! market_data ws://feed.example/ BTC ETH    follow two symbols
//! market_data --demo                        feed and client in this process, and it ends
//! ```
//!
//! The client sends `{"subscribe":"BTC"}`. The feed answers with a snapshot, then sends changes:
//! `{"symbol":"BTC","seq":7,"snapshot":true,"bids":[[100,5]],"asks":[[101,3]]}`, each level with
//! price and size. The sequence numbers of a symbol have no gaps: if the client misses an event, it
//! subscribes again.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::rc::Rc;
use std::time::Duration;

use femtows::message::{HandlerError, Routes, WebSocket, WebSocketConfig, serve_websocket};
use femtows::{
    WSCloseCode, WSConnectConfig, WSConnectError, WSLoopHandle, WSMessage, WSMessageAdapter,
    WSMessageListener, WSReconnect, WSResult, WSTransport, run,
};
use serde::Deserialize;
use serde_json::{Value, json};

#[path = "support/args.rs"]
mod args;

use args::Args;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = Args::parse("market_data URL SYMBOL... | market_data --demo");
    if args.flag("--demo") {
        return run(demo);
    }
    let url = args.positional("URL");
    let symbols = args.rest().into();
    run(async |handle| Ok(follow(handle, url, symbols, |symbol, book| println!("{symbol} {book}")).await?))
}

// --- the client ----------------------------------------------------------------------------------

/// Stays connected to the feed, and calls `show` after each change of a book.
async fn follow(
    handle: WSLoopHandle,
    url: String,
    symbols: Rc<[String]>,
    show: impl Fn(&str, &Book) + Clone + 'static,
) -> Result<(), WSConnectError> {
    // A feed that has died without a word is noticed by the pings.
    let config = WSConnectConfig::default().enable_auto_ping(true);
    let mut client = WSReconnect::new(&handle, url, config).on_retry(|retry| eprintln!("{retry}"));
    loop {
        // Books begin anew with each connection, as changes were missed in between.
        let feed = || Feed { symbols: Rc::clone(&symbols), books: HashMap::new(), show: show.clone() };
        client.next(|| WSMessageAdapter::new(feed())).await?;
    }
}

struct Feed<F> {
    symbols: Rc<[String]>,
    books: HashMap<String, Book>,
    show: F,
}

impl<F: Fn(&str, &Book)> WSMessageListener for Feed<F> {
    fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
        for symbol in self.symbols.iter() {
            subscribe(transport, symbol);
        }
        Ok(())
    }

    fn on_ws_message(&mut self, transport: &WSTransport, message: WSMessage<'_>) -> WSResult {
        let event: Event<'_> = serde_json::from_slice(message.as_bytes())?;
        if event.snapshot {
            self.books.insert(event.symbol.to_owned(), Book::default());
        }
        // Without a book, a snapshot is on its way.
        let Some(book) = self.books.get_mut(event.symbol) else { return Ok(()) };
        if !event.snapshot && event.seq != book.seq + 1 {
            eprintln!("{}: {} follows {}", event.symbol, event.seq, book.seq);
            self.books.remove(event.symbol);
            subscribe(transport, event.symbol);
            return Ok(());
        }
        let symbol = event.symbol;
        book.apply(event);
        (self.show)(symbol, book);
        Ok(())
    }
}

fn subscribe(transport: &WSTransport, symbol: &str) {
    transport.send_text(json!({ "subscribe": symbol }).to_string());
}

/// A snapshot, or what has changed since the event before.
#[derive(Deserialize)]
struct Event<'a> {
    symbol: &'a str,
    seq: u64,
    #[serde(default)]
    snapshot: bool,
    bids: Vec<(u64, u64)>,
    asks: Vec<(u64, u64)>,
}

/// Sizes by price.
#[derive(Default)]
struct Book {
    seq: u64,
    bids: BTreeMap<u64, u64>,
    asks: BTreeMap<u64, u64>,
}

impl Book {
    fn apply(&mut self, event: Event<'_>) {
        self.seq = event.seq;
        self.bids.extend(event.bids);
        self.asks.extend(event.asks);
        // A size of zero takes a level away.
        self.bids.retain(|_, size| *size > 0);
        self.asks.retain(|_, size| *size > 0);
    }
}

/// The best bid and the best ask: size and price.
impl std::fmt::Display for Book {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let best =
            |level: Option<(&u64, &u64)>| level.map_or("-".into(), |(p, size)| format!("{size} at {p}"));
        write!(f, "{} | {}", best(self.bids.last_key_value()), best(self.asks.first_key_value()))
    }
}

// --- the demo ------------------------------------------------------------------------------------

/// The screen of a client whose feed leaves out an event, and restarts later.
const EXPECTED: [&str; 7] = [
    "BTC 5 at 100 | 3 at 101",
    "BTC 5 at 100 | 9 at 102",
    // 13 follows 11: the client subscribes again.
    "BTC 4 at 99 | 9 at 102",
    "BTC - | 9 at 102",
    // The feed restarts: the client connects again.
    "BTC 1 at 100 | 1 at 101",
    "BTC 2 at 100 | 1 at 101",
    "ETH 7 at 20 | -",
];

async fn demo(handle: WSLoopHandle) -> Result<(), Box<dyn Error>> {
    let feed = Routes::with_state(Rc::default()).route("/", restless_feed);
    let server = serve_websocket(&handle, feed, "127.0.0.1:0", WebSocketConfig::default())?;
    let screen = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&screen);
    let show = move |symbol: &str, book: &Book| {
        println!("{symbol} {book}");
        seen.borrow_mut().push(format!("{symbol} {book}"));
    };
    let url = format!("ws://{}/", server.local_addr());
    let client = handle.spawn(follow(handle.clone(), url, Rc::new(["BTC".into(), "ETH".into()]), show));
    handle
        .timeout(Duration::from_secs(20), async {
            while screen.borrow().len() < EXPECTED.len() {
                handle.sleep(Duration::from_millis(5)).await;
            }
        })
        .await?;
    client.cancel().await;
    assert_eq!(*screen.borrow(), EXPECTED);
    println!("one gap, one restart, and the books are right");
    Ok(())
}

async fn restless_feed(ws: WebSocket, subscriptions: Rc<Cell<u32>>) -> Result<(), HandlerError> {
    let event = |symbol: &str, seq: u64, snapshot: bool, bids: &[(u64, u64)], asks: &[(u64, u64)]| {
        json!({ "symbol": symbol, "seq": seq, "snapshot": snapshot, "bids": bids, "asks": asks }).to_string()
    };
    ws.accept().await?;
    while let Some(request) = ws.recv().await? {
        let request: Value = serde_json::from_slice(request.as_bytes())?;
        if request["subscribe"] == "ETH" {
            // Answers after the restart only, so that the order on the screen is certain.
            if subscriptions.get() == 3 {
                ws.send_text(event("ETH", 1, true, &[(20, 7)], &[])).await?;
            }
            continue;
        }
        subscriptions.set(subscriptions.get() + 1);
        let events = match subscriptions.get() {
            1 => vec![
                event("BTC", 10, true, &[(100, 5), (99, 4)], &[(101, 3), (102, 9)]),
                event("BTC", 11, false, &[], &[(101, 0)]),
                event("BTC", 13, false, &[(99, 0)], &[]),
                event("BTC", 14, false, &[(98, 1)], &[]),
            ],
            2 => vec![
                event("BTC", 14, true, &[(99, 4)], &[(102, 9)]),
                event("BTC", 15, false, &[(99, 0)], &[]),
            ],
            _ => vec![
                event("BTC", 1, true, &[(100, 1)], &[(101, 1)]),
                event("BTC", 2, false, &[(100, 2)], &[]),
            ],
        };
        for event in events {
            ws.send_text(event).await?;
        }
        if subscriptions.get() == 2 {
            ws.aclose(WSCloseCode::SERVICE_RESTART, "back soon").await?;
        }
    }
    Ok(())
}
