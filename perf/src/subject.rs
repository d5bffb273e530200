//! Who is measured.

use std::net::ToSocketAddrs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::accounting::cpu_time;
use crate::generator::Target;
use crate::modes::{ClientKind, Mode, Placement, Row};
use crate::peers::{Peer, Reply, Tls};
use crate::server::Server;
use crate::tls::Identity;

/// A server or a client.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    /// A registered server, started for each round.
    Peer(&'static Peer),
    /// A server that runs already.
    Running {
        /// The URL, its name in tables.
        name: String,
        /// Where it is.
        target: Target,
        /// Its process, for CPU time and memory.
        pid: Option<u32>,
    },
    /// A client.
    Client(ClientKind),
}

impl Subject {
    /// The server behind a `ws://` URL.
    ///
    /// # Errors
    /// If that is not a URL with a host and a port that resolve.
    pub(crate) fn running(url: &str, pid: Option<u32>) -> Result<Self> {
        let rest = url.strip_prefix("ws://").context("the URL must begin with ws://")?;
        let (host, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
        let with_port = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
        let addr = with_port.to_socket_addrs().with_context(|| format!("cannot resolve {host}"))?.next();
        let addr = addr.with_context(|| format!("{host} has no address"))?;
        let target = Target { addr, host: host.into(), path: path.into(), reply: Reply::Frame, tls: None };
        Ok(Self::Running { name: url.into(), target, pid })
    }

    /// Name in tables.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Peer(peer) => peer.name,
            Self::Running { name, .. } => name,
            Self::Client(kind) => kind.name(),
        }
    }

    /// Returns `true` if this is to be measured at a row. Clients belong to client rows, servers that
    /// speak TLS to TLS rows, servers that compress to compressed rows, servers that callgrind can
    /// run to rows of instructions, and servers to all other rows.
    pub(crate) fn belongs_to(&self, row: &Row) -> bool {
        match (self, row.mode()) {
            (Self::Peer(peer), Mode::Tls) => peer.tls != Tls::No,
            (Self::Peer(peer), mode) if peer.reply.keeps_context().is_some() => mode == Mode::Deflate,
            (Self::Peer(peer), Mode::Instructions) => peer.for_callgrind().is_some(),
            (Self::Client(_), mode) => mode == Mode::Client,
            (_, mode) => !matches!(mode, Mode::Client | Mode::Tls | Mode::Deflate | Mode::Instructions),
        }
    }

    /// Why this cannot be measured at a row, if so.
    pub(crate) fn obstacle(&self, row: &Row) -> Option<&'static str> {
        match (self, row) {
            (Self::Peer(peer), Row::Broadcast { .. }) if !peer.can_broadcast => Some("does not publish"),
            (Self::Running { .. }, Row::Broadcast { .. }) => Some("not known to publish"),
            (Self::Running { pid: None, .. }, Row::Idle { .. }) => Some("its process is not known (--pid)"),
            (Self::Running { .. }, Row::Latency { placement: Placement::SameCore, .. }) => {
                Some("not started here, so not on the generator's core")
            }
            _ => None,
        }
    }

    /// What is different about this at a row.
    pub(crate) fn note(&self, row: &Row) -> Option<String> {
        match self {
            Self::Peer(Peer { reply: Reply::Compressed { keeps_context }, .. }) => {
                Some(if *keeps_context { "with context" } else { "no context" }.into())
            }
            Self::Peer(peer) if row.spins() && !peer.can_spin => Some("the server sleeps".into()),
            Self::Running { .. } => Some("started elsewhere, not pinned".into()),
            _ => None,
        }
    }

    /// The client.
    ///
    /// # Errors
    /// If it is a server.
    pub(crate) fn client(&self) -> Result<ClientKind> {
        match self {
            Self::Client(kind) => Ok(*kind),
            _ => bail!("{} is not a client", self.name()),
        }
    }
}

/// A server for the time of one round.
#[derive(Debug)]
pub(crate) struct Session {
    /// Where it is.
    pub(crate) target: Target,
    /// Its process, if known.
    pub(crate) pid: Option<u32>,
    /// Ends the process when the round is over.
    server: Option<Server>,
}

impl Session {
    /// Starts the server if it is not running.
    ///
    /// # Errors
    /// If it cannot be started, or is a client.
    pub(crate) fn open(subject: &Subject, row: &Row, core: usize) -> Result<Self> {
        match subject {
            Subject::Peer(peer) if row.mode() == Mode::Tls => Self::open_tls(peer, core),
            Subject::Peer(peer) => {
                let server = Server::start(peer, row.spins() && peer.can_spin, None, core)?;
                Ok(Self { target: server.target(peer), pid: Some(server.pid()), server: Some(server) })
            }
            Subject::Running { target, pid, .. } => {
                Ok(Self { target: target.clone(), pid: *pid, server: None })
            }
            Subject::Client(kind) => bail!("{} is not a server", kind.name()),
        }
    }

    /// With a certificate of its own, whose files are gone when this returns.
    fn open_tls(peer: &Peer, core: usize) -> Result<Self> {
        let peer = peer.with_tls().with_context(|| format!("{} does not speak TLS", peer.name))?;
        let identity = Identity::create()?;
        let server = Server::start(&peer, false, Some(&identity), core)?;
        let target = Target { tls: Some(identity.client_config()?), ..server.target(&peer) };
        Ok(Self { target, pid: Some(server.pid()), server: Some(server) })
    }

    /// Starts a server under callgrind, which writes its counts to `output` when the session ends.
    ///
    /// # Errors
    /// If the subject is not a server that callgrind can run, or the server cannot be started.
    pub(crate) fn open_under_callgrind(subject: &Subject, output: &Path, core: usize) -> Result<Self> {
        let peer = match subject {
            Subject::Peer(peer) => peer.for_callgrind(),
            Subject::Running { .. } | Subject::Client(_) => None,
        };
        let peer = peer.with_context(|| format!("{} cannot run under callgrind", subject.name()))?;
        let server = Server::start_under_callgrind(&peer, output, core)?;
        Ok(Self { target: server.target(&peer), pid: Some(server.pid()), server: Some(server) })
    }

    /// Interrupts the server, if it was started for this session, and waits until it has ended.
    ///
    /// # Errors
    /// If the server does not end in time.
    pub(crate) fn end(self) -> Result<()> {
        self.server.map_or(Ok(()), Server::end)
    }

    /// CPU time of the process so far, if it is known.
    pub(crate) fn cpu_time(&self) -> Result<Option<Duration>> {
        self.pid.map(cpu_time).transpose()
    }

    /// CPU time since `before`.
    pub(crate) fn cpu_since(&self, before: Option<Duration>) -> Result<Option<Duration>> {
        Ok(self.cpu_time()?.zip(before).map(|(now, before)| now.saturating_sub(before)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let Subject::Running { target, .. } = Subject::running("ws://127.0.0.1:9001/a/b?c", None).unwrap()
        else {
            panic!("not a running server");
        };
        assert_eq!((target.addr.port(), target.path.as_str()), (9001, "/a/b?c"));
        assert_eq!(target.host, "127.0.0.1:9001");
        let Subject::Running { target, .. } = Subject::running("ws://127.0.0.1", None).unwrap() else {
            panic!("not a running server");
        };
        assert_eq!((target.addr.port(), target.path.as_str()), (80, "/"));
        assert!(Subject::running("wss://127.0.0.1", None).is_err());
    }
}
