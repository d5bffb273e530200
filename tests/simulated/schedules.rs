//! Random schedules: each seed is a few connections, a few dozen steps, and an end that must be orderly.
//!
//! `FEMTOWS_SCHEDULES` sets how many seeds are run; `FEMTOWS_SEED` runs one and tells what happens in it.

use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once};
use std::time::Duration;

use femtows::testkit::{Random, SimLink, TestKit};
use femtows::*;

use crate::actions::{act, close};
use crate::coverage;
use crate::listener::{Checker, SCHEDULED_PANIC};
use crate::plan::{EndPlan, LinkPlan, loop_config};
use crate::world::{EndId, World, peer};

const DEFAULT_SCHEDULES: u64 = 100_000;

#[test]
fn schedules() {
    silence_scheduled_panics();
    if let Some(seed) = number("FEMTOWS_SEED") {
        if let Err(failure) = run(seed, true) {
            panic!("seed {seed}: {failure}");
        }
        return;
    }
    let count = number("FEMTOWS_SCHEDULES").unwrap_or(DEFAULT_SCHEDULES);
    let next = AtomicU64::new(0);
    let failures = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= count {
                        return;
                    }
                    if let Err(failure) = run(seed, false) {
                        failures.lock().unwrap().push((seed, failure));
                        next.store(count, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap();
    failures.sort();
    let coverage = coverage::report();
    println!("{count} schedules: {coverage:?}");
    if let Some((seed, failure)) = failures.first() {
        panic!(
            "seed {seed}: {failure}\nreplay with: FEMTOWS_SEED={seed} cargo test --all-features --test simulated schedules"
        );
    }
    if count >= 1000 {
        let never: Vec<_> = coverage.iter().filter(|(_, count)| *count == 0).collect();
        assert!(never.is_empty(), "the schedules are void, these never happened: {never:?}");
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}

fn silence_scheduled_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !is_scheduled(info.payload()) {
                loud(info);
            }
        }));
    });
}

fn is_scheduled(payload: &dyn std::any::Any) -> bool {
    let message =
        payload.downcast_ref::<String>().map(String::as_str).or(payload.downcast_ref::<&str>().copied());
    message == Some(SCHEDULED_PANIC)
}

fn run(seed: u64, trace: bool) -> Result<(), String> {
    let result = panic::catch_unwind(AssertUnwindSafe(|| Schedule::new(seed, trace).run()));
    result.unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<String>().cloned();
        Err(format!(
            "panic: {}",
            message.as_deref().or(panic.downcast_ref().copied()).unwrap_or("no message")
        ))
    })
}

struct Schedule {
    kit: TestKit,
    world: Rc<World>,
    openings: Vec<Connecting>,
}

/// A connection from its first step on.
struct Connecting {
    link: SimLink,
    /// `None` once the attempt was given up.
    client: Option<WSTask<Result<WSTransport, WSConnectError>>>,
}

impl Connecting {
    fn has_ended(&self) -> bool {
        self.client.as_ref().is_none_or(WSTask::is_finished)
    }
}

impl Schedule {
    fn new(seed: u64, trace: bool) -> Self {
        let mut random = Random::new(seed);
        let mut kit = TestKit::with_config(seed, loop_config(&mut random));
        kit.spurious_events(random.pick(&[0, 0, 10]));
        let gentle = random.chance(40);
        let world = World::new(seed, gentle, kit.handle(), trace);
        world.note(|| format!("gentle: {gentle}"));
        Self { kit, world, openings: Vec::new() }
    }

    fn run(mut self) -> Result<(), String> {
        let connections = 1 + self.world.below(2);
        self.open();
        if self.world.chance(70) {
            self.kit.advance(Duration::from_millis(50));
        }
        for _ in 0..self.world.below(80) {
            if self.openings.len() < connections && self.world.chance(10) {
                self.open();
            }
            self.step();
            self.world.check_bounds();
            if self.world.failure().is_some() {
                break;
            }
        }
        if self.world.failure().is_none() {
            if self.world.chance(5) {
                return self.abandon();
            }
            self.finish();
        }
        let failure = self.world.failure();
        self.world.add_to_coverage();
        self.world.forget_transports();
        if let Some(failure) = failure {
            // A loop that is broken may never come to its end.
            std::mem::forget(self.kit);
            return Err(failure);
        }
        Ok(())
    }

