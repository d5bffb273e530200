//! How connections begin. On real sockets where a stream or an address is the point.

use std::cell::Cell;
use std::future::pending;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use femtows::message::*;
use femtows::proto::Role;
use femtows::testkit::{Peer, TestKit};
use femtows::{
    WSConnectError, WSLoop, WSLoopConfig, WSMsgType, WSServerConfig, WSSocket, WSTask, WSUpgradeResponse,
};

use crate::ends::*;
use crate::polls::{Dropped, until};

#[test]
fn rule_a_subprotocol_must_have_been_offered_and_none_is_chosen_by_itself() {
    for (options, chosen) in [
        (AcceptOptions::new(), None),
        (AcceptOptions::new().subprotocol("b"), Some("b")),
        (AcceptOptions::new().subprotocol("B"), None),
        (AcceptOptions::new().subprotocol("d"), None),
    ] {
        let is_valid = chosen.is_some() || !format!("{options:?}").contains("subprotocol: Some");
        let mut kit = TestKit::new(1);
        let (request, mut peer) =
            asked(&mut kit, "/", "Sec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Protocol: c\r\n");
        assert_eq!(request.proposed_subprotocols(), ["a", "b", "c"]);
        assert_eq!(request.select_subprotocol(&["x", "c", "a"]), Some("c"));
        assert_eq!(request.select_subprotocol(&["x"]), None);
        let result = kit.block_on(request.accept_with(options));
        assert_eq!(result.is_ok(), is_valid);
        assert!(is_valid || is_state_error(&result));
        assert_eq!(request.subprotocol().as_deref(), chosen);
        let head = String::from_utf8_lossy(&peer.read()).to_ascii_lowercase();
        assert_eq!(head.contains("sec-websocket-protocol: b"), chosen.is_some());
        assert!(is_valid || head.is_empty(), "nothing was sent");
    }
}

