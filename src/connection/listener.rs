use crate::connection::WSTransport;
use crate::proto::{WSFrame, WSMsgType};
use crate::runtime::WSListenerError;

/// What a callback returns.
///
/// Any error goes; a [`WSProtocolError`](crate::WSProtocolError) chooses how the connection closes.
pub type WSResult<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The receiver of a connection's events. Each connection has its own.
///
/// This one receives frames. [`WSMessageListener`](crate::WSMessageListener) receives whole messages.
///
/// All callbacks run on the thread of the loop, one at a time, never from inside a `send`. Any of them may use any transport
/// of the same loop. While one runs, frames that it sends are gathered (see [`WSWriteStrategy`](crate::WSWriteStrategy)).
///
/// A panic in a callback closes this connection with 1011 and leaves the loop and all other connections running.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a listener on frames",
    label = "not a `WSListener`",
    note = "implement `WSListener` for it, which needs `on_ws_frame`",
    note = "if it implements `WSMessageListener`, wrap it: `WSMessageAdapter::new(..)`"
)]
pub trait WSListener {
    /// The opening handshake is done. Frames may be sent from here on.
    ///
    /// # Errors
    /// Close the connection with 1011, or as a [`WSProtocolError`](crate::WSProtocolError) says.
    fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
        let _ = transport;
        Ok(())
    }

    /// A frame arrived: TEXT, BINARY, CONTINUATION, CLOSE, PONG, and PING unless pings are answered automatically.
    ///
    /// `frame` is borrowed from the receive buffer until this returns. A message may arrive in several
    /// frames ([`fin`](WSFrame::fin)); a compressed one arrives inflated and in one.
    ///
    /// # Errors
    /// Close the connection with 1011 if `disconnect_on_error` is set, else are reported to
    /// [`on_ws_error`](Self::on_ws_error); a [`WSProtocolError`](crate::WSProtocolError) always
    /// closes, with its code.
    fn on_ws_frame(&mut self, transport: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult;

    /// The connection is gone. Called exactly once for each `on_ws_connected`, and nothing is called after it.
    ///
    /// [`WSTransport::disconnect_info`] returns the cause. A panic comes out of
    /// [`WSTransport::wait_disconnected`].
    fn on_ws_disconnected(&mut self, transport: &WSTransport) {
        let _ = transport;
    }

    /// Sends what auto-ping and [`WSTransport::measure_roundtrip_time`] take for a ping. Default: PING without a payload.
    ///
    /// For peers that have a heartbeat of their own, such as a text message. Then
    /// [`is_user_specific_pong`](Self::is_user_specific_pong) has to know the answer to it.
    ///
    /// # Errors
    /// Close the connection with 1011, or with the code and text of a [`WSProtocolError`](crate::WSProtocolError).
    fn send_user_specific_ping(&mut self, transport: &WSTransport) -> WSResult {
        transport.send_ping([])?;
        Ok(())
    }

    /// Whether `frame` is the answer to a ping. Default: every PONG is.
    ///
    /// Asked only while an answer is awaited, of every frame but CLOSE and PINGs that are answered automatically; a frame for which it
    /// says true does not come to [`on_ws_frame`](Self::on_ws_frame). If to find out costs as much as to handle the frame, say
    /// false here and call [`WSTransport::notify_user_specific_pong_received`] from there.
    fn is_user_specific_pong(&mut self, frame: &WSFrame<'_>) -> bool {
        frame.msg_type() == WSMsgType::Pong
    }

    /// A callback failed, and nothing else reports it. Default: logs the error, at most one line per
    /// second.
    ///
    /// Called after the failed callback has returned and before the next frame, for
    ///
    /// - errors and panics that close a server's connection with 1011; those of a client come out
    ///   of [`WSTransport::wait_disconnected`];
    /// - errors of [`on_ws_frame`](Self::on_ws_frame) that do not close the connection, as
    ///   `disconnect_on_error` is off.
    ///
    /// Not for a [`WSProtocolError`](crate::WSProtocolError), which rejects the peer's data. An error
    /// of `on_ws_disconnected` is logged: the listener is gone. A panic in here closes with 1011 and
    /// is logged.
    fn on_ws_error(&mut self, transport: &WSTransport, error: &WSListenerError) {
        log_error(transport, error);
    }

    /// The kernel refused more than the high watermark of bytes: stop sending if you can.
    fn pause_writing(&mut self, transport: &WSTransport) {
        let _ = transport;
    }

    /// After [`pause_writing`](Self::pause_writing), what waits has sunk to the low watermark.
    fn resume_writing(&mut self, transport: &WSTransport) {
        let _ = transport;
    }
}

