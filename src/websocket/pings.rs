//! PINGs that the application waits for.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::{Duration, Instant};

/// PINGs on their way, in the order in which they were sent.
#[derive(Debug, Default)]
pub(super) struct Pings {
    next: u64,
    in_flight: VecDeque<Ping>,
    /// The number that the next PING had when the liveness check sent its own, until that is answered.
    auto: Option<(u64, [u8; 8])>,
}

#[derive(Debug)]
struct Ping {
    id: u64,
    payload: Box<[u8]>,
    sent_at: Instant,
    waker: Option<Waker>,
    /// How long the answer took, once it is there.
    took: Option<Duration>,
}

/// What a PONG was the answer to.
#[derive(Debug, Default)]
pub(super) struct Answered {
    /// Those that wait for it.
    pub(super) wakers: Vec<Waker>,
    /// The peer has also seen the PING of the liveness check.
    pub(super) proves_alive: bool,
}

impl Pings {
    /// Whether a PING with this payload waits for its answer.
    pub(super) fn is_in_flight(&self, payload: &[u8]) -> bool {
        self.in_flight.iter().any(|ping| ping.took.is_none() && *ping.payload == *payload)
    }

    /// Notes a PING; its number.
    pub(super) fn sent(&mut self, payload: &[u8], now: Instant) -> u64 {
        let id = self.next;
        self.next += 1;
        self.in_flight.push_back(Ping { id, payload: payload.into(), sent_at: now, waker: None, took: None });
        id
    }

    /// A PONG came: it answers the PING with its payload and all before it (RFC 6455 section 5.5.3 lets a peer answer only the newest).
    pub(super) fn answered(&mut self, payload: &[u8], now: Instant) -> Answered {
        let Some(last) =
            self.in_flight.iter().position(|ping| ping.took.is_none() && *ping.payload == *payload)
        else {
            return Answered::default();
        };
        let newest = self.in_flight[last].id;
        let wakers = self.answer_up_to(last + 1, now);
        Answered { wakers, proves_alive: self.auto.is_some_and(|(next, _)| next <= newest) }
    }

    /// A PONG came: if it is the answer to the PING of the liveness check, it answers all before that, too. Those that wait for them.
    pub(super) fn auto_answered(&mut self, payload: &[u8], now: Instant) -> Option<Vec<Waker>> {
        let (next, _) = self.auto.filter(|(_, auto)| auto == payload)?;
        let earlier = self.in_flight.iter().take_while(|ping| ping.id < next).count();
        Some(self.answer_up_to(earlier, now))
    }

    /// The oldest ones, so many of them, are answered.
    fn answer_up_to(&mut self, count: usize, now: Instant) -> Vec<Waker> {
        let waiting = self.in_flight.iter_mut().take(count).filter(|ping| ping.took.is_none());
        let wakers = waiting.filter_map(|ping| {
            ping.took = Some(now.saturating_duration_since(ping.sent_at));
            ping.waker.take()
        });
        wakers.collect()
    }

    /// How long the answer took, if it is there.
    pub(super) fn took(&self, id: u64) -> Option<Duration> {
        self.in_flight.iter().find(|ping| ping.id == id)?.took
    }

    /// Its task is woken when the answer comes. The waker that it had before, which is to be dropped outside of borrows.
    #[must_use = "a waker is dropped outside of borrows"]
    pub(super) fn wait(&mut self, id: u64, waker: &Waker) -> Option<Waker> {
        let ping = self.in_flight.iter_mut().find(|ping| ping.id == id)?;
        ping.waker.replace(waker.clone())
    }

    /// Nobody waits for this one any more. Its waker.
    #[must_use = "a waker is dropped outside of borrows"]
    pub(super) fn forget(&mut self, id: u64) -> Option<Waker> {
        let index = self.in_flight.iter().position(|ping| ping.id == id)?;
        self.in_flight.remove(index)?.waker
    }

    /// The liveness check is about to send a PING with this payload.
    pub(super) fn auto_sent(&mut self, payload: [u8; 8]) {
        self.auto = Some((self.next, payload));
    }

    pub(super) fn take_wakers(&mut self) -> Vec<Waker> {
        self.in_flight.iter_mut().filter_map(|ping| ping.waker.take()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pong_answers_its_ping_and_all_before_it() {
        let (mut pings, start) = (Pings::default(), Instant::now());
        let (a, b, c) = (pings.sent(b"a", start), pings.sent(b"b", start), pings.sent(b"c", start));
        pings.answered(b"b", start + Duration::from_millis(7));
        assert_eq!(pings.took(a), Some(Duration::from_millis(7)));
        assert_eq!(pings.took(b), Some(Duration::from_millis(7)));
        assert_eq!(pings.took(c), None);
        assert!(pings.is_in_flight(b"c") && !pings.is_in_flight(b"a"));
    }

    #[test]
    fn an_unknown_or_repeated_pong_answers_nothing() {
        let (mut pings, start) = (Pings::default(), Instant::now());
        let a = pings.sent(b"a", start);
        assert!(pings.answered(b"x", start).wakers.is_empty());
        assert_eq!(pings.took(a), None);
        assert!(pings.wait(a, Waker::noop()).is_none());
        assert_eq!(pings.answered(b"a", start).wakers.len(), 1);
        assert_eq!(pings.answered(b"a", start).wakers.len(), 0);
    }

    #[test]
    fn a_later_pong_proves_that_the_peer_is_alive() {
        let (mut pings, start) = (Pings::default(), Instant::now());
        pings.sent(b"before", start);
        pings.auto_sent([7; 8]);
        pings.sent(b"after", start);
        assert!(!pings.answered(b"before", start).proves_alive);
        assert!(pings.answered(b"after", start).proves_alive);
    }

    #[test]
    fn the_answer_to_the_liveness_check_answers_what_was_sent_before_it() {
        let (mut pings, start) = (Pings::default(), Instant::now());
        assert!(pings.auto_answered(&[0; 8], start).is_none(), "nothing was asked");
        let before = pings.sent(b"before", start);
        assert!(pings.wait(before, Waker::noop()).is_none());
        pings.auto_sent([7; 8]);
        let after = pings.sent(b"after", start);
        let later = start + Duration::from_millis(7);
        assert!(pings.auto_answered(b"", later).is_none() && pings.took(before).is_none());
        assert_eq!(pings.auto_answered(&[7; 8], later).expect("its payload").len(), 1);
        assert_eq!(pings.took(before), Some(Duration::from_millis(7)));
        assert_eq!(pings.took(after), None);
    }
}
