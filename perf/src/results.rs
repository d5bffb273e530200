//! What was measured: figures per round, summed up as medians and spreads.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::modes::Row;
use crate::strace::Syscall;

/// One kind of figure. For all but the rate, less is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Metric {
    /// Median time of an exchange in microseconds.
    P50,
    /// 99th percentile in microseconds.
    P99,
    /// 99.9th percentile in microseconds.
    P999,
    /// CPU time per message (broadcast: per delivery) in microseconds.
    Cpu,
    /// Messages (deliveries) per second.
    Rate,
    /// Memory of an idle connection in bytes.
    Memory,
    /// Bytes of the answers on the wire, frame headers included, per byte of the messages in them.
    Wire,
    /// CPU time per opened connection, handshake included, in microseconds.
    OpeningCpu,
    /// Instructions in user space per message.
    Instructions,
}

/// What one round of one server gave.
pub(crate) type Figures = BTreeMap<Metric, f64>;

/// Everything a run found out; the JSON file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    /// The command line.
    pub(crate) command: String,
    /// The machine.
    pub(crate) machine: Machine,
    /// Rounds per row and server.
    pub(crate) rounds: usize,
    /// Length of a measured round in seconds, where the row has one.
    pub(crate) seconds: f64,
    /// One per kind of work.
    pub(crate) rows: Vec<RowResults>,
    /// Who was left out of what, and why.
    pub(crate) skipped: Vec<Skipped>,
}

/// All servers at one kind of work.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RowResults {
    /// The work.
    pub(crate) row: Row,
    /// In the order of the registry.
    pub(crate) entries: Vec<Entry>,
}

/// One server at one kind of work.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Name of the server (or client).
    pub(crate) name: String,
    /// What is different about it in this row.
    pub(crate) note: Option<String>,
    /// Figures of each round.
    pub(crate) rounds: Vec<Figures>,
    /// System calls per message, the most frequent first.
    pub(crate) syscalls: Vec<Syscall>,
}

/// Somebody was not measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Skipped {
    /// Name of the server (or client).
    pub(crate) name: String,
    /// The row, or "everything".
    pub(crate) what: String,
    /// Why.
    pub(crate) reason: String,
}

impl Skipped {
    /// Notes it.
    pub(crate) fn new(name: &str, what: &str, reason: &str) -> Self {
        Self { name: name.into(), what: what.into(), reason: reason.into() }
    }
}

impl Entry {
    /// Nothing measured yet.
    pub(crate) fn new(name: &str, note: Option<String>) -> Self {
        Self { name: name.into(), note, rounds: Vec::new(), syscalls: Vec::new() }
    }

    /// The median over the rounds.
    pub(crate) fn median(&self, metric: Metric) -> Option<f64> {
        median(&self.sorted(metric))
    }

    /// The smallest and the largest of the rounds.
    pub(crate) fn spread(&self, metric: Metric) -> Option<(f64, f64)> {
        let values = self.sorted(metric);
        Some((*values.first()?, *values.last()?))
    }

    /// Whether this is what nobody can beat: the raw echo, or the raw client.
    pub(crate) fn is_limit(&self) -> bool {
        matches!(self.name.as_str(), "limit" | "raw client")
    }

    /// Whether this is the library that the harness belongs to.
    pub(crate) fn is_ours(&self) -> bool {
        self.name.starts_with("femtows")
    }

    /// Returns the ratio to `other` by `metric`: the median over the rounds in which both were
    /// measured. Within a round they follow each other, so that what slows the machine down for a
    /// while slows both.
    pub(crate) fn ratio(&self, other: Option<&Self>, metric: Metric) -> Option<f64> {
        median(&self.ratios(other?, metric))
    }

    /// Returns the smallest and the largest of those ratios, if there is more than one.
    pub(crate) fn ratio_spread(&self, other: Option<&Self>, metric: Metric) -> Option<(f64, f64)> {
        match &self.ratios(other?, metric)[..] {
            [smallest, .., largest] => Some((*smallest, *largest)),
            _ => None,
        }
    }

