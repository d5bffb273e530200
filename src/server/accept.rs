//! The listening end of a server.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::connection::{Budget, Settings, WSListener, WSTransport, WSUpgraded};
use crate::handshake::WSUpgradeResponse;
use crate::net::{ListenError, Listening, Stream, WSSocket};
#[cfg(feature = "tls")]
use crate::net::{TlsShared, TlsStream};
use crate::proto::Role;
use crate::runtime::{LoopCore, Readiness, Shutdown, Source, TimerKind, Token, WSHandshakeFailure, guard};
use crate::server::WSServerConfig;
#[cfg(feature = "tls")]
use crate::tls::{Session, TlsPeer, WSServerTls, WSTlsConfigError};

use super::admission::{Admission, Seat};
use super::error::WSServeError;
use super::opening::ServerOpening;
use super::remote::WSServerRemote;
use super::request::WSUpgradeRequest;
use super::upgrade::WSUpgradeOutcome;

/// Connections accepted in one turn, so that a flood of them does not starve those that are open.
const ACCEPTS_PER_TURN: usize = 64;

/// How long accepting pauses when the process or the system is out of descriptors or memory.
const BACK_OFF: Duration = Duration::from_millis(100);

/// A failed accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// No connection is there.
    NothingWaits,
    /// The connection that was to be accepted is lost; the next one may be fine.
    OfOneConnection,
    /// The process or the system cannot accept now.
    OfAccepting,
}

impl Failure {
    /// Classifies an error of `accept`. Linux passes on errors that are pending on the new
    /// connection; accept(2) lists them under "Error handling", and `EPERM` for firewalls.
    fn of(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::WouldBlock {
            return Self::NothingWaits;
        }
        match error.raw_os_error() {
            Some(
                libc::ECONNABORTED
                | libc::ECONNRESET
                | libc::EHOSTDOWN
                | libc::EHOSTUNREACH
                | libc::EINTR
                | libc::ENETDOWN
                | libc::ENETUNREACH
                | libc::ENOPROTOOPT
                | libc::EOPNOTSUPP
                | libc::EPERM
                | libc::EPROTO
                | libc::ETIMEDOUT,
            ) => Self::OfOneConnection,
            #[cfg(target_os = "linux")]
            Some(libc::ENONET) => Self::OfOneConnection,
            _ => Self::OfAccepting,
        }
    }
}

/// Makes the answer to a request.
pub(super) type Factory = Box<dyn FnMut(&WSUpgradeRequest) -> WSUpgradeOutcome>;

/// A server: its socket, if it has one, and what its connections have in common.
pub(crate) struct Acceptor {
    pub(super) core: Rc<LoopCore>,
    pub(super) settings: Rc<Settings>,
    pub(super) config: WSServerConfig,
    admission: Arc<Admission>,
    /// `None` while it runs.
    factory: Cell<Option<Factory>>,
    /// Empty if its streams come from elsewhere, and once accepting has ended.
    sockets: RefCell<Vec<Listening>>,
    local_addrs: RefCell<Vec<SocketAddr>>,
    /// `None` once accepting has ended.
    token: Cell<Option<Token>>,
    /// To whom accepted sockets go, one after the other. Empty: they stay.
    successors: RefCell<Vec<WSServerRemote>>,
    next_successor: Cell<usize>,
    /// Out of descriptors: a timer will try again.
    backing_off: Cell<bool>,
    /// Accepting has failed, and not worked since: it was logged.
    short_of_descriptors: Cell<bool>,
    /// A shutdown has begun: openings end with 503.
    draining: Cell<bool>,
    /// What an accepted stream is secured with.
    #[cfg(feature = "tls")]
    tls: RefCell<Option<Arc<rustls::ServerConfig>>>,
}

impl Acceptor {
    /// A server that waits for a socket, or for streams that it [adopts](Self::adopt).
    pub(crate) fn start(core: &Rc<LoopCore>, config: WSServerConfig, factory: Factory) -> Rc<Self> {
        let acceptor = Self::without_slot(core, config, factory);
        let token = core.insert(&acceptor);
        acceptor.token.set(Some(token));
        acceptor
    }

