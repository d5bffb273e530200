//! What arrives: frames made by hand, compressed by zlib.

use femtows::testkit::{Pair, Random, TestKit};
use femtows::{
    SendOptions, WSCloseCode, WSConnectConfig, WSDeflateConfig, WSListener, WSMessageAdapter, WSMsgType,
    WSServerConfig,
};
use flate2::{Compress, Compression, FlushCompress};

use crate::ends::{Frames, Messages, random_message};

const BEGINS: SendOptions = SendOptions { fin: false, rsv1: true, rsv2: false, rsv3: false };
const WHOLE: SendOptions = SendOptions { fin: true, ..BEGINS };
const ENDS: SendOptions = SendOptions { fin: true, rsv1: false, rsv2: false, rsv3: false };

/// A server with this listener, and a client that takes its context over.
fn pair<L: WSListener + 'static>(
    kit: &mut TestKit,
    config: WSServerConfig,
    mut listener: impl FnMut() -> L + 'static,
) -> Pair {
    let deflate = WSDeflateConfig::default().context_takeover(true);
    let client = WSConnectConfig::default().deflate(deflate.clone());
    let client_listener = Frames::default();
    kit.pair(move |_: &_| listener(), client_listener, config.deflate(deflate), client).expect("a connection")
}

/// The payload of a compressed message.
pub(crate) fn deflated(compress: &mut Compress, message: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(message.len() * 2 + 100);
    compress.compress_vec(message, &mut payload, FlushCompress::Sync).expect("room for it");
    assert!(payload.ends_with(&[0, 0, 0xff, 0xff]));
    payload.truncate(payload.len() - 4);
    payload
}

fn code_of_the_end(pair: &Pair) -> Option<WSCloseCode> {
    pair.server.close_handshake().sent.map(|close| close.code)
}

#[test]
fn fragments_may_be_cut_anywhere_and_control_frames_come_between() {
    let mut random = Random::new(11);
    for _ in 0..30 {
        let mut kit = TestKit::new(random.next_u64());
        let messages = Messages::default();
        let listener = messages.clone();
        let config = WSServerConfig::default().enable_auto_pong(false);
        let pair = pair(&mut kit, config, move || WSMessageAdapter::new(listener.clone()));
        pair.link.to_server().max_read(1 + random.below(500));
        let mut compress = Compress::new(Compression::fast(), false);
        let mut expected = Vec::new();
        for _ in 0..8 {
            let (msg_type, message) = random_message(&mut random);
            if message.is_empty() {
                continue;
            }
            let payload = deflated(&mut compress, &message);
            let mut cuts: Vec<usize> =
                (0..random.below(6)).map(|_| random.below(payload.len() + 1)).collect();
            cuts.extend([0, payload.len()]);
            cuts.sort_unstable();
            let pieces = cuts.len() - 1;
            for (n, ends) in cuts.windows(2).enumerate() {
                let (msg_type, rsv1) =
                    if n == 0 { (msg_type, true) } else { (WSMsgType::Continuation, false) };
                let options = SendOptions { fin: n + 1 == pieces, rsv1, rsv2: false, rsv3: false };
                assert!(pair.client.send_frame(msg_type, &payload[ends[0]..ends[1]], options).is_accepted());
                if n + 1 < pieces && random.chance(50) {
                    pair.client.send_ping([n as u8]).expect("a short payload");
                    expected.push((WSMsgType::Ping, vec![n as u8]));
                }
            }
            expected.push((msg_type, message));
            if random.chance(30) {
                // Not compressed, and so not part of the context.
                pair.client.send(WSMsgType::Binary, "as it is");
                expected.push((WSMsgType::Binary, b"as it is".to_vec()));
            }
        }
        kit.run_until_idle();
        assert_eq!(messages.take(), expected);
    }
}