    /// Begins a connection.
    fn open(&mut self) {
        let (world, client) = (Rc::clone(&self.world), 2 * self.openings.len());
        let server = peer(client);
        let plan = LinkPlan::new(&mut world.random.borrow_mut(), world.gentle);
        let ends = [0, 1].map(|_| EndPlan::new(&mut world.random.borrow_mut(), world.gentle, plan.max_len()));
        world.note(|| format!("open {client}, {server}: {plan:?} {ends:?}"));
        for end in &ends {
            world.add_end(end.clone());
        }
        let (server_world, client_world) = (Rc::clone(&world), Rc::clone(&world));
        let opening = self.kit.opening(
            move |_: &WSUpgradeRequest| decide(&server_world, server),
            move |_: &_, _: &_| Checker::boxed(&client_world, client),
            ends[1].server_config(),
            ends[0].connect_config(),
        );
        plan.apply(&opening.link);
        self.openings.push(Connecting { link: opening.link, client: Some(opening.client) });
    }

    fn step(&mut self) {
        let world = Rc::clone(&self.world);
        match world.below(20) {
            0..=9 => act(&world, world.below(world.count())),
            10..=13 => {
                self.kit.turn();
            }
            14..=15 => {
                self.kit.run_until_idle();
                (0..world.count()).for_each(|id| world.check_pressure(id));
            }
            16..=17 => {
                let most = if world.gentle { 20 } else { [20, 200, 3000][world.below(3)] };
                let duration = Duration::from_millis(world.below(most) as u64);
                world.note(|| format!("advance {duration:?}"));
                self.kit.advance(duration);
            }
            _ => self.disturb(),
        }
    }

    fn disturb(&mut self) {
        let world = &self.world;
        let opening = &mut self.openings[world.below(self.world.count() / 2)];
        let link = &opening.link;
        let direction = if world.chance(50) { link.to_server() } else { link.to_client() };
        let what = world.below(20);
        match what {
            0..=4 => drop(direction.stall()),
            5..=8 => drop(direction.unstall()),
            9..=12 => drop(direction.release(world.below(300))),
            13..=14 => drop(direction.capacity(1 + world.below(5000))),
            15 => drop(direction.max_read(1 + world.below(5000))),
            16 => drop(direction.max_write(1 + world.below(5000))),
            _ if world.gentle => {}
            17 if world.chance(50) => link.reset(),
            17 => {
                // Whoever awaited the opening does not want it any more.
                if let Some(client) = opening.client.take() {
                    world.handle.spawn(async { drop(client.cancel().await) }).detach();
                }
            }
            18 => drop(direction.cut()),
            _ => drop(direction.delay(Duration::from_millis(world.below(3000) as u64))),
        }
        world.note(|| format!("disturb {what}"));
    }

    /// Drops the loop in the middle of everything: each listener learns of it.
    fn abandon(self) -> Result<(), String> {
        let Self { kit, world, openings } = self;
        world.calm.set(true);
        drop(kit);
        for id in 0..world.count() {
            let counts = world.with(id, |end| (end.connected, end.disconnected));
            world.check(counts.0 == counts.1, || {
                format!("end {id}: connected, disconnected {counts:?} times")
            });
        }
        for opening in &openings {
            world.check(opening.has_ended(), || "an opening outlives its loop".into());
        }
        world.forget_transports();
        world.failure().map_or(Ok(()), Err)
    }

    /// Lets everything run out, closes what is still open, and looks at what is left.
    fn finish(&mut self) {
        let world = Rc::clone(&self.world);
        world.note(|| "finish".into());
        world.calm.set(true);
        for opening in &self.openings {
            calm_link(&opening.link);
        }
        for id in 0..world.count() {
            if let Some(transport) = world.transport(id) {
                transport.resume_reading();
            }
        }
        // Longer than any opening may take.
        self.kit.advance(Duration::from_secs(12));
        (0..world.count()).for_each(|id| check_at_rest(&world, id));
        for id in 0..world.count() {
            // Either end begins, or both at once.
            if let Some(transport) = world.transport(id).filter(|_| id % 2 == 1 || world.chance(50)) {
                close(&world, id, &transport);
            }
        }
        // A clean end needs no deadline, and leaves none behind.
        self.kit.advance(Duration::from_secs(if world.gentle { 1 } else { 30 }));
        (0..world.count()).for_each(|id| self.check_ended(id));
        for opening in &self.openings {
            world.check(opening.has_ended(), || "an opening never ended".into());
        }
        let left = self.kit.leftovers();
        world.check(left.is_empty(), || format!("left in the loop: {left:?}"));
    }

