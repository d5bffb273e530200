//! An open connection: its state, and what it is asked.
//!
//! `receiving.rs`, `callbacks.rs`, `sending.rs`, `acting.rs` and `ending.rs` are what it does.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::Waker;
use std::time::SystemTime;

use socket2::SockRef;

use crate::buf::RecvBuffer;
use crate::connection::{Settings, WSConnectReport, WSListener, WSRemote, WSTransport};
use crate::handshake::{WSUpgradeRequest, WSUpgradeResponse};
use crate::net::Io;
use crate::proto::{self, Role, SendContext, WSCloseHandshake, WSDisconnectInfo};
use crate::runtime::{LoopCore, Readiness, TimerId, Token, WSError, WSLoopHandle};
use crate::sys;
#[cfg(feature = "tls")]
use crate::tls::WSTlsInfo;

#[cfg(feature = "deflate")]
use super::deflate::ConnDeflate;
use super::ending::Ending;
use super::listener::ListenerEvent;
use super::pulling::Receivers;
use super::roundtrip::PongWaiters;

/// The opening handshake, for those who ask for it later.
#[derive(Debug)]
pub(crate) struct Handshake {
    pub(crate) request: WSUpgradeRequest,
    pub(crate) response: WSUpgradeResponse,
}

/// The inside of a transport.
///
/// # Invariants
/// - No borrow of `proto` or `io` is held while user code runs.
/// - `listener` is `None` only while one of its callbacks runs, and after `on_ws_disconnected`.
/// - `io` is `None` from the moment the socket is closed.
/// - `partial` holds bytes only while a frame is incomplete, delivery has stopped, or they are lent
///   to tasks.
pub(crate) struct Conn {
    pub(super) core: Rc<LoopCore>,
    pub(super) settings: Rc<Settings>,
    pub(super) proto: RefCell<proto::Connection>,
    pub(super) io: RefCell<Option<Io>>,
    pub(super) listener: Cell<Option<Box<dyn WSListener>>>,
    pub(super) partial: RefCell<Option<Box<RecvBuffer>>>,
    pub(super) handshake: Option<Box<Handshake>>,
    pub(super) ending: OnceCell<Box<Ending>>,
    pub(super) extras: RefCell<Option<Box<Extras>>>,
    /// Set if tasks receive messages from this connection. Weak, as they own it.
    pub(super) receivers: OnceCell<Weak<dyn Receivers>>,
    pub(super) token: Token,
    /// Messages that the tasks may still pull before others run.
    pub(super) pulls_left: Cell<u32>,
    pub(super) flags: Flags,
}

/// What few connections ever need.
#[derive(Debug, Default)]
pub(super) struct Extras {
    /// The timer that the protocol asked for.
    pub(super) timer: Option<TimerId>,
    /// Tasks in `wait_disconnected`, each under the number of its future; `None` if it was woken and was
    /// not polled since.
    pub(super) waiters: BTreeMap<u64, Option<Waker>>,
    /// The first error, if it is why the connection ends; until it has ended.
    pub(super) error: Option<WSError>,
    /// How a client's connection came to be.
    pub(super) connect_report: Option<Rc<WSConnectReport>>,
    /// Refused bytes that the loop's budget knows of.
    pub(super) accounted: usize,
    /// When the kernel received the last read, if it was asked to note it.
    pub(super) received_at: Option<SystemTime>,
    /// Tasks that measure the time of a ping.
    pub(super) pongs: PongWaiters,
    /// Only if compression was agreed on.
    #[cfg(feature = "deflate")]
    pub(super) deflate: Option<Box<ConnDeflate>>,
}

/// Facts about a connection, one bit each.
#[derive(Default)]
pub(super) struct Flags(Cell<u32>);

