//! Random lives: a peer, a kernel, a clock and an application that do anything in any order.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::time::Duration;

use crate::proto::WSDisconnectCause::{self, *};
use crate::proto::{AutoPing, Event, KeepAliveRules, Role, Rules, WSOverflowPolicy};
use crate::proto::{WSAutoPingStrategy, WSDisconnectSide};

use crate::proto::model::caller::Caller;
use crate::proto::model::random::Random;
use crate::proto::tests::receiving::for_seeds;

/// What the model knows of a life: the facts that its record must agree with.
#[derive(Debug, Default)]
struct Known {
    /// The first failure: it is the cause, whatever follows.
    failed: Option<WSDisconnectCause>,
    /// How the end may have been met.
    aborted: Vec<WSDisconnectCause>,
    /// The peer ended its half, or that end was seen behind held data.
    peer_ended: bool,
    left: bool,
    may_overflow: bool,
    writing_paused: bool,
}

struct Life {
    caller: Caller,
    rules: Rules,
    random: Random,
    known: Known,
    events_seen: usize,
}

#[test]
fn random_lives_end_once_and_as_they_were_ended() {
    let mut seen = HashSet::new();
    for_seeds(0..100_000, |seed| {
        seen.insert(Life::new(seed).run().to_string());
    });
    assert_eq!(seen.len(), 15, "each cause but TLS, and two I/O errors: {seen:?}");
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let role = random.pick(&[Role::Server, Role::Client]);
        let mut rules = Rules::default();
        let seconds = |random: &mut Random| Duration::from_secs(random.below(30) as u64 + 1);
        rules.close_timeout = seconds(&mut random);
        rules.write_timeout = random.one_in(2).then(|| seconds(&mut random));
        rules.keep_alive = KeepAliveRules::default();
        if random.one_in(2) {
            let strategy =
                random.pick(&[WSAutoPingStrategy::PingWhenIdle, WSAutoPingStrategy::PingPeriodically]);
            let idle_timeout = seconds(&mut random);
            let reply_timeout = idle_timeout.min(seconds(&mut random));
            rules.keep_alive.auto_ping = Some(AutoPing { strategy, idle_timeout, reply_timeout });
        }
        rules.keep_alive.idle_timeout = random.one_in(4).then(|| seconds(&mut random));
        rules.keep_alive.max_lifetime = random.one_in(4).then(|| 4 * seconds(&mut random));
        rules.low_watermark = random.below(300);
        rules.high_watermark = rules.low_watermark + random.below(600);
        rules.hold_data_on_backlog = random.one_in(2);
        rules.enable_auto_close = !random.one_in(4);
        rules.max_outbound = random.pick(&[1 << 12, 1 << 20]);
        rules.overflow_policy = random.pick(&[WSOverflowPolicy::Close, WSOverflowPolicy::DropNew]);
        let caller = Caller::new(role, rules.clone());
        let mut life = Self { caller, rules, random, known: Known::default(), events_seen: 0 };
        if life.random.one_in(2) {
            life.caller.connection.answer_late();
        }
        life
    }

    fn run(mut self) -> WSDisconnectCause {
        for _ in 0..self.random.below(24) + 4 {
            self.step();
            self.check();
            if self.caller.ended.is_some() {
                break;
            }
        }
        // A peer that does nothing any more does not keep an end from coming.
        self.caller.busy = false;
        self.caller.run_events();
        let begun = self.caller.ended.is_some() || self.caller.connection.deadline().is_some();
        if begun {
            self.caller.advance(self.rules.close_timeout + Duration::from_secs(3));
            assert!(self.caller.ended.is_some(), "a deadline ends what has begun to end");
        }
        self.check();
        if self.caller.ended.is_none() {
            self.known.aborted.push(LoopClosed);
            self.caller.call(|connection, _, _| connection.abort(LoopClosed));
            self.check();
        }
        self.after_the_end();
        self.caller.ended.expect("an end").cause
    }

    fn step(&mut self) {
        let (caller, random, known) = (&mut self.caller, &mut self.random, &mut self.known);
        match random.below(22) {
            0..=2 => {
                let len = random.pick(&[1, 100, 500, 3000]);
                known.may_overflow |= self.rules.max_outbound < 1 << 20;
                let _ = caller.send(len);
            }
            3 => caller.room = random.pick(&[0, 1, 200, usize::MAX]),
            4 | 5 => {
                let room = random.pick(&[0, 1, 200, 2000, usize::MAX]);
                caller.grant(room);
            }
            6 => drop(caller.send_close(4001)),
            7 => caller.receive_close(4002),
            8 if random.one_in(2) => {
                let cause = random.pick(&[ProtocolError, ListenerError]);
                if caller.fail(1002, cause) {
                    known.failed.get_or_insert(cause);
                }
            }
            9 if random.one_in(2) => {
                let graceful = !random.one_in(3);
                known.left = true;
                caller.disconnect(graceful);
            }
            10 if random.one_in(3) => {
                let cause = random.pick(&[Io(ErrorKind::ConnectionReset), Overflow, LoopClosed]);
                known.aborted.push(cause);
                caller.call(|connection, _, _| connection.abort(cause));
            }
            11 if random.one_in(2) => {
                known.peer_ended = true;
                caller.stream.truncated = random.one_in(4);
                caller.receive_end();
            }
            12 => {
                known.peer_ended = true;
                caller.call(|connection, now, _| {
                    connection.hold_data();
                    connection.handle_held_end(now);
                });
            }
            13 => caller.call(|connection, _, _| connection.hold_data()),
            14 => caller.call(|connection, _, _| connection.release_data()),
            15 => caller.call(|connection, _, _| connection.pause_reading()),
            16 => caller.call(|connection, _, _| connection.resume_reading()),
            17 => {
                caller.stream.unread = random.one_in(2);
                caller.stream.held = random.pick(&[0, 0, 50]);
                caller.call(|connection, now, _| connection.handle_arrival(now));
            }
            18 => drop(caller.send_ping()),
            19 => {
                caller.call(|connection, _, _| connection.pong_received());
            }
            20 => {
                caller.busy = random.one_in(2);
                if !caller.busy {
                    caller.run_events();
                }
            }
            _ => {
                let millis = random.below(15_000) as u64;
                caller.advance(Duration::from_millis(millis));
            }
        }
        if self.random.one_in(40) {
            self.known.aborted.push(Io(ErrorKind::BrokenPipe));
            self.caller.write_error = Some(ErrorKind::BrokenPipe);
        }
    }

    /// What holds after each step.
    fn check(&mut self) {
        self.caller.advance(Duration::ZERO);
        let (caller, known) = (&mut self.caller, &mut self.known);
        let connection = &mut caller.connection;
        assert!(caller.shutdowns <= 1);
        if caller.ended.is_none() {
            assert_eq!(caller.writable, caller.refused, "interest follows the kernel");
            let deadline = connection.deadline();
            assert!(
                deadline.is_none_or(|at| caller.timer.is_some_and(|timer| timer <= at)),
                "an end has a timer"
            );
            assert!(caller.timer.is_none_or(|at| at > caller.now), "which is in the future");
            let waiting = if caller.refused { connection.queued() + caller.stream.held } else { 0 };
            let (low, high) = (self.rules.low_watermark, self.rules.high_watermark);
            known.writing_paused = waiting > high || (known.writing_paused && waiting > low);
            assert_eq!(connection.awaits_resume(), known.writing_paused, "{waiting}");
        }
        for event in &caller.events[self.events_seen..] {
            assert!(*event != Event::HandshakeClosed || caller.role == Role::Client);
        }
        self.events_seen = caller.events.len();
        self.check_record();
    }

    /// The record agrees with what happened.
    fn check_record(&self) {
        let Some(info) = &self.caller.ended else { return };
        let (known, connection) = (&self.known, &self.caller.connection);
        let clean = connection.is_closed_cleanly();
        let keep_alive = &self.rules.keep_alive;
        if let Some(failed) = known.failed {
            assert_eq!(info.cause, failed);
        }
        let is_explained = match info.cause {
            Closed => clean,
            Disconnected => known.left || self.caller.shutdowns == 1,
            PeerEof | Truncated => known.peer_ended,
            CloseTimeout => self.caller.now >= connection.deadline().expect("a deadline"),
            WriteTimeout => self.rules.write_timeout.is_some() && self.caller.refused,
            PingTimeout => keep_alive.auto_ping.is_some() && self.caller.is_close_sent(),
            IdleTimeout => keep_alive.idle_timeout.is_some() && self.caller.is_close_sent(),
            LifetimeOver => keep_alive.max_lifetime.is_some() && self.caller.is_close_sent(),
            Overflow => known.may_overflow || known.aborted.contains(&Overflow),
            ProtocolError | ListenerError => known.failed == Some(info.cause),
            cause => known.aborted.contains(&cause),
        };
        assert!(is_explained, "{info:?} after {known:?}");
        let handshake = connection.close_handshake().filter(|_| !connection.is_half_closed());
        let codes: Vec<u16> = handshake.map_or_else(
            || vec![1006],
            |close| [&close.sent, &close.recv].into_iter().flatten().map(|close| close.code.0).collect(),
        );
        assert!(codes.contains(&info.code.0), "{info:?}");
        let by_peer = match info.cause {
            PeerEof | Truncated | Io(_) => true,
            Closed => handshake.is_some_and(|close| close.recv_then_sent),
            _ => false,
        };
        assert_eq!(info.side == WSDisconnectSide::Remote, by_peer);
        if self.caller.shutdowns == 1 {
            assert_eq!(info.bytes_unsent, self.caller.stream.held, "the queue left before the half-close");
        }
    }

    /// Nothing that happens after the end has an effect.
    fn after_the_end(&mut self) {
        let (info, written) = (self.caller.ended.clone(), self.caller.written.len());
        for _ in 0..4 {
            self.step();
            assert!(!self.caller.connection.has_actions() || self.caller.ended == info);
        }
        assert_eq!((self.caller.ended.clone(), self.caller.timer), (info, None));
        assert_eq!(self.caller.written.len(), written);
    }
}
