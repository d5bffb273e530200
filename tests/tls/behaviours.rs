//! What `tests/sockets` shows over TCP, over TLS.

use std::cell::RefCell;
use std::time::Duration;

use femtows::testkit::TestKit;
use femtows::*;

use crate::ends::{both_ends, echo, secure_pair};
use crate::support::peer::{Peer, header, status, upgrade_request};
use crate::support::probe::{Probe, log};
use crate::support::running::{Server, connect, serve};
use crate::support::wire::{BINARY, CONTINUATION, Frame, TEXT};
use crate::support::{eventually, pattern};
use crate::way::Way;

#[test]
fn t01_all_sizes_and_bits_come_back() {
    let way = Way::tls();
    let (log, _events) = log();
    let config = way.server(WSServerConfig::default().allow_reserved_bits(true));
    let server = serve(config, move |_| Probe::new(&log).echo());
    let mut peer = way.connect(server.addr);
    for size in (0..9).chain([29, 64, 125, 126, 127, 65_535, 65_536, 256 << 10, 6 << 20]) {
        let payload = pattern(size);
        for rsv in 0..8 {
            let opcode = if rsv % 2 == 0 { BINARY } else { TEXT };
            for (opcode, fin) in
                [(opcode, true), (opcode, false), (CONTINUATION, false), (CONTINUATION, true)]
            {
                let frame = Frame::new(opcode, &payload).bits(fin, rsv);
                peer.send(&frame);
                assert!(peer.read_frame() == frame, "{size} bytes, {opcode} {fin} {rsv}");
            }
        }
    }
}

/// An hour passes in the middle of the TLS handshake.
#[test]
fn t03_without_a_timeout_slow_ends_get_through() {
    let (server, client) = both_ends();
    let (server, client) = (server.handshake_timeout(None), client.handshake_timeout(None));
    let mut kit = TestKit::new(1);
    let opening = kit.opening(|_: &WSUpgradeRequest| echo(), |_, _| echo(), server, client);
    opening.link.to_server().stall();
    kit.run_until_idle();
    opening.link.to_server().release(100);
    kit.advance(Duration::from_secs(3600));
    opening.link.to_server().unstall();
    assert!(kit.block_on(opening.client).unwrap().is_secure());
}

#[test]
fn t04_three_disconnects_are_one() {
    for mix in 0..8 {
        let mut kit = TestKit::new(2);
        let (pair, _) = secure_pair(&mut kit);
        for n in 0..3 {
            if mix >> n & 1 == 0 { pair.server.disconnect() } else { pair.server.abort() }
        }
        kit.block_on(pair.server.wait_disconnected()).unwrap();
        kit.advance(Duration::from_secs(3));
        assert_eq!(pair.server.disconnect_info().unwrap().cause, WSDisconnectCause::Disconnected);
        assert_eq!(pair.client.disconnect_info().unwrap().cause, WSDisconnectCause::PeerEof, "{mix:03b}");
        drop(pair);
        assert_eq!(kit.leftovers(), Vec::<&str>::new());
    }
}

#[test]
fn t05_failures_of_a_listener_end_one_connection() {
    let way = Way::tls();
    let (log, events) = log();
    let server = serve(way.server(WSServerConfig::default()), move |_| {
        Probe::new(&log).on_frame(|transport, frame| match frame.payload() {
            b"error" => Err("it failed".into()),
            b"panic" => panic!("it failed"),
            payload => {
                transport.send(frame.msg_type(), payload);
                Ok(())
            }
        })
    });
    let mut neighbour = way.connect(server.addr);
    events.connected();
    for failure in ["error", "panic"] {
        let mut peer = way.connect(server.addr);
        events.connected();
        peer.send(&Frame::text(failure));
        assert_eq!(peer.read_frame().close_code(), Some(1011), "{failure}");
        peer.expect_eof();
        peer.shutdown_write();
        assert_eq!(events.until_disconnected().cause, WSDisconnectCause::ListenerError, "{failure}");
        neighbour.send_and_sync(&[]);
    }
}

thread_local! {
    /// Of the upgrade that is pending on this thread's loop.
    static TICKET: RefCell<Option<WSUpgradeTicket>> = const { RefCell::new(None) };
}

fn deciding_server(way: &Way) -> Server {
    let (log, _events) = log();
    serve(way.server(WSServerConfig::default()), move |request| match request.path() {
        "/none" => None::<Probe>.into_upgrade(),
        "/panic" => panic!("the inner detail"),
        "/teapot" => WSUpgradeResponse::error(418, "short and stout").unwrap().into_upgrade(),
        "/moved" => WSUpgradeResponse::redirect(302, "/echo").unwrap().into_upgrade(),
        "/away" => WSUpgradeResponse::redirect(302, "ws://localhost:1/").unwrap().into_upgrade(),
        "/health" => WSUpgradeResponse::ok("fine").into_upgrade(),
        "/later" => {
            let (ticket, later) = WSDeferredUpgrade::new();
            TICKET.set(Some(ticket));
            later.into_upgrade()
        }
        _ => Probe::new(&log).echo().into_upgrade(),
    })
}

/// Status, and what follows up to `close_notify`.
fn refusal(peer: &mut Peer) -> (u16, String) {
    let head = peer.read_head();
    assert!(header(&head, "Connection").unwrap().starts_with("close"), "{head}");
    (status(&head), String::from_utf8(peer.read_to_eof()).unwrap())
}

