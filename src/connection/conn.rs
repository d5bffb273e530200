//! The open connection: its state, how it is driven, how it ends.

mod failing;
mod input;
mod lent;
mod output;

use std::cell::{Cell, OnceCell, Ref};
use std::io;
use std::net::SocketAddr;
use std::panic::{self, AssertUnwindSafe};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use socket2::SockRef;

use crate::connection::{
    Handshake, Receivers, Settings, WSConnectReport, WSListener, WSRemote, WSResult, WSTransport,
};
#[cfg(feature = "deflate")]
use crate::deflate::DeflateParameters;
use crate::net::Io;
use crate::proto::{
    self, Payload, Role, SendContext, WSCloseHandshake, WSDisconnectCause, WSDisconnectInfo, WSFrame,
    WSMsgType, WSProtocolError,
};
use crate::runtime::{
    Command, LoopCore, Readiness, Shutdown, Source, TimerKind, Token, WSError, WSListenerError, guard,
};
use crate::sys;
#[cfg(feature = "tls")]
use crate::tls::{WSTlsError, WSTlsInfo};

use super::backlog::Backlog;
#[cfg(feature = "deflate")]
use super::deflate::{ConnDeflate, DeflateContext};
use super::flags::Flags;
use super::leftover::Leftover;
use super::listener::ListenerEvent;
use super::rare::Rare;
use super::waiting::Disconnected;
use super::wire::Wire;
use lent::LentStream;

/// The connection may not need its compressor any more.
#[cfg(feature = "deflate")]
pub(super) const COMPRESSOR: TimerKind = TimerKind(1);

/// The protocol has an event for the listener.
const EVENT: u8 = 0;

/// `on_ws_disconnected` is due.
const DISCONNECTED: u8 = 1;

/// An error is to be reported to the listener.
const ERROR: u8 = 3;

/// Other threads wait for what has happened.
const AWAITED: u8 = 2;

/// An open connection: what is behind a transport, and a source of the loop.
///
/// # How it is driven
/// Each readiness event is one dispatch: [`ready`](Source::ready) receives and delivers, what is
/// sent meanwhile is gathered, and [`drive_now`](Self::drive_now) writes it and does what is due.
/// What else changes the protocol goes through [`change`](Self::change), which does the same for a
/// single change. So nobody outside of this module has follow-up work. What only stops something,
/// such as `pause_reading`, has nothing to follow.
///
/// # Invariants
/// - No borrow is held while user code runs, and none of the wire.
/// - `listener` is `None` while one of its callbacks runs; after `on_ws_disconnected` it is gone.
/// - There are leftover bytes only while a frame is incomplete, delivery has stopped, or they are
///   lent to tasks.
pub(crate) struct Conn {
    core: Rc<LoopCore>,
    settings: Rc<Settings>,
    wire: Wire,
    listener: Cell<Option<Box<dyn WSListener>>>,
    leftover: Leftover,
    handshake: Option<Box<Handshake>>,
    rare: Rare,
    /// Set if tasks receive messages from this connection. Weak, as they own it.
    receivers: OnceCell<Box<Weak<dyn Receivers>>>,
    token: Token,
    /// Messages that the tasks may still pull before others run. Zero unless leftover bytes are lent
    /// to them.
    pulls_left: Cell<u32>,
    flags: Flags,
}

