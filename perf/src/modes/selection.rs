//! Which rows a comparison has.

use super::{Mode, Placement, Row};

const KIB: usize = 1024;

/// All rows of the given modes, or of all. `sizes` replaces the sizes of every mode that has any.
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
    rows.retain(|row| modes.is_empty() || modes.contains(&row.mode()));
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
    fn modes_and_sizes_select() {
        let selected = rows(&[Mode::Pipeline, Mode::Idle], &[99], 5);
        assert_eq!(
            selected,
            [Row::Load { connections: 32, depth: 64, size: 99 }, Row::Idle { connections: 5 }]
        );
    }
}
