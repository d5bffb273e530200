//! Connections in closed loop.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::carrier::Carrier;
use super::connection::{Connection, Expected};
use super::{Check, Fault, Outcome, PATIENCE, Pace, Script, Target};
use crate::sys::{Epoll, Events, Wait};

/// Open connections to one server.
#[derive(Debug)]
pub(crate) struct Fleet<C: Carrier = TcpStream> {
    pub(super) connections: Vec<Connection<C>>,
    pub(super) epoll: Epoll,
    pub(super) events: Events,
    pub(super) buffer: C::Buffer,
}

/// How a script is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// When no new exchange begins any more.
    pub(crate) until: Until,
    /// How replies are checked.
    pub(crate) check: Check,
    /// How they are waited for.
    pub(crate) pace: Pace,
}

/// When a run ends; what is in flight then is still waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// Each connection has done so many exchanges.
    Exchanges(u64),
    /// So much time has passed.
    Elapsed(Duration),
}

impl<C: Carrier> Fleet<C> {
    /// Opens `count` connections to `path`.
    ///
    /// # Errors
    /// If the server does not accept or upgrade one.
    pub(crate) fn open(target: &Target, path: &str, count: usize) -> Result<Self, Fault> {
        let connections = Connection::open_all(target, path, count)?;
        let epoll = Epoll::new().map_err(|error| Fault::Io("epoll", error))?;
        for (token, connection) in connections.iter().enumerate() {
            epoll.add(&connection.stream, token).map_err(|error| Fault::Io("epoll", error))?;
        }
        let events = Events::with_capacity(count.clamp(1, 1024));
        Ok(Self { connections, epoll, events, buffer: C::buffer() })
    }

    /// Echoes on all connections at once, each in closed loop.
    ///
    /// # Errors
    /// At the first wrong byte, a lost connection, or a silent server.
    pub(crate) fn run(&mut self, script: &Script, plan: Plan) -> Result<Outcome, Fault> {
        let Self { connections, epoll, events, buffer } = self;
        let started = Instant::now();
        let mut run = Run { script, plan, started, busy: connections.len(), outcome: Outcome::new(), buffer };
        for connection in &mut *connections {
            connection.done = 0;
            connection.begin(Instant::now());
            connection.send(&script.exchange(connection.exchange).request)?;
        }
        let mut heard = started;
        while run.busy > 0 {
            match plan.pace {
                Pace::Sleeping => {
                    let ready = epoll
                        .wait(events, Wait::Sleep(PATIENCE))
                        .map_err(|error| Fault::Io("epoll", error))?;
                    let mut is_silent = true;
                    for event in ready {
                        is_silent = false;
                        run.advance(&mut connections[event.token], event.is_readable)?;
                    }
                    if is_silent {
                        return Err(Fault::Silent);
                    }
                }
                Pace::Spinning => {
                    let before = run.outcome.messages;
                    for connection in &mut *connections {
                        run.advance(connection, true)?;
                    }
                    run.listen(before, &mut heard)?;
                }
            }
        }
        run.outcome.elapsed = started.elapsed();
        Ok(run.outcome)
    }
}

/// The state of a run.
struct Run<'a, B> {
    script: &'a Script,
    plan: Plan,
    started: Instant,
    /// Connections with an exchange in flight.
    busy: usize,
    outcome: Outcome,
    buffer: &'a mut B,
}

impl<B> Run<'_, B> {
    /// Goes on with a connection as far as the kernel lets it.
    fn advance<C>(&mut self, connection: &mut Connection<C>, is_readable: bool) -> Result<(), Fault>
    where
        C: Carrier<Buffer = B>,
    {
        if !connection.is_busy {
            return Ok(());
        }
        let script = self.script;
        let exchange = script.exchange(connection.exchange);
        connection.send(&exchange.request)?;
        if !is_readable {
            return Ok(());
        }
        let is_full = script.compares_fully(connection.exchange, self.plan.check);
        let reply = Expected { bytes: &exchange.reply, is_full, size: script.size, depth: script.depth };
        if !connection.receive(&reply, self.buffer)? {
            return Ok(());
        }
        let now = Instant::now();
        self.outcome.record(now - connection.started, script.depth);
        connection.finish();
        if self.is_over(connection, now) {
            self.busy -= 1;
            return Ok(());
        }
        connection.begin(now);
        connection.send(&script.exchange(connection.exchange).request)
    }

    fn is_over<C>(&self, connection: &Connection<C>, now: Instant) -> bool {
        match self.plan.until {
            Until::Exchanges(count) => connection.done >= count,
            Until::Elapsed(time) => now - self.started >= time,
        }
    }

    /// The patience of a run that never sleeps: `heard` is when the last echo was complete.
    fn listen(&self, before: u64, heard: &mut Instant) -> Result<(), Fault> {
        if self.outcome.messages != before {
            *heard = Instant::now();
        } else if heard.elapsed() > PATIENCE {
            return Err(Fault::Silent);
        }
        Ok(())
    }
}
