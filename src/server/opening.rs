//! A connection that a server has accepted, up to the end of its opening handshake.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use mio::Interest;

use crate::buf::RecvBuffer;
#[cfg(feature = "deflate")]
use crate::connection::accept_deflate;
use crate::connection::{Conn, Handshake, WSListener};
use crate::handshake::{
    ServerHandshake, ServerProgress, WSRequestHead, WSUpgradeResponse, encode_default_switching,
};
#[cfg(feature = "tls")]
use crate::net::TlsStream;
use crate::net::{Io, Read, Stream};
use crate::proto::Role;
use crate::runtime::{
    Readiness, Shutdown, Source, TimerId, TimerKind, Token, WSHandshakeFailure, WSLoopHandle, guard,
};

use super::accept::Acceptor;
use super::admission::Seat;
use super::request::WSUpgradeRequest;
use super::ticket::Ticket;
use super::upgrade::WSUpgradeOutcome;

/// The factory's later decision has come.
const DECIDED: u8 = 0;

/// How long a refused peer may take to read the refusal and close.
const LINGER: Duration = Duration::from_secs(2);

/// ```text
/// Reading --request--> decided by the factory --> Conn | Refusing
///    |                     `--later--> Waiting --> Conn | Refusing
///    `--bad request--> Refusing --> closed
/// ```
/// `Closed` follows on anything that goes wrong below.
pub(crate) struct ServerOpening {
    server: Rc<Acceptor>,
    io: RefCell<Option<Io>>,
    phase: RefCell<Phase>,
    token: Token,
    timer: Cell<Option<TimerId>>,
    /// The request was a HEAD: no answer to it has a body.
    is_head: Cell<bool>,
}

enum Phase {
    /// Waits for the rest of a request. `received` is all that has come, empty if nothing has.
    Reading {
        handshake: ServerHandshake,
        received: Vec<u8>,
    },
    /// The factory will decide later. `early` came behind the request and stays unparsed.
    Waiting {
        ticket: Rc<Ticket>,
        request: WSRequestHead,
        early: Vec<u8>,
    },
    /// A refusal leaves; then what still arrives is thrown away until the peer closes.
    Refusing {
        out: Vec<u8>,
        sent: usize,
        /// The outgoing half was ended.
        ended: bool,
    },
    Closed,
}

impl ServerOpening {
    /// Begins the opening handshake on an accepted stream. Without a seat, which another thread may
    /// have taken for it, looks for room first.
    pub(crate) fn start(server: &Rc<Acceptor>, stream: Stream, seat: Option<Seat>) {
        let core = &server.core;
        core.metrics().accepted();
        let config = &server.config.connection;
        let peer = || stream.peer_addr().ok().map(|addr| addr.ip());
        let Some(seat) = seat.or_else(|| server.admission().let_in(peer)) else {
            return server.refuse();
        };
        #[cfg(feature = "tls")]
        let Some(stream) = server.secure(stream) else { return };
        let handshake = ServerHandshake::new(config.limits.handshake());
        if config.tuning.socket.quick_ack {
            stream.acknowledge_quickly();
        }
        let opening = core.insert_with(|token| Self {
            server: Rc::clone(server),
            io: RefCell::new(None),
            phase: RefCell::new(Phase::Reading { handshake, received: Vec::new() }),
            token,
            timer: Cell::new(None),
            is_head: Cell::new(false),
        });
        let token = opening.token;
        let mut io = Io::new(stream);
        if let Err(error) = io.register(core.registry(), token.to_mio(), Interest::READABLE) {
            warn_limited!("cannot register an accepted socket: {error}");
            drop(core.remove(token));
            return;
        }
        seat.take(token);
        opening.io.replace(Some(io));
        opening.start_timer(config.handshake_timeout);
    }

    fn ready(self: &Rc<Self>, readiness: Readiness) {
        if let Some(io) = self.io.borrow_mut().as_mut() {
            io.note(readiness.read_closed);
        }
        let phase = match &*self.phase.borrow() {
            Phase::Reading { .. } => Serve::Read,
            Phase::Waiting { .. } => Serve::Wait,
            Phase::Refusing { .. } => Serve::Refuse,
            Phase::Closed => return,
        };
        match phase {
            #[cfg(feature = "tls")]
            Serve::Read if self.has_to_wait() => self.server.core.make_ready(self.token),
            Serve::Read => {
                self.send_held();
                self.read_request();
            }
            // A peer that has gone does not want the answer any more.
            Serve::Wait if readiness.read_closed => self.failed(WSHandshakeFailure::Io),
            Serve::Wait => {}
            Serve::Refuse => self.continue_refusal(),
        }
    }

