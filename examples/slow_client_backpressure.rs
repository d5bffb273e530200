//! A client that does not read for a while, and three ways for a server to live with it.
//!
//! ```text
//! cargo run --example slow_client_backpressure
//! ```
//!
//! A send never blocks: what the kernel refuses waits in memory. `pause_writing` and `resume_writing` tell a server that can
//! hold back when to; `max_outbound` bounds the memory for one that cannot, and the policy says what gives way.

use std::cell::Cell;
use std::error::Error;
use std::rc::Rc;
use std::time::Duration;

use femtows::{
    WSCloseCode, WSConnectConfig, WSFrame, WSLimits, WSListener, WSLoop, WSLoopConfig, WSLoopHandle,
    WSMsgType, WSOverflowPolicy, WSResult, WSSendStatus, WSServerConfig, WSTransport, WSTuning,
    WSUpgradeRequest, ws_connect, ws_create_server,
};

#[path = "support/numbers.rs"]
mod numbers;

use numbers::grouped;

/// One message per millisecond.
const MESSAGES: u64 = 600;
const MESSAGE_SIZE: usize = 8 * 1024;

/// For this long the client does not read.
const NAP: Duration = Duration::from_millis(400);

/// A small buffer in the server's kernel, so that the demo need not send megabytes to fill it.
const SEND_BUFFER: usize = 64 * 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let mut event_loop = WSLoop::new(WSLoopConfig::default())?;
    let handle = event_loop.handle();
    println!(
        "{MESSAGES} messages of {MESSAGE_SIZE} bytes, one each millisecond; the client sleeps for {NAP:?}"
    );
    for conduct in [Conduct::HoldBack, Conduct::DropNew, Conduct::Close] {
        println!("\n{}", conduct.title());
        event_loop.block_on(serve_slow_client(&handle, conduct))??;
    }
    Ok(())
}

/// What the server does about a client that does not keep up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Conduct {
    HoldBack,
    DropNew,
    Close,
}

impl Conduct {
    fn title(self) -> &'static str {
        match self {
            Self::HoldBack => "1. The server stops at pause_writing and goes on at resume_writing",
            Self::DropNew => {
                "2. The server does not care; beyond max_outbound, new messages are dropped and counted"
            }
            Self::Close => {
                "3. The server does not care; at max_outbound the connection is closed (the default)"
            }
        }
    }

    fn config(self) -> WSServerConfig {
        let policy = match self {
            Self::HoldBack | Self::DropNew => WSOverflowPolicy::DropNew,
            Self::Close => WSOverflowPolicy::Close,
        };
        let limits = WSLimits::default().max_outbound(256 * 1024).overflow_policy(policy);
        let tuning = WSTuning::default().write_watermarks(16 * 1024, 64 * 1024);
        WSServerConfig::default().limits(limits).tuning(tuning)
    }
}

async fn serve_slow_client(handle: &WSLoopHandle, conduct: Conduct) -> Result<(), Box<dyn Error>> {
    let factory = move |_: &WSUpgradeRequest| Feed { conduct, is_paused: Rc::default() };
    let server = ws_create_server(handle, factory, "127.0.0.1:0", conduct.config())?;
    let url = format!("ws://{}/", server.local_addr());
    let client = ws_connect(handle, SlowClient::default(), &url, WSConnectConfig::default()).await?;
    for end in server.transports() {
        end.wait_disconnected().await?;
    }
    client.wait_disconnected().await?;
    server.close();
    Ok(())
}

// --- the server ----------------------------------------------------------------------------------------------------------

/// The server's end of the connection.
struct Feed {
    conduct: Conduct,
    is_paused: Rc<Cell<bool>>,
}

impl WSListener for Feed {
    fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
        transport.with_socket(|socket| socket.set_send_buffer_size(SEND_BUFFER))??;
        let heeded = (self.conduct == Conduct::HoldBack).then(|| Rc::clone(&self.is_paused));
        transport.handle().spawn(produce(transport.clone(), heeded)).detach();
        Ok(())
    }

    fn on_ws_frame(&mut self, _: &WSTransport, _: &mut WSFrame<'_>) -> WSResult {
        Ok(())
    }

    fn pause_writing(&mut self, transport: &WSTransport) {
        println!("  server: pause_writing, {} bytes wait", amount(transport.buffered_amount()));
        self.is_paused.set(true);
    }

    fn resume_writing(&mut self, transport: &WSTransport) {
        println!("  server: resume_writing, {} bytes wait", amount(transport.buffered_amount()));
        self.is_paused.set(false);
    }

    fn on_ws_disconnected(&mut self, transport: &WSTransport) {
        if let Some(info) = transport.disconnect_info() {
            println!("  server: {info}");
        }
    }
}

/// Sends a numbered message each millisecond; while `pause` says so, none.
async fn produce(transport: WSTransport, pause: Option<Rc<Cell<bool>>>) {
    let (mut sent, mut held_back, mut most_waiting) = (0, 0, 0);
    let mut message = vec![0; MESSAGE_SIZE];
    for number in 0..MESSAGES {
        if transport.is_disconnected() {
            break;
        }
        if pause.as_ref().is_some_and(|pause| pause.get()) {
            held_back += 1;
        } else {
            message[..8].copy_from_slice(&number.to_be_bytes());
            let before = transport.dropped().frames;
            let status = transport.send(WSMsgType::Binary, &message);
            if let WSSendStatus::Dropped(why) = status
                && before == 0
            {
                println!("  server: message {number} is the first to be dropped: {why:?}");
            }
            sent += u64::from(status.is_accepted());
        }
        most_waiting = most_waiting.max(transport.buffered_amount());
        transport.handle().sleep(Duration::from_millis(1)).await;
    }
    let dropped = transport.dropped();
    println!(
        "  server: {sent} sent, {held_back} held back, {} dropped ({} bytes)",
        dropped.frames,
        grouped(dropped.bytes)
    );
    println!("  server: at most {} bytes waited in memory", amount(most_waiting));
    let _ = transport.close(WSCloseCode::OK, "that was all");
}

// --- the client ----------------------------------------------------------------------------------------------------------

/// Sleeps first, then reads, and counts what it misses.
#[derive(Default)]
struct SlowClient {
    received: u64,
    missing: u64,
    next: u64,
}

impl WSListener for SlowClient {
    fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
        transport.pause_reading();
        let sleeper = transport.clone();
        let wake_up = move || {
            println!("  client: wakes up");
            sleeper.resume_reading();
        };
        transport.handle().call_later(NAP, wake_up).detach();
        Ok(())
    }

    fn on_ws_frame(&mut self, _: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        if frame.msg_type() == WSMsgType::Binary {
            let (number, _) = frame.payload().split_first_chunk().ok_or("a message without a number")?;
            let number = u64::from_be_bytes(*number);
            self.missing += number - self.next;
            self.next = number + 1;
            self.received += 1;
        }
        Ok(())
    }

    fn on_ws_disconnected(&mut self, transport: &WSTransport) {
        let missing = self.missing + MESSAGES - self.next;
        println!("  client: got {} messages, {missing} are missing", self.received);
        if let Some(info) = transport.disconnect_info() {
            println!("  client: {info}");
        }
    }
}

fn amount(bytes: usize) -> String {
    grouped(u64::try_from(bytes).unwrap_or(u64::MAX))
}
