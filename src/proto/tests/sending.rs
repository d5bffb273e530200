//! What is sent is what a peer reads, whichever way it was sent and in whatever pieces it leaves.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Instant;

use crate::buf::{BufferPool, SendQueue, WS_HEADROOM};
use crate::mask::MaskKeys;
use crate::proto::{
    Action, Connection, Disposition, FrameHeader, Payload, Role, Rules, SendContext, SendOptions,
    StreamState, WSCloseCode, WSDisconnectCause, WSDropReason, WSMsgType, WSOverflowPolicy, WSPreparedFrame,
};

use crate::proto::model::random::Random;
use crate::proto::model::wire::{self, Header};
use crate::proto::tests::receiving::for_seeds;

const ROLES: [Role; 2] = [Role::Client, Role::Server];
const TYPES: [WSMsgType; 6] = [
    WSMsgType::Continuation,
    WSMsgType::Text,
    WSMsgType::Binary,
    WSMsgType::Close,
    WSMsgType::Ping,
    WSMsgType::Pong,
];

/// The ways to send a data frame, a PING or a PONG.
#[derive(Clone, Copy, Debug)]
enum Way {
    Borrowed,
    Owned,
    Shared,
    SharedCopied,
    PreparedShared,
    PreparedCopied,
    InPlace,
}

const WAYS: [Way; 7] = [
    Way::Borrowed,
    Way::Owned,
    Way::Shared,
    Way::SharedCopied,
    Way::PreparedShared,
    Way::PreparedCopied,
    Way::InPlace,
];

impl Way {
    /// The rules under which frames go this way.
    fn rules(self) -> Rules {
        let no_copy_threshold = match self {
            Self::SharedCopied | Self::PreparedCopied => usize::MAX,
            _ => 0,
        };
        Rules { no_copy_threshold, ..Rules::default() }
    }
}

/// A connection with what it borrows.
struct End {
    connection: Connection,
    pool: BufferPool,
    keys: MaskKeys,
}

impl End {
    fn new(role: Role, rules: Rules) -> Self {
        let connection = Connection::new(role, Arc::new(rules));
        Self { connection, pool: BufferPool::new(1 << 20), keys: MaskKeys::seeded(6455) }
    }

