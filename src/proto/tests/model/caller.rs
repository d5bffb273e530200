//! A caller that drives a connection as its contract says, over a simulated kernel.

use std::io::{ErrorKind, IoSlice};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::buf::BufferPool;
use crate::mask::MaskKeys;
use crate::proto::{
    Action, Connection, Event, Payload, Role, Rules, SendContext, SendOptions, StreamState, WSCloseCode,
    WSDisconnectCause, WSMsgType, WSProtocolError,
};
use crate::proto::{WSDisconnectInfo, WSDropReason};

/// A connection with its kernel, its timer and its application.
pub(crate) struct Caller {
    pub(crate) connection: Connection,
    pub(crate) role: Role,
    pool: BufferPool,
    keys: MaskKeys,
    pub(crate) now: Instant,
    pub(crate) stream: StreamState,
    /// Bytes that the kernel takes before it refuses more.
    pub(crate) room: usize,
    /// The error of the next write.
    pub(crate) write_error: Option<ErrorKind>,
    /// Bytes that the kernel has taken.
    pub(crate) written: Vec<u8>,
    pub(crate) timer: Option<Instant>,
    /// How often the timer was set.
    pub(crate) timer_changes: usize,
    /// The kernel refuses bytes, as far as the connection was told.
    pub(crate) refused: bool,
    /// The interest in writability.
    pub(crate) writable: bool,
    pub(crate) shutdowns: usize,
    pub(crate) reads: usize,
    /// Events in the order in which the application met them.
    pub(crate) events: Vec<Event>,
    /// User code may not run: events wait.
    pub(crate) busy: bool,
    notified: bool,
    pub(crate) ended: Option<WSDisconnectInfo>,
}

impl Caller {
    pub(crate) fn new(role: Role, rules: Rules) -> Self {
        let mut caller = Self {
            connection: Connection::new(role, Arc::new(rules)),
            role,
            pool: BufferPool::new(1 << 16),
            keys: MaskKeys::seeded(1),
            now: Instant::now(),
            stream: StreamState::default(),
            room: usize::MAX,
            write_error: None,
            written: Vec::new(),
            timer: None,
            timer_changes: 0,
            refused: false,
            writable: false,
            shutdowns: 0,
            reads: 0,
            events: Vec::new(),
            busy: false,
            notified: false,
            ended: None,
        };
        let now = caller.now;
        caller.connection.handle_open(now);
        caller.drive();
        caller
    }