    fn check_ended(&self, id: EndId) {
        let world = &self.world;
        let (connected, disconnected, gone, waited) = world.with(id, |end| {
            let waited = end.waiter.as_ref().is_none_or(WSTask::is_finished);
            (end.connected, end.disconnected, end.listener_gone, waited)
        });
        world.check(connected == disconnected, || {
            format!("end {id}: connected {connected} times, disconnected {disconnected} times")
        });
        world.check(gone || connected == 0, || format!("end {id}: the listener was not dropped"));
        world.check(waited, || format!("end {id}: wait_disconnected never ends"));
        if let Some(transport) = world.transport(id) {
            world.check_end(id, &transport);
            self.check_close(id, &transport);
        }
        if world.gentle {
            self.check_clean_end(id);
        }
    }

    /// What one end says it sent, the other says it received.
    fn check_close(&self, id: EndId, transport: &WSTransport) {
        let received = transport.close_handshake().recv;
        let Some(sender) = self.world.transport(peer(id)).filter(|_| received.is_some()) else { return };
        let sent = sender.close_handshake().sent;
        self.world.check(sent == received, || format!("end {id}: CLOSE was {sent:?}, received {received:?}"));
    }

    fn check_clean_end(&self, id: EndId) {
        let world = &self.world;
        let messages = world.with(peer(id), |end| end.plan.messages);
        let left = world.with(id, |end| (!end.out.all_received(messages)).then_some(end.out.frames.len()));
        world.check(left.is_none(), || format!("end {id}: {left:?} frames were not delivered"));
        let info = world.transport(id).and_then(|transport| transport.disconnect_info().cloned());
        let clean = info
            .as_ref()
            .is_some_and(|info| info.cause == WSDisconnectCause::Closed && info.bytes_unsent == 0);
        world.check(clean, || format!("end {id}: not a clean end: {info:?}"));
    }
}

fn calm_link(link: &SimLink) {
    for direction in [link.to_server(), link.to_client()] {
        direction.unstall().capacity(1 << 20).max_read(usize::MAX).max_write(usize::MAX);
    }
}

/// The server's answer to a request.
fn decide(world: &Rc<World>, id: EndId) -> WSUpgradeOutcome {
    if !world.chance(20) {
        return WSUpgradeOutcome::Accept(Checker::boxed(world, id));
    }
    let choice = world.below(if world.gentle { 1 } else { 4 });
    world.note(|| format!("{id}: deferred or refused {choice}"));
    match choice {
        0 | 1 => {
            let (ticket, later) = WSDeferredUpgrade::new();
            let (world, delay) = (Rc::clone(world), Duration::from_millis(world.below(30) as u64));
            let handle = world.handle.clone();
            let decide = move || {
                if choice == 0 {
                    ticket.accept(Checker::boxed(&world, id));
                }
            };
            handle.call_later(delay, decide).detach();
            WSUpgradeOutcome::Deferred(later)
        }
        2 => None::<Checker>.into_upgrade(),
        _ => panic!("{SCHEDULED_PANIC}"),
    }
}

/// A gentle schedule at rest has nothing waiting anywhere.
fn check_at_rest(world: &World, id: EndId) {
    let Some(transport) = world.transport(id).filter(|_| world.gentle) else { return };
    let other = world.transport(peer(id));
    let closing =
        [Some(&transport), other.as_ref()].into_iter().flatten().any(WSTransport::is_close_frame_sent);
    if closing {
        return;
    }
    let waiting = transport.buffered_amount();
    world.check(waiting == 0, || format!("end {id}: {waiting} bytes wait though the link is free"));
    world.with(id, |end| {
        world.check(!end.writing_paused, || format!("end {id}: resume_writing never came"));
        let (asked, answered) = (end.out.newest_ping, end.out.newest_pong);
        world.check(asked == answered, || format!("end {id}: ping {asked} was not answered, {answered} was"));
    });
}
