//! `recv`, streams and the two halves.

use std::future::poll_fn;
use std::pin::Pin;

use femtows::WSMsgType;
use femtows::message::*;
use femtows::testkit::TestKit;
use futures_core::{FusedStream, Stream};

use crate::ends::*;

async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    poll_fn(|cx| Pin::new(&mut *stream).poll_next(cx)).await
}

/// Sends two messages to a client, then CLOSE with this payload, or the end of TCP without CLOSE.
fn closed_client(kit: &mut TestKit, close: Option<&[u8]>) -> WebSocket {
    let (client, mut peer) = raw_client(kit, WebSocketConfig::default());
    peer.send_frame(WSMsgType::Text, b"one");
    peer.send_frame(WSMsgType::Binary, b"two");
    match close {
        Some(payload) => peer.send_frame(WSMsgType::Close, payload),
        None => peer.shutdown_write(),
    }
    client
}

#[test]
fn recv_returns_none_after_1000_1001_and_no_code() {
    for payload in [close_payload(1000, "bye"), close_payload(1001, ""), Vec::new()] {
        let mut kit = TestKit::new(1);
        let client = closed_client(&mut kit, Some(&payload));
        kit.block_on(async {
            assert_eq!(client.recv().await.expect("no error"), Some("one".into()));
            assert_eq!(client.recv().await.expect("no error"), Some(Message::from(b"two")));
            assert_eq!(client.recv().await.expect("no error"), None);
            assert_eq!(client.recv().await.expect("no error"), None, "each time");
        });
    }
}

#[test]
fn recv_returns_the_code_of_any_other_end() {
    for (payload, expected) in
        [(Some(close_payload(1011, "oops")), 1011), (Some(close_payload(4000, "")), 4000), (None, 1006)]
    {
        let mut kit = TestKit::new(1);
        let client = closed_client(&mut kit, payload.as_deref());
        kit.block_on(async {
            assert_eq!(client.recv().await.expect("no error"), Some("one".into()));
            assert_eq!(client.recv().await.expect("no error"), Some(Message::from(b"two")));
            for _ in 0..2 {
                let Err(WebSocketError::Closed(closed)) = client.recv().await else { panic!("no error") };
                assert_eq!(closed.reason.code.0, expected);
            }
        });
    }
}

#[test]
fn recv_returns_none_after_the_local_close() {
    let mut kit = TestKit::new(1);
    let ends = pair(&mut kit, WebSocketConfig::default());
    kit.block_on(async {
        ends.server.send("dropped by the close").await.expect("open");
        ends.client.close(1000, "").expect("open");
        assert_eq!(ends.client.recv().await.expect("no error"), None);
    });
}

#[test]
fn streams_end_as_recv_does() {
    let mut kit = TestKit::new(1);
    let mut client = closed_client(&mut kit, Some(&close_payload(1000, "")));
    kit.block_on(async {
        assert!(!client.is_terminated());
        assert_eq!(next(&mut client).await.expect("a message").expect("no error"), "one".into());
        assert_eq!(next(&mut client).await.expect("a message").expect("no error"), Message::from(b"two"));
        assert!(next(&mut client).await.is_none());
        assert!(client.is_terminated());
    });

    let (sender, mut receiver) = closed_client(&mut kit, Some(&close_payload(1011, ""))).split();
    kit.block_on(async {
        assert_eq!(receiver.recv().await.expect("no error"), Some("one".into()));
        assert_eq!(next(&mut receiver).await.expect("a message").expect("no error"), Message::from(b"two"));
        assert!(matches!(next(&mut receiver).await, Some(Err(WebSocketError::Closed(_)))));
        assert!(next(&mut receiver).await.is_none());
        assert!(receiver.is_terminated());
        assert!(matches!(sender.send("late").await, Err(WebSocketError::Closed(_))));
    });
}

#[test]
fn halves_work_in_two_tasks() {
    let mut kit = TestKit::new(1);
    let echo = async |ws: WebSocket| {
        ws.accept().await?;
        while let Some(message) = ws.recv().await? {
            ws.send(message).await?;
        }
        Ok::<(), HandlerError>(())
    };
    let (client, _link) = connect(&mut kit, echo, WebSocketConfig::default()).expect("it accepts");
    let (sender, mut receiver) = client.split();
    let sending = kit.handle().spawn(async move {
        for number in 0..100 {
            sender.send(number.to_string()).await.expect("open");
        }
        sender
    });
    kit.block_on(async {
        for number in 0..100 {
            assert_eq!(receiver.recv().await.expect("no error"), Some(number.to_string().into()));
        }
        sending.await.websocket().close(1000, "").expect("open");
        assert_eq!(receiver.recv().await.expect("no error"), None);
    });
}
