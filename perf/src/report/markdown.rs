//! The tables.

use std::fmt::Write;

use super::compact;
use crate::modes::Mode;
use crate::peers::{self, Program};
use crate::results::{Entry, Metric, Results, RowResults};
use crate::strace::Syscall;

/// The whole report; `charts` are names of files and their titles.
pub(super) fn render(results: &Results, charts: &[(&str, &str)]) -> String {
    let mut out = String::from("# WebSocket servers compared\n\n");
    setting(&mut out, results);
    for (name, title) in charts {
        let _ = writeln!(out, "![{title}]({name}.svg)\n");
    }
    let _ = writeln!(out, "## Summary\n\n{}", summary(results));
    let mut mode = None;
    for row in results.rows.iter().filter(|row| !row.entries.is_empty()) {
        if mode != Some(row.row.mode()) {
            mode = Some(row.row.mode());
            let _ = writeln!(out, "## {}\n", heading(row.row.mode()));
        }
        table(&mut out, row);
        syscalls(&mut out, row);
    }
    contestants(&mut out, results);
    skipped(&mut out, results);
    out
}

/// Writes a line per row and compared figure: femtows, the limit and the best peer.
pub(super) fn summary(results: &Results) -> String {
    let mut out = String::from(
        "| row | figure | femtows | limit | best peer | femtows / limit | femtows / best peer |\n\
         |---|---|---:|---:|---:|---:|---:|\n",
    );
    for row in &results.rows {
        let Some(ours) = row.entries.iter().find(|entry| entry.name == "femtows") else { continue };
        for &metric in row.row.compared() {
            let value = |entry: Option<&Entry>| number(entry.and_then(|entry| entry.median(metric)));
            let best = row.best_peer(metric);
            let best_name = best.map_or(String::new(), |best| format!(" ({})", best.name));
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} | {}{best_name} | {} | {} |",
                row.row.title(),
                label(metric),
                value(Some(ours)),
                value(row.limit()),
                value(best),
                ratio(ours, row.limit(), metric),
                ratio(ours, best, metric),
            );
        }
    }
    out
}

fn ratio(ours: &Entry, other: Option<&Entry>, metric: Metric) -> String {
    let median = number(ours.ratio(other, metric));
    match ours.ratio_spread(other, metric) {
        Some((smallest, largest)) => {
            format!("{median} ({}..{})", number(Some(smallest)), number(Some(largest)))
        }
        None => median,
    }
}

fn setting(out: &mut String, results: &Results) {
    let machine = &results.machine;
    let governor = machine.governor.as_deref().unwrap_or("not readable");
    let _ = writeln!(
        out,
        "Made by `{}`: {} rounds of {} s, medians over the rounds, smallest and largest in brackets; \
         ratios are taken within each round.\n\n\
         {}, {} cores, Linux {}, frequency governor {governor}; load average {} at the start, {} at the end.\n",
        results.command,
        results.rounds,
        results.seconds,
        machine.cpu,
        machine.cores,
        machine.kernel,
        machine.load_at_start,
        machine.load_at_end,
    );
}

fn heading(mode: Mode) -> &'static str {
    match mode {
        Mode::Latency => "Latency: one connection, one message at a time",
        Mode::Closed => "Closed loop: one message in flight on each connection",
        Mode::Pipeline => "Pipeline: many messages in flight on each connection",
        Mode::Idle => "Idle connections",
        Mode::Broadcast => "Broadcast: figures are per delivery",
        Mode::Client => "Clients, against the same server",
        Mode::Deflate => "Compressed messages (permessage-deflate), closed loop",
        Mode::Tls => "TLS 1.3, AES-128-GCM, ECDSA and key agreement on P-256, no resumption",
        Mode::Instructions => "Instructions in user space, by callgrind",
    }
}

/// Name and unit of a figure.
fn label(metric: Metric) -> &'static str {
    match metric {
        Metric::P50 => "p50, us",
        Metric::P99 => "p99, us",
        Metric::P999 => "p99.9, us",
        Metric::Cpu => "CPU, us/message",
        Metric::Rate => "messages/s",
        Metric::Memory => "bytes/connection",
        Metric::Wire => "wire / plain",
        Metric::OpeningCpu => "CPU, us/opening",
        Metric::Instructions => "instructions/message",
    }
}

/// Returns the name of a figure before a ratio.
fn short_label(metric: Metric) -> &'static str {
    match metric {
        Metric::Cpu => "CPU ",
        Metric::P50 => "p50 ",
        _ => "",
    }
}

