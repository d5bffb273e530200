use std::fmt;
use std::time::SystemTime;

use crate::connection::{WSListener, WSResult, WSTransport, log_error};
use crate::proto::{WSFrame, WSMsgType, WSProtocolError};
use crate::runtime::WSListenerError;

use super::MessageInfo;
use super::inbound::MessageReader;

/// A whole message, borrowed for the time of one callback: from the receive buffer if it came in one frame, else from where its
/// fragments were put together.
#[derive(Clone, Copy)]
pub struct WSMessage<'a> {
    payload: Payload<'a>,
    /// The frame that ends it.
    last: &'a WSFrame<'a>,
    /// Bytes that the frames before that had on the wire.
    earlier: usize,
}

#[derive(Clone, Copy)]
enum Payload<'a> {
    /// It is UTF-8.
    Text(&'a str),
    Binary(&'a [u8]),
}

impl<'a> WSMessage<'a> {
    /// Makes a message that ends with the frame `last`. `earlier`: the bytes that the frames before it had
    /// on the wire.
    ///
    /// # Errors
    /// 1007 if a text is not UTF-8.
    #[inline]
    pub(super) fn new(
        msg_type: WSMsgType,
        payload: &'a [u8],
        last: &'a WSFrame<'_>,
        earlier: usize,
    ) -> Result<Self, WSProtocolError> {
        let payload = if msg_type != WSMsgType::Text {
            Payload::Binary(payload)
        } else if let Ok(text) = simdutf8::basic::from_utf8(payload) {
            Payload::Text(text)
        } else {
            return Err(WSProtocolError::bad_text());
        };
        Ok(Self { payload, last, earlier })
    }

    /// Returns the type: TEXT or BINARY.
    pub fn msg_type(&self) -> WSMsgType {
        match self.payload {
            Payload::Text(_) => WSMsgType::Text,
            Payload::Binary(_) => WSMsgType::Binary,
        }
    }

    /// Returns the text of a text message, and `None` for a binary one.
    pub fn as_text(&self) -> Option<&'a str> {
        match self.payload {
            Payload::Text(text) => Some(text),
            Payload::Binary(_) => None,
        }
    }

    /// Returns the payload of a message of either type.
    pub fn as_bytes(&self) -> &'a [u8] {
        match self.payload {
            Payload::Text(text) => text.as_bytes(),
            Payload::Binary(bytes) => bytes,
        }
    }

    pub(crate) fn info(&self) -> MessageInfo {
        MessageInfo::of_frame(self.last, self.earlier)
    }

    /// Returns when the kernel received the end of the message: see [`WSFrame::received_at`].
    pub fn received_at(&self) -> Option<SystemTime> {
        self.last.received_at()
    }

    /// Returns `true` if the receive buffer has no whole frame behind the message.
    pub fn last_in_buffer(&self) -> bool {
        self.last.last_in_buffer()
    }

    /// Returns the number of bytes in the receive buffer behind the message.
    pub fn tail_size(&self) -> usize {
        self.last.tail_size()
    }

    /// Returns the number of bytes that the message had on the wire, with the headers of all its frames.
    pub fn wire_len(&self) -> usize {
        self.earlier + self.last.wire_len()
    }

    /// Returns `true` if the message was compressed on the wire.
    pub fn is_compressed(&self) -> bool {
        self.last.is_compressed()
    }
}

impl fmt::Debug for WSMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.payload {
            Payload::Text(text) => f.debug_tuple("Text").field(&text).finish(),
            Payload::Binary(bytes) => f.debug_tuple("Binary").field(&bytes).finish(),
        }
    }
}

impl AsRef<[u8]> for WSMessage<'_> {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