    /// The request or the decision took too long, or the refused peer did not close.
    fn deadline(self: &Rc<Self>) {
        self.timer.set(None);
        log::debug!("opening {}: deadline", self.token.to_u64());
        let (undecided, is_reading) = match &*self.phase.borrow() {
            Phase::Waiting { ticket, .. } => (Some(Rc::clone(ticket)), false),
            phase => (None, matches!(phase, Phase::Reading { .. })),
        };
        if let Some(ticket) = undecided {
            ticket.cancel();
            self.refuse(WSUpgradeResponse::unavailable(), WSHandshakeFailure::Timeout);
        } else if is_reading {
            self.failed(WSHandshakeFailure::Timeout);
        } else {
            // A refusal was counted when it was decided on.
            self.abandon();
        }
    }

    /// Counts the failure, and closes without a word.
    fn failed(self: &Rc<Self>, kind: WSHandshakeFailure) {
        self.server.core.metrics().handshake_failed(kind);
        self.abandon();
    }

    /// Closes without a word.
    fn abandon(self: &Rc<Self>) {
        let phase = self.phase.replace(Phase::Closed);
        if let Phase::Waiting { ticket, .. } = &phase {
            ticket.cancel();
        }
        // It may hold a listener that was decided on.
        guard("dropping an opening", || drop(phase));
        drop(self.io.take());
        self.cancel_timer();
        if let Some(slot) = self.server.core.remove(self.token) {
            drop(slot);
            self.server.settings.left(self.token);
        }
    }

    /// The factory's later decision has come.
    fn decided(self: &Rc<Self>) {
        let waiting = match &mut *self.phase.borrow_mut() {
            Phase::Waiting { ticket, request, early } => {
                ticket.take_decision().map(|outcome| (outcome, request.clone(), std::mem::take(early)))
            }
            _ => None,
        };
        if let Some((outcome, request, early)) = waiting {
            self.cancel_timer();
            // Events that came while the decision was awaited were not served.
            if let Some(io) = self.io.borrow_mut().as_mut() {
                io.leave_unread();
            }
            self.conclude(outcome, &request, &early);
        }
    }

    fn read_request(self: &Rc<Self>) {
        loop {
            let mut buffer = self.server.core.take_recv();
            let read = self.io.borrow_mut().as_mut().map(|io| io.read(&mut buffer));
            let reading = matches!(read, Some(Read::Data { .. })) && self.parse_request(&buffer);
            self.server.core.give_recv(buffer);
            match read {
                Some(Read::Data { more: true, .. }) if reading => {}
                None | Some(Read::Data { .. }) => return,
                Some(Read::Blocked { again }) => {
                    if again {
                        self.server.core.make_ready(self.token);
                    }
                    return self.send_held();
                }
                Some(Read::End) => return self.peer_ended(),
                Some(Read::Failed(error)) => return self.read_failed(&error),
            }
        }
    }

    fn read_failed(self: &Rc<Self>, error: &io::Error) {
        log::debug!("opening {}: {error}", self.token.to_u64());
        #[cfg(feature = "tls")]
        if crate::tls::WSTlsError::in_io(error).is_some() {
            // An alert is on its way.
            self.server.core.metrics().handshake_failed(WSHandshakeFailure::Tls);
            return self.leave(Vec::new());
        }
        self.failed(WSHandshakeFailure::Io);
    }

    /// The peer may have ended only its half of TCP: whoever has begun to ask is answered.
    fn peer_ended(self: &Rc<Self>) {
        let refusal = match &*self.phase.borrow() {
            Phase::Reading { handshake, received } if !received.is_empty() => Some(handshake.receive_eof()),
            _ => None,
        };
        match refusal {
            Some(refusal) => self.refuse(refusal, WSHandshakeFailure::Io),
            None => self.failed(WSHandshakeFailure::Io),
        }
    }

