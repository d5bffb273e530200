use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use crate::buf::{WS_HEADROOM, WSBuffer};
use crate::connection::{Conn, WSConnectReport, WSRemote, measure_roundtrip_time};
use crate::handshake::{WSRequestHead, WSUpgradeResponse};
use crate::proto::{
    MAX_CONTROL_PAYLOAD, Payload, Role, SendOptions, WSClose, WSCloseCode, WSCloseHandshake,
    WSDisconnectInfo, WSDropReason, WSMsgType, WSPreparedFrame, WSPreparedMessage,
};
use crate::runtime::{WSError, WSLoopHandle};

/// The sending end of a connection, and all that can be asked of it.
///
/// Clones are handles to the same connection. Every method may be called from any callback of any connection of the same loop, from
/// timers and from tasks; none of them blocks, and none of them runs user code. For other threads there is
/// [`remote`](Self::remote).
///
/// # Sending
/// Frames leave in the order of the calls and never torn. While the loop dispatches an event, they are gathered and leave when that
/// dispatch ends ([`WSWriteStrategy`](crate::WSWriteStrategy)); [`flush`](Self::flush) pushes them out at once. What the kernel
/// refuses waits, up to [`max_outbound`](crate::WSLimits::max_outbound). The result of a send tells what became of the frame;
/// ignoring it is fine. After CLOSE was sent, or when the connection is gone, sends have no effect.
///
/// # Compression
/// If compression was negotiated (feature `deflate`), whatever sends a message compresses it according
/// to the [configuration](crate::WSServerConfig::deflate): if it is
/// [long enough](crate::WSDeflateConfig::threshold) and, unless messages refer to earlier ones, gets
/// shorter. [`send_frame`](Self::send_frame) and [`send_prepared_frame`](Self::send_prepared_frame)
/// send a frame as it is.
#[derive(Clone)]
pub struct WSTransport {
    conn: Rc<Conn>,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WSSendStatus {
    /// The kernel has it.
    Sent,
    /// It waits: for the end of the dispatch, or for the kernel.
    Queued,
    /// It was dropped, and this is why. Nothing of it was or will be sent.
    Dropped(WSDropReason),
}

/// How a message is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WSMessageOptions {
    /// Whether to compress the message. Default `None`: if it is [long enough](crate::WSDeflateConfig::threshold). Without effect if
    /// compression was not agreed on.
    pub compress: Option<bool>,
}

impl WSSendStatus {
    /// Whether the frame was sent or will be, unless the connection breaks.
    pub fn is_accepted(self) -> bool {
        !matches!(self, Self::Dropped(_))
    }
}

impl WSTransport {
    #[inline]
    pub(crate) fn new(conn: Rc<Conn>) -> Self {
        Self { conn }
    }

    pub(crate) fn conn(&self) -> &Rc<Conn> {
        &self.conn
    }

    /// Sends a whole message, or a PING or PONG. TEXT must be UTF-8, which is not checked:
    /// [`send_text`](Self::send_text) takes a `&str`.
    #[inline]
    pub fn send(&self, msg_type: WSMsgType, payload: impl AsRef<[u8]>) -> WSSendStatus {
        self.conn.send(msg_type, payload.as_ref())
    }

    /// Sends a text message.
    #[inline]
    pub fn send_text(&self, text: impl AsRef<str>) -> WSSendStatus {
        self.conn.send(WSMsgType::Text, text.as_ref().as_bytes())
    }

    /// Sends a binary message.
    #[inline]
    pub fn send_binary(&self, payload: impl AsRef<[u8]>) -> WSSendStatus {
        self.conn.send(WSMsgType::Binary, payload.as_ref())
    }

    /// Sends a message as [`send`](Self::send) does, with options that overrule the configuration.
    pub fn send_with(
        &self,
        msg_type: WSMsgType,
        payload: impl AsRef<[u8]>,
        options: WSMessageOptions,
    ) -> WSSendStatus {
        self.conn.send_message(msg_type, Payload::Borrowed(payload.as_ref()), options.compress)
    }

