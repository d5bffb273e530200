//! A large message in fragments, with a PING in the middle, received in the two ways that there are.
//!
//! ```text
//! cargo run --example fragmented_messages
//! ```
//!
//! RFC 6455 section 5.4: the first fragment says TEXT or BINARY, the others CONTINUATION, the last has FIN. Control frames
//! may come between them; frames of another message may not.

use std::error::Error;
use std::time::Duration;

use femtows::{
    SendOptions, WSCloseCode, WSConnectConfig, WSFrame, WSIntoUpgrade, WSListener, WSLoop, WSLoopConfig,
    WSLoopHandle, WSMessage, WSMessageAdapter, WSMessageListener, WSMsgType, WSResult, WSServerConfig,
    WSTransport, WSUpgradeOutcome, WSUpgradeRequest, ws_connect, ws_create_server,
};

/// Most bytes that the server puts together by hand.
const LIMIT: usize = 4 << 20;

/// Bytes in a fragment. The characters sent have three, so a fragment ends in the middle of one.
const FRAGMENT: usize = 100_000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut event_loop = WSLoop::new(WSLoopConfig::default())?;
    let handle = event_loop.handle();
    let factory = |request: &WSUpgradeRequest| receiver_for(request.path());
    let server = ws_create_server(&handle, factory, "127.0.0.1:0", WSServerConfig::default())?;
    let addr = server.local_addr();
    for path in ["frames", "messages"] {
        println!("to ws://{addr}/{path}");
        event_loop.block_on(send_in_fragments(&handle, &format!("ws://{addr}/{path}")))??;
    }
    Ok(())
}

fn receiver_for(path: &str) -> WSUpgradeOutcome {
    match path {
        "/frames" => ByHand { text: Vec::new(), frames: 0 }.into_upgrade(),
        "/messages" => WSMessageAdapter::new(Whole).into_upgrade(),
        _ => None::<ByHand>.into_upgrade(),
    }
}

// --- sending -------------------------------------------------------------------------------------------------------------

async fn send_in_fragments(handle: &WSLoopHandle, url: &str) -> Result<(), Box<dyn Error>> {
    let transport = ws_connect(handle, Client, url, WSConnectConfig::default()).await?;
    let text = "\u{4e16}".repeat(350_000);
    let fragments: Vec<&[u8]> = text.as_bytes().chunks(FRAGMENT).collect();
    println!("  client: {} bytes in {} fragments", text.len(), fragments.len());
    for (at, fragment) in fragments.iter().enumerate() {
        let msg_type = if at == 0 { WSMsgType::Text } else { WSMsgType::Continuation };
        let is_last = at + 1 == fragments.len();
        let options = if is_last { SendOptions::default() } else { SendOptions::MORE_FRAGMENTS };
        transport.send_frame(msg_type, fragment, options);
        if at == fragments.len() / 2 {
            transport.send_ping(format!("after {} fragments", at + 1))?;
        }
        // As if the rest were not there yet.
        handle.sleep(Duration::from_millis(10)).await;
    }
    Ok(transport.wait_disconnected().await?)
}

/// The client's end: prints what comes back, and ends on the answer.
struct Client;

impl WSListener for Client {
    fn on_ws_frame(&mut self, transport: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        match frame.msg_type() {
            WSMsgType::Pong => println!("  client: PONG {:?}", frame.payload_as_utf8()?),
            WSMsgType::Text => {
                println!("  client: the server says {:?}", frame.payload_as_utf8()?);
                transport.close(WSCloseCode::OK, "")?;
            }
            _ => {}
        }
        Ok(())
    }
}

// --- receiving -----------------------------------------------------------------------------------------------------------

/// On frames. The order of fragments has been checked; putting them together, bounding them and checking the text is left to
/// whoever listens here, and worth it for a parser that can take a message piece by piece.
struct ByHand {
    text: Vec<u8>,
    frames: usize,
}

impl WSListener for ByHand {
    fn on_ws_frame(&mut self, transport: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        if frame.msg_type().is_control() {
            return Ok(());
        }
        if self.text.len() + frame.payload().len() > LIMIT {
            transport.close(WSCloseCode::MESSAGE_TOO_BIG, "")?;
            return Ok(());
        }
        self.frames += 1;
        self.text.extend_from_slice(frame.payload());
        if frame.fin() {
            // Only the whole is sure to be UTF-8: a fragment may end in the middle of a character.
            let characters = std::str::from_utf8(&self.text)?.chars().count();
            transport.send(WSMsgType::Text, format!("{characters} characters in {} frames", self.frames));
            self.text.clear();
            self.frames = 0;
        }
        Ok(())
    }
}

/// On messages. All of the above has been done.
struct Whole;

impl WSMessageListener for Whole {
    fn on_ws_message(&mut self, transport: &WSTransport, message: WSMessage<'_>) -> WSResult {
        if let Some(text) = message.as_text() {
            transport.send(WSMsgType::Text, format!("{} characters in a message", text.chars().count()));
        }
        Ok(())
    }
}
