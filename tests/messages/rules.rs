//! What must hold while a connection is open.

use std::time::Duration;

use femtows::message::*;
use femtows::testkit::{Peer, TestKit};
use femtows::{SendOptions, WSConnectConfig, WSLimits, WSMsgType, WSOverflowPolicy, WSServerConfig};

use crate::ends::*;
use crate::polls::{Dropped, until};

#[test]
fn rule_defaults() {
    let mut kit = TestKit::new(1);
    let (ws, mut peer) = raw_pair(&mut kit, WebSocketConfig::default());
    assert_eq!(ws.disconnect_timeout(), 60 * SECOND);
    peer.send_frame(WSMsgType::Text, b"1");
    kit.run_until_idle();
    assert!(ws.transport().expect("open").is_reading_paused(), "a queue of one message");
    peer.link().to_server().capacity(usize::MAX);
    peer.send_frame(WSMsgType::Binary, &vec![0; 1 << 20]);
    assert_eq!(kit.block_on(ws.get_message()).expect("open"), Message::from("1"));
    assert_eq!(kit.block_on(ws.get_message()).expect("open").len(), 1 << 20);
    peer.send_frame(WSMsgType::Binary, &vec![0; (1 << 20) + 1]);
    assert_eq!(code(kit.block_on(ws.get_message())), 1009);
}

#[test]
fn rule_too_big_discards_the_queue() {
    for fragmented in [false, true] {
        let mut kit = TestKit::new(1);
        let config = WebSocketConfig::default().max_message_size(100).message_queue_size(16);
        let (ws, mut peer) = raw_pair(&mut kit, config);
        peer.send_frame(WSMsgType::Text, b"queued");
        if fragmented {
            let options = SendOptions { fin: false, ..SendOptions::default() };
            let first = peer.encode_frame(WSMsgType::Binary, &[0; 60], options);
            peer.write(&first);
            peer.send_frame(WSMsgType::Continuation, &[0; 41]);
        } else {
            peer.send_frame(WSMsgType::Binary, &[0; 101]);
        }
        kit.run_until_idle();
        assert_eq!(closes(&mut peer)[0][..2], 1009u16.to_be_bytes());
        // Whether or not the peer closes TCP too.
        assert_eq!(ws.close_reason().expect("at once").code.0, 1009);
        assert_eq!(code(kit.block_on(ws.get_message())), 1009);
    }
}

#[test]
fn rule_receivers_are_served_in_the_order_of_their_coming() {
    let mut kit = TestKit::new(1);
    let ends = pair(&mut kit, WebSocketConfig::default());
    let log = Log::new();
    for number in 0..5 {
        let (ws, log) = (ends.server.clone(), log.clone());
        kit.handle()
            .spawn(async move { log.add(format!("{number} {}", ws.receive_text().await.expect("open"))) })
            .detach();
    }
    kit.run_until_idle();
    kit.block_on(async {
        for number in 0..5 {
            ends.client.send_text(number.to_string()).await.expect("open");
        }
    });
    kit.run_until_idle();
    assert_eq!(log.take(), ["0 0", "1 1", "2 2", "3 3", "4 4"]);
}

#[test]
fn rule_text_that_is_not_utf8_is_1007() {
    let mut kit = TestKit::new(1);
    let (ws, mut peer) = raw_pair(&mut kit, WebSocketConfig::default());
    peer.send_frame(WSMsgType::Text, b"a\xff");
    kit.run_until_idle();
    assert_eq!(closes(&mut peer)[0][..2], 1007u16.to_be_bytes());
    assert_eq!(ws.close_reason().expect("at once").code.0, 1007);
    assert_eq!(code(kit.block_on(ws.get_message())), 1007);
}

#[test]
fn rule_a_json_error_leaves_the_connection_open() {
    let mut kit = TestKit::new(1);
    let ends = pair(&mut kit, WebSocketConfig::default());
    kit.block_on(async {
        for bad in [Message::from("{"), Message::from("\"text\""), Message::from(b"")] {
            ends.client.send_message(bad).await.expect("open");
            let result = ends.server.receive_json::<u32>(JsonMode::Text).await;
            assert!(matches!(result, Err(WebSocketError::Json(_))), "{result:?}");
        }
        // Decoded first: text mode drops what is not UTF-8, binary mode does not.
        for (mode, is_good) in [(JsonMode::Text, true), (JsonMode::Binary, false)] {
            ends.client.send_bytes(b"\"a\xffb\"").await.expect("open");
            let result = ends.server.receive_json::<String>(mode).await;
            assert_eq!(result.is_ok_and(|text| text == "ab"), is_good);
        }
        ends.client.send_text("7").await.expect("open");
        assert_eq!(ends.server.receive_json::<u32>(JsonMode::Text).await.expect("JSON"), 7);
        let mut values = ends.server.iter_json::<u32>(JsonMode::Text);
        ends.client.send_text("x").await.expect("open");
        assert!(values.next().await.is_some_and(|value| value.is_err()), "an error, and not the end");
        ends.client.send_text("8").await.expect("open");
        assert_eq!(values.next().await.expect("not the end").expect("JSON"), 8);
    });
}

