//! Both ends on one loop, on real sockets.

use std::time::Duration;

use femtows::testkit::Random;
use femtows::{
    WSConnectConfig, WSDeflateConfig, WSLoop, WSLoopConfig, WSMessageAdapter, WSServerConfig,
    WSUpgradeRequest, ws_connect, ws_create_server,
};

use crate::ends::{Echo, Messages, random_message};

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
            assert!(client.send_message(*msg_type, payload).is_accepted());
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
