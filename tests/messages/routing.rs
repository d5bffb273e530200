//! Which handler serves which request, and what it is told of it.

use std::cell::RefCell;
use std::rc::Rc;

use femtows::message::*;
use femtows::testkit::TestKit;
use femtows::{
    WSFrame, WSIntoUpgrade, WSListener, WSResult, WSServerConfig, WSTransport, WSUpgradeRequest,
    WSUpgradeResponse,
};

use crate::ends::*;

/// What a request gets: the name of the route, path, URL and parameter `x` as its handler sees them; or the status and the body.
fn served(target: &str) -> String {
    let mut kit = TestKit::new(1);
    let seen = Log::new();
    let serve = |name: &'static str| {
        let seen = seen.clone();
        move |ws: WebSocket| {
            let parameter = ws.path_parameter("x").unwrap_or("-").to_owned();
            seen.add(format!("{name} {} {} {parameter}", ws.path(), ws.url()));
            async {}
        }
    };
    let routes = Routes::new()
        .route("/a", serve("first"))
        .route("/b", serve("b"))
        .route("/a", serve("second"))
        .route("/one/{x}", serve("one"))
        .route("/all/{x:path}", serve("all"));
    let mut peer = raw(&mut kit, routes, WebSocketConfig::default());
    peer.write(&request(target, ""));
    kit.run_until_idle();
    let head = String::from_utf8(peer.read()).expect("ASCII");
    let status = head.split(' ').nth(1).expect("a status").to_owned();
    let seen = seen.take();
    assert!(seen.len() <= 1, "one handler at most: {seen:?}");
    seen.into_iter().next().unwrap_or(status)
}

#[test]
fn the_path_alone_chooses_the_route() {
    assert_eq!(served("/a"), "first /a ws://testkit/a -");
    assert_eq!(served("/a?"), "first /a ws://testkit/a? -");
    assert_eq!(served("/a?u=http://host/b"), "first /a ws://testkit/a?u=http://host/b -");
    assert_eq!(served("/a?/b"), "first /a ws://testkit/a?/b -");
    assert_eq!(served("/%61"), "first /%61 ws://testkit/%61 -");
    for elsewhere in
        ["/", "/a/", "//a", "/A", "/a%2f", "/a%3f", "/a;b", "/./a", "/a/../b", "/one", "/one/", "/one/1/"]
    {
        assert_eq!(served(elsewhere), "404", "{elsewhere}");
    }
}

fn status_of_unknown_route(routes: Routes) -> String {
    let mut kit = TestKit::new(1);
    let mut peer = raw(&mut kit, routes, WebSocketConfig::default());
    peer.write(&request("/nowhere", ""));
    kit.run_until_idle();
    String::from_utf8(peer.read()).expect("ASCII").split(' ').nth(1).expect("a status").to_owned()
}

#[test]
fn unknown_route_is_404() {
    let routes = Routes::new().route("/a", |_: WebSocket| async {});
    assert_eq!(status_of_unknown_route(routes), "404");
}

#[test]
fn unknown_route_gets_the_response_that_the_application_chose() {
    let routes = Routes::new().not_found(WSUpgradeResponse::forbidden());
    assert_eq!(status_of_unknown_route(routes), "403");
}

#[test]
fn a_target_that_is_a_whole_uri_is_taken_apart() {
    assert_eq!(served("http://host:1/a?q"), "first /a ws://host:1/a?q -");
    assert_eq!(served("http://host?q=/b"), "404");
    assert_eq!(served("http://host"), "404");
    assert_eq!(served("http://host/one/http://other/a"), "404");
}

#[test]
fn parameters_are_decoded_once_whatever_they_hold() {
    for (target, parameter) in [
        ("/one/a%20b", "a b"),
        ("/one/a+b", "a+b"),
        ("/one/%2561", "%61"),
        ("/one/a%2Fb", "a/b"),
        ("/one/%", "%"),
        ("/one/%4", "%4"),
        ("/one/%ff", "\u{fffd}"),
        ("/one/..", ".."),
        ("/one/x?y", "x"),
        ("/all/a//b/", "a//b/"),
        ("/all/", ""),
        ("/all", ""),
        ("/all/http://host/a", "http://host/a"),
    ] {
        let path = target.split('?').next().expect("a path");
        let expected = format!("{} {path} ws://testkit{target} {parameter}", &target[1..4]);
        assert_eq!(served(target), expected);
    }
}

#[test]
fn plain_requests_never_reach_a_handler() {
    let plain = b"GET /a?x=1 HTTP/1.1\r\nHost: testkit\r\n\r\n";
    for (answers, expected) in [(false, "HTTP/1.1 404 "), (true, "HTTP/1.1 200 ")] {
        let mut kit = TestKit::new(1);
        let called = Log::new();
        let calls = called.clone();
        let handler = move |_: WebSocket| {
            calls.add("nobody asks for a connection");
            async {}
        };
        let mut routes = Routes::new().route("/a", handler);
        if answers {
            routes = routes.http(|request| WSUpgradeResponse::ok(request.target().to_owned()));
        }
        let mut peer = raw(&mut kit, routes, WebSocketConfig::default());
        peer.write(plain);
        kit.run_until_idle();
        let head = String::from_utf8(peer.read()).expect("ASCII");
        assert!(head.starts_with(expected), "{head}");
        assert_eq!(head.ends_with("/a?x=1"), answers);
        assert_eq!(called.take(), [""; 0]);
    }
}

