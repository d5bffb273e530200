//! A connection under any calls in any order.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::buf::{BufferPool, WS_HEADROOM};
use crate::mask::MaskKeys;
use crate::proto::{
    ClosePayload, Connection, Payload, Role, Rules, SendContext, SendOptions, WSCloseCode, WSDisconnectCause,
    WSDropReason, WSMsgType, WSOverflowPolicy, WSPreparedFrame, WSProtocolError,
};

use super::wire;

/// Bytes beyond the limit that control frames other than CLOSE may use, and then the longest CLOSE frame.
const BEYOND_LIMIT: usize = 1024 + 131;

/// A connection, and what it is known to have done.
pub(crate) struct Session {
    connection: Connection,
    role: Role,
    max_outbound: usize,
    pool: BufferPool,
    keys: MaskKeys,
    now: Instant,
    /// Received bytes that were not consumed.
    received: Vec<u8>,
    /// What left.
    left: Vec<u8>,
    /// Opcode and payload of every frame that was accepted, other than PONG.
    accepted: Vec<(u8, Vec<u8>)>,
    /// Payloads of every PING that arrived.
    pings: Vec<Vec<u8>>,
    overflows: u64,
    deadline: Option<Instant>,
    /// Finished, deaf, CLOSE sent: what never becomes false again.
    latches: [bool; 3],
}

impl Session {
    /// Does what `script` says, byte by byte.
    ///
    /// # Panics
    /// If the connection breaks a promise on the way, or has sent anything but the accepted frames in their order, as far as
    /// CLOSE.
    pub(crate) fn run(script: &[u8]) {
        let mut script = script.iter().copied();
        let mut session = Self::new(script.next().unwrap_or(0));
        while let (Some(operation), Some(argument)) = (script.next(), script.next()) {
            session.step(operation, argument, &mut script);
            session.check_promises();
        }
        session.take(usize::MAX);
        session.check_promises();
        session.check_what_left();
    }

    fn new(options: u8) -> Self {
        let max_outbound = [200, 2_000, 70_000, usize::MAX][usize::from(options >> 1 & 3)];
        let rules = Rules {
            max_outbound,
            overflow_policy: if options & 8 == 0 {
                WSOverflowPolicy::DropNew
            } else {
                WSOverflowPolicy::Close
            },
            no_copy_threshold: [0, 64, 1000, usize::MAX][usize::from(options >> 6)],
            validate_utf8: options & 16 != 0,
            allow_reserved_bits: options & 32 != 0,
            ..Rules::default()
        };
        let role = if options & 1 == 0 { Role::Server } else { Role::Client };
        Self {
            connection: Connection::new(role, Arc::new(rules)),
            role,
            max_outbound,
            pool: BufferPool::new(4096),
            keys: MaskKeys::seeded(options.into()),
            now: Instant::now(),
            received: Vec::new(),
            left: Vec::new(),
            accepted: Vec::new(),
            pings: Vec::new(),
            overflows: 0,
            deadline: None,
            latches: [false; 3],
        }
    }

    fn step(&mut self, operation: u8, argument: u8, script: &mut impl Iterator<Item = u8>) {
        self.now += Duration::from_millis(1);
        match operation % 8 {
            0 => {
                self.received.extend(script.take(argument.into()));
                self.receive();
            }
            4 => self.take(usize::from(argument) * usize::from(operation)),
            5 => self.send_close(u16::from(operation) << 4 | u16::from(argument)),
            6 if argument == 0 => self.connection.disconnect(true, self.now),
            6 if argument == 1 => self.fail(&WSProtocolError::new(WSCloseCode::OK, "told to")),
            6 => self.call(Connection::auto_close),
            _ => self.send(operation, argument),
        }
    }

