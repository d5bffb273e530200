//! A server of messages with compression under a script of frames.

use femtows::testkit::TestKit;
use femtows::{
    SendOptions, WSConnectConfig, WSDeflateConfig, WSFrame, WSLimits, WSListener, WSMessage,
    WSMessageAdapter, WSMessageListener, WSMsgType, WSResult, WSServerConfig, WSTransport,
};

/// The largest message that the server takes.
const LIMIT: usize = 5_000;

struct Echo;

impl WSMessageListener for Echo {
    fn on_ws_message(&mut self, transport: &WSTransport, message: WSMessage<'_>) -> WSResult {
        assert!(message.as_bytes().len() <= LIMIT);
        transport.send(message.msg_type(), message);
        Ok(())
    }
}

struct Ignore;

impl WSListener for Ignore {
    fn on_ws_frame(&mut self, _: &WSTransport, _: &mut WSFrame<'_>) -> WSResult {
        Ok(())
    }
}

/// Two bytes set the scene; then a byte of flags and type and one of length precede each payload.
pub(crate) fn run(script: &[u8]) {
    let Some((&[scene, cut], mut script)) = script.split_first_chunk() else { return };
    let deflate = WSDeflateConfig::default().context_takeover(scene & 1 != 0).threshold(0);
    let deflate = deflate.max_window_bits(8 + (scene >> 1) % 8);
    let mut kit = TestKit::new(1);
    let server = WSServerConfig::default()
        .deflate(deflate.clone())
        .limits(WSLimits::default().max_message_size(LIMIT))
        .allow_reserved_bits(scene & 16 != 0);
    let client = WSConnectConfig::default().deflate(deflate);
    let pair = kit.pair(|_: &_| WSMessageAdapter::new(Echo), Ignore, server, client).expect("a connection");
    pair.link.to_server().max_read(1 + usize::from(cut));
    while let Some((&[bits, len], rest)) = script.split_first_chunk() {
        let (payload, rest) = rest.split_at(rest.len().min(len.into()));
        let msg_type = [WSMsgType::Text, WSMsgType::Binary, WSMsgType::Continuation, WSMsgType::Ping]
            [usize::from(bits % 4)];
        let options = SendOptions {
            fin: bits & 4 != 0 || msg_type.is_control(),
            rsv1: bits & 8 != 0,
            rsv2: bits >> 4 == 15,
            rsv3: false,
        };
        pair.client.send_frame(msg_type, payload, options);
        script = rest;
    }
    kit.run_until_idle();
    pair.client.abort();
    pair.server.abort();
    kit.run_until_idle();
    drop(pair);
    assert!(kit.leftovers().is_empty(), "{:?}", kit.leftovers());
}
