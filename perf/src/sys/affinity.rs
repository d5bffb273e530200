//! Which cores a thread may run on.

use std::io;
use std::mem;

/// The cores that this thread may run on, in ascending order.
pub(crate) fn allowed_cores() -> io::Result<Vec<usize>> {
    let mut set = empty_set();
    // SAFETY: `set` is a valid cpu_set_t of the size given; 0 names the calling thread.
    let result = unsafe { libc::sched_getaffinity(0, mem::size_of::<libc::cpu_set_t>(), &raw mut set) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let limit = libc::CPU_SETSIZE as usize;
    // SAFETY: every index is below CPU_SETSIZE.
    Ok((0..limit).filter(|&core| unsafe { libc::CPU_ISSET(core, &set) }).collect())
}

/// Lets this thread run on the given cores only. Threads and processes that it starts inherit that.
///
/// Only makes a system call, so it may be used between fork and exec.
pub(crate) fn pin_thread(cores: &[usize]) -> io::Result<()> {
    let mut set = empty_set();
    for &core in cores {
        if core >= libc::CPU_SETSIZE as usize {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: the index was just checked.
        unsafe { libc::CPU_SET(core, &mut set) };
    }
    // SAFETY: `set` is a valid cpu_set_t of the size given; 0 names the calling thread.
    let result = unsafe { libc::sched_setaffinity(0, mem::size_of::<libc::cpu_set_t>(), &raw const set) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn empty_set() -> libc::cpu_set_t {
    // SAFETY: cpu_set_t is an array of integers, for which zeros are valid and mean the empty set.
    unsafe { mem::zeroed() }
}
