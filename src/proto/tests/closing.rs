//! The end of a connection: who closes first, who answers, what goes wrong.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::buf::BufferPool;
use crate::mask::MaskKeys;
use crate::proto::{
    Connection, Disposition, Role, Rules, SendContext, WSClose, WSCloseHandshake, WSDisconnectCause,
    WSMsgType, WSProtocolError,
};

use Event::{Answer, Fail, Leave, PeerCloses, WeClose};

/// What happens to a connection, one second after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    WeClose,
    PeerCloses,
    /// The automatic answer to the peer's CLOSE.
    Answer,
    Fail,
    Leave,
}

/// How it is afterwards.
struct Expected {
    /// The codes received and sent, and whether the received one was first.
    codes: (Option<u16>, Option<u16>, bool),
    /// CLOSE frames were exchanged, and nothing else has ended the connection.
    clean: bool,
    receiving: bool,
    /// Whether a client, and whether a server, closes TCP once all is flushed.
    finished: (bool, bool),
    /// The event that set the deadline.
    deadline_from: Option<usize>,
}

/// Codes: 4001 we close, 4002 the peer closes, 1002 we fail.
const fn row(
    events: &'static [Event],
    codes: (Option<u16>, Option<u16>, bool),
    [clean, receiving]: [bool; 2],
    finished: (bool, bool),
    deadline_from: Option<usize>,
) -> (&'static [Event], Expected) {
    (events, Expected { codes, clean, receiving, finished, deadline_from })
}

const CLEAN: [bool; 2] = [true, false];
const OPEN: [bool; 2] = [false, true];
const DEAF: [bool; 2] = [false, false];
const NEITHER: (bool, bool) = (false, false);
const SERVER: (bool, bool) = (false, true);
const BOTH: (bool, bool) = (true, true);
const US: Option<u16> = Some(4001);
const PEER: Option<u16> = Some(4002);
const FAULT: Option<u16> = Some(1002);

static TABLE: &[(&[Event], Expected)] = &[
    row(&[], (None, None, false), OPEN, NEITHER, None),
    // We close first.
    row(&[WeClose], (None, US, false), OPEN, NEITHER, Some(0)),
    row(&[WeClose, WeClose], (None, US, false), OPEN, NEITHER, Some(0)),
    row(&[WeClose, Answer], (None, US, false), OPEN, NEITHER, Some(0)),
    row(&[WeClose, PeerCloses], (PEER, US, false), CLEAN, SERVER, Some(0)),
    row(&[WeClose, PeerCloses, Answer], (PEER, US, false), CLEAN, SERVER, Some(0)),
    row(&[WeClose, PeerCloses, Leave], (PEER, US, false), CLEAN, BOTH, Some(0)),
    row(&[WeClose, PeerCloses, Fail], (PEER, US, false), DEAF, BOTH, Some(0)),
    row(&[WeClose, Fail], (None, US, false), DEAF, BOTH, Some(0)),
    row(&[WeClose, Leave], (None, US, false), DEAF, BOTH, Some(0)),
    // The peer closes first.
    row(&[PeerCloses], (PEER, None, true), DEAF, NEITHER, None),
    row(&[PeerCloses, Answer], (PEER, PEER, true), CLEAN, SERVER, Some(1)),
    row(&[PeerCloses, Answer, Answer], (PEER, PEER, true), CLEAN, SERVER, Some(1)),
    row(&[PeerCloses, WeClose], (PEER, US, true), CLEAN, SERVER, Some(1)),
    row(&[PeerCloses, WeClose, Answer], (PEER, US, true), CLEAN, SERVER, Some(1)),
    row(&[PeerCloses, WeClose, Leave], (PEER, US, true), CLEAN, BOTH, Some(1)),
    row(&[PeerCloses, Answer, Fail], (PEER, PEER, true), DEAF, BOTH, Some(1)),
    row(&[PeerCloses, Fail], (PEER, FAULT, true), DEAF, BOTH, Some(1)),
    row(&[PeerCloses, Leave], (PEER, None, true), DEAF, BOTH, Some(1)),
    row(&[PeerCloses, Leave, Answer], (PEER, None, true), DEAF, BOTH, Some(1)),
    // A fault or a disconnect comes first.
    row(&[Fail], (None, FAULT, false), DEAF, BOTH, Some(0)),
    row(&[Fail, Fail], (None, FAULT, false), DEAF, BOTH, Some(0)),
    row(&[Fail, WeClose], (None, FAULT, false), DEAF, BOTH, Some(0)),
    row(&[Fail, Leave], (None, FAULT, false), DEAF, BOTH, Some(0)),
    row(&[Leave], (None, None, false), DEAF, BOTH, Some(0)),
    row(&[Leave, Leave], (None, None, false), DEAF, BOTH, Some(0)),
    row(&[Leave, WeClose], (None, None, false), DEAF, BOTH, Some(0)),
    row(&[Leave, Fail], (None, None, false), DEAF, BOTH, Some(0)),
];

