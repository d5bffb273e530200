//! How connections end.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Waker};

use femtows::message::*;
use femtows::proto::Role;
use femtows::testkit::{Peer, TestKit};
use femtows::{WSCloseCode, WSMsgType, WSServerConfig};

use crate::ends::*;

#[test]
fn rule_codes_that_are_never_sent_become_others() {
    for (given, sent) in [
        (1005, &b""[..]),
        (1006, &[3, 232]),
        (1015, &[3, 232]),
        (1000, &[3, 232]),
        (3000, &[0x0b, 0xb8]),
        (4999, &[0x13, 0x87]),
    ] {
        let mut kit = TestKit::new(1);
        let (ws, mut peer) = raw_pair(&mut kit, WebSocketConfig::default());
        ws.close(given, "").expect("open");
        kit.run_until_idle();
        assert_eq!(closes(&mut peer), [sent], "{given}");
    }
    for invalid in [0, 999, 1004, 1016, 2999, 5000] {
        let mut kit = TestKit::new(1);
        let (ws, mut peer) = raw_pair(&mut kit, WebSocketConfig::default());
        assert!(matches!(ws.close(invalid, ""), Err(WebSocketError::InvalidArgument(_))), "{invalid}");
        let refused = kit.block_on(ws.aclose(invalid, ""));
        assert!(matches!(refused, Err(WebSocketError::InvalidArgument(_))), "{invalid}");
        assert!(!ws.is_closed() && closes(&mut peer).is_empty());
    }
}

#[test]
fn rule_an_empty_close_is_1005_and_an_end_without_one_1006() {
    for (end, expected) in [("close", 1005), ("eof", 1006), ("reset", 1006)] {
        let mut kit = TestKit::new(1);
        let (ws, mut peer) = raw_pair(&mut kit, WebSocketConfig::default());
        match end {
            "close" => peer.send_frame(WSMsgType::Close, b""),
            "eof" => peer.shutdown_write(),
            _ => peer.link().reset(),
        }
        kit.run_until_idle();
        assert_eq!(code(kit.block_on(ws.get_message())), expected, "{end}");
        assert_eq!(ws.close_reason(), Some(reason(expected, "")));
    }
}

#[test]
fn rule_codes_have_names() {
    for (number, name) in [
        (1000, "NORMAL_CLOSURE"),
        (1001, "GOING_AWAY"),
        (1002, "PROTOCOL_ERROR"),
        (1003, "UNSUPPORTED_DATA"),
        (1005, "NO_STATUS_RCVD"),
        (1006, "ABNORMAL_CLOSURE"),
        (1007, "INVALID_FRAME_PAYLOAD_DATA"),
        (1008, "POLICY_VIOLATION"),
        (1009, "MESSAGE_TOO_BIG"),
        (1011, "INTERNAL_ERROR"),
        (1015, "TLS_HANDSHAKE"),
    ] {
        assert_eq!(reason(number, "").name(), name);
    }
}

#[test]
fn rule_codes_without_a_name_have_that_of_their_range() {
    for (number, name) in [
        (0, "INVALID_CODE"),
        (999, "INVALID_CODE"),
        (1004, "RFC_RESERVED"),
        (1016, "RFC_RESERVED"),
        (2999, "RFC_RESERVED"),
        (3000, "IANA_RESERVED"),
        (3999, "IANA_RESERVED"),
        (4000, "PRIVATE_RESERVED"),
        (4999, "PRIVATE_RESERVED"),
        (5000, "INVALID_CODE"),
        (65535, "INVALID_CODE"),
    ] {
        assert_eq!(reason(number, "").name(), name, "{number}");
    }
}

/// The server answers CLOSE and leaves TCP open.
#[test]
fn rule_aclose_of_a_client_is_done_when_the_closing_handshake_is() {
    let mut kit = TestKit::new(1);
    let (ws, mut peer) = raw_client(&mut kit, WebSocketConfig::default());
    let start = kit.now();
    let closing = ws.clone();
    let task = kit.handle().spawn(async move { closing.aclose(1000, "").await });
    kit.run_until_idle();
    assert!(!task.is_finished());
    peer.send_frame(WSMsgType::Close, &close_payload(1000, ""));
    let result = kit.block_on(task);
    assert!(result.is_ok(), "{result:?} after {:?}", kit.now() - start);
    assert_eq!(kit.now(), start);
}