    fn call<R>(&mut self, call: impl FnOnce(&mut Connection, Instant, &mut SendContext<'_>) -> R) -> R {
        let was_sent = self.is_close_sent();
        let mut out = SendContext { pool: &mut self.pool, keys: &mut self.keys };
        let result = call(&mut self.connection, self.now, &mut out);
        if let Some(sent) = self.connection.close_handshake().and_then(|close| close.sent.as_ref())
            && !was_sent
        {
            let payload = ClosePayload::new(sent.code, &sent.reason);
            self.accepted.push((8, payload.as_bytes().to_vec()));
        }
        result
    }

    fn is_close_sent(&self) -> bool {
        self.connection.close_handshake().is_some_and(|close| close.sent.is_some())
    }

    fn receive(&mut self) {
        while self.connection.is_receiving() {
            let head = match self.connection.poll(&mut self.received) {
                Ok(Some(head)) => head,
                Ok(None) => return,
                Err(error) => return self.fail(&error),
            };
            let msg_type = head.header.msg_type();
            let payload: Vec<u8> =
                self.received.drain(..head.wire_len()).skip(head.header.header_len()).collect();
            if msg_type == WSMsgType::Ping {
                self.pings.push(payload.clone());
            }
            if msg_type.is_control()
                && let Err(error) =
                    self.call(|connection, _, out| connection.handle_control(msg_type, &payload, out))
            {
                return self.fail(&error);
            }
        }
    }

    fn fail(&mut self, error: &WSProtocolError) {
        self.call(|connection, now, out| {
            connection.fail(error, WSDisconnectCause::ProtocolError, now, out);
        });
    }

    fn send_close(&mut self, code: u16) {
        let was_sent = self.is_close_sent();
        let reason = "because it was told to, ".repeat(usize::from(code % 8));
        let sent = self.call(|connection, now, out| connection.send_close(code.into(), &reason, now, out));
        assert_eq!(sent, !was_sent && self.is_close_sent());
    }

    /// Sends a frame in one of five ways and holds the outcome against the limit.
    fn send(&mut self, operation: u8, argument: u8) {
        let opcode = [0, 1, 2, 9][usize::from(operation >> 3 & 3)];
        let msg_type = WSMsgType::from_opcode(opcode).expect("one of the opcodes");
        let options =
            SendOptions { fin: operation & 32 == 0, rsv1: operation & 64 != 0, ..SendOptions::default() };
        let len = usize::from(argument) * if operation & 128 == 0 { 1 } else { 50 };
        let payload = vec![argument; len];
        let before = self.connection.queued();
        let result = self.call(|connection, _, out| match operation % 8 {
            1 => connection.send(msg_type, Payload::Borrowed(&payload), options, out),
            2 if argument.is_multiple_of(2) => {
                connection.send(msg_type, Payload::Owned(payload[..].into()), options, out)
            }
            2 => {
                let shared = payload.clone().into();
                connection.send(msg_type, Payload::Shared(&shared), options, out)
            }
            3 => {
                let frame = WSPreparedFrame::with_options(msg_type, &payload, options);
                connection.send(msg_type, Payload::Prepared(&frame), options, out)
            }
            _ => {
                let mut frame = [&[0; WS_HEADROOM], &payload[..]].concat();
                connection.send(msg_type, Payload::InPlace(&mut frame, WS_HEADROOM), options, out)
            }
        });
        let frame = wire_len(self.role, len);
        let limit = self.max_outbound.saturating_add(if opcode == 9 { 1024 } else { 0 });
        match result {
            Ok(()) => {
                assert_eq!(self.connection.queued(), before + frame);
                assert!(before + frame <= limit, "{before} + {frame} exceed {limit}");
                self.accepted.push((opcode, payload));
            }
            Err(reason) => {
                assert_eq!(self.connection.queued(), before, "dropped for {reason:?}, and queued");
                let is_overflow = reason == WSDropReason::Overflow;
                assert!(!is_overflow || before + frame > limit, "{before} + {frame} fit under {limit}");
                self.overflows += u64::from(is_overflow);
            }
        }
        assert_eq!(self.connection.dropped().0, self.overflows);
    }

    /// Lets at most `n` bytes leave.
    fn take(&mut self, mut n: usize) {
        loop {
            let mut slices = [IoSlice::new(&[]); 3];
            let count = self.connection.io_slices(&mut slices);
            let mut shown = Vec::new();
            slices[..count].iter().for_each(|slice| shown.extend_from_slice(slice));
            assert_eq!(shown.is_empty(), self.connection.queued() == 0);
            let now = n.min(shown.len());
            self.left.extend_from_slice(&shown[..now]);
            n -= now;
            self.call(|connection, _, out| connection.consume(now, out));
            if n == 0 || shown.is_empty() {
                return;
            }
        }
    }

    fn check_promises(&mut self) {
        let connection = &self.connection;
        assert!(connection.queued() <= self.max_outbound.saturating_add(BEYOND_LIMIT));
        assert!(self.deadline.is_none() || self.deadline == connection.deadline(), "the deadline was moved");
        self.deadline = connection.deadline();
        let latches = [connection.is_finished(), !connection.is_receiving(), self.is_close_sent()];
        for (was, is) in self.latches.iter().zip(latches) {
            assert!(is || !was, "{:?} became {latches:?}", self.latches);
        }
        self.latches = latches;
        assert!(self.deadline.is_some() || !(connection.is_finished() || self.is_close_sent()));
    }

    /// Everything that left, frame by frame.
    fn check_what_left(&self) {
        let mut pings = self.pings.iter();
        let mut accepted = self.accepted.iter();
        let mut rest = &self.left[..];
        while !rest.is_empty() {
            let header = wire::header(rest).expect("a right header").expect("a whole header");
            assert_eq!(header.key.is_some(), self.role == Role::Client);
            let (payload, is_whole) = wire::payload(&header, &rest[header.len..]);
            assert!(!header.is_control() || payload.len() <= 125, "too long for a control frame: {header:?}");
            assert!(is_whole, "a torn frame left: {header:?}");
            rest = &rest[header.len + payload.len()..];
            if header.opcode == 10 {
                assert!(pings.any(|ping| *ping == payload), "a pong without a ping");
            } else {
                assert_eq!(accepted.next(), Some(&(header.opcode, payload)));
            }
            assert!(header.opcode != 8 || rest.is_empty(), "something follows CLOSE: {rest:x?}");
        }
        assert_eq!(accepted.next(), None, "an accepted frame did not leave");
    }
}

/// Bytes of a whole frame (RFC 6455 section 5.2).
fn wire_len(role: Role, payload_len: usize) -> usize {
    let key = if role == Role::Client { 4 } else { 0 };
    let length = if payload_len > 65_535 {
        8
    } else if payload_len > 125 {
        2
    } else {
        0
    };
    2 + length + key + payload_len
}
