//! Instructions of a server in user space, counted by callgrind, a tool of valgrind.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::peers::Launch;

/// Returns `true` if valgrind is installed.
pub(crate) fn is_installed() -> bool {
    let version =
        Command::new("valgrind").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

/// Returns the command that runs `launch` under callgrind, which writes its counts to `output` when
/// the program ends.
pub(crate) fn wrap(launch: Launch, output: &Path) -> Launch {
    let mut out_file = OsString::from("--callgrind-out-file=");
    out_file.push(output);
    let mut args = vec!["--tool=callgrind".into(), out_file, launch.program.into_os_string()];
    args.extend(launch.args);
    Launch { program: "valgrind".into(), args }
}

/// Reads the number of all instructions from a file of callgrind, and removes the file.
///
/// # Errors
/// If callgrind wrote no total, because the program was killed or valgrind cannot run it.
pub(crate) fn take_total(output: &Path) -> Result<u64> {
    let counts = fs::read_to_string(output).context("callgrind wrote no counts")?;
    fs::remove_file(output).context("cannot remove callgrind's counts")?;
    parse(&counts).context("callgrind wrote no total")
}

fn parse(counts: &str) -> Option<u64> {
    counts.lines().find_map(|line| line.strip_prefix("totals: "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn total_of_a_callgrind_file() {
        let counts = "# callgrind format\nversion: 1\nevents: Ir\n\nfn=(1) main\n10 42\n\ntotals: 123456\n";
        assert_eq!(parse(counts), Some(123_456));
        assert_eq!(parse("# callgrind format\n"), None);
    }

    #[test]
    fn program_and_arguments_follow_those_of_valgrind() {
        let launch = Launch { program: "/bin/server".into(), args: vec!["--api".into(), "frames".into()] };
        let wrapped = wrap(launch, Path::new("/tmp/counts"));
        assert_eq!(wrapped.program, Path::new("valgrind"));
        let expected =
            ["--tool=callgrind", "--callgrind-out-file=/tmp/counts", "/bin/server", "--api", "frames"];
        assert_eq!(wrapped.args, expected);
    }
}