// --- opening -----------------------------------------------------------------------------------

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
        if core.config().slow_callback.is_some() {
            flags.set(Flags::CLOCKED);
        }
        #[cfg(feature = "tls")]
        if io.tls().is_some() {
            flags.set(Flags::SECURE);
        }
        let proto = proto::Connection::new(role, Arc::clone(&settings.rules));
        let conn = Rc::new(Self {
            core: Rc::clone(core),
            settings: Rc::clone(settings),
            wire: Wire::new(proto, io),
            listener: Cell::new(Some(listener)),
            leftover: Leftover::default(),
            handshake,
            rare: Rare::default(),
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

    fn enable_timestamps(&self) {
        let enabled = self.wire.with_io(|io| io.tcp().map(sys::enable_receive_timestamps));
        match enabled.flatten() {
            Some(Ok(())) => self.flags.set(Flags::STAMPED),
            Some(Err(error)) => log::debug!("connection {}: timestamps: {error}", self.id()),
            None => {}
        }
    }

    /// Messages may be compressed from here on.
    #[cfg(feature = "deflate")]
    pub(crate) fn enable_deflate(&self, parameters: DeflateParameters) {
        let deflate = Box::new(ConnDeflate::new(parameters, self.protocol_role()));
        self.rare.set_deflate(Some(deflate));
        self.wire.proto_mut().expect_compression();
        self.flags.set(Flags::DEFLATE);
    }

    /// Reports to the listener that the connection is open.
    pub(crate) fn connected(self: &Rc<Self>) {
        self.call_listener(ListenerEvent::Connected);
        if self.settings.rules.keep_alive.watches_arrivals() {
            self.flags.set(Flags::WATCHED);
        }
        let now = self.core.now();
        self.change(|proto, _| proto.handle_open(now));
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
        self.follow();
    }

    /// Reads on in the next turn if bytes may be waiting that no event will announce.
    pub(crate) fn read_on(&self) {
        if self.wire.with_io(|io| io.is_unread()) == Some(true) {
            self.core.make_ready(self.token);
        }
    }
}

// --- driving -----------------------------------------------------------------------------------

impl Source for Conn {
    fn ready(self: Rc<Self>, readiness: Readiness) {
        let transport = WSTransport::new(self);
        let conn = transport.conn();
        if conn.settings.corks {
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
        conn.drive_now();
    }

    fn timer(self: Rc<Self>, kind: TimerKind) {
        match kind {
            TimerKind::DEADLINE => {
                self.rare.replace_timer(None);
                let (now, stream) = (self.core.now(), self.wire.stream_state());
                self.change(|proto, out| proto.handle_timeout(now, stream, out));
            }
            #[cfg(feature = "deflate")]
            COMPRESSOR => {
                self.with_deflate(ConnDeflate::compressor_due);
            }
            _ => debug_assert!(false, "not a timer of a connection: {kind:?}"),
        }
    }

    fn deferred(self: Rc<Self>, kind: u8) {
        match kind {
            EVENT => self.run_event(),
            DISCONNECTED => self.run_disconnected(),
            ERROR => failing::run_report(&self),
            AWAITED => self.rare.backlog().into_iter().for_each(Backlog::wake),
            _ => debug_assert!(false, "not a deferred call of a connection: {kind}"),
        }
    }

    fn drive(self: Rc<Self>) {
        self.drive_now();
    }

    fn command(self: Rc<Self>, command: Command) {
        if let Some(backlog) = self.rare.backlog() {
            backlog.arrived(command.adds_to_backlog());
        }
        match command {
            Command::Send { msg_type, payload, compress } => {
                self.send_message(msg_type, Payload::Shared(&payload), compress);
            }
            Command::SendFrame { msg_type, payload, options } => {
                self.send_payload(msg_type, Payload::Shared(&payload), options);
            }
            Command::SendPrepared(message) => {
                self.send_prepared(&message);
            }
            Command::SendPreparedFrame(frame) => {
                self.send_prepared_frame(&frame);
            }
            Command::SendClose { code, reason } => {
                self.send_close(code, &reason);
            }
            Command::Disconnect { graceful } => self.disconnect(graceful),
        }
        self.report();
    }

    fn shut_down(self: Rc<Self>, how: Shutdown<'_>) -> bool {
        match how {
            Shutdown::StopAccepting => return false,
            Shutdown::Close(code, reason) => {
                self.send_close(code, reason);
            }
            Shutdown::LoopDropped => self.abort(WSDisconnectCause::LoopClosed),
        }
        true
    }

    fn kind(&self) -> &'static str {
        "connection"
    }
}

// --- the end -----------------------------------------------------------------------------------

impl Conn {
    /// `disconnect(graceful)`.
    pub(crate) fn disconnect(self: &Rc<Self>, graceful: bool) {
        let now = self.core.now();
        self.change(|proto, _| proto.disconnect(graceful, now));
    }

    /// Ends the connection at once.
    pub(super) fn abort(self: &Rc<Self>, cause: WSDisconnectCause) {
        self.change(|proto, _| proto.abort(cause));
    }

    /// Sends CLOSE for a fault of the peer or of the listener, and ends the connection once that has
    /// left. Returns `true` if the error is the first and was kept.
    fn fail(self: &Rc<Self>, close: &WSProtocolError, cause: WSDisconnectCause, error: WSError) -> bool {
        let now = self.core.now();
        let is_first = self.with_proto(|proto, out| proto.fail(close, cause, now, out));
        // An error that is not kept is dropped out of the borrow: that may run user code.
        if is_first {
            self.rare.keep_error(error);
        }
        self.follow();
        is_first
    }

    /// Ends the connection because the stream failed. The caller acts on it.
    #[cold]
    fn io_failed(&self, what: &str, error: &io::Error) {
        log::debug!("connection {}: {what}: {error}", self.id());
        #[cfg(feature = "tls")]
        if let Some(error) = WSTlsError::in_io(error) {
            if self.wire.proto_mut().abort(WSDisconnectCause::Tls) {
                self.rare.keep_error(error.clone().into());
            }
            return;
        }
        if self.wire.proto_mut().abort(WSDisconnectCause::Io(error.kind())) {
            self.rare.keep_text(format!("{what}: {error}"));
        }
    }

    /// Closes the socket and queues `on_ws_disconnected`.
    fn end(self: &Rc<Self>, mut info: WSDisconnectInfo) {
        info.error = self.rare.error_text();
        self.wire.proto_mut().abandon(&mut self.core.pool());
        self.account(0);
        log::debug!("connection {}: {info}", self.id());
        self.core.metrics().closed(info.code);
        let bytes_unsent = info.bytes_unsent;
        let first = self.rare.end(info);
        debug_assert!(first, "the protocol ends once");
        if let Some(mut io) = self.wire.take_io()
            && bytes_unsent == 0
        {
            io.part();
        }
        self.drop_leftover();
        self.replace_timer(None);
        #[cfg(feature = "deflate")]
        if self.flags.clear(Flags::DEFLATE) {
            self.with_deflate(ConnDeflate::release);
            self.rare.set_deflate(None);
        }
        self.settings.closed(self.token);
        self.report();
        self.core.defer_source(self, DISCONNECTED);
        drop(self.core.remove(self.token));
    }

    /// `on_ws_disconnected`, then those who wait.
    fn run_disconnected(self: &Rc<Self>) {
        // Tasks of the connection do not outlive it.
        self.rare.end_tasks(&self.core);
        self.call_listener(ListenerEvent::Disconnected);
        // The listener may hold its own transport: dropping it here undoes the circle.
        guard("dropping a listener", || drop(self.listener.take()));
        self.flags.set(Flags::GONE);
        self.rare.drop_data();
        self.rare.tell_end_waiters();
        self.rare.tell_pong_waiters(&self.core);
        self.report();
    }

    /// Returns what `wait_disconnected` returns, once `on_ws_disconnected` has returned.
    pub(super) fn result(&self) -> Option<Result<(), WSError>> {
        self.is_gone().then(|| self.rare.error().map_or(Ok(()), Err))
    }

    /// Returns `true` once `on_ws_disconnected` has returned.
    pub(super) fn is_gone(&self) -> bool {
        self.flags.has(Flags::GONE)
    }

    /// Ready once `on_ws_disconnected` has returned.
    pub(crate) fn disconnected(self: &Rc<Self>) -> Disconnected {
        Disconnected::new(self, false)
    }

    /// Returns a future that is ready once the closing handshake is complete at a client, or the
    /// connection has ended.
    pub(crate) fn closing_done(self: &Rc<Self>) -> Disconnected {
        Disconnected::new(self, true)
    }
}

// --- the listener ------------------------------------------------------------------------------

impl Conn {
    /// Calls the listener for an event other than a frame, and handles its error or panic.
    pub(super) fn call_listener(self: &Rc<Self>, event: ListenerEvent<'_, '_>) {
        let Some(mut listener) = self.listener.take() else { return };
        let transport = WSTransport::new(Rc::clone(self));
        let is_last = matches!(event, ListenerEvent::Disconnected);
        let is_report = matches!(event, ListenerEvent::Error(_));
        let call = || self.raise::<false>(&mut *listener, &transport, event);
        let result = panic::catch_unwind(AssertUnwindSafe(call));
        self.listener.set(Some(listener));
        match result {
            Ok(Ok(())) => {}
            Ok(Err(error)) => failing::callback_failed(self, error, true),
            Err(panic) => {
                let error = WSListenerError::from_panic(&*panic);
                if is_last {
                    self.rare.keep_error(error.clone().into());
                }
                if is_report {
                    return failing::report_failed(self, &error);
                }
                failing::listener_failed(self, &error);
            }
        }
    }

    /// Whether no callback of the listener is running.
    pub(super) fn is_listener_free(&self) -> bool {
        let listener = self.listener.take();
        let is_free = listener.is_some();
        self.listener.set(listener);
        is_free
    }

    /// Handles the result of `on_ws_frame`.
    #[inline]
    fn frame_returned(self: &Rc<Self>, result: WSResult) {
        if let Err(error) = result {
            failing::callback_failed(self, error, self.settings.disconnect_on_error);
        }
    }

    /// Fails the connection for an error of the peer that was found in its frames or messages.
    #[cold]
    pub(crate) fn peer_failed(self: &Rc<Self>, error: &WSProtocolError) {
        self.fail(error, WSDisconnectCause::ProtocolError, error.clone().into());
        self.tell_receivers(|receivers| receivers.peer_failed(error));
    }
}

// --- pings -------------------------------------------------------------------------------------

impl Conn {
    /// Has the listener send a ping, and awaits the answer.
    pub(super) fn ping(self: &Rc<Self>) {
        self.call_listener(ListenerEvent::SendPing);
        let now = self.core.now();
        self.change(|proto, _| proto.ping_sent(now));
    }

    /// `notify_user_specific_pong_received`, or a frame that was one.
    pub(crate) fn pong_received(&self) {
        if self.wire.proto_mut().pong_received() {
            self.rare.tell_pong_waiters(&self.core);
        }
    }

    /// Asks the listener whether a frame is the answer that is awaited; if so, takes it for that.
    #[cold]
    pub(super) fn is_awaited_pong(
        &self,
        transport: &WSTransport,
        listener: &mut dyn WSListener,
        frame: &WSFrame<'_>,
    ) -> bool {
        if frame.msg_type() == WSMsgType::Close {
            return false;
        }
        let mut is_pong = false;
        let asked = self.raise::<false>(listener, transport, ListenerEvent::IsPong(frame, &mut is_pong));
        debug_assert!(asked.is_ok(), "the question has no error");
        if is_pong {
            self.pong_received();
        }
        is_pong
    }
}

// --- questions ---------------------------------------------------------------------------------

impl Conn {
    pub(crate) fn id(&self) -> u64 {
        self.token.to_u64()
    }

    pub(crate) fn remote(self: &Rc<Self>) -> WSRemote {
        let backlog = Arc::clone(self.rare.attached().backlog(&self.core));
        if !self.flags.has(Flags::REMOTE) {
            self.flags.set(Flags::REMOTE);
            self.report();
        }
        WSRemote::new(self.token, backlog)
    }

    /// Reports backlog and end to the handles on other threads, if there are any.
    pub(super) fn report(self: &Rc<Self>) {
        let remotes = if self.flags.has(Flags::REMOTE) { self.rare.backlog() } else { None };
        if remotes.is_some_and(|backlog| backlog.report(self)) {
            self.core.defer_source(self, AWAITED);
        }
    }

    /// Returns the bytes that the kernel refuses, and the high watermark.
    pub(super) fn pressure(&self) -> (usize, usize) {
        let (is_refused, high_watermark) = self.wire.proto().pressure();
        (if is_refused { self.buffered_amount() } else { 0 }, high_watermark)
    }

    pub(crate) fn has_settings(&self, settings: &Rc<Settings>) -> bool {
        Rc::ptr_eq(&self.settings, settings)
    }

    pub(crate) fn protocol_role(&self) -> Role {
        self.wire.proto().role()
    }

    pub(crate) fn handshake(&self) -> Option<&Handshake> {
        self.handshake.as_deref()
    }

    pub(crate) fn set_connect_report(&self, report: WSConnectReport) {
        self.rare.set_connect_report(report);
    }

    pub(crate) fn close_handshake(&self) -> Option<WSCloseHandshake> {
        self.wire.proto().close_handshake().cloned()
    }

    pub(crate) fn is_close_sent(&self) -> bool {
        self.wire.proto().is_close_sent()
    }

    pub(crate) fn is_secure(&self) -> bool {
        self.flags.has(Flags::SECURE)
    }

    #[cfg(feature = "tls")]
    pub(crate) fn tls_info(&self) -> Option<WSTlsInfo> {
        self.wire.with_io(|io| io.tls()?.info()).flatten()
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.wire.with_io(|io| io.local_addr()).ok_or(io::ErrorKind::NotConnected)?
    }

    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.wire.with_io(|io| io.peer_addr()).ok_or(io::ErrorKind::NotConnected)?
    }

    pub(crate) fn with_socket<R>(self: &Rc<Self>, f: impl FnOnce(SockRef<'_>) -> R) -> Result<R, WSError> {
        LentStream::of(self).show(f)
    }

    /// Calls the protocol with what it borrows from the loop.
    #[inline]
    fn with_proto<R>(&self, call: impl FnOnce(&mut proto::Connection, &mut SendContext<'_>) -> R) -> R {
        self.wire.with_proto(&self.core, call)
    }

    /// Returns the state of the protocol, for one question: no borrow may last.
    pub(super) fn proto(&self) -> Ref<'_, proto::Connection> {
        self.wire.proto()
    }

    pub(super) fn rare(&self) -> &Rare {
        &self.rare
    }

    pub(super) fn core(&self) -> &Rc<LoopCore> {
        &self.core
    }

    /// Calls the compression of messages. `None` if there is none.
    #[cfg(feature = "deflate")]
    fn with_deflate<R>(&self, call: impl FnOnce(&mut ConnDeflate, DeflateContext<'_>) -> R) -> Option<R> {
        let config = self.settings.deflate.as_ref()?;
        let context = DeflateContext { core: &self.core, token: self.token, config };
        self.rare.with_deflate(|deflate| call(deflate, context))
    }
}