#[test]
fn rsv1_belongs_to_the_first_frame_of_a_message() {
    type Send = fn(&Pair);
    let cases: [(&str, Send); 4] = [
        ("a continuation", |pair| {
            pair.client.send_frame(WSMsgType::Text, [0x00], BEGINS);
            pair.client.send_frame(WSMsgType::Continuation, [0x00], WHOLE);
        }),
        ("a continuation of what is not compressed", |pair| {
            pair.client.send_frame(WSMsgType::Text, [], SendOptions::MORE_FRAGMENTS);
            pair.client.send_frame(WSMsgType::Continuation, [0x00], WHOLE);
        }),
        ("a control frame", |pair| {
            pair.client.send_frame(WSMsgType::Ping, [], WHOLE);
        }),
        ("RSV2 with it", |pair| {
            pair.client.send_frame(WSMsgType::Text, [0x00], SendOptions { rsv2: true, ..WHOLE });
        }),
    ];
    for (what, send) in cases {
        let mut kit = TestKit::new(1);
        let messages = Messages::default();
        let pair = pair(&mut kit, WSServerConfig::default(), move || WSMessageAdapter::new(messages.clone()));
        send(&pair);
        kit.run_until_idle();
        assert_eq!(code_of_the_end(&pair), Some(WSCloseCode::PROTOCOL_ERROR), "{what}");
    }
}

#[test]
fn text_is_checked_when_it_is_inflated() {
    for (text, is_good) in [(&b"gr\xc3\xbcn"[..], true), (b"gr\xfcn", false)] {
        for cut in [None, Some(3)] {
            let mut kit = TestKit::new(1);
            let messages = Messages::default();
            let listener = messages.clone();
            let pair =
                pair(&mut kit, WSServerConfig::default(), move || WSMessageAdapter::new(listener.clone()));
            // Bytes of the compressed form are no text.
            let payload = deflated(&mut Compress::new(Compression::fast(), false), text);
            match cut {
                None => pair.client.send_frame(WSMsgType::Text, payload, WHOLE),
                Some(cut) => {
                    pair.client.send_frame(WSMsgType::Text, &payload[..cut], BEGINS);
                    pair.client.send_frame(WSMsgType::Continuation, &payload[cut..], ENDS)
                }
            };
            kit.run_until_idle();
            let expected = is_good.then(|| (WSMsgType::Text, text.to_vec()));
            assert_eq!(messages.take(), Vec::from_iter(expected));
            assert_eq!(code_of_the_end(&pair), (!is_good).then_some(WSCloseCode::INVALID_TEXT));
        }
    }
}

#[test]
fn corrupt_messages_are_1007() {
    let mut kit = TestKit::new(1);
    let messages = Messages::default();
    let pair = pair(&mut kit, WSServerConfig::default(), move || WSMessageAdapter::new(messages.clone()));
    pair.client.send_frame(WSMsgType::Binary, [0x07, 0x00], WHOLE);
    kit.run_until_idle();
    assert_eq!(code_of_the_end(&pair), Some(WSCloseCode::INVALID_TEXT));
}

#[test]
fn the_limit_is_on_what_comes_out() {
    let limits = femtows::WSLimits::default().max_message_size(10_000);
    let mut random = Random::new(5);
    let noise: Vec<u8> = (0..10_000).map(|_| random.next_u64() as u8).collect();
    // What does not compress is longer on the wire than the limit, and still passes.
    for (message, is_good) in [(noise, true), (vec![0; 10_000], true), (vec![0; 10_001], false)] {
        let mut kit = TestKit::new(1);
        let messages = Messages::default();
        let listener = messages.clone();
        let config = WSServerConfig::default().limits(limits.clone());
        let pair = pair(&mut kit, config, move || WSMessageAdapter::new(listener.clone()));
        let mut payload = deflated(&mut Compress::new(Compression::best(), false), &message);
        // Empty blocks make it longer still.
        payload.splice(0..0, [0x00, 0x00, 0x00, 0xff, 0xff].repeat(20));
        pair.client.send_frame(WSMsgType::Binary, payload, WHOLE);
        kit.run_until_idle();
        let expected = is_good.then_some((WSMsgType::Binary, message));
        assert_eq!(messages.take(), Vec::from_iter(expected));
        assert_eq!(code_of_the_end(&pair), (!is_good).then_some(WSCloseCode::MESSAGE_TOO_BIG));
    }
}
