//! The stream while `with_socket` shows it.

use std::rc::Rc;

use socket2::SockRef;

use crate::net::Io;
use crate::runtime::WSError;

use super::super::flags::Flags;
use super::Conn;

/// The stream of a connection, taken out. It goes back whether the closure returns or panics, unless
/// the connection has ended.
///
/// The closure may use the transport, so a borrow must not last. A duplicate of the descriptor would
/// do, too, but costs a descriptor.
pub(super) struct LentStream<'a> {
    conn: &'a Rc<Conn>,
    io: Option<Io>,
}

impl<'a> LentStream<'a> {
    pub(super) fn of(conn: &'a Rc<Conn>) -> Self {
        Self { conn, io: conn.wire.take_io() }
    }

    /// Calls `f` with the socket.
    pub(super) fn show<R>(&self, f: impl FnOnce(SockRef<'_>) -> R) -> Result<R, WSError> {
        self.io.as_ref().and_then(Io::socket).map(f).ok_or(WSError::Disconnected)
    }
}

impl Drop for LentStream<'_> {
    fn drop(&mut self) {
        if self.conn.rare.ending().is_none() {
            self.conn.wire.put_io(self.io.take());
            // The closure may have sent.
            self.conn.follow();
            // It may even have run the loop, which found no stream to read or to write.
            if self.conn.flags.clear(Flags::MISSED) {
                self.conn.wire.with_io(|io| io.note(true));
                self.conn.flush();
                self.conn.wire.with_io(Io::leave_unread);
                self.conn.core.make_ready(self.conn.token);
            }
        }
    }
}