#[test]
fn a_route_has_the_deadlines_of_its_server() {
    let mut kit = TestKit::new(1);
    let accepted = Slot::new();
    let own = WebSocketConfig::default().message_queue_size(3).disconnect_timeout(SECOND);
    let routes = Routes::new().route_with("/", own, give_away(&accepted));
    let mut peer = raw(&mut kit, routes, WebSocketConfig::default().disconnect_timeout(5 * SECOND));
    peer.upgrade(&mut kit);
    let ws = accepted.take();
    assert_eq!(ws.disconnect_timeout(), 5 * SECOND);
    let start = kit.now();
    let late = kit.block_on(ws.aclose(1000, ""));
    assert!(matches!(late, Err(WebSocketError::DisconnectionTimeout)), "{late:?}");
    assert_eq!(kit.now() - start, 5 * SECOND, "it is what it says");
}

struct Deaf;

impl WSListener for Deaf {
    fn on_ws_frame(&mut self, _: &WSTransport, _: &mut WSFrame<'_>) -> WSResult {
        Ok(())
    }
}

/// What requests for rooms ask for, in order.
type Rooms = RefCell<Vec<String>>;

/// Lets whoever has a name into a room.
fn enter(request: &WSUpgradeRequest, rooms: &Rc<Rooms>) -> Result<Deaf, WSUpgradeResponse> {
    let Some(name) = request.query_parameter("name") else {
        return Err(WSUpgradeResponse::unauthorized("Bearer")?);
    };
    let room = request.path_parameter("room").unwrap_or("none");
    rooms.borrow_mut().push(format!("{name} in {room}"));
    Ok(Deaf)
}

/// The status line of the answer of `routes` to a request.
fn status_of<S: 'static>(routes: Routes<S>, request: &[u8]) -> String {
    let mut kit = TestKit::new(1);
    let mut peer = kit.raw_server(routes.into_factory(), WSServerConfig::default());
    peer.write(request);
    kit.run_until_idle();
    let head = String::from_utf8(peer.read()).expect("ASCII");
    head.split(' ').nth(1).expect("a status").to_owned()
}

#[test]
fn listeners_are_routed_with_parameters_and_state() {
    let rooms: Rc<Rooms> = Rc::default();
    let routes = || Routes::with_state(Rc::clone(&rooms)).route("/chat/{room}", enter);
    for (target, status) in [
        ("/chat/a%20b?name=Ann", "101"),
        ("/chat/c?name=B%C3%B6rn+1", "101"),
        ("http://other/chat/d?name=Eve", "101"),
        ("/chat/a", "401"),
        ("/chat/", "404"),
        ("/chat/a/b?name=Ann", "404"),
        ("/", "404"),
    ] {
        assert_eq!(status_of(routes(), &request(target, "")), status, "{target}");
    }
    assert_eq!(*rooms.borrow(), ["Ann in a b", "B\u{f6}rn 1 in c", "Eve in d"]);
}

#[test]
fn routes_of_listeners_take_whatever_a_factory_returns() {
    let boxed = |_: &WSUpgradeRequest| Box::new(Deaf) as Box<dyn WSListener>;
    let routes = || {
        Routes::new()
            .route("/boxed", boxed)
            .route("/some", |_: &WSUpgradeRequest| Some(Deaf))
            .route("/none", |_: &WSUpgradeRequest| None::<Deaf>)
            .route("/outcome", |_: &WSUpgradeRequest, (): &()| Deaf.into_upgrade())
            .not_found(WSUpgradeResponse::forbidden())
            .http(|request| WSUpgradeResponse::ok(request.path().to_owned()))
    };
    for (path, status) in
        [("/boxed", "101"), ("/some", "101"), ("/none", "404"), ("/outcome", "101"), ("/", "403")]
    {
        assert_eq!(status_of(routes(), &request(path, "")), status, "{path}");
    }
    assert_eq!(status_of(routes(), b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n"), "200");
}

#[test]
fn tasks_and_listeners_share_routes_and_state() {
    async fn task(ws: WebSocket, rooms: Rc<Rooms>) -> Result<(), HandlerError> {
        ws.accept().await?;
        rooms.borrow_mut().push(format!("task in {}", ws.path_parameter("room").unwrap_or("none")));
        ws.get_message().await?;
        Ok(())
    }
    async fn undecided(request: WebSocketRequest, rooms: Rc<Rooms>) -> Result<(), WebSocketError> {
        rooms.borrow_mut().push(request.path());
        request.reject(WSUpgradeResponse::forbidden())
    }
    let rooms: Rc<Rooms> = Rc::default();
    for (target, status) in [("/l/1?name=x", "101"), ("/t/2", "101"), ("/r/3", "403")] {
        let routes = Routes::with_state(Rc::clone(&rooms))
            .route("/l/{room}", enter)
            .route("/t/{room}", task)
            .route("/r/{room}", undecided);
        let mut kit = TestKit::new(1);
        let mut peer = raw(&mut kit, routes, WebSocketConfig::default());
        peer.write(&request(target, ""));
        kit.run_until_idle();
        let head = String::from_utf8(peer.read()).expect("ASCII");
        assert_eq!(head.split(' ').nth(1), Some(status), "{target}");
    }
    assert_eq!(*rooms.borrow(), ["x in 1", "task in 2", "/r/3"]);
}
