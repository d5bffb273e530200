//! Which charts there are, and what each shows.

use super::Chart;
use super::chart::{Bar, Kind, Panel};
use crate::modes::{Mode, Placement, Row, TlsWork};
use crate::results::{Metric, Results, RowResults};
use crate::size;

/// All charts for which there are figures.
pub(crate) fn of(results: &Results) -> Vec<Chart> {
    let charts = [
        chart(
            results,
            "latency",
            "Round trip, both ends on one core",
            "p50 in microseconds",
            Metric::P50,
            |row| matches!(row, Row::Latency { placement: Placement::SameCore, .. }),
        ),
        chart(
            results,
            "latency-spinning",
            "Round trip between two cores, spinning",
            "p50 in microseconds",
            Metric::P50,
            |row| matches!(row, Row::Latency { placement: Placement::Spinning, .. }),
        ),
        chart(results, "cpu", "Server CPU per message, closed loop", "microseconds", Metric::Cpu, |row| {
            row.mode() == Mode::Closed
        }),
        chart(results, "pipeline", "Server CPU per message, pipeline", "microseconds", Metric::Cpu, |row| {
            row.mode() == Mode::Pipeline
        }),
        chart(results, "memory", "Memory of an idle connection", "bytes", Metric::Memory, |row| {
            row.mode() == Mode::Idle
        }),
        chart(
            results,
            "broadcast",
            "Server CPU per delivery, broadcast",
            "microseconds",
            Metric::Cpu,
            |row| row.mode() == Mode::Broadcast,
        ),
        chart(
            results,
            "instructions",
            "Instructions in user space per message",
            "instructions",
            Metric::Instructions,
            |row| row.mode() == Mode::Instructions,
        ),
        chart(results, "deflate", "Server CPU per compressed message", "microseconds", Metric::Cpu, |row| {
            row.mode() == Mode::Deflate
        }),
        chart(
            results,
            "deflate-size",
            "Compressed messages on the wire",
            "bytes per byte of the message",
            Metric::Wire,
            |row| row.mode() == Mode::Deflate,
        ),
    ];
    charts.into_iter().chain(over_tls(results)).filter(|chart| !chart.panels.is_empty()).collect()
}

fn over_tls(results: &Results) -> [Chart; 4] {
    [
        chart(results, "tls", "Server CPU per message over TLS", "microseconds", Metric::Cpu, |row| {
            matches!(row, Row::Tls(TlsWork::Load { .. }))
        }),
        chart(
            results,
            "tls-latency",
            "Round trip over TLS, both ends on one core",
            "p50 in microseconds",
            Metric::P50,
            |row| matches!(row, Row::Tls(TlsWork::Latency { .. })),
        ),
        chart(
            results,
            "tls-opening",
            "Server CPU per opening: accept, TLS handshake, upgrade",
            "microseconds",
            Metric::OpeningCpu,
            |row| matches!(row, Row::Tls(TlsWork::Opening { .. })),
        ),
        chart(
            results,
            "tls-memory",
            "Memory of an idle connection over TLS",
            "bytes",
            Metric::Memory,
            |row| matches!(row, Row::Tls(TlsWork::Idle { .. })),
        ),
    ]
}

fn chart(
    results: &Results,
    name: &'static str,
    title: &str,
    unit: &str,
    metric: Metric,
    is_shown: impl Fn(&Row) -> bool,
) -> Chart {
    let rows = results.rows.iter().filter(|row| is_shown(&row.row));
    let panels = rows.map(|row| panel(row, metric)).filter(|panel| !panel.bars.is_empty()).collect();
    let machine = &results.machine;
    let note = format!(
        "{unit}; less is better. Medians of {} rounds, lines from the best to the worst. {}, Linux {}.",
        results.rounds, machine.cpu, machine.kernel
    );
    Chart { name, title: title.into(), note, panels }
}

fn panel(row: &RowResults, metric: Metric) -> Panel {
    let mut bars: Vec<Bar> = row
        .entries
        .iter()
        .filter_map(|entry| {
            let kind = match entry {
                entry if entry.is_ours() => Kind::Ours,
                entry if entry.is_limit() => Kind::Limit,
                _ => Kind::Peer,
            };
            let (value, spread) = (entry.median(metric)?, entry.spread(metric)?);
            Some(Bar { label: entry.name.clone(), value, spread, kind })
        })
        .collect();
    bars.sort_by(|a, b| a.value.total_cmp(&b.value));
    Panel { title: short_title(&row.row), bars }
}

/// What tells a row from the others of its chart.
fn short_title(row: &Row) -> String {
    match *row {
        Row::Latency { size, .. } | Row::Client { size } | Row::Deflate { size, .. } => size::name(size),
        Row::Load { connections, depth: 1, size } | Row::Instructions { connections, depth: 1, size } => {
            format!("{}, {connections} connections", size::name(size))
        }
        Row::Load { connections, depth, size } | Row::Instructions { connections, depth, size } => {
            format!("{}, {connections} connections x {depth} deep", size::name(size))
        }
        Row::Tls(work) => short_title(&work.plain()),
        Row::Idle { connections } => format!("{connections} connections"),
        Row::Broadcast { subscribers, burst: 1, size } => {
            format!("{}, {subscribers} subscribers", size::name(size))
        }
        Row::Broadcast { subscribers, burst, size } => {
            format!("{burst} x {}, {subscribers} subscribers", size::name(size))
        }
    }
}
