//! Listeners of frames: compressed messages arrive inflated, each as one frame.

use std::cell::RefCell;
use std::rc::Rc;

use femtows::testkit::{Pair, Peer, TestKit};
use femtows::{
    SendOptions, WS_HEADROOM, WSBuffer, WSCloseCode, WSConnectConfig, WSDeflateConfig, WSFrame, WSLimits,
    WSListener, WSMessage, WSMessageAdapter, WSMessageListener, WSMessageOptions, WSMsgType, WSPreparedFrame,
    WSPreparedMessage, WSResult, WSServerConfig, WSTransport,
};
use flate2::{Compress, Compression};

use crate::ends::{Frames, reading_the_wire};
use crate::inbound::deflated;

const BEGINS: SendOptions = SendOptions { fin: false, rsv1: true, rsv2: false, rsv3: false };
const WHOLE: SendOptions = SendOptions { fin: true, ..BEGINS };
const ENDS: SendOptions = SendOptions { fin: true, rsv1: false, rsv2: false, rsv3: false };

/// What a listener sees of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    msg_type: WSMsgType,
    fin: bool,
    rsv1: bool,
    payload: Vec<u8>,
    last_in_buffer: bool,
    tail_size: usize,
}

/// The wire length, and whether it was compressed.
type OnTheWire = (usize, bool);

impl Seen {
    fn new(msg_type: WSMsgType, payload: impl AsRef<[u8]>) -> Self {
        let payload = payload.as_ref().to_vec();
        Self { msg_type, fin: true, rsv1: false, payload, last_in_buffer: true, tail_size: 0 }
    }

    fn text(text: &str) -> Self {
        Self::new(WSMsgType::Text, text)
    }

    fn before(mut self, tail_size: usize) -> Self {
        self.tail_size = tail_size;
        self.last_in_buffer = tail_size == 0;
        self
    }

    fn last_before(mut self, tail_size: usize) -> Self {
        self.tail_size = tail_size;
        self
    }
}

#[derive(Clone, Default)]
struct Recorder(Rc<RefCell<Vec<Seen>>>);

/// A listener of messages that keeps how they were on the wire.
#[derive(Clone, Default)]
struct Wire(Rc<RefCell<Vec<OnTheWire>>>);

impl WSMessageListener for Wire {
    fn on_ws_message(&mut self, _: &WSTransport, message: WSMessage<'_>) -> WSResult {
        self.0.borrow_mut().push((message.wire_len(), message.is_compressed()));
        Ok(())
    }
}

/// A listener of frames that does the same.
#[derive(Clone, Default)]
struct WireOfFrames(Rc<RefCell<Vec<OnTheWire>>>);

impl WSListener for WireOfFrames {
    fn on_ws_frame(&mut self, _: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        self.0.borrow_mut().push((frame.wire_len(), frame.is_compressed()));
        Ok(())
    }
}

impl WSListener for Recorder {
    fn on_ws_frame(&mut self, _: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        self.0.borrow_mut().push(Seen {
            msg_type: frame.msg_type(),
            fin: frame.fin(),
            rsv1: frame.rsv1(),
            payload: frame.payload().to_vec(),
            last_in_buffer: frame.last_in_buffer(),
            tail_size: frame.tail_size(),
        });
        Ok(())
    }
}

/// A server with a recorder, and a client by hand whose context the server keeps.
struct Served {
    kit: TestKit,
    peer: Peer,
    seen: Recorder,
    zlib: Compress,
}

impl Served {
    fn new(config: WSServerConfig) -> Self {
        let seen = Recorder::default();
        let listener = seen.clone();
        Self { seen, ..Self::with_listener(config, move || listener.clone()) }
    }

