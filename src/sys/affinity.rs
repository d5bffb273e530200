use std::io;

#[cfg(target_os = "linux")]
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The CPUs that this thread may run on, in ascending order; none if the system does not tell.
#[cfg(target_os = "linux")]
pub(crate) fn allowed_cpus() -> Vec<usize> {
    let Ok(allowed) = sched_getaffinity(None) else { return Vec::new() };
    (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn allowed_cpus() -> Vec<usize> {
    Vec::new()
}

/// Keeps this thread on one CPU.
#[cfg(target_os = "linux")]
pub(crate) fn pin_thread(cpu: usize) -> io::Result<()> {
    if cpu >= CpuSet::MAX_CPU {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn pin_thread(_cpu: usize) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// Held against what std says of the same thread.
    #[test]
    fn a_pinned_thread_has_one_cpu() {
        let allowed = allowed_cpus();
        assert!(allowed.is_sorted() && !allowed.is_empty());
        for &cpu in &allowed {
            let (cpus, parallelism) = std::thread::spawn(move || {
                pin_thread(cpu).unwrap();
                (allowed_cpus(), std::thread::available_parallelism().unwrap().get())
            })
            .join()
            .unwrap();
            assert_eq!((cpus, parallelism), (vec![cpu], 1));
        }
        assert_eq!(allowed_cpus(), allowed, "others stay free");
        assert!(pin_thread(usize::MAX).is_err());
    }
}
