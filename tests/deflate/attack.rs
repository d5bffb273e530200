//! An attack on the data of other connections by the lengths of the echoes of own messages.
//!
//! The compressor of level 1 once accepted places that it had noted for other connections. The
//! attacker puts a guess of four bytes where the victim's message had the secret, such that its own
//! message does not note that place. A second occurrence of the guess then became a reference, and
//! the echo shorter, exactly if the victim's message had noted it.

use std::net::SocketAddr;

use femtows::deflate::internal::{DeflateDirection, DeflateSettings, Deflater, ScratchBuffer};
use femtows::testkit::Random;
use femtows::{WSDeflateConfig, WSMessageAdapter, WSServerConfig, WSUpgradeRequest};

use crate::ends::Echo;
use crate::support::peer::{Peer, status, upgrade_request};
use crate::support::running::{Server, serve};
use crate::support::wire::{CLOSE, Frame, TEXT};

const DIGITS: usize = 24;

/// The victim's message before its secret and after it.
const BEFORE: &str = "{\"user\":\"alice\",\"note\":\"QwErTyUiOpAsDfGhJkLzXcVbNm#%&/()=?\",\"token\":\"";
const AFTER: &str = "\",\"purpose\":\"----------------------------------------------------------------\"}";

fn echo_server(takeover: bool, level: u8) -> Server {
    let deflate = WSDeflateConfig::default().context_takeover(takeover).level(level);
    serve(WSServerConfig::default().deflate(deflate), |_: &WSUpgradeRequest| WSMessageAdapter::new(Echo))
}

fn connect(addr: SocketAddr) -> Peer {
    let mut peer = Peer::connect_tcp(addr);
    let head = peer.ask(&upgrade_request("/", "Sec-WebSocket-Extensions: permessage-deflate\r\n"));
    assert_eq!(status(&head), 101, "{head}");
    assert!(head.contains("permessage-deflate"), "{head}");
    peer
}

/// Sends a message uncompressed and returns the length of the compressed echo.
fn echoed(peer: &mut Peer, message: &[u8]) -> usize {
    peer.send(&Frame::text(message));
    let frame = peer.read_frame();
    assert_eq!((frame.opcode, frame.rsv), (TEXT, 4), "a compressed text");
    frame.payload.len()
}

/// Closes the connection: its compressor goes back to the loop.
fn close(mut peer: Peer) {
    peer.send(&Frame::close(1000, ""));
    assert_eq!(peer.read_frame().opcode, CLOSE);
    peer.expect_gone();
}

/// Makes a message with `guess` at `place` and once more behind it.
///
/// The first byte of `guess` ends a reference of five bytes, of which the compressor notes the
/// first, second and fourth place: so the place of the first occurrence is not noted.
fn probe(place: usize, guess: [u8; 4]) -> Vec<u8> {
    let source = [b"ABCD", &guess[..1], b"~"].concat();
    let mut message = b"<".repeat(place - 4 - source.len());
    message.extend(source);
    message.extend(b"ABCD");
    assert_eq!(message.len(), place);
    message.extend(guess);
    message.extend(b"!@^*");
    message.extend(guess);
    message.extend(b">");
    message.extend(b"-".repeat(200_usize.saturating_sub(message.len())));
    message
}

/// Returns the length of the echo if the server's compressor has seen nothing but this message.
fn expected(message: &[u8], takeover: bool, level: u8) -> usize {
    let direction = DeflateDirection { context_takeover: takeover, window_bits: 15 };
    let mut out = ScratchBuffer::default();
    let mut deflater = Deflater::new(direction, DeflateSettings { level, memory_level: 8 });
    assert!(deflater.deflate(message, &mut out));
    out.len()
}

/// Makes digits without a sequence of three twice: the victim's message has each sequence of four
/// bytes once, so that all places of its secret are noted.
fn secret(random: &mut Random) -> String {
    loop {
        let digits: Vec<u8> = (0..DIGITS).map(|_| b'0' + random.below(10) as u8).collect();
        let mut triples: Vec<_> = digits.windows(3).collect();
        triples.sort_unstable();
        triples.dedup();
        if triples.len() == DIGITS - 2 {
            return String::from_utf8(digits).expect("digits");
        }
    }
}

/// Reads the secret digit by digit; `?` stands for a digit that the lengths of ten echoes do not
/// reveal. The attacker gets such a digit for free before it goes on to the next.
fn read_secret(addr: SocketAddr, secret: &str, takeover: bool, level: u8) -> String {
    let mut victim = connect(addr);
    echoed(&mut victim, format!("{BEFORE}{secret}{AFTER}").as_bytes());
    // With context takeover the victim's compressor comes to the attacker after the disconnect.
    let victim = if takeover {
        close(victim);
        None
    } else {
        Some(victim)
    };
    let mut attacker = connect(addr);
    let mut known = BEFORE.as_bytes().to_vec();
    let mut read = String::new();
    for actual in secret.bytes() {
        let place = known.len() - 3;
        let [.., a, b, c] = known[..] else { unreachable!("the text before is longer") };
        let mut found = Vec::new();
        for digit in b'0'..=b'9' {
            let message = probe(place, [a, b, c, digit]);
            if echoed(&mut attacker, &message) != expected(&message, takeover, level) {
                found.push(digit);
            }
            if takeover {
                close(std::mem::replace(&mut attacker, connect(addr)));
            }
        }
        let digit = match found[..] {
            [digit] => digit,
            _ => actual,
        };
        read.push(if found.len() == 1 { digit.into() } else { '?' });
        known.push(digit);
    }
    drop(victim);
    read
}

/// Returns the results of 20 attacks, each on a server of its own.
fn attack(takeover: bool, level: u8) -> Vec<String> {
    let mut random = Random::new(81);
    let attack = |_| {
        let server = echo_server(takeover, level);
        let secret = secret(&mut random);
        let read = read_secret(server.addr, &secret, takeover, level);
        println!("secret {secret}, read {read}");
        read
    };
    (0..20).map(attack).collect()
}

fn nothing() -> Vec<String> {
    vec!["?".repeat(DIGITS); 20]
}

#[test]
fn lengths_of_echoes_reveal_nothing_without_context_takeover() {
    assert_eq!(attack(false, 1), nothing());
}

#[test]
fn lengths_of_echoes_reveal_nothing_after_a_compressor_changed_hands() {
    assert_eq!(attack(true, 1), nothing());
}

#[test]
fn lengths_of_echoes_reveal_nothing_at_level_6() {
    assert_eq!([attack(false, 6), attack(true, 6)], [nothing(), nothing()]);
}
