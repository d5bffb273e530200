//! From a URL to a stream on which the upgrade can be asked for.

use std::cell::RefCell;
use std::fmt::Write;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::config::{ConfigureSocket, WSConnectConfig};
use super::error::WSConnectError;
use super::opening::ClientOpening;
use super::report::Journey;
use crate::connection::{Settings, WSAttemptOutcome, WSConfigError, WSConnectAttempt};
use crate::handshake::proxy::{Scheme, Tunnel};
use crate::handshake::race::{Race, Step};
use crate::handshake::{WSProxy, WSProxyError, WSProxyErrorKind, WSUrl};
use crate::net::resolve;
use crate::runtime::{WSLoopHandle, WSPhase, WSSleep};
#[cfg(feature = "tls")]
use crate::tls::TlsPeer;

/// The way to a server, in layers:
///
/// ```text
/// TCP --> TLS with the proxy --> the proxy's tunnel --> TLS with the server --> upgrade
/// ```
///
/// A layer that is not asked for is left out. In a build without TLS [`require_supported`] refuses whatever asks for it before
/// anything is sent.
pub(super) struct Dial<'a> {
    pub(super) handle: &'a WSLoopHandle,
    pub(super) settings: &'a Rc<Settings>,
    pub(super) config: &'a WSConnectConfig,
    /// A server has chosen the host of the URL.
    pub(super) redirected: bool,
    /// Never borrowed over an `await`, nor while the application's code runs.
    pub(super) journey: &'a RefCell<Journey>,
}

/// Refuses what needs TLS, if there is none.
pub(super) fn require_supported(url: &WSUrl, proxy: Option<&WSProxy>) -> Result<(), WSConfigError> {
    let is_secure = url.is_secure() || proxy.is_some_and(|proxy| proxy.scheme() == Scheme::Https);
    if is_secure && cfg!(not(feature = "tls")) { Err(WSConfigError::TlsUnsupported) } else { Ok(()) }
}

impl Dial<'_> {
    /// All layers, from the first to the last.
    pub(super) async fn connect(&self, url: &WSUrl) -> Result<ClientOpening, WSConnectError> {
        require_supported(url, self.config.proxy.as_ref())?;
        let opening = match &self.config.proxy {
            None => self.connect_tcp(url, url.host(), url.port(), self.redirected).await?,
            Some(proxy) => self.connect_through(proxy, url).await?,
        };
        #[cfg(feature = "tls")]
        let opening = if url.is_secure() {
            self.enter(WSPhase::Tls);
            opening.secure(TlsPeer::Endpoint, url.host(), &self.config.tls_with(TlsPeer::Endpoint)).await?
        } else {
            opening
        };
        self.enter(WSPhase::Opening);
        Ok(opening)
    }

    async fn connect_through(&self, proxy: &WSProxy, url: &WSUrl) -> Result<ClientOpening, WSConnectError> {
        // Before TCP: a name that has no address is no reason to trouble the proxy.
        let resolved = if proxy.scheme().wants_address() {
            let addrs = self.resolve(url.host(), url.port(), self.redirected).await?;
            Some(address_for(proxy, &addrs)?)
        } else {
            None
        };
        let tunnel = Tunnel::new(proxy, url.host(), url.port(), resolved).map_err(Arc::new)?;
        // The caller has chosen the proxy, also if a redirection has chosen the URL.
        let opening = self.connect_tcp(url, proxy.host(), proxy.port(), false).await;
        let opening = opening.map_err(|error| at_proxy(proxy, error))?;
        #[cfg(feature = "tls")]
        let opening = if proxy.scheme() == Scheme::Https {
            self.enter(WSPhase::ProxyTls);
            let tls = self.config.tls_with(TlsPeer::Proxy);
            let secured = opening.secure(TlsPeer::Proxy, proxy.host(), &tls).await;
            secured.map_err(|error| at_proxy(proxy, error))?
        } else {
            opening
        };
        self.enter(WSPhase::Proxy);
        opening.tunnel(tunnel).await.map_err(|error| at_proxy(proxy, error))
    }

    async fn connect_tcp(
        &self,
        url: &WSUrl,
        host: &str,
        port: u16,
        redirected: bool,
    ) -> Result<ClientOpening, WSConnectError> {
        if let Some(factory) = &self.config.sockets.factory {
            let made =
                factory(url).map_err(|error| WSConnectError::io("the socket factory failed", error))?;
            if let Some(socket) = made {
                self.enter(WSPhase::Connect);
                return ClientOpening::adopt(self.handle.core(), socket, self.settings).await;
            }
        }
        let addrs = self.resolve(host, port, redirected).await?;
        self.enter(WSPhase::Connect);
        let mut racing =
            Racing::new(self.handle, self.settings, self.config.sockets.configure.as_ref(), &addrs);
        let result = std::future::poll_fn(|cx| racing.poll(cx)).await;
        self.journey.borrow_mut().attempts(racing.attempts);
        result
    }

    async fn resolve(
        &self,
        host: &str,
        port: u16,
        redirected: bool,
    ) -> Result<Vec<SocketAddr>, WSConnectError> {
        let found = resolve(host, port, self.config.sockets.resolver.as_deref(), redirected).await;
        found.map_err(|error| WSConnectError::Resolve { host: host.into(), source: Arc::new(error) })
    }

    fn enter(&self, phase: WSPhase) {
        self.journey.borrow_mut().enter(phase, self.handle.now());
    }
}

