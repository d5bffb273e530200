//! A chat server with rooms.
//!
//! ```text
//! chat [--addr 127.0.0.1:9002]    serve; http://127.0.0.1:9002/ is a page to chat with
//! chat --demo                     server and three clients in this process: they talk, and it ends
//! ```
//!
//! The path is the room and the query has the name: `ws://127.0.0.1:9002/lobby?nick=ann`. A line is encoded once, however
//! many hear it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::error::Error;
use std::rc::Rc;
use std::time::Duration;

use femtows::{
    WSCloseCode, WSConnectConfig, WSError, WSIntoUpgrade, WSLimits, WSLoop, WSLoopConfig, WSLoopHandle,
    WSMessage, WSMessageAdapter, WSMessageListener, WSMsgType, WSPreparedMessage, WSResult, WSServeError,
    WSServer, WSServerConfig, WSTransport, WSUpgradeOutcome, WSUpgradeRequest, WSUpgradeResponse, ws_connect,
    ws_create_server,
};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

#[path = "support/args.rs"]
mod args;

use args::Args;

const PAGE: &str = include_str!("support/chat.html");

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = Args::parse("chat [--addr 127.0.0.1:9002] | chat --demo");
    let demo = args.flag("--demo");
    let addr = args.value("--addr").unwrap_or_else(|| "127.0.0.1:9002".into());
    args.finish();

    let mut event_loop = WSLoop::new(WSLoopConfig::default())?;
    let handle = event_loop.handle();
    if demo {
        let server = serve(&handle, "127.0.0.1:0")?;
        event_loop.block_on(converse(handle, server))??;
    } else {
        let server = serve(&handle, &addr)?;
        println!("chat on http://{}/", server.local_addr());
        let remote = handle.remote();
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        std::thread::spawn(move || {
            signals.forever().next();
            remote.stop();
        });
        event_loop.run()?;
    }
    event_loop.shutdown(WSCloseCode::GOING_AWAY, "the chat is over", Duration::from_secs(5))?;
    Ok(())
}

// --- the server ----------------------------------------------------------------------------------------------------------

/// Who is in which room. All connections live on one loop, so there is nothing to lock.
type Rooms = Rc<RefCell<HashMap<String, Vec<WSTransport>>>>;

fn serve(handle: &WSLoopHandle, addr: &str) -> Result<WSServer, WSServeError> {
    let rooms = Rooms::default();
    let limits = WSLimits::default().max_message_size(4096).max_outbound(256 * 1024);
    let config = WSServerConfig::default().limits(limits);
    ws_create_server(handle, move |request: &WSUpgradeRequest| admit(request, &rooms), addr, config)
}

/// Gives each request its answer: the page, a place in a room, or a refusal.
fn admit(
    request: &WSUpgradeRequest,
    rooms: &Rooms,
) -> Result<WSUpgradeOutcome, Box<dyn Error + Send + Sync>> {
    if !request.is_upgrade() {
        return Ok(WSUpgradeResponse::ok(PAGE).content_type("text/html; charset=utf-8")?.into_upgrade());
    }
    let Some(nick) = nick(request) else {
        return Ok(
            WSUpgradeResponse::error(400, "say who you are: ?nick=NAME, 1 to 20 letters\n")?.into_upgrade()
        );
    };
    let room = request.path().to_owned();
    Ok(WSMessageAdapter::new(Member { rooms: Rc::clone(rooms), room, nick }).into_upgrade())
}

fn nick(request: &WSUpgradeRequest) -> Option<String> {
    let nick = request.query_parameter("nick")?;
    let is_fit = (1..=20).contains(&nick.chars().count()) && nick.chars().all(char::is_alphanumeric);
    is_fit.then(|| nick.into_owned())
}

/// One person in one room.
struct Member {
    rooms: Rooms,
    room: String,
    nick: String,
}

impl Member {
    fn tell_room(&self, line: &str) {
        let line = WSPreparedMessage::new(WSMsgType::Text, line);
        // The borrow is safe to hold: sending never calls back into this program.
        for member in self.rooms.borrow().get(&self.room).into_iter().flatten() {
            member.send_prepared(&line);
        }
    }
}

impl WSMessageListener for Member {
    fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
        self.rooms.borrow_mut().entry(self.room.clone()).or_default().push(transport.clone());
        self.tell_room(&format!("* {} came to {}", self.nick, self.room));
        Ok(())
    }

    fn on_ws_message(&mut self, _: &WSTransport, message: WSMessage<'_>) -> WSResult {
        if let Some(text) = message.as_text() {
            self.tell_room(&format!("{}: {text}", self.nick));
        }
        Ok(())
    }

    fn on_ws_disconnected(&mut self, transport: &WSTransport) {
        if let Some(members) = self.rooms.borrow_mut().get_mut(&self.room) {
            members.retain(|member| member != transport);
        }
        self.tell_room(&format!("* {} left", self.nick));
        let mut rooms = self.rooms.borrow_mut();
        if rooms.get(&self.room).is_some_and(Vec::is_empty) {
            rooms.remove(&self.room);
        }
    }
}

// --- the demo ------------------------------------------------------------------------------------------------------------

/// Prints what one person sees.
struct Screen(&'static str);

impl WSMessageListener for Screen {
    fn on_ws_message(&mut self, _: &WSTransport, message: WSMessage<'_>) -> WSResult {
        if let Some(line) = message.as_text() {
            println!("  on {}'s screen | {line}", self.0);
        }
        Ok(())
    }
}

async fn converse(handle: WSLoopHandle, server: WSServer) -> Result<(), WSError> {
    let addr = server.local_addr();
    let enter = async |nick: &'static str, room: &str| {
        let url = format!("ws://{addr}/{room}?nick={nick}");
        println!("{nick} opens {url}");
        let screen = WSMessageAdapter::new(Screen(nick));
        let transport = ws_connect(&handle, screen, &url, WSConnectConfig::default()).await?;
        handle.sleep(READING_TIME).await;
        Ok::<_, WSError>(transport)
    };
    let say = async |who: &WSTransport, text: &str| {
        println!("-- {text}");
        who.send(WSMsgType::Text, text);
        handle.sleep(READING_TIME).await;
    };

    let ann = enter("ann", "lobby").await?;
    let bob = enter("bob", "lobby").await?;
    let cid = enter("cid", "kitchen").await?;
    say(&ann, "hello, is anybody here?").await;
    say(&bob, "I am. Where is cid?").await;
    say(&cid, "nobody in this kitchen").await;
    println!("bob leaves");
    bob.close(WSCloseCode::OK, "supper")?;
    handle.sleep(READING_TIME).await;
    println!("somebody without a name knocks");
    let url = format!("ws://{addr}/lobby");
    let listener = WSMessageAdapter::new(Screen("nobody"));
    if let Err(error) = ws_connect(&handle, listener, &url, WSConnectConfig::default()).await {
        println!("  {error}");
    }
    Ok(())
}

/// What was said has arrived everywhere after this.
const READING_TIME: Duration = Duration::from_millis(100);
