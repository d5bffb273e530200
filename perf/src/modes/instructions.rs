//! Instructions in user space per message: two runs under callgrind that differ in length only.

use std::env;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Settings;
use super::echo::Shape;
use crate::callgrind;
use crate::results::{Figures, Metric};
use crate::subject::{Session, Subject};

/// Exchanges of each connection in the short run: enough for every buffer to reach its size.
const SHORT: u64 = 20;

/// Messages by which the long run is longer, rounded up to whole exchanges. An event loop may split
/// the same load into iterations differently, which changes a count of so many by about 2 in 1000.
const COUNTED: u64 = 20_000;

/// Time for the work that a server does after its last reply.
const SETTLE: Duration = Duration::from_millis(100);

/// Counts the short and the long run. The difference is without start, handshakes and warm-up.
pub(super) fn measure(subject: &Subject, shape: &Shape, settings: &Settings) -> Result<Figures> {
    let per_exchange = shape.messages_per_exchange();
    let long = SHORT + COUNTED.max(20 * per_exchange).div_ceil(per_exchange);
    let short = count(subject, shape, SHORT, settings)?;
    let long = count(subject, shape, long, settings)?;
    let instructions = long.instructions.checked_sub(short.instructions);
    let instructions = instructions.context("the long run took fewer instructions than the short one")?;
    let messages = long.messages - short.messages;
    Ok(Figures::from([(Metric::Instructions, instructions as f64 / messages as f64)]))
}

/// The count of one run.
struct Count {
    /// Of the whole process, from its start to its end.
    instructions: u64,
    /// Echoes after the verification.
    messages: u64,
}

fn count(subject: &Subject, shape: &Shape, exchanges: u64, settings: &Settings) -> Result<Count> {
    let output = env::temp_dir().join(format!("femtows-perf-callgrind-{}.txt", std::process::id()));
    let session = Session::open_under_callgrind(subject, &output, settings.server_core)?;
    let (mut fleet, script) = shape.verified::<TcpStream>(&session)?;
    let messages = fleet.run(&script, shape.exchanges(exchanges))?.messages;
    thread::sleep(SETTLE);
    session.end()?;
    Ok(Count { instructions: callgrind::take_total(&output)?, messages })
}
