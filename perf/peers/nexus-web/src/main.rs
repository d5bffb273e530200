//! Parsing alone: nexus-web beside femtows, from the same masked frames to delivered payloads.
//!
//! nexus-web is protocol without sockets, so that it cannot be an echo server of the comparison without an event
//! loop of our making. Both parsers here get the same 64 KiB of whole binary frames copied into their own buffer, as a
//! `recv` would, and hand out every unmasked payload, of which length and first byte are looked at.
//!
//! Prints nanoseconds per frame: median and range over the rounds, which alternate between the two.

use std::hint::black_box;
use std::time::Instant;

use femtows::proto::{FrameHeader, Receiver, Role, Rules, SendOptions, WSMsgType};
use nexus_web::ws::{FrameReader, Message};

const BUFFER: usize = 64 << 10;
const ROUNDS: usize = 15;
/// Buffers parsed per round.
const REPEATS: usize = 2000;

fn main() {
    println!("{:>8}  {:>24}  {:>24}", "payload", "femtows ns/frame", "nexus-web ns/frame");
    for size in [20, 128, 512, 16 << 10] {
        let frame = masked_frame(size);
        let frames = BUFFER / frame.len();
        let wire = frame.repeat(frames);
        let (mut ours, mut theirs) = (Femtows::new(), Nexus::new());
        assert_eq!(ours.parse(&wire), (frames, frames * size));
        assert_eq!(theirs.parse(&wire), (frames, frames * size));
        let mut times = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            times.0.push(nanoseconds(frames, || ours.parse(black_box(&wire))));
            times.1.push(nanoseconds(frames, || theirs.parse(black_box(&wire))));
        }
        println!("{size:>8}  {:>24}  {:>24}", summary(&mut times.0), summary(&mut times.1));
    }
}

/// Time per frame of one round.
fn nanoseconds(frames: usize, mut parse: impl FnMut() -> (usize, usize)) -> f64 {
    let start = Instant::now();
    for _ in 0..REPEATS {
        black_box(parse());
    }
    start.elapsed().as_nanos() as f64 / (REPEATS * frames) as f64
}

fn summary(times: &mut [f64]) -> String {
    times.sort_unstable_by(f64::total_cmp);
    let last = times.len() - 1;
    format!("{:.1} ({:.1}..{:.1})", times[last / 2], times[0], times[last])
}

fn masked_frame(size: usize) -> Vec<u8> {
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame =
        FrameHeader::new(WSMsgType::Binary, SendOptions::default(), Some(key), size).encode().to_vec();
    frame.extend((0..size).map(|index| index as u8 ^ key[index % 4]));
    frame
}

struct Femtows {
    receiver: Receiver,
    rules: Rules,
    buffer: Vec<u8>,
}

impl Femtows {
    fn new() -> Self {
        let rules = Rules::default();
        Self { receiver: Receiver::new(Role::Server, &rules), rules, buffer: vec![0; BUFFER] }
    }

    /// Frames and payload bytes in `wire`.
    fn parse(&mut self, wire: &[u8]) -> (usize, usize) {
        let mut rest = &mut self.buffer[..wire.len()];
        rest.copy_from_slice(wire);
        let (mut frames, mut bytes) = (0, 0);
        while let Some(head) = self.receiver.poll(rest, &self.rules).expect("valid frames") {
            let (frame, tail) = rest.split_at_mut(head.wire_len());
            let payload = &frame[head.header.header_len()..];
            black_box(payload[0]);
            frames += 1;
            bytes += payload.len();
            rest = tail;
        }
        (frames, bytes)
    }
}

struct Nexus(FrameReader);

impl Nexus {
    fn new() -> Self {
        let role = nexus_web::ws::Role::Server;
        Self(FrameReader::builder().role(role).buffer_capacity(2 * BUFFER).build())
    }

    /// Frames and payload bytes in `wire`.
    fn parse(&mut self, wire: &[u8]) -> (usize, usize) {
        self.0.read(wire).expect("room for the frames");
        let (mut frames, mut bytes) = (0, 0);
        while let Some(message) = self.0.next().expect("valid frames") {
            let Message::Binary(payload) = message else { unreachable!("only binary frames are sent") };
            black_box(payload[0]);
            frames += 1;
            bytes += payload.len();
        }
        (frames, bytes)
    }
}
