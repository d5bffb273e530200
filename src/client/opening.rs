//! A connection that a client opens, from TCP to the end of the opening handshake.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{self, SocketAddr};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mio::Interest;
#[cfg(feature = "tls")]
use rustls::pki_types::ServerName;

use crate::buf::RecvBuffer;
use crate::client::ConfigureSocket;
#[cfg(feature = "tls")]
use crate::connection::WSConfigError;
#[cfg(feature = "deflate")]
use crate::connection::check_deflate;
use crate::connection::{Conn, Handshake, Settings, WSListener, WSTransport};
use crate::handshake::{ClientHandshake, ClientProgress, WSRequestHead, WSUpgradeResponse};
use crate::net::{Io, Read, Socket, SocketKind, Stream};
#[cfg(feature = "tls")]
use crate::net::{TlsShared, TlsStream};
use crate::proto::Role;
use crate::runtime::{
    LoopCore, Readiness, Shutdown, Source, TimerId, TimerKind, Token, WSListenerError, guard, wake,
};
use crate::sys;
#[cfg(feature = "tls")]
use crate::tls::{Session, TlsPeer, WSClientTls, WSTlsError};

use super::error::WSConnectError;
use super::report::Journey;
use super::tunnelling::Tunnelling;

/// How long a server that has refused may take to say all of why.
const REFUSAL_TIME: Duration = Duration::from_secs(1);

/// Makes the listener of a connection that was accepted.
pub(crate) type ListenerFactory = Box<dyn FnOnce(&WSRequestHead, &WSUpgradeResponse) -> Box<dyn WSListener>>;

/// What is asked of the server once the stream leads to it.
pub(crate) struct OpenRequest {
    pub(crate) handshake: ClientHandshake,
    /// What the connect report is made of.
    pub(crate) journey: Journey,
    pub(crate) factory: ListenerFactory,
}

/// An opening under way: the guard of its slot. Dropping it abandons the attempt and frees the slot.
pub(crate) struct ClientOpening {
    pub(super) inner: Rc<Opening>,
}

/// ```text
///                 .--tunnel()--> Tunnelling --.
///                 |                           |
/// Connecting --> Connected <------------------'
///     |           `--open()--> Asking --101--> Conn
///     `-- any of them, failing --> Ended
/// ```
pub(crate) struct Opening {
    core: Rc<LoopCore>,
    settings: Rc<Settings>,
    addr: SocketAddr,
    token: Token,
    pub(super) io: RefCell<Option<Io>>,
    pub(super) phase: RefCell<Phase>,
    waker: Cell<Option<Waker>>,
    /// Runs once the server has refused.
    timer: Cell<Option<TimerId>>,
    /// Nobody waits for the opening any more.
    unclaimed: Cell<bool>,
}

pub(super) enum Phase {
    Connecting,
    /// The stream leads to the next one to speak with: the proxy or the server.
    Connected,
    /// TLS is negotiated with the next one to speak with.
    #[cfg(feature = "tls")]
    Securing,
    /// The proxy is asked to let the stream through to the server.
    Tunnelling(Box<Tunnelling>),
    /// `sent` bytes of the request have left, `received` has come.
    Asking {
        request: Box<OpenRequest>,
        sent: usize,
        received: Vec<u8>,
    },
    Ended(Option<Result<WSTransport, WSConnectError>>),
}

impl ClientOpening {
    /// Connects TCP. `configure` sees the socket before.
    pub(crate) async fn connect(
        core: Rc<LoopCore>,
        addr: SocketAddr,
        settings: Rc<Settings>,
        configure: Option<ConfigureSocket>,
    ) -> Result<Self, WSConnectError> {
        let failed = |error| connect_failed(addr, error);
        let socket = sys::begin_connect(addr, |socket| match configure {
            Some(configure) => configure(socket, addr),
            None => Ok(()),
        });
        Self::connecting(&core, socket.map_err(failed)?, addr, &settings).await
    }

