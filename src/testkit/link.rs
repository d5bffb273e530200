use std::cell::{RefCell, RefMut};
use std::fmt;
use std::io::IoSlice;
use std::rc::Rc;
use std::time::Duration;

use crate::proto::Role;

use super::pipe::Pipe;
use super::wire::Wire;

/// The simulated network between a client and a server. Clones are handles to the same link.
#[derive(Clone)]
pub struct SimLink {
    pub(super) wire: Rc<RefCell<Wire>>,
}

impl SimLink {
    /// What the client sends.
    pub fn to_server(&self) -> LinkDirection {
        self.from(Role::Client)
    }

    /// What the server sends.
    pub fn to_client(&self) -> LinkDirection {
        self.from(Role::Server)
    }

    /// What the end with this role sends.
    pub fn from(&self, sender: Role) -> LinkDirection {
        LinkDirection { wire: Rc::clone(&self.wire), sender }
    }

    /// Breaks the connection for both ends, as a TCP reset does: bytes in flight are lost, those that arrived can still be read.
    pub fn reset(&self) {
        self.wire.borrow_mut().reset();
    }

    /// Percent of reads during which further bytes arrive, between the event and the read. Default 0.
    pub fn late_arrivals(&self, percent: usize) {
        self.wire.borrow_mut().late_arrivals = percent;
    }

    /// Whether the end with this role has closed its socket.
    pub fn is_closed(&self, role: Role) -> bool {
        self.wire.borrow().is_closed(role)
    }
}

impl fmt::Debug for SimLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.wire.borrow().fmt(f)
    }
}

/// One direction of a [`SimLink`]. Each setter returns the direction, so that they can be chained.
pub struct LinkDirection {
    wire: Rc<RefCell<Wire>>,
    sender: Role,
}

impl LinkDirection {
    /// Most bytes that the two kernels hold together, in flight or unread; at least 1. A write that finds no room is refused.
    /// Default 256 KiB.
    pub fn capacity(&self, bytes: usize) -> &Self {
        self.pipe().capacity = bytes.max(1);
        self
    }

    /// A write takes from 1 to this many bytes, as the seed says, even if there is room for more. Default no limit.
    pub fn max_write(&self, bytes: usize) -> &Self {
        self.pipe().max_write = bytes;
        self
    }

    /// A read gives from 1 to this many bytes, as the seed says; the rest arrives right after it, with an event of its own. Default
    /// no limit.
    pub fn max_read(&self, bytes: usize) -> &Self {
        self.pipe().max_read = bytes;
        self
    }

    /// How long bytes travel that are written from here on. They never overtake earlier ones. Default zero.
    pub fn delay(&self, delay: Duration) -> &Self {
        self.pipe().delay = delay;
        self
    }

    /// Nothing arrives any more, until [`unstall`](Self::unstall) or [`release`](Self::release).
    pub fn stall(&self) -> &Self {
        self.pipe().stalled = true;
        self
    }

    /// Ends a stall.
    pub fn unstall(&self) -> &Self {
        self.pipe().stalled = false;
        self
    }

    /// Lets the next `bytes` arrive now, whatever the delay and through a stall. Returns how many there were.
    pub fn release(&self, bytes: usize) -> usize {
        self.wire.borrow_mut().release(self.sender, bytes)
    }

    /// The receiver sees the end of the stream behind what is in flight; what the sender writes from here on vanishes.
    pub fn cut(&self) -> &Self {
        let mut wire = self.wire.borrow_mut();
        let now = wire.now;
        wire.pipe(self.sender).cut(now);
        drop(wire);
        self
    }

    /// Puts bytes behind what is in flight that the sender did not send: somebody on the way did.
    pub fn inject(&self, bytes: &[u8]) -> &Self {
        let mut wire = self.wire.borrow_mut();
        let now = wire.now;
        wire.pipe(self.sender).push(&[IoSlice::new(bytes)], bytes.len(), now);
        drop(wire);
        self
    }

    /// Bytes that were sent and have not arrived.
    pub fn in_flight(&self) -> usize {
        self.pipe().in_flight()
    }

    /// Bytes that arrived and were not read.
    pub fn unread(&self) -> usize {
        self.pipe().arrived()
    }

    /// Whether the sender has ended this direction.
    pub fn is_ended(&self) -> bool {
        self.pipe().is_ended()
    }

    fn pipe(&self) -> RefMut<'_, Pipe> {
        RefMut::map(self.wire.borrow_mut(), |wire| wire.pipe(self.sender))
    }
}

impl fmt::Debug for LinkDirection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pipe().fmt(f)
    }
}
