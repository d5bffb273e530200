//! Signs of life: pings that are due, answers that are not, idle time-outs, lifetimes.
//!
//! What is due is `proto::KeepAlive`'s to say. A connection without any of it has no part in this but two flags.

use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::connection::{WSListener, WSTransport};
use crate::proto::{KeepAlive, KeepAliveStep, WSCloseCode, WSDisconnectCause, WSFrame, WSMsgType};
use crate::runtime::TimerId;

use super::callbacks::Callback;
use super::conn::{Conn, Flags};
use super::roundtrip::PongWaiters;
use super::source::LIVENESS;

/// What is known of a connection's signs of life.
#[derive(Debug)]
pub(super) struct Liveness {
    alive: KeepAlive,
    /// The one timer, and when it fires. What arrives does not touch it: it looks again when it fires.
    timer: Option<(Instant, TimerId)>,
    pub(super) pongs: PongWaiters,
}

impl Conn {
    /// The connection has opened: keeps an eye on it from now on, if that is asked for.
    pub(super) fn start_liveness(&self) {
        let rules = &self.settings.keep_alive;
        if !rules.is_active() || self.is_ending() {
            return;
        }
        if rules.watches_arrivals() {
            self.flags.set(Flags::WATCHED);
        }
        self.arm_liveness();
    }

    /// Bytes have arrived on a watched connection.
    pub(super) fn note_arrival(&self) {
        let now = self.core.now();
        self.with_liveness(|liveness| liveness.alive.received(now));
    }

    /// The peer could not be heard until now: its silence begins anew.
    pub(super) fn excuse_silence(&self) {
        let now = self.core.now();
        self.with_liveness(|liveness| liveness.alive.excuse(now));
    }

    /// The timer has fired.
    pub(crate) fn liveness_due(self: &Rc<Self>) {
        self.with_liveness(|liveness| liveness.timer = None);
        // Once an end has begun, its own deadline counts.
        if self.is_ending() {
            return;
        }
        let (rules, now) = (self.settings.keep_alive, self.core.now());
        match self.step(now) {
            KeepAliveStep::Wait(_) => self.arm_liveness(),
            KeepAliveStep::Ping => self.ping(now),
            KeepAliveStep::PingTimeout => self.ping_timed_out(),
            KeepAliveStep::IdleTimeout => {
                let reason = format!("nothing received for {} second(s)", seconds(rules.idle_timeout));
                self.end_for(WSDisconnectCause::IdleTimeout, &reason);
            }
            KeepAliveStep::LifetimeOver => {
                let reason = format!("open for {} second(s), the maximum", seconds(rules.max_lifetime));
                self.end_for(WSDisconnectCause::LifetimeOver, &reason);
            }
        }
    }

    /// Has the listener send a ping, and awaits the answer.
    pub(super) fn ping(self: &Rc<Self>, now: Instant) {
        let transport = WSTransport::new(Rc::clone(self));
        self.call_listener(|listener| listener.send_user_specific_ping(&transport), Callback::Other);
        if self.is_ending() {
            return;
        }
        self.with_liveness(|liveness| liveness.alive.pinged(now));
        self.flags.set(Flags::PONG_AWAITED);
        self.arm_liveness();
    }

    /// Asks the listener whether a frame is the answer that is awaited; if so, takes it for that.
    #[cold]
    pub(super) fn is_awaited_pong(&self, listener: &mut dyn WSListener, frame: &WSFrame<'_>) -> bool {
        let is_pong = frame.msg_type() != WSMsgType::Close && listener.is_user_specific_pong(frame);
        if is_pong {
            self.pong_received();
        }
        is_pong
    }

    /// `notify_user_specific_pong_received`, or a frame that was one.
    pub(crate) fn pong_received(&self) {
        if !self.flags.clear(Flags::PONG_AWAITED) {
            return;
        }
        let woken = self.with_liveness(|liveness| {
            liveness.alive.ponged();
            liveness.pongs.arrived(|| self.core.clock())
        });
        // Outside of the borrow: waking may run user code.
        woken.into_iter().for_each(std::task::Waker::wake);
    }

