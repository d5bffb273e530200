//! The output for a message is a function of the message and of the history of its own connection.
//!
//! Observers learn the length of a compressed message, so it must not depend on the data of other
//! connections that used the same compressor or the same buffer.

use std::time::Duration;

use femtows::deflate::internal::{DeflateDirection, DeflateSettings, Deflater, Inflater, ScratchBuffer};
use femtows::testkit::{Peer, Random, TestKit};
use femtows::{
    WSConnectConfig, WSDeflateConfig, WSLimits, WSMessageOptions, WSMsgType, WSOverflowPolicy,
    WSPreparedMessage, WSServerConfig, WSTransport,
};

use crate::ends::{DataFrame, Frames, reading_the_wire};
use crate::support::wire::Frame;

/// Makes a message: a record of a feed with some bytes of its own, or anything.
///
/// Records of different connections have most sequences of four bytes at the same places: there a
/// stale place meets the bytes that it was noted for.
fn message(random: &mut Random) -> Vec<u8> {
    if random.chance(60) {
        return record(random);
    }
    let len = match random.below(20) {
        0..8 => 1 + random.below(60),
        8..17 => 1 + random.below(600),
        17..19 => random.below(6_000),
        _ => random.below(70_000),
    };
    let letters = random.pick(&[1, 2, 8, 256]);
    (0..len).map(|_| b'a'.wrapping_add(random.below(letters) as u8)).collect()
}

/// Makes one of three forms with repeated parts, changes a few bytes and cuts off the end.
fn record(random: &mut Random) -> Vec<u8> {
    let mut form = Random::new(random.below(3) as u64);
    let mut record: Vec<u8> = (0..40).map(|_| b'a' + form.below(20) as u8).collect();
    while record.len() < 600 {
        let from = form.below(record.len() - 12);
        record.extend_from_within(from..from + 5 + form.below(7));
        record.push(b'0' + form.below(10) as u8);
    }
    for _ in 0..random.below(20) {
        let place = random.below(record.len());
        record[place] = b'0' + random.below(10) as u8;
    }
    record.truncate(1 + random.below(2 * record.len()));
    record
}

fn deflated(deflater: &mut Deflater, message: &[u8], out: &mut ScratchBuffer) -> Vec<u8> {
    out.begin(0);
    assert!(deflater.deflate(message, out));
    out.filled().to_vec()
}

/// One compressor changes hands. It also writes to a buffer that others used.
#[test]
fn a_compressor_that_forgot_compresses_as_a_new_one() {
    let mut random = Random::new(71);
    for level in 1..=9 {
        for context_takeover in [false, true] {
            for (window_bits, memory_level) in [(9, 1), (12, 5), (15, 8), (15, 9)] {
                let direction = DeflateDirection { context_takeover, window_bits };
                let settings = DeflateSettings { level, memory_level };
                let mut used = Deflater::new(direction, settings);
                let mut used_out = ScratchBuffer::default();
                let owners = if level == 1 { 120 } else { 12 };
                for owner in 0..owners {
                    // Foreign messages of random lengths.
                    for _ in 0..random.below(4) {
                        deflated(&mut used, &message(&mut random), &mut used_out);
                    }
                    used.forget();
                    let mut fresh = Deflater::new(direction, settings);
                    for nth in 0..=random.below(4) {
                        let message = message(&mut random);
                        let expected = deflated(&mut fresh, &message, &mut ScratchBuffer::default());
                        let got = deflated(&mut used, &message, &mut used_out);
                        assert!(
                            got == expected,
                            "{direction:?} {settings:?} owner {owner} message {nth}: {} bytes in, {} bytes out \
                             instead of {}",
                            message.len(),
                            got.len(),
                            expected.len()
                        );
                    }
                }
            }
        }
    }
}

