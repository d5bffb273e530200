//! What programs written for trio-websocket rely on.

use std::future::pending;

use femtows::message::*;
use femtows::proto::Role;
use femtows::testkit::TestKit;
use femtows::{WSConnectConfig, WSHeaders, WSMsgType, WSUpgradeResponse};

use crate::ends::*;

fn client_config(client: WSConnectConfig) -> WebSocketConfig {
    WebSocketConfig::default().client(client)
}

#[test]
fn trio_a_chosen_subprotocol_is_seen_by_both() {
    let mut kit = TestKit::new(1);
    let asked = Slot::new();
    let seen = asked.clone();
    let handler = move |request: WebSocketRequest| {
        let seen = seen.clone();
        async move {
            let offered = request.proposed_subprotocols();
            let ws =
                request.accept_with(AcceptOptions::new().subprotocol("chat")).await.expect("it was offered");
            seen.put((offered, ws.subprotocol()));
            pending::<()>().await;
        }
    };
    let client = client_config(WSConnectConfig::default().subprotocols(["chat", "file"]));
    let (client, _) =
        connect_with(&mut kit, handler, WebSocketConfig::default(), client).expect("it accepts");
    let (offered, chosen) = asked.take();
    assert_eq!(offered, ["chat", "file"]);
    assert_eq!(chosen.as_deref(), Some("chat"));
    assert_eq!(client.subprotocol().as_deref(), Some("chat"));
}

#[test]
fn trio_a_header_is_found_by_its_name_in_lower_case() {
    let mut kit = TestKit::new(1);
    let asked = Slot::new();
    let mut headers = WSHeaders::new();
    headers.append("X-Test-Header", "My test header").expect("a header");
    let client = client_config(WSConnectConfig::default().extra_headers(headers));
    let handle = kit.handle();
    let config = WebSocketConfig::default();
    let (listener, _pending) = websocket_listener(&handle, client.clone());
    let factory = websocket_factory(ask(&asked), config.clone());
    let _opening = kit.opening(factory, |_, _| listener, config.server_config(), client.connect_config());
    kit.run_until_idle();
    let request = asked.take();
    assert_eq!(request.headers().get("x-test-header"), Some("My test header"));
    assert!(request.headers().iter().any(|(name, _)| name.eq_ignore_ascii_case("x-test-header")));
}

#[test]
fn trio_targets_come_with_their_query() {
    for (target, path) in [("/", "/"), ("/resource/?foo=bar", "/resource/"), ("/r?foo=bar", "/r")] {
        let mut kit = TestKit::new(1);
        let (request, _peer) = asked(&mut kit, target, "");
        assert_eq!(request.path(), path);
        assert_eq!(request.request().expect("a server's").target(), target);
        assert_eq!(request.url(), format!("ws://testkit{target}"));
    }
}

#[test]
fn trio_reject_has_a_status_headers_and_a_body() {
    let mut kit = TestKit::new(1);
    let handler = |request: WebSocketRequest| async move {
        let response =
            WSUpgradeResponse::error(400, "My body").and_then(|response| Ok(response.header("X-Why", "no")?));
        request.reject(response.expect("a response"))
    };
    let rejected = match connect(&mut kit, handler, WebSocketConfig::default()) {
        Err(WebSocketError::Rejected(rejected)) => rejected,
        other => panic!("{other:?}"),
    };
    assert_eq!((rejected.status, &rejected.body[..]), (400, &b"My body"[..]));
    assert_eq!(rejected.headers.get("x-why"), Some("no"));
    kit.run_until_idle();
    assert_eq!(kit.leftovers(), [""; 0]);
}

#[test]
fn trio_two_default_pings_both_finish() {
    let mut kit = TestKit::new(1);
    let ends = pair(&mut kit, WebSocketConfig::default());
    let pings: Vec<_> = (0..2)
        .map(|_| {
            let client = ends.client.clone();
            kit.handle().spawn(async move { client.ping(None).await })
        })
        .collect();
    for ping in pings {
        kit.block_on(ping).expect("the peer answers");
    }
}

