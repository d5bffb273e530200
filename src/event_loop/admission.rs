//! How many connections a server holds, and of whom.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use super::slots::Token;

/// Counts the connections of a server from the moment they are accepted until their slots are free.
///
/// # Invariants
/// - `present` is the number of tokens that have entered and not left.
/// - `networks` is empty unless there is a limit per network; then it counts the values of `of`, and holds no zero.
#[derive(Debug)]
pub(crate) struct Admission {
    max: usize,
    max_per_network: usize,
    present: Cell<usize>,
    refused: Cell<u64>,
    networks: RefCell<HashMap<IpAddr, usize>>,
    of: RefCell<HashMap<Token, IpAddr>>,
}

impl Admission {
    pub(crate) fn new(max: usize, max_per_network: usize) -> Self {
        Self {
            max,
            max_per_network,
            present: Cell::new(0),
            refused: Cell::new(0),
            networks: RefCell::default(),
            of: RefCell::default(),
        }
    }

    /// Whether there is room for one more from this address; if not, it is counted as refused. The address is asked for only if there
    /// is a limit on it; `None` has none.
    pub(super) fn has_room(&self, peer: impl FnOnce() -> Option<IpAddr>) -> bool {
        let fits = self.present.get() < self.max
            && (!self.counts_networks()
                || peer().is_none_or(|ip| self.held_by(network(ip)) < self.max_per_network));
        if !fits {
            self.refused.set(self.refused.get() + 1);
        }
        fits
    }

    /// A connection that was let in has this slot.
    pub(super) fn enter(&self, token: Token, peer: impl FnOnce() -> Option<IpAddr>) {
        self.present.set(self.present.get() + 1);
        if self.counts_networks()
            && let Some(ip) = peer()
        {
            let network = network(ip);
            *self.networks.borrow_mut().entry(network).or_default() += 1;
            self.of.borrow_mut().insert(token, network);
        }
    }

    /// Its slot is free.
    pub(super) fn leave(&self, token: Token) {
        self.present.set(self.present.get() - 1);
        if !self.counts_networks() {
            return;
        }
        let Some(network) = self.of.borrow_mut().remove(&token) else { return };
        let mut networks = self.networks.borrow_mut();
        if let Some(count) = networks.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                networks.remove(&network);
            }
        }
    }

    /// Connections, openings and refusals under way included.
    #[cfg(test)]
    pub(super) fn present(&self) -> usize {
        self.present.get()
    }

    /// How many found no room.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.get()
    }

    fn counts_networks(&self) -> bool {
        self.max_per_network < usize::MAX
    }

    fn held_by(&self, network: IpAddr) -> usize {
        self.networks.borrow().get(&network).copied().unwrap_or(0)
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
    use super::super::slots::Slots;
    use super::*;

    /// Lets one in, if there is room.
    fn let_in(admission: &Admission, slots: &mut Slots<()>, ip: &str) -> Option<Token> {
        let peer = || Some(ip.parse().unwrap());
        admission.has_room(peer).then(|| {
            let token = slots.insert(());
            admission.enter(token, peer);
            token
        })
    }

    #[test]
    fn the_total_counts_whoever_comes() {
        let (admission, mut slots) = (Admission::new(2, usize::MAX), Slots::new());
        let first = let_in(&admission, &mut slots, "10.0.0.1").unwrap();
        assert!(let_in(&admission, &mut slots, "10.0.0.2").is_some());
        assert!(let_in(&admission, &mut slots, "10.0.0.3").is_none());
        assert_eq!((admission.present(), admission.refused()), (2, 1));
        admission.leave(first);
        assert!(let_in(&admission, &mut slots, "10.0.0.3").is_some());
    }

    #[test]
    fn networks_count_apart_and_are_forgotten() {
        let (admission, mut slots) = (Admission::new(usize::MAX, 2), Slots::new());
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
        assert!(admission.networks.borrow().is_empty() && admission.of.borrow().is_empty());
    }

    #[test]
    fn an_ipv6_network_is_its_first_half() {
        let (admission, mut slots) = (Admission::new(usize::MAX, 1), Slots::new());
        assert!(let_in(&admission, &mut slots, "2001:db8::1").is_some());
        assert!(let_in(&admission, &mut slots, "2001:db8::ffff:2").is_none());
        assert!(let_in(&admission, &mut slots, "2001:db8:0:1::1").is_some());
    }

    #[test]
    fn whoever_has_no_address_counts_only_in_all() {
        let admission = Admission::new(3, 1);
        let mut slots = Slots::new();
        for _ in 0..3 {
            assert!(admission.has_room(|| None));
            admission.enter(slots.insert(()), || None);
        }
        assert!(!admission.has_room(|| None));
    }
}
