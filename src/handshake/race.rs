//! Which address to try when (RFC 8305), without I/O.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long an attempt is given before the next one starts beside it (RFC 8305 section 5, "Connection Attempt Delay").
pub(crate) const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// The order and the times of attempts to connect to one host.
///
/// Ask [`step`](Self::step) at the beginning, after each [`failed`](Self::failed), and whenever the time has come that it named. The
/// first attempt that succeeds wins; to drop the others is the caller's part.
///
/// ```text
/// ::1      |-------------------------(dead)--->
/// 1.2.3.4       250 ms |---refused
/// ::2                             |----------- won
/// ```
#[derive(Debug)]
pub(crate) struct Race {
    waiting: VecDeque<SocketAddr>,
    running: usize,
    /// When the next attempt starts, whatever becomes of those that run. Of no meaning while none runs.
    next_at: Instant,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Begin to connect to this address, then ask again.
    Start(SocketAddr),
    /// Nothing until an attempt ends, or until this time.
    WaitUntil(Instant),
    /// Nothing until an attempt ends: no address is left to start.
    Wait,
    /// No attempt runs, and no address is left.
    Lost,
}

impl Race {
    /// A race over `addrs`, which are in the order of the system's resolver (RFC 6724).
    pub(crate) fn new(addrs: &[SocketAddr], now: Instant) -> Self {
        Self { waiting: interleave(addrs), running: 0, next_at: now }
    }

    pub(crate) fn step(&mut self, now: Instant) -> Step {
        if self.waiting.is_empty() {
            return if self.running == 0 { Step::Lost } else { Step::Wait };
        }
        if self.running > 0 && now < self.next_at {
            return Step::WaitUntil(self.next_at);
        }
        let Some(addr) = self.waiting.pop_front() else { return Step::Lost };
        self.running += 1;
        self.next_at = now + ATTEMPT_DELAY;
        Step::Start(addr)
    }

    /// An attempt has failed: the next one does not wait for its time.
    pub(crate) fn failed(&mut self, now: Instant) {
        debug_assert!(self.running > 0, "only what was started can fail");
        self.running = self.running.saturating_sub(1);
        self.next_at = now;
    }
}

/// RFC 8305 section 4: the families take turns, beginning with that of the first address; within a family the order stays. An address
/// that is there twice is tried once.
fn interleave(addrs: &[SocketAddr]) -> VecDeque<SocketAddr> {
    let Some(first) = addrs.first() else { return VecDeque::new() };
    let mut unique: Vec<SocketAddr> = Vec::with_capacity(addrs.len());
    for addr in addrs {
        if !unique.contains(addr) {
            unique.push(*addr);
        }
    }
    let (mut same, mut other): (VecDeque<_>, VecDeque<_>) =
        unique.into_iter().partition(|addr| addr.is_ipv6() == first.is_ipv6());
    let mut order = VecDeque::with_capacity(same.len() + other.len());
    while !same.is_empty() || !other.is_empty() {
        order.extend(same.pop_front());
        order.extend(other.pop_front());
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn addrs(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| format!("{text}:80").parse().expect("an address")).collect()
    }

    #[test]
    fn families_take_turns() {
        for (given, wanted) in [
            (
                &["[::1]", "[::2]", "[::3]", "1.0.0.1", "1.0.0.2"][..],
                &["[::1]", "1.0.0.1", "[::2]", "1.0.0.2", "[::3]"][..],
            ),
            (&["1.0.0.1", "1.0.0.2", "[::1]"], &["1.0.0.1", "[::1]", "1.0.0.2"]),
            (&["1.0.0.2", "1.0.0.1", "1.0.0.2"], &["1.0.0.2", "1.0.0.1"]),
            (&[], &[]),
        ] {
            assert_eq!(interleave(&addrs(given)), addrs(wanted), "{given:?}");
        }
    }

    #[test]
    fn a_dead_first_address_costs_one_step() {
        let now = Instant::now();
        let all = addrs(&["[::1]", "1.0.0.1", "[::2]"]);
        let mut race = Race::new(&all, now);
        assert_eq!(race.step(now), Step::Start(all[0]));
        assert_eq!(race.step(now), Step::WaitUntil(now + ATTEMPT_DELAY));
        assert_eq!(
            race.step(now + (ATTEMPT_DELAY.saturating_sub(MS))),
            Step::WaitUntil(now + ATTEMPT_DELAY),
            "asking does not delay"
        );
        assert_eq!(race.step(now + ATTEMPT_DELAY), Step::Start(all[1]));
        assert_eq!(race.step(now + ATTEMPT_DELAY), Step::WaitUntil(now + 2 * ATTEMPT_DELAY));
        assert_eq!(race.step(now + 2 * ATTEMPT_DELAY), Step::Start(all[2]));
        assert_eq!(race.step(now + 2 * ATTEMPT_DELAY), Step::Wait);
    }

    #[test]
    fn a_failure_starts_the_next_at_once() {
        let now = Instant::now();
        let all = addrs(&["[::1]", "1.0.0.1", "[::2]"]);
        let mut race = Race::new(&all, now);
        assert_eq!(race.step(now), Step::Start(all[0]));
        race.failed(now + MS);
        assert_eq!(race.step(now + MS), Step::Start(all[1]));
        assert_eq!(
            race.step(now + MS),
            Step::WaitUntil(now + MS + ATTEMPT_DELAY),
            "the step is that of the new attempt"
        );
        race.failed(now + 2 * MS);
        assert_eq!(race.step(now + 2 * MS), Step::Start(all[2]));
        assert_eq!(race.step(now + 2 * MS), Step::Wait);
        race.failed(now + 3 * MS);
        assert_eq!(race.step(now + 3 * MS), Step::Lost);
    }

    #[test]
    fn no_address_is_lost_from_the_start() {
        let now = Instant::now();
        assert_eq!(Race::new(&[], now).step(now), Step::Lost);
    }

    /// Whatever the attempts do, each address is tried once, in order, and a dead one holds up the next by one step and no more.
    #[test]
    fn every_schedule_tries_each_address_in_time() {
        let all = addrs(&["[::1]", "1.0.0.1", "[::2]", "1.0.0.2", "[::3]"]);
        // Of each attempt: after how many milliseconds it fails; 0 never.
        for schedule in 0..3_u32.pow(5) {
            let fails_after = |nth: usize| [0, 1, 600][(schedule / 3_u32.pow(nth as u32) % 3) as usize];
            let begin = Instant::now();
            let mut race = Race::new(&all, begin);
            let (mut started, mut failing) = (Vec::new(), Vec::new());
            for ms in 0..5000 {
                let now = begin + ms * MS;
                for _ in failing.extract_if(.., |at: &mut Instant| *at <= now) {
                    race.failed(now);
                }
                while let Step::Start(addr) = race.step(now) {
                    let after = fails_after(started.len());
                    failing.extend((after > 0).then(|| now + after * MS));
                    started.push((addr, now));
                }
            }
            assert_eq!(started.iter().map(|(addr, _)| *addr).collect::<Vec<_>>(), all);
            assert!(started.windows(2).all(|pair| pair[1].1 - pair[0].1 <= ATTEMPT_DELAY), "{schedule}");
            let failed = (0..5).filter(|&nth| fails_after(nth) > 0).count();
            let last = race.step(begin + 5000 * MS);
            assert_eq!(last, if failed == 5 { Step::Lost } else { Step::Wait });
        }
    }
}
