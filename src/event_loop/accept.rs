//! The listening end of a server.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::config::WSServerConfig;
use crate::handshake::{WSUpgradeRequest, WSUpgradeResponse};
use crate::server::WSUpgradeOutcome;
use crate::{WSHandshakeFailure, WSLoopHandle, WSLoopRemote, WSRemoteError, WSSocket};

use super::admission::{Admission, Seat};
use super::connection::Settings;
use super::core::{LoopCore, Slot};
use super::inbox::Once;
use super::listening::Listening;
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

/// A server: its socket, if it has one, and what its connections have in common.
pub(crate) struct Acceptor {
    pub(super) core: Rc<LoopCore>,
    pub(super) settings: Rc<Settings>,
    pub(super) config: WSServerConfig,
    /// `None` while it runs.
    factory: Cell<Option<Factory>>,
    /// `None` if its streams come from elsewhere, and once accepting has ended.
    socket: RefCell<Option<Listening>>,
    local_addr: Cell<Option<SocketAddr>>,
    /// `None` once accepting has ended.
    token: Cell<Option<Token>>,
    /// To whom accepted sockets go, one after the other. Empty: they stay.
    successors: RefCell<Vec<AcceptorRemote>>,
    next_successor: Cell<usize>,
    /// Out of descriptors: a timer will try again.
    backing_off: Cell<bool>,
    /// Accepting has failed, and not worked since: it was logged.
    short_of_descriptors: Cell<bool>,
    /// A shutdown has begun: openings end with 503.
    draining: Cell<bool>,
    /// What an accepted stream is secured with.
    #[cfg(feature = "tls")]
    pub(super) tls: RefCell<Option<std::sync::Arc<rustls::ServerConfig>>>,
}

impl Acceptor {
    /// A server that waits for a socket, or for streams that it [adopts](Self::adopt).
    pub(crate) fn start(core: &Rc<LoopCore>, config: WSServerConfig, factory: Factory) -> Rc<Self> {
        let acceptor = Self::without_slot(core, config, factory);
        let token = core.insert(Slot::Acceptor(Rc::clone(&acceptor)));
        acceptor.token.set(Some(token));
        acceptor
    }

    /// A server that lives as long as somebody holds it, and only adopts.
    pub(crate) fn without_slot(core: &Rc<LoopCore>, config: WSServerConfig, factory: Factory) -> Rc<Self> {
        Rc::new(Self {
            core: Rc::clone(core),
            settings: Settings::of_server(&config),
            config,
            factory: Cell::new(Some(factory)),
            local_addr: Cell::new(None),
            socket: RefCell::new(None),
            token: Cell::new(None),
            successors: RefCell::default(),
            next_successor: Cell::new(0),
            backing_off: Cell::new(false),
            short_of_descriptors: Cell::new(false),
            draining: Cell::new(false),
            #[cfg(feature = "tls")]
            tls: RefCell::default(),
        })
    }

    /// Accepts from this socket, from the next turn on.
    pub(crate) fn listen(&self, mut socket: Listening) -> io::Result<()> {
        let Some(token) = self.token.get() else { return Err(io::ErrorKind::NotConnected.into()) };
        self.local_addr.set(socket.local_addr()?);
        socket.tune(&self.settings.tuning)?;
        socket.register(&self.core.registry, token.to_mio())?;
        self.socket.replace(Some(socket));
        Ok(())
    }

    /// Hands what is accepted from here on to these servers in turn, which may be on other loops and of which this may be one.
    pub(crate) fn hand_round(&self, successors: Vec<AcceptorRemote>) {
        self.successors.replace(successors);
    }