#[test]
fn t10_each_outcome_of_the_factory() {
    let way = Way::tls();
    let server = deciding_server(&way);
    for (path, wanted, body) in [
        ("/none", 404, "404 Not Found"),
        ("/panic", 500, "500 Internal Server Error"),
        ("/teapot", 418, "short and stout"),
        ("/moved", 302, ""),
        ("/health", 200, "fine"),
    ] {
        let mut peer = way.dial(server.addr);
        peer.write(upgrade_request(path, "").as_bytes());
        assert_eq!(refusal(&mut peer), (wanted, body.to_owned()), "{path}");
    }
    eventually("all slots are free", || server.slots() == 0);
}

#[test]
fn t10_deferred_accept_and_reject() {
    let way = Way::tls();
    let server = deciding_server(&way);
    for accepted in [true, false] {
        let mut peer = way.dial(server.addr);
        peer.write(upgrade_request("/later", "").as_bytes());
        let is_pending = || server.on.ask(|_| TICKET.with_borrow(Option::is_some));
        eventually("the factory was asked", is_pending);
        // What comes early stays unparsed.
        let early = peer.encode(&Frame::text("early"));
        peer.write(&early);
        server.on.ask(move |_| {
            let (log, _) = log();
            let ticket = TICKET.take().unwrap();
            if accepted {
                ticket.accept(Probe::new(&log).echo());
            } else {
                ticket.reject(WSUpgradeResponse::error(403, "not you").unwrap());
            }
        });
        if accepted {
            assert_eq!(status(&peer.read_head()), 101);
            assert_eq!(peer.read_frame(), Frame::text("early"));
        } else {
            assert_eq!(refusal(&mut peer), (403, "not you".to_owned()));
        }
    }
}

#[test]
fn t11_bad_requests_get_a_status_and_close_notify() {
    let way = Way::tls();
    let server = deciding_server(&way);
    let good = upgrade_request("/", "");
    let lines = "X-Some: thing\r\n".repeat(124);
    for (name, request, wanted) in [
        ("garbage", "\0\u{1}garbage\r\n\r\n".to_owned(), 400),
        ("HTTP/1.0", good.replace("HTTP/1.1", "HTTP/1.0"), 400),
        ("POST", good.replace("GET", "POST"), 405),
        ("a folded header", good.replace("localhost\r\n", "localhost\r\n folded\r\n"), 400),
        ("129 headers", upgrade_request("/", &lines), 431),
        ("17 KiB", upgrade_request("/", &format!("X: {}\r\n", "y".repeat(17 << 10))), 431),
        ("a body", upgrade_request("/", "Content-Length: 5\r\n"), 400),
        ("another version", good.replace("Version: 13", "Version: 12"), 426),
    ] {
        let mut peer = way.dial(server.addr);
        peer.write(request.as_bytes());
        assert_eq!(refusal(&mut peer).0, wanted, "{name}");
    }
}

#[test]
fn t12_a_mute_peer_is_given_up_on() {
    let (server, client) = both_ends();
    let seconds = Duration::from_secs;
    let server =
        server.enable_auto_ping(true).auto_ping_idle_timeout(seconds(5)).auto_ping_reply_timeout(seconds(2));
    for answers in [true, false] {
        let mut kit = TestKit::new(3);
        let client = client.clone().enable_auto_pong(answers);
        let pair = kit.pair(|_: &WSUpgradeRequest| echo(), echo(), server.clone(), client).unwrap();
        kit.advance(seconds(20));
        let ended = pair.server.disconnect_info().map(|info| info.cause);
        assert_eq!(ended, (!answers).then_some(WSDisconnectCause::PingTimeout));
        let told = pair.client.received_close().map(|close| close.code);
        assert_eq!(told, (!answers).then_some(WSCloseCode::GOING_AWAY));
    }
}

#[test]
fn t13_redirections_stay_secure() {
    let way = Way::tls();
    let server = deciding_server(&way);
    let client = |path: &str| {
        let (log, _) = log();
        let url = format!("wss://localhost:{}{path}", server.addr.port());
        connect(&url, way.client(WSConnectConfig::default()), Probe::new(&log))
    };
    let followed = client("/moved");
    followed.opened().unwrap();
    let (url, is_secure) = followed.on.ask_transport(0, |transport| {
        (transport.connect_report().unwrap().url.to_string(), transport.is_secure())
    });
    assert!(url.ends_with("/echo") && is_secure, "{url}");
    let Err(WSConnectError::Handshake(error)) = client("/away").opened() else { panic!("wss leads to ws") };
    assert_eq!(error.kind, WSHandshakeErrorKind::InvalidRedirect("leads from wss to ws".into()));
}

#[test]
fn a_request_knows_that_it_came_through_tls() {
    let mut kit = TestKit::new(1);
    let (server, client) = both_ends();
    let refuse_plain = |request: &WSUpgradeRequest| request.is_secure().then(echo);
    assert!(kit.pair(refuse_plain, echo(), server, client).is_ok());
    let plain = kit.pair(refuse_plain, echo(), WSServerConfig::default(), WSConnectConfig::default());
    assert!(matches!(plain, Err(WSConnectError::Handshake(_))));
}
