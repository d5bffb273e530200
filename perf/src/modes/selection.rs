//! Which rows a comparison has.

use crate::generator::TRADE;

use super::{Mode, Placement, Row, TlsWork};

const KIB: usize = 1024;

/// Idle connections over TLS are fewer than without: the generator has to do its half of each handshake.
const TLS_CONNECTIONS: usize = 1000;

/// Returns all rows of the given modes; without modes, of all but instructions. `sizes` replaces the
/// sizes of every mode that has any.
pub(crate) fn rows(modes: &[Mode], sizes: &[usize], idle_connections: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    let sizes = |default: &[usize]| if sizes.is_empty() { default.to_vec() } else { sizes.to_vec() };
    let sweep = [20, 256, KIB, 8 * KIB, 16 * KIB, 100_000, KIB * KIB];
    let placements = [
        (Placement::SameCore, &sweep[..]),
        (Placement::Apart, &[20, 8 * KIB]),
        (Placement::Spinning, &[20, 256, KIB, 8 * KIB]),
    ];
    for (placement, default) in placements {
        rows.extend(sizes(default).into_iter().map(|size| Row::Latency { size, placement }));
    }
    let loads: [(usize, usize, &[usize]); 3] =
        [(64, 1, &[20, KIB, 16 * KIB]), (1000, 1, &[20, KIB]), (32, 64, &[20, 512])];
    for (connections, depth, default) in loads {
        rows.extend(sizes(default).into_iter().map(|size| Row::Load { connections, depth, size }));
    }
    rows.push(Row::Idle { connections: idle_connections });
    for (subscribers, burst, default) in
        [(1, 1, &[128][..]), (64, 1, &[128, 16 * KIB]), (1000, 1, &[128, 16 * KIB]), (64, 16, &[128])]
    {
        let work = |size| Row::Broadcast { subscribers, burst, size };
        rows.extend(sizes(default).into_iter().map(work));
    }
    rows.extend(sizes(&[256, 8 * KIB, 100_000]).into_iter().map(|size| Row::Client { size }));
    // A message of a feed is not shorter than a trade.
    let feeds = sizes(&[TRADE, KIB, 16 * KIB]).into_iter().filter(|&size| size >= TRADE);
    rows.extend(feeds.map(|size| Row::Deflate { connections: 64, size }));
    rows.extend(tls(sizes, idle_connections).into_iter().map(Row::Tls));
    let counted: [(usize, usize, &[usize]); 3] =
        [(64, 1, &[20, KIB, 16 * KIB]), (32, 64, &[20, 512]), (1, 1, &[20])];
    for (connections, depth, default) in counted {
        rows.extend(sizes(default).into_iter().map(|size| Row::Instructions { connections, depth, size }));
    }
    rows.retain(|row| {
        let mode = row.mode();
        if modes.is_empty() { mode != Mode::Instructions } else { modes.contains(&mode) }
    });
    rows
}

/// Few of the sizes above: what TLS costs hardly depends on the rest. `sizes` replaces the default ones if it holds any.
fn tls(sizes: impl Fn(&[usize]) -> Vec<usize>, idle_connections: usize) -> Vec<TlsWork> {
    let loads: [(usize, usize, &[usize]); 2] = [(64, 1, &[20, KIB, 16 * KIB]), (32, 64, &[20, 512])];
    let mut rows = Vec::new();
    for (connections, depth, default) in loads {
        rows.extend(sizes(default).into_iter().map(|size| TlsWork::Load { connections, depth, size }));
    }
    rows.extend(sizes(&[100_000]).into_iter().map(|size| TlsWork::Latency { size }));
    let connections = idle_connections.min(TLS_CONNECTIONS);
    rows.extend([TlsWork::Opening { connections }, TlsWork::Idle { connections }]);
    rows
}

/// Returns the rows of `compare --cpu`: closed loop, and latency on one core.
pub(crate) fn cpu_rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for connections in [64, 1000] {
        rows.extend([20, KIB, 16 * KIB].map(|size| Row::Load { connections, depth: 1, size }));
    }
    let placement = Placement::SameCore;
    rows.extend([20, 8 * KIB, 100_000].map(|size| Row::Latency { size, placement }));
    rows
}

/// The few rows of `compare --quick`.
pub(crate) fn quick_rows() -> Vec<Row> {
    vec![
        Row::Load { connections: 64, depth: 1, size: 20 },
        Row::Load { connections: 64, depth: 1, size: 16 * KIB },
        Row::Load { connections: 32, depth: 64, size: 20 },
        Row::Load { connections: 32, depth: 64, size: 512 },
        Row::Latency { size: 20, placement: Placement::SameCore },
        Row::Latency { size: 100_000, placement: Placement::SameCore },
        Row::Broadcast { subscribers: 64, burst: 1, size: 128 },
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::results::Metric;

    #[test]
    fn every_row_has_a_title_of_its_own() {
        let rows = rows(&[], &[], 10_000);
        let titles: HashSet<_> = rows.iter().map(Row::title).collect();
        assert_eq!(titles.len(), rows.len());
        for row in quick_rows() {
            assert!(titles.contains(&row.title()), "{} is not in the full set", row.title());
        }
    }

    #[test]
    fn every_tls_row_has_its_twin_without() {
        let all = rows(&[], &[], 1000);
        let secured: Vec<_> = rows(&[Mode::Tls], &[], 1000);
        assert_eq!(secured.len(), 8);
        for row in secured {
            let Row::Tls(work) = row else { panic!("{} is not over TLS", row.title()) };
            assert!(all.contains(&work.plain()), "{}", row.title());
        }
    }

    #[test]
    fn instructions_are_counted_on_request_only() {
        assert!(rows(&[], &[], 10).iter().all(|row| row.mode() != Mode::Instructions));
        assert_eq!(rows(&[Mode::Instructions], &[], 10).len(), 6);
    }

    #[test]
    fn cpu_rows_are_all_judged_by_cpu_time() {
        let rows = cpu_rows();
        assert_eq!(rows.len(), 9);
        for row in rows {
            assert!(row.compared().contains(&Metric::Cpu), "{}", row.title());
        }
    }

    #[test]
    fn modes_and_sizes_select() {
        let selected = rows(&[Mode::Pipeline, Mode::Idle], &[99], 5);
        assert_eq!(
            selected,
            [Row::Load { connections: 32, depth: 64, size: 99 }, Row::Idle { connections: 5 }]
        );
    }
}
