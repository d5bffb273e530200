//! What the kernel says that a process has used.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// CPU time of all threads of a process, from the scheduler's own accounting (nanoseconds, not ticks).
///
/// The kernel brings the figure of a running thread up to date when it is switched out, so it is exact once the process sleeps.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let tasks =
        fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("process {pid} is gone"))?;
    let mut nanos = 0;
    for task in tasks {
        // A thread may end between the listing and the reading.
        let Ok(stat) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        nanos += first_number(&stat).context("the kernel keeps no schedstat")?;
    }
    Ok(Duration::from_nanos(nanos))
}

/// CPU time of this process so far.
pub(crate) fn own_cpu_time() -> Result<Duration> {
    cpu_time(std::process::id())
}

/// Bytes of memory that belong to a process alone and were written to: what it costs to have it.
pub(crate) fn private_dirty(pid: u32) -> Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).context("no smaps_rollup")?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Private_Dirty:"));
    let kib = line.and_then(first_number).context("smaps_rollup without Private_Dirty")?;
    Ok(kib * 1024)
}

fn first_number(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::time::Instant;

    use super::*;

    #[test]
    fn work_is_accounted() {
        let before = own_cpu_time().unwrap();
        let started = Instant::now();
        let mut sum = 0_u64;
        // The kernel notes the time at its ticks; work until it has.
        while own_cpu_time().unwrap() < before + Duration::from_millis(20) {
            assert!(started.elapsed() < Duration::from_secs(30), "nothing was accounted");
            sum = (0..100_000).fold(sum, |sum, n| black_box(sum ^ n));
        }
    }

    #[test]
    fn memory_that_was_written_counts() {
        let before = private_dirty(std::process::id()).unwrap();
        let block = black_box(vec![1_u8; 8 << 20]);
        let after = private_dirty(std::process::id()).unwrap();
        assert!(after >= before + (7 << 20), "{before} to {after} with {} bytes", block.len());
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        assert!(cpu_time(u32::MAX).is_err());
        assert!(private_dirty(u32::MAX).is_err());
    }
}
