//! The order of a comparison: row by row, round by round, server by server.

use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

use crate::machine::Machine;
use crate::modes::{Row, Settings};
use crate::results::{Entry, Results, RowResults, Skipped};
use crate::strace;
use crate::subject::Subject;

/// What is compared, and how long.
#[derive(Debug)]
pub(crate) struct Comparison {
    /// The kinds of work.
    pub(crate) rows: Vec<Row>,
    /// Servers and clients, in the order of the tables.
    pub(crate) subjects: Vec<Subject>,
    /// Rounds of each at each.
    pub(crate) rounds: usize,
    /// What rounds have in common.
    pub(crate) settings: Settings,
    /// Whether system calls are counted.
    pub(crate) counts_syscalls: bool,
    /// When no further round is begun.
    pub(crate) deadline: Option<Instant>,
}

impl Comparison {
    /// Measures everything. Within a row the servers take turns, so that a noisy minute hits all of them alike.
    ///
    /// A server that fails at a row is left out of the rest of that row, by name; the others go on.
    pub(crate) fn run(&self, command: String, machine: Machine, mut skipped: Vec<Skipped>) -> Results {
        let progress = self.progress();
        let mut rows = Vec::new();
        for row in &self.rows {
            rows.push(self.run_row(row, &progress, &mut skipped));
        }
        progress.finish_and_clear();
        let seconds = self.settings.time.as_secs_f64();
        let mut results = Results { command, machine, rounds: self.rounds, seconds, rows, skipped };
        results.machine.finish();
        results
    }

    /// How many rounds there are to be measured, all in all.
    pub(crate) fn measurements(&self) -> usize {
        let pairs = self.rows.iter().flat_map(|row| self.subjects.iter().map(move |subject| (row, subject)));
        let able = pairs.filter(|(row, subject)| subject.belongs_to(row) && subject.obstacle(row).is_none());
        able.map(|(row, _)| row.rounds(self.rounds)).sum()
    }

    fn run_row(&self, row: &Row, progress: &ProgressBar, skipped: &mut Vec<Skipped>) -> RowResults {
        let mut able = Vec::new();
        for subject in self.subjects.iter().filter(|subject| subject.belongs_to(row)) {
            match subject.obstacle(row) {
                Some(reason) => skipped.push(Skipped::new(subject.name(), &row.title(), reason)),
                None => able.push((subject, Entry::new(subject.name(), subject.note(row)))),
            }
        }
        let rounds = row.rounds(self.rounds);
        for round in 1..=rounds {
            if let Err(error) = self.in_time() {
                let what = format!("{}, from round {round} on", row.title());
                skipped.push(Skipped::new("everybody", &what, &error.to_string()));
                break;
            }
            able.retain_mut(|(subject, entry)| {
                progress.set_message(format!("{}: {} ({round}/{})", row.title(), entry.name, rounds));
                let result = row.measure(subject, &self.settings);
                progress.inc(1);
                match result {
                    Ok(figures) => entry.rounds.push(figures),
                    Err(error) => {
                        let reason = format!("round {round}: {error:#}");
                        progress.suspend(|| eprintln!("{}: {}: {reason}", row.title(), entry.name));
                        skipped.push(Skipped::new(&entry.name, &row.title(), &reason));
                        return false;
                    }
                }
                true
            });
        }
        if self.counts_syscalls && row.has_syscalls() {
            for (subject, entry) in &mut able {
                progress.set_message(format!("{}: {} (strace)", row.title(), entry.name));
                self.count_syscalls(row, subject, entry, skipped);
            }
        }
        RowResults { row: *row, entries: able.into_iter().map(|(_, entry)| entry).collect() }
    }

    fn count_syscalls(&self, row: &Row, subject: &Subject, entry: &mut Entry, skipped: &mut Vec<Skipped>) {
        match self.in_time().and_then(|()| row.count_syscalls(subject, &self.settings)) {
            Ok(syscalls) => entry.syscalls = syscalls,
            Err(error) => {
                let what = format!("{}, system calls", row.title());
                skipped.push(Skipped::new(&entry.name, &what, &format!("{error:#}")));
            }
        }
    }

    fn in_time(&self) -> Result<()> {
        anyhow::ensure!(self.deadline.is_none_or(|deadline| Instant::now() < deadline), "out of time");
        Ok(())
    }

    fn progress(&self) -> ProgressBar {
        let progress = ProgressBar::new(self.measurements() as u64);
        let style = ProgressStyle::with_template(
            "[{elapsed_precise} of about {duration}] {bar:30} {pos}/{len} {msg}",
        )
        .unwrap_or_else(|_| ProgressStyle::default_bar());
        progress.set_style(style);
        progress
    }
}

/// Whether system calls can be counted; if not, why, for the report.
pub(crate) fn syscalls_obstacle() -> Option<Skipped> {
    (!strace::is_installed()).then(|| Skipped::new("all servers", "system calls", "strace is not installed"))
}

/// The length of a round with which `measurements` fit into `budget`; starting and checking a server takes its share.
pub(crate) fn time_within(budget: Duration, measurements: usize) -> Duration {
    const OVERHEAD: Duration = Duration::from_millis(350);
    let share = budget / u32::try_from(measurements.max(1)).unwrap_or(u32::MAX);
    share.saturating_sub(OVERHEAD).clamp(Duration::from_millis(150), Duration::from_secs(1))
}
