//! The command line.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::modes::{ClientKind, Mode};
use crate::serve::femtows::{Api, Deflate};
use crate::size;

/// The latency harness of femtows: one load generator against many WebSocket servers.
#[derive(Debug, Parser)]
#[command(name = "perf")]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What it can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Measures servers in turns and writes tables and charts to perf/results/
    Compare(CompareArgs),
    /// Lists the servers that can be compared, and why others cannot
    Peers,
    /// Writes tables and charts again, from a results.json
    Report {
        /// The file; tables and charts go beside it
        file: PathBuf,
    },
    /// Is one of the servers that belong to the harness
    Serve {
        /// Which
        #[command(subcommand)]
        server: ServeCommand,
    },
    /// Is one of the clients that are compared: measures itself and prints its figures
    #[command(hide = true)]
    Client {
        /// Which
        kind: ClientKind,
        /// Port of the server on 127.0.0.1
        #[arg(long)]
        port: u16,
        /// Payload in bytes
        #[arg(long)]
        size: usize,
        /// Length of the measured part in milliseconds
        #[arg(long)]
        millis: u64,
    },
}

/// What `compare` takes.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// Few rows, few servers, less than two minutes
    #[arg(long)]
    pub(crate) quick: bool,
    /// Server CPU time in closed loop and at latency: nine rounds of limit, femtows and uWebSockets
    #[arg(long, conflicts_with_all = ["quick", "modes", "sizes"])]
    pub(crate) cpu: bool,
    /// Names of servers, as `perf peers` lists them; default: all that are installed
    #[arg(long, value_delimiter = ',')]
    pub(crate) peers: Vec<String>,
    /// Families of rows; default: all but instructions
    #[arg(long, value_delimiter = ',')]
    pub(crate) modes: Vec<Mode>,
    /// Sizes of payloads, like 20,1KiB,100kB; default: those of each family
    #[arg(long, value_delimiter = ',', value_parser = size::parse)]
    pub(crate) sizes: Vec<usize>,
    /// Rounds of each server at each row, instructions excepted [default: 5, with --quick 3, with --cpu 9]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) rounds: Option<u16>,
    /// Length of a measured round in seconds [default: 1, with --quick what two minutes allow]
    #[arg(long, value_parser = seconds)]
    pub(crate) secs: Option<f64>,
    /// Idle connections to open
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) idle_connections: u32,
    /// URL of a server that runs already, `ws://host:port/path`, to be compared too
    #[arg(long)]
    pub(crate) server: Option<String>,
    /// Its process, for CPU time and memory
    #[arg(long, requires = "server")]
    pub(crate) pid: Option<u32>,
    /// Leaves out the counting of system calls
    #[arg(long)]
    pub(crate) no_syscalls: bool,
    /// Where tables and charts go [default: perf/results]
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
}

/// The servers of the harness.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ServeCommand {
    /// Raw epoll echo over TCP or TLS: what the kernel and rustls allow
    Limit(ServeArgs),
    /// This library
    Femtows {
        /// Port and pace
        #[command(flatten)]
        args: ServeArgs,
        /// Which of its interfaces echoes
        #[arg(long, default_value = "frames")]
        api: Api,
        /// How messages are compressed
        #[arg(long, default_value = "off")]
        deflate: Deflate,
    },
}

/// What each server takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServeArgs {
    /// Port on 127.0.0.1
    #[arg(long)]
    pub(crate) port: u16,
    /// Polls without ever sleeping
    #[arg(long)]
    pub(crate) spin: bool,
    /// Speaks TLS, with the certificates in this PEM file
    #[arg(long, requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The key of the first of them
    #[arg(long, requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

impl ServeArgs {
    /// Files of certificates and key, if TLS is to be spoken.
    pub(crate) fn tls(&self) -> Option<(&Path, &Path)> {
        Some((self.tls_cert.as_deref()?, self.tls_key.as_deref()?))
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    if (0.01..=3600.0).contains(&seconds) { Ok(seconds) } else { Err("0.01 to 3600 seconds".into()) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn lists_are_split_at_commas() {
        let cli = Cli::parse_from(["perf", "compare", "--modes", "latency,idle", "--sizes", "20,1KiB"]);
        let Command::Compare(args) = cli.command else { panic!("not compare") };
        assert_eq!(args.modes, [Mode::Latency, Mode::Idle]);
        assert_eq!(args.sizes, [20, 1024]);
    }

    #[test]
    fn a_certificate_needs_its_key() {
        let line = ["perf", "serve", "limit", "--port", "1", "--tls-cert", "c"];
        assert!(Cli::try_parse_from(line).is_err());
        let cli = Cli::parse_from(line.into_iter().chain(["--tls-key", "k"]));
        let Command::Serve { server: ServeCommand::Limit(args) } = cli.command else { panic!("not limit") };
        assert_eq!(args.tls(), Some((Path::new("c"), Path::new("k"))));
    }
}
