//! What programs written for bocadillo rely on.

use femtows::message::*;
use femtows::testkit::TestKit;
use femtows::{WSCloseCode, WSMsgType, WSUpgradeResponse};
use serde_json::json;

use crate::ends::*;

const TYPES: [MessageType; 3] = [MessageType::Text, MessageType::Bytes, MessageType::Json];

/// A value of this type that the others cannot be taken for.
fn sample(kind: MessageType) -> Value {
    match kind {
        MessageType::Text => Value::from("\"text\""),
        MessageType::Bytes => Value::from(b"\"bytes\""),
        _ => Value::from(json!({"key": ["value", 1]})),
    }
}

/// What a message is received as.
fn received_as(kind: MessageType, message: Message) -> Value {
    match kind {
        MessageType::Text => Value::Text(message.into_text()),
        MessageType::Bytes => Value::Bytes(message.into_bytes()),
        _ => Value::Json(serde_json::from_slice(message.as_bytes()).expect("JSON")),
    }
}

#[test]
fn bocadillo_receive_type_by_send_type() {
    for receive in TYPES {
        for send in TYPES {
            let mut kit = TestKit::new(1);
            let server = WebSocketConfig::default().receive_type(receive).send_type(send);
            let client = WebSocketConfig::default().receive_type(send).send_type(receive);
            let ends = pair_with(&mut kit, server, client);
            kit.block_on(async {
                ends.client.send_value(sample(receive)).await.expect("of its type");
                assert_eq!(ends.server.receive_value().await.expect("sent"), sample(receive));
                ends.server.send_value(sample(send)).await.expect("of its type");
                let message = ends.client.get_message().await.expect("sent");
                assert_eq!(message.is_text(), send != MessageType::Bytes, "{send}");
                assert_eq!(received_as(send, message), sample(send));
            });
        }
    }
}

#[test]
fn bocadillo_value_type_is_both() {
    for kind in TYPES {
        let mut kit = TestKit::new(1);
        let config = WebSocketConfig::default()
            .receive_type(MessageType::Text)
            .send_type(MessageType::Bytes)
            .value_type(kind);
        let ends = pair(&mut kit, config);
        kit.block_on(async {
            ends.client.send_value(sample(kind)).await.expect("of its type");
            assert_eq!(ends.server.receive_value().await.expect("sent"), sample(kind));
        });
    }
}

#[test]
fn bocadillo_what_is_not_of_the_send_type_is_refused() {
    for send in TYPES {
        for value in TYPES.into_iter().filter(|&value| value != send) {
            // A string is JSON too.
            if (send, value) == (MessageType::Json, MessageType::Text) {
                continue;
            }
            let mut kit = TestKit::new(1);
            let ends = pair(&mut kit, WebSocketConfig::default().send_type(send));
            let result = kit.block_on(ends.client.send_value(sample(value)));
            match result {
                Err(WebSocketError::Type { expected, value: given }) => {
                    assert_eq!((expected, given), (send, value));
                }
                other => panic!("{other:?}"),
            }
            assert!(!ends.client.is_closed());
        }
    }
}

#[test]
fn bocadillo_a_wrong_name_of_a_type_fails_at_construction() {
    for kind in TYPES {
        assert_eq!(kind.to_string().parse::<MessageType>(), Ok(kind));
    }
    for name in ["", "TEXT", "xml", "binary"] {
        let error = name.parse::<MessageType>().expect_err("no type");
        assert_eq!(&*error.name, name);
    }
}

#[test]
fn bocadillo_default_types_are_text() {
    let mut kit = TestKit::new(1);
    let ends = pair(&mut kit, WebSocketConfig::default());
    kit.block_on(async {
        ends.client.send_value("hello").await.expect("a string");
        assert_eq!(ends.server.receive_value().await.expect("sent"), Value::from("hello"));
    });
}

#[test]
fn bocadillo_raw_echo() {
    let mut kit = TestKit::new(1);
    let handler = |ws: WebSocket| async move {
        ws.accept().await?;
        loop {
            match ws.receive_event().await? {
                ReceiveEvent::Receive(message) => ws.send_event(SendEvent::Send(message)).await?,
                ReceiveEvent::Disconnect(_) => return Ok::<(), WebSocketError>(()),
                ReceiveEvent::Connect => unreachable!("accept has taken it"),
            }
        }
    };
    let (client, _) = connect(&mut kit, handler, WebSocketConfig::default()).expect("it accepts");
    kit.block_on(async {
        for message in [Message::from("text"), Message::from(b"bytes"), Message::from("")] {
            client.send_message(message.clone()).await.expect("open");
            assert_eq!(client.get_message().await.expect("open"), message);
        }
        client.aclose(1000, "").await.expect("the peer answers");
    });
}

