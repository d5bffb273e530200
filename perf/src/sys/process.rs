//! Limits and the end of processes.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::affinity::pin_thread;

/// Raises the soft limit of open files to the hard one and returns it.
pub(crate) fn raise_open_files() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for writing.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is valid for reading.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit.rlim_cur)
}

/// Has `command` die with the thread that starts it, however that ends.
pub(crate) fn die_with_this_thread(command: &mut Command) {
    // SAFETY: only makes a system call, so it may run between fork and exec.
    unsafe { command.pre_exec(die_with_parent) };
}

/// Has the kernel kill this process when the thread that started it ends.
fn die_with_parent() -> io::Result<()> {
    // SAFETY: takes no pointers.
    let result = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Has `command` run on one core only, and die with the thread that starts it, however that ends.
pub(crate) fn confine(command: &mut Command, core: usize) {
    let prepare = move || {
        die_with_parent()?;
        pin_thread(&[core])
    };
    // SAFETY: `prepare` only makes system calls, so it may run between fork and exec.
    unsafe { command.pre_exec(prepare) };
}

/// Sends `SIGINT`, which lets strace detach and write its table.
pub(crate) fn interrupt(pid: u32) -> io::Result<()> {
    let pid = i32::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: takes no pointers.
    let result = unsafe { libc::kill(pid, libc::SIGINT) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
