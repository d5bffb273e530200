//! An open connection: from readiness to callbacks.
//!
//! Sending is in `sending.rs`, the end of a connection in `ending.rs`.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use mio::Interest;
use socket2::SockRef;

use crate::buf::RecvBuffer;
use crate::config::{ConnectionConfig, WSTuning};
use crate::handshake::{WSUpgradeRequest, WSUpgradeResponse};
use crate::proto::{
    self, Disposition, FrameHead, Role, Rules, SendContext, WSCloseHandshake, WSProtocolError,
};
use crate::{
    WSCloseCode, WSDisconnectCause, WSDisconnectInfo, WSError, WSFrame, WSListener, WSListenerError,
    WSLoopHandle, WSMsgType, WSRemote, WSResult, WSTransport,
};

use super::core::{Deferred, LoopCore, Readiness, Slot};
use super::ending::Ending;
use super::slots::Token;
use super::stream::Stream;
use super::timers::TimerId;

/// What all connections of one server, or one client connection, have in common.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) rules: Arc<Rules>,
    pub(crate) tuning: WSTuning,
    pub(crate) disconnect_on_error: bool,
    /// Open connections that use these settings.
    pub(crate) connections: Cell<usize>,
}

impl Settings {
    pub(crate) fn new(config: &ConnectionConfig) -> Rc<Self> {
        Rc::new(Self {
            rules: config.rules(),
            tuning: config.tuning.clone(),
            disconnect_on_error: config.disconnect_on_error,
            connections: Cell::new(0),
        })
    }
}

/// The opening handshake, for those who ask for it later.
#[derive(Debug)]
pub(crate) struct Handshake {
    pub(crate) request: WSUpgradeRequest,
    pub(crate) response: WSUpgradeResponse,
}

/// The inside of a transport.
///
/// # Invariants
/// - No borrow of `proto` or `stream` is held while user code runs.
/// - `listener` is `None` only while one of its callbacks runs, and after `on_ws_disconnected`.
/// - `stream` is `None` from the moment the socket is closed.
/// - `partial` holds bytes only while a frame is incomplete or delivery is paused.
pub(crate) struct Conn {
    pub(super) core: Rc<LoopCore>,
    pub(super) settings: Rc<Settings>,
    pub(super) proto: RefCell<proto::Connection>,
    pub(super) stream: RefCell<Option<Stream>>,
    pub(super) listener: Cell<Option<Box<dyn WSListener>>>,
    partial: Cell<Option<Box<RecvBuffer>>>,
    pub(super) handshake: Option<Box<Handshake>>,
    pub(super) timer: Cell<Option<TimerId>>,
    pub(super) ending: OnceCell<Box<Ending>>,
    pub(super) extras: RefCell<Option<Box<Extras>>>,
    pub(super) token: Token,
    pub(super) flags: Flags,
}

/// What few connections ever need.
#[derive(Debug, Default)]
pub(super) struct Extras {
    /// Tasks in `wait_disconnected`, each under the number of its future.
    pub(super) waiters: BTreeMap<u64, Waker>,
    /// Watermarks set on this connection.
    pub(super) watermarks: Option<(usize, usize)>,
    /// The first fault, until the connection has ended and tells it.
    pub(super) fault: Option<(WSDisconnectCause, crate::WSError)>,
}

/// Facts about a connection, one bit each.
#[derive(Default)]
pub(super) struct Flags(Cell<u16>);

impl Flags {
    /// In the loop's list of connections to flush.
    pub(super) const DIRTY: u16 = 1;
    /// The kernel refused bytes; writable interest is armed.
    pub(super) const BLOCKED: u16 = 1 << 1;
    /// The application paused delivery.
    pub(super) const PAUSED: u16 = 1 << 2;
    /// More bytes wait than the high watermark, and they have not sunk to the low one since.
    pub(super) const WRITING_PAUSED: u16 = 1 << 3;
    /// The socket may hold bytes that no event will announce: the last read filled its buffer, or reading was off.
    pub(super) const UNREAD: u16 = 1 << 4;
    /// The outgoing half of TCP is ended; what arrives is thrown away until the peer ends its half.
    pub(super) const LINGERING: u16 = 1 << 5;
    /// The peer has ended its half of TCP.
    pub(super) const PEER_ENDED: u16 = 1 << 6;
    /// `on_ws_disconnected` has returned.
    pub(super) const GONE: u16 = 1 << 7;
    /// The kernel said that the end of the stream, or an error, is behind the bytes: only reading up to it will show it.
    pub(super) const END_AHEAD: u16 = 1 << 8;
    /// Delivery was paused with bytes in `partial`.
    pub(super) const HELD: u16 = 1 << 9;
    /// The listener is to be told of a crossed watermark.
    pub(super) const WATERMARK_DUE: u16 = 1 << 10;
    /// `pause_writing` was called, `resume_writing` is owed.
    pub(super) const PAUSE_TOLD: u16 = 1 << 11;

