//! Signs of life: auto-ping with a heartbeat of one's own, a peer that goes mute, round-trip times, what the loop has counted.
//!
//! Runs by itself for about three seconds: a server that pings by text messages, a client that answers for a while and then falls silent.

use std::cell::Cell;
use std::error::Error;
use std::rc::Rc;
use std::time::Duration;

use femtows::{
    WSAutoPingStrategy, WSCloseCode, WSConnectConfig, WSFrame, WSListener, WSLoop, WSLoopConfig, WSMsgType,
    WSResult, WSServerConfig, WSTransport, WSUpgradeRequest, ws_connect, ws_create_server,
};

const QUESTION: &str = "are you there?";
const ANSWER: &str = "I am";

/// Asks by a text message, as peers do that cannot send PING: browsers, for one.
struct Server;

impl WSListener for Server {
    fn on_ws_frame(&mut self, _: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        println!("server: {:?}", frame.payload_as_utf8()?);
        Ok(())
    }

    fn on_ws_disconnected(&mut self, transport: &WSTransport) {
        if let Some(info) = transport.disconnect_info() {
            println!("{info}");
        }
    }

    fn send_user_specific_ping(&mut self, transport: &WSTransport) -> WSResult {
        println!("server: {QUESTION}");
        transport.send(WSMsgType::Text, QUESTION);
        Ok(())
    }

    fn is_user_specific_pong(&mut self, frame: &WSFrame<'_>) -> bool {
        frame.payload() == ANSWER.as_bytes()
    }
}

struct Client {
    /// How often it will answer before it falls silent.
    answers: Rc<Cell<u32>>,
}

impl WSListener for Client {
    fn on_ws_frame(&mut self, transport: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        if frame.payload() == QUESTION.as_bytes() && self.answers.get() > 0 {
            self.answers.set(self.answers.get() - 1);
            transport.send(WSMsgType::Text, ANSWER);
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut event_loop = WSLoop::new(WSLoopConfig::default().measure_callbacks(true))?;
    let handle = event_loop.handle();
    let config = WSServerConfig::default()
        .enable_auto_ping(true)
        .auto_ping_strategy(WSAutoPingStrategy::PingWhenIdle)
        .auto_ping_idle_timeout(Duration::from_millis(500))
        .auto_ping_reply_timeout(Duration::from_millis(500))
        .idle_timeout(Some(Duration::from_secs(60)))
        .max_connection_lifetime(Some(Duration::from_secs(24 * 60 * 60)));
    let server = ws_create_server(&handle, |_: &WSUpgradeRequest| Server, "127.0.0.1:0", config)?;

    let client = Client { answers: Rc::new(Cell::new(3)) };
    let url = format!("ws://{}/", server.local_addr());
    event_loop.block_on(async move {
        let transport = ws_connect(&handle, client, &url, WSConnectConfig::default()).await?;
        let times = transport.measure_roundtrip_time(5).await?;
        println!("client: PING to PONG took {times:?}");
        transport.send(WSMsgType::Text, "a message that is no answer");
        transport.wait_disconnected().await
    })??;
    let seen = event_loop.handle().metrics().snapshot();
    println!(
        "{} frames received, {} sent; {} connections closed with 1001; the longest callback took {:?}",
        seen.frames_received,
        seen.frames_sent,
        seen.closed_with(WSCloseCode::GOING_AWAY),
        seen.longest_callback.unwrap_or_default(),
    );
    Ok(())
}
