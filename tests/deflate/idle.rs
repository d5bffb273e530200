//! Phases in which nothing is said, with context takeover: the compressor goes back to the loop, and neither end loses its context.

use std::time::Duration;

use femtows::testkit::{Pair, Random, TestKit};
use femtows::{
    SendOptions, WSConnectConfig, WSDeflateConfig, WSListener, WSMessageAdapter, WSMsgType, WSServerConfig,
};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use crate::ends::{Frames, Messages, Said, random_message, reading_the_wire};

const TEXT: &str = "all work and no play makes a dull feed, all work and no play makes a dull feed, all work";

const FLUSH_TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

fn pair<S: WSListener + 'static>(
    kit: &mut TestKit,
    deflate: &WSDeflateConfig,
    mut server: impl FnMut() -> S + 'static,
    client: impl WSListener + 'static,
) -> Pair {
    let server_config = WSServerConfig::default().deflate(deflate.clone());
    let client_config = WSConnectConfig::default().deflate(deflate.clone());
    kit.pair(move |_: &_| server(), client, server_config, client_config).expect("a connection")
}

/// A client that gets the frames as they are on the wire.
fn pair_on_the_wire(kit: &mut TestKit, deflate: &WSDeflateConfig, frames: &Frames) -> Pair {
    let server = WSServerConfig::default().deflate(deflate.clone());
    let client = reading_the_wire(deflate);
    kit.pair(|_: &_| Frames::default(), frames.clone(), server, client).expect("a connection")
}

/// Mostly none, sometimes long enough for a compressor to go.
fn pause(kit: &mut TestKit, random: &mut Random) {
    if random.chance(40) {
        kit.advance(Duration::from_millis(random.below(15_000) as u64));
    }
}

#[test]
fn a_compressor_that_is_not_used_forgets_between_once_and_twice_the_time() {
    let seconds = Duration::from_secs_f64;
    let default = || WSDeflateConfig::default().threshold(0).context_takeover(true);
    let of = |timeout| default().compressor_idle_timeout(timeout);
    let cases = [
        (default(), 9.9, true),
        (default(), 10.1, false),
        (of(Some(seconds(1.0))), 1.9, true),
        (of(Some(seconds(1.0))), 2.1, false),
        (of(Some(Duration::ZERO)), 0.1, false),
        (of(None), 1_000_000.0, true),
    ];
    for (deflate, pause, remembers) in cases {
        for level in [1, 6] {
            let mut kit = TestKit::new(1);
            let frames = Frames::default();
            let deflate = deflate.clone().level(level);
            let pair = pair_on_the_wire(&mut kit, &deflate, &frames);
            let mut lengths = Vec::new();
            for _ in 0..2 {
                pair.server.send(WSMsgType::Text, TEXT);
                kit.run_until_idle();
                lengths.extend(frames.take().into_iter().map(|(_, payload)| payload.len()));
                kit.advance(seconds(pause));
            }
            assert_eq!(lengths[1] < lengths[0] / 2, remembers, "{deflate:?} {pause} {lengths:?}");
            assert!(remembers || lengths[0] == lengths[1], "{deflate:?} {pause} {lengths:?}");
        }
    }
}

#[test]
fn messages_in_between_keep_it() {
    let mut kit = TestKit::new(1);
    let frames = Frames::default();
    let deflate = WSDeflateConfig::default().threshold(0).context_takeover(true);
    let pair = pair_on_the_wire(&mut kit, &deflate, &frames);
    for _ in 0..10 {
        pair.server.send(WSMsgType::Text, TEXT);
        kit.advance(Duration::from_millis(4_900));
    }
    let lengths: Vec<_> = frames.take().into_iter().map(|(_, payload)| payload.len()).collect();
    assert!(lengths[1..].iter().all(|len| *len < lengths[0] / 2), "{lengths:?}");
}

#[test]
fn an_idle_connection_has_no_timer_and_a_closed_one_leaves_none() {
    let deflate = WSDeflateConfig::small_feeds();
    for is_idle in [true, false] {
        let mut kit = TestKit::new(1);
        let pair = pair(&mut kit, &deflate, Frames::default, Frames::default());
        for transport in [&pair.server, &pair.client] {
            assert!(transport.send(WSMsgType::Text, TEXT).is_accepted());
        }
        kit.run_until_idle();
        assert!(kit.next_due().is_some());
        if is_idle {
            kit.advance(Duration::from_secs(10));
            assert_eq!(kit.next_due(), None);
        }
        pair.client.abort();
        pair.server.abort();
        kit.run_until_idle();
        assert!(kit.leftovers().is_empty(), "{:?}", kit.leftovers());
    }
}