    #[inline]
    pub(super) fn has(&self, flag: u16) -> bool {
        self.0.get() & flag != 0
    }

    /// Sets the flag; tells whether it was set before.
    #[inline]
    pub(super) fn set(&self, flag: u16) -> bool {
        self.0.replace(self.0.get() | flag) & flag != 0
    }

    /// Clears the flag; tells whether it was set before.
    #[inline]
    pub(super) fn clear(&self, flag: u16) -> bool {
        self.0.replace(self.0.get() & !flag) & flag != 0
    }
}

/// How a run over the received bytes ended.
enum Delivered {
    /// All whole frames were delivered, or delivery stopped for a reason that the state tells.
    Done,
    Failed(WSProtocolError),
}

impl Conn {
    /// Turns a finished opening into an open connection in the same slot.
    pub(crate) fn open(
        core: &Rc<LoopCore>,
        settings: &Rc<Settings>,
        role: Role,
        stream: Stream,
        token: Token,
        handshake: Option<Box<Handshake>>,
        listener: Box<dyn WSListener>,
    ) -> Rc<Self> {
        let conn = Rc::new(Self {
            core: Rc::clone(core),
            settings: Rc::clone(settings),
            proto: RefCell::new(proto::Connection::new(role, Arc::clone(&settings.rules))),
            stream: RefCell::new(Some(stream)),
            listener: Cell::new(Some(listener)),
            partial: Cell::new(None),
            handshake,
            timer: Cell::new(None),
            ending: OnceCell::new(),
            extras: RefCell::new(None),
            token,
            flags: Flags::default(),
        });
        settings.connections.set(settings.connections.get() + 1);
        let opening = core.replace(token, Slot::Open(Rc::clone(&conn)));
        debug_assert!(opening.is_some(), "the slot of the opening is still there");
        conn
    }

    /// Tells the listener that the connection is open, then delivers the frames that came behind the handshake.
    pub(crate) fn connected(self: &Rc<Self>, early: &[u8]) {
        let transport = WSTransport::new(Rc::clone(self));
        self.call_listener(|listener| listener.on_ws_connected(&transport), Callback::Connected);
        if !early.is_empty() {
            let mut buffer = self.core.pool.borrow_mut().take_recv(early.len());
            buffer.extend_from_slice(early);
            self.dispatch(buffer);
        }
        self.after_change();
    }

    /// Reads on in the next turn: bytes may be waiting that no event will announce.
    pub(crate) fn read_on(&self, end_ahead: bool) {
        if end_ahead {
            self.flags.set(Flags::END_AHEAD);
        }
        self.flags.set(Flags::UNREAD);
        self.make_ready();
    }

    /// Serves a readiness event.
    pub(crate) fn ready(self: &Rc<Self>, readiness: Readiness) {
        if readiness.writable && self.flags.has(Flags::BLOCKED) {
            self.flush();
        }
        if readiness.read_closed {
            self.flags.set(Flags::END_AHEAD);
        }
        if readiness.readable {
            self.receive();
        }
    }

