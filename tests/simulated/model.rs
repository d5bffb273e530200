//! What one end has sent, and what the other end must therefore receive.

use std::collections::VecDeque;
use std::sync::LazyLock;

use femtows::testkit::Random;
use femtows::{SendOptions, WSMsgType};

/// Longest payload that a schedule sends.
pub(crate) const MAX_PAYLOAD: usize = 70_000;

static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut random = Random::new(1);
    (0..2 * MAX_PAYLOAD).map(|_| random.next_u64() as u8).collect()
});

static TEXT: LazyLock<String> = LazyLock::new(|| {
    let mut random = Random::new(2);
    let chars = std::iter::repeat_with(|| random.pick(&['a', 'b', '\u{e9}', '\u{20ac}', '\u{1f600}']));
    let mut text: String = chars.take(2 * MAX_PAYLOAD).collect();
    while !text.is_char_boundary(2 * MAX_PAYLOAD) {
        text.insert(0, 'c');
    }
    text
});

/// A piece of the texts above: cheap to make, cheap to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    text: bool,
    start: usize,
    len: usize,
}

impl Piece {
    pub(crate) fn bytes(&self) -> &'static [u8] {
        let all = if self.text { TEXT.as_bytes() } else { &BYTES };
        &all[self.start..self.start + self.len]
    }
}

/// A frame that was accepted for sending.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) msg_type: WSMsgType,
    pub(crate) fin: bool,
    pub(crate) payload: Payload,
}

#[derive(Clone, Debug)]
pub(crate) enum Payload {
    Piece(Piece),
    Control(Vec<u8>),
}

impl Payload {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Piece(piece) => piece.bytes(),
            Self::Control(bytes) => bytes,
        }
    }
}

/// A data frame that may be sent next.
pub(crate) struct NextFrame {
    pub(crate) msg_type: WSMsgType,
    pub(crate) options: SendOptions,
    pub(crate) piece: Piece,
}

/// One direction: what was accepted and not delivered yet.
#[derive(Debug, Default)]
pub(crate) struct Outbound {
    pub(crate) frames: VecDeque<Sent>,
    /// The message under way: where its next fragment begins.
    message: Option<(bool, usize)>,
    pub(crate) dropped_frames: u64,
    pub(crate) dropped_bytes: u64,
    /// Number of the newest ping that was accepted.
    pub(crate) newest_ping: u64,
    /// Number of the newest ping whose pong came back.
    pub(crate) newest_pong: u64,
    controls: u64,
}

impl Outbound {
    /// Makes up a data frame. Whatever a message consists of, its bytes are one piece of the texts, and text ends at a character.
    pub(crate) fn next_frame(&self, random: &mut Random, max_len: usize, fragments: bool) -> NextFrame {
        let sizes = [0, 1, 8, 60, 125, 126, 130, 700, 4096, 5000, 20_000, 65_535, 65_536, MAX_PAYLOAD];
        let max = random.pick(&sizes).min(max_len);
        let len = if random.chance(30) { max } else { random.below(max + 1) };
        let fin = !fragments || random.chance(if self.message.is_some() { 50 } else { 75 });
        let (msg_type, text, start) = match self.message {
            Some((text, start)) => (WSMsgType::Continuation, text, start),
            None if random.chance(50) => (WSMsgType::Text, true, boundary(random.below(MAX_PAYLOAD))),
            None => (WSMsgType::Binary, false, random.below(MAX_PAYLOAD)),
        };
        let mut end = (start + len).min(2 * MAX_PAYLOAD);
        if text && fin {
            end = boundary(end);
        }
        let piece = Piece { text, start, len: end - start };
        NextFrame { msg_type, options: SendOptions { fin, ..SendOptions::default() }, piece }
    }

    pub(crate) fn accepted(&mut self, frame: &NextFrame) {
        let NextFrame { msg_type, options, piece } = *frame;
        self.message = (!options.fin).then_some((piece.text, piece.start + piece.len));
        self.frames.push_back(Sent { msg_type, fin: options.fin, payload: Payload::Piece(piece) });
    }

