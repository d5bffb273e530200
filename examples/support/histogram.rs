//! Round-trip times, counted in buckets: the memory is fixed however long the run, and recording costs nothing to speak of.

use std::time::Duration;

/// Each power of two is split into this many buckets (as a power of two), so a value is known to 0.4 %.
const SUB_BITS: u32 = 8;

/// Enough for every `u64` of nanoseconds.
const BUCKETS: usize = ((64 - SUB_BITS as usize) << SUB_BITS) + (1 << SUB_BITS);

/// Counts of durations, in nanoseconds.
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    sum: u128,
    max: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, sum: 0, max: 0 }
    }

    pub(crate) fn record(&mut self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
        self.sum += u128::from(nanos);
        self.max = self.max.max(nanos);
    }

    /// Adds what another one has recorded.
    #[allow(dead_code, reason = "not every example has several")]
    pub(crate) fn merge(&mut self, other: &Self) {
        for (count, others) in self.counts.iter_mut().zip(&other.counts) {
            *count += others;
        }
        self.total += other.total;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
    }

    /// How many durations were recorded.
    pub(crate) fn count(&self) -> u64 {
        self.total
    }

    /// The least number of nanoseconds that `per_mille` thousandths of the durations do not exceed; 0 if there are none.
    pub(crate) fn percentile(&self, per_mille: u64) -> u64 {
        let rank = (u128::from(self.total) * u128::from(per_mille)).div_ceil(1000);
        let mut seen = 0;
        for (bucket, &count) in self.counts.iter().enumerate() {
            seen += u128::from(count);
            if count > 0 && seen >= rank {
                return upper_edge(bucket).min(self.max);
            }
        }
        0
    }

    /// The longest, in nanoseconds.
    #[allow(dead_code, reason = "not every example prints it")]
    pub(crate) fn max(&self) -> u64 {
        self.max
    }

    /// How many such durations fit into a second, one after the other.
    #[allow(dead_code, reason = "not every example asks for it")]
    pub(crate) fn per_second(&self) -> u64 {
        let rate = u128::from(self.total) * 1_000_000_000 / self.sum.max(1);
        u64::try_from(rate).unwrap_or(u64::MAX)
    }
}

fn bucket(nanos: u64) -> usize {
    let shift = (nanos | (1 << SUB_BITS)).ilog2() - SUB_BITS;
    ((shift as usize) << SUB_BITS) + (nanos >> shift) as usize
}

/// The largest value of a bucket.
fn upper_edge(bucket: usize) -> u64 {
    let shift = (bucket >> SUB_BITS).saturating_sub(1);
    let mantissa = (bucket - (shift << SUB_BITS)) as u64;
    (mantissa << shift) + ((1 << shift) - 1)
}