#[test]
fn both_ends_of_the_library_understand_each_other() {
    let mut random = Random::new(51);
    for bits in 8..=15 {
        for level in [1, 6] {
            let mut kit = TestKit::new(random.next_u64());
            let deflate = WSDeflateConfig::small_feeds().max_window_bits(bits).level(level);
            let ends = [Messages::default(), Messages::default()];
            let listener = ends[0].clone();
            let server = move || WSMessageAdapter::new(listener.clone());
            let pair = pair(&mut kit, &deflate, server, WSMessageAdapter::new(ends[1].clone()));
            let mut expected: [Vec<Said>; 2] = Default::default();
            for _ in 0..60 {
                let (msg_type, payload) = random_message(&mut random);
                let to = random.below(2);
                let transport = if to == 0 { &pair.client } else { &pair.server };
                assert!(transport.send(msg_type, &payload).is_accepted());
                expected[to].push((msg_type, payload));
                pause(&mut kit, &mut random);
            }
            kit.run_until_idle();
            for (end, expected) in ends.iter().zip(&expected) {
                assert_eq!(&end.take(), expected, "{deflate:?}");
            }
        }
    }
}

#[test]
fn zlib_understands_what_is_sent() {
    let mut random = Random::new(52);
    for bits in 9..=15 {
        for level in [1, 6] {
            let mut kit = TestKit::new(random.next_u64());
            let deflate =
                WSDeflateConfig::default().context_takeover(true).max_window_bits(bits).level(level);
            // Their compressors change hands.
            let mut ends: Vec<_> = (0..3)
                .map(|_| {
                    let frames = Frames::default();
                    let pair = pair_on_the_wire(&mut kit, &deflate, &frames);
                    (pair, frames, Decompress::new_with_window_bits(false, bits))
                })
                .collect();
            for _ in 0..80 {
                let (pair, frames, zlib) = &mut ends[random.below(3)];
                let (msg_type, message) = random_message(&mut random);
                assert!(pair.server.send(msg_type, &message).is_accepted());
                pause(&mut kit, &mut random);
                kit.run_until_idle();
                let (is_compressed, mut payload) = frames.take().pop().expect("it has come");
                if is_compressed {
                    payload.extend_from_slice(&FLUSH_TAIL);
                    let mut back = Vec::with_capacity(message.len() + 1);
                    zlib.decompress_vec(&payload, &mut back, FlushDecompress::Sync).expect("valid");
                    payload = back;
                }
                assert_eq!(payload, message, "{bits} {level}");
            }
        }
    }
}

#[test]
fn what_zlib_says_is_understood() {
    const WHOLE: SendOptions = SendOptions { fin: true, rsv1: true, rsv2: false, rsv3: false };
    let mut random = Random::new(53);
    for bits in 9..=15 {
        let mut kit = TestKit::new(random.next_u64());
        let messages = Messages::default();
        let listener = messages.clone();
        let deflate = WSDeflateConfig::default().context_takeover(true).max_window_bits(bits);
        let server = move || WSMessageAdapter::new(listener.clone());
        let pair = pair(&mut kit, &deflate, server, Frames::default());
        let mut zlib = Compress::new_with_window_bits(Compression::new(6), false, bits);
        for _ in 0..40 {
            let (msg_type, message) = random_message(&mut random);
            if message.is_empty() {
                continue;
            }
            let mut payload = Vec::with_capacity(message.len() * 2 + 100);
            zlib.compress_vec(&message, &mut payload, FlushCompress::Sync).expect("room for it");
            payload.truncate(payload.len() - FLUSH_TAIL.len());
            assert!(pair.client.send_frame(msg_type, &payload, WHOLE).is_accepted());
            pause(&mut kit, &mut random);
            kit.run_until_idle();
            assert_eq!(messages.take(), [(msg_type, message)], "{bits}");
        }
    }
}

#[test]
fn the_longest_compressor_idle_timeout_keeps_the_compressor() {
    let mut kit = TestKit::new(1);
    let frames = Frames::default();
    let deflate = WSDeflateConfig::default()
        .threshold(0)
        .context_takeover(true)
        .compressor_idle_timeout(Some(Duration::MAX));
    let pair = pair_on_the_wire(&mut kit, &deflate, &frames);
    for _ in 0..2 {
        assert!(pair.server.send(WSMsgType::Text, TEXT).is_accepted());
        kit.advance(Duration::from_secs(1_000_000));
    }
    let lengths: Vec<_> = frames.take().into_iter().map(|(_, payload)| payload.len()).collect();
    assert!(lengths[1] < lengths[0] / 2, "{lengths:?}");
}