    /// `None` if it does not listen on TCP.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        self.local_addr.get()
    }

    /// Whether it takes connections.
    pub(crate) fn is_open(&self) -> bool {
        self.token.get().is_some()
    }

    pub(crate) fn settings(&self) -> &Rc<Settings> {
        &self.settings
    }

    pub(crate) fn admission(&self) -> &Arc<Admission> {
        self.settings.admission.as_ref().expect("the settings are those of a server")
    }

    /// The twin for other threads; `None` once accepting has ended.
    pub(crate) fn remote(&self) -> Option<AcceptorRemote> {
        let remote = WSLoopRemote::new(Arc::clone(&self.core.inbox));
        let admission = Arc::clone(self.admission());
        self.token.get().map(|token| AcceptorRemote { token, remote, admission })
    }

    /// Serves a connected socket as if it had accepted it. Without a seat, looks for room first.
    pub(crate) fn adopt(self: &Rc<Self>, socket: WSSocket, seat: Option<Seat>) -> io::Result<()> {
        let stream = socket.into_stream()?;
        stream.tune(&self.settings.tuning);
        ServerOpening::start(self, stream, seat);
        Ok(())
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
                Ok(stream) => {
                    self.short_of_descriptors.set(false);
                    self.accepted(stream);
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

    /// Asks the origin policy and then the factory. `None` if one panicked, which was logged.
    pub(super) fn decide(&self, request: &WSUpgradeRequest) -> Option<WSUpgradeOutcome> {
        // What plain HTTP tells a page is the browser's affair (the same-origin policy): only an upgrade escapes that.
        let mut allowed = (!request.is_upgrade()).then_some(true);
        if allowed.is_none() {
            super::core::guard("the origin policy", || allowed = Some(self.config.origin.allows(request)));
        }
        if !allowed? {
            return Some(WSUpgradeOutcome::Reject(WSUpgradeResponse::forbidden()));
        }
        let mut factory = self.factory.take()?;
        let mut outcome = None;
        super::core::guard("the listener factory", || outcome = Some(factory(request)));
        self.factory.set(Some(factory));
        outcome
    }

    fn accepted(self: &Rc<Self>, stream: Stream) {
        if self.successors.borrow().is_empty() {
            return ServerOpening::start(self, stream, None);
        }
        let Some((successor, seat)) = self.next_with_room(&stream) else {
            self.core.metrics.accepted();
            return self.refuse();
        };
        if Some(successor.token) == self.token.get() && successor.is_on(&self.core) {
            return ServerOpening::start(self, stream, Some(seat));
        }
        let Some(socket) = stream.into_socket() else { return };
        if let Err(error) = successor.hand_over(socket, seat) {
            log::warn!("{self}: an accepted connection is lost: {error}");
        }
    }

    /// Returns the next server in turn that has room, and a seat on it. The connection counts there
    /// from now on: a busy loop that looked for room itself would find too many in front of it.
    fn next_with_room(&self, stream: &Stream) -> Option<(AcceptorRemote, Seat)> {
        let peer = || stream.peer_addr().ok().map(|addr| addr.ip());
        let successors = self.successors.borrow();
        let turn = self.next_successor.get();
        self.next_successor.set(turn.wrapping_add(1));
        (0..successors.len()).find_map(|further| {
            let successor = &successors[turn.wrapping_add(further) % successors.len()];
            let seat = successor.admission.let_in(peer)?;
            Some((successor.clone(), seat))
        })
    }

    /// Counts a connection for which there is no room.
    pub(super) fn refuse(&self) {
        self.admission().refuse();
        self.core.metrics.handshake_failed(WSHandshakeFailure::Refused);
        log::debug!("{self}: no room for a further connection");
    }

    fn back_off(self: &Rc<Self>, error: &io::Error) {
        if !self.short_of_descriptors.replace(true) {
            log::warn!("{self}: cannot accept, trying again every {BACK_OFF:?}: {error}");
        }
        self.backing_off.set(true);
        if let Some(token) = self.token.get() {
            self.core.add_timer(self.core.now() + BACK_OFF, TimerAction::Slot(token));
        }
    }
}

impl fmt::Display for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.local_addr() {
            Some(addr) => write!(f, "server on {addr}"),
            None => f.write_str("local server"),
        }
    }
}

/// A server, for other threads.
#[derive(Clone)]
pub(crate) struct AcceptorRemote {
    token: Token,
    remote: WSLoopRemote,
    admission: Arc<Admission>,
}

impl AcceptorRemote {
    pub(crate) fn on_loop(&self) -> &WSLoopRemote {
        &self.remote
    }

    /// See [`Acceptor::adopt`]. Looks for room at once, so that sockets do not pile up in front of
    /// a busy loop; without room the socket is closed. So does a server that stops accepting
    /// meanwhile.
    pub(crate) fn adopt(&self, socket: WSSocket) -> Result<(), WSRemoteError> {
        let Some(seat) = self.admission.let_in(|| socket.peer_ip()) else {
            self.admission.refuse();
            return Ok(());
        };
        self.hand_over(socket, seat)
    }

    fn hand_over(&self, socket: WSSocket, seat: Seat) -> Result<(), WSRemoteError> {
        let adopt = self.call(move |acceptor| {
            if let Err(error) = acceptor.adopt(socket, Some(seat)) {
                log::warn!("{acceptor}: a socket cannot be adopted: {error}");
            }
        });
        // Each socket holds a descriptor, so the system bounds how many there are.
        self.remote.post_always(adopt)
    }

    /// What is accepted from the next turn on is secured so. It was built before, by which it was checked.
    #[cfg(feature = "tls")]
    pub(crate) fn set_tls(&self, tls: crate::WSServerTls) -> Result<(), WSRemoteError> {
        let set = self.call(move |acceptor| {
            if let Err(error) = acceptor.set_tls(&tls) {
                log::error!("{acceptor}: TLS cannot be changed: {error}");
            }
        });
        self.remote.post_once(self.token, Once::SetTls, set)
    }

    /// See [`Acceptor::close`].
    pub(crate) fn close(&self) -> Result<(), WSRemoteError> {
        self.remote.post_once(self.token, Once::StopAccepting, self.call(|acceptor| acceptor.close()))
    }

    /// A call on the thread of the server, without effect if it has stopped accepting.
    fn call(
        &self,
        call: impl FnOnce(&Rc<Acceptor>) + Send + 'static,
    ) -> impl FnOnce(&WSLoopHandle) + Send + 'static {
        let token = self.token;
        move |handle| {
            if let Some(Slot::Acceptor(acceptor)) = handle.core().slot(token) {
                call(&acceptor);
            }
        }
    }

    fn is_on(&self, core: &LoopCore) -> bool {
        self.remote.is_of(&core.inbox)
    }
}