    /// Reads until the socket is drained, the bound of a turn is reached, or nothing more is wanted.
    fn receive(self: &Rc<Self>) {
        if !self.flags.has(Flags::PAUSED) && self.flags.clear(Flags::HELD) {
            self.deliver_held();
        }
        for _ in 0..self.core.config.reads_per_turn {
            if !self.wants_bytes() {
                self.flags.set(Flags::UNREAD);
                return;
            }
            let mut buffer = self.take_buffer();
            let room = buffer.spare();
            debug_assert!(room > 0, "a read without room would look like the end of the stream");
            let Some(result) = self.stream.borrow_mut().as_mut().map(|stream| stream.recv(&mut buffer))
            else {
                return self.core.give_recv(buffer);
            };
            match result {
                Ok(0) => {
                    self.keep_or_give(buffer);
                    return self.peer_ended();
                }
                Ok(n) => {
                    let drained = n < room && !self.flags.has(Flags::END_AHEAD);
                    if drained {
                        self.flags.clear(Flags::UNREAD);
                    } else {
                        self.flags.set(Flags::UNREAD);
                    }
                    self.dispatch(buffer);
                    if drained {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.flags.clear(Flags::UNREAD);
                    return self.keep_or_give(buffer);
                }
                Err(error) => {
                    self.core.give_recv(buffer);
                    return self.io_failed("receive", &error);
                }
            }
        }
        self.make_ready();
    }

    /// Asks the loop for a further turn.
    pub(super) fn make_ready(&self) {
        self.core.make_ready(self.token);
    }

    /// Whether bytes from the socket have a use: frames to deliver, or, at the end, the peer's FIN to wait for.
    fn wants_bytes(&self) -> bool {
        self.stream.borrow().is_some()
            && !(self.flags.has(Flags::PAUSED) && self.proto.borrow().is_receiving())
    }

    // --- buffers -----------------------------------------------------------------------------------------------------------

    /// The buffer for the next read: the loop's, with a small partial frame in front; or the one that holds a large partial frame,
    /// with room to go on. The room grows with what has arrived, not with what the header claims.
    #[expect(clippy::unnecessary_box_returns, reason = "a buffer changes hands as one pointer")]
    fn take_buffer(&self) -> Box<RecvBuffer> {
        let Some(partial) = self.partial.take() else { return self.core.take_recv() };
        let arrived = partial.len();
        if arrived <= SMALL_PARTIAL.min(self.core.config.read_buffer_size / 2) {
            let mut buffer = self.core.take_recv();
            buffer.extend_from_slice(partial.filled());
            self.core.give_recv(partial);
            return buffer;
        }
        let missing =
            self.proto.borrow().pending_wire_len().map_or(0, |total| total.saturating_sub(arrived as u64));
        let growth = (2 * arrived).max(MIN_GROWTH);
        let room = usize::try_from(missing).unwrap_or(usize::MAX).clamp(1, growth);
        self.core.pool.borrow_mut().grow_recv(partial, room)
    }

    /// Keeps the bytes of an incomplete frame; a buffer without bytes goes back.
    ///
    /// A large part stays where it is, and the loop takes another buffer; a small one is copied, so that a connection does not hold
    /// much more memory than has arrived.
    fn keep_or_give(&self, buffer: Box<RecvBuffer>) {
        if buffer.is_empty() {
            return self.core.give_recv(buffer);
        }
        if buffer.len() >= buffer.capacity() / 4 {
            self.partial.set(Some(buffer));
            return;
        }
        let mut partial = self.core.pool.borrow_mut().take_recv(buffer.len());
        partial.extend_from_slice(buffer.filled());
        self.core.give_recv(buffer);
        self.partial.set(Some(partial));
    }

    pub(super) fn drop_partial(&self) {
        if let Some(partial) = self.partial.take() {
            self.core.give_recv(partial);
        }
    }

    /// Delivers the frames that were held back while delivery was paused.
    fn deliver_held(self: &Rc<Self>) {
        if let Some(held) = self.partial.take() {
            self.dispatch(held);
        }
    }

    // --- frames ------------------------------------------------------------------------------------------------------------

    /// Delivers the whole frames in `buffer` and keeps the rest.
    fn dispatch(self: &Rc<Self>, mut buffer: Box<RecvBuffer>) {
        if let Delivered::Failed(error) = self.deliver(&mut buffer) {
            self.fail(&error, WSDisconnectCause::ProtocolError, Some(error.clone().into()));
        }
        if !self.proto.borrow().is_receiving() {
            buffer.clear();
        } else if self.flags.has(Flags::PAUSED) && !buffer.is_empty() {
            self.flags.set(Flags::HELD);
        }
        self.keep_or_give(buffer);
        self.after_change();
    }

    fn deliver(self: &Rc<Self>, buffer: &mut RecvBuffer) -> Delivered {
        let transport = WSTransport::new(Rc::clone(self));
        let Some(mut listener) = self.listener.take() else { return Delivered::Done };
        // One guard for the whole run: what is behind it is consistent whichever callback panics.
        let run = AssertUnwindSafe(|| self.deliver_frames(&transport, &mut listener, buffer));
        let result = panic::catch_unwind(run);
        self.listener.set(Some(listener));
        result.unwrap_or_else(|panic| {
            self.listener_failed(WSListenerError::from_panic(&*panic), WSCloseCode::INTERNAL_ERROR, "");
            Delivered::Done
        })
    }

    fn deliver_frames(
        self: &Rc<Self>,
        transport: &WSTransport,
        listener: &mut Box<dyn WSListener>,
        buffer: &mut RecvBuffer,
    ) -> Delivered {
        loop {
            let polled = {
                let mut proto = self.proto.borrow_mut();
                if !proto.is_receiving() || self.flags.has(Flags::PAUSED) || self.ending.get().is_some() {
                    return Delivered::Done;
                }
                proto.poll(buffer.filled_mut())
            };
            let head = match polled {
                Ok(Some(head)) => head,
                Ok(None) => return Delivered::Done,
                Err(error) => return Delivered::Failed(error),
            };
            let wire_len = head.wire_len();
            let frame = &mut buffer.filled_mut()[head.header.header_len()..wire_len];
            let delivered = if head.header.msg_type().is_control() {
                self.deliver_control(transport, &mut **listener, head, frame)
            } else {
                let result = listener.on_ws_frame(transport, &mut WSFrame::new(head, frame));
                self.callback_returned(result, Callback::Frame);
                Ok(())
            };
            buffer.consume(wire_len);
            if let Err(error) = delivered {
                return Delivered::Failed(error);
            }
            if self.core.has_deferred() {
                self.run_deferred_between_frames(listener);
            }
        }
    }

    fn deliver_control(
        self: &Rc<Self>,
        transport: &WSTransport,
        listener: &mut dyn WSListener,
        head: FrameHead,
        payload: &mut [u8],
    ) -> Result<(), WSProtocolError> {
        let msg_type = head.header.msg_type();
        let disposition = self.with_proto(|proto, out| proto.handle_control(msg_type, payload, out))?;
        self.touch();
        if disposition == Disposition::Deliver {
            let result = listener.on_ws_frame(transport, &mut WSFrame::new(head, payload));
            self.callback_returned(result, Callback::Frame);
        }
        if msg_type == WSMsgType::Close {
            let now = self.core.now();
            self.with_proto(|proto, out| proto.auto_close(now, out));
            self.touch();
        }
        Ok(())
    }

    /// Callbacks that became due run before the next frame: the listener is in its place meanwhile, as they may be its own.
    fn run_deferred_between_frames(self: &Rc<Self>, listener: &mut Box<dyn WSListener>) {
        self.listener.set(Some(std::mem::replace(listener, Box::new(Nobody))));
        self.core.run_deferred();
        if let Some(back) = self.listener.take() {
            *listener = back;
        }
    }

    // --- callbacks ---------------------------------------------------------------------------------------------------------

    /// Calls the listener outside of the delivery of frames.
    pub(super) fn call_listener(
        self: &Rc<Self>,
        call: impl FnOnce(&mut dyn WSListener) -> WSResult,
        callback: Callback,
    ) {
        let Some(mut listener) = self.listener.take() else { return };
        let result = panic::catch_unwind(AssertUnwindSafe(|| call(&mut *listener)));
        self.listener.set(Some(listener));
        match result {
            Ok(result) => self.callback_returned(result, callback),
            Err(panic) => {
                self.listener_failed(WSListenerError::from_panic(&*panic), WSCloseCode::INTERNAL_ERROR, "");
            }
        }
    }

    #[inline]
    fn callback_returned(self: &Rc<Self>, result: WSResult, callback: Callback) {
        if let Err(error) = result {
            self.callback_failed(error, callback);
        }
    }

    #[cold]
    fn callback_failed(self: &Rc<Self>, error: Box<dyn std::error::Error + Send + Sync>, callback: Callback) {
        match error.downcast::<WSProtocolError>() {
            Ok(error) => {
                let (code, message) = (error.code, error.message.clone());
                self.listener_failed(WSListenerError::new(error), code, &message);
            }
            Err(error) if callback == Callback::Frame && !self.settings.disconnect_on_error => {
                log::error!("connection {}: on_ws_frame failed: {error}", self.token.to_u64());
            }
            Err(error) => self.listener_failed(WSListenerError::new(error), WSCloseCode::INTERNAL_ERROR, ""),
        }
    }

    fn listener_failed(self: &Rc<Self>, error: WSListenerError, code: WSCloseCode, reason: &str) {
        if self.protocol_role() == Role::Server {
            log::error!("connection {}: the listener failed: {error}", self.token.to_u64());
        }
        let close = WSProtocolError::new(code, reason.to_owned());
        self.fail(&close, WSDisconnectCause::ListenerError, Some(error.into()));
        self.after_change();
    }

    // --- reading on and off ------------------------------------------------------------------------------------------------

    pub(crate) fn pause_reading(&self) {
        self.flags.set(Flags::PAUSED);
    }

    pub(crate) fn resume_reading(&self) {
        if self.flags.clear(Flags::PAUSED) {
            self.flags.set(Flags::UNREAD);
            self.make_ready();
        }
    }

    pub(crate) fn is_reading_paused(&self) -> bool {
        self.flags.has(Flags::PAUSED)
    }

    pub(crate) fn expect_messages(&self) {
        self.proto.borrow_mut().expect_messages();
    }

    // --- questions ---------------------------------------------------------------------------------------------------------

    pub(crate) fn buffered_amount(&self) -> usize {
        self.proto.borrow().queued()
    }

    pub(crate) fn dropped(&self) -> (u64, u64) {
        self.proto.borrow().dropped()
    }

    pub(crate) fn disconnect_info(&self) -> Option<&WSDisconnectInfo> {
        self.ending.get().map(|ending| &ending.info)
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

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.stream.borrow().as_ref().ok_or(io::ErrorKind::NotConnected)?.local_addr()
    }

    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.borrow().as_ref().ok_or(io::ErrorKind::NotConnected)?.peer_addr()
    }