/// The address to tell a proxy that wants one: the first that it can reach.
fn address_for(proxy: &WSProxy, addrs: &[SocketAddr]) -> Result<SocketAddr, WSConnectError> {
    let is_reachable = |addr: &&SocketAddr| proxy.scheme() != Scheme::Socks4 || addr.is_ipv4();
    addrs.iter().find(is_reachable).copied().ok_or_else(|| {
        let kind = WSProxyErrorKind::Unsupported("SOCKS4 does not reach IPv6 addresses");
        Arc::new(WSProxyError { proxy: proxy.to_string().into(), kind }).into()
    })
}

/// Says that it was the proxy that could not be reached or spoken with.
fn at_proxy(proxy: &WSProxy, error: WSConnectError) -> WSConnectError {
    match error {
        WSConnectError::Io { context, source } => {
            WSConnectError::Io { context: format!("proxy {proxy}: {context}").into(), source }
        }
        other => other,
    }
}

/// Attempts to connect to the addresses of one host, side by side (RFC 8305).
struct Racing<'a> {
    handle: &'a WSLoopHandle,
    settings: &'a Rc<Settings>,
    configure: Option<&'a ConfigureSocket>,
    begun: Instant,
    race: Race,
    running: Vec<Running>,
    /// In the order of their start; one that runs counts as given up until it ends.
    attempts: Vec<WSConnectAttempt>,
    /// When the next attempt is due.
    alarm: Option<(Instant, WSSleep)>,
}

struct Running {
    /// Its place in `attempts`.
    nth: usize,
    connect: Pin<Box<dyn Future<Output = Result<ClientOpening, WSConnectError>>>>,
}

impl<'a> Racing<'a> {
    fn new(
        handle: &'a WSLoopHandle,
        settings: &'a Rc<Settings>,
        configure: Option<&'a ConfigureSocket>,
        addrs: &[SocketAddr],
    ) -> Self {
        let begun = handle.now();
        let race = Race::new(addrs, begun);
        Self {
            handle,
            settings,
            configure,
            begun,
            race,
            running: Vec::new(),
            attempts: Vec::new(),
            alarm: None,
        }
    }