    /// A server that lives as long as somebody holds it, and only adopts.
    pub(super) fn without_slot(core: &Rc<LoopCore>, config: WSServerConfig, factory: Factory) -> Rc<Self> {
        if let Some(bytes) = config.outbound_budget {
            core.local::<Budget>().set_default_limit(bytes);
        }
        let admission = Arc::new(Admission::new(config.max_connections, config.max_connections_per_ip));
        let seats = Arc::clone(&admission);
        let count = config.open_connections.clone();
        Rc::new(Self {
            core: Rc::clone(core),
            settings: Settings::of_server(&config.connection, count, move |token| seats.leave(token)),
            config,
            admission,
            factory: Cell::new(Some(factory)),
            local_addrs: RefCell::default(),
            sockets: RefCell::default(),
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

    /// Accepts from these sockets, from the next iteration on.
    pub(crate) fn listen(&self, sockets: Vec<Listening>) -> Result<(), WSServeError> {
        let Some(token) = self.token.get() else { return Err(WSServeError::Gone) };
        let mut addrs = Vec::new();
        for socket in &sockets {
            let addr = socket.local_addr().map_err(ListenError::from)?;
            socket
                .set_no_delay(self.settings.tuning.socket.no_delay)
                .and_then(|()| socket.register(self.core.registry(), token.to_mio()))
                .map_err(|error| ListenError { addr, error })?;
            addrs.extend(addr);
        }
        self.local_addrs.replace(addrs);
        self.sockets.replace(sockets);
        Ok(())
    }

    /// Hands what is accepted from here on to these servers in turn, which may be on other loops and of which this may be one.
    pub(super) fn hand_round(&self, successors: Vec<WSServerRemote>) {
        self.successors.replace(successors);
    }

    /// Returns the addresses that it listens on; empty without TCP.
    pub(super) fn local_addrs(&self) -> Vec<SocketAddr> {
        self.local_addrs.borrow().clone()
    }

    /// Whether it takes connections.
    pub(crate) fn is_open(&self) -> bool {
        self.token.get().is_some()
    }

    pub(super) fn admission(&self) -> &Arc<Admission> {
        &self.admission
    }

    /// The twin for other threads; `None` once accepting has ended.
    pub(crate) fn remote(&self) -> Option<WSServerRemote> {
        let token = self.token.get()?;
        Some(WSServerRemote::new(token, self.core.remote(), Arc::clone(&self.admission)))
    }

    /// Serves a connected socket as if it had accepted it. Without a seat, looks for room first.
    pub(crate) fn adopt(self: &Rc<Self>, socket: WSSocket, seat: Option<Seat>) -> io::Result<()> {
        let stream = socket.into_stream()?;
        stream.tune(self.settings.tuning.socket);
        ServerOpening::start(self, stream, seat);
        Ok(())
    }

    /// Serves a connection whose opening handshake other code has done.
    pub(super) fn take_over(
        &self,
        upgraded: WSUpgraded,
        listener: Box<dyn WSListener>,
        seat: Seat,
    ) -> io::Result<WSTransport> {
        upgraded.open(&self.core, &self.settings, Role::Server, listener, |token| {
            self.core.metrics().accepted();
            seat.take(token);
        })
    }

    /// Accepts what waits, up to the bound of a turn.
    pub(crate) fn accept(self: &Rc<Self>) {
        // The sockets share a token, so any of them may be the one that is ready.
        let count = self.sockets.borrow().len();
        for nth in 0..count {
            if self.backing_off.get() {
                return;
            }
            self.accept_from(nth);
        }
    }

    fn accept_from(self: &Rc<Self>, nth: usize) {
        // What went wrong last, as long as nothing went well.
        let mut failed = None;
        let mut accepted_any = false;
        for _ in 0..ACCEPTS_PER_TURN {
            let accepted = match self.sockets.borrow().get(nth) {
                Some(socket) => socket.accept(),
                None => return,
            };
            match accepted {
                Ok(stream) => {
                    accepted_any = true;
                    self.short_of_descriptors.set(false);
                    self.accepted(stream);
                }
                Err(error) => match Failure::of(&error) {
                    Failure::NothingWaits => return,
                    Failure::OfOneConnection => failed = Some(error),
                    Failure::OfAccepting => return self.back_off(&error),
                },
            }
        }
        match failed {
            // A whole iteration of failures may be one that stays, and would make the loop spin.
            Some(error) if !accepted_any => self.back_off(&error),
            _ => {
                if let Some(token) = self.token.get() {
                    self.core.make_ready(token);
                }
            }
        }
    }

    /// Stops accepting. Connections live on.
    pub(crate) fn close(&self) {
        drop(self.sockets.take());
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
            guard("the origin policy", || allowed = Some(self.config.origin.allows(request)));
        }
        if !allowed? {
            return Some(WSUpgradeOutcome::Reject(WSUpgradeResponse::forbidden()));
        }
        let mut factory = self.factory.take()?;
        let mut outcome = None;
        guard("the listener factory", || outcome = Some(factory(request)));
        self.factory.set(Some(factory));
        outcome
    }

    fn accepted(self: &Rc<Self>, stream: Stream) {
        if self.successors.borrow().is_empty() {
            return ServerOpening::start(self, stream, None);
        }
        let Some((successor, seat)) = self.next_with_room(&stream) else {
            self.core.metrics().accepted();
            return self.refuse();
        };
        if self.token.get().is_some_and(|token| successor.is_at(token, &self.core.remote())) {
            return ServerOpening::start(self, stream, Some(seat));
        }
        let Some(socket) = WSSocket::from_stream(stream) else { return };
        if let Err(error) = successor.hand_over(socket, seat) {
            warn_limited!("{self}: an accepted connection is lost: {error}");
        }
    }

    /// Returns the next server in turn that has room, and a seat on it. The connection counts there
    /// from now on: a busy loop that looked for room itself would find too many in front of it.
    fn next_with_room(&self, stream: &Stream) -> Option<(WSServerRemote, Seat)> {
        let peer = || stream.peer_addr().ok().map(|addr| addr.ip());
        let successors = self.successors.borrow();
        let turn = self.next_successor.get();
        self.next_successor.set(turn.wrapping_add(1));
        (0..successors.len()).find_map(|further| {
            let successor = &successors[turn.wrapping_add(further) % successors.len()];
            let seat = successor.let_in(peer)?;
            Some((successor.clone(), seat))
        })
    }

    /// Records a connection for which there is no room.
    pub(super) fn refuse(&self) {
        self.admission().refuse();
        self.core.metrics().handshake_failed(WSHandshakeFailure::Refused);
        log::debug!("{self}: no room for a further connection");
    }

    fn back_off(self: &Rc<Self>, error: &io::Error) {
        if !self.short_of_descriptors.replace(true) {
            warn_limited!("{self}: cannot accept, trying again every {BACK_OFF:?}: {error}");
        }
        self.backing_off.set(true);
        if let Some(token) = self.token.get() {
            self.core.add_timer(self.core.now() + BACK_OFF, token, TimerKind::DEADLINE);
        }
    }
}

#[cfg(feature = "tls")]
impl Acceptor {
    /// What is accepted from now on is secured so. Open connections stay as they are.
    ///
    /// # Errors
    /// If it cannot be used; then nothing has changed.
    pub(crate) fn set_tls(&self, tls: &WSServerTls) -> Result<(), WSTlsConfigError> {
        let config = tls.build()?;
        self.tls.replace(Some(config));
        Ok(())
    }

    /// Does what the server's configuration says of TLS.
    pub(super) fn use_configured_tls(&self) -> Result<(), WSTlsConfigError> {
        self.config.tls.as_ref().map_or(Ok(()), |tls| self.set_tls(tls))
    }

    pub(crate) fn is_secure(&self) -> bool {
        self.tls.borrow().is_some()
    }

    /// TLS over an accepted stream, if that is what this server speaks; `None` if that failed, which was logged.
    pub(super) fn secure(&self, stream: Stream) -> Option<Stream> {
        let Some(config) = self.tls.borrow().clone() else { return Some(stream) };
        match Session::server(&config) {
            Ok(session) => {
                let shared = self.core.local::<TlsShared>();
                Some(Stream::layer(TlsStream::new(stream, session, TlsPeer::Endpoint, &shared)))
            }
            Err(error) => {
                error_limited!("no TLS session: {error}");
                None
            }
        }
    }
}

impl Source for Acceptor {
    fn ready(self: Rc<Self>, _: Readiness) {
        self.accept();
    }

    fn timer(self: Rc<Self>, _: TimerKind) {
        self.resume();
    }

    fn shut_down(self: Rc<Self>, how: Shutdown<'_>) -> bool {
        match how {
            Shutdown::StopAccepting => self.drain(),
            Shutdown::LoopDropped => self.close(),
            Shutdown::Close(..) => {}
        }
        false
    }

    fn kind(&self) -> &'static str {
        "acceptor"
    }
}

impl fmt::Display for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.local_addrs.borrow().first() {
            Some(addr) => write!(f, "server on {addr}"),
            None => f.write_str("local server"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// accept(2), "Error handling", and the errors of a peer that has gone.
    const OF_ONE_CONNECTION: [i32; 12] = [
        libc::ECONNABORTED,
        libc::ECONNRESET,
        libc::EHOSTDOWN,
        libc::EHOSTUNREACH,
        libc::EINTR,
        libc::ENETDOWN,
        libc::ENETUNREACH,
        libc::ENOPROTOOPT,
        libc::EOPNOTSUPP,
        libc::EPERM,
        libc::EPROTO,
        libc::ETIMEDOUT,
    ];

    fn failure(errno: i32) -> Failure {
        Failure::of(&io::Error::from_raw_os_error(errno))
    }

    /// A server that accepts from these sockets.
    fn acceptor(sockets: Vec<Listening>) -> (mio::Poll, Rc<Acceptor>) {
        let poll = mio::Poll::new().unwrap();
        let registry = poll.registry().try_clone().unwrap();
        let core = LoopCore::new(<_>::default(), registry, Instant::now()).unwrap();
        let factory = Box::new(|_: &WSUpgradeRequest| unreachable!("nothing is accepted"));
        let acceptor = Acceptor::start(&core, WSServerConfig::default(), factory);
        acceptor.listen(sockets).unwrap();
        (poll, acceptor)
    }

    fn failing(errors: &[i32]) -> Listening {
        Listening::Failing(RefCell::new(errors.iter().copied().collect()))
    }

    fn left(acceptor: &Acceptor, nth: usize) -> usize {
        let sockets = acceptor.sockets.borrow();
        let Listening::Failing(errors) = &sockets[nth] else { unreachable!() };
        errors.borrow().len()
    }

    #[test]
    fn errors_of_one_connection_are_told_from_those_of_accepting() {
        for errno in OF_ONE_CONNECTION {
            assert_eq!(failure(errno), Failure::OfOneConnection, "{errno}");
        }
        #[cfg(target_os = "linux")]
        assert_eq!(failure(libc::ENONET), Failure::OfOneConnection);
        for errno in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::EBADF, libc::EINVAL] {
            assert_eq!(failure(errno), Failure::OfAccepting, "{errno}");
        }
        assert_eq!(failure(libc::EAGAIN), Failure::NothingWaits);
    }

