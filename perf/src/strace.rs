//! System calls of a server, counted by strace in a round of their own: it slows the server down far too much to be timed.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::sys;

/// How long strace may take to attach or to detach.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often one system call was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Syscall {
    /// Its name.
    pub(crate) name: String,
    /// Calls per message.
    pub(crate) calls: f64,
    /// Those of them that failed: a `recv` that finds nothing, most often.
    pub(crate) failed: f64,
}

/// Whether strace is installed.
pub(crate) fn is_installed() -> bool {
    let version = Command::new("strace").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

/// Counts the system calls that process `pid` makes while `work` runs, which returns a number of messages.
///
/// # Errors
/// If strace may not attach, or `work` fails.
pub(crate) fn count(pid: u32, work: impl FnOnce() -> Result<u64>) -> Result<Vec<Syscall>> {
    let output = env::temp_dir().join(format!("femtows-perf-strace-{pid}.txt"));
    let tracer = Tracer::attach(pid, output.clone())?;
    let messages = work()?;
    tracer.detach()?;
    let table = fs::read_to_string(&output).context("strace wrote no table")?;
    fs::remove_file(&output).context("cannot remove strace's table")?;
    ensure!(messages > 0, "no message was echoed under strace");
    Ok(parse(&table, messages))
}

/// A running strace; dropped, it is killed, which detaches it too.
struct Tracer(Child);

impl Tracer {
    fn attach(pid: u32, output: PathBuf) -> Result<Self> {
        let mut command = Command::new("strace");
        command.args(["-c", "-f", "-o"]).arg(output).arg("-p").arg(pid.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        sys::die_with_this_thread(&mut command);
        let mut tracer = Self(command.spawn().context("cannot start strace")?);
        let stderr = tracer.0.stderr.take().context("stderr is piped")?;
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                // Nobody waits any more after the first line.
                let _ = sender.send(line);
            }
        });
        match receiver.recv_timeout(PATIENCE) {
            Ok(line) if line.contains("attached") => Ok(tracer),
            Ok(line) => bail!("{line}"),
            Err(_) => bail!("strace does not attach"),
        }
    }

    fn detach(mut self) -> Result<()> {
        sys::interrupt(self.0.id()).context("strace is gone")?;
        let begin = Instant::now();
        while self.0.try_wait()?.is_none() {
            ensure!(begin.elapsed() < PATIENCE, "strace does not detach");
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // Both fail only if it has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads the table of `strace -c`: share, seconds, microseconds per call, calls, errors (may be blank), name.
fn parse(table: &str, messages: u64) -> Vec<Syscall> {
    let rows = table.lines().filter_map(|line| {
        let columns: Vec<_> = line.split_ascii_whitespace().collect();
        let (calls, failed, name) = match columns[..] {
            [_, _, _, calls, name] => (calls, "0", name),
            [_, _, _, calls, failed, name] => (calls, failed, name),
            _ => return None,
        };
        let per_message = |count: &str| Some(count.parse::<u64>().ok()? as f64 / messages as f64);
        let name = Some(name).filter(|&name| name != "total")?.to_owned();
        Some(Syscall { name, calls: per_message(calls)?, failed: per_message(failed)? })
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_strace() {
        let table = "% time     seconds  usecs/call     calls    errors syscall\n\
                     ------ ----------- ----------- --------- --------- ----------------\n\
                     60.00    0.001000           1       200           sendto\n\
                     40.00    0.000500           1       400        50 recvfrom\n\
                     ------ ----------- ----------- --------- --------- ----------------\n\
                     100.00    0.001500           1       600        50 total\n";
        let counted = parse(table, 200);
        assert_eq!(
            counted,
            [
                Syscall { name: "sendto".into(), calls: 1.0, failed: 0.0 },
                Syscall { name: "recvfrom".into(), calls: 2.0, failed: 0.25 },
            ]
        );
    }
}
