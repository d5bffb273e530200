//! Two ends of a simulated connection.

use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use femtows::message::*;
use femtows::testkit::{Peer, SimLink, TestKit};
use femtows::{WSCloseCode, WSMsgType};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const TICK: Duration = Duration::from_nanos(1);

/// All of a time but for a tick.
pub(crate) fn nearly(time: Duration) -> Duration {
    time.saturating_sub(TICK)
}

/// What a test and its handlers hand to each other.
pub(crate) struct Slot<T>(pub(crate) Rc<Cell<Option<T>>>);

impl<T> Slot<T> {
    pub(crate) fn new() -> Self {
        Self(Rc::default())
    }

    pub(crate) fn put(&self, value: T) {
        self.0.set(Some(value));
    }

    /// What was put there.
    pub(crate) fn take(&self) -> T {
        self.0.take().expect("something was put there")
    }
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

/// What happened, in order.
pub(crate) struct Log<T = String>(Rc<RefCell<Vec<T>>>);

impl<T> Log<T> {
    pub(crate) fn new() -> Self {
        Self(Rc::default())
    }

    pub(crate) fn add(&self, entry: T) {
        self.0.borrow_mut().push(entry);
    }

    pub(crate) fn take(&self) -> Vec<T> {
        self.0.take()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.borrow().len()
    }
}

impl<T> Clone for Log<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

/// A client of a server that runs `handler`, both with the same configuration.
pub(crate) fn connect<A>(
    kit: &mut TestKit,
    handler: impl IntoRoutes<A>,
    config: WebSocketConfig,
) -> Result<(WebSocket, SimLink), WebSocketError> {
    connect_with(kit, handler, config.clone(), config)
}

/// A client of a server that runs `handler`.
pub(crate) fn connect_with<A>(
    kit: &mut TestKit,
    handler: impl IntoRoutes<A>,
    server: WebSocketConfig,
    client: WebSocketConfig,
) -> Result<(WebSocket, SimLink), WebSocketError> {
    let handle = kit.handle();
    let (server_config, connect_config) = (server.server_config(), client.connect_config());
    let (listener, pending) = websocket_listener(&handle, client);
    let factory = websocket_factory(handler, server);
    let opening = kit.opening(factory, |_, _| listener, server_config, connect_config);
    kit.block_on(opening.client)?;
    Ok((pending.opened(), opening.link))
}

/// A server that runs `handler`; its peer is the test, and has not sent its request.
pub(crate) fn raw<A>(kit: &mut TestKit, handler: impl IntoRoutes<A>, config: WebSocketConfig) -> Peer {
    let server_config = config.server_config();
    let factory = websocket_factory(handler, config);
    kit.raw_server(factory, server_config)
}

/// A good request for this path, with these lines more.
pub(crate) fn request(path: &str, lines: &str) -> Vec<u8> {
    let head = String::from_utf8(Peer::request()).expect("a head is ASCII");
    head.replacen("GET / ", &format!("GET {path} "), 1)
        .replacen("\r\n", &format!("\r\n{lines}"), 1)
        .into_bytes()
}

/// Both ends of an open connection. The client's is the only handle.
pub(crate) struct Pair {
    pub(crate) client: WebSocket,
    pub(crate) server: WebSocket,
    pub(crate) link: SimLink,
}

pub(crate) fn pair(kit: &mut TestKit, config: WebSocketConfig) -> Pair {
    pair_with(kit, config.clone(), config)
}

pub(crate) fn pair_with(kit: &mut TestKit, server: WebSocketConfig, client: WebSocketConfig) -> Pair {
    let accepted = Slot::new();
    let (client, link) =
        connect_with(kit, give_away(&accepted), server, client).expect("the handler accepts");
    kit.run_until_idle();
    Pair { client, server: accepted.take(), link }
}

/// A server's end whose peer is the test.
pub(crate) fn raw_pair(kit: &mut TestKit, config: WebSocketConfig) -> (WebSocket, Peer) {
    let accepted = Slot::new();
    let mut peer = raw(kit, give_away(&accepted), config);
    peer.upgrade(kit);
    (accepted.take(), peer)
}

/// A client's end whose peer is the test.
pub(crate) fn raw_client(kit: &mut TestKit, config: WebSocketConfig) -> (WebSocket, Peer) {
    let connect_config = config.connect_config();
    let (listener, pending) = websocket_listener(&kit.handle(), config);
    let (mut peer, client) = kit.raw_client(listener, connect_config);
    peer.upgrade(kit);
    kit.block_on(client).expect("the peer accepts");
    (pending.opened(), peer)
}

/// A handler that accepts and leaves the connection to the test. It never returns, and so has a handle of its own.
pub(crate) fn give_away(accepted: &Slot<WebSocket>) -> impl Handler<WebSocketRequest> + use<> {
    let accepted = accepted.clone();
    move |request: WebSocketRequest| {
        let accepted = accepted.clone();
        async move {
            accepted.put(request.accept().await.expect("the client waits"));
            drop(request);
            pending::<()>().await;
        }
    }
}

/// A handler that leaves the decision to the test.
pub(crate) fn ask(asked: &Slot<WebSocketRequest>) -> impl Handler<WebSocketRequest> + use<> {
    let asked = asked.clone();
    move |request: WebSocketRequest| {
        asked.put(request);
        pending::<()>()
    }
}

/// A request for this path, with these lines more, that a server has got and not decided on; and who has asked.
pub(crate) fn asked(kit: &mut TestKit, path: &str, lines: &str) -> (WebSocketRequest, Peer) {
    let asked = Slot::new();
    let mut peer = raw(kit, ask(&asked), WebSocketConfig::default());
    peer.write(&request(path, lines));
    kit.run_until_idle();
    (asked.take(), peer)
}

/// The code with which the connection is closed.
pub(crate) fn code<T: Debug>(result: Result<T, WebSocketError>) -> u16 {
    match result {
        Err(WebSocketError::Closed(closed)) => closed.reason.code.0,
        other => panic!("not closed: {other:?}"),
    }
}

/// Whether the call was refused because of the state.
pub(crate) fn is_state_error<T: Debug>(result: &Result<T, WebSocketError>) -> bool {
    matches!(result, Err(WebSocketError::State(_)))
}

/// CLOSE as it is on the wire.
pub(crate) fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

/// The payloads of the CLOSE frames that came.
pub(crate) fn closes(peer: &mut Peer) -> Vec<Vec<u8>> {
    let frames = peer.frames().into_iter();
    frames.filter(|frame| frame.msg_type == WSMsgType::Close).map(|frame| frame.payload).collect()
}

pub(crate) fn reason(code: u16, text: &str) -> CloseReason {
    CloseReason::new(WSCloseCode(code), text)
}
