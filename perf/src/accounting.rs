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

/// Bytes of anonymous memory that a process has written to: what it costs to have it.
///
/// `Private_Dirty` would count pages of the program's file too as long as the file is new and not written back, and they
/// vanish from it at any moment.
pub(crate) fn anonymous_memory(pid: u32) -> Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).context("no smaps_rollup")?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:"));
    let kib = line.and_then(first_number).context("smaps_rollup without Anonymous")?;
    Ok(kib * 1024)
}

fn first_number(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::io::ErrorKind;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::process::{Child, Command};
    use std::thread;
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
        let before = anonymous_memory(std::process::id()).unwrap();
        let block = black_box(vec![1_u8; 64 << 20]);
        let after = anonymous_memory(std::process::id()).unwrap();
        assert!(after >= before + (48 << 20), "{before} to {after} with {} bytes", block.len());
    }

    #[test]
    fn a_program_that_is_new_on_the_disk_is_not_memory() {
        let program = std::env::current_exe().unwrap().with_file_name("accounting_sleep");
        // Written, not linked or cloned, so that its pages are dirty until they are written back.
        fs::write(&program, fs::read("/bin/sleep").unwrap()).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let mut child = start(&program);
        wait_until_asleep(child.id());
        let before = anonymous_memory(child.id());
        fs::File::open(&program).unwrap().sync_all().unwrap();
        let after = anonymous_memory(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        fs::remove_file(&program).unwrap();
        assert_eq!(before.unwrap(), after.unwrap());
    }

    /// Starts a program that was just written: a process that another test starts may hold it open for a moment.
    fn start(program: &Path) -> Child {
        loop {
            match Command::new(program).arg("60").spawn() {
                Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => thread::yield_now(),
                child => return child.unwrap(),
            }
        }
    }

    /// Waits until a process sleeps, at ten looks on end: until then it may touch further pages.
    fn wait_until_asleep(pid: u32) {
        let mut asleep = 0;
        for _ in 0..6000 {
            thread::sleep(Duration::from_millis(10));
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            asleep = if status.contains("State:\tS") { asleep + 1 } else { 0 };
            if asleep == 10 {
                return;
            }
        }
        panic!("process {pid} runs on");
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        assert!(cpu_time(u32::MAX).is_err());
        assert!(anonymous_memory(u32::MAX).is_err());
    }
}
