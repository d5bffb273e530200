//! An open connection as the loop sees it.

use std::rc::Rc;

use crate::runtime::{Command, Readiness, Shutdown, Source, TimerKind};

use super::conn::Conn;

/// The connection may not need its compressor any more.
#[cfg(feature = "deflate")]
pub(super) const COMPRESSOR: TimerKind = TimerKind(1);

/// The protocol has an event for the listener.
pub(super) const EVENT: u8 = 0;

/// `on_ws_disconnected` is due.
pub(super) const DISCONNECTED: u8 = 1;

impl Source for Conn {
    fn ready(self: Rc<Self>, readiness: Readiness) {
        Conn::ready(self, readiness);
    }

    fn timer(self: Rc<Self>, kind: TimerKind) {
        match kind {
            TimerKind::DEADLINE => self.timer_fired(),
            #[cfg(feature = "deflate")]
            COMPRESSOR => self.compressor_due(),
            _ => debug_assert!(false, "not a timer of a connection: {kind:?}"),
        }
    }

    fn deferred(self: Rc<Self>, kind: u8) {
        match kind {
            EVENT => self.run_event(),
            DISCONNECTED => self.run_disconnected(),
            _ => debug_assert!(false, "not a deferred call of a connection: {kind}"),
        }
    }

    fn drive(self: Rc<Self>) {
        Conn::drive(&self);
    }

    fn command(self: Rc<Self>, command: Command) {
        match command {
            Command::Send { msg_type, payload, options } => {
                self.send_shared(msg_type, &payload, options);
            }
            Command::SendMessage { msg_type, payload, compress } => {
                self.send_shared_message(msg_type, &payload, compress);
            }
            Command::SendPrepared(frame) => {
                self.send_prepared(&frame);
            }
            Command::SendPreparedMessage(message) => {
                self.send_prepared_message(&message);
            }
            Command::SendClose { code, reason } => {
                self.send_close(code, &reason);
            }
            Command::Disconnect { graceful } => self.disconnect(graceful),
        }
    }

    fn shut_down(self: Rc<Self>, how: Shutdown<'_>) -> bool {
        match how {
            Shutdown::StopAccepting => false,
            Shutdown::Close(code, reason) => {
                self.send_close(code, reason);
                true
            }
            Shutdown::LoopDropped => {
                self.abort_for_loop();
                true
            }
        }
    }

    fn kind(&self) -> &'static str {
        "connection"
    }
}
