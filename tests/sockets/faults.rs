//! Peers that break the protocol or a limit.

use femtows::{WSConnectConfig, WSDisconnectCause, WSError, WSServerConfig};

use crate::support::peer::{Peer, PeerServer};
use crate::support::probe::{Events, Probe, log};
use crate::support::running::{connect, serve};
use crate::support::wire::{BINARY, CLOSE, CONTINUATION, Frame, PING, TEXT};

const KEY: [u8; 4] = [1, 2, 3, 4];

/// `bytes` as a client's: behind a good frame, they close the connection with `code`; the good frame is delivered.
fn faulty_client(name: &str, config: WSServerConfig, bytes: &[u8], code: u16) {
    let (log, events) = log();
    let server = serve(config, move |_| Probe::new(&log));
    let mut peer = Peer::connect(server.addr);
    let good = peer.encode(&Frame::text("good"));
    peer.write(&[&good, bytes].concat());
    ends_with(name, &mut peer, &events, code);
}

/// `bytes` as a server's.
fn faulty_server(name: &str, config: WSConnectConfig, bytes: &[u8], code: u16) {
    let (log, events) = log();
    let server = PeerServer::bind();
    let client = connect(&server.url("/"), config, Probe::new(&log));
    let mut peer = server.accept();
    let good = peer.encode(&Frame::text("good"));
    peer.write(&[&good, bytes].concat());
    ends_with(name, &mut peer, &events, code);
    match client.ended() {
        Err(WSError::Protocol(error)) => assert_eq!(error.code.0, code, "{name}"),
        other => panic!("{name}: {other:?}"),
    }
}

fn ends_with(name: &str, peer: &mut Peer, events: &Events, code: u16) {
    assert_eq!(peer.read_frame().close_code(), Some(code), "{name}");
    peer.expect_eof();
    peer.shutdown_write();
    events.connected();
    assert_eq!(events.frame(), Frame::text("good"), "{name}");
    let info = events.disconnected();
    assert_eq!((info.cause, info.code.0), (WSDisconnectCause::ProtocolError, code), "{name}");
}

/// A header with this second byte and length field.
fn header(opcode: u8, masked: bool, second: u8, length: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode, u8::from(masked) << 7 | second];
    bytes.extend(length);
    if masked {
        bytes.extend(KEY);
    }
    bytes
}

/// What is wrong whichever end sends it. `masked`: as that end has to.
fn violations(masked: bool) -> Vec<(&'static str, Vec<u8>)> {
    let key = masked.then_some(KEY);
    let frame = |opcode, payload: &[u8]| Frame::new(opcode, payload);
    let mut cases = vec![
        ("wrong masking", frame(TEXT, b"x").encode((!masked).then_some(KEY))),
        ("16-bit length of 125", header(BINARY, masked, 126, &125_u16.to_be_bytes())),
        ("16-bit length of 0", header(BINARY, masked, 126, &[0, 0])),
        ("64-bit length of 65535", header(BINARY, masked, 127, &65_535_u64.to_be_bytes())),
        ("64-bit length of 0", header(BINARY, masked, 127, &[0; 8])),
        ("64-bit length with MSB", header(BINARY, masked, 127, &[0x80, 0, 0, 0, 0, 0, 0, 1])),
        ("all ones", header(BINARY, masked, 127, &[0xff; 8])),
        ("fragmented ping", frame(PING, b"").bits(false, 0).encode(key)),
        ("long ping", frame(PING, &[0; 126]).encode(key)),
        ("long close", frame(CLOSE, &[3, 232].repeat(63)).encode(key)),
        ("close of one byte", frame(CLOSE, b"x").encode(key)),
        ("continuation of nothing", frame(CONTINUATION, b"x").encode(key)),
        (
            "data inside a fragmented message",
            [frame(TEXT, b"x").bits(false, 0).encode(key), frame(TEXT, b"y").encode(key)].concat(),
        ),
    ];
    for rsv in 1..8 {
        cases.push(("reserved bits", frame(TEXT, b"x").bits(true, rsv).encode(key)));
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        cases.push(("reserved opcode", frame(opcode, b"").encode(key)));
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535] {
        cases.push(("close code that is not for the wire", Frame::close(code, "").encode(key)));
    }
    cases
}

/// Whether the fault comes behind a frame that is delivered too.
fn is_preceded(name: &str) -> bool {
    name == "data inside a fragmented message"
}

#[test]
fn t08_violations_by_a_client_close_with_1002() {
    for (name, bytes) in violations(true).iter().filter(|(name, _)| !is_preceded(name)) {
        faulty_client(name, WSServerConfig::default(), bytes, 1002);
    }
}

#[test]
fn t08_violations_by_a_server_close_with_1002() {
    for (name, bytes) in violations(false).iter().filter(|(name, _)| !is_preceded(name)) {
        faulty_server(name, WSConnectConfig::default(), bytes, 1002);
    }
}