#[test]
fn rule_json_finds_the_state_before_the_message() {
    let mut kit = TestKit::new(1);
    let (request, _peer) = asked(&mut kit, "/", "");
    kit.block_on(async {
        assert!(is_state_error(&request.receive_json::<u32>(JsonMode::Text).await));
        assert!(is_state_error(&request.send_json(&1, JsonMode::Binary).await));
    });
}

#[test]
fn rule_a_ping_without_a_payload_has_one_of_its_own() {
    let mut kit = TestKit::new(1);
    let (client, mut peer) = raw_client(&mut kit, WebSocketConfig::default());
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let client = client.clone();
            kit.handle().spawn(async move { client.ping(None).await })
        })
        .collect();
    kit.advance(Duration::from_millis(30));
    let mut payloads: Vec<_> = peer.frames().into_iter().map(|frame| frame.payload).collect();
    peer.send_frame(WSMsgType::Pong, &payloads[9]);
    for task in tasks {
        assert_eq!(kit.block_on(task).expect("answered"), Duration::from_millis(30));
    }
    payloads.sort_unstable();
    payloads.dedup();
    assert_eq!(payloads.len(), 10);
    assert!(payloads.iter().all(|payload| !payload.is_empty()));
}

#[test]
fn rule_a_ping_of_more_than_125_bytes_is_refused() {
    let mut kit = TestKit::new(1);
    let ends = pair(&mut kit, WebSocketConfig::default());
    kit.block_on(ends.client.ping(&[7; 125][..])).expect("at the limit");
    let refused = kit.block_on(ends.client.ping(&[7; 126][..]));
    assert!(matches!(refused, Err(WebSocketError::TooBig { size: 126, limit: 125 })), "{refused:?}");
    let refused = ends.client.pong(&[7; 126]);
    assert!(matches!(refused, Err(WebSocketError::TooBig { size: 126, limit: 125 })), "{refused:?}");
}

#[test]
fn rule_a_ping_that_was_dropped_says_so() {
    let mut kit = TestKit::new(1);
    let limits = WSLimits::default().max_outbound(1000).overflow_policy(WSOverflowPolicy::DropNew);
    let config = WebSocketConfig::default().server(WSServerConfig::default().limits(limits));
    let (ws, peer) = raw_pair(&mut kit, config);
    peer.link().to_client().capacity(0);
    let outcomes: Vec<_> = (0..1000_u16)
        .map(|number| kit.block_on(until(Dropped::After(1), ws.ping(&number.to_be_bytes()[..]))))
        .collect();
    assert!(outcomes[0].is_none(), "it waits for its answer");
    assert!(matches!(outcomes[999], Some(Err(WebSocketError::Dropped))), "{:?}", outcomes[999]);
}

#[test]
fn rule_unknown_pongs_are_ignored() {
    let mut kit = TestKit::new(1);
    let (client, mut peer) = raw_client(&mut kit, WebSocketConfig::default());
    let pinging = client.clone();
    let ping = kit.handle().spawn(async move { pinging.ping(b"mine").await });
    for unknown in [&b""[..], b"other", b"min"] {
        peer.send_frame(WSMsgType::Pong, unknown);
    }
    kit.run_until_idle();
    assert!(!ping.is_finished() && !client.is_closed());
    peer.send_frame(WSMsgType::Pong, b"mine");
    kit.block_on(ping).expect("answered");
}

#[test]
fn rule_a_close_wakes_pings_receivers_and_senders() {
    for is_own in [true, false] {
        let mut kit = TestKit::new(1);
        let tuning = femtows::WSTuning::default().write_watermarks(0, 10);
        let config = WebSocketConfig::default().client(WSConnectConfig::default().tuning(tuning));
        let (client, mut peer) = raw_client(&mut kit, config);
        peer.link().to_server().capacity(10).stall();
        kit.block_on(client.send_bytes([0; 100])).expect("open");
        kit.run_until_idle();
        let (ping, receive, send) = (client.clone(), client.clone(), client.clone());
        let tasks = [
            kit.handle().spawn(async move { ping.ping(None).await.map(drop) }),
            kit.handle().spawn(async move { receive.get_message().await.map(drop) }),
            kit.handle().spawn(async move { send.send_text("waits").await }),
        ];
        kit.run_until_idle();
        assert!(tasks.iter().all(|task| !task.is_finished()));
        if is_own {
            client.close(4000, "").expect("open");
        } else {
            peer.send_frame(WSMsgType::Close, &close_payload(4000, ""));
        }
        kit.run_until_idle();
        for task in tasks {
            assert!(task.is_finished());
            let error = kit.block_on(task).expect_err("closed");
            assert!(matches!(error, WebSocketError::Closed(_)), "own: {is_own}: {error:?}");
            assert_eq!(error.close_reason().expect("closed").code.0, 4000, "own: {is_own}");
        }
    }
}

/// Its liveness check asks after a second without a sign of life, and waits for another.
fn auto_pinging_client(kit: &mut TestKit) -> (WebSocket, Peer) {
    let client = WSConnectConfig::default()
        .enable_auto_ping(true)
        .auto_ping_idle_timeout(SECOND)
        .auto_ping_reply_timeout(SECOND);
    raw_client(kit, WebSocketConfig::default().client(client))
}

