//! A chat on all cores: rooms and presence over the threads of one server.
//!
//! ```text
//! chat_cores [--addr 127.0.0.1:9005]    serve: ws://127.0.0.1:9005/rooms/lobby?name=ann
//! chat_cores --demo                     server and three clients in this process, and it ends
//! ```
//!
//! A connection stays on the thread that accepted it. Each thread keeps the connections of its own
//! members by room; a line is encoded once and posted to all threads. The names of the members are
//! shared.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use femtows::message::{Routes, WebSocket, WebSocketConfig, WebSocketError, connect_websocket_url};
use femtows::{
    WSCloseCode, WSError, WSLimits, WSLoopHandle, WSLoopRemote, WSMessage, WSMessageAdapter,
    WSMessageListener, WSMsgType, WSPerCoreConfig, WSPreparedMessage, WSResult, WSServerConfig,
    WSServerThreads, WSSpread, WSTransport, WSUpgradeRequest, WSUpgradeResponse, run, ws_serve_per_core,
};

#[path = "support/args.rs"]
mod args;

use args::Args;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = Args::parse("chat_cores [--addr 127.0.0.1:9005] | chat_cores --demo");
    let is_demo = args.flag("--demo");
    let addr = args.value("--addr").unwrap_or_else(|| "127.0.0.1:9005".into());
    args.finish();
    if is_demo {
        // In turn, so that the members of the demo are on different threads.
        let server =
            serve("127.0.0.1:0", WSPerCoreConfig::default().threads(3).spread(WSSpread::RoundRobin))?;
        run(async |handle| handle.timeout(Duration::from_secs(20), converse(&handle, &server)).await?)?;
        server.shutdown(WSCloseCode::GOING_AWAY, "the chat is over", Duration::ZERO, Duration::from_secs(5));
        server.join()?;
        return Ok(());
    }
    let server = serve(&addr, WSPerCoreConfig::default())?;
    println!("chat on ws://{}/rooms/lobby?name=ann, {} threads", server.local_addr(), server.threads());
    server.join()?;
    Ok(())
}

// --- the server ----------------------------------------------------------------------------------

/// Shared by the threads.
#[derive(Clone, Default)]
struct Chat(Arc<Mutex<Shared>>);

#[derive(Default)]
struct Shared {
    loops: Vec<WSLoopRemote>,
    /// Who is in each room, and on how many connections.
    present: HashMap<String, BTreeMap<String, i32>>,
}

/// The connections of this thread by room.
type Rooms = RefCell<HashMap<String, Vec<WSTransport>>>;

fn serve(addr: &str, threads: WSPerCoreConfig) -> Result<WSServerThreads, WSError> {
    let chat = Chat::default();
    let limits = WSLimits::default().max_message_size(4096).max_outbound(256 * 1024);
    let config = WSServerConfig::default().limits(limits).enable_auto_ping(true);
    let make_factory = move |handle: &WSLoopHandle| {
        // Before this thread accepts its first connection.
        chat.shared().loops.push(handle.remote());
        Routes::with_state(chat).route("/rooms/{room}", admit).into_factory()
    };
    ws_serve_per_core(make_factory, addr, config, threads)
}

fn admit(request: &WSUpgradeRequest, chat: &Chat) -> Result<WSMessageAdapter<Member>, WSUpgradeResponse> {
    let room = request.path_parameter("room").unwrap_or_default().to_owned();
    match request.query_parameter("name") {
        Some(name) if (1..=20).contains(&name.chars().count()) => {
            Ok(WSMessageAdapter::new(Member { chat: chat.clone(), room, name: name.into_owned() }))
        }
        _ => Err(WSUpgradeResponse::error(400, "say who you are: ?name=NAME, 1 to 20 letters\n")?),
    }
}

