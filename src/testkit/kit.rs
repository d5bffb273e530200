use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::connection::{Conn, WSTransport};
use crate::mask::MaskKeys;
use crate::proto::{Role, deadline_after};
use crate::runtime::{LoopCore, Readiness, Token, WSLoopConfig, WSLoopHandle};

use super::wire::{SimStream, Wire};
use super::{Random, SimLink};

/// More turns than this without time passing are a loop that never comes to rest.
const MAX_TURNS: usize = 1_000_000;

/// An event loop over simulated connections and a virtual clock.
///
/// The clock stands still while code runs; it moves in [`advance`](Self::advance) and [`block_on`](Self::block_on). Dropping the kit
/// is dropping the loop: each open connection gets its `on_ws_disconnected`.
pub struct TestKit {
    pub(super) core: Rc<LoopCore>,
    wires: Vec<Rc<RefCell<Wire>>>,
    random: Random,
    seed: u64,
    /// Percent of turns in which an end gets an event without a reason.
    spurious: usize,
}

impl TestKit {
    /// A loop with the default configuration.
    ///
    /// # Panics
    /// If the system has no descriptors left: the loop makes its waker, though nothing sleeps here.
    pub fn new(seed: u64) -> Self {
        Self::with_config(seed, WSLoopConfig::default())
    }

    /// A loop with this configuration; what concerns sleeping is without effect.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    pub fn with_config(seed: u64, config: WSLoopConfig) -> Self {
        let core = simulated_core(config).expect("the system has descriptors left");
        core.use_virtual_time();
        *core.keys() = MaskKeys::seeded(seed);
        Self { core, wires: Vec::new(), random: Random::new(seed), seed, spurious: 0 }
    }

    /// The loop, for servers' and clients' own code: timers, tasks, sleeping, all in virtual time.
    pub fn handle(&self) -> WSLoopHandle {
        WSLoopHandle::new(Rc::clone(&self.core))
    }

    /// The virtual time.
    pub fn now(&self) -> Instant {
        self.core.now()
    }

    /// The seed that this kit was made with.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Percent of turns in which some connection is told that it is ready though nothing happened, as mio allows. Default 0.
    pub fn spurious_events(&mut self, percent: usize) {
        self.spurious = percent;
    }

    /// One turn of the loop: bytes that are due arrive, the ends that have news are served in an order that the seed chooses, then
    /// further turns, posted calls, timers and tasks. The clock does not move. Returns whether there is more to do at this time.
    pub fn turn(&mut self) -> bool {
        let events = self.take_events();
        let core = &self.core;
        core.iterate(|| events.into_iter().for_each(|(token, readiness)| core.ready(token, readiness)));
        self.is_active()
    }

    /// Turns until nothing more happens at this time.
    ///
    /// # Panics
    /// If that never comes: two ends keep each other busy.
    pub fn run_until_idle(&mut self) {
        for _ in 0..MAX_TURNS {
            if !self.turn() {
                return;
            }
        }
        panic!("the loop does not come to rest (seed {})", self.seed);
    }

    /// Lets time pass: everything that is due until then happens in order, each at its own time.
    ///
    /// # Panics
    /// As [`run_until_idle`](Self::run_until_idle).
    pub fn advance(&mut self, duration: Duration) {
        let until = deadline_after(self.now(), duration);
        self.run_until_idle();
        while let Some(next) = self.next_due().filter(|&next| next <= until) {
            self.set_now(next);
            self.run_until_idle();
        }
        self.set_now(until);
        self.run_until_idle();
    }

    /// Runs until `future` is done, and lets time pass where nothing else happens.
    ///
    /// # Panics
    /// If nothing is left to happen and the future is not done, or as [`run_until_idle`](Self::run_until_idle).
    pub fn block_on<F: Future>(&mut self, future: F) -> F::Output {
        let mut future = pin!(future);
        loop {
            let mut output = Poll::Pending;
            let core = Rc::clone(&self.core);
            core.dispatch_scope(|| output = future.as_mut().poll(&mut Context::from_waker(Waker::noop())));
            if let Poll::Ready(output) = output {
                return output;
            }
            if !self.is_active() {
                let Some(next) = self.next_due() else {
                    panic!("nothing is left that could end the wait (seed {})", self.seed);
                };
                self.set_now(next);
            }
            self.turn();
        }
    }

    /// When something happens next by itself: a timer, or bytes that arrive.
    pub fn next_due(&self) -> Option<Instant> {
        let timer = self.core.next_deadline();
        let wires = self.wires.iter().filter_map(|wire| wire.borrow().next_due());
        // What came due while a turn ran is due now.
        wires.chain(timer).min().map(|due| due.max(self.now()))
    }

    /// What the loop still holds: nothing, once every connection has ended and every timer has fired or was dropped.
    pub fn leftovers(&self) -> Vec<&'static str> {
        let left = [
            (self.core.slots_in_use() > 0, "slots"),
            (self.core.next_deadline().is_some(), "timers"),
            (self.core.has_ready(), "connections that want a further turn"),
            (self.core.has_deferred(), "deferred calls"),
            (self.core.has_work(), "work"),
            (self.wires.iter().any(|wire| !both_closed(&wire.borrow())), "streams"),
        ];
        left.into_iter().filter_map(|(is_left, what)| is_left.then_some(what)).collect()
    }

    /// The open connection at one end of a link.
    pub fn transport(&self, link: &SimLink, role: Role) -> Option<WSTransport> {
        let token = link.wire.borrow().token(role)?;
        self.core.source::<Conn>(token).map(WSTransport::new)
    }

    /// A new link and its two ends, the client's first.
    pub(super) fn connect(&mut self) -> (SimLink, SimStream, SimStream) {
        self.wires.retain(|wire| !both_closed(&wire.borrow()));
        let random = Random::new(self.random.next_u64());
        let wire = Rc::new(RefCell::new(Wire::new(self.now(), random)));
        self.wires.push(Rc::clone(&wire));
        let end = |role| SimStream { wire: Rc::clone(&wire), role };
        (SimLink { wire: Rc::clone(&wire) }, end(Role::Client), end(Role::Server))
    }

    fn take_events(&mut self) -> Vec<(Token, Readiness)> {
        let mut events = Vec::new();
        for wire in &self.wires {
            let mut wire = wire.borrow_mut();
            wire.pump();
            for role in [Role::Client, Role::Server] {
                let spurious = self.random.chance(self.spurious);
                events.extend(wire.take_event(role).or_else(|| wire.spurious(role).filter(|_| spurious)));
            }
        }
        self.random.shuffle(&mut events);
        events
    }

    fn is_active(&self) -> bool {
        let due = self.core.next_deadline().is_some_and(|deadline| deadline <= self.now());
        due || self.core.has_work() || self.wires.iter().any(|wire| wire.borrow().is_active())
    }

    fn set_now(&mut self, now: Instant) {
        self.core.set_now(now);
        for wire in &self.wires {
            wire.borrow_mut().now = now;
        }
    }
}

impl Drop for TestKit {
    fn drop(&mut self) {
        self.core.close();
    }
}

impl fmt::Debug for TestKit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestKit")
            .field("seed", &self.seed)
            .field("leftovers", &self.leftovers())
            .finish_non_exhaustive()
    }
}

fn simulated_core(config: WSLoopConfig) -> io::Result<Rc<LoopCore>> {
    let poll = mio::Poll::new()?;
    LoopCore::new(config, poll.registry().try_clone()?, Instant::now())
}

fn both_closed(wire: &Wire) -> bool {
    wire.is_closed(Role::Client) && wire.is_closed(Role::Server)
}
