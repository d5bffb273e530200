//! Connections that do nothing: memory of each, and CPU time to open one.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::accounting::{anonymous_memory, cpu_time};
use crate::generator::{Carrier, Fleet};
use crate::results::{Figures, Metric};
use crate::subject::Session;

/// Opened before anything is counted, so that what a server sets up once is not counted as a connection's.
const FIRST: usize = 64;

/// Time for what a server does after its answer.
const SETTLE: Duration = Duration::from_millis(100);

/// Opens `connections`, 64 at a time, and looks at what they cost.
pub(super) fn measure<C: Carrier>(session: Session, connections: usize) -> Result<Figures> {
    let pid = session.pid.context("process unknown")?;
    let path = session.target.path.clone();
    let first = Fleet::<C>::open(&session.target, &path, FIRST)?;
    thread::sleep(SETTLE);

    let (memory, cpu) = (anonymous_memory(pid)?, cpu_time(pid)?);
    let fleet = Fleet::<C>::open(&session.target, &path, connections)?;
    thread::sleep(SETTLE);
    let memory = anonymous_memory(pid)?.saturating_sub(memory);
    let cpu = cpu_time(pid)?.saturating_sub(cpu);

    // The server goes first: it, not the generator, is left with the ports of closed connections.
    drop(session);
    drop((first, fleet));
    let count = connections as f64;
    Ok(Figures::from([
        (Metric::Memory, memory as f64 / count),
        (Metric::OpeningCpu, cpu.as_secs_f64() * 1e6 / count),
    ]))
}
