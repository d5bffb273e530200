//! Configuration of a server.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use crate::connection::{
    ConnectionConfig, LivenessConfig, WSLimits, WSTuning, connection_setters, liveness_setters,
};
use crate::net::ListenOptions;
use crate::runtime::WSLoopConfig;
#[cfg(feature = "tls")]
use crate::tls::WSServerTls;

use super::WSOriginPolicy;

/// Configuration of [`ws_create_server`](crate::ws_create_server).
#[derive(Clone, Debug)]
pub struct WSServerConfig {
    pub(crate) connection: ConnectionConfig,
    pub(crate) listen: ListenOptions,
    pub(crate) origin: WSOriginPolicy,
    pub(crate) decision_timeout: Option<Duration>,
    /// `decision_timeout` is no default.
    pub(super) has_own_decision_timeout: bool,
    pub(super) max_connections: usize,
    pub(super) max_connections_per_ip: usize,
    /// The budget of the loop that this server starts on, if it has none of its own.
    pub(crate) outbound_budget: Option<usize>,
    /// Where other threads read how many connections are open.
    pub(super) open_connections: Option<Arc<AtomicUsize>>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<WSServerTls>,
}

impl Default for WSServerConfig {
    fn default() -> Self {
        Self {
            connection: ConnectionConfig {
                liveness: LivenessConfig::of_server(),
                write_timeout: Some(Duration::from_secs(30)),
                ..ConnectionConfig::default()
            },
            listen: ListenOptions { backlog: 1024, reuse_port: false, ipv6_only: false },
            origin: WSOriginPolicy::default(),
            decision_timeout: Some(Duration::from_secs(30)),
            has_own_decision_timeout: false,
            max_connections: usize::MAX,
            max_connections_per_ip: usize::MAX,
            outbound_budget: None,
            open_connections: None,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

impl WSServerConfig {
    /// Returns the preset for servers on the open internet. Each value can be set otherwise
    /// afterwards; [the guide](crate::manual::security) gives its reason.
    ///
    /// | setting | value |
    /// |---|---|
    /// | [`max_connections`](Self::max_connections) | 10,000 |
    /// | [`max_connections_per_ip`](Self::max_connections_per_ip) | 64 (IPv6: per /64) |
    /// | [`WSLoopConfig::outbound_budget`](crate::WSLoopConfig::outbound_budget) | 64 MiB |
    /// | [`enable_auto_ping`](Self::enable_auto_ping) | after 20 s, 20 s for the answer |
    /// | [`idle_timeout`](Self::idle_timeout) | 5 min |
    /// | [`handshake_timeout`](Self::handshake_timeout) | 5 s |
    /// | [`write_timeout`](Self::write_timeout) | 30 s |
    /// | [`WSLimits::max_message_size`], [`WSLimits::max_frame_size`] | 1 MiB |
    ///
    /// The outbound budget is that of the loop, unless the loop's configuration sets one. With
    /// [`ws_serve_per_core`](crate::ws_serve_per_core) each thread counts for itself. For
    /// tasks there is [`WebSocketConfig::public`](crate::message::WebSocketConfig::public). The
    /// preset chooses neither [`origin`](Self::origin) nor TLS.
    pub fn public() -> Self {
        const MAX_MESSAGE: usize = 1 << 20;
        // The reply timeout is left at a server's default, which follows a shorter idle timeout.
        let limits = WSLimits::default().max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE);
        let config = Self { outbound_budget: Some(64 << 20), ..Self::default() };
        config
            .max_connections(10_000)
            .max_connections_per_ip(64)
            .enable_auto_ping(true)
            .auto_ping_idle_timeout(Duration::from_secs(20))
            .idle_timeout(Some(Duration::from_secs(5 * 60)))
            .handshake_timeout(Some(Duration::from_secs(5)))
            .write_timeout(Some(Duration::from_secs(30)))
            .limits(limits)
    }

    connection_setters!();
    liveness_setters!();

    /// Length of the kernel's queue of connections that were not accepted yet. Default 1024.
    #[must_use]
    pub fn backlog(mut self, connections: i32) -> Self {
        self.listen.backlog = connections;
        self
    }

    /// `SO_REUSEPORT`: several loops listen on one port and the kernel spreads connections over them. Default false.
    #[must_use]
    pub fn reuse_port(mut self, on: bool) -> Self {
        self.listen.reuse_port = on;
        self
    }

    /// `IPV6_V6ONLY`: a listener on `[::]` takes no IPv4 connections. Default false; it is on for
    /// an IPv6 address that is given together with an IPv4 address of the same port.
    #[must_use]
    pub fn ipv6_only(mut self, on: bool) -> Self {
        self.listen.ipv6_only = on;
        self
    }

    /// From which web pages connections may be opened (RFC 6455 section 10.2); any other is refused with 403 before the factory is
    /// asked. Default [`WSOriginPolicy::any`].
    ///
    /// A server that knows its users by a cookie needs this: else any page that they visit can connect in their name.
    #[must_use]
    pub fn origin(mut self, policy: WSOriginPolicy) -> Self {
        self.origin = policy;
        self
    }

    /// Refuses a request with 503 if its [`WSDeferredUpgrade`](crate::WSDeferredUpgrade) is
    /// undecided this long after the request, and cancels its ticket. `None`: never. Default 30 s,
    /// and 60 s for the handlers of [`serve_websocket`](crate::message::serve_websocket).
    #[must_use]
    pub fn decision_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.decision_timeout = timeout;
        self.has_own_decision_timeout = true;
        self
    }

    /// Replaces the default of [`decision_timeout`](Self::decision_timeout).
    pub(crate) fn default_decision_timeout(mut self, timeout: Duration) -> Self {
        if !self.has_own_decision_timeout {
            self.decision_timeout = Some(timeout);
        }
        self
    }

    /// Most connections that this server holds at a time, openings and refusals under way included. A further one is closed as soon as
    /// it is accepted, before a byte is read. Default no limit but that of the system.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }

    /// [`max_connections`](Self::max_connections) for each address that peers come from. Default no limit.
    ///
    /// IPv6 addresses count by their first 64 bits, which is the least that a network is given; Unix domain sockets have no address
    /// and are not counted here. Behind a reverse proxy all connections come from one address.
    #[must_use]
    pub fn max_connections_per_ip(mut self, connections: usize) -> Self {
        self.max_connections_per_ip = connections;
        self
    }

    /// Speaks TLS, and nothing but TLS (RFC 6455 section 10.6). Default: plain TCP.
    ///
    /// The handshake is under the same deadline as the opening handshake inside:
    /// [`handshake_timeout`](Self::handshake_timeout). [`WSServer::set_tls`](crate::server::WSServer::set_tls) changes it later.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: WSServerTls) -> Self {
        self.tls = Some(tls);
        self
    }
}

