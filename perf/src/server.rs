//! A peer's process: started, waited for, pinned, ended.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::callgrind;
use crate::generator::Target;
use crate::peers::{Launch, Peer, perf_dir};
use crate::sys;
use crate::tls::Identity;

/// How long a server may take until it listens.
const START: Duration = Duration::from_secs(15);

/// Time in which an interrupted server has to end.
const END: Duration = Duration::from_secs(15);

/// A running server. Dropping it ends the process; the kernel does so if the harness itself is killed.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// Starts `peer` on one core, on a free port, and waits until it listens; with TLS, if there is an identity for it.
    ///
    /// # Errors
    /// If it is not installed, ends, or does not listen in time. What it wrote to stderr is in `results/logs/`.
    pub(crate) fn start(peer: &Peer, spins: bool, identity: Option<&Identity>, core: usize) -> Result<Self> {
        let mut options = Vec::<OsString>::new();
        if spins {
            options.push("--spin".into());
        }
        if let Some(identity) = identity {
            options.extend(["--tls-cert".into(), identity.certificate_file().into()]);
            options.extend(["--tls-key".into(), identity.key_file().into()]);
        }
        Self::launch(peer.name, located(peer)?, &options, core)
    }

    /// Starts `peer` as [`start`](Self::start) does, under callgrind. The counts are in `output` after
    /// [`end`](Self::end).
    ///
    /// # Errors
    /// As those of [`start`](Self::start).
    pub(crate) fn start_under_callgrind(peer: &Peer, output: &Path, core: usize) -> Result<Self> {
        Self::launch(peer.name, callgrind::wrap(located(peer)?, output), &[], core)
    }

    fn launch(name: &str, launch: Launch, options: &[OsString], core: usize) -> Result<Self> {
        let port = free_port()?;
        let log = log_path(name)?;
        let mut command = Command::new(launch.program);
        command.args(launch.args).arg("--port").arg(port.to_string()).args(options);
        command.current_dir(perf_dir()).stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(File::create(&log).with_context(|| format!("cannot write {}", log.display()))?);
        sys::confine(&mut command, core);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let mut server = Self { child, port };
        server.await_listening().with_context(|| format!("{name} (see {})", log.display()))?;
        Ok(server)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens.
    pub(crate) fn target(&self, peer: &Peer) -> Target {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        Target { addr, host: addr.to_string(), path: "/".into(), reply: peer.reply, tls: None }
    }

    /// Interrupts the server and waits until it has ended, so that a tool which runs it can write its
    /// files.
    ///
    /// # Errors
    /// If the server does not end in time.
    pub(crate) fn end(mut self) -> Result<()> {
        sys::interrupt(self.pid()).context("the server is gone")?;
        let begin = Instant::now();
        while self.child.try_wait()?.is_none() {
            ensure!(begin.elapsed() < END, "the server does not end");
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn await_listening(&mut self) -> Result<()> {
        let stdout = self.child.stdout.take().context("stdout is piped")?;
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || report_listening(stdout, &sender));
        match receiver.recv_timeout(START) {
            Ok(()) => Ok(()),
            Err(mpsc::RecvTimeoutError::Timeout) => bail!("not listening after {} s", START.as_secs()),
            Err(mpsc::RecvTimeoutError::Disconnected) => bail!("ended: {}", self.child.wait()?),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads what a server prints, to its end, so that it never blocks on a full pipe.
fn report_listening(stdout: ChildStdout, sender: &mpsc::Sender<()>) {
    for line in BufReader::new(stdout).lines() {
        let Ok(line) = line else { return };
        if line.starts_with("listening") {
            // Nobody waits any more after the time-out.
            let _ = sender.send(());
        }
    }
}

fn located(peer: &Peer) -> Result<Launch> {
    peer.locate().map_err(|reason| anyhow!(reason))
}

fn free_port() -> Result<u16> {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(socket.local_addr()?.port())
}

fn log_path(name: &str) -> Result<PathBuf> {
    let folder = perf_dir().join("results/logs");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder.join(format!("{name}.log")))
}