impl Flags {
    /// What is sent is gathered: the connection is driven when the dispatch ends.
    pub(super) const CORKED: u32 = 1;
    /// The kernel refused bytes; writable interest is armed.
    pub(super) const BLOCKED: u32 = 1 << 1;
    /// `on_ws_disconnected` has returned.
    pub(super) const GONE: u32 = 1 << 2;
    /// Delivery has stopped with frames in `partial`.
    pub(super) const HELD: u32 = 1 << 3;
    /// The loop's budget counts bytes that wait here.
    pub(super) const ACCOUNTED: u32 = 1 << 4;
    /// It counts when bytes arrive.
    pub(super) const WATCHED: u32 = 1 << 5;
    /// The kernel notes when it receives bytes.
    pub(super) const STAMPED: u32 = 1 << 6;
    /// The bytes go through TLS.
    #[cfg(feature = "tls")]
    pub(super) const SECURE: u32 = 1 << 7;
    /// Compression was agreed on.
    #[cfg(feature = "deflate")]
    pub(super) const DEFLATE: u32 = 1 << 8;
    /// Bytes of an incomplete frame, or frames that are held, are in `partial`.
    pub(super) const PARTIAL: u32 = 1 << 9;
    /// Tasks receive messages from this connection.
    pub(super) const SERVES_TASKS: u32 = 1 << 10;
    /// Tasks take messages straight from a read, past the listener.
    pub(super) const PULLED: u32 = 1 << 11;
    /// The bytes in `partial` are lent to tasks.
    pub(super) const LENT: u32 = 1 << 12;
    /// Tasks run before the next frame is delivered.
    pub(super) const YIELDS: u32 = 1 << 13;
    /// The time that callbacks take is measured.
    pub(super) const MEASURED: u32 = 1 << 14;

    /// Any of these: receiving has to look at more than the socket.
    const RECEIVED_SLOWLY: u32 = Self::BLOCKED
        | Self::GONE
        | Self::HELD
        | Self::WATCHED
        | Self::STAMPED
        | Self::PARTIAL
        | Self::SERVES_TASKS
        | Self::MEASURED;
    /// Any of these: a write has to look at more than the queue.
    #[cfg(feature = "tls")]
    pub(super) const DRIVEN_SLOWLY: u32 = Self::BLOCKED | Self::SECURE;
    #[cfg(not(feature = "tls"))]
    pub(super) const DRIVEN_SLOWLY: u32 = Self::BLOCKED;

    #[inline]
    pub(super) fn has(&self, flag: u32) -> bool {
        self.0.get() & flag != 0
    }

    /// The flags among these that are set.
    #[inline]
    pub(super) fn all(&self, flags: u32) -> u32 {
        self.0.get() & flags
    }

    /// Sets the flag; tells whether it was set before.
    #[inline]
    pub(super) fn set(&self, flag: u32) -> bool {
        self.0.replace(self.0.get() | flag) & flag != 0
    }

    /// Clears the flag; tells whether it was set before.
    #[inline]
    pub(super) fn clear(&self, flag: u32) -> bool {
        self.0.replace(self.0.get() & !flag) & flag != 0
    }
}

impl Conn {
    /// Turns a finished opening into an open connection in the same slot.
    pub(crate) fn open(
        core: &Rc<LoopCore>,
        settings: &Rc<Settings>,
        role: Role,
        io: Io,
        token: Token,
        handshake: Option<Box<Handshake>>,
        listener: Box<dyn WSListener>,
    ) -> Rc<Self> {
        let flags = Flags::default();
        if core.config().measure_callbacks {
            flags.set(Flags::MEASURED);
        }
        if listener.lets_tasks_pull() {
            flags.set(Flags::PULLED);
        }
        #[cfg(feature = "tls")]
        if io.tls().is_some() {
            flags.set(Flags::SECURE);
        }
        let mut proto = proto::Connection::new(role, Arc::clone(&settings.rules));
        proto.gather_below(settings.tuning.no_copy_threshold);
        let conn = Rc::new(Self {
            core: Rc::clone(core),
            settings: Rc::clone(settings),
            proto: RefCell::new(proto),
            io: RefCell::new(Some(io)),
            listener: Cell::new(Some(listener)),
            partial: RefCell::new(None),
            handshake,
            ending: OnceCell::new(),
            extras: RefCell::new(None),
            receivers: OnceCell::new(),
            token,
            pulls_left: Cell::new(0),
            flags,
        });
        if settings.tuning.receive_timestamps {
            conn.enable_timestamps();
        }
        core.metrics().opened();
        settings.opened();
        let opening = core.replace(token, &conn);
        debug_assert!(opening.is_some(), "the slot of the opening is still there");
        conn
    }

