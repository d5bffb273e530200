//! A client and a server of this library, whatever each wants.

use femtows::testkit::{Random, TestKit};
use femtows::{WSConnectConfig, WSDeflateConfig, WSMessageAdapter, WSServerConfig};

use crate::ends::{Echo, Messages, random_message};

fn configs() -> Vec<WSDeflateConfig> {
    let mut configs = vec![WSDeflateConfig::default(), WSDeflateConfig::small_feeds()];
    for takeover in [false, true] {
        for bits in [8, 9, 15] {
            configs.push(WSDeflateConfig::default().context_takeover(takeover).max_window_bits(bits));
        }
        let mixed =
            WSDeflateConfig::default().own_context_takeover(takeover).peer_context_takeover(!takeover);
        configs.push(mixed.own_max_window_bits(10).peer_max_window_bits(13).level(6));
    }
    configs.push(WSDeflateConfig::default().threshold(0).context_takeover(true));
    configs
}

#[test]
fn echoes_come_back_whatever_was_agreed_on() {
    let mut random = Random::new(7);
    for client in configs() {
        for server in configs() {
            let mut kit = TestKit::new(random.next_u64());
            let messages = Messages::default();
            let pair = kit
                .pair(
                    |_: &_| WSMessageAdapter::new(Echo),
                    WSMessageAdapter::new(messages.clone()),
                    WSServerConfig::default().deflate(server.clone()),
                    WSConnectConfig::default().deflate(client.clone()),
                )
                .expect("a connection");
            pair.link.to_server().max_read(1 + random.below(3000));
            pair.link.to_client().max_write(1 + random.below(3000));
            let sent: Vec<_> = (0..12).map(|_| random_message(&mut random)).collect();
            for (msg_type, payload) in &sent {
                assert!(pair.client.send(*msg_type, payload).is_accepted());
                if random.chance(30) {
                    kit.run_until_idle();
                }
            }
            kit.run_until_idle();
            assert_eq!(messages.take(), sent, "{client:?} {server:?}");
        }
    }
}

#[test]
fn who_does_not_want_it_does_without() {
    let wanted = Some(WSDeflateConfig::default());
    for (client, server) in [(wanted.clone(), None), (None, wanted), (None, None)] {
        let mut kit = TestKit::new(1);
        let messages = Messages::default();
        let pair = kit
            .pair(
                |_: &_| WSMessageAdapter::new(Echo),
                WSMessageAdapter::new(messages.clone()),
                WSServerConfig::default().deflate(server),
                WSConnectConfig::default().deflate(client),
            )
            .expect("a connection");
        assert_eq!(pair.client.response().unwrap().get_header("sec-websocket-extensions"), None);
        let sent = random_message(&mut Random::new(1));
        assert!(pair.client.send(sent.0, &sent.1).is_accepted());
        kit.run_until_idle();
        assert_eq!(messages.take(), [sent]);
    }
}