    pub(crate) fn with_socket<R>(self: &Rc<Self>, f: impl FnOnce(SockRef<'_>) -> R) -> Result<R, WSError> {
        // The closure may use the transport, so the borrow must not last: a duplicate of the descriptor would, but costs one.
        let lent = LentStream { conn: self, stream: self.stream.take() };
        match lent.stream.as_ref().and_then(Stream::tcp) {
            Some(socket) => Ok(f(SockRef::from(socket))),
            None => Err(WSError::Disconnected),
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.token.to_u64()
    }

    pub(crate) fn remote(&self) -> WSRemote {
        WSRemote::new(self.token, Arc::clone(&self.core.inbox))
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
        let mut out =
            SendContext { pool: &mut self.core.pool.borrow_mut(), keys: &mut self.core.keys.borrow_mut() };
        call(&mut self.proto.borrow_mut(), &mut out)
    }

    /// Arms writable interest exactly while the kernel refuses bytes.
    pub(super) fn update_interest(&self, blocked: bool) {
        let changed =
            if blocked { !self.flags.set(Flags::BLOCKED) } else { self.flags.clear(Flags::BLOCKED) };
        if !changed {
            return;
        }
        let interest = if blocked { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        let token = self.token.to_mio();
        let changed = match self.stream.borrow_mut().as_mut() {
            Some(stream) => stream.reregister(&self.core.registry, token, interest),
            None => return,
        };
        if let Err(error) = changed {
            log::error!("connection {}: cannot change interest: {error}", self.token.to_u64());
        }
    }

    pub(super) fn defer(&self, deferred: Deferred) {
        self.core.defer(deferred);
    }
}

/// A partial frame of at most this many bytes is copied in front of the next read, unless it would take more than half of the
/// buffer; a larger one is read on in place.
const SMALL_PARTIAL: usize = 4096;

/// Least room, in bytes, that a large partial frame is given for its next read.
const MIN_GROWTH: usize = 16 * 1024;

/// Which callback an error came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Callback {
    Connected,
    Frame,
    Other,
}

/// The stream while `with_socket` shows it: it goes back whether the closure returns or panics, unless the connection ended.
struct LentStream<'a> {
    conn: &'a Rc<Conn>,
    stream: Option<Stream>,
}

impl Drop for LentStream<'_> {
    fn drop(&mut self) {
        if self.conn.ending.get().is_none() {
            self.conn.stream.replace(self.stream.take());
            // The closure may have sent.
            self.conn.touch();
        }
    }
}

/// Stands in for a listener that is in use elsewhere for a moment.
struct Nobody;

impl WSListener for Nobody {
    fn on_ws_frame(&mut self, _: &WSTransport, _: &mut WSFrame<'_>) -> WSResult {
        Ok(())
    }
}