/// [`WSListener`] on whole messages: fragments are assembled, text is checked for UTF-8, sizes are limited over the message
/// ([`WSLimits::max_message_size`](crate::WSLimits::max_message_size)).
///
/// Return `WSMessageAdapter(listener)` where a listener is asked for. The rules of [`WSListener`] hold here too.
///
/// ```
/// use femtows::{WSMessage, WSMessageAdapter, WSMessageListener, WSResult, WSTransport};
///
/// struct Echo;
///
/// impl WSMessageListener for Echo {
///     fn on_ws_message(&mut self, transport: &WSTransport, message: WSMessage<'_>) -> WSResult {
///         transport.send(message.msg_type(), message);
///         Ok(())
///     }
/// }
///
/// let listener = WSMessageAdapter::new(Echo);
/// # let _: Box<dyn femtows::WSListener> = Box::new(listener);
/// ```
pub trait WSMessageListener {
    /// The opening handshake is done.
    ///
    /// # Errors
    /// As for [`WSListener::on_ws_connected`].
    fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
        let _ = transport;
        Ok(())
    }

    /// A message has come in whole. It is borrowed until this returns.
    ///
    /// # Errors
    /// As for [`WSListener::on_ws_frame`].
    fn on_ws_message(&mut self, transport: &WSTransport, message: WSMessage<'_>) -> WSResult;

    /// A control frame came, possibly between the fragments of a message: CLOSE, PONG, and PING unless pings are answered
    /// automatically.
    ///
    /// # Errors
    /// As for [`WSListener::on_ws_frame`].
    fn on_ws_control(&mut self, transport: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        let _ = (transport, frame);
        Ok(())
    }

    /// The connection is gone. See [`WSListener::on_ws_disconnected`].
    fn on_ws_disconnected(&mut self, transport: &WSTransport) {
        let _ = transport;
    }

    /// See [`WSListener::send_user_specific_ping`].
    ///
    /// # Errors
    /// As for [`WSListener::send_user_specific_ping`].
    fn send_user_specific_ping(&mut self, transport: &WSTransport) -> WSResult {
        transport.send_ping([])?;
        Ok(())
    }

    /// Whether a frame is the answer to a ping: see [`WSListener::is_user_specific_pong`]. Fragments are not asked about.
    fn is_user_specific_pong(&mut self, frame: &WSFrame<'_>) -> bool {
        frame.msg_type() == WSMsgType::Pong
    }

    /// See [`WSListener::on_ws_error`]. Default: logs the error.
    fn on_ws_error(&mut self, transport: &WSTransport, error: &WSListenerError) {
        log_error(transport, error);
    }

    /// See [`WSListener::pause_writing`].
    fn pause_writing(&mut self, transport: &WSTransport) {
        let _ = transport;
    }

    /// See [`WSListener::resume_writing`].
    fn resume_writing(&mut self, transport: &WSTransport) {
        let _ = transport;
    }
}

/// Makes a [`WSListener`] of a [`WSMessageListener`].
#[derive(Debug)]
pub struct WSMessageAdapter<L> {
    listener: L,
    reader: MessageReader,
}

impl<L: WSMessageListener> WSMessageAdapter<L> {
    /// The adapter of one connection.
    pub fn new(listener: L) -> Self {
        Self { listener, reader: MessageReader::default() }
    }

    /// The listener inside.
    pub fn get_ref(&self) -> &L {
        &self.listener
    }
}

impl<L: WSMessageListener> WSListener for WSMessageAdapter<L> {
    fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
        transport.conn().expect_messages();
        self.listener.on_ws_connected(transport)
    }

    #[inline]
    fn on_ws_frame(&mut self, transport: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        if frame.msg_type().is_control() {
            return self.listener.on_ws_control(transport, frame);
        }
        match self.reader.push(frame) {
            Ok(Some(message)) => {
                let result = self.listener.on_ws_message(transport, message);
                self.reader.release();
                result
            }
            Ok(None) => Ok(()),
            Err(fault) => {
                transport.conn().peer_failed(&fault);
                Ok(())
            }
        }
    }

    fn on_ws_disconnected(&mut self, transport: &WSTransport) {
        self.listener.on_ws_disconnected(transport);
    }

    fn send_user_specific_ping(&mut self, transport: &WSTransport) -> WSResult {
        self.listener.send_user_specific_ping(transport)
    }

    fn is_user_specific_pong(&mut self, frame: &WSFrame<'_>) -> bool {
        // A piece that was taken away would tear its message.
        let is_piece = !frame.fin() || frame.msg_type() == WSMsgType::Continuation;
        !is_piece && self.listener.is_user_specific_pong(frame)
    }

    fn on_ws_error(&mut self, transport: &WSTransport, error: &WSListenerError) {
        self.listener.on_ws_error(transport, error);
    }

    fn pause_writing(&mut self, transport: &WSTransport) {
        self.listener.pause_writing(transport);
    }

    fn resume_writing(&mut self, transport: &WSTransport) {
        self.listener.resume_writing(transport);
    }
}
