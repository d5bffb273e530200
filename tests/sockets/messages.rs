//! The same callbacks on whole messages.

use femtows::{
    WSFrame, WSLimits, WSMessage, WSMessageAdapter, WSMessageListener, WSMsgType, WSResult, WSServerConfig,
    WSTransport,
};

use crate::support::peer::Peer;
use crate::support::running::{Server, serve};
use crate::support::wire::{BINARY, CLOSE, CONTINUATION, Frame, PING, PONG, TEXT};

/// Sends each message back in one frame, and the control frames that it sees as text.
struct Echo;

impl WSMessageListener for Echo {
    fn on_ws_message(&mut self, transport: &WSTransport, message: WSMessage<'_>) -> WSResult {
        transport.send(message.msg_type(), message);
        Ok(())
    }

    fn on_ws_control(&mut self, transport: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        transport.send(WSMsgType::Text, format!("control {:?}", frame.msg_type()));
        Ok(())
    }
}

fn echo_server(limits: WSLimits) -> Server {
    serve(WSServerConfig::default().limits(limits), |_| WSMessageAdapter::new(Echo))
}

fn fragments(opcode: u8, pieces: &[&[u8]]) -> Vec<Frame> {
    let last = pieces.len() - 1;
    let pieces = pieces.iter().enumerate();
    pieces
        .map(|(n, piece)| Frame::new(if n == 0 { opcode } else { CONTINUATION }, piece).bits(n == last, 0))
        .collect()
}

#[test]
fn whole_and_fragmented_messages() {
    let server = echo_server(WSLimits::default().max_message_size(3 << 20));
    let mut peer = Peer::connect(server.addr);
    for opcode in [TEXT, BINARY] {
        for pieces in
            [&[&b"whole"[..]][..], &[b""], &[b"a", b"b", b"c"], &[b"", b"", b""], &[b"a", b"", b"bc"]]
        {
            for frame in fragments(opcode, pieces) {
                peer.send(&frame);
            }
            assert_eq!(peer.read_frame(), Frame::new(opcode, pieces.concat()));
        }
    }
    // Cut within a character.
    let euro = "a\u{20ac}b".as_bytes();
    for frame in fragments(TEXT, &[&euro[..2], &euro[2..3], &euro[3..]]) {
        peer.send(&frame);
    }
    assert_eq!(peer.read_frame(), Frame::text(euro));
    // Large, and each byte of it once.
    let payload = crate::support::pattern(3 << 20);
    let pieces: Vec<&[u8]> = payload.chunks(100_000).collect();
    for frame in fragments(BINARY, &pieces) {
        peer.send(&frame);
    }
    assert_eq!(peer.read_frame(), Frame::binary(payload));
}

#[test]
fn control_frames_between_fragments() {
    let server = echo_server(WSLimits::default());
    let mut peer = Peer::connect(server.addr);
    let frames = fragments(TEXT, &[b"one ", b"two"]);
    peer.send(&frames[0]);
    peer.send(&Frame::new(PING, "between"));
    assert_eq!(peer.read_frame(), Frame::new(PONG, "between"));
    peer.send(&Frame::new(PONG, "unasked"));
    assert_eq!(peer.read_frame(), Frame::text("control Pong"));
    peer.send(&frames[1]);
    assert_eq!(peer.read_frame(), Frame::text("one two"));
    // A CLOSE may come there as well, and ends the message unfinished.
    peer.send(&frames[0]);
    peer.send(&Frame::close(1000, ""));
    assert_eq!(peer.read_frame(), Frame::text("control Close"));
    assert_eq!(peer.read_frame(), Frame::close(1000, ""));
    peer.expect_eof();
}

/// A new connection sends `bytes`; it is closed with `code`, and not a byte is answered before.
fn closes(server: &Server, bytes: &[u8], code: u16) {
    let mut peer = Peer::connect(server.addr);
    peer.write(bytes);
    let answer = peer.read_frame();
    assert_eq!((answer.opcode, answer.close_code()), (CLOSE, Some(code)));
    peer.expect_eof();
}

fn encode(frames: &[Frame]) -> Vec<u8> {
    frames.iter().flat_map(|frame| frame.encode(Some([9, 8, 7, 6]))).collect()
}

#[test]
fn bad_text_is_1007_as_soon_as_it_comes() {
    let server = echo_server(WSLimits::default());
    closes(&server, &encode(&[Frame::text(b"\xff")]), 1007);
    closes(&server, &encode(&fragments(TEXT, &[b"\xe2\x82", b"x"])), 1007);
    closes(&server, &encode(&fragments(TEXT, &[b"\xe2\x82", b""])), 1007);
    // In a fragment that is not the last, and in a frame of which only the beginning has come.
    closes(&server, &encode(&fragments(TEXT, &[b"good", b"\xff", b"never sent"])[..2]), 1007);
    let long = encode(&[Frame::text([&b"good \xff"[..], &[b'x'; 1000]].concat())]);
    closes(&server, &long[..20], 1007);
}

#[test]
fn a_message_above_the_limit_is_1009_from_its_header_alone() {
    let server = echo_server(WSLimits::default().max_message_size(1000));
    let whole = encode(&[Frame::binary([1; 1001])]);
    closes(&server, &whole[..8], 1009);
    let frames = fragments(BINARY, &[&[1; 600], &[2; 401]]);
    let bytes = encode(&frames);
    // Without a byte of the second fragment's payload.
    closes(&server, &bytes[..bytes.len() - 401], 1009);
    let mut peer = Peer::connect(server.addr);
    for frame in fragments(BINARY, &[&[1; 600], &[1; 400]]) {
        peer.send(&frame);
    }
    assert_eq!(peer.read_frame(), Frame::binary([1; 1000]), "at the limit");
    peer.send(&Frame::binary([1; 1000]));
    assert_eq!(peer.read_frame(), Frame::binary([1; 1000]), "each message counts by itself");
}

#[test]
fn message_above_1_mib_is_1009_by_default() {
    let server = echo_server(WSLimits::default());
    let at_the_limit = vec![1; 1 << 20];
    let mut peer = Peer::connect(server.addr);
    peer.send(&Frame::binary(at_the_limit.clone()));
    assert_eq!(peer.read_frame(), Frame::binary(at_the_limit));
    let above = encode(&[Frame::binary(vec![1; (1 << 20) + 1])]);
    // From its header alone.
    closes(&server, &above[..14], 1009);
}

#[test]
fn more_fragments_than_the_limit_are_1009() {
    let server = echo_server(WSLimits::default().max_fragments(3));
    closes(&server, &encode(&fragments(BINARY, &[b"", b"", b"", b""])), 1009);
    let mut peer = Peer::connect(server.addr);
    for _ in 0..3 {
        for frame in fragments(BINARY, &[b"a", b"b", b"c"]) {
            peer.send(&frame);
        }
        assert_eq!(peer.read_frame(), Frame::binary("abc"));
    }
}