    /// The payload of the next ping or pong.
    pub(crate) fn next_control(&mut self, prefix: &str) -> Vec<u8> {
        self.controls += 1;
        format!("{prefix}{}", self.controls).into_bytes()
    }

    /// A ping that the other end answers by itself.
    pub(crate) fn ping_accepted(&mut self) {
        self.newest_ping = self.controls;
    }

    pub(crate) fn control_accepted(&mut self, msg_type: WSMsgType, payload: Vec<u8>) {
        self.frames.push_back(Sent { msg_type, fin: true, payload: Payload::Control(payload) });
    }

    /// A pong to one of our pings came back: pongs may be left out, but not exchanged, repeated or made up.
    pub(crate) fn pong_received(&mut self, payload: &[u8]) -> Result<(), String> {
        let number =
            std::str::from_utf8(payload).ok().and_then(|text| text.strip_prefix("ping ")?.parse().ok());
        match number {
            Some(number) if self.newest_pong < number && number <= self.newest_ping => {
                self.newest_pong = number;
                Ok(())
            }
            _ => {
                Err(format!("pong {payload:?} after {}, newest ping {}", self.newest_pong, self.newest_ping))
            }
        }
    }

    /// A frame was delivered.
    pub(crate) fn frame_received(
        &mut self,
        msg_type: WSMsgType,
        fin: bool,
        payload: &[u8],
    ) -> Result<(), String> {
        let Some(sent) = self.frames.pop_front() else {
            return Err(format!("{msg_type:?} of {} bytes was never sent", payload.len()));
        };
        let same = sent.msg_type == msg_type && sent.fin == fin && sent.payload.bytes() == payload;
        let (kind, len) = (sent.msg_type, sent.payload.bytes().len());
        if same {
            Ok(())
        } else {
            Err(format!("got {msg_type:?}/{fin}/{}, sent {kind:?}/{len}", payload.len()))
        }
    }

    /// A whole message was delivered.
    pub(crate) fn message_received(&mut self, msg_type: WSMsgType, payload: &[u8]) -> Result<(), String> {
        let mut expected = Vec::new();
        let mut first = None;
        while let Some(sent) = self.frames.pop_front() {
            if sent.msg_type.is_control() {
                return Err(format!("message before the {:?} that was sent before its end", sent.msg_type));
            }
            first.get_or_insert(sent.msg_type);
            expected.extend_from_slice(sent.payload.bytes());
            if sent.fin {
                let same = first == Some(msg_type) && expected == payload;
                let lens = (payload.len(), expected.len());
                return if same { Ok(()) } else { Err(format!("message {msg_type:?}: {lens:?} differ")) };
            }
        }
        Err("a message was delivered whose end was not sent".into())
    }

    /// A control frame was delivered to a listener of messages: it may overtake the delivery of fragments, nothing else.
    pub(crate) fn control_received(&mut self, msg_type: WSMsgType, payload: &[u8]) -> Result<(), String> {
        let at = self.frames.iter().position(|sent| sent.msg_type.is_control() || sent.fin);
        match at.and_then(|at| self.frames.remove(at)) {
            Some(sent) if sent.msg_type == msg_type && sent.payload.bytes() == payload => Ok(()),
            other => Err(format!("got {msg_type:?}, sent {:?}", other.map(|sent| sent.msg_type))),
        }
    }

    /// Whether all that can be delivered was: fragments of a message that never ended stay with an assembler.
    pub(crate) fn all_received(&self, messages: bool) -> bool {
        if messages { self.frames.iter().all(|sent| !sent.fin) } else { self.frames.is_empty() }
    }
}

fn boundary(mut at: usize) -> usize {
    while !TEXT.is_char_boundary(at) {
        at += 1;
    }
    at
}
