//! Messages that are compressed once for many.

use femtows::testkit::{Random, TestKit};
use femtows::{
    WSConnectConfig, WSDeflateConfig, WSMessageAdapter, WSMsgType, WSPreparedMessage, WSServerConfig,
    WSTransport,
};

use crate::ends::{Frames, Messages, random_message, reading_the_wire};

fn config(bits: u8, takeover: bool) -> WSDeflateConfig {
    WSDeflateConfig::default().max_window_bits(bits).context_takeover(takeover)
}

/// Connections that agreed on different things, each of which gets what was prepared among messages of its own.
#[test]
fn they_stand_among_others_whatever_was_agreed_on() {
    let mut random = Random::new(21);
    for _ in 0..40 {
        let mut kit = TestKit::new(random.next_u64());
        let configs = [
            None,
            Some(config(15, false)),
            Some(config(15, true)),
            Some(config(9, true)),
            Some(config(8, true)),
            Some(WSDeflateConfig::small_feeds()),
        ];
        let ends: Vec<_> = configs
            .into_iter()
            .map(|deflate| {
                let messages = Messages::default();
                let server =
                    WSServerConfig::default().deflate(WSDeflateConfig::default().context_takeover(true));
                let client = WSConnectConfig::default().deflate(deflate);
                let listener = WSMessageAdapter::new(messages.clone());
                let pair =
                    kit.pair(|_: &_| Frames::default(), listener, server, client).expect("a connection");
                (pair.server, messages, Vec::new())
            })
            .collect();
        let mut ends: Vec<(WSTransport, Messages, Vec<_>)> = ends;
        for _ in 0..15 {
            let (msg_type, payload) = random_message(&mut random);
            if random.chance(50) {
                let prepared = WSPreparedMessage::new(msg_type, &payload);
                for (transport, _, expected) in &mut ends {
                    assert!(transport.send_prepared(&prepared).is_accepted());
                    expected.push((msg_type, payload.clone()));
                }
            } else {
                for (transport, _, expected) in &mut ends {
                    assert!(transport.send(msg_type, &payload).is_accepted());
                    expected.push((msg_type, payload.clone()));
                }
            }
        }
        kit.run_until_idle();
        for (n, (_, messages, expected)) in ends.iter().enumerate() {
            assert_eq!(&messages.take(), expected, "connection {n}");
        }
    }
}

#[test]
fn a_form_that_the_peer_could_not_read_is_not_sent() {
    // Refers back by more than 512 bytes.
    let mut random = Random::new(2);
    let noise: Vec<u8> = (0..2000).map(|_| random.next_u64() as u8).collect();
    let message = [&noise[..], &noise[..]].concat();
    for (bits, is_compressed) in [(9, false), (12, true), (15, true)] {
        let mut kit = TestKit::new(1);
        let frames = Frames::default();
        let deflate = config(bits, true);
        let server = WSServerConfig::default().deflate(deflate.clone());
        let client = reading_the_wire(&deflate);
        let pair = kit.pair(|_: &_| Frames::default(), frames.clone(), server, client).expect("a connection");
        let prepared = WSPreparedMessage::new(WSMsgType::Binary, &message);
        assert!(pair.server.send_prepared(&prepared).is_accepted());
        kit.run_until_idle();
        let came = frames.take();
        assert_eq!(came.iter().map(|(rsv1, _)| *rsv1).collect::<Vec<_>>(), [is_compressed], "{bits}");
        assert!(is_compressed || came[0].1 == message);
    }
}
