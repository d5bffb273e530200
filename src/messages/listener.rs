use crate::connection::{WSListener, WSResult, WSTransport};
use crate::proto::{WSFrame, WSMsgType};

use super::inbound::MessageReader;

/// A whole message, borrowed for the time of one callback: from the receive buffer if it came in one frame, else from where its
/// fragments were put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WSMessage<'a> {
    /// A text message; it is UTF-8.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
}

impl<'a> WSMessage<'a> {
    /// The type that a frame with this message has.
    pub fn msg_type(&self) -> WSMsgType {
        match self {
            Self::Text(_) => WSMsgType::Text,
            Self::Binary(_) => WSMsgType::Binary,
        }
    }

    /// The payload.
    pub fn as_bytes(&self) -> &'a [u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
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

    fn pause_writing(&mut self, transport: &WSTransport) {
        self.listener.pause_writing(transport);
    }

    fn resume_writing(&mut self, transport: &WSTransport) {
        self.listener.resume_writing(transport);
    }
}
