//! Tasks at both ends.

use bytes::Bytes;
use femtows::message::{
    Message, WebSocket, WebSocketConfig, WebSocketError, websocket_factory, websocket_listener,
};
use femtows::testkit::{Random, TestKit};
use femtows::{WSConnectConfig, WSDeflateConfig, WSServerConfig};

async fn echo(ws: WebSocket) -> Result<(), WebSocketError> {
    ws.accept().await?;
    loop {
        ws.send_message(ws.get_message().await?).await?;
    }
}

fn connect(kit: &mut TestKit, config: &WebSocketConfig) -> WebSocket {
    let handle = kit.handle();
    let (listener, pending) = websocket_listener(&handle, config.clone());
    let factory = websocket_factory(echo, config.clone());
    let opening = kit.opening(factory, |_, _| listener, config.server_config(), config.connect_config());
    kit.block_on(opening.client).expect("accepted");
    pending.opened()
}

fn config(deflate: WSDeflateConfig) -> WebSocketConfig {
    WebSocketConfig::default()
        .server(WSServerConfig::default().deflate(deflate.clone()))
        .client(WSConnectConfig::default().deflate(deflate))
}

#[test]
fn messages_come_back_and_are_shorter_on_the_way() {
    let text =
        |number: usize| format!("{{\"symbol\":\"ABC\",\"bid\":{number},\"ask\":{}}}", number + 1).repeat(50);
    for deflate in [WSDeflateConfig::default(), WSDeflateConfig::small_feeds()] {
        let mut kit = TestKit::new(1);
        let ws = connect(&mut kit, &config(deflate));
        let mut random = Random::new(2);
        let metrics = kit.handle().metrics();
        let before = metrics.snapshot().bytes_sent;
        let mut plain = 0;
        for number in 0..100 {
            let sent = match random.below(3) {
                0 => Message::Binary(Bytes::from(vec![number as u8; 10_000])),
                _ => Message::Text(text(number)),
            };
            plain += 2 * sent.len() as u64;
            kit.block_on(ws.send_message(sent.clone())).expect("open");
            assert_eq!(kit.block_on(ws.get_message()).expect("open"), sent);
        }
        let wire = metrics.snapshot().bytes_sent - before;
        assert!(5 * wire < plain, "{wire} bytes for {plain}");
    }
}

#[test]
fn tasks_learn_that_a_message_was_compressed() {
    let mut kit = TestKit::new(1);
    let ws = connect(&mut kit, &config(WSDeflateConfig::default()));
    for (text, is_compressed) in [("a".repeat(1000), true), ("short".to_owned(), false)] {
        kit.block_on(ws.send_text(&text)).expect("open");
        let (message, info) = kit.block_on(ws.recv_with_info()).expect("no error").expect("open");
        assert_eq!(message, Message::Text(text));
        assert_eq!(info.is_compressed, is_compressed);
        assert_eq!(info.wire_len < message.len(), is_compressed);
        assert!(info.last_in_buffer && info.tail_size == 0);
    }
}

#[test]
fn a_bomb_is_1009_and_what_was_queued_goes_with_it() {
    let mut kit = TestKit::new(1);
    let large = config(WSDeflateConfig::default()).max_message_size(64 << 20);
    let handle = kit.handle();
    let (listener, pending) = websocket_listener(&handle, large.clone());
    let small = config(WSDeflateConfig::default()).max_message_size(1000).message_queue_size(9);
    let factory = websocket_factory(echo, small.clone());
    let opening = kit.opening(factory, |_, _| listener, small.server_config(), large.connect_config());
    kit.block_on(opening.client).expect("accepted");
    let ws = pending.opened();
    // Short enough on the way, and not when it is out.
    kit.block_on(ws.send_bytes(vec![0; 100_000])).expect("open");
    let Err(WebSocketError::Closed(closed)) = kit.block_on(ws.get_message()) else { panic!("not closed") };
    assert_eq!(closed.reason.code.0, 1009);
}
