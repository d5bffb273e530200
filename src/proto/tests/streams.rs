//! Streams to try: valid ones, and valid ones that were tampered with.

use crate::proto::{Role, Rules};

use crate::proto::model::random::Random;
use crate::proto::model::twin::Scene;

/// One end, one set of rules, one layer.
pub(crate) fn scene(random: &mut Random) -> Scene {
    let mut rules =
        Rules { allow_reserved_bits: random.one_in(2), validate_utf8: random.one_in(2), ..Rules::default() };
    if random.one_in(3) {
        rules.max_frame_size = random.pick(&[0, 3, 125, 126, 65_535]);
    }
    if random.one_in(2) {
        rules.max_message_size = random.pick(&[0, 5, 126, 1000, 65_536]);
        rules.max_fragments = random.pick(&[1, 2, 3, 1000]);
    }
    Scene {
        role: random.pick(&[Role::Client, Role::Server]),
        rules,
        messages: random.one_in(2),
        long_masked: random.one_in(2),
        until_close: random.one_in(2),
    }
}

/// What a stream is made of.
pub(crate) struct Shape {
    pub(crate) messages: usize,
    pub(crate) max_fragments: usize,
    /// Lengths of messages to choose from.
    pub(crate) lengths: &'static [usize],
}

pub(crate) const TINY: Shape = Shape { messages: 2, max_fragments: 2, lengths: &[0, 0, 1, 2, 3] };
pub(crate) const SMALL: Shape = Shape { messages: 3, max_fragments: 3, lengths: &[0, 1, 5, 9] };
pub(crate) const MIDDLE: Shape =
    Shape { messages: 6, max_fragments: 4, lengths: &[0, 3, 40, 125, 126, 127, 300] };
pub(crate) const LONG: Shape = Shape {
    messages: 20,
    max_fragments: 5,
    lengths: &[0, 7, 125, 126, 1000, 4095, 4096, 65_535, 65_536, 80_000],
};

/// What UTF-8 excludes (RFC 3629): a stray continuation, overlong forms, surrogates, code points past the last.
const BAD_TEXT: &[&[u8]] = &[
    b"\x80",
    b"\xc0\x80",
    b"\xc1\xbf",
    b"\xe0\x9f\xbf",
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    b"\xf0\x8f\xbf\xbf",
    b"\xf4\x90\x80\x80",
    b"\xf5\x80\x80\x80",
    b"\xff",
];

/// The ends of every range of close codes, and their neighbours.
const CLOSE_CODES: &[u16] =
    &[999, 1000, 1003, 1004, 1005, 1006, 1007, 1014, 1015, 1016, 2999, 3000, 4999, 5000, 1000, 1000];

/// Frames that keep every rule but those for sizes, for text and for close codes, which they keep most often.
pub(crate) fn valid(random: &mut Random, scene: &Scene, shape: &Shape) -> Vec<u8> {
    let mut writer = Writer { wire: Vec::new(), role: scene.role, rsv: scene.rules.allow_reserved_bits };
    for _ in 0..=random.below(shape.messages) {
        if random.one_in(4) {
            writer.control(random);
        }
        let len = random.pick(shape.lengths);
        let is_text = random.one_in(2);
        let mut message = if is_text { text(random, len) } else { random.bytes(len) };
        if is_text && random.one_in(8) {
            message.extend_from_slice(random.pick(BAD_TEXT));
        }
        let fragments = 1 + random.below(shape.max_fragments);
        let mut rest = &message[..];
        for nth in 0..fragments {
            let is_last = nth + 1 == fragments;
            let (now, later) = rest.split_at(if is_last { rest.len() } else { random.below(rest.len() + 1) });
            let opcode = if nth > 0 { 0 } else { 2 - u8::from(is_text) };
            writer.frame(random, is_last, opcode, now);
            rest = later;
            if !is_last && random.one_in(4) {
                writer.control(random);
            }
        }
    }
    if random.one_in(2) {
        let close = [&random.pick(CLOSE_CODES).to_be_bytes()[..], &text(random, 4)].concat();
        writer.frame(random, true, 8, &close);
    }
    writer.wire
}

/// Changes a few bytes, most often such that a frame's header changes its meaning.
pub(crate) fn tampered(random: &mut Random, mut wire: Vec<u8>) -> Vec<u8> {
    for _ in 0..=random.below(2) {
        let at = random.below(wire.len());
        match random.below(6) {
            0 => wire[at] ^= 1 << random.below(8),
            1 => wire[at] = random.byte(),
            2 => wire.insert(at, random.byte()),
            3 => wire.truncate(at + 1),
            4 => wire[random.pick(&[0, 1, at])] ^= random.pick(&[0x80, 0x40, 0x01, 0x7f]),
            _ => drop(wire.drain(at..(at + 1 + random.below(4)).min(wire.len() - 1).max(at))),
        }
    }
    wire
}

/// About `len` bytes of text with characters of every length.
fn text(random: &mut Random, len: usize) -> Vec<u8> {
    let mut text = String::new();
    while text.len() < len {
        text.push(random.pick(&[
            'a',
            '\u{7f}',
            '\u{80}',
            '\u{7ff}',
            '\u{800}',
            '\u{ffff}',
            '\u{1f980}',
            '\u{10ffff}',
        ]));
    }
    text.into_bytes()
}

/// Writes frames byte by byte, as section 5.2 draws them.
struct Writer {
    wire: Vec<u8>,
    /// The end that reads.
    role: Role,
    rsv: bool,
}

impl Writer {
    fn control(&mut self, random: &mut Random) {
        let opcode = random.pick(&[9, 10]);
        let len = random.pick(&[0, 0, 1, 1, 2, 125]);
        let payload = random.bytes(len);
        self.frame(random, true, opcode, &payload);
    }

    fn frame(&mut self, random: &mut Random, fin: bool, opcode: u8, payload: &[u8]) {
        let rsv = if self.rsv && random.one_in(2) { random.byte() & 0x70 } else { 0 };
        self.wire.push(u8::from(fin) << 7 | rsv | opcode);
        let masked = if self.role == Role::Server { 0x80 } else { 0 };
        match payload.len() {
            short @ 0..=125 => self.wire.push(masked + short as u8),
            middle @ 126..=65_535 => {
                self.wire.push(masked + 126);
                self.wire.extend((middle as u16).to_be_bytes());
            }
            long => {
                self.wire.push(masked + 127);
                self.wire.extend((long as u64).to_be_bytes());
            }
        }
        if masked == 0 {
            self.wire.extend(payload);
        } else {
            let key = random.bytes(4);
            self.wire.extend(&key);
            self.wire.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
        }
    }
}