    /// Sends a frame with chosen bits, such as a fragment. It is never compressed.
    #[inline]
    pub fn send_frame(
        &self,
        msg_type: WSMsgType,
        payload: impl AsRef<[u8]>,
        options: SendOptions,
    ) -> WSSendStatus {
        self.conn.send_frame(msg_type, payload.as_ref(), options)
    }

    /// Sends a message that was encoded once for many connections, in the form that fits this one.
    ///
    /// A compressed form makes this end forget its earlier messages: with context takeover, the next one compresses as if it were the
    /// first.
    pub fn send_prepared(&self, message: &WSPreparedMessage) -> WSSendStatus {
        self.conn.send_prepared(message)
    }

    /// Sends a message from the caller's own memory, which is changed: the header is written in front of
    /// the payload, and a client masks the payload in place. If the message is compressed, the memory
    /// stays as it is.
    ///
    /// The payload is `buffer[offset..]`; of the bytes before it, the last [`WS_HEADROOM`] are overwritten. The memory is the
    /// caller's again when this returns.
    ///
    /// With other options than the default ones, sends a frame with these bits, which is never
    /// compressed.
    ///
    /// # Errors
    /// [`WSError::InvalidArgument`] if `offset` is less than [`WS_HEADROOM`] or beyond the end of
    /// `buffer`, and for CLOSE, which [`close`](Self::close) sends.
    ///
    /// ```
    /// # use femtows::*;
    /// # fn demo(transport: &WSTransport) -> Result<(), WSError> {
    /// let mut memory = *b"..............payload";
    /// transport.send_reuse_external_buffer(WSMsgType::Text, &mut memory, WS_HEADROOM, SendOptions::default())?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn send_reuse_external_buffer(
        &self,
        msg_type: WSMsgType,
        buffer: &mut [u8],
        offset: usize,
        options: SendOptions,
    ) -> Result<WSSendStatus, WSError> {
        if msg_type == WSMsgType::Close {
            return Err(WSError::InvalidArgument("CLOSE is sent by close"));
        }
        if offset < WS_HEADROOM {
            return Err(WSError::InvalidArgument("offset leaves less than 14 bytes for the frame header"));
        }
        if offset > buffer.len() {
            return Err(WSError::InvalidArgument("offset is beyond the end of the buffer"));
        }
        let payload = Payload::InPlace(buffer, offset);
        if options == SendOptions::default() {
            return Ok(self.conn.send_message(msg_type, payload, None));
        }
        Ok(self.conn.send_payload(msg_type, payload, options))
    }

    /// Sends a whole message that owns its memory. Unless it is compressed, it is not copied, whatever its
    /// size and whatever the kernel takes.
    pub fn send_buffer(&self, msg_type: WSMsgType, buffer: WSBuffer) -> WSSendStatus {
        self.conn.send_message(msg_type, Payload::Owned(buffer), None)
    }

    /// Sends a frame that was encoded once for many connections. It is never compressed.
    pub fn send_prepared_frame(&self, frame: &WSPreparedFrame) -> WSSendStatus {
        self.conn.send_prepared_frame(frame)
    }

    /// Sends a PING.
    ///
    /// # Errors
    /// [`WSError::InvalidArgument`] if the payload is over 125 bytes (RFC 6455 section 5.5).
    pub fn send_ping(&self, payload: impl AsRef<[u8]>) -> Result<WSSendStatus, WSError> {
        self.send_control(WSMsgType::Ping, payload.as_ref())
    }

    /// Sends a PONG, asked for or not.
    ///
    /// # Errors
    /// [`WSError::InvalidArgument`] if the payload is over 125 bytes (RFC 6455 section 5.5).
    pub fn send_pong(&self, payload: impl AsRef<[u8]>) -> Result<WSSendStatus, WSError> {
        self.send_control(WSMsgType::Pong, payload.as_ref())
    }

    fn send_control(&self, msg_type: WSMsgType, payload: &[u8]) -> Result<WSSendStatus, WSError> {
        if payload.len() > MAX_CONTROL_PAYLOAD {
            return Err(WSError::InvalidArgument("payload of a control frame is over 125 bytes"));
        }
        Ok(self.conn.send(msg_type, payload))
    }

    /// Sends CLOSE: begins the closing handshake, or answers the peer's (RFC 6455 section 7.1.2). A
    /// second call has no effect. The connection ends when the peer has answered, or at the close
    /// deadline. Returns `true` if this call has queued a CLOSE.
    ///
    /// [`WSCloseCode::NO_INFO`] sends an empty payload. The reason is cut to 123 bytes at a character
    /// boundary.
    ///
    /// # Errors
    /// [`WSError::InvalidArgument`] for a code that must not be sent: any other for which
    /// [`is_valid_on_wire`](WSCloseCode::is_valid_on_wire) is false (RFC 6455 section 7.4). Nothing
    /// is sent then.
    pub fn close(&self, code: WSCloseCode, reason: &str) -> Result<bool, WSError> {
        if !code.may_be_sent() {
            return Err(WSError::InvalidArgument("this close code must not be sent"));
        }
        Ok(self.conn.send_close(code, reason))
    }

    /// Closes TCP without a closing handshake: receives nothing more and flushes what waits to be
    /// sent, with a deadline. Idempotent. `on_ws_disconnected` is called after the current callback
    /// has returned.
    pub fn disconnect(&self) {
        self.conn.disconnect(true);
    }

    /// Closes TCP at once, without a closing handshake: writes gathered frames once, and drops what
    /// the kernel refuses. Idempotent; has an effect after [`disconnect`](Self::disconnect), too.
    /// `on_ws_disconnected` is called after the current callback has returned.
    pub fn abort(&self) {
        self.conn.disconnect(false);
    }

    /// Hands to the kernel now what is gathered.
    pub fn flush(&self) {
        self.conn.flush();
    }

    /// Stops delivery after the current frame. The socket is not read either, so that the peer feels the back-pressure; no PING is
    /// answered and no CLOSE seen meanwhile.
    pub fn pause_reading(&self) {
        self.conn.pause_reading();
    }

    /// Goes on delivering, from the next turn of the loop on.
    pub fn resume_reading(&self) {
        self.conn.resume_reading();
    }

    /// Returns `true` while no data frames are delivered: after
    /// [`pause_reading`](Self::pause_reading), or because
    /// [`pause_reading_on_backlog`](crate::WSServerConfig::pause_reading_on_backlog) or a full
    /// queue of messages stopped delivery, which then goes on by itself.
    pub fn is_reading_paused(&self) -> bool {
        self.conn.is_reading_paused()
    }

    /// Bytes that wait to be sent, frame headers included.
    pub fn buffered_amount(&self) -> usize {
        self.conn.buffered_amount()
    }

    /// Frames, and their payload bytes, that were dropped because [`max_outbound`](crate::WSLimits::max_outbound) was reached.
    pub fn dropped(&self) -> WSDropped {
        let (frames, bytes) = self.conn.dropped();
        WSDropped { frames, bytes }
    }

    /// Sets the watermarks of this connection: see [`WSTuning::write_watermarks`](crate::WSTuning::write_watermarks).
    pub fn set_write_watermarks(&self, low: usize, high: usize) {
        self.conn.set_watermarks(low, high);
    }

    /// Done when the socket is closed *and* `on_ws_disconnected` has returned.
    ///
    /// # Errors
    /// The first error of a callback, or the peer's fault that ended the connection. Any other end is `Ok`;
    /// [`disconnect_info`](Self::disconnect_info) tells it.
    pub fn wait_disconnected(&self) -> impl Future<Output = Result<(), WSError>> + use<> {
        Conn::disconnected(&self.conn)
    }

    /// Measures `rounds` times how long the peer takes to answer a ping, one ping after the other. Begins when it is first polled.
    ///
    /// A ping and its answer are what the listener says
    /// ([`send_user_specific_ping`](crate::WSListener::send_user_specific_ping)). Auto-ping takes them for its own: it sends none meanwhile, and gives
    /// up on a peer that does not answer these; without auto-ping, a peer that never answers is waited for until it disconnects.
    ///
    /// # Errors
    /// [`WSError::Disconnected`] when the connection ends, or is about to, before all answers are there.
    pub fn measure_roundtrip_time(
        &self,
        rounds: usize,
    ) -> impl Future<Output = Result<Vec<Duration>, WSError>> + use<> {
        measure_roundtrip_time(Rc::clone(&self.conn), rounds)
    }

    /// Says that the answer to the ping under way has come, for a listener whose
    /// [`is_user_specific_pong`](crate::WSListener::is_user_specific_pong) does not look. Without effect if none is awaited.
    pub fn notify_user_specific_pong_received(&self) {
        self.conn.pong_received();
    }

    /// Why the connection ended; `None` while it is open.
    pub fn disconnect_info(&self) -> Option<&WSDisconnectInfo> {
        self.conn.rare().ending()
    }

    /// The request of the opening handshake, unless [`keep_handshake`](crate::WSTuning::keep_handshake) is off.
    pub fn request(&self) -> Option<&WSRequestHead> {
        self.conn.handshake().map(|handshake| &handshake.request)
    }

    /// The response of the opening handshake, unless [`keep_handshake`](crate::WSTuning::keep_handshake) is off.
    pub fn response(&self) -> Option<&WSUpgradeResponse> {
        self.conn.handshake().map(|handshake| &handshake.response)
    }

    /// The subprotocol that was agreed on, unless [`keep_handshake`](crate::WSTuning::keep_handshake) is off.
    pub fn subprotocol(&self) -> Option<String> {
        Some(self.response()?.get_header("sec-websocket-protocol")?.into_owned())
    }

    /// How the connection came to be: what each phase took, which addresses were tried. `None` at a server.
    pub fn connect_report(&self) -> Option<Rc<WSConnectReport>> {
        self.conn.rare().connect_report()
    }

    /// The CLOSE frames exchanged so far.
    pub fn close_handshake(&self) -> WSCloseHandshake {
        self.conn.close_handshake().unwrap_or_default()
    }

    /// The CLOSE that the peer sent.
    pub fn received_close(&self) -> Option<WSClose> {
        self.close_handshake().recv
    }

    /// Whether this end is the client.
    pub fn is_client_side(&self) -> bool {
        self.conn.protocol_role() == Role::Client
    }

    /// Whether the bytes go, or went, through TLS.
    pub fn is_secure(&self) -> bool {
        self.conn.is_secure()
    }

    /// What the TLS handshake agreed on; `None` without TLS, and when the connection is gone.
    #[cfg(feature = "tls")]
    pub fn tls_info(&self) -> Option<crate::tls::WSTlsInfo> {
        self.conn.tls_info()
    }

    /// Whether this end has sent CLOSE.
    pub fn is_close_frame_sent(&self) -> bool {
        self.conn.is_close_sent()
    }

    /// Whether the socket is closed.
    pub fn is_disconnected(&self) -> bool {
        self.disconnect_info().is_some()
    }

    /// The local address.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.conn.local_addr()
    }

    /// The peer's address.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.conn.peer_addr()
    }

    /// Calls `f` with the socket, for its options. Reading from it or writing to it breaks the connection.
    ///
    /// Frames that `f` sends through the transport leave after it has returned. It must not ask the transport for the socket again,
    /// nor for an address: both answer as if the connection were gone.
    ///
    /// # Errors
    /// [`WSError::Disconnected`] when the connection is gone.
    pub fn with_socket<R>(&self, f: impl FnOnce(socket2::SockRef<'_>) -> R) -> Result<R, WSError> {
        self.conn.with_socket(f)
    }

    /// A number that no other connection of this loop has, nor had in this one's place.
    pub fn id(&self) -> u64 {
        self.conn.id()
    }

    /// The twin for other threads.
    pub fn remote(&self) -> WSRemote {
        self.conn.remote()
    }

    /// The loop that this connection lives on.
    pub fn handle(&self) -> WSLoopHandle {
        WSLoopHandle::new(Rc::clone(self.conn.core()))
    }
}

impl PartialEq for WSTransport {
    /// Whether both are handles to the same connection.
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.conn, &other.conn)
    }
}

impl Eq for WSTransport {}

impl fmt::Debug for WSTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WSTransport")
            .field("id", &self.id())
            .field("is_client_side", &self.is_client_side())
            .field("buffered_amount", &self.buffered_amount())
            .field("disconnected", &self.disconnect_info())
            .finish_non_exhaustive()
    }
}

/// What the outbound limit cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WSDropped {
    /// Frames dropped.
    pub frames: u64,
    /// Their payload bytes.
    pub bytes: u64,
}
