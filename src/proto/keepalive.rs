//! When to ask a silent peer for a sign of life, and when to give up on it.

use std::time::{Duration, Instant};

/// What auto-ping goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WSAutoPingStrategy {
    /// A ping is sent when nothing has arrived for the idle time-out. A connection that is in use costs no pings.
    #[default]
    PingWhenIdle,
    /// A ping is sent every idle time-out, whatever arrives. Keeps round-trip times coming, and notices a peer whose data flows on while
    /// nobody answers behind it.
    PingPeriodically,
}

/// Auto-ping of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AutoPing {
    /// What pings go by.
    pub strategy: WSAutoPingStrategy,
    /// How long until a ping is due. More than zero.
    pub idle_timeout: Duration,
    /// How long the answer may take. At most `idle_timeout`, so that there is never more than one ping under way.
    pub reply_timeout: Duration,
}

/// By what a connection is kept alive, or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct KeepAliveRules {
    /// Default none.
    pub auto_ping: Option<AutoPing>,
    /// The connection ends when no byte has arrived for this long. Default never.
    pub idle_timeout: Option<Duration>,
    /// The connection ends when it has been open for this long. Default never.
    pub max_lifetime: Option<Duration>,
}

impl KeepAliveRules {
    /// Whether there is anything to do.
    pub fn is_active(&self) -> bool {
        *self != Self::default()
    }

    /// Returns `true` if [`Connection::handle_arrival`](super::Connection::handle_arrival) has an effect.
    pub fn watches_arrivals(&self) -> bool {
        let when_idle = self.auto_ping.is_some_and(|ping| ping.strategy == WSAutoPingStrategy::PingWhenIdle);
        when_idle || self.idle_timeout.is_some()
    }
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeepAliveStep {
    /// Nothing before this time; `None`: nothing at all.
    Wait(Option<Instant>),
    /// Send a ping and say so by [`KeepAlive::pinged`].
    Ping,
    /// The answer to a ping is overdue.
    PingTimeout,
    /// Nothing has arrived for too long.
    IdleTimeout,
    /// The connection has been open for too long.
    LifetimeOver,
}

/// The signs of life of one connection.
///
/// # Contract
/// Time comes in, decisions come out. [`poll`](Self::poll) says what is due now, or until when there is nothing to do. What arrives only
/// ever moves that later, so a timer that was set need not be moved: it asks again when it fires. [`pinged`](Self::pinged) alone
/// can move it earlier.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeepAlive {
    opened: Instant,
    received: Instant,
    /// When the last ping was sent, or would have been.
    pinged: Instant,
    /// Since when an answer is awaited.
    awaiting: Option<Instant>,
}

impl KeepAlive {
    /// A connection that is open from now on.
    pub(crate) fn new(now: Instant) -> Self {
        Self { opened: now, received: now, pinged: now, awaiting: None }
    }

    /// Bytes have arrived.
    #[inline]
    pub(crate) fn received(&mut self, now: Instant) {
        self.received = now;
    }

    /// A ping was sent.
    pub(crate) fn pinged(&mut self, now: Instant) {
        self.pinged = now;
        self.awaiting = Some(now);
    }

    /// The answer has come. Whether one was awaited.
    pub(crate) fn ponged(&mut self) -> bool {
        self.awaiting.take().is_some()
    }

    /// Lets the peer off: it could not be heard. All that goes by silence begins anew.
    pub(crate) fn excuse(&mut self, now: Instant) {
        self.received = now;
        self.pinged = now;
        if self.awaiting.is_some() {
            self.awaiting = Some(now);
        }
    }

    /// Returns the time of the next step, which may have passed; `None` if there is none.
    pub(crate) fn deadline(&self, rules: &KeepAliveRules) -> Option<Instant> {
        self.deadlines(rules).iter().filter_map(|&(at, _)| at).min()
    }

    /// What is due.
    pub(crate) fn poll(&self, now: Instant, rules: &KeepAliveRules) -> KeepAliveStep {
        let by_precedence = self.deadlines(rules);
        let due = by_precedence.iter().find(|(at, _)| at.is_some_and(|at| at <= now));
        due.map_or_else(
            || KeepAliveStep::Wait(by_precedence.iter().filter_map(|&(at, _)| at).min()),
            |&(_, step)| step,
        )
    }