/// How `with` ends when the peer closes with this code.
fn with_until(catch: CatchDisconnect, peer_code: u16) -> Result<Option<()>, u16> {
    let mut kit = TestKit::new(1);
    let outcome = Slot::new();
    let seen = outcome.clone();
    let handler = move |ws: WebSocket| {
        let seen = seen.clone();
        async move {
            let result = ws.with(async |ws| Ok(ws.receive_text().await.map(drop)?)).await;
            seen.put(result.map_err(|error| {
                let error = error.downcast::<WebSocketError>().expect("the body's");
                error.close_reason().expect("closed").code.0
            }));
        }
    };
    let config = WebSocketConfig::default().catch_disconnect(catch);
    let (client, _) = connect(&mut kit, handler, config).expect("it accepts");
    client.close(peer_code, "").expect("open");
    kit.run_until_idle();
    outcome.take()
}

#[test]
fn bocadillo_catch_disconnect_on_and_off() {
    for peer_code in [1000, 1001, 4000] {
        assert_eq!(with_until(CatchDisconnect::All, peer_code), Ok(None));
        assert_eq!(with_until(CatchDisconnect::None, peer_code), Err(peer_code));
    }
    let some = || CatchDisconnect::Codes(vec![WSCloseCode::OK, WSCloseCode(4000)]);
    assert_eq!(with_until(some(), 1000), Ok(None));
    assert_eq!(with_until(some(), 4000), Ok(None));
    assert_eq!(with_until(some(), 1001), Err(1001));
}

#[test]
fn bocadillo_unknown_route_is_403_if_the_application_chose_it() {
    let routes = || {
        Routes::new()
            .route("/chat", |ws: WebSocket| async move { ws.with(async |_| Ok(())).await.map(drop) })
            .not_found(WSUpgradeResponse::forbidden())
    };
    for (path, status) in [("/chat", "101"), ("/chat?x", "101"), ("/dog", "403"), ("/", "403")] {
        let mut kit = TestKit::new(1);
        let mut peer = raw(&mut kit, routes(), WebSocketConfig::default());
        peer.write(&request(path, ""));
        kit.run_until_idle();
        let answer = String::from_utf8_lossy(&peer.read()).into_owned();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
    }
}

#[test]
fn bocadillo_close_inside_the_block_is_the_only_one() {
    let mut kit = TestKit::new(1);
    let handler =
        |ws: WebSocket| async move { ws.with(async |ws| Ok(ws.close(4242, "enough")?)).await.map(drop) };
    let mut peer = raw(&mut kit, handler, WebSocketConfig::default());
    peer.upgrade(&mut kit);
    kit.run_until_idle();
    assert_eq!(closes(&mut peer), [close_payload(4242, "enough")]);
    kit.advance(61 * SECOND);
    assert!(closes(&mut peer).is_empty() && peer.is_ended());
}

#[test]
fn bocadillo_the_block_closes_with_1000_or_1011() {
    for (fails, close_code) in [(false, 1000), (true, 1011)] {
        let mut kit = TestKit::new(1);
        let handler = move |ws: WebSocket| async move {
            ws.with(async |ws| {
                ws.send_text("in the block").await?;
                if fails { Err("private".into()) } else { Ok(()) }
            })
            .await
            .map(drop)
        };
        let mut peer = raw(&mut kit, handler, WebSocketConfig::default());
        peer.upgrade(&mut kit);
        kit.run_until_idle();
        let frames = peer.frames();
        assert_eq!(frames[0].payload, b"in the block");
        assert_eq!(
            (frames[1].msg_type, &frames[1].payload[..]),
            (WSMsgType::Close, &close_payload(close_code, "")[..])
        );
        assert_eq!(frames.len(), 2);
    }
}

#[test]
fn bocadillo_a_handler_error_is_1011_after_accept() {
    let mut kit = TestKit::new(1);
    let handler = |ws: WebSocket| async move {
        ws.accept().await?;
        Err::<(), HandlerError>("private".into())
    };
    let (client, _) = connect(&mut kit, handler, WebSocketConfig::default()).expect("it accepts");
    assert_eq!(code(kit.block_on(client.get_message())), 1011);
    assert_eq!(client.close_reason(), Some(reason(1011, "")));
}

#[test]
fn bocadillo_a_handler_error_before_accept_refuses() {
    let mut kit = TestKit::new(1);
    let handler = |_: WebSocket| async move { Err::<(), HandlerError>("private".into()) };
    match connect(&mut kit, handler, WebSocketConfig::default()) {
        Err(WebSocketError::Rejected(rejected)) => {
            assert_eq!(rejected.status, 500);
            assert!(!String::from_utf8_lossy(&rejected.body).contains("private"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn bocadillo_a_string_is_json_where_json_is_sent() {
    let mut kit = TestKit::new(1);
    let (ws, mut peer) = raw_client(&mut kit, WebSocketConfig::default().value_type(MessageType::Json));
    kit.block_on(ws.send_value("a \"b\"")).expect("open");
    kit.run_until_idle();
    assert_eq!(peer.frames()[0].payload, br#""a \"b\"""#);
    peer.send_frame(femtows::WSMsgType::Text, b"not JSON");
    assert!(matches!(kit.block_on(ws.receive_value()), Err(WebSocketError::Json(_))));
    assert!(!ws.is_closed());
}
