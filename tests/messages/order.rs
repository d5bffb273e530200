//! Who comes when, at the moments between a wake-up and the poll that follows it. The futures are polled by hand.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use femtows::message::*;
use femtows::proto::Role;
use femtows::testkit::TestKit;
use femtows::{WSConnectConfig, WSLimits, WSMsgType, WSOverflowPolicy, WSTuning};
use futures_sink::Sink;

use crate::ends::*;
use crate::polls::{Dropped, until};

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_sender_does_not_overtake_one_that_was_woken() {
    let mut kit = TestKit::new(1);
    let tuning = WSTuning::default().write_watermarks(0, 10);
    let config = WebSocketConfig::default().client(WSConnectConfig::default().tuning(tuning));
    let (ws, mut peer) = raw_client(&mut kit, config);
    peer.link().to_server().capacity(10).stall();
    kit.block_on(ws.send_bytes([0; 100])).expect("open");
    kit.run_until_idle();
    let mut first = pin!(ws.send_text("first"));
    assert!(poll(first.as_mut()).is_pending());
    peer.link().to_server().capacity(1000).unstall();
    kit.run_until_idle();
    let mut second = pin!(ws.send_text("second"));
    assert!(poll(second.as_mut()).is_pending(), "it is not its turn, though there is room");
    assert!(matches!(poll(first), Poll::Ready(Ok(()))));
    assert!(matches!(poll(second), Poll::Ready(Ok(()))));
    kit.run_until_idle();
    let texts: Vec<_> = peer.frames().into_iter().skip(1).map(|frame| frame.payload).collect();
    assert_eq!(texts, [&b"first"[..], b"second"]);
}

#[test]
fn a_receiver_that_leaves_its_message_makes_the_queue_full() {
    let mut kit = TestKit::new(1);
    let (ws, mut peer) = raw_pair(&mut kit, WebSocketConfig::default());
    {
        let mut receiver = pin!(ws.get_message());
        assert!(poll(receiver.as_mut()).is_pending());
        peer.send_frame(WSMsgType::Text, b"left");
        kit.run_until_idle();
    }
    peer.send_frame(WSMsgType::Text, b"next");
    peer.send_frame(WSMsgType::Ping, b"");
    kit.run_until_idle();
    assert!(peer.frames().is_empty(), "the next message and what is behind it wait");
    assert_eq!(kit.block_on(ws.receive_text()).expect("open"), "left");
    kit.run_until_idle();
    assert_eq!(peer.frames().len(), 1);
}

#[test]
fn a_message_that_is_left_behind_the_end_does_not_stop_reading() {
    let mut kit = TestKit::new(1);
    let (ws, mut peer) = raw_client(&mut kit, WebSocketConfig::default());
    {
        let mut receiver = pin!(ws.get_message());
        assert!(poll(receiver.as_mut()).is_pending());
        peer.send_frame(WSMsgType::Text, b"left");
        peer.send_frame(WSMsgType::Close, &close_payload(4000, ""));
        kit.run_until_idle();
    }
    peer.shutdown_write();
    kit.run_until_idle();
    assert!(peer.link().is_closed(Role::Client), "the end of TCP is seen");
    assert_eq!(kit.block_on(ws.receive_text()).expect("it came before the end"), "left");
    assert_eq!(code(kit.block_on(ws.receive_text())), 4000);
}

#[test]
fn what_is_too_much_for_the_queue_closes_or_is_dropped_as_configured() {
    for (policy, closes) in [(WSOverflowPolicy::Close, true), (WSOverflowPolicy::DropNew, false)] {
        let mut kit = TestKit::new(1);
        let limits = WSLimits::default().max_outbound(1000).overflow_policy(policy);
        let config = WebSocketConfig::default().client(WSConnectConfig::default().limits(limits));
        let (ws, peer) = raw_client(&mut kit, config);
        peer.link().to_server().capacity(0);
        kit.block_on(ws.send_bytes([0; 900])).expect("open");
        match kit.block_on(ws.send_bytes([0; 900])) {
            Err(WebSocketError::Closed(_)) if closes => {}
            Err(WebSocketError::Dropped) if !closes => assert!(!ws.is_closed()),
            other => panic!("{policy:?}: {other:?}"),
        }
    }
}

#[test]
fn the_answer_to_a_later_ping_proves_that_the_peer_is_alive() {
    for answers in [true, false] {
        let mut kit = TestKit::new(1);
        let client = WSConnectConfig::default()
            .enable_auto_ping(true)
            .auto_ping_idle_timeout(SECOND)
            .auto_ping_reply_timeout(SECOND);
        let (ws, mut peer) = raw_client(&mut kit, WebSocketConfig::default().client(client));
        kit.advance(SECOND + SECOND / 4);
        assert_eq!(peer.frames().len(), 1, "the check's own");
        assert!(kit.block_on(until(Dropped::After(0), ws.ping(None))).is_none());
        let mut ping = pin!(ws.ping(b"mine"));
        assert!(poll(ping.as_mut()).is_pending());
        kit.run_until_idle();
        if answers {
            peer.send_frame(WSMsgType::Pong, b"mine");
        }
        kit.advance(7 * SECOND / 8);
        assert_eq!(ws.is_closed(), !answers);
    }
}

#[test]
fn what_is_closed_before_it_is_open_closes_when_it_opens() {
    let mut kit = TestKit::new(1);
    let handler = async |ws: WebSocket| {
        assert!(until(Dropped::After(1), ws.accept()).await.is_none(), "it is not open yet");
        ws.close(4000, "early").expect("accepted");
        assert!(is_state_error(&ws.send_text("late").await));
    };
    let mut peer = raw(&mut kit, handler, WebSocketConfig::default());
    peer.upgrade(&mut kit);
    kit.run_until_idle();
    assert_eq!(closes(&mut peer), [close_payload(4000, "early")]);
}

