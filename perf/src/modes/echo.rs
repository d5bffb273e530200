//! Latency, closed loop and pipeline: echoes on one or many connections.

use std::time::Duration;

use anyhow::{Context, Result};

use super::{Placement, Row, Settings, figures};
use crate::generator::{Carrier, Check, Fleet, Opcode, Pace, Plan, Script, Until};
use crate::results::{Figures, Metric};
use crate::strace::{self, Syscall};
use crate::subject::Session;

/// The shape of the load.
pub(super) struct Shape {
    connections: usize,
    depth: usize,
    size: usize,
    pace: Pace,
}

impl Shape {
    pub(super) fn of(row: &Row) -> Result<Self> {
        match *row {
            Row::Latency { size, placement } => {
                let pace = if placement == Placement::Spinning { Pace::Spinning } else { Pace::Sleeping };
                Ok(Self { connections: 1, depth: 1, size, pace })
            }
            Row::Load { connections, depth, size } | Row::Instructions { connections, depth, size } => {
                Ok(Self { connections, depth, size, pace: Pace::Sleeping })
            }
            _ => anyhow::bail!("{} is not about echoes", row.title()),
        }
    }

    /// Connects, and makes sure that every byte of text and binary messages comes back.
    pub(super) fn verified<C: Carrier>(&self, session: &Session) -> Result<(Fleet<C>, Script)> {
        let mut fleet = Fleet::open(&session.target, &session.target.path, self.connections)?;
        let reply = session.target.reply;
        let text = Script::new(Opcode::Text, self.size, self.depth, reply);
        let script = Script::new(Opcode::Binary, self.size, self.depth, reply);
        let plan = Plan { until: Until::Exchanges(2), check: Check::Full, pace: self.pace };
        fleet.run(&text, plan).context("text")?;
        fleet.run(&script, plan).context("binary")?;
        Ok((fleet, script))
    }

    fn plan(&self, time: Duration) -> Plan {
        Plan { until: Until::Elapsed(time), check: Check::Sampled, pace: self.pace }
    }

    /// Returns the plan of so many exchanges on each connection.
    pub(super) fn exchanges(&self, count: u64) -> Plan {
        Plan { until: Until::Exchanges(count), check: Check::Sampled, pace: self.pace }
    }

    /// Returns the number of messages in one exchange of all connections.
    pub(super) fn messages_per_exchange(&self) -> u64 {
        (self.connections * self.depth) as u64
    }
}

/// Verifies, warms up, measures.
pub(super) fn measure<C: Carrier>(session: &Session, row: &Row, settings: &Settings) -> Result<Figures> {
    let shape = Shape::of(row)?;
    let (mut fleet, script) = shape.verified::<C>(session)?;
    fleet.run(&script, shape.plan(settings.warm_up()))?;
    let before = session.cpu_time()?;
    let outcome = fleet.run(&script, shape.plan(settings.time))?;
    let cpu = session.cpu_since(before)?;
    let mut figures = figures(&outcome, cpu);
    if row.spins() {
        // All of a core, whatever it does.
        figures.remove(&Metric::Cpu);
    }
    Ok(figures)
}

/// Counts over 200 ms, after verification and a warm-up.
pub(super) fn count_syscalls<C: Carrier>(session: &Session, row: &Row) -> Result<Vec<Syscall>> {
    let shape = Shape::of(row)?;
    let (mut fleet, script) = shape.verified::<C>(session)?;
    let plan = shape.plan(Duration::from_millis(200));
    strace::count(session.pid.context("process unknown")?, || Ok(fleet.run(&script, plan)?.messages))
}
