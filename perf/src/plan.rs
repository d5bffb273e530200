//! From the command line to a comparison.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::callgrind;
use crate::cli::CompareArgs;
use crate::compare::{Comparison, syscalls_obstacle, time_within};
use crate::modes::{self, ClientKind, Mode, Row, Settings};
use crate::peers::{self, Peer};
use crate::results::Skipped;
use crate::subject::Subject;

/// What `--quick` spends on rounds, and when it begins no more of them. What is left of two minutes is for the report.
const QUICK_ROUNDS: Duration = Duration::from_secs(85);
const QUICK_DEADLINE: Duration = Duration::from_secs(110);

/// Whom `--quick` measures besides ourselves and the limit: the first three that are installed.
const QUICK_PEERS: [&str; 6] =
    ["uWebSockets", "fastwebsockets", "tokio-tungstenite", "tokio-websockets", "Boost.Beast", "picows"];

/// Rounds and servers of `--cpu`.
const CPU_ROUNDS: usize = 9;
const CPU_PEERS: [&str; 3] = ["limit", "femtows", "uWebSockets"];

/// Files that stay open whatever is measured.
const SPARE_FILES: u64 = 500;

/// The comparison that was asked for, and who is left out of it.
///
/// # Errors
/// If a name is unknown, nothing is left to measure, the machine has one core only, or instructions
/// are to be counted without valgrind.
pub(crate) fn plan(
    args: &CompareArgs,
    cores: &[usize],
    open_files: u64,
) -> Result<(Comparison, Vec<Skipped>)> {
    ensure!(cores.len() >= 2, "two cores are needed: one for the generator, one for the server");
    ensure!(
        !args.modes.contains(&Mode::Instructions) || callgrind::is_installed(),
        "instructions are counted by callgrind: install valgrind"
    );
    let mut skipped = Vec::new();
    let rows = rows(args, open_files, &mut skipped);
    let subjects = subjects(args, &mut skipped)?;
    let obstacle = if args.no_syscalls { None } else { syscalls_obstacle() };
    let counts_syscalls = !args.no_syscalls && obstacle.is_none();
    skipped.extend(obstacle);

    let default_rounds = match args {
        CompareArgs { quick: true, .. } => 3,
        CompareArgs { cpu: true, .. } => CPU_ROUNDS,
        _ => 5,
    };
    let rounds = args.rounds.map_or(default_rounds, usize::from);
    let settings = Settings {
        time: Duration::from_secs_f64(args.secs.unwrap_or(1.0)),
        generator_core: cores[cores.len() - 2],
        server_core: cores[cores.len() - 1],
    };
    let deadline = args.quick.then(|| Instant::now() + QUICK_DEADLINE);
    let mut comparison = Comparison { rows, subjects, rounds, settings, counts_syscalls, deadline };
    let measurements = comparison.measurements();
    ensure!(measurements > 0, "nothing to measure");
    if args.quick && args.secs.is_none() {
        comparison.settings.time = time_within(QUICK_ROUNDS, measurements);
    }
    Ok((comparison, skipped))
}

fn rows(args: &CompareArgs, open_files: u64, skipped: &mut Vec<Skipped>) -> Vec<Row> {
    let wanted = args.idle_connections;
    let idle = u64::from(wanted).min(open_files.saturating_sub(SPARE_FILES)) as usize;
    let narrows = !args.modes.is_empty() || !args.sizes.is_empty();
    let rows = if args.cpu {
        modes::cpu_rows()
    } else if args.quick && !narrows {
        modes::quick_rows()
    } else {
        modes::rows(&args.modes, &args.sizes, idle)
    };
    if idle < wanted as usize && rows.iter().any(|row| row.mode() == Mode::Idle) {
        let what = format!("{} of {wanted} idle connections", wanted as usize - idle);
        skipped.push(Skipped::new(
            "all servers",
            &what,
            "the hard limit of open files (ulimit -Hn) is too low",
        ));
    }
    rows
}

fn subjects(args: &CompareArgs, skipped: &mut Vec<Skipped>) -> Result<Vec<Subject>> {
    let chosen = if !args.peers.is_empty() {
        named(&args.peers)?
    } else if args.quick {
        quick_peers()
    } else if args.cpu {
        CPU_PEERS.iter().filter_map(|name| peers::by_name(name)).collect()
    } else {
        peers::all().collect()
    };
    let mut subjects = Vec::new();
    for peer in chosen {
        match peer.locate() {
            Ok(_) => subjects.push(Subject::Peer(peer)),
            Err(reason) => skipped.push(Skipped::new(peer.name, "everything", &reason)),
        }
    }
    if let Some(url) = &args.server {
        subjects.push(Subject::running(url, args.pid)?);
    }
    subjects.extend([ClientKind::Raw, ClientKind::Femtows].map(Subject::Client));
    Ok(subjects)
}

fn named(names: &[String]) -> Result<Vec<&'static Peer>> {
    let known = || peers::all().map(|peer| peer.name).collect::<Vec<_>>().join(", ");
    let find = |name: &String| {
        peers::by_name(name).ok_or_else(|| anyhow::anyhow!("unknown server {name:?}; known are {}", known()))
    };
    names.iter().map(find).collect()
}

/// Ourselves, the limit, uWebSockets (so that its absence is told), and two others.
fn quick_peers() -> Vec<&'static Peer> {
    let known: Vec<&Peer> = QUICK_PEERS.iter().filter_map(|name| peers::by_name(name)).collect();
    let (first, others) = known.split_at(known.len().min(1));
    let installed = others.iter().filter(|peer| peer.locate().is_ok()).take(2);
    ["limit", "femtows"]
        .iter()
        .filter_map(|name| peers::by_name(name))
        .chain(first.iter().copied())
        .chain(installed.copied())
        .collect()
}