#[test]
fn rule_auto_ping_never_eats_the_applications_pongs() {
    let mut kit = TestKit::new(1);
    let (client, mut peer) = auto_pinging_client(&mut kit);
    let pinging = client.clone();
    let ping = kit.handle().spawn(async move { pinging.ping(b"mine").await });
    kit.run_until_idle();
    assert_eq!(peer.frames()[0].payload, b"mine");
    kit.advance(SECOND + SECOND / 2);
    let auto = peer.frames();
    assert_eq!((auto.len(), auto[0].msg_type), (1, WSMsgType::Ping), "the check's own");
    peer.send_frame(WSMsgType::Pong, b"mine");
    kit.run_until_idle();
    assert!(ping.is_finished(), "the answer to the application's came while the check's was awaited");
    peer.send_frame(WSMsgType::Pong, &auto[0].payload);
    kit.advance(SECOND / 2);
    assert!(!client.is_closed());
}

#[test]
fn rule_the_answer_to_a_later_auto_ping_is_one_to_earlier_pings() {
    // RFC 6455 section 5.5.3: a peer may answer only the newest.
    let mut kit = TestKit::new(1);
    let (client, mut peer) = auto_pinging_client(&mut kit);
    let pinging = client.clone();
    let ping = kit.handle().spawn(async move { pinging.ping(b"mine").await });
    kit.advance(SECOND + SECOND / 2);
    let frames = peer.frames();
    assert_eq!(frames.len(), 2);
    assert!(!ping.is_finished());
    peer.send_frame(WSMsgType::Pong, &frames[1].payload);
    kit.run_until_idle();
    assert!(ping.is_finished() && !client.is_closed());
    assert_eq!(kit.block_on(ping).expect("answered"), SECOND + SECOND / 2);
}

#[test]
fn rule_what_can_never_be_sent_is_too_big() {
    let mut kit = TestKit::new(1);
    let limits = femtows::WSLimits::default().max_outbound(1000);
    let client = WSConnectConfig::default().limits(limits);
    let (client, _peer) = raw_client(&mut kit, WebSocketConfig::default().client(client));
    let refused = kit.block_on(client.send_bytes([0; 1001]));
    assert!(matches!(refused, Err(WebSocketError::TooBig { size: 1001, .. })), "{refused:?}");
    kit.block_on(client.send_bytes([0; 900])).expect("open");
}

#[test]
fn rule_what_came_before_a_fault_is_answered_before_it() {
    let mut kit = TestKit::new(1);
    let echo = async |ws: WebSocket| -> Result<(), WebSocketError> {
        ws.accept().await?;
        loop {
            ws.send_message(ws.get_message().await?).await?;
        }
    };
    let mut peer = raw(&mut kit, echo, WebSocketConfig::default().message_queue_size(16));
    peer.upgrade(&mut kit);
    let options = SendOptions::default();
    let mut bytes = peer.encode_frame(WSMsgType::Text, b"one", options);
    bytes.extend(peer.encode_frame(WSMsgType::Text, b"two", options));
    bytes.extend(peer.encode_frame(WSMsgType::Text, b"three", SendOptions { rsv2: true, ..options }));
    peer.write(&bytes);
    kit.run_until_idle();
    let answers: Vec<_> = peer.frames().into_iter().map(|frame| frame.payload).collect();
    assert_eq!(answers.len(), 3, "{answers:?}");
    assert_eq!((&*answers[0], &*answers[1]), (&b"one"[..], &b"two"[..]));
    assert_eq!(answers[2][..2], 1002u16.to_be_bytes());
}

#[test]
fn rule_a_value_is_not_serialized_if_it_cannot_be_sent() {
    // JSON has no such keys.
    let value = std::collections::BTreeMap::from([((1, 2), 3)]);
    let mut kit = TestKit::new(1);
    let ends = pair(&mut kit, WebSocketConfig::default());
    let refused = kit.block_on(ends.client.send_json(&value, JsonMode::Text));
    assert!(matches!(refused, Err(WebSocketError::Json(_))), "{refused:?}");
    assert!(!ends.client.is_closed());
    ends.client.close(1000, "").expect("open");
    assert!(is_state_error(&kit.block_on(ends.client.send_json(&value, JsonMode::Text))));
}

#[test]
fn rule_the_size_of_messages_is_that_of_frames() {
    let mut kit = TestKit::new(1);
    let limits = femtows::WSLimits::default().max_frame_size(10).max_message_size(10);
    let client = WSConnectConfig::default().limits(limits);
    let config = WebSocketConfig::default().max_message_size(100).client(client);
    let (client, mut peer) = raw_client(&mut kit, config);
    peer.send_frame(WSMsgType::Binary, &[0; 100]);
    assert_eq!(kit.block_on(client.receive_bytes()).expect("within the limit").len(), 100);
    peer.send_frame(WSMsgType::Binary, &[0; 101]);
    assert_eq!(code(kit.block_on(client.receive_bytes())), 1009);
}