    /// Reports to the listener that the connection is open.
    pub(crate) fn connected(self: &Rc<Self>) {
        self.call_listener(ListenerEvent::Connected);
        let (now, rules) = (self.core.now(), self.settings.rules.keep_alive);
        self.proto.borrow_mut().handle_open(now);
        if rules.watches_arrivals() {
            self.flags.set(Flags::WATCHED);
        }
        self.act();
    }

    /// Delivers the frames that arrived behind the opening handshake.
    pub(crate) fn deliver_early(self: &Rc<Self>, early: &[u8]) {
        if early.is_empty() {
            return;
        }
        self.core.metrics().bytes_received(early.len());
        let mut buffer = self.core.pool().take_recv(early.len());
        buffer.extend_from_slice(early);
        self.dispatch(&WSTransport::new(Rc::clone(self)), buffer);
        // This is no event of the connection's own, after which it is driven.
        self.act();
    }

    /// Reads on in the next turn if bytes may be waiting that no event will announce.
    pub(crate) fn read_on(&self) {
        if self.has_unread() {
            self.make_ready();
        }
    }

    fn enable_timestamps(&self) {
        let enabled = match self.io.borrow().as_ref().and_then(Io::tcp) {
            Some(socket) => sys::enable_receive_timestamps(socket),
            None => return,
        };
        match enabled {
            Ok(()) => {
                self.flags.set(Flags::STAMPED);
            }
            Err(error) => log::debug!("connection {}: timestamps: {error}", self.token.to_u64()),
        }
    }

    /// Serves a readiness event.
    pub(crate) fn ready(self: Rc<Self>, readiness: Readiness) {
        let transport = WSTransport::new(self);
        let conn = transport.conn();
        if conn.may_cork() {
            conn.flags.set(Flags::CORKED);
        }
        let is_plain = readiness.is_plain_data() && conn.opens_plainly();
        if is_plain && !conn.flags.has(Flags::RECEIVED_SLOWLY) {
            conn.receive_plain(&transport);
        } else if is_plain && conn.flags.all(Flags::RECEIVED_SLOWLY) == Flags::SERVES_TASKS {
            conn.receive_for_tasks(&transport);
        } else {
            conn.ready_any(&transport, readiness);
        }
        if conn.core.is_due() {
            conn.core.run_due();
        }
        conn.drive();
    }

    /// Returns `true` if nothing of the state is to be heeded in receiving. Then frames that are
    /// sent meanwhile find the queue open.
    #[inline]
    fn opens_plainly(&self) -> bool {
        let mut proto = self.proto.borrow_mut();
        let is_plain = proto.receives_plainly();
        if is_plain && self.flags.has(Flags::CORKED) {
            proto.open_queue(self.core.pool_cell());
        }
        is_plain
    }

    /// Serves a readiness event of any kind, in any state.
    #[inline(never)]
    fn ready_any(self: &Rc<Self>, transport: &WSTransport, readiness: Readiness) {
        if readiness.writable && self.flags.has(Flags::BLOCKED) {
            self.flush();
        }
        if readiness.read_closed
            && let Some(io) = self.io.borrow_mut().as_mut()
        {
            io.note(true);
        }
        if readiness.readable {
            self.receive(transport, 0);
        }
    }

    /// Asks the loop for a further turn.
    pub(super) fn make_ready(&self) {
        self.core.make_ready(self.token);
    }

    // --- reading on and off ------------------------------------------------------------------------------------------------

    pub(crate) fn pause_reading(&self) {
        self.proto.borrow_mut().pause_reading();
    }

    pub(crate) fn resume_reading(self: &Rc<Self>) {
        self.proto.borrow_mut().resume_reading();
        self.act();
    }

    /// Holds data because the queue of the tasks that receive is full.
    pub(crate) fn hold_for_receivers(&self) {
        self.proto.borrow_mut().hold_data();
    }

    /// Takes back the reason of a full queue: it has room again.
    pub(crate) fn release_for_receivers(self: &Rc<Self>) {
        self.proto.borrow_mut().release_data();
        self.act();
    }

    /// Notes that the stream may hold bytes that no event will announce.
    pub(super) fn note_unread(&self) {
        if let Some(io) = self.io.borrow_mut().as_mut() {
            io.leave_unread();
        }
    }

