//! Both ends on one loop, on real sockets.

use std::time::Duration;

use femtows::testkit::{Random, TestKit};
use femtows::{
    WSConnectConfig, WSDeflateConfig, WSListener, WSLoop, WSLoopConfig, WSMessageAdapter, WSMessageOptions,
    WSMsgType, WSPreparedMessage, WSRemote, WSServerConfig, WSUpgradeRequest, ws_connect, ws_create_server,
};

use crate::ends::{Echo, Frames, Messages, random_message, reading_the_wire};

#[test]
fn echoes_over_tcp() {
    for deflate in [WSDeflateConfig::default(), WSDeflateConfig::small_feeds()] {
        let mut event_loop = WSLoop::new(WSLoopConfig::default()).expect("a loop");
        let handle = event_loop.handle();
        let factory = |_: &WSUpgradeRequest| WSMessageAdapter::new(Echo);
        let config = WSServerConfig::default().deflate(deflate.clone());
        let server = ws_create_server(&handle, factory, "127.0.0.1:0", config).expect("a server");
        let messages = Messages::default();
        let listener = WSMessageAdapter::new(messages.clone());
        let url = format!("ws://{}/", server.local_addr());
        let config = WSConnectConfig::default().deflate(deflate);
        let connecting = ws_connect(&handle, listener, &url, config);
        let client = event_loop.block_on(connecting).expect("the loop runs").expect("a connection");
        let mut random = Random::new(31);
        let sent: Vec<_> = (0..50).map(|_| random_message(&mut random)).collect();
        for (msg_type, payload) in &sent {
            assert!(client.send(*msg_type, payload).is_accepted());
        }
        let mut came = Vec::new();
        for _ in 0..6_000 {
            event_loop.run_once(Some(Duration::from_millis(10))).expect("the loop runs");
            came.extend(messages.take());
            if came.len() == sent.len() {
                break;
            }
        }
        assert_eq!(came, sent);
    }
}

#[test]
fn another_thread_sends_messages_compressed_or_not() {
    let mut kit = TestKit::new(5);
    let (frames, messages) = (Frames::default(), Messages::default());
    let deflate = WSDeflateConfig::default().context_takeover(true);
    let as_frames = remote_to(&mut kit, frames.clone(), reading_the_wire(&deflate));
    let config = WSConnectConfig::default().deflate(deflate);
    let as_messages = remote_to(&mut kit, WSMessageAdapter::new(messages.clone()), config);
    let sending = move || [as_frames, as_messages].iter().for_each(send_four);
    std::thread::spawn(sending).join().expect("the thread");
    kit.run_until_idle();
    let rsv1: Vec<bool> = frames.take().into_iter().map(|(rsv1, _)| rsv1).collect();
    assert_eq!(rsv1, [true, false, true, true]);
    let text = |payload: String| (WSMsgType::Text, payload.into_bytes());
    let expected = [text("a".repeat(900)), text("b".repeat(900)), text("c".repeat(900)), text("d".into())];
    assert_eq!(messages.take(), expected);
}

/// The server's end of a connection to `client`, with compression agreed on.
fn remote_to(kit: &mut TestKit, client: impl WSListener + 'static, config: WSConnectConfig) -> WSRemote {
    let server = WSServerConfig::default().deflate(WSDeflateConfig::default().context_takeover(true));
    kit.pair(|_: &_| Frames::default(), client, server, config).expect("a connection").server.remote()
}

fn send_four(remote: &WSRemote) {
    let send = |text: String, compress| {
        let options = WSMessageOptions { compress };
        remote.send_with(WSMsgType::Text, text, options).expect("the loop lives");
    };
    remote.send(WSMsgType::Text, "a".repeat(900)).expect("the loop lives");
    send("b".repeat(900), Some(false));
    let prepared = WSPreparedMessage::new(WSMsgType::Text, "c".repeat(900));
    remote.send_prepared(&prepared).expect("the loop lives");
    send("d".into(), Some(true));
}