    fn with_listener<L: WSListener + 'static>(
        config: WSServerConfig,
        mut listener: impl FnMut() -> L + 'static,
    ) -> Self {
        let mut kit = TestKit::new(1);
        let deflate = WSDeflateConfig::default().context_takeover(true);
        let mut peer = kit.raw_server(move |_: &_| listener(), config.deflate(deflate));
        let mut request = String::from_utf8(Peer::request()).expect("ASCII");
        request.insert_str(request.len() - 2, "Sec-WebSocket-Extensions: permessage-deflate\r\n");
        peer.write(request.as_bytes());
        kit.run_until_idle();
        let response = String::from_utf8(peer.read()).expect("ASCII");
        assert!(response.contains("permessage-deflate"), "{response}");
        let zlib = Compress::new(Compression::fast(), false);
        Self { kit, peer, seen: Recorder::default(), zlib }
    }

    /// A compressed message in one frame.
    fn message(&mut self, msg_type: WSMsgType, payload: &[u8]) -> Vec<u8> {
        let payload = deflated(&mut self.zlib, payload);
        self.peer.encode_frame(msg_type, &payload, WHOLE)
    }

    /// Writes these bytes at once. Returns what the listener saw.
    fn receive(&mut self, bytes: &[u8]) -> Vec<Seen> {
        assert_eq!(self.peer.write(bytes), bytes.len());
        self.kit.run_until_idle();
        self.seen.0.take()
    }

    /// The code of the CLOSE that the server has sent.
    fn close_code(&mut self) -> Option<WSCloseCode> {
        let close = self.peer.frames().into_iter().find(|frame| frame.msg_type == WSMsgType::Close)?;
        Some(WSCloseCode(u16::from_be_bytes([close.payload[0], close.payload[1]])))
    }
}

#[test]
fn a_compressed_message_is_one_frame_with_fin_and_without_rsv1() {
    for validate_utf8 in [false, true] {
        let mut served = Served::new(WSServerConfig::default().validate_utf8(validate_utf8));
        let message = served.message(WSMsgType::Text, b"Hello");
        assert_eq!(served.receive(&message), [Seen::text("Hello")]);
        let message = served.message(WSMsgType::Binary, &[7; 10_000]);
        assert_eq!(served.receive(&message), [Seen::new(WSMsgType::Binary, [7; 10_000])]);
        let plain = served.peer.encode_frame(WSMsgType::Text, b"plain", SendOptions::default());
        assert_eq!(served.receive(&plain), [Seen::text("plain")]);
        assert_eq!(served.close_code(), None);
    }
}

#[test]
fn tail_size_and_last_in_buffer_describe_the_wire() {
    let mut served = Served::new(WSServerConfig::default());
    let first = served.message(WSMsgType::Text, "first ".repeat(100).as_bytes());
    let second = served.message(WSMsgType::Text, "second ".repeat(100).as_bytes());
    let third = served.message(WSMsgType::Text, b"third");
    let bytes = [&first[..], &second, &third[..4]].concat();
    let expected = [
        Seen::text(&"first ".repeat(100)).before(second.len() + 4),
        Seen::text(&"second ".repeat(100)).last_before(4),
    ];
    assert_eq!(served.receive(&bytes), expected);
    assert_eq!(served.receive(&third[4..]), [Seen::text("third")]);
}

#[test]
fn fragments_of_a_compressed_message_arrive_as_one_frame() {
    let mut served = Served::new(WSServerConfig::default().enable_auto_pong(false));
    let payload = deflated(&mut served.zlib, b"in three pieces, of which the second is empty");
    let frame = |served: &Served, msg_type, payload: &[u8], options| {
        served.peer.encode_frame(msg_type, payload, options)
    };
    let begin = frame(&served, WSMsgType::Text, &payload[..5], BEGINS);
    let ping = frame(&served, WSMsgType::Ping, b"in between", SendOptions::default());
    let middle = frame(&served, WSMsgType::Continuation, b"", SendOptions::MORE_FRAGMENTS);
    let end = frame(&served, WSMsgType::Continuation, &payload[5..], ENDS);
    let next = served.message(WSMsgType::Text, b"next");
    let behind_ping = middle.len() + end.len() + next.len();
    let expected = [
        Seen::new(WSMsgType::Ping, b"in between").before(behind_ping),
        Seen::text("in three pieces, of which the second is empty").before(next.len()),
        Seen::text("next"),
    ];
    assert_eq!(served.receive(&[begin, ping, middle, end, next].concat()), expected);
}

#[test]
fn fragments_of_an_uncompressed_message_arrive_as_they_are() {
    let mut served = Served::new(WSServerConfig::default());
    let begin = served.peer.encode_frame(WSMsgType::Text, b"be", SendOptions::MORE_FRAGMENTS);
    let end = served.peer.encode_frame(WSMsgType::Continuation, b"gin", ENDS);
    let expected = [
        Seen { fin: false, ..Seen::text("be").before(end.len()) },
        Seen::new(WSMsgType::Continuation, "gin"),
    ];
    assert_eq!(served.receive(&[begin, end].concat()), expected);
}

#[test]
fn later_messages_may_refer_to_earlier_ones() {
    let mut served = Served::new(WSServerConfig::default());
    let text = "all work and no play makes a dull feed";
    let lengths: Vec<usize> = (0..3)
        .map(|_| {
            let message = served.message(WSMsgType::Text, text.as_bytes());
            assert_eq!(served.receive(&message), [Seen::text(text)]);
            message.len()
        })
        .collect();
    assert!(lengths[1] < lengths[0] / 2, "{lengths:?}");
}

