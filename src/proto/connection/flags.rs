//! Facts about a connection and what is due, one bit each.

/// A set of facts and requests.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flags(u32);

impl Flags {
    // --- facts ---
    /// The application paused delivery.
    pub(super) const PAUSED: u32 = 1;
    /// Data is held because the caller has no room for it.
    pub(super) const NO_ROOM: u32 = 1 << 1;
    /// Data is held because the backlog is above its high watermark.
    pub(super) const BACKLOGGED: u32 = 1 << 2;
    /// Data is held, for any reason.
    pub(super) const HOLDING: u32 = Self::NO_ROOM | Self::BACKLOGGED;
    /// The backlog exceeded the high watermark and has not sunk to the low one since.
    pub(super) const WRITING_PAUSED: u32 = 1 << 3;
    /// The application knows that writing is paused.
    pub(super) const PAUSE_TOLD: u32 = 1 << 4;
    /// The application may still answer a peer that has half-closed TCP.
    pub(super) const ANSWERS_LATE: u32 = 1 << 5;
    /// The peer has half-closed TCP.
    pub(super) const PEER_ENDED: u32 = 1 << 6;
    /// The peer has half-closed TCP, and the local end sends on.
    pub(super) const HALF_CLOSED: u32 = 1 << 7;
    /// The local half of TCP is ended. What arrives is thrown away until the peer ends its half.
    pub(super) const LINGERING: u32 = 1 << 8;
    /// Nothing is sent or received any more. What is queued may leave, then TCP is closed, with or
    /// without a closing handshake.
    pub(super) const LEAVING: u32 = 1 << 9;
    /// A client's closing handshake is complete: the server is to end TCP.
    pub(super) const SERVER_ENDS: u32 = 1 << 10;
    /// A ping was sent, and any frame may be its answer.
    pub(super) const PONG_AWAITED: u32 = 1 << 11;
    /// The caller was asked for a ping and has not sent it.
    pub(super) const PING_REQUESTED: u32 = 1 << 12;
    /// The kernel refuses bytes.
    pub(super) const REFUSED: u32 = 1 << 13;
    /// The caller is interested in writability.
    pub(super) const INTEREST: u32 = 1 << 14;
    /// [`Action::Disconnected`](super::Action::Disconnected) was returned.
    pub(super) const OVER: u32 = 1 << 15;

    /// Any of these: an event is for more than receiving, or delivery depends on the state.
    pub(super) const NOT_PLAIN: u32 = Self::PAUSED
        | Self::HOLDING
        | Self::PONG_AWAITED
        | Self::PEER_ENDED
        | Self::LINGERING
        | Self::INTEREST;

    // --- requests ---
    /// [`Connection::poll_action`](super::Connection::poll_action) may have something to return.
    pub(super) const ATTENTION: u32 = 1 << 16;
    /// [`Action::Write`](super::Action::Write) is due.
    pub(super) const WRITE: u32 = 1 << 17;
    /// The write timeout ran out before the write that is due.
    pub(super) const WRITE_OVERDUE: u32 = 1 << 18;
    /// The peer's end of the stream has not been considered.
    pub(super) const END_SEEN: u32 = 1 << 19;
    /// [`Action::ReadOn`](super::Action::ReadOn) is due.
    pub(super) const READ_ON: u32 = 1 << 20;
    /// [`Action::Notify`](super::Action::Notify) was returned, and no event was asked for since.
    pub(super) const NOTIFIED: u32 = 1 << 21;
    /// [`Event::PeerEnded`](super::Event::PeerEnded) is due.
    pub(super) const TELL_PEER_ENDED: u32 = 1 << 22;
    /// [`Event::HandshakeClosed`](super::Event::HandshakeClosed) is due.
    pub(super) const TELL_HANDSHAKE: u32 = 1 << 23;
    /// [`Event::SendPing`](super::Event::SendPing) is due.
    pub(super) const TELL_PING: u32 = 1 << 24;

    /// Returns `true` if any of these is set.
    #[inline]
    pub(super) fn has(self, flags: u32) -> bool {
        self.0 & flags != 0
    }

    /// Sets the flags. Returns `true` if one of them was set before.
    #[inline]
    pub(super) fn set(&mut self, flags: u32) -> bool {
        let was_set = self.has(flags);
        self.0 |= flags;
        was_set
    }

    /// Sets the flags or clears them.
    pub(super) fn put(&mut self, flags: u32, on: bool) {
        self.0 = if on { self.0 | flags } else { self.0 & !flags };
    }

    /// Clears the flags. Returns `true` if one of them was set before.
    pub(super) fn clear(&mut self, flags: u32) -> bool {
        let was_set = self.has(flags);
        self.0 &= !flags;
        was_set
    }
}