    /// Takes over a socket that somebody else has connected, or has begun to connect.
    pub(crate) async fn adopt(
        core: &Rc<LoopCore>,
        socket: net::TcpStream,
        settings: &Rc<Settings>,
    ) -> Result<Self, WSConnectError> {
        socket
            .set_nonblocking(true)
            .map_err(|error| WSConnectError::io("the socket factory's socket", error))?;
        let addr = socket.peer_addr().unwrap_or(UNKNOWN_ADDR);
        Self::connecting(core, socket, addr, settings).await
    }

    async fn connecting(
        core: &Rc<LoopCore>,
        socket: net::TcpStream,
        addr: SocketAddr,
        settings: &Rc<Settings>,
    ) -> Result<Self, WSConnectError> {
        if core.is_closed() {
            return Err(WSConnectError::Gone);
        }
        let stream = Socket::new(socket.into(), SocketKind::Tcp).into();
        let opening = Self::register(core, stream, addr, settings, Phase::Connecting)
            .map_err(|error| connect_failed(addr, error))?;
        std::future::poll_fn(|cx| opening.inner.poll_connected(cx)).await?;
        Ok(opening)
    }

    /// An opening on a stream that is connected already.
    pub(crate) fn connected(
        core: &Rc<LoopCore>,
        stream: Stream,
        settings: &Rc<Settings>,
    ) -> io::Result<Self> {
        Self::register(core, stream, UNKNOWN_ADDR, settings, Phase::Connected)
    }

    fn register(
        core: &Rc<LoopCore>,
        stream: Stream,
        addr: SocketAddr,
        settings: &Rc<Settings>,
        phase: Phase,
    ) -> io::Result<Self> {
        let inner = core.insert_with(|token| Opening {
            core: Rc::clone(core),
            settings: Rc::clone(settings),
            addr,
            token,
            io: RefCell::new(None),
            phase: RefCell::new(phase),
            waker: Cell::new(None),
            timer: Cell::new(None),
            unclaimed: Cell::new(false),
        });
        let opening = Self { inner };
        let mut io = Io::new(stream);
        io.register(core.registry(), opening.inner.token.to_mio(), Interest::READABLE | Interest::WRITABLE)?;
        opening.inner.io.replace(Some(io));
        Ok(opening)
    }

    /// Speaks TLS with the server or the proxy of this name or address. What follows goes through it.
    #[cfg(feature = "tls")]
    pub(crate) async fn secure(
        self,
        whose: TlsPeer,
        host: &str,
        tls: &WSClientTls,
    ) -> Result<Self, WSConnectError> {
        let setup = tls.build().map_err(WSConfigError::from)?;
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| WSConfigError::Argument("the host is not a name that a certificate can have"))?;
        let session = Session::client(&setup, name).map_err(|error| WSTlsError::new(error, whose))?;
        let begun = match self.inner.io.take() {
            Some(io) => {
                let shared = self.inner.core.local::<TlsShared>();
                let (io, begun) = io.wrap(|stream| {
                    let mut tls = TlsStream::new(stream, session, whose, &shared);
                    let begun = tls.begin();
                    (Stream::layer(tls), begun)
                });
                self.inner.io.replace(Some(io));
                begun
            }
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        if let Err(error) = begun
            && error.kind() != io::ErrorKind::WouldBlock
        {
            return Err(WSConnectError::io("cannot begin TLS", error));
        }
        self.inner.phase.replace(Phase::Securing);
        self.inner.begin_exchange();
        std::future::poll_fn(|cx| self.inner.poll_connected(cx)).await?;
        Ok(self)
    }

    /// Sends the request and waits for the answer.
    pub(crate) async fn open(self, request: OpenRequest) -> Result<WSTransport, WSConnectError> {
        self.inner.phase.replace(Phase::Asking { request: Box::new(request), sent: 0, received: Vec::new() });
        self.inner.begin_exchange();
        std::future::poll_fn(|cx| self.inner.poll_ended(cx)).await
    }
}