/// How the connections of a server with several threads find their thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WSSpread {
    /// Each thread listens on a socket of its own at the same address (`SO_REUSEPORT`), and the kernel chooses one by a hash of the
    /// peer's address and port. No thread waits for another; a few connections may be spread unevenly. Other processes of the same
    /// user may listen at that address, too. Default on Linux, the only system where it is sure that the kernel balances.
    Kernel,
    /// The first thread accepts, and hands the connections to all threads in turn, itself included. Exactly even, at the price of a
    /// wake-up per connection. A thread that holds
    /// [`max_connections`](crate::WSServerConfig::max_connections) is passed over. Default
    /// elsewhere.
    RoundRobin,
}

impl Default for WSSpread {
    fn default() -> Self {
        if cfg!(target_os = "linux") { Self::Kernel } else { Self::RoundRobin }
    }
}

/// The threads of [`ws_serve_per_core`](crate::ws_serve_per_core).
#[derive(Clone, Debug)]
pub struct WSPerCoreConfig {
    pub(crate) threads: usize,
    pub(crate) pin: bool,
    pub(crate) spread: WSSpread,
    pub(super) loop_config: WSLoopConfig,
    pub(super) thread_name: String,
}

impl Default for WSPerCoreConfig {
    fn default() -> Self {
        Self {
            threads: 0,
            pin: false,
            spread: WSSpread::default(),
            loop_config: WSLoopConfig::default(),
            thread_name: "femtows".into(),
        }
    }
}

impl WSPerCoreConfig {
    /// Number of threads. Default zero: as many as the process can run in parallel.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Whether each thread is kept on a core of its own, of those that the process may use. Linux only: elsewhere, and where it is
    /// refused, the threads run unpinned, which is logged. Default false.
    #[must_use]
    pub fn pin(mut self, on: bool) -> Self {
        self.pin = on;
        self
    }

    /// How connections find their thread. Default [`WSSpread::default`].
    #[must_use]
    pub fn spread(mut self, spread: WSSpread) -> Self {
        self.spread = spread;
        self
    }

    /// Configuration of each thread's loop. Its limits hold for each loop by itself.
    #[must_use]
    pub fn loop_config(mut self, config: WSLoopConfig) -> Self {
        self.loop_config = config;
        self
    }

    /// What the threads are called; a number follows. Default `femtows`.
    #[must_use]
    pub fn thread_name(mut self, name: impl Into<String>) -> Self {
        self.thread_name = name.into();
        self
    }
}