    /// Calls the connection, then brings it up to date.
    pub(crate) fn call<R>(
        &mut self,
        call: impl FnOnce(&mut Connection, Instant, &mut SendContext<'_>) -> R,
    ) -> R {
        let mut out = SendContext { pool: &mut self.pool, keys: &mut self.keys };
        let result = call(&mut self.connection, self.now, &mut out);
        self.drive();
        result
    }

    pub(crate) fn send(&mut self, len: usize) -> Result<(), WSDropReason> {
        let payload = vec![7; len];
        self.call(|connection, _, out| {
            connection.send(WSMsgType::Binary, Payload::Borrowed(&payload), SendOptions::default(), out)
        })
    }

    pub(crate) fn is_close_sent(&self) -> bool {
        self.connection.close_handshake().is_some_and(|close| close.sent.is_some())
    }

    pub(crate) fn send_close(&mut self, code: u16) -> bool {
        self.call(|connection, now, out| connection.send_close(WSCloseCode(code), "bye", now, out))
    }

    pub(crate) fn fail(&mut self, code: u16, cause: WSDisconnectCause) -> bool {
        let error = WSProtocolError::new(WSCloseCode(code), "failed");
        self.call(|connection, now, out| connection.fail(&error, cause, now, out))
    }

    pub(crate) fn disconnect(&mut self, graceful: bool) {
        self.call(|connection, now, _| connection.disconnect(graceful, now));
    }

    /// The peer's CLOSE arrives and is answered, unless that is off.
    pub(crate) fn receive_close(&mut self, code: u16) {
        if !self.connection.is_receiving() {
            return;
        }
        let payload = code.to_be_bytes();
        self.call(|connection, now, out| {
            connection.handle_control(WSMsgType::Close, &payload, out).expect("a valid CLOSE");
            connection.auto_close(now, out);
        });
    }

    /// The peer ends its half of TCP.
    pub(crate) fn receive_end(&mut self) {
        self.stream.unread = false;
        self.call(|connection, _, _| connection.handle_end());
    }

    /// The kernel has room for `room` bytes and reports it.
    pub(crate) fn grant(&mut self, room: usize) {
        self.room = room;
        if self.writable && self.ended.is_none() {
            self.write();
            self.drive();
        }
    }

    /// Lets time pass; the timer fires when it is due.
    pub(crate) fn advance(&mut self, time: Duration) {
        let until = self.now + time;
        let mut fired_now = 0;
        while let Some(at) = self.timer.filter(|&at| at <= until) {
            fired_now = if at > self.now { 0 } else { fired_now + 1 };
            assert!(fired_now < 8, "the timer does not spin");
            self.now = self.now.max(at);
            self.timer = None;
            let (now, stream) = (self.now, self.stream);
            self.call(|connection, _, out| connection.handle_timeout(now, stream, out));
        }
        self.now = until;
    }

    pub(crate) fn advance_secs(&mut self, seconds: u64) {
        self.advance(Duration::from_secs(seconds));
    }

    /// Writes what is queued and carries out the actions.
    pub(crate) fn drive(&mut self) {
        if self.ended.is_some() {
            assert_eq!(self.connection.poll_action(self.now, self.stream), None, "nothing after the end");
            return;
        }
        if !self.refused {
            self.write();
        }
        for round in 0.. {
            assert!(round < 32, "the actions do not end");
            let asked = self.connection.has_actions();
            let Some(action) = self.connection.poll_action(self.now, self.stream) else { break };
            assert!(asked, "the flag hides {action:?}");
            self.carry_out(action);
        }
        if self.notified && !self.busy {
            self.run_events();
        }
    }

    /// The application runs.
    pub(crate) fn run_events(&mut self) {
        self.notified = false;
        while let Some(event) = self.connection.poll_event() {
            self.events.push(event);
            if event == Event::SendPing {
                let _ = self.send_ping();
            }
        }
        self.drive();
    }

    pub(crate) fn send_ping(&mut self) -> Result<(), WSDropReason> {
        self.call(|connection, now, out| {
            let sent = connection.send(WSMsgType::Ping, Payload::Borrowed(b""), SendOptions::default(), out);
            connection.ping_sent(now);
            sent
        })
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Write => self.write(),
            Action::ShutdownWrite => {
                assert!(self.connection.queued() == 0 && !self.refused, "nothing is cut off");
                self.shutdowns += 1;
            }
            Action::SetInterest { writable } => {
                assert_ne!(writable, self.writable, "no needless system call");
                self.writable = writable;
            }
            Action::SetTimer(timer) => {
                assert_ne!(timer, self.timer, "no needless timer");
                self.timer = timer;
                self.timer_changes += 1;
            }
            Action::ReadOn => self.reads += 1,
            Action::Notify => self.notified = true,
            Action::Disconnected(info) => {
                assert_eq!(info.bytes_unsent, self.connection.queued() + self.stream.held);
                self.connection.abandon(&mut self.pool);
                self.timer = None;
                self.ended = Some(info);
            }
        }
    }

    /// Writes until the queue is empty or the kernel refuses.
    fn write(&mut self) {
        let mut out = SendContext { pool: &mut self.pool, keys: &mut self.keys };
        loop {
            if let Some(kind) = self.write_error.take_if(|_| self.connection.queued() > 0) {
                self.connection.abort(WSDisconnectCause::Io(kind));
                return;
            }
            let mut slices = [IoSlice::new(&[]); 4];
            let count = self.connection.io_slices(&mut slices);
            let offered: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect();
            let taken = offered.len().min(self.room);
            self.room -= if self.room == usize::MAX { 0 } else { taken };
            self.written.extend_from_slice(&offered[..taken]);
            self.connection.consume(taken, &mut out);
            let refused = self.connection.queued() > 0 && taken < offered.len();
            self.refused = refused;
            self.connection.handle_refused(refused, &mut out);
            if refused || self.connection.queued() == 0 {
                return;
            }
        }
    }
}