    fn call<R>(&mut self, call: impl FnOnce(&mut Connection, &mut SendContext<'_>) -> R) -> R {
        call(&mut self.connection, &mut SendContext { pool: &mut self.pool, keys: &mut self.keys })
    }

    fn send(
        &mut self,
        way: Way,
        msg_type: WSMsgType,
        payload: &[u8],
        options: SendOptions,
    ) -> Result<(), WSDropReason> {
        self.call(|connection, out| match way {
            Way::Borrowed => connection.send(msg_type, Payload::Borrowed(payload), options, out),
            Way::Owned => connection.send(msg_type, Payload::Owned(payload.into()), options, out),
            Way::Shared | Way::SharedCopied => {
                let shared = payload.to_vec().into();
                connection.send(msg_type, Payload::Shared(&shared), options, out)
            }
            Way::PreparedShared | Way::PreparedCopied => {
                let frame = WSPreparedFrame::with_options(msg_type, payload, options);
                connection.send(WSMsgType::Text, Payload::Prepared(&frame), SendOptions::default(), out)
            }
            Way::InPlace => {
                let mut frame = [&[0xEE; 20], payload].concat();
                let sent = connection.send(msg_type, Payload::InPlace(&mut frame, 20), options, out);
                assert!(
                    frame[..20 - WS_HEADROOM].iter().all(|&byte| byte == 0xEE),
                    "wrote beyond the headroom"
                );
                sent
            }
        })
    }

    fn ping(&mut self, payload: &[u8]) -> Disposition {
        self.call(|connection, out| {
            connection.handle_control(WSMsgType::Ping, payload, out).expect("a good ping")
        })
    }

    /// Whether the connection ends because of an overflow.
    fn overflows(&mut self) -> bool {
        let action = self.connection.poll_action(Instant::now(), StreamState::default());
        matches!(action, Some(Action::Disconnected(end)) if end.cause == WSDisconnectCause::Overflow)
    }

    /// Everything that is queued, which leaves in pieces of at most `step` bytes.
    fn take(&mut self, step: usize) -> Vec<u8> {
        let mut left = Vec::new();
        while self.connection.queued() > 0 {
            let mut slices = [IoSlice::new(&[])];
            self.connection.io_slices(&mut slices);
            let n = step.min(slices[0].len());
            left.extend_from_slice(&slices[0][..n]);
            self.call(|connection, out| connection.consume(n, out));
        }
        left
    }
}

/// The frames in `wire`, each with its unmasked payload.
fn frames(mut wire: &[u8]) -> Vec<(Header, Vec<u8>)> {
    let mut frames = Vec::new();
    while !wire.is_empty() {
        let header = wire::header(wire).expect("a right header").expect("a whole header");
        let (payload, is_whole) = wire::payload(&header, &wire[header.len..]);
        assert!(is_whole, "a torn frame: {header:?}");
        wire = &wire[header.len + payload.len()..];
        frames.push((header, payload));
    }
    frames
}

fn options(bits: usize) -> SendOptions {
    SendOptions { fin: bits & 1 == 0, rsv1: bits & 2 != 0, rsv2: bits & 4 != 0, rsv3: bits & 8 != 0 }
}

fn expected_header(
    role: Role,
    msg_type: WSMsgType,
    options: SendOptions,
    key: [u8; 4],
    len: usize,
) -> Header {
    let length =
        [(125, 0), (65_535, 2), (usize::MAX, 8)].iter().find(|(most, _)| len <= *most).map_or(0, |(_, n)| *n);
    let key = (role == Role::Client).then_some(key);
    Header {
        fin: options.fin,
        rsv: [options.rsv1, options.rsv2, options.rsv3],
        opcode: msg_type.opcode(),
        key,
        payload_len: len as u64,
        len: 2 + length + if key.is_some() { 4 } else { 0 },
    }
}

#[test]
fn headers_of_all_lengths_around_the_boundaries() {
    let lengths = (0..300).chain(65_400..65_700).chain([(1 << 32) - 1, 1 << 32, i64::MAX as usize]);
    for len in lengths {
        for (msg_type, bits) in TYPES.iter().flat_map(|&msg_type| (0..16).map(move |bits| (msg_type, bits))) {
            if msg_type.is_control() && (bits & 1 != 0 || len > 125) {
                continue;
            }
            for role in ROLES {
                let expected = expected_header(role, msg_type, options(bits), [7, 6, 5, 4], len);
                let header = FrameHeader::new(msg_type, options(bits), expected.key, len);
                let encoded = header.encode();
                assert_eq!(wire::header(&encoded).expect("a right header"), Some(expected));
                assert_eq!(FrameHeader::parse(&encoded), Ok(Some(header)));
            }
        }
    }
}

#[test]
fn every_way_to_send_every_frame() {
    let lengths = [0, 1, 3, 8, 64, 65, 124, 125, 126, 127, 4_000, 65_535, 65_536, 65_537, 300_000];
    let mut random = Random::new(1);
    for (role, way) in ROLES.iter().flat_map(|&role| WAYS.map(|way| (role, way))) {
        let mut end = End::new(role, way.rules());
        let mut keys = MaskKeys::seeded(6455);
        for (len, msg_type) in lengths.iter().flat_map(|&len| TYPES.map(|msg_type| (len, msg_type))) {
            let payload = random.bytes(len);
            for bits in 0..if len > 65_000 { 1 } else { 16 } {
                let options = options(bits);
                let result = end.send(way, msg_type, &payload, options);
                if msg_type == WSMsgType::Close {
                    assert_eq!(result, Err(WSDropReason::IsClose));
                } else if msg_type.is_control() && (len > 125 || !options.fin) {
                    assert_eq!(result, Err(WSDropReason::InvalidControl));
                } else {
                    assert_eq!(result, Ok(()));
                    let expected = expected_header(role, msg_type, options, keys_next(&mut keys, role), len);
                    let step = 1 + random.below(len + 20);
                    assert!(
                        frames(&end.take(step)) == [(expected, payload.clone())],
                        "{role:?} {way:?} {len} {bits}"
                    );
                }
            }
        }
    }
}

/// Each frame of a client has a key of its own; a server uses none.
fn keys_next(keys: &mut MaskKeys, role: Role) -> [u8; 4] {
    if role == Role::Client { keys.next_key() } else { [0; 4] }
}

#[test]
fn pings_are_answered_and_close_frames_carry_code_and_reason() {
    for role in ROLES {
        let mut end = End::new(role, Rules::default());
        for len in [0, 1, 124, 125] {
            let payload = Random::new(len as u64).bytes(len);
            assert_eq!(end.ping(&payload), Disposition::Consumed);
            let [(header, pong)] = &frames(&end.take(3))[..] else { panic!("one pong is due") };
            assert_eq!((header.opcode, pong), (10, &payload));
        }
        let reason = "ä".repeat(100);
        assert!(end.call(|connection, out| connection.send_close(
            WSCloseCode(4000),
            &reason,
            Instant::now(),
            out
        )));
        let [(header, payload)] = &frames(&end.take(7))[..] else { panic!("one CLOSE is due") };
        assert_eq!(
            (header.opcode, &payload[..2], &payload[2..]),
            (8, &[15, 160][..], "ä".repeat(61).as_bytes())
        );
        assert_eq!(end.ping(b"late"), Disposition::Consumed);
        assert_eq!(end.take(9), b"", "nothing follows CLOSE");
    }
}

#[test]
fn pings_are_the_listeners_if_they_are_not_answered() {
    let rules = Rules { enable_auto_pong: false, ..Rules::default() };
    let mut end = End::new(Role::Server, rules);
    assert_eq!(end.ping(b"for the listener"), Disposition::Deliver);
    assert_eq!(end.connection.queued(), 0);
}

#[test]
fn of_several_pings_without_room_the_newest_is_answered() {
    let rules = Rules { max_outbound: 100, ..Rules::default() };
    let mut end = End::new(Role::Server, rules);
    end.send(Way::Borrowed, WSMsgType::Binary, &[0; 97], SendOptions::default()).expect("99 bytes fit");
    for ping in [&b"first"[..], b"second", b"third"] {
        end.ping(ping);
    }
    assert_eq!(end.connection.queued(), 99);
    let pongs: Vec<_> = frames(&end.take(50)).into_iter().skip(1).map(|(_, payload)| payload).collect();
    assert_eq!(pongs, [b"third"]);

    end.send(Way::Borrowed, WSMsgType::Binary, &[0; 94], SendOptions::default()).expect("96 bytes fit");
    for ping in [&b"too long"[..], b"ok"] {
        end.ping(ping);
    }
    let pongs: Vec<_> = frames(&end.take(50)).into_iter().skip(1).map(|(_, payload)| payload).collect();
    assert_eq!(pongs, [b"ok"], "the pong of an older ping must not follow");
}

#[test]
fn the_outbound_limit_is_strict() {
    for (role, len) in ROLES.iter().flat_map(|&role| [10, 125, 126, 65_535, 65_536].map(|len| (role, len))) {
        let frame = expected_header(role, WSMsgType::Binary, SendOptions::default(), [0; 4], len).len + len;
        for (way, before) in WAYS.iter().flat_map(|&way| [0, 1, 500].map(|before| (way, before))) {
            for short in [0, 1] {
                let mut rules = way.rules();
                rules.max_outbound = before + frame - short;
                rules.overflow_policy = WSOverflowPolicy::DropNew;
                let mut end = End::new(role, rules);
                end.call(|connection, out| connection.enqueue_raw(&vec![0; before], out.pool));
                assert_eq!(end.connection.has_room(len), short == 0);
                let result = end.send(way, WSMsgType::Binary, &vec![1; len], SendOptions::default());
                let (expected, dropped) = if short == 0 {
                    (Ok(()), (0, 0))
                } else {
                    (Err(WSDropReason::Overflow), (1, len as u64))
                };
                assert_eq!(result, expected, "{role:?} {way:?} {len} behind {before}, {short} too few");
                assert_eq!(end.connection.dropped(), dropped);
                assert_eq!(end.connection.queued(), if short == 0 { before + frame } else { before });
                assert!(!end.overflows());
            }
        }
    }
}

#[test]
fn what_an_overflow_does() {
    let more = SendOptions::MORE_FRAGMENTS;
    let whole = SendOptions::default();
    let cases = [
        (WSOverflowPolicy::DropNew, WSMsgType::Binary, whole, false),
        (WSOverflowPolicy::DropNew, WSMsgType::Binary, more, true),
        (WSOverflowPolicy::DropNew, WSMsgType::Continuation, more, true),
        (WSOverflowPolicy::DropNew, WSMsgType::Continuation, whole, true),
        (WSOverflowPolicy::DropNew, WSMsgType::Ping, whole, false),
        (WSOverflowPolicy::Close, WSMsgType::Binary, whole, true),
        (WSOverflowPolicy::Close, WSMsgType::Ping, whole, true),
    ];
    for (policy, msg_type, options, is_overflowed) in cases {
        let rules = Rules { max_outbound: 50, overflow_policy: policy, ..Rules::default() };
        let mut end = End::new(Role::Server, rules);
        // Control frames have a reserve; it ends somewhere.
        let outcomes: Vec<_> =
            (0..100).map(|_| end.send(Way::Borrowed, msg_type, &[0; 100], options)).collect();
        assert_eq!(outcomes.last(), Some(&Err(WSDropReason::Overflow)));
        assert_eq!(outcomes.contains(&Ok(())), msg_type.is_control());
        let close =
            end.call(|connection, out| connection.send_close(WSCloseCode::OK, "", Instant::now(), out));
        assert!(close, "the limit never stands against CLOSE");
        assert_eq!(end.overflows(), is_overflowed, "{policy:?} {msg_type:?} {options:?}");
    }
}

#[test]
fn a_queue_is_the_concatenation_of_what_was_queued() {
    for_seeds(0..60, |seed| {
        let mut random = Random::new(seed);
        let (mut queue, mut pool) = (SendQueue::default(), BufferPool::new(1 << 16));
        let (mut queued, mut left) = (Vec::new(), Vec::new());
        for _ in 0..random.below(200) {
            let len = random.pick(&[0, 1, 5, 5, 5, 100, 100, 3_000, 3_000, 100_000]);
            let bytes = random.bytes(len);
            match random.below(8) {
                0 | 1 => {
                    let spare = random.below(3);
                    let bytes = [&bytes[..], b"!"].concat();
                    queue.append(bytes.len() + spare, &mut pool, |buffer| buffer.extend_from_slice(&bytes));
                    queued.extend_from_slice(&bytes);
                }
                2 => {
                    let start = random.below(bytes.len() + 1);
                    queued.extend_from_slice(&bytes[start..]);
                    queue.push_owned(bytes, start);
                }
                3 => {
                    queued.extend_from_slice(&bytes);
                    queue.push_shared(bytes.into());
                }
                _ => leave(&mut random, &mut queue, &mut pool, &mut left),
            }
            assert_eq!(queue.len(), queued.len() - left.len());
            assert_eq!(queue.first().is_empty(), queue.is_empty());
            assert!(queued[left.len()..].starts_with(queue.first()));
        }
        while !queue.is_empty() {
            leave(&mut random, &mut queue, &mut pool, &mut left);
        }
        assert!(left == queued, "bytes were lost, or changed places");
        assert_eq!(queue.chunk_count(), 0);
    });
}

/// Lets some of what up to four slices show leave.
fn leave(random: &mut Random, queue: &mut SendQueue, pool: &mut BufferPool, left: &mut Vec<u8>) {
    let mut slices = [IoSlice::new(&[]); 4];
    let count = queue.io_slices(&mut slices[..=random.below(4)]);
    let mut shown = Vec::new();
    slices[..count].iter().for_each(|slice| shown.extend_from_slice(slice));
    let n = if random.one_in(3) { shown.len() } else { random.below(shown.len() + 1) };
    left.extend_from_slice(&shown[..n]);
    queue.consume(n, pool);
}