#[test]
fn trio_of_two_pings_with_one_payload_exactly_one_fails() {
    let mut kit = TestKit::new(1);
    let ends = pair(&mut kit, WebSocketConfig::default());
    let pings: Vec<_> = (0..2)
        .map(|_| {
            let client = ends.client.clone();
            kit.handle().spawn(async move { client.ping(b"Hello").await })
        })
        .collect();
    let results: Vec<_> = pings.into_iter().map(|ping| kit.block_on(ping)).collect();
    assert!(results[0].is_ok());
    assert!(matches!(results[1], Err(WebSocketError::InvalidArgument(_))), "{results:?}");
    kit.block_on(ends.client.ping(b"Hello")).expect("the payload is free again");
}

#[test]
fn trio_a_pong_wakes_all_pings_before_it() {
    let mut kit = TestKit::new(1);
    let (client, mut peer) = raw_client(&mut kit, WebSocketConfig::default());
    let ping = |payload: &'static [u8]| {
        let client = client.clone();
        kit.handle().spawn(async move { client.ping(payload).await })
    };
    let (a, b, c) = (ping(b"A"), ping(b"B"), ping(b"C"));
    kit.run_until_idle();
    let sent: Vec<_> = peer.frames().into_iter().map(|frame| frame.payload).collect();
    assert_eq!(sent, [b"A", b"B", b"C"]);
    peer.send_frame(WSMsgType::Pong, b"B");
    kit.run_until_idle();
    assert_eq!([&a, &b, &c].map(WSTaskIsDone::is_done), [true, true, false]);
    kit.block_on(a).expect("answered by B");
    kit.block_on(b).expect("answered");
}

/// [`is_finished`](femtows::WSTask::is_finished) of tasks of any type.
trait WSTaskIsDone {
    fn is_done(&self) -> bool;
}

impl<T> WSTaskIsDone for femtows::WSTask<T> {
    fn is_done(&self) -> bool {
        self.is_finished()
    }
}

#[test]
fn trio_a_handler_that_delays_accept_meets_the_connect_timeout() {
    let mut kit = TestKit::new(1);
    let outcome = Slot::new();
    let (handle, seen) = (kit.handle(), outcome.clone());
    let handler = move |request: WebSocketRequest| {
        let (handle, seen) = (handle.clone(), seen.clone());
        async move {
            handle.sleep(2 * SECOND).await;
            seen.put(code(request.accept().await));
        }
    };
    let client = WebSocketConfig::default().connect_timeout(Some(SECOND));
    let result = connect_with(&mut kit, handler, WebSocketConfig::default(), client);
    assert!(matches!(result, Err(WebSocketError::ConnectionTimeout)), "{result:?}");
    kit.advance(2 * SECOND);
    assert_eq!(outcome.take(), 1006);
    assert_eq!(kit.leftovers(), [""; 0]);
}

#[test]
fn trio_an_unread_message_at_queue_0_leads_to_the_disconnect_timeout() {
    let mut kit = TestKit::new(1);
    let server = WebSocketConfig::default().message_queue_size(0);
    let client = WebSocketConfig::default().disconnect_timeout(SECOND);
    let ends = pair_with(&mut kit, server, client);
    let start = kit.now();
    let result = kit.block_on(async {
        ends.client.send_message("nobody reads this").await?;
        ends.client.aclose(1000, "").await
    });
    assert!(matches!(result, Err(WebSocketError::DisconnectionTimeout)), "{result:?}");
    assert_eq!(kit.now() - start, SECOND);
    assert!(ends.link.is_closed(Role::Client));
}

