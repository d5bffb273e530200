//! Closed loop with permessage-deflate: compressed messages of a market-data feed on many connections.

use anyhow::{Context, Result};

use super::{Settings, figures};
use crate::generator::{CompressedFleet, CompressedScript, Until};
use crate::results::{Figures, Metric};
use crate::subject::Session;

/// Exchanges of each connection that are inflated and compared before anything is measured.
const VERIFIED: u64 = 64;

/// Verifies, warms up, measures.
pub(super) fn measure(
    session: &Session,
    connections: usize,
    size: usize,
    settings: &Settings,
) -> Result<Figures> {
    let keeps_context = session.target.reply.keeps_context().context("it is not set up for compression")?;
    let script = CompressedScript::new(size);
    let mut fleet = CompressedFleet::open(&session.target, connections, keeps_context)?;
    fleet.verify(&script, VERIFIED).context("verification")?;
    fleet.run(&script, Until::Elapsed(settings.warm_up()))?;
    let before = session.cpu_time()?;
    let replies = fleet.run(&script, Until::Elapsed(settings.time))?;
    let cpu = session.cpu_since(before)?;
    let mut figures = figures(&replies.outcome, cpu);
    figures.insert(Metric::Wire, replies.wire as f64 / replies.plain as f64);
    Ok(figures)
}