#[test]
fn rule_aclose_behind_the_closing_handshake_is_done_at_once() {
    let mut kit = TestKit::new(1);
    let (ws, mut peer) = raw_client(&mut kit, WebSocketConfig::default());
    peer.send_frame(WSMsgType::Close, &close_payload(1000, ""));
    kit.run_until_idle();
    let start = kit.now();
    let result = kit.block_on(ws.aclose(1000, ""));
    assert!(result.is_ok(), "{result:?} after {:?}", kit.now() - start);
    assert_eq!(kit.now(), start);
}

#[test]
fn rule_a_client_ends_tcp_in_the_background_within_two_seconds() {
    let mut kit = TestKit::new(1);
    let (ws, mut peer) = raw_client(&mut kit, WebSocketConfig::default());
    peer.send_frame(WSMsgType::Close, &close_payload(1000, ""));
    drop(kit.block_on(ws.aclose(1000, "")));
    kit.advance(2 * SECOND);
    assert!(peer.link().is_closed(Role::Client));
}

#[test]
fn rule_aclose_of_a_server_waits_until_tcp_is_closed() {
    let mut kit = TestKit::new(1);
    let (ws, mut peer) = raw_pair(&mut kit, WebSocketConfig::default());
    let closing = ws.clone();
    let task = kit.handle().spawn(async move { closing.aclose(1000, "").await });
    kit.run_until_idle();
    assert!(!task.is_finished());
    peer.send_frame(WSMsgType::Close, &close_payload(1000, ""));
    peer.shutdown_write();
    kit.block_on(task).expect("the peer has answered");
    assert!(peer.link().is_closed(Role::Server));
    kit.block_on(ws.aclose(4000, "")).expect("idempotent");
    assert_eq!(ws.close_reason(), Some(reason(1000, "")));
}

#[test]
fn rule_aclose_has_one_deadline() {
    let mut kit = TestKit::new(1);
    let (ws, mut peer) = raw_pair(&mut kit, WebSocketConfig::default().disconnect_timeout(3 * SECOND));
    let start = kit.now();
    let closing = ws.clone();
    let task = kit.handle().spawn(async move { closing.aclose(1000, "").await });
    for _ in 0..2 {
        kit.advance(SECOND);
        peer.send_frame(WSMsgType::Text, b"messages do not extend it");
    }
    let result = kit.block_on(task);
    assert!(matches!(result, Err(WebSocketError::DisconnectionTimeout)), "{result:?}");
    assert_eq!(kit.now() - start, 3 * SECOND);
    assert!(peer.link().is_closed(Role::Server));
}

/// A server whose peer reads nothing, and a task that waits to send.
fn blocked_sender(kit: &mut TestKit, config: WebSocketConfig) -> (WebSocket, Peer, Slot<u16>) {
    let (ws, peer) = raw_pair(kit, config);
    peer.link().to_client().capacity(100).stall();
    let ended = Slot::new();
    let (sending, end) = (ws.clone(), ended.clone());
    let sender = async move {
        loop {
            let sent = sending.send_bytes([7; 10_000]).await;
            if sent.is_err() {
                break end.put(code(sent));
            }
        }
    };
    kit.handle().spawn(sender).detach();
    kit.run_until_idle();
    (ws, peer, ended)
}

#[test]
fn rule_a_server_gives_up_on_a_peer_that_takes_no_byte_for_30_seconds() {
    let mut kit = TestKit::new(1);
    let (_ws, _peer, ended) = blocked_sender(&mut kit, WebSocketConfig::default());
    kit.advance(29 * SECOND);
    assert!(ended.0.take().is_none());
    kit.advance(SECOND);
    assert_eq!(ended.take(), 1006);
}

#[test]
fn rule_the_write_timeout_is_that_of_the_server_below() {
    let mut kit = TestKit::new(1);
    let server = WSServerConfig::default().write_timeout(Some(5 * SECOND));
    let (_ws, _peer, ended) = blocked_sender(&mut kit, WebSocketConfig::default().server(server));
    kit.advance(5 * SECOND);
    assert_eq!(ended.take(), 1006);
}