    /// Returns the steps and their times. Of several that are due, the first counts.
    fn deadlines(&self, rules: &KeepAliveRules) -> [(Option<Instant>, KeepAliveStep); 4] {
        let lifetime = rules.max_lifetime.and_then(|max| self.opened.checked_add(max));
        let idle = rules.idle_timeout.and_then(|timeout| self.received.checked_add(timeout));
        let (reply, ping) = match (rules.auto_ping, self.awaiting) {
            (None, _) => (None, None),
            (Some(auto), Some(since)) => (since.checked_add(auto.reply_timeout), None),
            (Some(auto), None) => (None, self.silent_since(auto.strategy).checked_add(auto.idle_timeout)),
        };
        [
            (lifetime, KeepAliveStep::LifetimeOver),
            (reply, KeepAliveStep::PingTimeout),
            (idle, KeepAliveStep::IdleTimeout),
            (ping, KeepAliveStep::Ping),
        ]
    }

    fn silent_since(&self, strategy: WSAutoPingStrategy) -> Instant {
        match strategy {
            WSAutoPingStrategy::PingWhenIdle => self.received,
            WSAutoPingStrategy::PingPeriodically => self.pinged,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn rules(strategy: WSAutoPingStrategy) -> KeepAliveRules {
        let ping = AutoPing { strategy, idle_timeout: 10 * SECOND, reply_timeout: 3 * SECOND };
        KeepAliveRules { auto_ping: Some(ping), ..KeepAliveRules::default() }
    }

    #[test]
    fn silence_is_counted_from_what_arrived_last() {
        let rules = rules(WSAutoPingStrategy::PingWhenIdle);
        let start = Instant::now();
        let at = |seconds: u32| start + seconds * SECOND;
        let mut alive = KeepAlive::new(start);
        alive.received(at(4));
        assert_eq!(alive.poll(at(10), &rules), KeepAliveStep::Wait(Some(at(14))));
        assert_eq!(alive.poll(at(14), &rules), KeepAliveStep::Ping);
        alive.pinged(at(14));
        alive.received(at(15));
        assert_eq!(alive.poll(at(16), &rules), KeepAliveStep::Wait(Some(at(17))), "data is no answer");
        assert_eq!(alive.poll(at(17), &rules), KeepAliveStep::PingTimeout);
        assert!(alive.ponged() && !alive.ponged());
        assert_eq!(alive.poll(at(17), &rules), KeepAliveStep::Wait(Some(at(25))));
    }

    #[test]
    fn a_period_is_counted_from_ping_to_ping() {
        let rules = rules(WSAutoPingStrategy::PingPeriodically);
        let start = Instant::now();
        let at = |seconds: u32| start + seconds * SECOND;
        let mut alive = KeepAlive::new(start);
        alive.received(at(9));
        assert_eq!(alive.poll(at(10), &rules), KeepAliveStep::Ping);
        alive.pinged(at(10));
        alive.ponged();
        assert_eq!(alive.poll(at(12), &rules), KeepAliveStep::Wait(Some(at(20))));
    }

    #[test]
    fn the_earliest_counts_and_the_end_of_life_before_all() {
        let start = Instant::now();
        let at = |seconds: u32| start + seconds * SECOND;
        let rules = KeepAliveRules {
            idle_timeout: Some(20 * SECOND),
            max_lifetime: Some(60 * SECOND),
            ..rules(WSAutoPingStrategy::PingWhenIdle)
        };
        let mut alive = KeepAlive::new(start);
        assert_eq!(alive.poll(at(0), &rules), KeepAliveStep::Wait(Some(at(10))));
        alive.pinged(at(10));
        alive.ponged();
        assert_eq!(alive.poll(at(20), &rules), KeepAliveStep::IdleTimeout);
        alive.received(at(50));
        assert_eq!(alive.poll(at(59), &rules), KeepAliveStep::Wait(Some(at(60))));
        assert_eq!(alive.poll(at(90), &rules), KeepAliveStep::LifetimeOver);
    }

    #[test]
    fn who_is_excused_gets_the_full_time_again() {
        let rules = rules(WSAutoPingStrategy::PingWhenIdle);
        let start = Instant::now();
        let at = |seconds: u32| start + seconds * SECOND;
        let mut alive = KeepAlive::new(start);
        alive.excuse(at(10));
        assert_eq!(alive.poll(at(10), &rules), KeepAliveStep::Wait(Some(at(20))));
        alive.pinged(at(20));
        alive.excuse(at(23));
        assert_eq!(alive.poll(at(23), &rules), KeepAliveStep::Wait(Some(at(26))));
    }

    #[test]
    fn times_beyond_the_clock_are_never() {
        let never = KeepAliveRules {
            idle_timeout: Some(Duration::MAX),
            max_lifetime: Some(Duration::MAX),
            ..KeepAliveRules::default()
        };
        let now = Instant::now();
        assert_eq!(KeepAlive::new(now).poll(now + SECOND, &never), KeepAliveStep::Wait(None));
    }
}