/// The text slides at other places if the compressor was used before the history began.
#[test]
fn the_output_does_not_depend_on_where_the_text_slides() {
    let mut random = Random::new(72);
    for window_bits in [9, 12, 15] {
        let direction = DeflateDirection { context_takeover: true, window_bits };
        let settings = DeflateSettings { level: 1, memory_level: 6 };
        let history: Vec<_> = (0..60).map(|_| message(&mut random)).collect();
        let mut fresh = Deflater::new(direction, settings);
        let mut out = ScratchBuffer::default();
        let expected: Vec<_> =
            history.iter().map(|message| deflated(&mut fresh, message, &mut out)).collect();
        for round in 0..40 {
            let mut used = Deflater::new(direction, settings);
            for _ in 0..random.below(40) {
                deflated(&mut used, &message(&mut random), &mut out);
            }
            let foreign = message(&mut random);
            deflated(&mut used, &foreign[..=random.below(foreign.len())], &mut out);
            used.forget();
            for (nth, message) in history.iter().enumerate() {
                let got = deflated(&mut used, message, &mut out);
                assert!(got == expected[nth], "window {window_bits}, round {round}, message {nth}");
            }
        }
    }
}

/// zlib notes the last positions of a message by hashes of the bytes there and behind its end.
/// Those are in its window from before. Here the other connection had sent, or had not, the bytes
/// that make such a hash equal to that of a sequence to be found later.
#[test]
fn the_output_does_not_depend_on_old_bytes_behind_the_end_of_a_message() {
    let first = b"0123456789 DEFxklmnopqrstuv ABCDEFx ------ ABCDEFx";
    let second = b"#+#+ xklmnopqrstuv +#+# EFxklmnopqrstuv #+#+";
    for level in 1..=9 {
        let direction = DeflateDirection { context_takeover: true, window_bits: 15 };
        let settings = DeflateSettings { level, memory_level: 8 };
        let outputs = [b"klmnop", b"......"].map(|behind_the_end| {
            let foreign = [&[b'.'; 100][..first.len()], behind_the_end, b"...."].concat();
            let mut deflater = Deflater::new(direction, settings);
            let mut out = ScratchBuffer::default();
            deflated(&mut deflater, &foreign, &mut out);
            deflater.forget();
            [&first[..], second].map(|message| deflated(&mut deflater, message, &mut out))
        });
        assert_eq!(outputs[0], outputs[1], "level {level}");
    }
}

/// The room that a buffer has comes from the messages of other connections.
#[test]
fn the_output_does_not_depend_on_the_room_of_the_buffer() {
    let mut random = Random::new(73);
    for level in 1..=9 {
        let direction = DeflateDirection { context_takeover: false, window_bits: 15 };
        let settings = DeflateSettings { level, memory_level: 8 };
        let mut deflater = Deflater::new(direction, settings);
        let message: Vec<u8> = (0..900).map(|_| random.below(180) as u8).collect();
        let expected = deflated(&mut deflater, &message, &mut ScratchBuffer::default());
        for earlier in 1..2_000 {
            let mut out = ScratchBuffer::default();
            out.extend_from_slice(&vec![0; earlier]);
            let got = deflated(&mut deflater, &message, &mut out);
            assert!(
                got == expected,
                "level {level}, a buffer of {earlier}: {} for {}",
                got.len(),
                expected.len()
            );
        }
    }
}

/// Bytes from 144 on are the worst case: they take nine bits each in the fixed code.
#[test]
fn noise_is_compressed_in_one_call_at_every_level() {
    let mut random = Random::new(75);
    let noise: Vec<u8> = (0..200_000).map(|_| 144 + random.below(112) as u8).collect();
    for level in 1..=9 {
        for memory_level in 1..=9 {
            for window_bits in [9, 15] {
                let direction = DeflateDirection { context_takeover: true, window_bits };
                let mut deflater = Deflater::new(direction, DeflateSettings { level, memory_level });
                for len in [1, 50, 3_000, noise.len()] {
                    let context =
                        format!("{direction:?} level {level}, memory level {memory_level}, {len} bytes");
                    assert!(deflater.deflate(&noise[..len], &mut ScratchBuffer::default()), "{context}");
                }
            }
        }
    }
}