#[test]
fn trio_messages_before_close_are_read_then_it_is_closed() {
    for queue in [0, 1, 2, 16] {
        let mut kit = TestKit::new(1);
        let ends = pair(&mut kit, WebSocketConfig::default().message_queue_size(queue));
        kit.block_on(async {
            ends.client.send_message("1").await.expect("open");
            ends.client.send_message("2").await.expect("open");
            ends.client.close(1000, "").expect("open");
        });
        kit.run_until_idle();
        kit.block_on(async {
            assert_eq!(ends.server.get_message().await.expect("sent before"), Message::from("1"));
            assert_eq!(ends.server.get_message().await.expect("sent before"), Message::from("2"));
            assert_eq!(code(ends.server.get_message().await), 1000);
            assert_eq!(code(ends.server.get_message().await), 1000);
        });
        assert!(ends.server.is_closed());
    }
}

#[test]
fn trio_what_is_pending_at_the_local_close_is_closed() {
    let mut kit = TestKit::new(1);
    let ends = pair(&mut kit, WebSocketConfig::default());
    let server = ends.server.clone();
    let receiver = kit.handle().spawn(async move { server.get_message().await });
    kit.run_until_idle();
    ends.server.close(1001, "bye").expect("open");
    assert_eq!(code(kit.block_on(receiver)), 1001);
    assert_eq!(code(kit.block_on(ends.server.get_message())), 1001);
}

#[test]
fn trio_a_message_at_the_limit_passes_one_byte_more_is_1009() {
    let mut kit = TestKit::new(1);
    let server = WebSocketConfig::default().max_message_size(100);
    let ends = pair_with(&mut kit, server, WebSocketConfig::default());
    kit.block_on(async {
        ends.client.send_message(vec![b'A'; 100]).await.expect("open");
        assert_eq!(ends.server.get_message().await.expect("at the limit").len(), 100);
        ends.client.send_message(vec![b'A'; 101]).await.expect("open");
        assert_eq!(code(ends.server.get_message().await), 1009);
        assert_eq!(code(ends.client.get_message().await), 1009);
    });
}

#[test]
fn trio_close_and_fin_together_do_not_hang() {
    let mut kit = TestKit::new(1);
    let (client, mut peer) = raw_client(&mut kit, WebSocketConfig::default());
    peer.send_frame(WSMsgType::Close, &close_payload(1000, ""));
    peer.shutdown_write();
    let start = kit.now();
    assert_eq!(code(kit.block_on(client.get_message())), 1000);
    kit.block_on(client.aclose(1000, "")).expect("closed already");
    assert_eq!(kit.now(), start);
    peer.close();
    kit.run_until_idle();
    assert_eq!(kit.leftovers(), [""; 0]);
}

#[test]
fn trio_the_server_closes_tcp_though_its_handler_sleeps() {
    let mut kit = TestKit::new(1);
    let handle = kit.handle();
    let handler = move |request: WebSocketRequest| {
        let handle = handle.clone();
        async move {
            let _ws = request.accept().await.expect("the client waits");
            handle.sleep(600 * SECOND).await;
        }
    };
    let (client, link) = connect(&mut kit, handler, WebSocketConfig::default()).expect("it accepts");
    let start = kit.now();
    kit.block_on(client.aclose(1000, "")).expect("the peer answers");
    assert!(link.is_closed(Role::Server));
    assert_eq!(kit.now(), start);
}

#[test]
fn trio_when_the_handler_returns_the_client_sees_normal_closure() {
    let mut kit = TestKit::new(1);
    let handler = |request: WebSocketRequest| async move { request.accept().await.map(drop) };
    let (client, _) = connect(&mut kit, handler, WebSocketConfig::default()).expect("it accepts");
    let closed = match kit.block_on(client.get_message()) {
        Err(WebSocketError::Closed(closed)) => closed,
        other => panic!("{other:?}"),
    };
    assert_eq!((closed.reason.code.0, closed.reason.name()), (1000, "NORMAL_CLOSURE"));
    assert_eq!(client.close_reason(), Some(closed.reason));
}
