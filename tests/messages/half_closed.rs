//! A peer that ends its half of TCP without CLOSE, and goes on reading.

use femtows::WSMsgType;
use femtows::message::*;
use femtows::proto::Role;
use femtows::testkit::{Peer, TestKit};

use crate::ends::*;

async fn echo(ws: WebSocket) -> Result<(), HandlerError> {
    ws.accept().await?;
    loop {
        ws.send_message(ws.get_message().await?).await?;
    }
}

fn texts(peer: &mut Peer) -> Vec<String> {
    let frames = peer.frames().into_iter().filter(|frame| frame.msg_type == WSMsgType::Text);
    frames.map(|frame| String::from_utf8(frame.payload).expect("the tests' own")).collect()
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

#[test]
fn a_half_closed_peer_gets_every_echo() {
    for queue in [0, 1, 2, 16] {
        let mut kit = TestKit::new(1);
        let mut peer = raw(&mut kit, echo, WebSocketConfig::default().message_queue_size(queue));
        peer.upgrade(&mut kit);
        for text in numbers(10) {
            peer.send_frame(WSMsgType::Text, text.as_bytes());
        }
        peer.shutdown_write();
        kit.run_until_idle();
        assert_eq!(texts(&mut peer), numbers(10), "queue {queue}");
        assert!(peer.is_ended(), "the handler has ended, and with it the connection");
        peer.close();
        kit.run_until_idle();
        assert_eq!(kit.leftovers(), [""; 0]);
    }
}

#[test]
fn a_handler_that_is_late_still_answers_a_half_closed_peer() {
    let mut kit = TestKit::new(1);
    let handle = kit.handle();
    let late = move |ws: WebSocket| {
        let handle = handle.clone();
        async move {
            ws.accept().await?;
            let question = ws.get_message().await?;
            handle.sleep(5 * SECOND).await;
            ws.send_message(question).await?;
            Ok::<(), HandlerError>(())
        }
    };
    let mut peer = raw(&mut kit, late, WebSocketConfig::default());
    peer.upgrade(&mut kit);
    peer.send_frame(WSMsgType::Text, b"question");
    peer.shutdown_write();
    kit.advance(4 * SECOND);
    assert!(!peer.is_ended());
    kit.advance(SECOND);
    let frames: Vec<_> = peer.frames().into_iter().map(|frame| (frame.msg_type, frame.payload)).collect();
    let close = (WSMsgType::Close, close_payload(1000, ""));
    assert_eq!(frames, [(WSMsgType::Text, b"question".to_vec()), close]);
    assert!(peer.link().is_closed(Role::Server), "nothing more can come");
}

#[test]
fn no_receive_succeeds_after_the_end_of_stream() {
    let mut kit = TestKit::new(1);
    let (ws, mut peer) = raw_pair(&mut kit, WebSocketConfig::default());
    peer.send_frame(WSMsgType::Text, b"queued");
    peer.shutdown_write();
    kit.run_until_idle();
    assert_eq!(ws.close_reason(), Some(reason(1006, "")), "at once");
    assert_eq!(kit.block_on(ws.receive_text()).expect("it came before"), "queued");
    for _ in 0..2 {
        assert_eq!(code(kit.block_on(ws.receive_text())), 1006);
    }
    assert_eq!(code(kit.block_on(ws.ping(None))), 1006, "no answer can come");
    kit.block_on(ws.send_text("still")).expect("the write side is open");
    kit.run_until_idle();
    assert_eq!(texts(&mut peer), ["still"]);
}

#[test]
fn the_write_side_closes_at_the_disconnect_timeout() {
    let mut kit = TestKit::new(1);
    let (ws, mut peer) = raw_pair(&mut kit, WebSocketConfig::default().disconnect_timeout(3 * SECOND));
    peer.shutdown_write();
    kit.advance(2 * SECOND);
    assert!(!peer.is_ended());
    kit.advance(SECOND);
    assert!(peer.is_ended());
    assert_eq!(code(kit.block_on(ws.send_text("too late"))), 1006);
}

#[test]
fn a_reset_behind_the_end_of_stream_makes_sends_fail() {
    let mut kit = TestKit::new(1);
    let (ws, mut peer) = raw_pair(&mut kit, WebSocketConfig::default());
    peer.shutdown_write();
    kit.run_until_idle();
    kit.block_on(ws.send_text("the peer may still read")).expect("its write side is open");
    peer.link().reset();
    kit.run_until_idle();
    assert_eq!(code(kit.block_on(ws.send_text("into the void"))), 1006);
}

#[test]
fn a_client_answers_a_half_closed_server() {
    let mut kit = TestKit::new(1);
    let (client, mut peer) = raw_client(&mut kit, WebSocketConfig::default());
    peer.send_frame(WSMsgType::Text, b"question");
    peer.shutdown_write();
    kit.run_until_idle();
    let question = kit.block_on(client.receive_text()).expect("it came before");
    kit.block_on(client.send_text(question)).expect("the write side is open");
    drop(client);
    kit.run_until_idle();
    assert_eq!(texts(&mut peer), ["question"]);
    assert!(peer.link().is_closed(Role::Client), "the last handle is gone");
}