/// Messages of all connections are inflated into the same few buffers.
#[test]
fn an_inflated_message_does_not_depend_on_what_the_buffer_held() {
    let mut random = Random::new(76);
    let direction = DeflateDirection { context_takeover: false, window_bits: 15 };
    let mut used = ScratchBuffer::default();
    let (mut errors, mut inflated) = (0, 0);
    for round in 0..3_000 {
        let settings = DeflateSettings { level: random.pick(&[1, 6]), memory_level: 8 };
        let message = message(&mut random);
        let mut deflater = Deflater::new(direction, settings);
        let mut payload = deflated(&mut deflater, &message, &mut ScratchBuffer::default());
        for _ in 0..random.below(3) {
            let place = random.below(payload.len());
            payload[place] ^= 1 << random.below(8);
        }
        let limit = random.pick(&[message.len() / 2, message.len(), 100_000]);
        let mut fresh = ScratchBuffer::default();
        let expected = Inflater::new(direction).inflate(&payload, &mut fresh, limit);
        let got = Inflater::new(direction).inflate(&payload, &mut used, limit);
        assert_eq!(got, expected, "round {round}");
        if got.is_ok() {
            assert!(used.filled() == fresh.filled(), "round {round}");
            inflated += 1;
        } else {
            errors += 1;
        }
    }
    assert!(errors > 500 && inflated > 500, "{errors} errors, {inflated} messages");
}

// --- connections of one loop ---

/// An event at the connection under observation or at another one.
#[derive(Debug)]
enum Action {
    Send {
        is_server: bool,
        message: Vec<u8>,
        compress: Option<bool>,
    },
    /// Sends more than may be queued: it is compressed, then dropped.
    Overflow {
        is_server: bool,
        message: Vec<u8>,
    },
    Prepared {
        is_server: bool,
        message: Vec<u8>,
    },
    Wait(Duration),
}

fn action(random: &mut Random) -> Action {
    let is_server = random.chance(50);
    match random.below(12) {
        0 => Action::Wait(Duration::from_millis(random.below(12_000) as u64)),
        1 => Action::Prepared { is_server, message: message(random) },
        2 => {
            let noise = (0..80_000).map(|_| random.next_u64() as u8).collect();
            Action::Overflow { is_server, message: noise }
        }
        _ => {
            let compress = random.pick(&[None, Some(true), Some(true), Some(false)]);
            Action::Send { is_server, message: message(random), compress }
        }
    }
}

fn perform(kit: &mut TestKit, watched: &Watched, action: &Action) {
    let end = |is_server| if is_server { &watched.server } else { &watched.client };
    match action {
        Action::Send { is_server, message, compress } => {
            let options = WSMessageOptions { compress: *compress };
            end(*is_server).send_with(WSMsgType::Binary, message, options);
        }
        Action::Overflow { is_server, message } => {
            let status = end(*is_server).send(WSMsgType::Binary, message);
            assert!(!status.is_accepted(), "{status:?}");
        }
        Action::Prepared { is_server, message } => {
            let prepared = WSPreparedMessage::new(WSMsgType::Binary, message);
            end(*is_server).send_prepared(&prepared);
        }
        Action::Wait(time) => kit.advance(*time),
    }
    kit.run_until_idle();
}

/// The server of one connection and the client of another, and their peers, which get the frames as
/// they are on the wire.
struct Watched {
    server: WSTransport,
    client: WSTransport,
    at_client: Frames,
    at_server: Peer,
}

impl Watched {
    fn disconnect(&self) {
        self.server.abort();
        self.client.abort();
    }