    /// The first connection that is there. The others are closed by then.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<ClientOpening, WSConnectError>> {
        loop {
            if let Some(result) = self.poll_running(cx) {
                self.running.clear();
                return Poll::Ready(result);
            }
            match self.race.step(self.handle.now()) {
                Step::Start(addr) => self.start(addr),
                Step::WaitUntil(time) => {
                    if self.poll_alarm(time, cx).is_pending() {
                        return Poll::Pending;
                    }
                }
                Step::Wait => return Poll::Pending,
                Step::Lost => return Poll::Ready(Err(lost(&self.attempts))),
            }
        }
    }

    /// The result that ends the race, if there is one by now.
    fn poll_running(&mut self, cx: &mut Context<'_>) -> Option<Result<ClientOpening, WSConnectError>> {
        let mut at = 0;
        while let Some(attempt) = self.running.get_mut(at) {
            let Poll::Ready(result) = attempt.connect.as_mut().poll(cx) else {
                at += 1;
                continue;
            };
            let nth = self.running.remove(at).nth;
            match result {
                Ok(opening) => {
                    self.ended(nth, WSAttemptOutcome::Won);
                    self.give_up_running();
                    return Some(Ok(opening));
                }
                Err(WSConnectError::Io { source, .. }) => {
                    self.ended(nth, WSAttemptOutcome::Failed(source));
                    self.race.failed(self.handle.now());
                }
                // The loop is gone: no other attempt fares better.
                Err(error) => return Some(Err(error)),
            }
        }
        None
    }

    fn start(&mut self, addr: SocketAddr) {
        let started = self.handle.now().saturating_duration_since(self.begun);
        let connect = ClientOpening::connect(
            Rc::clone(self.handle.core()),
            addr,
            Rc::clone(self.settings),
            self.configure.cloned(),
        );
        self.running.push(Running { nth: self.attempts.len(), connect: Box::pin(connect) });
        let outcome = WSAttemptOutcome::GivenUp;
        self.attempts.push(WSConnectAttempt { addr, started, took: Duration::ZERO, outcome });
    }

    fn ended(&mut self, nth: usize, outcome: WSAttemptOutcome) {
        let now = self.handle.now();
        if let Some(attempt) = self.attempts.get_mut(nth) {
            attempt.took = now.saturating_duration_since(self.begun + attempt.started);
            attempt.outcome = outcome;
        }
    }

    fn give_up_running(&mut self) {
        for attempt in std::mem::take(&mut self.running) {
            self.ended(attempt.nth, WSAttemptOutcome::GivenUp);
        }
    }

    fn poll_alarm(&mut self, time: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if self.alarm.as_ref().is_none_or(|(set_to, _)| *set_to != time) {
            self.alarm = Some((time, self.handle.sleep_until(Some(time))));
        }
        match &mut self.alarm {
            Some((_, sleep)) => Pin::new(sleep).poll(cx),
            None => Poll::Pending,
        }
    }
}