impl Chat {
    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Sends a line to all members of a room, on all threads. The lock is held, so that all of them
    /// get the lines of a room in the same order.
    fn tell(&self, room: &str, line: &str) {
        let line = WSPreparedMessage::new(WSMsgType::Text, line);
        for on_loop in &self.loops {
            let (room, line) = (room.to_owned(), line.clone());
            let posted = on_loop.post(move |handle| {
                for member in handle.local::<Rooms>().borrow().get(&room).into_iter().flatten() {
                    member.send_prepared(&line);
                }
            });
            if let Err(error) = posted {
                eprintln!("a thread misses a line: {error}");
            }
        }
    }

    /// Counts the connections of a member, and sends the room the names of those present.
    fn count(&mut self, room: &str, name: &str, change: i32) {
        let names = self.present.entry(room.to_owned()).or_default();
        let connections = names.entry(name.to_owned()).or_default();
        *connections += change;
        if *connections == 0 {
            names.remove(name);
        }
        let line = format!("* present: {}", names.keys().map(String::as_str).collect::<Vec<_>>().join(", "));
        if names.is_empty() {
            self.present.remove(room);
        }
        self.tell(room, &line);
    }
}

/// A member's connection.
struct Member {
    chat: Chat,
    room: String,
    name: String,
}

impl WSMessageListener for Member {
    fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
        let rooms = transport.handle().local::<Rooms>();
        rooms.borrow_mut().entry(self.room.clone()).or_default().push(transport.clone());
        self.chat.shared().count(&self.room, &self.name, 1);
        Ok(())
    }

    fn on_ws_message(&mut self, _: &WSTransport, message: WSMessage<'_>) -> WSResult {
        if let Some(text) = message.as_text() {
            self.chat.shared().tell(&self.room, &format!("{}: {text}", self.name));
        }
        Ok(())
    }

    fn on_ws_disconnected(&mut self, transport: &WSTransport) {
        let rooms = transport.handle().local::<Rooms>();
        let mut rooms = rooms.borrow_mut();
        let members = rooms.entry(self.room.clone()).or_default();
        members.retain(|member| member != transport);
        if members.is_empty() {
            rooms.remove(&self.room);
        }
        self.chat.shared().count(&self.room, &self.name, -1);
    }
}

// --- the demo ------------------------------------------------------------------------------------

async fn converse(handle: &WSLoopHandle, server: &WSServerThreads) -> Result<(), Box<dyn Error>> {
    let enter = async |name: &str, room: &str| {
        let url = format!("ws://{}/rooms/{room}?name={name}", server.local_addr());
        connect_websocket_url(handle, &url, WebSocketConfig::default()).await
    };
    let ann = enter("ann", "lobby").await?;
    expect("ann", &ann, "* present: ann").await?;
    let bob = enter("bob", "lobby").await?;
    expect("ann", &ann, "* present: ann, bob").await?;
    expect("bob", &bob, "* present: ann, bob").await?;
    let cid = enter("cid", "kitchen").await?;
    expect("cid", &cid, "* present: cid").await?;
    assert_eq!(server.connections_by_thread().collect::<Vec<_>>(), [1, 1, 1]);

    ann.send_text("hello").await?;
    for (name, ws) in [("ann", &ann), ("bob", &bob)] {
        expect(name, ws, "ann: hello").await?;
    }
    bob.aclose(WSCloseCode::OK, "supper").await?;
    expect("ann", &ann, "* present: ann").await?;
    cid.send_text("is anybody here?").await?;
    // What was said in the lobby has not come to the kitchen.
    expect("cid", &cid, "cid: is anybody here?").await?;
    assert!(
        matches!(enter("", "lobby").await, Err(WebSocketError::Rejected(refusal)) if refusal.status == 400)
    );
    println!("three members on three threads heard what was said in their rooms");
    Ok(())
}

async fn expect(name: &str, ws: &WebSocket, line: &str) -> Result<(), WebSocketError> {
    let heard = ws.receive_text().await?;
    println!("  on {name}'s screen | {heard}");
    assert_eq!(heard, line);
    Ok(())
}