    /// Returns the frames that each peer has received.
    fn frames(mut self) -> [Vec<DataFrame>; 2] {
        let (mut at_server, bytes) = (Vec::new(), self.at_server.read());
        let mut rest = &bytes[..];
        while let Some((frame, wire_len)) = Frame::decode(rest, true) {
            at_server.push((frame.rsv & 4 != 0, frame.payload));
            rest = &rest[wire_len..];
        }
        [at_server, self.at_client.take()]
    }
}

fn open(kit: &mut TestKit, deflate: &WSDeflateConfig) -> Watched {
    let at_client = Frames::default();
    let limits = WSLimits::default().max_outbound(79_000).overflow_policy(WSOverflowPolicy::DropNew);
    let server = WSServerConfig::default().deflate(deflate.clone()).limits(limits.clone());
    let client = WSConnectConfig::default().deflate(deflate.clone()).limits(limits);
    let wire = reading_the_wire(deflate);
    let pair =
        kit.pair(|_: &_| Frames::default(), at_client.clone(), server.clone(), wire).expect("a connection");
    let (mut at_server, connecting) = kit.raw_client(Frames::default(), client);
    kit.run_until_idle();
    // A server answers to the offer; its connection is not used.
    let mut offering = kit.raw_server(|_: &_| Frames::default(), server);
    offering.write(&at_server.read());
    kit.run_until_idle();
    at_server.write(&offering.read());
    let client = kit.block_on(connecting).expect("a connection");
    Watched { server: pair.server, client, at_client, at_server }
}

/// Returns the frames that a client and a server receive if `actions` happen on a loop with `others`
/// other connections, which come and go.
fn received(deflate: &WSDeflateConfig, actions: &[Action], others: usize, seed: u64) -> [Vec<DataFrame>; 2] {
    let mut random = Random::new(seed);
    let mut kit = TestKit::new(seed);
    let mut foreign: Vec<_> = (0..others).map(|_| open(&mut kit, deflate)).collect();
    let mut disturb = |kit: &mut TestKit| {
        for _ in 0..if others == 0 { 0 } else { random.below(4) } {
            let which = random.below(others);
            if random.chance(15) {
                // Its compressors go back to the loop.
                foreign[which].disconnect();
                kit.run_until_idle();
                foreign[which] = open(kit, deflate);
            }
            let action = loop {
                // Only the connection under observation moves the clock.
                match action(&mut random) {
                    Action::Wait(_) => {}
                    action => break action,
                }
            };
            perform(kit, &foreign[which], &action);
        }
    };
    disturb(&mut kit);
    let watched = open(&mut kit, deflate);
    for action in actions {
        disturb(&mut kit);
        perform(&mut kit, &watched, action);
    }
    watched.frames()
}

#[test]
fn the_frames_of_a_connection_do_not_depend_on_the_others_of_its_loop() {
    let mut random = Random::new(74);
    for level in 1..=9 {
        for takeover in [false, true] {
            for bits in [9, 12, 15] {
                let rounds = if level == 1 { 6 } else { 1 };
                for round in 0..rounds {
                    let deflate = WSDeflateConfig::default()
                        .threshold(16)
                        .context_takeover(takeover)
                        .max_window_bits(bits)
                        .level(level);
                    let actions: Vec<_> = (0..30).map(|_| action(&mut random)).collect();
                    let seed = random.next_u64();
                    let alone = received(&deflate, &actions, 0, seed);
                    let among_others = received(&deflate, &actions, 3, seed);
                    assert!(alone.iter().all(|frames| frames.iter().any(|(rsv1, _)| *rsv1)));
                    for (end, (alone, among_others)) in alone.iter().zip(&among_others).enumerate() {
                        let differing = alone.iter().zip(among_others).position(|(a, b)| a != b);
                        assert_eq!(differing, None, "end {end}, round {round}, {deflate:?}");
                        assert_eq!(alone.len(), among_others.len(), "end {end}, round {round}, {deflate:?}");
                    }
                }
            }
        }
    }
}