/// Nobody answered: the last error, and in its context the others.
fn lost(attempts: &[WSConnectAttempt]) -> WSConnectError {
    let failed = attempts.iter().filter_map(|attempt| match &attempt.outcome {
        WSAttemptOutcome::Failed(error) => Some((attempt.addr, error)),
        _ => None,
    });
    let mut context = "cannot connect to ".to_owned();
    let mut last: Option<(SocketAddr, &Arc<io::Error>)> = None;
    for (addr, error) in failed {
        if let Some((earlier, error)) = last.replace((addr, error)) {
            let _ = write!(context, "{earlier} ({error}), nor to ");
        }
    }
    match last {
        Some((addr, error)) => {
            WSConnectError::Io { context: (context + &addr.to_string()).into(), source: Arc::clone(error) }
        }
        None => WSConfigError::Argument("the host has no address").into(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::connection::ConnectionConfig;
    use crate::runtime::{WSLoop, WSLoopConfig};

    /// Far more than any of this takes.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// The result of a race on a loop of its own, and its attempts.
    fn race(
        addrs: &[SocketAddr],
        configure: Option<&ConfigureSocket>,
    ) -> (Result<(), WSConnectError>, Vec<WSConnectAttempt>) {
        let mut event_loop = WSLoop::new(WSLoopConfig::default()).expect("a loop");
        let handle = event_loop.handle();
        let settings = Settings::new(&ConnectionConfig::default());
        let mut racing = Racing::new(&handle, &settings, configure, addrs);
        let result =
            event_loop.block_on(handle.timeout(PATIENCE, std::future::poll_fn(|cx| racing.poll(cx))));
        let result = result.expect("a loop").expect("an end in time");
        assert_eq!(handle.slots(), usize::from(result.is_ok()), "only the winner is left");
        (result.map(drop), racing.attempts)
    }

    /// Somebody who listens.
    fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let addr = listener.local_addr().expect("bound");
        (listener, addr)
    }

    /// An address whose listener takes no more connections: what is sent there is dropped, as by a black hole.
    fn black_hole() -> (socket2::Socket, Vec<std::net::TcpStream>, SocketAddr) {
        let hole =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        hole.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
        hole.listen(0).expect("listens");
        let addr = hole.local_addr().expect("bound").as_socket().expect("an address");
        let fillers = (0..4).map(|_| crate::sys::begin_connect(addr, |_| Ok(())).expect("begins")).collect();
        // Those that the queue holds are established by now or very soon; the rest is dropped.
        std::thread::sleep(Duration::from_millis(50));
        (hole, fillers, addr)
    }

    /// An address at which nobody listens, until the socket is dropped.
    fn closed() -> (socket2::Socket, SocketAddr) {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
        let addr = socket.local_addr().expect("bound").as_socket().expect("an address");
        (socket, addr)
    }

    #[test]
    fn a_black_hole_costs_one_step() {
        let (_hole, _fillers, dead) = black_hole();
        let (_listener, good) = listener();
        let (result, attempts) = race(&[dead, good], None);
        result.expect("the second wins");
        let [first, second] = &attempts[..] else { panic!("{attempts:?}") };
        assert_eq!((first.addr, second.addr), (dead, good));
        assert!(matches!(first.outcome, WSAttemptOutcome::GivenUp), "{first}");
        assert!(matches!(second.outcome, WSAttemptOutcome::Won), "{second}");
        assert!(second.started >= crate::handshake::race::ATTEMPT_DELAY, "{second}");
        assert!(first.took >= second.started, "{first}");
        println!("{first}; {second}");
    }

    #[test]
    fn a_refusal_starts_the_next_and_the_first_that_answers_wins() {
        let (_closed, refused) = closed();
        let (_one, first) = listener();
        let (_two, second) = listener();
        let (result, attempts) = race(&[refused, first, second], None);
        result.expect("connects");
        let [failed, won] = &attempts[..] else { panic!("the third is not even tried: {attempts:?}") };
        let WSAttemptOutcome::Failed(error) = &failed.outcome else { panic!("{failed}") };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(matches!(won.outcome, WSAttemptOutcome::Won) && won.addr == first, "{won}");
    }

    #[test]
    fn if_nobody_answers_the_error_names_all() {
        let ((_one, first), (_two, second)) = (closed(), closed());
        let (result, attempts) = race(&[first, second], None);
        assert_eq!(attempts.len(), 2);
        let error = result.expect_err("nobody listens");
        assert!(
            matches!(&error, WSConnectError::Io { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused)
        );
        let text = error.to_string();
        assert!(text.starts_with(&format!("cannot connect to {first} (")), "{text}");
        assert!(text.contains(&format!("), nor to {second}: ")), "{text}");
    }

    #[test]
    fn an_address_whose_socket_is_not_wanted_is_passed_over() {
        let (_one, first) = listener();
        let (two, second) = listener();
        let configure: ConfigureSocket = Arc::new(move |socket, addr| {
            if addr == first {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            socket.bind(&SocketAddr::from(([127, 0, 0, 9], 0)).into())
        });
        let (result, attempts) = race(&[first, second], Some(&configure));
        result.expect("connects");
        assert!(
            matches!(&attempts[0].outcome, WSAttemptOutcome::Failed(error) if error.kind() == io::ErrorKind::PermissionDenied)
        );
        let (_, from) = two.accept().expect("the client");
        assert_eq!(from.ip().to_string(), "127.0.0.9", "the local address that was bound");
    }
}