#[test]
fn rule_headers_are_a_multimap_in_the_order_of_arrival() {
    let mut kit = TestKit::new(1);
    let (request, _peer) =
        asked(&mut kit, "/a%20b?q=%C3%BC+x&r=1&q=2", "X-Two: 1\r\nX-Other: y\r\nx-TWO: 2\r\n");
    assert_eq!(request.headers().get_all("X-TWO").collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(request.path(), "/a%20b");
    assert_eq!(request.request().expect("a server's").target(), "/a%20b?q=%C3%BC+x&r=1&q=2");
    assert_eq!(request.query_parameter("q").as_deref(), Some("\u{fc} x"));
    let pairs = [("q", "\u{fc} x"), ("r", "1"), ("q", "2")];
    assert_eq!(request.query_parameters(), pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert!(request.is_server() && !request.is_client() && !request.accepted());
}

#[test]
fn rule_headers_of_accept_are_sent_and_bad_ones_refused() {
    let mut kit = TestKit::new(1);
    let (request, mut peer) = asked(&mut kit, "/", "");
    for (name, value) in [("X-Bad", "a\r\nX-Evil: 1"), ("X Bad", "a"), ("", "a"), ("X-Bad", "a\0")] {
        let refused = kit.block_on(request.accept_with(AcceptOptions::new().header(name, value)));
        assert!(matches!(refused, Err(WebSocketError::InvalidArgument(_))), "{name:?}: {value:?}");
    }
    let options = AcceptOptions::new().header("X-Good", "1").header("x-good", "2");
    kit.block_on(request.accept_with(options)).expect("nothing has happened");
    let head = String::from_utf8_lossy(&peer.read()).into_owned();
    assert!(head.contains("X-Good: 1\r\n") && head.contains("x-good: 2\r\n"), "{head}");
}

#[test]
fn connection_header_of_accept_is_overridden() {
    let mut kit = TestKit::new(1);
    let (request, mut peer) = asked(&mut kit, "/", "");
    let options = AcceptOptions::new().header("Connection", "keep-alive");
    kit.block_on(request.accept_with(options)).expect("it is no error");
    let head = String::from_utf8_lossy(&peer.read()).into_owned();
    let values: Vec<_> = head.lines().filter(|line| line.starts_with("Connection:")).collect();
    assert_eq!(values, ["Connection: Upgrade"]);
}

#[test]
fn rule_reject_takes_no_101_and_only_the_first_decision_counts() {
    let mut kit = TestKit::new(1);
    let (request, mut peer) = asked(&mut kit, "/", "");
    let refused = request.reject(WSUpgradeResponse::switching_protocols());
    assert!(matches!(refused, Err(WebSocketError::InvalidArgument(_))));
    request.reject(WSUpgradeResponse::not_found()).expect("undecided");
    assert!(is_state_error(&request.reject(WSUpgradeResponse::forbidden())));
    assert!(is_state_error(&kit.block_on(request.accept())));
    assert!(is_state_error(&kit.block_on(request.send_text("refused"))));
    assert!(is_state_error(&kit.block_on(request.send_text("refused"))), "each time");
    assert!(is_state_error(&kit.block_on(request.get_message())) || request.is_closed());
    kit.run_until_idle();
    assert!(peer.read().starts_with(b"HTTP/1.1 404 "));
}

#[test]
fn rule_a_handler_that_returns_undecided_refuses_with_403() {
    let mut kit = TestKit::new(1);
    let handler = |request: WebSocketRequest| async move { drop(request) };
    match connect(&mut kit, handler, WebSocketConfig::default()) {
        Err(WebSocketError::Rejected(rejected)) => assert_eq!(rejected.status, 403),
        other => panic!("{other:?}"),
    }
}

#[test]
fn rule_the_handler_is_never_called_after_the_deadline() {
    for late in [false, true] {
        let mut kit = TestKit::new(1);
        let asked = Slot::new();
        let called = Rc::new(Cell::new(false));
        let (flag, slot) = (Rc::clone(&called), asked.clone());
        let handler = move |request: WebSocketRequest| {
            flag.set(true);
            slot.put(request);
            std::future::pending::<()>()
        };
        let mut peer = raw(&mut kit, handler, WebSocketConfig::default().connect_timeout(Some(5 * SECOND)));
        let bytes = request("/", "");
        let (first, rest) = bytes.split_at(20);
        peer.write(first);
        kit.advance(if late { 5 * SECOND } else { Duration::from_nanos(4_999_999_999) });
        peer.write(rest);
        kit.run_until_idle();
        assert_eq!(called.get(), !late);
        if !late {
            // The deadline was that of the request: the decision has one of its own.
            kit.advance(59 * SECOND);
            kit.block_on(asked.take().accept()).expect("the client waits");
        }
    }
}

#[test]
fn without_a_connect_timeout_a_request_may_take_any_time() {
    let mut kit = TestKit::new(1);
    let config = WebSocketConfig::default().connect_timeout(None);
    let mut peer = raw(&mut kit, |_: WebSocket| pending::<()>(), config);
    peer.write(b"GET / HTTP/1.1\r\nHost");
    kit.advance(100_000 * SECOND);
    assert!(!peer.link().is_closed(Role::Server));
}

/// A server whose handler neither accepts nor rejects.
fn undecided(kit: &mut TestKit, config: WebSocketConfig) -> Peer {
    raw(kit, |_: WebSocketRequest| pending::<()>(), config)
}

#[test]
fn request_head_has_10_seconds() {
    for sent in [&b""[..], b"GET / HTTP/1.1\r\nHost"] {
        let mut kit = TestKit::new(1);
        let mut peer = undecided(&mut kit, WebSocketConfig::default());
        peer.write(sent);
        kit.advance(nearly(10 * SECOND));
        assert!(!peer.link().is_closed(Role::Server), "it still has a moment");
        kit.advance(TICK);
        assert!(peer.link().is_closed(Role::Server), "after {sent:?}");
    }
}

/// The status of the refusal that comes at this time and not before.
fn refused_after(time: Duration, config: WebSocketConfig) -> String {
    let mut kit = TestKit::new(1);
    let mut peer = undecided(&mut kit, config);
    peer.write(&request("/", ""));
    kit.advance(nearly(time));
    let mut status =
        || String::from_utf8_lossy(&peer.read()).lines().next().unwrap_or("no answer").to_owned();
    assert_eq!(status(), "no answer", "the handler may still decide");
    kit.advance(TICK);
    status()
}

#[test]
fn undecided_request_is_503_after_60_seconds() {
    assert_eq!(refused_after(60 * SECOND, WebSocketConfig::default()), "HTTP/1.1 503 Service Unavailable");
}

#[test]
fn undecided_request_is_503_after_60_seconds_with_a_server_config_that_sets_other_things() {
    let config = WebSocketConfig::default().server(WSServerConfig::default().max_connections(5));
    assert_eq!(refused_after(60 * SECOND, config), "HTTP/1.1 503 Service Unavailable");
}

#[test]
fn decision_timeout_of_the_server_config_holds_for_handlers() {
    let server = WSServerConfig::default().decision_timeout(Some(5 * SECOND));
    let config = WebSocketConfig::default().server(server);
    assert_eq!(refused_after(5 * SECOND, config), "HTTP/1.1 503 Service Unavailable");
}

#[test]
fn handler_may_decide_for_ever_without_a_decision_timeout() {
    let config = WebSocketConfig::default().server(WSServerConfig::default().decision_timeout(None));
    assert_eq!(refused_after(100_000 * SECOND, config), "no answer");
}

#[test]
fn connect_deadline_of_a_client_is_60_seconds() {
    let mut kit = TestKit::new(1);
    let config = WebSocketConfig::default();
    let connect_config = config.connect_config();
    let (listener, _pending) = websocket_listener(&kit.handle(), config);
    let (_mute, client) = kit.raw_client(listener, connect_config);
    let start = kit.now();
    let result = kit.block_on(client);
    assert!(matches!(result, Err(WSConnectError::Timeout { .. })), "{result:?}");
    assert_eq!(kit.now() - start, 60 * SECOND);
}

/// A loop with a server on it that tells the target, and its port.
fn serving() -> (WSLoop, u16, femtows::WSServer) {
    let event_loop = WSLoop::new(WSLoopConfig::default()).expect("a loop");
    let handler = |ws: WebSocket| async move {
        ws.accept().await?;
        ws.send_text(ws.request().expect("a server's").target()).await?;
        ws.get_message().await.map(drop)
    };
    let addr = (Ipv4Addr::LOCALHOST, 0);
    let server =
        serve_websocket(&event_loop.handle(), handler, addr, WebSocketConfig::default()).expect("a server");
    let port = server.local_addr().port();
    (event_loop, port, server)
}

#[test]
fn trio_resources_with_and_without_their_first_slash() {
    let (mut event_loop, port, _server) = serving();
    let handle = event_loop.handle();
    event_loop
        .block_on(async move {
            for (resource, path) in [("", "/"), ("/", "/"), ("/r?foo=bar", "/r?foo=bar"), ("r", "/r")] {
                let config = WebSocketConfig::default();
                let body = async |ws: WebSocket| ws.receive_text().await.expect("open");
                let seen = open_websocket(&handle, "127.0.0.1", port, resource, config.clone(), body);
                assert_eq!(seen.await.expect("it accepts"), path);
                let ws = connect_websocket(&handle, "127.0.0.1", port, resource, config);
                assert_eq!(ws.await.expect("it accepts").receive_text().await.expect("open"), path);
            }
        })
        .expect("the loop runs");
}

/// Runs `task` to its end, and then until nothing is left on the loop but `kept` slots.
fn drain<T: 'static>(event_loop: &mut WSLoop, task: WSTask<T>, kept: usize) -> T {
    let output = event_loop.block_on(task).expect("the loop runs");
    let handle = event_loop.handle();
    // A wait that only a leak makes long.
    for _ in 0..5000 {
        if handle.slots() == kept {
            return output;
        }
        event_loop.run_once(Some(Duration::from_millis(2))).expect("the loop runs");
    }
    panic!("{} slots are left", handle.slots());
}

#[test]
fn connect_dropped_at_each_poll_leaves_nothing() {
    let (mut event_loop, port, _server) = serving();
    let mut finished = 0;
    for dropped in Dropped::within(8) {
        let handle = event_loop.handle();
        let task = event_loop.handle().spawn(async move {
            let url = format!("ws://127.0.0.1:{port}/");
            let connecting = connect_websocket_url(&handle, &url, WebSocketConfig::default());
            Box::pin(until(dropped, connecting)).await.is_some_and(|ws| ws.is_ok())
        });
        finished += usize::from(drain(&mut event_loop, task, 1));
    }
    assert!(finished > 0, "some had polls enough");
}

#[test]
fn open_websocket_url_dropped_at_each_poll_leaves_nothing() {
    let (mut event_loop, port, _server) = serving();
    let mut finished = 0;
    for dropped in Dropped::within(12) {
        let handle = event_loop.handle();
        let task = event_loop.handle().spawn(async move {
            let url = format!("ws://127.0.0.1:{port}/");
            let body = async |ws: WebSocket| ws.receive_text().await.expect("open");
            let opening = open_websocket_url(&handle, &url, WebSocketConfig::default(), body);
            Box::pin(until(dropped, opening)).await.is_some_and(|path| path.is_ok_and(|path| path == "/"))
        });
        finished += usize::from(drain(&mut event_loop, task, 1));
    }
    assert!(finished > 0, "some had polls enough");
}

/// The two ends of a pair of sockets, of which one is wrapped by a future that is dropped.
fn wrapped(dropped: Dropped, drops_server: bool) -> bool {
    let mut event_loop = WSLoop::new(WSLoopConfig::default()).expect("a loop");
    let (here, there) = WSSocket::pair().expect("sockets");
    let never = Dropped::After(usize::MAX);
    let (server_fate, client_fate) = if drops_server { (dropped, never) } else { (never, dropped) };
    let handle = event_loop.handle();
    let config = WebSocketConfig::default;
    let server = handle.clone();
    let server = handle.spawn(async move {
        let request = until(server_fate, wrap_server_stream(&server, here, config())).await;
        let ws = request?.ok()?.accept().await.ok()?;
        ws.receive_text().await.ok()
    });
    let client = handle.clone();
    let client = handle.spawn(async move {
        let wrapping = wrap_client_stream(&client, there, "ws://localhost/", config());
        let ws = match Box::pin(until(client_fate, wrapping)).await {
            Some(Ok(ws)) => ws,
            Some(Err(WebSocketError::ConnectionTimeout)) => panic!("nobody has answered"),
            _ => return false,
        };
        ws.send_text("hello").await.is_ok() && ws.get_message().await.is_err()
    });
    let both = handle.spawn(async move { (server.await, client.await) });
    let (text, is_closed) = drain(&mut event_loop, both, 0);
    assert_eq!(text.is_some(), is_closed, "{dropped:?}");
    assert!(text.is_none_or(|text| text == "hello"));
    is_closed
}

#[test]
fn wrap_client_stream_dropped_at_each_poll_leaves_nothing() {
    let finished = Dropped::within(6).filter(|&dropped| wrapped(dropped, false)).count();
    assert!((1..14).contains(&finished), "{finished}");
}

#[test]
fn wrap_server_stream_dropped_at_each_poll_leaves_nothing() {
    let finished = Dropped::within(6).filter(|&dropped| wrapped(dropped, true)).count();
    assert!((1..14).contains(&finished), "{finished}");
}

#[test]
fn rule_what_is_sent_between_accept_and_the_opening_waits_for_it() {
    let mut kit = TestKit::new(1);
    let handler = async |ws: WebSocket| {
        assert!(until(Dropped::After(1), ws.accept()).await.is_none(), "it is not open yet");
        ws.send_text("early").await.expect("it opens");
        pending::<()>().await;
    };
    let (client, _link) = connect(&mut kit, handler, WebSocketConfig::default()).expect("accepted");
    assert_eq!(kit.block_on(client.receive_text()).expect("open"), "early");
}

#[test]
fn rule_aclose_between_accept_and_the_opening_waits_for_the_end() {
    // The client answers the CLOSE, or has gone.
    for stays in [true, false] {
        let mut kit = TestKit::new(1);
        let (request, mut peer) = asked(&mut kit, "/", "");
        let closed = Slot::new();
        let done = closed.clone();
        let closing = async move {
            let is_dropped = until(Dropped::After(1), request.accept()).await.is_none();
            assert_eq!(is_dropped, stays, "it is not open yet, or never will be");
            let transport = |request: &WebSocketRequest| request.transport().cloned();
            assert!(transport(&request).is_none());
            request.aclose(1000, "at once").await.expect("the peer does its part");
            done.put(transport(&request).map(|transport| transport.is_disconnected()));
        };
        if !stays {
            peer.close();
        }
        kit.handle().spawn(closing).detach();
        kit.run_until_idle();
        if stays {
            let told = peer.read();
            assert!(told.starts_with(b"HTTP/1.1 101 ") && told.ends_with(b"at once"), "{told:?}");
            assert!(closed.0.take().is_none(), "the peer has not answered");
            peer.send_frame(WSMsgType::Close, &close_payload(1000, ""));
            kit.run_until_idle();
            assert_eq!(closed.take(), Some(true));
        } else {
            assert_eq!(closed.take(), None);
        }
    }
}

#[test]
fn rule_a_subprotocol_is_not_chosen_by_a_header() {
    let mut kit = TestKit::new(1);
    let (request, mut peer) = asked(&mut kit, "/", "Sec-WebSocket-Protocol: a, b\r\n");
    for name in ["a", "z"] {
        let options = AcceptOptions::new().subprotocol("b").header("sec-websocket-protocol", name);
        let refused = kit.block_on(request.accept_with(options));
        assert!(matches!(refused, Err(WebSocketError::InvalidArgument(_))), "{name}: {refused:?}");
    }
    assert!(request.subprotocol().is_none() && peer.read().is_empty(), "nothing has happened");
    kit.block_on(request.accept_with(AcceptOptions::new().subprotocol("b"))).expect("undecided");
}
