use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use crate::server::WSOriginPolicy;

use super::{ConnectionConfig, LivenessConfig, WSLimits, WSTuning, connection_setters, liveness_setters};

/// Configuration of [`ws_create_server`](crate::ws_create_server).
#[derive(Clone, Debug)]
pub struct WSServerConfig {
    pub(crate) connection: ConnectionConfig,
    pub(crate) backlog: i32,
    pub(crate) reuse_port: bool,
    pub(crate) ipv6_only: bool,
    pub(crate) origin: WSOriginPolicy,
    pub(crate) decision_timeout: Option<Duration>,
    /// `decision_timeout` is no default.
    pub(crate) has_own_decision_timeout: bool,
    pub(crate) max_connections: usize,
    pub(crate) max_connections_per_ip: usize,
    /// Where other threads read how many connections are open.
    pub(crate) open_connections: Option<Arc<AtomicUsize>>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<crate::WSServerTls>,
}

impl Default for WSServerConfig {
    fn default() -> Self {
        Self {
            connection: ConnectionConfig {
                liveness: LivenessConfig::of_server(),
                write_timeout: Some(Duration::from_secs(30)),
                ..ConnectionConfig::default()
            },
            backlog: 1024,
            reuse_port: false,
            ipv6_only: false,
            origin: WSOriginPolicy::default(),
            decision_timeout: Some(Duration::from_secs(30)),
            has_own_decision_timeout: false,
            max_connections: usize::MAX,
            max_connections_per_ip: usize::MAX,
            open_connections: None,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

impl WSServerConfig {
    connection_setters!();
    liveness_setters!();

    /// Length of the kernel's queue of connections that were not accepted yet. Default 1024.
    #[must_use]
    pub fn backlog(mut self, connections: i32) -> Self {
        self.backlog = connections;
        self
    }

    /// `SO_REUSEPORT`: several loops listen on one port and the kernel spreads connections over them. Default false.
    #[must_use]
    pub fn reuse_port(mut self, on: bool) -> Self {
        self.reuse_port = on;
        self
    }

    /// `IPV6_V6ONLY`: a listener on `[::]` takes no IPv4 connections. Default false; it is on for
    /// an IPv6 address that is given together with an IPv4 address of the same port.
    #[must_use]
    pub fn ipv6_only(mut self, on: bool) -> Self {
        self.ipv6_only = on;
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
}