#[test]
fn frames_and_messages_have_their_bytes_on_the_wire() {
    let (messages, frames) = (Wire::default(), WireOfFrames::default());
    let (on_message, on_frame) = (messages.clone(), frames.clone());
    let config = WSServerConfig::default;
    let of_messages = Served::with_listener(config(), move || WSMessageAdapter::new(on_message.clone()));
    let of_frames = Served::with_listener(config(), move || on_frame.clone());
    for (mut served, seen) in [(of_messages, messages.0), (of_frames, frames.0)] {
        let long = served.message(WSMsgType::Binary, &vec![7; 100_000]);
        let noise: Vec<u8> = (0..5_000_u32).map(|n| ((n * n) >> 7) as u8).collect();
        let long_on_the_wire = served.message(WSMsgType::Binary, &noise);
        let payload = deflated(&mut served.zlib, b"in pieces, in pieces");
        let begin = served.peer.encode_frame(WSMsgType::Text, &payload[..5], BEGINS);
        let end = served.peer.encode_frame(WSMsgType::Continuation, &payload[5..], ENDS);
        let plain = served.peer.encode_frame(WSMsgType::Text, b"plain", SendOptions::default());
        served.receive(&[&long[..], &long_on_the_wire, &begin, &end, &plain].concat());
        let expected = [
            (long.len(), true),
            (long_on_the_wire.len(), true),
            (begin.len() + end.len(), true),
            (plain.len(), false),
        ];
        assert_eq!(seen.take(), expected);
    }
}

#[test]
fn validate_utf8_checks_inflated_text() {
    for (validate_utf8, code) in [(true, Some(WSCloseCode::INVALID_TEXT)), (false, None)] {
        let mut served = Served::new(WSServerConfig::default().validate_utf8(validate_utf8));
        let message = served.message(WSMsgType::Text, b"gr\xfcn");
        let seen = served.receive(&message);
        assert_eq!(seen.len(), usize::from(!validate_utf8));
        assert_eq!(served.close_code(), code);
    }
}

#[test]
fn the_inflated_size_is_limited() {
    let limits = WSLimits::default().max_message_size(10_000);
    for (len, code) in [(10_000, None), (10_001, Some(WSCloseCode::MESSAGE_TOO_BIG))] {
        let mut served = Served::new(WSServerConfig::default().limits(limits.clone()));
        let message = served.message(WSMsgType::Binary, &vec![0; len]);
        let seen = served.receive(&message);
        assert_eq!(seen.len(), usize::from(code.is_none()));
        assert_eq!(served.close_code(), code);
    }
}

/// They are put together whatever the listener is.
#[test]
fn the_fragments_of_a_compressed_message_are_limited_in_all() {
    let limits = WSLimits::default().max_message_size(10_000);
    let mut served = Served::new(WSServerConfig::default().limits(limits));
    let begin = served.peer.encode_frame(WSMsgType::Binary, &[0; 5_000], BEGINS);
    let more = served.peer.encode_frame(WSMsgType::Continuation, &[0; 5_000], SendOptions::MORE_FRAGMENTS);
    assert_eq!(served.receive(&[begin, more.clone(), more].concat()), []);
    assert_eq!(served.close_code(), Some(WSCloseCode::MESSAGE_TOO_BIG));
}

// --- sending ---

/// Longer than the default threshold.
const TEXT: &str = "all work and no play makes a dull feed, all work and no play makes a dull feed, \
                    all work and no play makes a dull feed, all work and no play makes a dull feed";

fn pair(kit: &mut TestKit, client: WSConnectConfig, listener: impl WSListener + 'static) -> Pair {
    let server = WSServerConfig::default().deflate(WSDeflateConfig::default());
    kit.pair(|_: &_| Frames::default(), listener, server, client).expect("a connection")
}