/// Logs an error of a callback that nothing else reports.
#[cold]
pub(crate) fn log_error(transport: &WSTransport, error: &WSListenerError) {
    let id = transport.id();
    if transport.conn().proto().is_ending() {
        error_limited!("connection {id}: the listener failed: {error}");
    } else {
        error_limited!("connection {id}: on_ws_frame failed: {error}");
    }
}

/// What a listener is called for.
pub(super) enum ListenerEvent<'a, 'b> {
    Connected,
    Frame(&'a mut WSFrame<'b>),
    Disconnected,
    SendPing,
    /// Whether the frame is the answer to a ping goes into the `bool`.
    IsPong(&'a WSFrame<'b>, &'a mut bool),
    Error(&'a WSListenerError),
    PauseWriting,
    ResumeWriting,
}

impl ListenerEvent<'_, '_> {
    /// Calls the listener. Callers inside of the connection go through
    /// [`Conn::raise`](crate::connection::Conn::raise), which also measures.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "for a known event it is one virtual call")]
    pub(super) fn call(self, listener: &mut dyn WSListener, transport: &WSTransport) -> WSResult {
        match self {
            Self::Connected => return listener.on_ws_connected(transport),
            Self::Frame(frame) => return listener.on_ws_frame(transport, frame),
            Self::Disconnected => listener.on_ws_disconnected(transport),
            Self::SendPing => return listener.send_user_specific_ping(transport),
            Self::IsPong(frame, answer) => *answer = listener.is_user_specific_pong(frame),
            Self::Error(error) => listener.on_ws_error(transport, error),
            Self::PauseWriting => listener.pause_writing(transport),
            Self::ResumeWriting => listener.resume_writing(transport),
        }
        Ok(())
    }
}

macro_rules! forward_listener {
    () => {
        fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
            (**self).on_ws_connected(transport)
        }

        #[inline]
        fn on_ws_frame(&mut self, transport: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
            (**self).on_ws_frame(transport, frame)
        }

        fn on_ws_disconnected(&mut self, transport: &WSTransport) {
            (**self).on_ws_disconnected(transport);
        }

        fn send_user_specific_ping(&mut self, transport: &WSTransport) -> WSResult {
            (**self).send_user_specific_ping(transport)
        }

        fn is_user_specific_pong(&mut self, frame: &WSFrame<'_>) -> bool {
            (**self).is_user_specific_pong(frame)
        }

        fn on_ws_error(&mut self, transport: &WSTransport, error: &WSListenerError) {
            (**self).on_ws_error(transport, error);
        }

        fn pause_writing(&mut self, transport: &WSTransport) {
            (**self).pause_writing(transport);
        }

        fn resume_writing(&mut self, transport: &WSTransport) {
            (**self).resume_writing(transport);
        }
    };
}

impl<L: WSListener + ?Sized> WSListener for Box<L> {
    forward_listener!();
}

impl<L: WSListener + ?Sized> WSListener for &mut L {
    forward_listener!();
}

/// Stands in for a listener that is in use elsewhere for a moment.
pub(super) struct Nobody;

impl WSListener for Nobody {
    fn on_ws_frame(&mut self, _: &WSTransport, _: &mut WSFrame<'_>) -> WSResult {
        Ok(())
    }
}