#[test]
fn rule_aclose_fails_when_the_peer_does_not_read() {
    let mut kit = TestKit::new(1);
    let (ws, _peer, _ended) = blocked_sender(&mut kit, WebSocketConfig::default());
    let start = kit.now();
    let result = kit.block_on(ws.aclose(1000, ""));
    assert!(matches!(result, Err(WebSocketError::DisconnectionTimeout)), "{result:?}");
    assert_eq!(kit.now() - start, 30 * SECOND);
}

#[test]
fn rule_after_a_local_close_the_queue_is_gone() {
    let mut kit = TestKit::new(1);
    let ends = pair(&mut kit, WebSocketConfig::default().message_queue_size(16));
    kit.block_on(ends.client.send_text("queued")).expect("open");
    kit.run_until_idle();
    ends.server.close(1000, "").expect("open");
    assert_eq!(code(kit.block_on(ends.server.get_message())), 1000);
    let refused = kit.block_on(ends.server.send_text("x"));
    assert!(is_state_error(&refused) && refused.expect_err("refused").is_closed());
    kit.run_until_idle();
    assert_eq!(code(kit.block_on(ends.client.send_text("x"))), 1000);
    assert_eq!(code(kit.block_on(ends.client.send_text("x"))), 1000, "each time");
}

#[test]
fn rule_the_last_handle_closes_with_1000_and_in_a_panic_with_1011() {
    for panics in [false, true] {
        let mut kit = TestKit::new(1);
        let config = WebSocketConfig::default().disconnect_timeout(SECOND);
        let (client, mut peer) = raw_client(&mut kit, config);
        let clone = client.clone();
        drop(client);
        kit.run_until_idle();
        assert!(closes(&mut peer).is_empty(), "there is another");
        if panics {
            let panic = catch_unwind(AssertUnwindSafe(move || {
                let _held = clone;
                panic!("on purpose");
            }));
            assert!(panic.is_err());
        } else {
            drop(clone);
        }
        kit.run_until_idle();
        assert_eq!(closes(&mut peer), [close_payload(if panics { 1011 } else { 1000 }, "")]);
        kit.advance(SECOND);
        assert!(peer.link().is_closed(Role::Client), "the close deadline");
    }
}

#[test]
fn rule_iterators_streams_and_halves_are_handles() {
    let mut kit = TestKit::new(1);
    let (client, mut peer) = raw_client(&mut kit, WebSocketConfig::default());
    let texts = client.iter_text();
    let (sender, receiver) = client.split();
    drop(texts);
    drop(sender);
    kit.run_until_idle();
    assert!(closes(&mut peer).is_empty());
    drop(receiver);
    kit.run_until_idle();
    assert_eq!(closes(&mut peer), [close_payload(1000, "")]);
}

#[test]
fn rule_a_sink_that_is_closed_closes_with_1000() {
    let mut kit = TestKit::new(1);
    let (client, mut peer) = raw_client(&mut kit, WebSocketConfig::default());
    let mut sink = client.clone();
    let closing = kit.handle().spawn(async move {
        std::future::poll_fn(|cx| futures_sink::Sink::poll_close(std::pin::Pin::new(&mut sink), cx)).await
    });
    kit.run_until_idle();
    assert!(!closing.is_finished());
    assert_eq!(closes(&mut peer), [close_payload(1000, "")]);
    peer.send_frame(WSMsgType::Close, &close_payload(1000, ""));
    peer.shutdown_write();
    kit.block_on(closing).expect("the peer has answered");
}

#[test]
fn rule_what_a_handler_fails_with_is_told_only_if_configured() {
    for (expose, told) in [(false, ""), (true, "what went wrong")] {
        let mut kit = TestKit::new(1);
        let handler = |ws: WebSocket| async move {
            ws.accept().await?;
            Err::<(), HandlerError>("what went wrong".into())
        };
        let config = WebSocketConfig::default().expose_errors(expose);
        let (client, _) = connect(&mut kit, handler, config).expect("it accepts");
        assert_eq!(code(kit.block_on(client.get_message())), 1011);
        assert_eq!(client.close_reason(), Some(reason(1011, told)));
    }
}

