//! How many connections a server holds, and of whom.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::runtime::Token;

/// Counts the connections of a server from the moment they are let in until their slots are free.
///
/// Other threads let in what they hand to the server, so that its own thread need not look at what
/// it has no room for.
#[derive(Debug)]
pub(crate) struct Admission {
    max: usize,
    max_per_network: usize,
    count: Mutex<Count>,
}

/// # Invariants
/// - `present` is the number of seats, plus the number of tokens that have taken one and not left.
/// - `networks` is empty unless there is a limit per network; then it counts those of the seats and
///   the values of `of`, and holds no zero.
#[derive(Debug, Default)]
struct Count {
    present: usize,
    refused: u64,
    networks: HashMap<IpAddr, usize>,
    of: HashMap<Token, IpAddr>,
}

/// Room for a connection that has no slot yet. Dropping it gives the room back.
#[derive(Debug)]
pub(crate) struct Seat {
    /// `None` once taken.
    admission: Option<Arc<Admission>>,
    network: Option<IpAddr>,
}

impl Admission {
    pub(crate) fn new(max: usize, max_per_network: usize) -> Self {
        Self { max, max_per_network, count: Mutex::default() }
    }

    /// Returns room for one more from this address, if there is any. `peer` is called only if
    /// there is a limit per address; an address of `None` is not limited.
    pub(super) fn let_in(self: &Arc<Self>, peer: impl FnOnce() -> Option<IpAddr>) -> Option<Seat> {
        let network = if self.counts_networks() { peer().map(network) } else { None };
        let mut count = self.count();
        let held = network.and_then(|network| count.networks.get(&network));
        if count.present >= self.max || held.is_some_and(|held| *held >= self.max_per_network) {
            return None;
        }
        count.present += 1;
        if let Some(network) = network {
            *count.networks.entry(network).or_default() += 1;
        }
        Some(Seat { admission: Some(Arc::clone(self)), network })
    }

    /// Records a connection that found no room.
    pub(super) fn refuse(&self) {
        self.count().refused += 1;
    }

    /// Its slot is free.
    pub(super) fn leave(&self, token: Token) {
        let mut count = self.count();
        let network = if self.counts_networks() { count.of.remove(&token) } else { None };
        count.give_back(network);
    }

    /// Connections, openings and refusals under way included.
    #[cfg(test)]
    pub(super) fn present(&self) -> usize {
        self.count().present
    }

    /// How many found no room.
    pub(crate) fn refused(&self) -> u64 {
        self.count().refused
    }

    fn counts_networks(&self) -> bool {
        self.max_per_network < usize::MAX
    }

    fn count(&self) -> MutexGuard<'_, Count> {
        // Nothing panics while the lock is held, so the count is right.
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Count {
    fn give_back(&mut self, network: Option<IpAddr>) {
        self.present -= 1;
        let Some(network) = network else { return };
        if let Some(count) = self.networks.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                self.networks.remove(&network);
            }
        }
    }
}

impl Seat {
    /// Gives the place to the connection in this slot, which [leaves](Admission::leave) with it.
    pub(super) fn take(mut self, token: Token) {
        if let Some(admission) = self.admission.take()
            && let Some(network) = self.network
        {
            admission.count().of.insert(token, network);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(admission) = &self.admission {
            admission.count().give_back(self.network);
        }
    }
}

/// What counts as one peer: an IPv4 address, however it is written, or the first 64 bits of an IPv6 address.
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Slots;

    fn admission(max: usize, max_per_network: usize) -> Arc<Admission> {
        Arc::new(Admission::new(max, max_per_network))
    }

    /// Lets one in, if there is room.
    fn let_in(admission: &Arc<Admission>, slots: &mut Slots<()>, ip: &str) -> Option<Token> {
        let seat = admission.let_in(|| Some(ip.parse().unwrap()))?;
        let token = slots.insert(());
        seat.take(token);
        Some(token)
    }

    #[test]
    fn the_total_counts_whoever_comes() {
        let (admission, mut slots) = (admission(2, usize::MAX), Slots::new());
        let first = let_in(&admission, &mut slots, "10.0.0.1").unwrap();
        assert!(let_in(&admission, &mut slots, "10.0.0.2").is_some());
        assert!(let_in(&admission, &mut slots, "10.0.0.3").is_none());
        assert_eq!(admission.present(), 2);
        admission.leave(first);
        assert!(let_in(&admission, &mut slots, "10.0.0.3").is_some());
    }

    #[test]
    fn networks_count_apart_and_are_forgotten() {
        let (admission, mut slots) = (admission(usize::MAX, 2), Slots::new());
        let mut of_one = Vec::new();
        for ip in ["10.0.0.1", "::ffff:10.0.0.1"] {
            of_one.push(let_in(&admission, &mut slots, ip).unwrap());
        }
        assert!(let_in(&admission, &mut slots, "10.0.0.1").is_none(), "however it is written");
        let of_other = let_in(&admission, &mut slots, "10.0.0.2").unwrap();
        admission.leave(of_one[0]);
        of_one[0] = let_in(&admission, &mut slots, "10.0.0.1").unwrap();
        for token in of_one.into_iter().chain([of_other]) {
            admission.leave(token);
        }
        assert_eq!(admission.present(), 0);
        let count = admission.count();
        assert!(count.networks.is_empty() && count.of.is_empty());
    }

    #[test]
    fn an_ipv6_network_is_its_first_half() {
        let (admission, mut slots) = (admission(usize::MAX, 1), Slots::new());
        assert!(let_in(&admission, &mut slots, "2001:db8::1").is_some());
        assert!(let_in(&admission, &mut slots, "2001:db8::ffff:2").is_none());
        assert!(let_in(&admission, &mut slots, "2001:db8:0:1::1").is_some());
    }

    #[test]
    fn whoever_has_no_address_counts_only_in_all() {
        let admission = admission(3, 1);
        let seats: Vec<_> = (0..3).map(|_| admission.let_in(|| None).unwrap()).collect();
        assert!(admission.let_in(|| None).is_none());
        drop(seats);
    }

    #[test]
    fn a_seat_that_is_dropped_gives_its_room_back() {
        let admission = admission(1, 1);
        let peer = || Some([10, 0, 0, 1].into());
        let seat = admission.let_in(peer).unwrap();
        assert!(admission.let_in(peer).is_none());
        drop(seat);
        assert_eq!(admission.present(), 0);
        assert!(admission.let_in(peer).is_some());
    }
}
