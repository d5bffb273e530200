//! A chat for people: rooms at `/chat/{room}`, and a page to chat with on the same port.
//!
//! ```text
//! chat_page [--addr 127.0.0.1:9003]    then open http://127.0.0.1:9003/ in two windows
//! ```
//!
//! One task per member receives lines. What is said is encoded once, and queued for all who are in the room: nobody waits for a member
//! that reads slowly, who is cut off when too much waits for it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::error::Error;
use std::rc::Rc;
use std::time::Duration;

use femtows::message::{HandlerError, Routes, WebSocket, WebSocketConfig, serve_websocket};
use femtows::{
    WSCloseCode, WSLimits, WSLoop, WSLoopConfig, WSLoopHandle, WSMsgType, WSOriginPolicy, WSPreparedMessage,
    WSServer, WSServerConfig, WSTransport, WSUpgradeResponse,
};
use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

#[path = "support/args.rs"]
mod args;

use args::Args;

const PAGE: &str = include_str!("chat_page.html");

/// The page needs nothing from elsewhere, so it may have nothing from elsewhere.
const PAGE_POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'";

/// Longest name of a member or a room, in characters.
const LONGEST_NAME: usize = 30;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = Args::parse("chat_page [--addr 127.0.0.1:9003]");
    let addr = args.value("--addr").unwrap_or_else(|| "127.0.0.1:9003".into());
    args.finish();

    let mut event_loop = WSLoop::new(WSLoopConfig::default())?;
    let server = serve(&event_loop.handle(), &addr)?;
    println!("chat on http://{}/", server.local_addr());

    let remote = event_loop.handle().remote();
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::spawn(move || {
        signals.forever().next();
        remote.stop();
    });
    event_loop.run()?;
    event_loop.shutdown(WSCloseCode::GOING_AWAY, "the chat is over", Duration::from_secs(5))?;
    Ok(())
}

/// Serves page and chat on `addr`.
pub(crate) fn serve(handle: &WSLoopHandle, addr: &str) -> Result<WSServer, Box<dyn Error>> {
    let page = WSUpgradeResponse::ok(PAGE)
        .content_type("text/html; charset=utf-8")?
        .header("Content-Security-Policy", PAGE_POLICY)?;
    let rooms = Rooms::default();
    let routes = Routes::new().route("/chat/{room}", move |ws: WebSocket| chat(ws, Rc::clone(&rooms))).http(
        move |request| match request.path() {
            "/" => page.clone(),
            _ => WSUpgradeResponse::not_found(),
        },
    );
    let server = WSServerConfig::default()
        .limits(WSLimits::default().max_outbound(256 * 1024))
        .origin(WSOriginPolicy::same_host())
        .max_connections(1000)
        // A member whose machine has gone to sleep leaves the room.
        .enable_auto_ping(true);
    #[cfg(feature = "deflate")]
    let server = server.deflate(femtows::WSDeflateConfig::default());
    let config = WebSocketConfig::default().max_message_size(4096).server(server);
    Ok(serve_websocket(handle, routes, addr, config)?)
}

// --- a member ------------------------------------------------------------------------------------------------------------

async fn chat(ws: WebSocket, rooms: Rooms) -> Result<(), HandlerError> {
    let room = ws.path_parameter("room").and_then(fit);
    let name = ws.query_parameter("name").as_deref().and_then(fit);
    ws.accept().await?;
    let (Some(room), Some(name)) = (room, name) else {
        // A browser does not tell a page why a handshake was refused, but it does tell how a connection was closed.
        ws.close(4000, "a name has 1 to 30 characters")?;
        return Ok(());
    };
    let Some(transport) = ws.transport() else { return Ok(()) };
    let seat = Seat::take(rooms, room, &name, transport);
    let mut lines = ws.iter_text();
    while let Some(line) = lines.next().await {
        seat.tell_room(&json!({ "event": "said", "name": seat.name, "text": line? }));
    }
    Ok(())
}

/// The name without the space around it, if it may be one.
fn fit(name: &str) -> Option<String> {
    let name = name.trim();
    let is_fit = (1..=LONGEST_NAME).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    is_fit.then(|| name.to_owned())
}

// --- the rooms -----------------------------------------------------------------------------------------------------------

/// Who is in which room, by name. All connections live on one loop, so there is nothing to lock.
type Rooms = Rc<RefCell<BTreeMap<String, BTreeMap<String, WSTransport>>>>;

/// A member's place in a room, until it is dropped: at the end of the task, however it ends.
struct Seat {
    rooms: Rooms,
    room: String,
    name: String,
}

impl Seat {
    fn take(rooms: Rooms, room: String, name: &str, transport: &WSTransport) -> Self {
        let name = {
            let mut rooms = rooms.borrow_mut();
            let members = rooms.entry(room.clone()).or_default();
            let name = free_name(members, name);
            members.insert(name.clone(), transport.clone());
            name
        };
        let seat = Self { rooms, room, name };
        transport.send(WSMsgType::Text, json!({ "event": "welcome", "name": seat.name }).to_string());
        seat.tell_room(&json!({ "event": "joined", "name": seat.name, "members": seat.members() }));
        seat
    }

    fn members(&self) -> Vec<String> {
        self.rooms.borrow().get(&self.room).into_iter().flat_map(BTreeMap::keys).cloned().collect()
    }

    fn tell_room(&self, event: &Value) {
        let message = WSPreparedMessage::new(WSMsgType::Text, event.to_string());
        // The borrow is safe to hold: sending never calls back into this program, and never waits.
        for member in self.rooms.borrow().get(&self.room).into_iter().flat_map(BTreeMap::values) {
            member.send_prepared(&message);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(members) = self.rooms.borrow_mut().get_mut(&self.room) {
            members.remove(&self.name);
        }
        self.tell_room(&json!({ "event": "left", "name": self.name, "members": self.members() }));
        self.rooms.borrow_mut().retain(|_, members| !members.is_empty());
    }
}

/// The name, with a number behind it if somebody has it already.
fn free_name(members: &BTreeMap<String, WSTransport>, name: &str) -> String {
    let numbered = (2_u64..).map(|number| format!("{name} {number}"));
    let mut names = std::iter::once(name.to_owned()).chain(numbered);
    names.find(|name| !members.contains_key(name)).expect("there are fewer members than numbers")
}