#[test]
fn rule_connection_closed_out_of_a_handler_is_no_failure() {
    // Both types of error, and wherever the connection in question was.
    for direct in [true, false] {
        let mut kit = TestKit::new(1);
        let handler = move |ws: WebSocket| async move {
            ws.accept().await?;
            let closed = ConnectionClosed { reason: reason(1001, "") };
            let error: HandlerError =
                if direct { closed.into() } else { WebSocketError::Closed(closed).into() };
            Err::<(), HandlerError>(error)
        };
        let (client, _) = connect(&mut kit, handler, WebSocketConfig::default()).expect("it accepts");
        assert_eq!(code(kit.block_on(client.get_message())), 1000, "as if it had returned");
    }
}

#[test]
fn rule_a_reason_is_cut_at_a_character() {
    let mut kit = TestKit::new(1);
    let (ws, mut peer) = raw_pair(&mut kit, WebSocketConfig::default());
    ws.close(WSCloseCode::OK, &"\u{20ac}".repeat(50)).expect("open");
    kit.run_until_idle();
    assert_eq!(closes(&mut peer), [close_payload(1000, &"\u{20ac}".repeat(41))]);
}

#[test]
fn rule_a_connection_that_is_gone_is_closed_to_pings_too() {
    for end in [femtows::WSTransport::abort, femtows::WSTransport::disconnect] {
        let mut kit = TestKit::new(1);
        let ends = pair(&mut kit, WebSocketConfig::default());
        // Nothing tells the tasks before the loop goes on.
        end(ends.client.transport().expect("open"));
        assert_eq!(code(ends.client.pong(b"")), 1006);
        assert_eq!(ends.client.application_state(), SideState::Disconnected);
        end(ends.server.transport().expect("open"));
        assert_eq!(code(kit.block_on(ends.server.ping(None))), 1006);
    }
}

#[test]
fn rule_a_stream_tells_of_the_end_once() {
    use futures_core::Stream;
    let mut kit = TestKit::new(1);
    let ends = pair(&mut kit, WebSocketConfig::default().message_queue_size(16));
    kit.block_on(ends.client.send_text("last")).expect("open");
    ends.client.close(4000, "").expect("open");
    kit.run_until_idle();
    let mut handles = [ends.server.clone(), ends.server.clone(), ends.client];
    drop(ends.server);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let mut next = |ws: &mut WebSocket| match std::pin::Pin::new(ws).poll_next(&mut cx) {
        std::task::Poll::Ready(next) => next,
        std::task::Poll::Pending => panic!("it waits"),
    };
    assert!(matches!(next(&mut handles[0]), Some(Ok(message)) if message == Message::from("last")));
    for ws in &mut handles {
        assert_eq!(next(ws).map(code), Some(4000));
        assert!(next(ws).is_none() && next(ws).is_none());
        assert_eq!(next(&mut ws.clone()).map(code), Some(4000), "another handle is another stream");
    }
}

#[test]
fn a_wait_that_outlasts_the_closing_handshake_displaces_no_other() {
    for drops in [false, true] {
        let mut kit = TestKit::new(1);
        let (ws, mut peer) = raw_client(&mut kit, WebSocketConfig::default());
        let transport = kit.transport(peer.link(), Role::Client).expect("it is open");
        let mut first = Box::pin(transport.wait_disconnected());
        let mut context = Context::from_waker(Waker::noop());
        assert!(first.as_mut().poll(&mut context).is_pending());
        ws.close(1000, "").expect("it is open");
        peer.send_frame(WSMsgType::Close, &close_payload(1000, ""));
        kit.run_until_idle();
        let second = kit.handle().spawn(transport.wait_disconnected());
        kit.run_until_idle();
        if drops {
            drop(first);
        } else {
            assert!(first.as_mut().poll(&mut context).is_pending(), "the server leaves TCP open");
        }
        kit.advance(3 * SECOND);
        assert!(transport.is_disconnected());
        assert!(second.is_finished(), "drops: {drops}");
    }
}
