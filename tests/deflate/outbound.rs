//! What is sent: when it is compressed, and what becomes of the context when a message is dropped.

use femtows::testkit::{Pair, Random, TestKit};
use femtows::{
    WSConnectConfig, WSDeflateConfig, WSDropReason, WSLimits, WSListener, WSMessageAdapter, WSMessageOptions,
    WSMsgType, WSOverflowPolicy, WSSendStatus, WSServerConfig,
};

use crate::ends::{Frames, Messages, reading_the_wire};

const TEXT: &str = "all work and no play makes a dull feed, all work and no play makes a dull feed, all work";

fn pair(
    kit: &mut TestKit,
    deflate: &WSDeflateConfig,
    limits: WSLimits,
    listener: impl WSListener + 'static,
) -> Pair {
    let client = WSConnectConfig::default().deflate(deflate.clone());
    let server = WSServerConfig::default().deflate(deflate.clone()).limits(limits);
    kit.pair(|_: &_| Frames::default(), listener, server, client).expect("a connection")
}

/// A client that gets the frames as they are on the wire.
fn pair_on_the_wire(kit: &mut TestKit, deflate: &WSDeflateConfig, frames: &Frames) -> Pair {
    let server = WSServerConfig::default().deflate(deflate.clone());
    let client = reading_the_wire(deflate);
    kit.pair(|_: &_| Frames::default(), frames.clone(), server, client).expect("a connection")
}

/// What it is, configuration, payload, wish, and whether it is compressed.
type Case<'a> = (&'static str, &'a WSDeflateConfig, &'a [u8], Option<bool>, bool);

#[test]
fn what_is_long_enough_and_gets_shorter_is_compressed() {
    let noise: Vec<u8> = {
        let mut random = Random::new(3);
        (0..200).map(|_| random.next_u64() as u8).collect()
    };
    let options = |compress| WSMessageOptions { compress };
    let deflate = WSDeflateConfig::default().threshold(64);
    let with_context = deflate.clone().context_takeover(true);
    let least_window = deflate.clone().max_window_bits(8);
    let cases: [Case<'_>; 10] = [
        ("long", &deflate, TEXT.as_bytes(), None, true),
        ("long, but not wanted", &deflate, TEXT.as_bytes(), Some(false), false),
        ("below the threshold", &deflate, &TEXT.as_bytes()[..63], None, false),
        ("at the threshold", &deflate, &[b'x'; 64], None, true),
        ("short, but wanted", &deflate, b"xxxxxxxxxxxxxx", Some(true), true),
        ("does not get shorter", &deflate, &noise, None, false),
        ("does not get shorter, but wanted", &deflate, &noise, Some(true), false),
        ("empty", &deflate, b"", Some(true), false),
        ("with context whatever it gets", &with_context, &noise, None, true),
        ("longer than the least window", &least_window, &[b'x'; 257], None, false),
    ];
    for (what, deflate, payload, compress, is_compressed) in cases {
        let mut kit = TestKit::new(1);
        let frames = Frames::default();
        let pair = pair_on_the_wire(&mut kit, deflate, &frames);
        assert!(pair.server.send_with(WSMsgType::Binary, payload, options(compress)).is_accepted());
        kit.run_until_idle();
        let came = frames.take();
        assert_eq!(came.len(), 1, "{what}");
        assert_eq!(came[0].0, is_compressed, "{what}");
        assert!(is_compressed || came[0].1 == payload, "{what}");
    }
}

#[test]
fn later_messages_get_shorter_only_with_context() {
    for takeover in [false, true] {
        let mut kit = TestKit::new(1);
        let frames = Frames::default();
        let deflate = WSDeflateConfig::default().threshold(0).context_takeover(takeover).level(6);
        let pair = pair_on_the_wire(&mut kit, &deflate, &frames);
        for _ in 0..2 {
            pair.server.send(WSMsgType::Text, TEXT);
        }
        kit.run_until_idle();
        let came = frames.take();
        assert!(came[0].0 && came[1].0);
        assert_eq!(came[1].1.len() < came[0].1.len() / 2, takeover, "{came:?}");
    }
}

#[test]
fn other_frames_go_their_usual_way() {
    let mut kit = TestKit::new(1);
    let messages = Messages::default();
    let listener = WSMessageAdapter::new(messages.clone());
    let pair = pair(&mut kit, &WSDeflateConfig::default(), WSLimits::default(), listener);
    let status = pair.server.send(WSMsgType::Close, []);
    assert_eq!(status, WSSendStatus::Dropped(WSDropReason::IsClose));
    assert!(pair.server.send(WSMsgType::Pong, [b'x'; 100]).is_accepted());
    kit.run_until_idle();
    assert_eq!(messages.take(), [(WSMsgType::Pong, vec![b'x'; 100])]);
}

/// A message that was compressed and then dropped must not be what later ones refer to.
#[test]
fn a_dropped_message_leaves_no_trace() {
    let mut random = Random::new(9);
    for deflate in [WSDeflateConfig::default().context_takeover(true), WSDeflateConfig::small_feeds()] {
        for _ in 0..20 {
            let mut kit = TestKit::new(random.next_u64());
            let messages = Messages::default();
            let limits = WSLimits::default().max_outbound(2_000).overflow_policy(WSOverflowPolicy::DropNew);
            let pair = pair(&mut kit, &deflate, limits, WSMessageAdapter::new(messages.clone()));
            let (mut expected, mut dropped) = (Vec::new(), 0);
            for round in 0..200 {
                if random.chance(10) {
                    pair.link.to_client().capacity(1 + random.below(300));
                }
                let number = random.below(5);
                let noise: Vec<u64> = (0..random.below(12)).map(|_| random.next_u64()).collect();
                let text = format!("{number} {TEXT} {noise:x?} {}", &TEXT[number..20 + number]);
                match pair.server.send(WSMsgType::Text, &text) {
                    WSSendStatus::Dropped(reason) => {
                        assert_eq!(reason, WSDropReason::Overflow);
                        dropped += 1;
                    }
                    _ => expected.push((WSMsgType::Text, text.into_bytes())),
                }
                if round % 40 == 39 {
                    kit.run_until_idle();
                }
            }
            kit.run_until_idle();
            assert!(dropped > 0 && !expected.is_empty());
            assert_eq!(messages.take(), expected);
        }
    }
}
