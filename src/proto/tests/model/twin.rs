//! A frame parser written from RFC 6455 alone. It is given the stream from its first byte on, and begins anew each time.

use crate::proto::{Role, Rules};

use super::wire::{self, Header, Malformed};

/// Which end reads, and under which rules.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) role: Role,
    pub(crate) rules: Rules,
    /// Whether the reader assembles messages, and so limits them and checks their text.
    pub(crate) messages: bool,
    /// Whether the reader wants long frames as they come, which it then unmasks itself.
    pub(crate) long_masked: bool,
    /// Whether the reader is a connection, which ends with the CLOSE frame.
    pub(crate) until_close: bool,
}

impl Scene {
    /// A scene with small limits or none: each bit decides one thing.
    pub(crate) fn from_bits(bits: u8) -> Self {
        let has = |bit: u8| bits & 1 << bit != 0;
        let mut rules = Rules::default();
        rules.allow_reserved_bits = has(1);
        rules.validate_utf8 = has(2);
        rules.max_frame_size = if has(3) { 130 } else { rules.max_frame_size };
        rules.max_message_size = if has(4) { 140 } else { rules.max_message_size };
        rules.max_fragments = if has(5) { 2 } else { rules.max_fragments };
        let role = if has(0) { Role::Client } else { Role::Server };
        Self { role, rules, messages: has(6), long_masked: has(6) && has(2), until_close: has(7) }
    }
}

/// What a stream holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reading {
    /// The whole frames before any fault.
    pub(crate) frames: Vec<Frame>,
    pub(crate) fault: Option<Fault>,
    /// Bytes on the wire of the frame at the end that is not whole, if its header is.
    pub(crate) incomplete: Option<u64>,
}

#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) header: Header,
    pub(crate) payload: Vec<u8>,
    /// Where in the stream the frame ends.
    pub(crate) end: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) code: u16,
    /// Whether the header is right and the frame whole: the fault is in the payload.
    pub(crate) in_whole_frame: bool,
}

/// A message under way.
struct Message {
    is_text: bool,
    payload: Vec<u8>,
    claimed: u64,
    fragments: u32,
}

/// Reads all that `stream` holds.
pub(crate) fn read(scene: &Scene, stream: &[u8]) -> Reading {
    let mut reading = Reading::default();
    let mut message = None;
    let mut at = 0;
    loop {
        let header = match wire::header(&stream[at..]) {
            Ok(Some(header)) => header,
            Ok(None) => return reading,
            Err(Malformed) => return reading.with_fault(1002, false),
        };
        if let Err(code) = check_header(scene, &header, &mut message) {
            return reading.with_fault(code, false);
        }
        let (payload, is_whole) = wire::payload(&header, &stream[at + header.len..]);
        if let Err(code) = check_payload(scene, &header, &payload, is_whole, message.as_mut()) {
            return reading.with_fault(code, is_whole);
        }
        if !is_whole {
            reading.incomplete = Some(header.len as u64 + header.payload_len);
            return reading;
        }
        if header.fin && !header.is_control() {
            message = None;
        }
        at += header.len + payload.len();
        let is_end = scene.until_close && header.opcode == 8;
        reading.frames.push(Frame { header, payload, end: at });
        if is_end {
            return reading;
        }
    }
}

impl Reading {
    fn with_fault(mut self, code: u16, in_whole_frame: bool) -> Self {
        self.fault = Some(Fault { code, in_whole_frame });
        self
    }
}

/// Sections 5.1, 5.2 and 5.4, then the limits. Moves `message` on.
fn check_header(scene: &Scene, header: &Header, message: &mut Option<Message>) -> Result<(), u16> {
    if header.rsv.contains(&true) && !scene.rules.allow_reserved_bits {
        return Err(1002);
    }
    if header.key.is_some() != (scene.role == Role::Server) {
        return Err(1002);
    }
    if header.is_control() {
        return Ok(());
    }
    if (header.opcode == 0) != message.is_some() {
        return Err(1002);
    }
    if header.payload_len > scene.rules.max_frame_size {
        return Err(1009);
    }
    let new = || Message { is_text: header.opcode == 1, payload: Vec::new(), claimed: 0, fragments: 0 };
    let message = message.get_or_insert_with(new);
    message.claimed += header.payload_len;
    message.fragments += 1;
    let is_too_big =
        message.claimed > scene.rules.max_message_size || message.fragments > scene.rules.max_fragments;
    if scene.messages && is_too_big { Err(1009) } else { Ok(()) }
}

/// Section 8.1 for text, section 7.4 for CLOSE.
fn check_payload(
    scene: &Scene,
    header: &Header,
    received: &[u8],
    is_whole: bool,
    message: Option<&mut Message>,
) -> Result<(), u16> {
    if header.is_control() {
        let is_judged = scene.until_close && header.opcode == 8 && is_whole;
        return if is_judged { check_close(received) } else { Ok(()) };
    }
    let Some(message) = message else { return Ok(()) };
    message.payload.extend_from_slice(received);
    let is_checked = message.is_text && (scene.messages || scene.rules.validate_utf8);
    let is_over = header.fin && is_whole;
    if is_checked && is_bad_text(&message.payload, is_over) { Err(1007) } else { Ok(()) }
}

fn check_close(payload: &[u8]) -> Result<(), u16> {
    if payload.is_empty() {
        return Ok(());
    }
    if payload.len() == 1 {
        return Err(1002);
    }
    let code = u32::from(payload[0]) * 256 + u32::from(payload[1]);
    if ![1000..=1003, 1007..=1014, 3000..=4999].iter().any(|range| range.contains(&code)) {
        return Err(1002);
    }
    if std::str::from_utf8(&payload[2..]).is_err() { Err(1007) } else { Ok(()) }
}

/// Whether nothing behind `text` could make it UTF-8, or, if it `is_over`, whether it is not.
fn is_bad_text(text: &[u8], is_over: bool) -> bool {
    match std::str::from_utf8(text) {
        Ok(_) => false,
        Err(error) => is_over || error.error_len().is_some(),
    }
}
