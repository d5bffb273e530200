//! One publisher, 200 subscribers: every tick is encoded once and its bytes are shared by all connections.
//!
//! ```text
//! cargo run --release --example broadcast
//! ```
//!
//! The last subscriber to get a tick asks for the next, so the figure is what one thread can send, receive and check.
//! Takes three seconds.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::rc::Rc;
use std::time::{Duration, Instant};

use femtows::{
    WSConnectConfig, WSFrame, WSListener, WSLoop, WSLoopConfig, WSLoopHandle, WSMsgType, WSPreparedMessage,
    WSResult, WSServerConfig, WSTransport, WSUpgradeRequest, ws_connect, ws_create_server,
};

#[path = "support/numbers.rs"]
mod numbers;

use numbers::grouped;

const SUBSCRIBERS: u64 = 200;
const SECONDS: u64 = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let mut event_loop = WSLoop::new(WSLoopConfig::default())?;
    let handle = event_loop.handle();
    let publisher = Rc::new(Publisher::default());

    let of_server = Rc::clone(&publisher);
    let factory = move |_: &WSUpgradeRequest| Feed(Rc::clone(&of_server));
    let server = ws_create_server(&handle, factory, "127.0.0.1:0", WSServerConfig::default())?;
    let url = format!("ws://{}/", server.local_addr());
    let of_clients = Rc::clone(&publisher);
    event_loop.block_on(run(handle, url, of_clients))?
}

async fn run(handle: WSLoopHandle, url: String, publisher: Rc<Publisher>) -> Result<(), Box<dyn Error>> {
    let mut subscribers = Vec::new();
    for _ in 0..SUBSCRIBERS {
        let subscriber = Subscriber { publisher: Rc::clone(&publisher), last: 0 };
        subscribers.push(ws_connect(&handle, subscriber, &url, WSConnectConfig::default()).await?);
    }
    println!("{SUBSCRIBERS} subscribers are connected");

    let started = Instant::now();
    publisher.publish();
    for second in 1..=SECONDS {
        let before = publisher.delivered.get();
        handle.sleep(Duration::from_secs(1)).await;
        println!("second {second}: {} deliveries", grouped(publisher.delivered.get() - before));
    }
    publisher.is_done.set(true);
    let elapsed = started.elapsed();

    if let Some(lost) = subscribers.iter().find_map(WSTransport::disconnect_info) {
        return Err(format!("a subscriber was lost: {lost}").into());
    }
    let (ticks, delivered) = (publisher.ticks.get(), publisher.delivered.get());
    let per_second = u128::from(delivered) * 1_000_000 / elapsed.as_micros();
    println!("{} ticks, each encoded once", grouped(ticks));
    println!("{} deliveries, none missing, none out of order", grouped(delivered));
    println!("{} deliveries per second", grouped(u64::try_from(per_second)?));
    Ok(())
}

/// The source of the ticks.
#[derive(Default)]
struct Publisher {
    /// The server's end of each connection.
    feeds: RefCell<Vec<WSTransport>>,
    ticks: Cell<u64>,
    delivered: Cell<u64>,
    is_done: Cell<bool>,
}

impl Publisher {
    fn publish(&self) {
        let tick = self.ticks.get() + 1;
        self.ticks.set(tick);
        let message = WSPreparedMessage::new(WSMsgType::Binary, tick.to_be_bytes());
        for feed in &*self.feeds.borrow() {
            feed.send_prepared(&message);
        }
    }

    fn delivered(&self) {
        self.delivered.set(self.delivered.get() + 1);
        if self.delivered.get() == self.ticks.get() * SUBSCRIBERS && !self.is_done.get() {
            self.publish();
        }
    }
}

/// The server's end of a connection: it joins and leaves the publisher's list.
struct Feed(Rc<Publisher>);

impl WSListener for Feed {
    fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
        self.0.feeds.borrow_mut().push(transport.clone());
        Ok(())
    }

    fn on_ws_frame(&mut self, _: &WSTransport, _: &mut WSFrame<'_>) -> WSResult {
        Ok(())
    }

    fn on_ws_disconnected(&mut self, transport: &WSTransport) {
        self.0.feeds.borrow_mut().retain(|feed| feed != transport);
    }
}

/// The client's end: each tick must be the one after the last.
struct Subscriber {
    publisher: Rc<Publisher>,
    last: u64,
}

impl WSListener for Subscriber {
    fn on_ws_frame(&mut self, _: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        let tick = u64::from_be_bytes(frame.payload().try_into()?);
        if tick != self.last + 1 {
            return Err(format!("tick {tick} came after {}", self.last).into());
        }
        self.last = tick;
        self.publisher.delivered();
        Ok(())
    }
}