    fn ratios(&self, other: &Self, metric: Metric) -> Vec<f64> {
        let pairs = self.rounds.iter().zip(&other.rounds);
        let mut ratios: Vec<f64> = pairs
            .filter_map(|(one, other)| {
                Some(one.get(&metric)? / other.get(&metric).filter(|&&value| value > 0.0)?)
            })
            .collect();
        ratios.sort_by(f64::total_cmp);
        ratios
    }

    fn sorted(&self, metric: Metric) -> Vec<f64> {
        let mut values: Vec<f64> =
            self.rounds.iter().filter_map(|figures| figures.get(&metric).copied()).collect();
        values.sort_by(f64::total_cmp);
        values
    }
}

impl RowResults {
    /// The entry that nobody can beat.
    pub(crate) fn limit(&self) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.is_limit())
    }

    /// Returns the best server by `metric`, the limit and this library left out.
    pub(crate) fn best_peer(&self, metric: Metric) -> Option<&Entry> {
        let peers = self.entries.iter().filter(|entry| !entry.is_limit() && !entry.is_ours());
        let with_figure = peers.filter_map(|entry| Some((entry.median(metric)?, entry)));
        with_figure.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, entry)| entry)
    }
}

/// The median of values in order.
fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        len if len % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::modes::Placement;

    /// An entry of latency rounds.
    pub(crate) fn entry(name: &str, medians: &[f64]) -> Entry {
        let rounds = medians.iter().map(|&p50| Figures::from([(Metric::P50, p50)])).collect();
        Entry { name: name.into(), note: None, rounds, syscalls: Vec::new() }
    }

    /// A latency row.
    pub(crate) fn row(entries: Vec<Entry>) -> RowResults {
        RowResults { row: Row::Latency { size: 20, placement: Placement::SameCore }, entries }
    }

    #[test]
    fn medians_and_spreads() {
        let odd = entry("a", &[3.0, 1.0, 2.0]);
        assert_eq!(odd.median(Metric::P50), Some(2.0));
        assert_eq!(odd.spread(Metric::P50), Some((1.0, 3.0)));
        assert_eq!(entry("a", &[4.0, 1.0, 2.0, 3.0]).median(Metric::P50), Some(2.5));
        assert_eq!(odd.median(Metric::Cpu), None);
        assert_eq!(entry("a", &[]).spread(Metric::P50), None);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // The machine is half as fast in the second round, and twice as fast in the third.
        let row = row(vec![entry("limit", &[1.0, 2.0, 0.5, 7.0]), entry("femtows", &[1.1, 2.2, 0.6])]);
        let [limit, ours] = &row.entries[..] else { unreachable!("two entries") };
        assert_eq!(ours.ratio(Some(limit), Metric::P50), Some(1.1));
        assert_eq!(ours.ratio_spread(Some(limit), Metric::P50), Some((1.1, 1.2)));
        assert_eq!(ours.ratio_spread(None, Metric::P50), None);
    }

    #[test]
    fn the_best_peer_is_neither_the_limit_nor_ours() {
        let row = row(vec![
            entry("limit", &[1.0]),
            entry("femtows", &[2.0]),
            entry("femtows-messages", &[2.5]),
            entry("slow", &[8.0]),
            entry("fast", &[4.0]),
            entry("failed", &[]),
        ]);
        let best = row.best_peer(Metric::P50).unwrap();
        assert_eq!(best.name, "fast");
        let ours = &row.entries[1];
        assert_eq!(ours.ratio(Some(best), Metric::P50), Some(0.5));
        assert_eq!(ours.ratio(row.limit(), Metric::P50), Some(2.0));
        assert_eq!(ours.ratio(row.entries.last(), Metric::P50), None);
    }
}
