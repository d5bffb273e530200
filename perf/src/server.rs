//! A peer's process: started, waited for, pinned, ended.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use crate::generator::Target;
use crate::peers::{Peer, perf_dir};
use crate::sys;
use crate::tls::Identity;

/// How long a server may take until it listens.
const START: Duration = Duration::from_secs(15);

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
        let launch = peer.locate().map_err(|reason| anyhow!(reason))?;
        let port = free_port()?;
        let log = log_path(peer.name)?;
        let mut command = Command::new(launch.program);
        command.args(launch.args).arg("--port").arg(port.to_string());
        if spins {
            command.arg("--spin");
        }
        if let Some(identity) = identity {
            command.arg("--tls-cert").arg(identity.certificate_file());
            command.arg("--tls-key").arg(identity.key_file());
        }
        command.current_dir(perf_dir()).stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(File::create(&log).with_context(|| format!("cannot write {}", log.display()))?);
        sys::confine(&mut command, core);
        let child = command.spawn().with_context(|| format!("cannot start {}", peer.name))?;
        let mut server = Self { child, port };
        server.await_listening().with_context(|| format!("{} (see {})", peer.name, log.display()))?;
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

fn free_port() -> Result<u16> {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(socket.local_addr()?.port())
}

fn log_path(name: &str) -> Result<PathBuf> {
    let folder = perf_dir().join("results/logs");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(folder.join(format!("{name}.log")))
}