/// The fragment before the fault is delivered, and the fault is found even if it is only a header.
#[test]
fn t08_a_frame_is_delivered_before_the_fault_behind_it() {
    let (log, events) = log();
    let server = serve(WSServerConfig::default(), move |_| Probe::new(&log));
    let mut peer = Peer::connect(server.addr);
    let first = Frame::text("x").bits(false, 0);
    let bytes = [peer.encode(&first), vec![0x81, 0x85]].concat();
    peer.write(&bytes);
    peer.write(&KEY);
    assert_eq!(peer.read_frame().close_code(), Some(1002));
    peer.expect_eof();
    events.connected();
    assert_eq!(events.frame(), first);
    peer.shutdown_write();
    assert_eq!(events.disconnected().cause, WSDisconnectCause::ProtocolError);
}

#[test]
fn a_close_reason_that_is_not_utf8_is_1007() {
    let payload = [&1000_u16.to_be_bytes()[..], b"\xff\xfe"].concat();
    faulty_client("reason", WSServerConfig::default(), &Frame::new(CLOSE, &payload).encode(Some(KEY)), 1007);
    faulty_server("reason", WSConnectConfig::default(), &Frame::new(CLOSE, &payload).encode(None), 1007);
}

/// The header alone decides; the payload is never sent.
#[test]
fn t07_a_frame_above_the_limit_is_1009() {
    for size in [(64 << 10) + 1, 128 << 10, 1 << 40, (1 << 63) - 1_u64] {
        let bytes = header(BINARY, true, 127, &size.to_be_bytes());
        faulty_client("too large", WSServerConfig::default().max_frame_size(64 << 10), &bytes, 1009);
        let bytes = header(BINARY, false, 127, &size.to_be_bytes());
        faulty_server("too large", WSConnectConfig::default().max_frame_size(64 << 10), &bytes, 1009);
    }
}

#[test]
fn t07_a_frame_at_the_limit_is_delivered() {
    let (log, events) = log();
    let server = serve(WSServerConfig::default().max_frame_size(64 << 10), move |_| Probe::new(&log));
    let mut peer = Peer::connect(server.addr);
    let frame = Frame::binary(vec![5; 64 << 10]);
    peer.send(&frame);
    events.connected();
    assert_eq!(events.frame(), frame);
}

/// 1009 while the peer goes on sending: it still gets the CLOSE, not a reset.
#[test]
fn t07_the_close_reaches_a_peer_that_goes_on_sending() {
    let (log, _events) = log();
    let server = serve(WSServerConfig::default().max_frame_size(1000), move |_| Probe::new(&log));
    let mut peer = Peer::connect(server.addr);
    peer.send(&Frame::binary(vec![5; 1 << 20]));
    assert_eq!(peer.read_frame().close_code(), Some(1009));
    peer.expect_eof();
}

#[test]
fn validate_utf8_at_frame_level() {
    let config = || WSServerConfig::default().validate_utf8(true);
    let bad = |payload: &[u8]| Frame::text(payload).encode(Some(KEY));
    faulty_client("bad text", config(), &bad(b"\xc3\x28"), 1007);
    faulty_client("a surrogate", config(), &bad(b"\xed\xa0\x80"), 1007);
    faulty_client("cut off", config(), &bad(b"abc\xe2\x82"), 1007);
    let client = WSConnectConfig::default().validate_utf8(true);
    faulty_server("bad text", client, &Frame::text(b"\xff").encode(None), 1007);
    // The bad byte is enough; the rest of the frame never comes.
    let long = bad(&[&b"x"[..], b"\xff", &[b'y'; 100]].concat());
    faulty_client("fails fast", config(), &long[..20], 1007);
}

#[test]
fn validate_utf8_over_fragments() {
    let (log, events) = log();
    let server = serve(WSServerConfig::default().validate_utf8(true), move |_| Probe::new(&log));
    let mut peer = Peer::connect(server.addr);
    let euro = "\u{20ac}".as_bytes();
    let good = [
        Frame::new(TEXT, &euro[..1]).bits(false, 0),
        Frame::new(CONTINUATION, &euro[1..2]).bits(false, 0),
        Frame::new(CONTINUATION, &euro[2..]),
        Frame::binary(b"\xff is fine here"),
        Frame::new(TEXT, &euro[..2]).bits(false, 0),
    ];
    peer.send_and_sync(&good);
    peer.send(&Frame::new(CONTINUATION, ""));
    assert_eq!(peer.read_frame().close_code(), Some(1007));
    events.connected();
    for frame in &good {
        assert_eq!(events.frame(), *frame);
    }
}

#[test]
fn without_validate_utf8_the_listener_decides() {
    let (log, events) = log();
    let server = serve(WSServerConfig::default(), move |_| {
        Probe::new(&log).on_frame(|_, frame| {
            if frame.fin() {
                frame.payload_as_utf8()?;
            }
            Ok(())
        })
    });
    let mut peer = Peer::connect(server.addr);
    let frames = [Frame::text(b"\xff").bits(false, 0), Frame::new(CONTINUATION, b"\xff")];
    peer.send(&frames[0]);
    peer.send(&frames[1]);
    assert_eq!(peer.read_frame().close_code(), Some(1007));
    events.connected();
    assert_eq!([events.frame(), events.frame()], frames);
}
