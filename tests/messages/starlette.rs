//! What programs written for a Starlette-style class rely on.

use std::future::pending;

use femtows::message::*;
use femtows::testkit::TestKit;
use femtows::{WSMsgType, WSUpgradeResponse};

use crate::ends::*;

#[test]
fn starlette_receive_without_accept_is_a_state_error_and_consumes_nothing() {
    let mut kit = TestKit::new(1);
    let asked = Slot::new();
    let mut peer = raw(&mut kit, ask(&asked), WebSocketConfig::default());
    let mut early = request("/", "");
    early.extend(peer.encode_frame(WSMsgType::Text, b"early", femtows::SendOptions::default()));
    peer.write(&early);
    kit.run_until_idle();
    let request = asked.take();
    kit.block_on(async {
        assert!(is_state_error(&request.receive_text().await));
        assert!(is_state_error(&request.get_message().await));
        assert!(is_state_error(&request.send_text("x").await));
        assert!(is_state_error(&request.ping(None).await));
        let ws = request.accept().await.expect("nothing was decided");
        assert_eq!(ws.receive_text().await.expect("not consumed"), "early");
    });
}

#[test]
fn starlette_a_duplicate_accept_close_or_disconnect_is_a_state_error() {
    let mut kit = TestKit::new(1);
    let ends = pair(&mut kit, WebSocketConfig::default());
    kit.block_on(async {
        assert!(is_state_error(&ends.server.accept().await));
        assert!(is_state_error(&ends.server.reject(WSUpgradeResponse::forbidden())));
        ends.client.close(1000, "").expect("open");
        assert!(is_state_error(&ends.client.close(1000, "")));
        let event = ends.server.receive_event().await.expect("connected");
        assert_eq!(event, ReceiveEvent::Disconnect(reason(1000, "")));
        assert!(is_state_error(&ends.server.receive_event().await));
    });
}

#[test]
fn starlette_close_carries_code_and_reason() {
    let mut kit = TestKit::new(1);
    let handler = |ws: WebSocket| async move {
        ws.accept().await?;
        ws.close(1001, "Going Away")
    };
    let (client, _) = connect(&mut kit, handler, WebSocketConfig::default()).expect("it accepts");
    assert_eq!(code(kit.block_on(client.receive_text())), 1001);
    assert_eq!(client.close_reason(), Some(reason(1001, "Going Away")));
}

#[test]
fn starlette_close_before_accept_is_403() {
    let mut kit = TestKit::new(1);
    let handler = |ws: WebSocket| async move {
        ws.close(1001, "")?;
        assert!(is_state_error(&ws.accept().await));
        assert!(is_state_error(&ws.close(1001, "")));
        Ok::<(), WebSocketError>(())
    };
    match connect(&mut kit, handler, WebSocketConfig::default()) {
        Err(WebSocketError::Rejected(rejected)) => assert_eq!(rejected.status, 403),
        other => panic!("{other:?}"),
    }
}