#[test]
fn a_ping_that_was_answered_before_the_end_is_answered() {
    let mut kit = TestKit::new(1);
    let (ws, mut peer) = raw_client(&mut kit, WebSocketConfig::default());
    let mut ping = pin!(ws.ping(b"mine"));
    assert!(poll(ping.as_mut()).is_pending());
    kit.run_until_idle();
    peer.send_frame(WSMsgType::Pong, b"mine");
    kit.run_until_idle();
    let mut again = pin!(ws.ping(b"mine"));
    assert!(poll(again.as_mut()).is_pending(), "the payload is free again");
    peer.send_frame(WSMsgType::Pong, b"mine");
    kit.run_until_idle();
    let mut last = pin!(ws.ping(b"mine"));
    assert!(poll(last.as_mut()).is_pending());
    ws.close(4000, "").expect("open");
    assert!(matches!(poll(ping), Poll::Ready(Ok(_))));
    assert!(matches!(poll(again), Poll::Ready(Ok(_))));
    assert!(matches!(poll(last), Poll::Ready(Err(WebSocketError::Closed(_)))));
}

#[test]
fn the_payload_of_a_ping_that_is_dropped_is_free() {
    let mut kit = TestKit::new(1);
    let (ws, mut peer) = raw_client(&mut kit, WebSocketConfig::default());
    for _ in 0..2 {
        assert!(poll(pin!(ws.ping(b"mine"))).is_pending());
    }
    let mut last = pin!(ws.ping(b"mine"));
    assert!(poll(last.as_mut()).is_pending());
    peer.send_frame(WSMsgType::Pong, b"mine");
    kit.run_until_idle();
    assert!(matches!(poll(last), Poll::Ready(Ok(_))));
}

fn poll_flush_once(sink: &mut WebSocket) -> Poll<Result<(), WebSocketError>> {
    Pin::new(sink).poll_flush(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_sink_keeps_the_rules_when_it_is_not_asked_first() {
    let mut kit = TestKit::new(1);
    let (ws, mut peer) = raw_client(&mut kit, WebSocketConfig::default());
    let mut cx = Context::from_waker(Waker::noop());
    let mut sink = ws.clone();
    let link = peer.link().clone();
    let flushed = kit.handle().spawn(async move {
        let on_its_way = || link.to_server().in_flight() + link.to_server().unread();
        Pin::new(&mut sink).start_send("text".into()).expect("open");
        let gathered = on_its_way();
        assert!(matches!(poll_flush_once(&mut sink), Poll::Ready(Ok(()))));
        (gathered, on_its_way())
    });
    let (gathered, flushed) = kit.block_on(flushed);
    assert!(gathered == 0 && flushed > 0, "it leaves while its task runs");
    assert_eq!(peer.frames().len(), 1);
    let mut sink = ws.clone();
    assert!(Pin::new(&mut sink).poll_close(&mut cx).is_pending());
    assert!(is_state_error(&Pin::new(&mut sink).start_send("late".into())));
    kit.run_until_idle();
    peer.send_frame(WSMsgType::Close, &close_payload(1000, ""));
    peer.shutdown_write();
    kit.run_until_idle();
    for _ in 0..2 {
        assert!(matches!(Pin::new(&mut sink).poll_close(&mut cx), Poll::Ready(Ok(()))), "however often");
    }

    let (request, _peer) = asked(&mut kit, "/", "");
    let mut undecided = request.into_websocket();
    assert!(is_state_error(&Pin::new(&mut undecided).start_send("early".into())));
    let Poll::Ready(flushed) = poll_flush_once(&mut undecided) else { panic!("it waits") };
    assert!(is_state_error(&flushed));
}

#[test]
fn a_rejection_wakes_whoever_waits_for_the_client() {
    let mut kit = TestKit::new(1);
    let (request, _peer) = asked(&mut kit, "/", "");
    let ws = (*request).clone();
    let waiting = kit.handle().spawn(async move {
        assert_eq!(ws.receive_event().await.expect("first"), ReceiveEvent::Connect);
        ws.receive_event().await
    });
    kit.run_until_idle();
    assert!(!waiting.is_finished());
    request.reject(femtows::WSUpgradeResponse::forbidden()).expect("undecided");
    kit.run_until_idle();
    assert!(waiting.is_finished());
    let end = kit.block_on(waiting).expect("an event");
    assert_eq!(end, ReceiveEvent::Disconnect(reason(1006, "")));
}

#[test]
fn a_connection_that_is_never_opened_is_closed() {
    // At a client: the connect fails, and its listener goes.
    let mut kit = TestKit::new(1);
    let (listener, pending) = websocket_listener(&kit.handle(), WebSocketConfig::default());
    let ws = pending.opened();
    let mut receive = pin!(ws.get_message());
    let mut send = pin!(ws.send_text("x"));
    assert!(poll(receive.as_mut()).is_pending() && poll(send.as_mut()).is_pending());
    drop(listener);
    for result in [kit.block_on(receive).map(drop), kit.block_on(send)] {
        assert_eq!(code(result), 1006);
    }

    // At a server: the client goes before the decision.
    let (request, mut peer) = asked(&mut kit, "/", "");
    peer.close();
    kit.run_until_idle();
    assert_eq!(code(kit.block_on(request.accept())), 1006);
    assert_eq!(request.application_state(), SideState::Disconnected);
    assert!(!request.accepted() && is_state_error(&kit.block_on(request.accept())));
}
