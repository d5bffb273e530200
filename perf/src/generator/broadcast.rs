//! One publisher, many subscribers.

use std::io::Write;
use std::time::Instant;

use super::connection::{Connection, Expected};
use super::{Check, Fault, Fleet, Outcome, PATIENCE, Plan, Script, Target, Until};
use crate::sys::Wait;

/// Subscribers on `/sub` and a publisher on `/pub`.
#[derive(Debug)]
pub(crate) struct Broadcast {
    subscribers: Fleet,
    publisher: Connection,
}

impl Broadcast {
    /// Connects all.
    ///
    /// # Errors
    /// If the server does not accept or upgrade one.
    pub(crate) fn open(target: &Target, subscribers: usize) -> Result<Self, Fault> {
        let subscribers = Fleet::open(target, "/sub", subscribers)?;
        let publisher: Connection = Connection::open_all(target, "/pub", 1)?.remove(0);
        publisher.stream.set_nonblocking(false).map_err(|error| Fault::Io("blocking", error))?;
        Ok(Self { subscribers, publisher })
    }

    /// Publishes the requests of `script`, each when every subscriber has all messages of the one before.
    ///
    /// The outcome counts deliveries; its times are those from a publication to the last delivery.
    ///
    /// # Errors
    /// At the first wrong byte, a lost connection, or a silent server.
    pub(crate) fn run(&mut self, script: &Script, plan: Plan) -> Result<Outcome, Fault> {
        let started = Instant::now();
        let mut outcome = Outcome::new();
        for done in 1.. {
            let before = Instant::now();
            self.publish(script, before)?;
            self.gather(script, plan.check)?;
            let now = Instant::now();
            outcome.record(now - before, script.depth * self.subscribers.connections.len());
            let is_over = match plan.until {
                Until::Exchanges(count) => done >= count,
                Until::Elapsed(time) => now - started >= time,
            };
            if is_over {
                break;
            }
        }
        outcome.elapsed = started.elapsed();
        Ok(outcome)
    }

    fn publish(&mut self, script: &Script, now: Instant) -> Result<(), Fault> {
        for subscriber in &mut self.subscribers.connections {
            subscriber.begin(now);
        }
        let request = &script.exchange(self.publisher.exchange).request;
        self.publisher.stream.write_all(request).map_err(|error| Fault::Io("publish", error))?;
        self.publisher.finish();
        Ok(())
    }

    /// Waits until each subscriber has the whole publication.
    fn gather(&mut self, script: &Script, check: Check) -> Result<(), Fault> {
        let Fleet { connections, epoll, events, buffer } = &mut self.subscribers;
        let mut missing = connections.len();
        while missing > 0 {
            let ready =
                epoll.wait(events, Wait::Sleep(PATIENCE)).map_err(|error| Fault::Io("epoll", error))?;
            let mut is_silent = true;
            for event in ready {
                is_silent = false;
                let subscriber = &mut connections[event.token];
                if !subscriber.is_busy || !event.is_readable {
                    continue;
                }
                let is_full = script.compares_fully(subscriber.exchange, check);
                let bytes = &script.exchange(subscriber.exchange).reply;
                let reply = Expected { bytes, is_full, size: script.size, depth: script.depth };
                if subscriber.receive(&reply, buffer)? {
                    subscriber.finish();
                    missing -= 1;
                }
            }
            if is_silent {
                return Err(Fault::Silent);
            }
        }
        Ok(())
    }
}
