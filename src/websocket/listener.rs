//! The listener under a [`WebSocket`](super::WebSocket).

use std::rc::Rc;

use crate::connection::{WSListener, WSResult, WSTransport};
use crate::messages::{Message, MessageInfo, MessageReader};
use crate::proto::{WSDisconnectCause, WSFrame, WSMsgType};

use super::CloseReason;
use super::shared::Shared;

/// Turns callbacks into what tasks wait for.
pub(super) struct Under {
    shared: Rc<Shared>,
    reader: MessageReader,
    /// Tasks take messages past this.
    pulls: bool,
}

impl Under {
    /// Makes a listener that is handed to its connection as it is: tasks take messages past it.
    pub(super) fn new(shared: Rc<Shared>) -> Self {
        Self { shared, reader: MessageReader::default(), pulls: true }
    }

    /// Makes a listener that an application may put into one of its own, which then sees every frame.
    pub(super) fn exposed(shared: Rc<Shared>) -> Self {
        Self { shared, reader: MessageReader::default(), pulls: false }
    }

    /// A frame that is a message, and still masked.
    #[inline(never)]
    fn received_long(&self, frame: &WSFrame<'_>) {
        self.shared.received(Message::from_long(frame), MessageInfo::of_frame(frame, 0));
    }
}

impl WSListener for Under {
    fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
        self.shared.opened(transport, self.pulls);
        Ok(())
    }

    #[inline]
    fn on_ws_frame(&mut self, transport: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        match frame.msg_type() {
            WSMsgType::Close => {
                let reason = CloseReason::new(frame.close_code(), frame.close_message());
                self.shared.ended(reason, true);
            }
            WSMsgType::Pong => self.shared.pong_received(transport, frame.payload()),
            WSMsgType::Ping => {}
            _ if frame.is_long() => self.received_long(frame),
            _ => {
                let is_whole = MessageReader::is_whole(frame);
                match self.reader.push(frame) {
                    Ok(Some(message)) => {
                        self.shared.received(Message::from(message), message.info());
                        if !is_whole {
                            self.reader.release();
                        }
                    }
                    Ok(None) => {}
                    Err(fault) => transport.conn().peer_failed(&fault),
                }
            }
        }
        Ok(())
    }

    fn on_ws_disconnected(&mut self, transport: &WSTransport) {
        let Some(info) = transport.disconnect_info() else { return };
        // What the peer said before it left, or before its fault, is still worth reading.
        let keeps_messages = info.cause != WSDisconnectCause::LoopClosed;
        self.shared.ended(CloseReason::new(info.code, info.reason.clone()), keeps_messages);
    }

    fn send_user_specific_ping(&mut self, transport: &WSTransport) -> WSResult {
        transport.send_ping(self.shared.auto_ping())?;
        Ok(())
    }

    fn is_user_specific_pong(&mut self, frame: &WSFrame<'_>) -> bool {
        frame.msg_type() == WSMsgType::Pong && self.shared.auto_pong_received(frame.payload())
    }

    fn resume_writing(&mut self, _: &WSTransport) {
        self.shared.resume_writers();
    }
}

/// A connection that was never opened ends with its listener.
impl Drop for Under {
    fn drop(&mut self) {
        self.shared.left();
    }
}