fn table(out: &mut String, row: &RowResults) {
    let metrics = row.row.metrics();
    let _ = write!(out, "### {}\n\n| |", row.row.title());
    for &metric in metrics {
        let _ = write!(out, " {} |", label(metric));
    }
    let compared = row.row.compared();
    for &metric in compared {
        // A single ratio is that of the first column.
        let of = if compared.len() == 1 { "" } else { short_label(metric) };
        let _ = write!(out, " {of}x limit | {of}x best peer |");
    }
    let _ = writeln!(out, "\n|---|{}", "---:|".repeat(metrics.len() + 2 * compared.len()));
    for entry in &row.entries {
        let note = entry.note.as_ref().map_or(String::new(), |note| format!(" ({note})"));
        let _ = write!(out, "| {}{note} |", entry.name);
        for &metric in metrics {
            let _ = write!(out, " {} |", with_spread(entry, metric));
        }
        for &metric in compared {
            let limit = number(entry.ratio(row.limit(), metric));
            let best = number(entry.ratio(row.best_peer(metric), metric));
            let _ = write!(out, " {limit} | {best} |");
        }
        out.push('\n');
    }
    out.push('\n');
}

fn syscalls(out: &mut String, row: &RowResults) {
    let counted: Vec<_> = row.entries.iter().filter(|entry| !entry.syscalls.is_empty()).collect();
    if counted.is_empty() {
        return;
    }
    out.push_str("System calls per message, failed ones in brackets:\n\n| | all | |\n|---|---:|---|\n");
    for entry in counted {
        let all: f64 = entry.syscalls.iter().map(|syscall| syscall.calls).sum();
        let mut calls: Vec<_> = entry.syscalls.iter().filter(|syscall| syscall.calls >= 0.001).collect();
        calls.sort_by(|a, b| b.calls.total_cmp(&a.calls));
        let calls: Vec<_> = calls.into_iter().map(one_syscall).collect();
        let _ = writeln!(out, "| {} | {} | {} |", entry.name, compact(all), calls.join(", "));
    }
    out.push('\n');
}

fn one_syscall(syscall: &Syscall) -> String {
    let failed =
        if syscall.failed >= 0.001 { format!(" ({})", compact(syscall.failed)) } else { String::new() };
    format!("{} {}{failed}", syscall.name, compact(syscall.calls))
}

fn contestants(out: &mut String, results: &Results) {
    out.push_str(
        "## Who they are\n\n| | language | installed by | started as | set-up |\n|---|---|---|---|---|\n",
    );
    let measured =
        |name: &str| results.rows.iter().any(|row| row.entries.iter().any(|entry| entry.name == name));
    for peer in peers::all().filter(|peer| measured(peer.name)) {
        let started = match peer.program {
            Program::Own { args } => format!("perf {}", args.join(" ")),
            Program::File { program, args, .. } => format!("{program} {}", args.join(" ")),
        };
        let _ = writeln!(
            out,
            "| {} | {} | {} | `{}` | {} |",
            peer.name,
            peer.language,
            peer.install,
            started.trim(),
            peer.notes
        );
    }
    out.push('\n');
}

fn skipped(out: &mut String, results: &Results) {
    if results.skipped.is_empty() {
        return;
    }
    out.push_str("## Left out\n\n| who | of what | why |\n|---|---|---|\n");
    for skipped in &results.skipped {
        let reason = skipped.reason.replace('|', "\\|").replace('\n', " ");
        let _ = writeln!(out, "| {} | {} | {reason} |", skipped.name, skipped.what);
    }
}

fn with_spread(entry: &Entry, metric: Metric) -> String {
    let Some((least, most)) = entry.spread(metric) else { return "–".into() };
    let median = number(entry.median(metric));
    if entry.rounds.len() < 2 {
        return median;
    }
    format!("{median} ({}..{})", compact(least), compact(most))
}

fn number(value: Option<f64>) -> String {
    value.map_or("–".into(), compact)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;
    use crate::results::Skipped;
    use crate::results::tests::{entry, row};

    #[test]
    fn tables_have_ratios_spreads_and_reasons() {
        let results = Results {
            command: "perf compare".into(),
            machine: Machine::describe(2),
            rounds: 3,
            seconds: 1.0,
            rows: vec![row(vec![
                entry("limit", &[10.0]),
                entry("femtows", &[11.0, 10.0, 12.0]),
                entry("slow", &[22.0]),
            ])],
            skipped: vec![Skipped::new("absent", "everything", "not installed")],
        };
        let report = render(&results, &[("latency", "Latency")]);
        for part in [
            "| latency, same core, 20 B | p50, us | 11.0 | 10.0 | 22.0 (slow) | 1.10 | 0.500 |",
            "| femtows | 11.0 (10.0..12.0) | – | – | – | 1.10 | 0.500 | – | – |",
            "| slow | 22.0 | – | – | – | 2.20 | 1.00 | – | – |",
            "| p50 x limit | p50 x best peer | CPU x limit | CPU x best peer |",
            "| absent | everything | not installed |",
            "![Latency](latency.svg)",
        ] {
            assert!(report.contains(part), "{part} is not in\n{report}");
        }
    }
}
