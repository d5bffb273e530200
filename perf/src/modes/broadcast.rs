//! One publisher, many subscribers: CPU time per delivery.

use std::time::Duration;

use anyhow::{Context, Result};

use super::{Settings, figures};
use crate::generator::{Broadcast, Check, Opcode, Pace, Plan, Script, Until};
use crate::results::Figures;
use crate::strace::{self, Syscall};
use crate::subject::Session;

/// Verifies, warms up, measures.
pub(super) fn measure(
    session: &Session,
    subscribers: usize,
    burst: usize,
    size: usize,
    settings: &Settings,
) -> Result<Figures> {
    let (mut broadcast, script) = verified(session, subscribers, burst, size)?;
    broadcast.run(&script, plan(settings.warm_up()))?;
    let before = session.cpu_time()?;
    let outcome = broadcast.run(&script, plan(settings.time))?;
    let cpu = session.cpu_since(before)?;
    Ok(figures(&outcome, cpu))
}

/// Counts over 200 ms, after verification. Per delivery.
pub(super) fn count_syscalls(
    session: &Session,
    subscribers: usize,
    burst: usize,
    size: usize,
) -> Result<Vec<Syscall>> {
    let (mut broadcast, script) = verified(session, subscribers, burst, size)?;
    let plan = plan(Duration::from_millis(200));
    strace::count(session.pid.context("process unknown")?, || Ok(broadcast.run(&script, plan)?.messages))
}

fn verified(session: &Session, subscribers: usize, burst: usize, size: usize) -> Result<(Broadcast, Script)> {
    let mut broadcast = Broadcast::open(&session.target, subscribers)?;
    let script = Script::new(Opcode::Binary, size, burst, session.target.reply);
    let plan = Plan { until: Until::Exchanges(2), check: Check::Full, pace: Pace::Sleeping };
    broadcast.run(&script, plan).context("first publications")?;
    Ok((broadcast, script))
}

fn plan(time: Duration) -> Plan {
    Plan { until: Until::Elapsed(time), check: Check::Sampled, pace: Pace::Sleeping }
}
