use std::io;

/// The CPUs that this thread may run on, in ascending order; none if the system does not tell.
#[cfg(target_os = "linux")]
pub(crate) fn allowed_cpus() -> Vec<usize> {
    // SAFETY: all zeros is a set without members.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes at most the size that it is told; 0 is the calling thread.
    let result = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) };
    if result != 0 {
        return Vec::new();
    }
    // SAFETY: each index is below the size of the set.
    (0..libc::CPU_SETSIZE as usize).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).collect()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn allowed_cpus() -> Vec<usize> {
    Vec::new()
}

/// Keeps this thread on one CPU.
#[cfg(target_os = "linux")]
pub(crate) fn pin_thread(cpu: usize) -> io::Result<()> {
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: all zeros is a set without members.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the index is below the size of the set, which was checked.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the kernel reads as much as it is told; 0 is the calling thread.
    match unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
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