    #[test]
    fn an_error_of_one_connection_does_not_stop_accepting() {
        for errno in OF_ONE_CONNECTION {
            let (_poll, acceptor) = acceptor(vec![failing(&[errno, errno])]);
            acceptor.accept();
            assert_eq!(left(&acceptor, 0), 0, "{errno}");
            assert!(!acceptor.backing_off.get(), "{errno}");
        }
    }

    #[test]
    fn a_turn_of_nothing_but_failures_pauses_accepting() {
        let (_poll, acceptor) = acceptor(vec![failing(&[libc::EPROTO; ACCEPTS_PER_TURN + 1])]);
        acceptor.accept();
        assert_eq!(left(&acceptor, 0), 1);
        assert!(acceptor.backing_off.get());
        acceptor.resume();
        assert_eq!(left(&acceptor, 0), 0);
        assert!(!acceptor.backing_off.get());
    }

    #[test]
    fn running_out_of_descriptors_pauses_accepting_on_all_sockets() {
        let (_poll, acceptor) = acceptor(vec![failing(&[libc::EMFILE]), failing(&[libc::EPROTO])]);
        acceptor.accept();
        assert!(acceptor.backing_off.get());
        assert_eq!((left(&acceptor, 0), left(&acceptor, 1)), (0, 1));
        acceptor.resume();
        assert_eq!((left(&acceptor, 0), left(&acceptor, 1)), (0, 0));
    }
}
