//! Socket options that the application chooses.

/// Options of a connected TCP socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SocketOptions {
    /// `TCP_NODELAY`.
    pub(crate) no_delay: bool,
    /// `TCP_QUICKACK`, on Linux.
    pub(crate) quick_ack: bool,
}

/// Options of the sockets that a server binds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ListenOptions {
    /// Length of the queue of connections that are not accepted yet.
    pub(crate) backlog: i32,
    /// `SO_REUSEPORT`.
    pub(crate) reuse_port: bool,
    /// `IPV6_V6ONLY`.
    pub(crate) ipv6_only: bool,
}