    /// Looks at what has arrived. Whether more of the request is wanted.
    fn parse_request(self: &Rc<Self>, buffer: &RecvBuffer) -> bool {
        let (progress, early) = {
            let mut phase = self.phase.borrow_mut();
            let Phase::Reading { handshake, received } = &mut *phase else { return false };
            // A request that came in one piece, as nearly all do, is parsed where it is.
            let first = received.is_empty();
            if !first {
                received.extend_from_slice(buffer.filled());
            }
            let bytes: &[u8] = if first { buffer.filled() } else { &*received };
            let progress = handshake.receive(bytes);
            let early = match &progress {
                ServerProgress::Request { consumed, .. } => bytes[*consumed..].to_vec(),
                _ => Vec::new(),
            };
            if first && matches!(progress, ServerProgress::Incomplete) {
                received.extend_from_slice(buffer.filled());
            }
            (progress, early)
        };
        match progress {
            ServerProgress::Incomplete => return true,
            ServerProgress::Reject(response) => self.refuse(response, WSHandshakeFailure::Invalid),
            ServerProgress::Request { request, .. } => {
                self.cancel_timer();
                self.is_head.set(request.is_head());
                #[cfg(feature = "tls")]
                let request = request.secure(self.io.borrow().as_ref().is_some_and(|io| io.tls().is_some()));
                let handle = WSLoopHandle::new(Rc::clone(&self.server.core));
                let request = WSUpgradeRequest::new(request, handle, self.token);
                let outcome = self.server.decide(&request).unwrap_or_else(internal_error);
                self.conclude(outcome, request.head(), &early);
            }
        }
        false
    }

    fn conclude(self: &Rc<Self>, outcome: WSUpgradeOutcome, request: &WSRequestHead, early: &[u8]) {
        if self.server.is_draining() {
            guard("dropping a listener", || drop(outcome));
            return self.refuse(WSUpgradeResponse::unavailable(), WSHandshakeFailure::Refused);
        }
        let accepted = match outcome {
            WSUpgradeOutcome::Reject(response) if response.status() == 500 => {
                return self.refuse(response, WSHandshakeFailure::Internal);
            }
            WSUpgradeOutcome::Reject(response) => return self.refuse(response, WSHandshakeFailure::Refused),
            WSUpgradeOutcome::Deferred(later) => return self.wait(later.ticket, request, early),
            WSUpgradeOutcome::Accept(listener) => (None, listener),
            WSUpgradeOutcome::AcceptWith(accepted) => (Some(accepted.response), accepted.listener),
        };
        if !request.is_upgrade() {
            return self.refuse(WSUpgradeResponse::upgrade_required(), WSHandshakeFailure::Invalid);
        }
        let mut out = self.server.core.pool().take_send(512);
        let encoded = match &accepted.0 {
            None => encode_default_switching(request, &mut out),
            Some(response) => response.encode_switching(request, &mut out),
        };
        match encoded {
            Ok(()) => self.open(request, out, accepted.1, early),
            Err(error) => {
                error_limited!("the listener factory's response cannot be sent: {error}");
                self.server.core.pool().give_send(out);
                self.refuse(WSUpgradeResponse::internal_error(), WSHandshakeFailure::Internal);
            }
        }
    }

    fn open(
        self: &Rc<Self>,
        request: &WSRequestHead,
        head: Vec<u8>,
        listener: Box<dyn WSListener>,
        early: &[u8],
    ) {
        let Some(io) = self.io.take() else { return };
        self.phase.replace(Phase::Closed);
        #[cfg(feature = "deflate")]
        let mut head = head;
        #[cfg(feature = "deflate")]
        let deflate = accept_deflate(self.server.settings.deflate.as_ref(), request, &mut head);
        let handshake = self.server.settings.tuning.keep_handshake.then(|| {
            let response = WSUpgradeResponse::from_encoded(101, &head);
            Box::new(Handshake { request: request.clone(), response })
        });
        let core = &self.server.core;
        let settings = &self.server.settings;
        let conn = Conn::open(core, settings, Role::Server, io, self.token, handshake, listener);
        #[cfg(feature = "deflate")]
        if let Some(parameters) = deflate {
            conn.enable_deflate(parameters);
        }
        conn.send_head(head);
        conn.connected();
        conn.deliver_early(early);
        conn.read_on();
    }

    fn wait(self: &Rc<Self>, ticket: Rc<Ticket>, request: &WSRequestHead, early: &[u8]) {
        let this = Rc::downgrade(self);
        let decided_already = ticket.watch(move || {
            if let Some(opening) = this.upgrade() {
                opening.server.core.defer_source(&opening, DECIDED);
            }
        });
        self.phase.replace(Phase::Waiting { ticket, request: request.clone(), early: early.to_vec() });
        if decided_already {
            self.server.core.defer_source(self, DECIDED);
        } else if self.io.borrow().as_ref().is_some_and(Io::is_end_ahead) {
            self.abandon();
        } else {
            self.start_timer(self.server.config.decision_timeout);
        }
    }

    fn refuse(self: &Rc<Self>, response: WSUpgradeResponse, kind: WSHandshakeFailure) {
        let response = if self.is_head.get() { response.without_content() } else { response };
        self.server.core.metrics().handshake_failed(kind);
        log::debug!("opening {}: refused with {}", self.token.to_u64(), response.status());
        let mut out = Vec::with_capacity(256 + response.body().len());
        response.encode(&mut out);
        self.leave(out);
    }