    /// The socket is closed.
    pub(super) fn stop_liveness(&self) {
        let mut extras = self.extras.borrow_mut();
        let timer = extras.as_mut().and_then(|extras| extras.liveness.as_mut()?.timer.take());
        drop(extras);
        if let Some((_, timer)) = timer {
            self.core.cancel_timer(timer);
        }
    }

    pub(super) fn with_liveness<R>(&self, call: impl FnOnce(&mut Liveness) -> R) -> R {
        let mut extras = self.extras.borrow_mut();
        let begin = || {
            let alive = KeepAlive::new(self.core.now());
            Box::new(Liveness { alive, timer: None, pongs: PongWaiters::default() })
        };
        call(extras.get_or_insert_default().liveness.get_or_insert_with(begin))
    }

    /// Whether an end has begun that has a deadline, or is over.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.get().is_some() || self.proto.borrow().deadline().is_some()
    }

    /// What is due; nothing that would be held against a peer that could not be heard.
    fn step(&self, now: Instant) -> KeepAliveStep {
        // Behind a backlog no PING reaches the peer, and what it sends behind data that is held is
        // not seen.
        let unheard = self.flags.has(Flags::PAUSED | Flags::BACKLOGGED)
            || self.has_unread()
            || self.proto.borrow().is_data_held()
            || !self.proto.borrow().is_receiving();
        let rules = &self.settings.keep_alive;
        self.with_liveness(|liveness| {
            let step = liveness.alive.poll(now, rules);
            let excused = match step {
                KeepAliveStep::Ping | KeepAliveStep::PingTimeout | KeepAliveStep::IdleTimeout => unheard,
                KeepAliveStep::Wait(_) | KeepAliveStep::LifetimeOver => false,
            };
            if !excused {
                return step;
            }
            liveness.alive.excuse(now);
            liveness.alive.poll(now, rules)
        })
    }

    /// Sets the timer, unless it fires early enough.
    fn arm_liveness(&self) {
        let now = self.core.now();
        let rules = &self.settings.keep_alive;
        let (at, armed) = self.with_liveness(|liveness| {
            let at = match liveness.alive.poll(now, rules) {
                KeepAliveStep::Wait(at) => at,
                _ => Some(now),
            };
            (at, liveness.timer)
        });
        let Some(at) = at.filter(|&at| armed.is_none_or(|(armed, _)| at < armed)) else { return };
        if let Some((_, timer)) = armed {
            self.core.cancel_timer(timer);
        }
        let timer = self.core.add_timer(at, self.token, LIVENESS);
        self.with_liveness(|liveness| liveness.timer = Some((at, timer)));
    }

    /// The peer is told why, as far as the kernel takes it, and not waited for: it is most likely gone.
    fn ping_timed_out(self: &Rc<Self>) {
        let timeout = self.settings.keep_alive.auto_ping.map(|ping| ping.reply_timeout);
        let reason =
            format!("peer has not replied to ping/heartbeat request within {} second(s)", seconds(timeout));
        self.send_close(WSCloseCode::GOING_AWAY, &reason);
        self.note_fault(WSDisconnectCause::PingTimeout, None);
        self.flush_now();
        self.terminate(WSDisconnectCause::PingTimeout, None);
    }

    /// Begins the closing handshake for a reason of this end's own.
    fn end_for(self: &Rc<Self>, cause: WSDisconnectCause, reason: &str) {
        self.note_fault(cause, None);
        self.send_close(WSCloseCode::GOING_AWAY, reason);
    }
}

/// A time-out as people read it: `10`, `1.5`.
fn seconds(timeout: Option<Duration>) -> f64 {
    timeout.unwrap_or_default().as_secs_f64()
}