impl Drop for ClientOpening {
    fn drop(&mut self) {
        self.inner.unclaimed.set(true);
        self.inner.abandon();
        let unclaimed = match &mut *self.inner.phase.borrow_mut() {
            Phase::Ended(result) => result.take(),
            _ => None,
        };
        // Opened, but nobody waited for it any more.
        if let Some(Ok(transport)) = unclaimed {
            transport.abort();
        }
    }
}

impl Opening {
    fn ready(self: &Rc<Self>, readiness: Readiness) {
        if let Some(io) = self.io.borrow_mut().as_mut() {
            io.note(readiness.read_closed);
        }
        let connecting = matches!(*self.phase.borrow(), Phase::Connecting);
        if connecting {
            return self.check_connected();
        }
        if readiness.writable {
            self.send_outgoing();
        }
        if readiness.readable {
            self.receive();
        }
    }

    /// Says what is to be said in a phase that has just begun.
    pub(super) fn begin_exchange(self: &Rc<Self>) {
        self.send_outgoing();
        let end_ahead = self.io.borrow().as_ref().is_some_and(Io::is_end_ahead);
        if end_ahead {
            // It came with an event of an earlier phase, and no event will tell of it again.
            self.receive();
        }
    }

    /// Gives up; whoever waits learns that the loop is gone.
    fn abandon(self: &Rc<Self>) {
        if !matches!(*self.phase.borrow(), Phase::Ended(_)) {
            self.end(Err(WSConnectError::Gone));
        }
    }

    /// The server has said enough about its refusal.
    fn deadline(self: &Rc<Self>) {
        self.timer.set(None);
        self.peer_closed();
    }

    /// The event may say that TCP is connected, or that it failed, or nothing at all.
    fn check_connected(self: &Rc<Self>) {
        let result = match &*self.io.borrow() {
            Some(io) => io.is_connected(),
            None => return,
        };
        match result {
            Ok(false) => {}
            Ok(true) => {
                if let Some(io) = &*self.io.borrow() {
                    io.tune(self.settings.tuning.socket);
                }
                self.phase.replace(Phase::Connected);
                self.wake();
            }
            Err(error) => self.end(Err(connect_failed(self.addr, error))),
        }
    }

    /// Sends what the phase has to say to the other end.
    pub(super) fn send_outgoing(self: &Rc<Self>) {
        let result = match (&mut *self.phase.borrow_mut(), self.io.borrow_mut().as_mut()) {
            (Phase::Asking { request, sent, .. }, Some(io)) => io
                .write_all_from(request.handshake.request_bytes(), sent)
                .map_err(|error| WSConnectError::io("cannot send the opening request", error)),
            (Phase::Tunnelling(tunnelling), Some(io)) => io
                .write_all_from(tunnelling.tunnel.outgoing(), &mut tunnelling.sent)
                .map_err(|error| WSConnectError::io("cannot send to the proxy", error)),
            #[cfg(feature = "tls")]
            (Phase::Securing, Some(io)) => io
                .write_all_from(&[], &mut 0)
                .map_err(|error| WSConnectError::io("cannot send in the TLS handshake", error)),
            _ => return,
        };
        if let Err(error) = result {
            self.end(Err(error));
        }
    }

    /// Whether bytes are expected from the other end.
    fn expects_bytes(&self) -> bool {
        match &*self.phase.borrow() {
            Phase::Asking { .. } | Phase::Tunnelling(_) => true,
            #[cfg(feature = "tls")]
            Phase::Securing => true,
            _ => false,
        }
    }

    fn receive(self: &Rc<Self>) {
        while self.expects_bytes() {
            let mut buffer = self.core.take_recv();
            let read = match self.io.borrow_mut().as_mut() {
                Some(io) => io.read(&mut buffer),
                None => Read::Failed(io::ErrorKind::NotConnected.into()),
            };
            let read_on = matches!(read, Read::Data { more: true, .. });
            match read {
                Read::End => self.peer_closed(),
                Read::Data { .. } => self.parse_answer(&buffer),
                Read::Blocked { again: true } => self.core.make_ready(self.token),
                Read::Blocked { again: false } => {}
                // It has closed without reading all that it was asked.
                Read::Failed(_) if self.is_refused() => self.peer_closed(),
                Read::Failed(error) => self.end(Err(WSConnectError::io(self.receive_context(), error))),
            }
            self.core.give_recv(buffer);
            #[cfg(feature = "tls")]
            self.check_secured();
            if !read_on {
                return;
            }
        }
    }