    /// Returns `true` if the stream may hold bytes that no event will announce.
    pub(super) fn has_unread(&self) -> bool {
        self.io.borrow().as_ref().is_some_and(Io::is_unread)
    }

    pub(crate) fn is_reading_paused(&self) -> bool {
        self.proto.borrow().is_reading_paused()
    }

    pub(crate) fn expect_messages(&self) {
        self.proto.borrow_mut().expect_messages();
    }

    // --- questions ---------------------------------------------------------------------------------------------------------

    pub(crate) fn buffered_amount(&self) -> usize {
        self.proto.borrow().queued() + self.held()
    }

    pub(crate) fn dropped(&self) -> (u64, u64) {
        self.proto.borrow().dropped()
    }

    pub(crate) fn disconnect_info(&self) -> Option<&WSDisconnectInfo> {
        self.ending.get().map(|ending| &ending.info)
    }

    pub(crate) fn connect_report(&self) -> Option<Rc<WSConnectReport>> {
        self.extras.borrow().as_ref().and_then(|extras| extras.connect_report.clone())
    }

    pub(crate) fn set_connect_report(&self, report: WSConnectReport) {
        self.extras.borrow_mut().get_or_insert_default().connect_report = Some(Rc::new(report));
    }

    pub(crate) fn handshake(&self) -> Option<&Handshake> {
        self.handshake.as_deref()
    }

    pub(crate) fn close_handshake(&self) -> Option<WSCloseHandshake> {
        self.proto.borrow().close_handshake().cloned()
    }

    pub(crate) fn is_close_sent(&self) -> bool {
        self.proto.borrow().is_close_sent()
    }

    pub(crate) fn protocol_role(&self) -> Role {
        self.proto.borrow().role()
    }

    #[cfg_attr(not(feature = "tls"), expect(clippy::unused_self, reason = "without TLS nothing is secure"))]
    pub(crate) fn is_secure(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.flags.has(Flags::SECURE);
        #[cfg(not(feature = "tls"))]
        false
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.borrow().as_ref().ok_or(io::ErrorKind::NotConnected)?.local_addr()
    }

    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.io.borrow().as_ref().ok_or(io::ErrorKind::NotConnected)?.peer_addr()
    }

    pub(crate) fn with_socket<R>(self: &Rc<Self>, f: impl FnOnce(SockRef<'_>) -> R) -> Result<R, WSError> {
        // The closure may use the transport, so the borrow must not last: a duplicate of the descriptor would, but costs one.
        let lent = LentStream { conn: self, io: self.io.take() };
        match lent.io.as_ref().and_then(Io::socket) {
            Some(socket) => Ok(f(socket)),
            None => Err(WSError::Disconnected),
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.token.to_u64()
    }

    pub(crate) fn remote(&self) -> WSRemote {
        WSRemote::new(self.token, self.core.remote())
    }

    pub(crate) fn loop_handle(&self) -> WSLoopHandle {
        WSLoopHandle::new(Rc::clone(&self.core))
    }

    pub(crate) fn has_settings(&self, settings: &Rc<Settings>) -> bool {
        Rc::ptr_eq(&self.settings, settings)
    }

    // --- shared ------------------------------------------------------------------------------------------------------------

    /// Calls the protocol with what it borrows from the loop.
    #[inline]
    pub(super) fn with_proto<R>(
        &self,
        call: impl FnOnce(&mut proto::Connection, &mut SendContext<'_>) -> R,
    ) -> R {
        let mut out = SendContext { pool: &mut self.core.pool(), keys: &mut self.core.keys() };
        call(&mut self.proto.borrow_mut(), &mut out)
    }

    #[cfg(feature = "tls")]
    pub(crate) fn tls_info(&self) -> Option<WSTlsInfo> {
        self.io.borrow().as_ref()?.tls()?.info()
    }
}

/// The stream while `with_socket` shows it: it goes back whether the closure returns or panics, unless the connection ended.
struct LentStream<'a> {
    conn: &'a Rc<Conn>,
    io: Option<Io>,
}

impl Drop for LentStream<'_> {
    fn drop(&mut self) {
        if self.conn.ending.get().is_none() {
            self.conn.io.replace(self.io.take());
            // The closure may have sent.
            self.conn.touch();
            self.conn.act();
        }
    }
}
