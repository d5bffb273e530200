//! The listening socket of a server.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::rc::Rc;
use std::time::Duration;

use mio::Interest;
use mio::event::Source;
use mio::net::TcpListener;
use socket2::{Domain, Protocol, Socket, Type};

use crate::config::WSServerConfig;
use crate::handshake::WSUpgradeRequest;
use crate::server::WSUpgradeOutcome;

use super::connection::Settings;
use super::core::{LoopCore, Slot};
use super::server_opening::ServerOpening;
use super::slots::Token;
use super::stream::Stream;
use super::timers::TimerAction;

/// Connections accepted in one turn, so that a flood of them does not starve those that are open.
const ACCEPTS_PER_TURN: usize = 64;

/// How long accepting pauses when the process or the system is out of descriptors or memory.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Makes the answer to a request.
pub(crate) type Factory = Box<dyn FnMut(&WSUpgradeRequest) -> WSUpgradeOutcome>;

/// A listening socket, and what its connections have in common.
pub(crate) struct Acceptor {
    pub(super) core: Rc<LoopCore>,
    pub(super) settings: Rc<Settings>,
    pub(super) config: WSServerConfig,
    /// `None` while it runs.
    factory: Cell<Option<Factory>>,
    /// `None` once accepting has ended.
    socket: RefCell<Option<TcpListener>>,
    local_addr: SocketAddr,
    token: Cell<Option<Token>>,
    /// Out of descriptors: a timer will try again.
    backing_off: Cell<bool>,
    /// Accepting has failed, and not worked since: it was logged.
    short_of_descriptors: Cell<bool>,
    /// A shutdown has begun: openings end with 503.
    draining: Cell<bool>,
}

impl Acceptor {
    /// Binds to the first of the addresses that lets itself be bound, and accepts from the next turn on.
    pub(crate) fn listen(
        core: &Rc<LoopCore>,
        addr: impl ToSocketAddrs,
        config: WSServerConfig,
        factory: Factory,
    ) -> io::Result<Rc<Self>> {
        let mut socket = bind_first(addr, &config)?;
        let acceptor = Rc::new(Self {
            core: Rc::clone(core),
            settings: Settings::new(&config.connection),
            config,
            factory: Cell::new(Some(factory)),
            local_addr: socket.local_addr()?,
            socket: RefCell::new(None),
            token: Cell::new(None),
            backing_off: Cell::new(false),
            short_of_descriptors: Cell::new(false),
            draining: Cell::new(false),
        });
        let token = core.insert(Slot::Acceptor(Rc::clone(&acceptor)));
        if let Err(error) = socket.register(&core.registry, token.to_mio(), Interest::READABLE) {
            drop(core.remove(token));
            return Err(error);
        }
        acceptor.token.set(Some(token));
        acceptor.socket.replace(Some(socket));
        Ok(acceptor)
    }

    /// A server without a socket: its streams come from elsewhere.
    #[cfg(any(test, feature = "testkit"))]
    pub(crate) fn without_socket(core: &Rc<LoopCore>, config: WSServerConfig, factory: Factory) -> Rc<Self> {
        Rc::new(Self {
            core: Rc::clone(core),
            settings: Settings::new(&config.connection),
            config,
            factory: Cell::new(Some(factory)),
            local_addr: SocketAddr::from(([0, 0, 0, 0], 0)),
            socket: RefCell::new(None),
            token: Cell::new(None),
            backing_off: Cell::new(false),
            short_of_descriptors: Cell::new(false),
            draining: Cell::new(false),
        })
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    pub(crate) fn is_listening(&self) -> bool {
        self.token.get().is_some()
    }

    pub(crate) fn settings(&self) -> &Rc<Settings> {
        &self.settings
    }

    /// Accepts what waits, up to the bound of a turn.
    pub(crate) fn accept(self: &Rc<Self>) {
        if self.backing_off.get() {
            return;
        }
        for _ in 0..ACCEPTS_PER_TURN {
            let accepted = match &*self.socket.borrow() {
                Some(socket) => socket.accept(),
                None => return,
            };
            match accepted {
                Ok((socket, _)) => {
                    self.short_of_descriptors.set(false);
                    ServerOpening::start(self, Stream::Tcp(socket));
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return,
                    // The peer gave up before it was accepted.
                    io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::Interrupted => {}
                    _ => return self.back_off(&error),
                },
            }
        }
        if let Some(token) = self.token.get() {
            self.core.make_ready(token);
        }
    }

    /// Stops accepting. Connections live on.
    pub(crate) fn close(&self) {
        drop(self.socket.take());
        if let Some(token) = self.token.take() {
            drop(self.core.remove(token));
        }
    }

    /// Stops accepting, and refuses what is accepted but not open yet.
    pub(crate) fn drain(&self) {
        self.draining.set(true);
        self.close();
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// The back-off is over.
    pub(crate) fn resume(self: &Rc<Self>) {
        self.backing_off.set(false);
        self.accept();
    }

    /// Asks the factory. `None` if it panicked, which was logged.
    pub(super) fn decide(&self, request: &WSUpgradeRequest) -> Option<WSUpgradeOutcome> {
        let mut factory = self.factory.take()?;
        let mut outcome = None;
        super::core::guard("the listener factory", || outcome = Some(factory(request)));
        self.factory.set(Some(factory));
        outcome
    }

    fn back_off(self: &Rc<Self>, error: &io::Error) {
        if !self.short_of_descriptors.replace(true) {
            log::warn!("{}: cannot accept, trying again every {BACK_OFF:?}: {error}", self.local_addr);
        }
        self.backing_off.set(true);
        if let Some(token) = self.token.get() {
            self.core.add_timer(self.core.now() + BACK_OFF, TimerAction::Slot(token));
        }
    }
}

fn bind_first(addrs: impl ToSocketAddrs, config: &WSServerConfig) -> io::Result<TcpListener> {
    let mut last = io::Error::new(io::ErrorKind::InvalidInput, "no address to listen on");
    for addr in addrs.to_socket_addrs()? {
        match bind(addr, config) {
            Ok(socket) => return Ok(socket),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn bind(addr: SocketAddr, config: &WSServerConfig) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(config.ipv6_only)?;
    }
    socket.set_reuse_address(true)?;
    if config.reuse_port {
        socket.set_reuse_port(true)?;
    }
    // Accepted sockets inherit it: no system call per connection.
    socket.set_tcp_nodelay(config.connection.tuning.no_delay)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(config.backlog)?;
    Ok(TcpListener::from_std(socket.into()))
}