#[test]
fn every_order_of_events_ends_as_the_table_says() {
    for (events, expected) in TABLE {
        for role in [Role::Client, Role::Server] {
            check(role, events, expected);
        }
    }
}

fn check(role: Role, events: &[Event], expected: &Expected) {
    let rules = Rules { close_timeout: Duration::from_secs(60), ..Rules::default() };
    let mut connection = Connection::new(role, Arc::new(rules));
    let start = Instant::now();
    for (&event, second) in events.iter().zip(0..) {
        apply(&mut connection, event, start + Duration::from_secs(second));
    }
    let context = format!("{role:?} after {events:?}");
    let (recv, sent, recv_then_sent) = expected.codes;
    let half =
        |code: Option<u16>| code.map(|code| WSClose { code: code.into(), reason: reason(code).into() });
    let handshake = WSCloseHandshake { recv: half(recv), sent: half(sent), recv_then_sent };
    let handshake = (recv.is_some() || sent.is_some()).then_some(handshake);
    assert_eq!(connection.close_handshake(), handshake.as_ref(), "{context}");
    assert_eq!(connection.is_closed_cleanly(), expected.clean, "{context}");
    assert_eq!(connection.is_receiving(), expected.receiving, "{context}");
    let finished = if role == Role::Client { expected.finished.0 } else { expected.finished.1 };
    assert_eq!(connection.is_finished(), finished, "{context}");
    let deadline = expected.deadline_from.map(|event| start + Duration::from_secs(60 + event as u64));
    assert_eq!(connection.deadline(), deadline, "{context}");
}

fn apply(connection: &mut Connection, event: Event, now: Instant) {
    let mut out = SendContext { pool: &mut BufferPool::new(0), keys: &mut MaskKeys::seeded(1) };
    match event {
        WeClose => drop(connection.send_close(4001.into(), reason(4001), now, &mut out)),
        PeerCloses => {
            let payload = [&[15, 162], reason(4002).as_bytes()].concat();
            let disposition = connection.handle_control(WSMsgType::Close, &payload, &mut out);
            assert_eq!(disposition, Ok(Disposition::Deliver));
        }
        Answer => connection.auto_close(now, &mut out),
        Fail => {
            let error = WSProtocolError::new(1002.into(), reason(1002));
            connection.fail(&error, WSDisconnectCause::ProtocolError, now, &mut out);
        }
        Leave => connection.disconnect(true, now),
    }
}

fn reason(code: u16) -> &'static str {
    match code {
        4001 => "we are done",
        4002 => "the peer is done",
        _ => "fault",
    }
}

/// What is queued, which is in one piece.
fn queued(connection: &Connection) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[])];
    connection.io_slices(&mut slices);
    assert_eq!(slices[0].len(), connection.queued());
    slices[0].to_vec()
}

#[test]
fn a_bad_close_frame_is_a_fault() {
    let bad: &[(&[u8], u16)] =
        &[(b"\x03", 1002), (b"\x03\xed", 1002), (b"\x13\x88", 1002), (b"\x03\xe8\xc3", 1007)];
    for (payload, code) in bad {
        let mut connection = Connection::new(Role::Server, Arc::new(Rules::default()));
        let mut out = SendContext { pool: &mut BufferPool::new(0), keys: &mut MaskKeys::seeded(1) };
        let error = connection.handle_control(WSMsgType::Close, payload, &mut out).expect_err("a fault");
        assert_eq!(error.code.0, *code);
        assert_eq!(connection.close_handshake(), None, "a CLOSE that cannot be read is none");
        connection.fail(&error, WSDisconnectCause::ProtocolError, Instant::now(), &mut out);
        assert_eq!(queued(&connection)[2..4], code.to_be_bytes());
    }
}

#[test]
fn the_answer_to_an_empty_close_is_empty() {
    let mut connection = Connection::new(Role::Server, Arc::new(Rules::default()));
    let mut out = SendContext { pool: &mut BufferPool::new(0), keys: &mut MaskKeys::seeded(1) };
    connection.handle_control(WSMsgType::Close, b"", &mut out).expect("a good CLOSE");
    connection.auto_close(Instant::now(), &mut out);
    assert_eq!(queued(&connection), [0x88, 0]);
}

#[test]
fn without_auto_close_the_listener_answers() {
    let rules = Rules { enable_auto_close: false, ..Rules::default() };
    let mut connection = Connection::new(Role::Server, Arc::new(rules));
    apply(&mut connection, PeerCloses, Instant::now());
    apply(&mut connection, Answer, Instant::now());
    assert!(connection.close_handshake().is_some_and(|close| close.sent.is_none()));
    assert_eq!(connection.queued(), 0);
}