    /// Sends the last bytes of this end.
    fn leave(self: &Rc<Self>, out: Vec<u8>) {
        self.phase.replace(Phase::Refusing { out, sent: 0, ended: false });
        self.start_timer(Some(LINGER));
        self.continue_refusal();
    }

    /// Sends what is left of the refusal, ends the outgoing half, and throws away what arrives until the peer closes: closing at
    /// once could reset the connection before the peer has read the refusal.
    fn continue_refusal(self: &Rc<Self>) {
        let sent = match (&mut *self.phase.borrow_mut(), self.io.borrow_mut().as_mut()) {
            (Phase::Refusing { out, sent, ended }, Some(io)) => match send_rest(io, out, sent, ended) {
                Ok(false) => {
                    io.want_write(self.server.core.registry(), self.token.to_mio(), true).map(|()| false)
                }
                sent => sent,
            },
            _ => return,
        };
        match sent {
            Ok(true) => self.discard_until_end(),
            Ok(false) => {}
            Err(_) => self.abandon(),
        }
    }

    fn discard_until_end(self: &Rc<Self>) {
        for _ in 0..self.server.core.config().reads_per_turn {
            let mut buffer = self.server.core.take_recv();
            let read = self.io.borrow_mut().as_mut().map(|io| io.read(&mut buffer));
            self.server.core.give_recv(buffer);
            match read {
                Some(Read::Data { .. }) => {}
                Some(Read::Blocked { again: true }) => break,
                Some(Read::Blocked { again: false }) => return,
                _ => return self.abandon(),
            }
        }
        self.server.core.make_ready(self.token);
    }

    /// Sets the one deadline that is ahead, in place of the one before it.
    fn start_timer(&self, timeout: Option<Duration>) {
        self.cancel_timer();
        let core = &self.server.core;
        let deadline = timeout.and_then(|timeout| core.now().checked_add(timeout));
        self.timer.set(deadline.map(|deadline| core.add_timer(deadline, self.token, TimerKind::DEADLINE)));
    }

    /// Sends what the stream has to say for itself. What the kernel refuses of it will be reported writable.
    fn send_held(self: &Rc<Self>) {
        let result = match self.io.borrow_mut().as_mut() {
            Some(io) if io.held() > 0 => match io.flush() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    io.want_write(self.server.core.registry(), self.token.to_mio(), true)
                }
                flushed => flushed,
            },
            _ => return,
        };
        if let Err(error) = result {
            log::debug!("opening {}: {error}", self.token.to_u64());
            self.abandon();
        }
    }

    #[cfg(feature = "tls")]
    fn has_to_wait(&self) -> bool {
        self.io.borrow().as_ref().and_then(Io::tls).is_some_and(TlsStream::has_to_wait)
    }

    /// Calls `call` with the stream. `None` if it is gone.
    pub(super) fn with_io<R>(&self, call: impl FnOnce(&Io) -> R) -> Option<R> {
        self.io.borrow().as_ref().map(call)
    }

    fn cancel_timer(&self) {
        if let Some(timer) = self.timer.take() {
            self.server.core.cancel_timer(timer);
        }
    }
}

impl Source for ServerOpening {
    fn ready(self: Rc<Self>, readiness: Readiness) {
        ServerOpening::ready(&self, readiness);
    }

    fn timer(self: Rc<Self>, _: TimerKind) {
        self.deadline();
    }

    fn deferred(self: Rc<Self>, kind: u8) {
        debug_assert_eq!(kind, DECIDED, "nothing else is deferred");
        self.decided();
    }

    fn shut_down(self: Rc<Self>, how: Shutdown<'_>) -> bool {
        if let Shutdown::LoopDropped = how {
            self.abandon();
        }
        false
    }

    fn kind(&self) -> &'static str {
        "server handshake"
    }
}

/// What a readiness event is for.
enum Serve {
    Read,
    Wait,
    Refuse,
}

/// Sends the rest of `out`, and ends the outgoing half behind it. Whether it is all gone.
fn send_rest(io: &mut Io, out: &[u8], sent: &mut usize, ended: &mut bool) -> io::Result<bool> {
    if !io.write_all_from(out, sent)? {
        return Ok(false);
    }
    if !std::mem::replace(ended, true) {
        io.shutdown_write()?;
    }
    // TLS may hold `close_notify`.
    Ok(io.held() == 0)
}

fn internal_error() -> WSUpgradeOutcome {
    WSUpgradeOutcome::Reject(WSUpgradeResponse::internal_error())
}