#[test]
fn messages_are_compressed_and_frames_are_not() {
    type Send = fn(&WSTransport);
    let cases: [(&str, bool, Send); 11] = [
        ("send", true, |end| {
            end.send(WSMsgType::Text, TEXT);
        }),
        ("send_text", true, |end| {
            end.send_text(TEXT);
        }),
        ("send_binary", true, |end| {
            end.send_binary(TEXT);
        }),
        ("send_with", true, |end| {
            end.send_with(WSMsgType::Text, TEXT, WSMessageOptions::default());
        }),
        ("send_buffer", true, |end| {
            end.send_buffer(WSMsgType::Text, WSBuffer::from(TEXT.as_bytes()));
        }),
        ("send_prepared", true, |end| {
            end.send_prepared(&WSPreparedMessage::new(WSMsgType::Text, TEXT));
        }),
        ("send_reuse_external_buffer", true, |end| {
            let mut memory = [&[0; WS_HEADROOM], TEXT.as_bytes()].concat();
            let options = SendOptions::default();
            end.send_reuse_external_buffer(WSMsgType::Text, &mut memory, WS_HEADROOM, options).expect("sent");
        }),
        ("a remote", true, |end| end.remote().send_text(TEXT).expect("the loop lives")),
        ("send_frame", false, |end| {
            end.send_frame(WSMsgType::Text, TEXT, SendOptions::default());
        }),
        ("send_prepared_frame", false, |end| {
            end.send_prepared_frame(&WSPreparedFrame::new(WSMsgType::Text, TEXT));
        }),
        ("a remote's send_frame", false, |end| {
            let options = SendOptions::default();
            end.remote().send_frame(WSMsgType::Text, TEXT, options).expect("the loop lives");
        }),
    ];
    for (what, is_compressed, send) in cases {
        let mut kit = TestKit::new(1);
        let frames = Frames::default();
        let pair = pair(&mut kit, reading_the_wire(&WSDeflateConfig::default()), frames.clone());
        send(&pair.server);
        kit.run_until_idle();
        let came = frames.take();
        assert_eq!(came.len(), 1, "{what}");
        let (rsv1, payload) = &came[0];
        assert_eq!(*rsv1, is_compressed, "{what}");
        assert_eq!(payload.len() < TEXT.len(), is_compressed, "{what}: {} bytes", payload.len());
        assert!(is_compressed || payload == TEXT.as_bytes(), "{what}");
    }
}

#[test]
fn send_compresses_at_the_default_threshold() {
    let mut kit = TestKit::new(1);
    let frames = Frames::default();
    let pair = pair(&mut kit, reading_the_wire(&WSDeflateConfig::default()), frames.clone());
    pair.server.send_text("a".repeat(400));
    kit.run_until_idle();
    let (rsv1, payload) = frames.take().pop().expect("a frame");
    assert!(rsv1 && payload.len() < 20, "{} bytes", payload.len());
}

#[test]
fn memory_of_the_caller_is_usable_after_a_compressed_send() {
    let mut kit = TestKit::new(1);
    let seen = Recorder::default();
    let client = WSConnectConfig::default().deflate(WSDeflateConfig::default());
    let pair = pair(&mut kit, client, seen.clone());
    let mut memory = [&[0; WS_HEADROOM], TEXT.as_bytes()].concat();
    for transport in [&pair.server, &pair.client] {
        for _ in 0..2 {
            let status = transport
                .send_reuse_external_buffer(WSMsgType::Text, &mut memory, WS_HEADROOM, SendOptions::default())
                .expect("sent");
            assert!(status.is_accepted());
            assert_eq!(&memory[WS_HEADROOM..], TEXT.as_bytes());
        }
    }
    kit.run_until_idle();
    let texts: Vec<Vec<u8>> = seen.0.take().into_iter().map(|seen| seen.payload).collect();
    assert_eq!(texts, [TEXT.as_bytes(), TEXT.as_bytes()]);
}

/// A listener of frames, as it was before there was compression.
#[test]
fn a_client_with_a_listener_of_frames_stays_connected_to_a_server_that_compresses() {
    for takeover in [false, true] {
        let mut kit = TestKit::new(1);
        let seen = Recorder::default();
        let deflate = WSDeflateConfig::default().context_takeover(takeover);
        let server = WSServerConfig::default().deflate(deflate.clone());
        let client = WSConnectConfig::default().deflate(deflate).validate_utf8(true);
        let pair = kit.pair(|_: &_| Frames::default(), seen.clone(), server, client).expect("a connection");
        for n in 0..100 {
            pair.server.send_text(format!("{n}: {TEXT}"));
        }
        kit.run_until_idle();
        let texts: Vec<Vec<u8>> = seen.0.take().into_iter().map(|seen| seen.payload).collect();
        let expected: Vec<Vec<u8>> = (0..100).map(|n| format!("{n}: {TEXT}").into_bytes()).collect();
        assert_eq!(texts, expected);
        assert!(!pair.client.is_disconnected() && !pair.server.is_disconnected());
    }
}