    fn is_refused(&self) -> bool {
        matches!(&*self.phase.borrow(), Phase::Asking { request, .. } if request.handshake.is_refused())
    }

    fn receive_context(&self) -> &'static str {
        match *self.phase.borrow() {
            Phase::Tunnelling(_) => "cannot receive the proxy's answer",
            #[cfg(feature = "tls")]
            Phase::Securing => "TLS handshake",
            _ => "cannot receive the opening response",
        }
    }

    fn parse_answer(self: &Rc<Self>, buffer: &RecvBuffer) {
        #[cfg(feature = "tls")]
        if matches!(*self.phase.borrow(), Phase::Securing) {
            let source = io::ErrorKind::InvalidData.into();
            return self.end(Err(WSConnectError::io("the server spoke before it was asked", source)));
        }
        let is_proxy = matches!(*self.phase.borrow(), Phase::Tunnelling(_));
        if is_proxy { self.parse_proxy_answer(buffer) } else { self.parse_response(buffer) }
    }

    fn parse_response(self: &Rc<Self>, buffer: &RecvBuffer) {
        let (result, early) = {
            let mut phase = self.phase.borrow_mut();
            let Phase::Asking { request, received, .. } = &mut *phase else { return };
            received.extend_from_slice(buffer.filled());
            let result = request.handshake.receive(received);
            let early = match &result {
                Ok(ClientProgress::Accepted { consumed, .. }) => received.split_off(*consumed),
                _ => Vec::new(),
            };
            (result, early)
        };
        match result {
            Ok(ClientProgress::Incomplete) if self.is_refused() => self.bound_refusal(),
            Ok(ClientProgress::Incomplete) => {}
            Ok(ClientProgress::Accepted { response, .. }) => self.accepted(response, &early),
            Err(error) => self.end(Err(error.into())),
        }
    }

    /// Not every server that says no says where that ends.
    fn bound_refusal(&self) {
        let start = || self.core.add_timer(self.core.now() + REFUSAL_TIME, self.token, TimerKind::DEADLINE);
        self.timer.set(Some(self.timer.take().unwrap_or_else(start)));
    }

    fn peer_closed(self: &Rc<Self>) {
        let error: WSConnectError = match &mut *self.phase.borrow_mut() {
            Phase::Asking { request, received, .. } => request.handshake.receive_eof(received).into(),
            Phase::Tunnelling(tunnelling) => tunnelling.closed(),
            #[cfg(feature = "tls")]
            Phase::Securing => WSConnectError::io("TLS handshake", io::ErrorKind::UnexpectedEof.into()),
            _ => return,
        };
        self.end(Err(error));
    }

    fn accepted(self: &Rc<Self>, response: WSUpgradeResponse, early: &[u8]) {
        let Phase::Asking { request, sent, .. } = self.phase.replace(Phase::Ended(None)) else { return };
        let asked = request.handshake.request().clone();
        let held = self.io.borrow().as_ref().map_or(0, Io::held);
        if sent < request.handshake.request_bytes().len() || held > 0 {
            // An answer to half a question cannot be one: a server that does this is not to be trusted with frames.
            return self.end(Err(WSConnectError::io(
                "the server answered before it was asked",
                io::ErrorKind::InvalidData.into(),
            )));
        }
        #[cfg(feature = "deflate")]
        let deflate = match check_deflate(self.settings.deflate.as_ref(), &response) {
            Ok(deflate) => deflate,
            Err(error) => return self.end(Err(error.into())),
        };
        let report = request.journey.arrived(self.core.now());
        let mut made = None;
        let factory = request.factory;
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            made = Some(factory(&asked, &response));
        }));
        let listener = match (caught, made) {
            (Ok(()), Some(listener)) => listener,
            (Err(panic), _) => return self.end(Err(WSListenerError::from_panic(&*panic).into())),
            (Ok(()), None) => return self.end(Err(WSConnectError::Gone)),
        };
        let Some(mut io) = self.io.take() else { return };
        if let Err(error) = io.want_write(self.core.registry(), self.token.to_mio(), false) {
            return self.end(Err(WSConnectError::io("cannot register the socket", error)));
        }
        let handshake =
            self.settings.tuning.keep_handshake.then(|| Box::new(Handshake { request: asked, response }));
        let conn = Conn::open(&self.core, &self.settings, Role::Client, io, self.token, handshake, listener);
        conn.set_connect_report(report);
        #[cfg(feature = "deflate")]
        if let Some(parameters) = deflate {
            conn.enable_deflate(parameters);
        }
        let transport = WSTransport::new(Rc::clone(&conn));
        conn.connected();
        if self.unclaimed.get() {
            // Given up by the listener that was just told.
            return transport.abort();
        }
        self.phase.replace(Phase::Ended(Some(Ok(transport))));
        // Before the frames that came with the response: a task can answer each of them before what
        // the next one brings about, such as an error.
        self.wake();
        conn.deliver_early(early);
        conn.read_on();
    }

    /// Ends the attempt and frees its slot.
    pub(super) fn end(self: &Rc<Self>, result: Result<WSTransport, WSConnectError>) {
        let phase = self.phase.replace(Phase::Ended(Some(result)));
        if let Some(timer) = self.timer.take() {
            self.core.cancel_timer(timer);
        }
        drop(self.io.take());
        drop(self.core.remove(self.token));
        self.wake();
        guard("dropping an opening", || drop(phase));
    }

    pub(super) fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            wake(waker);
        }
    }

    /// Something was received: it may have been the last of the TLS handshake.
    #[cfg(feature = "tls")]
    fn check_secured(&self) {
        let done = self.io.borrow().as_ref().and_then(Io::tls).is_some_and(|tls| !tls.is_handshaking());
        if done && matches!(*self.phase.borrow(), Phase::Securing) {
            self.phase.replace(Phase::Connected);
            self.wake();
        }
    }

    pub(super) fn poll_connected(&self, cx: &mut Context<'_>) -> Poll<Result<(), WSConnectError>> {
        match &mut *self.phase.borrow_mut() {
            Phase::Ended(result) => match result.take() {
                Some(Err(error)) => Poll::Ready(Err(error)),
                _ => Poll::Ready(Err(WSConnectError::Gone)),
            },
            Phase::Connected | Phase::Asking { .. } => Poll::Ready(Ok(())),
            _ => {
                self.waker.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }

    fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<Result<WSTransport, WSConnectError>> {
        if let Phase::Ended(result) = &mut *self.phase.borrow_mut() {
            return Poll::Ready(result.take().unwrap_or(Err(WSConnectError::Gone)));
        }
        self.waker.set(Some(cx.waker().clone()));
        Poll::Pending
    }
}

impl Source for Opening {
    fn ready(self: Rc<Self>, readiness: Readiness) {
        Opening::ready(&self, readiness);
    }

    fn timer(self: Rc<Self>, _: TimerKind) {
        self.deadline();
    }

    fn shut_down(self: Rc<Self>, how: Shutdown<'_>) -> bool {
        if let Shutdown::LoopDropped = how {
            self.abandon();
        }
        false
    }

    fn kind(&self) -> &'static str {
        "client handshake"
    }
}

/// Of a stream that has none, or does not tell.
const UNKNOWN_ADDR: SocketAddr = SocketAddr::new(net::IpAddr::V4(net::Ipv4Addr::UNSPECIFIED), 0);

fn connect_failed(addr: SocketAddr, error: io::Error) -> WSConnectError {
    WSConnectError::io(format!("cannot connect to {addr}"), error)
}