#[test]
fn starlette_a_denial_has_status_header_and_body() {
    let mut kit = TestKit::new(1);
    let handler = |ws: WebSocket| async move {
        let response =
            WSUpgradeResponse::error(404, "foo").expect("an error").header("foo", "bar").expect("a header");
        ws.send_event(SendEvent::HttpResponse(response)).await?;
        assert_eq!(ws.application_state(), SideState::Disconnected);
        Ok::<(), WebSocketError>(())
    };
    match connect(&mut kit, handler, WebSocketConfig::default()) {
        Err(WebSocketError::Rejected(rejected)) => {
            assert_eq!((rejected.status, &rejected.body[..]), (404, &b"foo"[..]));
            assert_eq!(rejected.headers.get("foo"), Some("bar"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn starlette_json_travels_in_binary_if_asked() {
    let mut kit = TestKit::new(1);
    let ends = pair(&mut kit, WebSocketConfig::default());
    let value = serde_json::json!({"test": "data"});
    kit.block_on(async {
        ends.client.send_json(&value, JsonMode::Binary).await.expect("open");
        let message = ends.server.get_message().await.expect("sent");
        assert_eq!(message, Message::from(br#"{"test":"data"}"#));
        ends.server.send_message(message).await.expect("open");
        let back: serde_json::Value = ends.client.receive_json(JsonMode::Binary).await.expect("sent");
        assert_eq!(back, value);
    });
}

#[test]
fn starlette_json_is_compact_and_text_and_not_escaped() {
    let mut kit = TestKit::new(1);
    let ends = pair(&mut kit, WebSocketConfig::default());
    kit.block_on(async {
        let value = serde_json::json!({"a": [1, 2], "b": "\u{e4}\u{20ac}"});
        ends.client.send_json(&value, JsonMode::default()).await.expect("open");
        let message = ends.server.get_message().await.expect("sent");
        assert_eq!(message, Message::from("{\"a\":[1,2],\"b\":\"\u{e4}\u{20ac}\"}"));
    });
}

/// What the iterators give before the connection ends in this way, and that they end.
fn iterate(end: impl Fn(&mut TestKit, &Pair)) {
    for which in 0..4 {
        let mut kit = TestKit::new(1);
        let ends = pair(&mut kit, WebSocketConfig::default().message_queue_size(10));
        let seen = Log::new();
        let (log, ws) = (seen.clone(), ends.server.clone());
        let task = kit.handle().spawn(async move {
            match which {
                0 => {
                    let mut texts = ws.iter_text();
                    while let Some(text) = texts.next().await {
                        log.add(text.expect("a text"));
                    }
                    assert!(texts.next().await.is_none());
                }
                1 => {
                    let mut parts = ws.iter_bytes();
                    while let Some(bytes) = parts.next().await {
                        log.add(String::from_utf8(bytes.expect("bytes").to_vec()).expect("they are digits"));
                    }
                }
                2 => {
                    let mut values = ws.iter_json::<u32>(JsonMode::Text);
                    while let Some(value) = values.next().await {
                        log.add(value.expect("a number").to_string());
                    }
                }
                _ => {
                    let mut messages = ws.messages();
                    let closed = loop {
                        match messages.next().await.expect("the error comes first") {
                            Ok(message) => log.add(message.into_text()),
                            Err(error) => break error,
                        }
                    };
                    assert!(matches!(closed, WebSocketError::Closed(_)));
                    assert!(messages.next().await.is_none(), "one error, then the end");
                }
            }
        });
        kit.block_on(async {
            for number in ["1", "2", "3"] {
                ends.client.send_text(number).await.expect("open");
            }
        });
        kit.run_until_idle();
        end(&mut kit, &ends);
        kit.block_on(task);
        assert_eq!(seen.take(), ["1", "2", "3"]);
    }
}

#[test]
fn starlette_iterators_end_on_1000() {
    iterate(|_, ends| ends.client.close(1000, "").expect("open"));
}

#[test]
fn starlette_iterators_end_on_1001() {
    iterate(|_, ends| ends.client.close(1001, "").expect("open"));
}

#[test]
fn starlette_iterators_end_on_1006() {
    iterate(|_, ends| ends.link.reset());
}

#[test]
fn starlette_a_reader_task_and_a_writer_task_at_once() {
    let mut kit = TestKit::new(1);
    let read = Log::new();
    let (handle, log) = (kit.handle(), read.clone());
    let handler = move |ws: WebSocket| {
        let (handle, log) = (handle.clone(), log.clone());
        async move {
            ws.accept().await?;
            let reader = ws.clone();
            let reading = handle.spawn(async move {
                let mut texts = reader.iter_text();
                while let Some(text) = texts.next().await {
                    log.add(text.expect("a text"));
                }
            });
            for number in 0..50 {
                ws.send_text(format!("to the client {number}")).await?;
                handle.sleep(SECOND / 100).await;
            }
            reading.await;
            Ok::<(), WebSocketError>(())
        }
    };
    let (client, _) = connect(&mut kit, handler, WebSocketConfig::default()).expect("it accepts");
    kit.block_on(async {
        for number in 0..50 {
            client.send_text(format!("to the server {number}")).await.expect("open");
            assert_eq!(client.receive_text().await.expect("open"), format!("to the client {number}"));
        }
        client.aclose(1000, "").await.expect("the peer answers");
    });
    let expected: Vec<_> = (0..50).map(|number| format!("to the server {number}")).collect();
    assert_eq!(read.take(), expected);
}

#[test]
fn starlette_states_follow_the_events() {
    let mut kit = TestKit::new(1);
    let done = Slot::new();
    let seen = done.clone();
    let handler = move |ws: WebSocket| {
        let seen = seen.clone();
        async move {
            let states = || (ws.client_state(), ws.application_state());
            assert_eq!(states(), (SideState::Connecting, SideState::Connecting));
            assert_eq!(ws.receive_event().await?, ReceiveEvent::Connect);
            assert_eq!(states(), (SideState::Connected, SideState::Connecting));
            assert!(is_state_error(&ws.send_event(SendEvent::Send("x".into())).await));
            ws.send_event(SendEvent::Accept(AcceptOptions::new())).await?;
            assert_eq!(states(), (SideState::Connected, SideState::Connected));
            assert!(is_state_error(&ws.send_event(SendEvent::Accept(AcceptOptions::new())).await));
            assert_eq!(ws.receive_event().await?, ReceiveEvent::Receive("hello".into()));
            ws.send_event(SendEvent::Send("bye".into())).await?;
            assert_eq!(ws.receive_event().await?, ReceiveEvent::Disconnect(reason(1000, "done")));
            assert_eq!(states(), (SideState::Disconnected, SideState::Connected));
            assert!(is_state_error(&ws.receive_event().await));
            let close = || SendEvent::Close { code: femtows::WSCloseCode::OK, reason: String::new() };
            ws.send_event(close()).await?;
            assert_eq!(states(), (SideState::Disconnected, SideState::Disconnected));
            assert!(is_state_error(&ws.send_event(close()).await));
            assert!(is_state_error(&ws.send_event(SendEvent::Send("x".into())).await));
            seen.put(());
            Ok::<(), WebSocketError>(())
        }
    };
    let (client, _) = connect(&mut kit, handler, WebSocketConfig::default()).expect("it accepts");
    kit.block_on(async {
        client.send_text("hello").await.expect("open");
        assert_eq!(client.receive_text().await.expect("open"), "bye");
        client.aclose(1000, "done").await.expect("the peer answers");
    });
    kit.run_until_idle();
    done.take();
}

#[test]
fn starlette_accept_takes_the_connect_event_by_itself() {
    let mut kit = TestKit::new(1);
    let ends = pair(&mut kit, WebSocketConfig::default());
    assert_eq!(ends.server.client_state(), SideState::Connected);
    kit.block_on(async {
        ends.client.send_text("first").await.expect("open");
        let event = ends.server.receive_event().await.expect("open");
        assert_eq!(event, ReceiveEvent::Receive("first".into()));
    });
}

#[test]
fn starlette_an_io_error_is_1006_and_disconnects() {
    let mut kit = TestKit::new(1);
    let ends = pair(&mut kit, WebSocketConfig::default());
    ends.link.reset();
    kit.run_until_idle();
    assert_eq!(code(kit.block_on(ends.server.send_text("into the void"))), 1006);
    assert_eq!(code(kit.block_on(ends.server.receive_text())), 1006);
    assert_eq!(ends.server.client_state(), SideState::Disconnected);
    assert_eq!(ends.server.application_state(), SideState::Disconnected);

    let ends = pair(&mut kit, WebSocketConfig::default());
    ends.link.reset();
    kit.run_until_idle();
    let send = || ends.server.send_event(SendEvent::Send("into the void".into()));
    assert_eq!(code(kit.block_on(send())), 1006);
    assert_eq!(ends.server.application_state(), SideState::Disconnected);
    assert!(is_state_error(&kit.block_on(send())), "it was told");
}

#[test]
fn starlette_a_client_that_leaves_before_accept_is_an_event() {
    let mut kit = TestKit::new(1);
    let events = Slot::new();
    let seen = events.clone();
    let handler = move |ws: WebSocket| {
        let seen = seen.clone();
        async move {
            assert_eq!(ws.receive_event().await?, ReceiveEvent::Connect);
            let next = ws.receive_event().await?;
            seen.put((next, ws.client_state()));
            pending::<()>().await;
            Ok::<(), WebSocketError>(())
        }
    };
    let mut peer = raw(&mut kit, handler, WebSocketConfig::default());
    peer.write(&request("/", ""));
    kit.run_until_idle();
    peer.close();
    kit.run_until_idle();
    assert_eq!(events.take(), (ReceiveEvent::Disconnect(reason(1006, "")), SideState::Disconnected));
    assert_eq!(kit.leftovers(), [""; 0]);
}
