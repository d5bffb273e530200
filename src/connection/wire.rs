//! The protocol of a connection over its stream.

use std::cell::{Ref, RefCell, RefMut};
use std::io::{self, IoSlice};
use std::time::SystemTime;

use crate::buf::RecvBuffer;
use crate::net::{Io, Read};
use crate::proto::{self, SendContext, StreamState};
use crate::runtime::LoopCore;

/// Most pieces of memory handed to the kernel in one call.
const MAX_SLICES: usize = 64;

/// The protocol core and the stream below it. Bytes go from one to the other in here; what follows
/// from them is in the actions of the protocol.
///
/// # Invariants
/// - No borrow is held while user code runs.
/// - There is no stream from the moment the socket is closed, and while it is
///   [lent](Self::take_io).
pub(super) struct Wire(RefCell<Ends>);

struct Ends {
    proto: proto::Connection,
    io: Option<Io>,
}

/// How far [`Wire::write_gathered`] came.
pub(super) enum Gathered {
    /// Nothing waits.
    Left,
    /// The kernel took less than was offered, or nothing.
    InPart { offered: usize, written: io::Result<usize> },
    /// The state asks for more than a write.
    Untried,
}

impl Wire {
    pub(super) fn new(proto: proto::Connection, io: Io) -> Self {
        Self(RefCell::new(Ends { proto, io: Some(io) }))
    }

    #[inline]
    pub(super) fn proto(&self) -> Ref<'_, proto::Connection> {
        Ref::map(self.0.borrow(), |ends| &ends.proto)
    }

    #[inline]
    pub(super) fn proto_mut(&self) -> RefMut<'_, proto::Connection> {
        RefMut::map(self.0.borrow_mut(), |ends| &mut ends.proto)
    }

    /// Calls the protocol with what it borrows from the loop.
    #[inline]
    pub(super) fn with_proto<R>(
        &self,
        core: &LoopCore,
        call: impl FnOnce(&mut proto::Connection, &mut SendContext<'_>) -> R,
    ) -> R {
        let mut out = SendContext { pool: &mut core.pool(), keys: &mut core.keys() };
        call(&mut self.0.borrow_mut().proto, &mut out)
    }

    // --- the stream ----------------------------------------------------------------------------

    /// Calls the stream. `None` if there is none.
    #[inline]
    pub(super) fn with_io<R>(&self, call: impl FnOnce(&mut Io) -> R) -> Option<R> {
        self.0.borrow_mut().io.as_mut().map(call)
    }

    #[inline]
    pub(super) fn has_io(&self) -> bool {
        self.0.borrow().io.is_some()
    }

    pub(super) fn take_io(&self) -> Option<Io> {
        self.0.borrow_mut().io.take()
    }

    pub(super) fn put_io(&self, io: Option<Io>) {
        self.0.borrow_mut().io = io;
    }

    /// What the protocol has to know of the stream.
    pub(super) fn stream_state(&self) -> StreamState {
        let state = self.with_io(|io| StreamState {
            held: io.held(),
            unread: io.is_unread() || io.is_end_ahead(),
            truncated: io.is_truncated(),
        });
        state.unwrap_or_default()
    }

    /// Bytes that wait to be sent, in the queue or in the stream.
    pub(super) fn buffered_amount(&self) -> usize {
        let ends = self.0.borrow();
        ends.proto.queued() + ends.io.as_ref().map_or(0, Io::held)
    }

    /// Bytes that left the queue and wait in the stream.
    fn held(&self) -> usize {
        self.0.borrow().io.as_ref().map_or(0, Io::held)
    }

    // --- reading -------------------------------------------------------------------------------

    /// Reads once. `None` if there is no stream.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "an event costs one; saving registers would cost as much again")]
    pub(super) fn read(&self, buffer: &mut RecvBuffer) -> Option<Read> {
        self.0.borrow_mut().io.as_mut().map(|io| io.read(buffer))
    }

    /// [`read`](Self::read), and when the kernel received the bytes, if it notes that.
    pub(super) fn read_with_timestamp(&self, buffer: &mut RecvBuffer) -> Option<(Read, Option<SystemTime>)> {
        self.with_io(|io| io.read_with_timestamp(buffer))
    }

    // --- writing -------------------------------------------------------------------------------

    /// Writes what was gathered in a dispatch: mostly one piece that the kernel takes whole.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "see `read`")]
    pub(super) fn write_gathered(&self, core: &LoopCore) -> Gathered {
        let Ends { proto, io } = &mut *self.0.borrow_mut();
        let (true, Some(io)) = (proto.is_undisturbed(), io) else { return Gathered::Untried };
        let Some(bytes) = proto.only_piece() else {
            return if proto.queued() == 0 { Gathered::Left } else { Gathered::Untried };
        };
        if !bytes.is_empty() {
            let offered = bytes.len();
            match io.write(bytes) {
                Ok(n) if n == offered => core.metrics().sent(proto.take_queued_frames(), n),
                written => return Gathered::InPart { offered, written },
            }
        }
        proto.only_piece_left(core.pool_cell());
        Gathered::Left
    }

    /// Writes the queue until it is empty or the kernel refuses.
    ///
    /// # Errors
    /// The stream is broken.
    pub(super) fn write(&self, core: &LoopCore) -> io::Result<()> {
        let (offered, written) = {
            let Ends { proto, io } = &mut *self.0.borrow_mut();
            let Some(io) = io else { return Ok(()) };
            if proto.queued() == 0 { (0, io.flush().map(|()| 0)) } else { write_queue(proto, io) }
        };
        self.write_on(offered, written, core)
    }

    /// Goes on after a first write of `offered` bytes.
    ///
    /// # Errors
    /// The stream is broken.
    #[inline(never)]
    pub(super) fn write_on(
        &self,
        mut offered: usize,
        mut written: io::Result<usize>,
        core: &LoopCore,
    ) -> io::Result<()> {
        loop {
            let refused = match written {
                Ok(n) => {
                    self.with_proto(core, |proto, out| {
                        core.metrics().sent(proto.take_queued_frames(), n);
                        proto.consume(n, out);
                    });
                    n < offered || self.held() > 0
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => true,
                Err(error) => return Err(error),
            };
            let left = self.with_proto(core, |proto, out| {
                if refused || proto.queued() == 0 {
                    // May queue a pong that waited for this.
                    proto.handle_refused(refused, out);
                }
                proto.queued()
            });
            if refused || left == 0 {
                return Ok(());
            }
            let Ends { proto, io } = &mut *self.0.borrow_mut();
            let Some(io) = io else { return Ok(()) };
            (offered, written) = write_queue(proto, io);
        }
    }

    /// Returns `true` if the stream is there and takes bytes, as far as is known.
    pub(super) fn takes_bytes(&self) -> bool {
        let ends = self.0.borrow();
        ends.io.is_some() && !ends.proto.is_refused()
    }

    /// Returns `true` if a write can show the queue and `pieces` more to the kernel.
    pub(super) fn shows(&self, pieces: usize) -> bool {
        self.proto().queued_chunks() + pieces <= MAX_SLICES
    }

    /// Writes what waits and then `pieces`, which were admitted, in one system call; copies only
    /// what the kernel refuses. Returns `true` if it refused some.
    ///
    /// # Errors
    /// The stream is broken, or gone.
    pub(super) fn write_through(&self, pieces: &[&[u8]], core: &LoopCore) -> io::Result<bool> {
        let written = {
            let Ends { proto, io } = &mut *self.0.borrow_mut();
            let io = io.as_mut().ok_or(io::ErrorKind::NotConnected)?;
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let count = proto.io_slices(&mut slices[..MAX_SLICES - pieces.len()]);
            for (slot, piece) in slices[count..].iter_mut().zip(pieces) {
                *slot = IoSlice::new(piece);
            }
            // A queue longer than the slices can show must leave first.
            let all_shown = count == proto.queued_chunks();
            if all_shown && !proto.is_refused() {
                io.write_vectored(&slices[..count + pieces.len()])
            } else {
                Ok(0)
            }
        };
        let written = match written {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            written => written?,
        };
        let refused = self.with_proto(core, |proto, out| {
            core.metrics().sent(proto.take_queued_frames(), written);
            let from_queue = written.min(proto.queued());
            let mut from_pieces = written - from_queue;
            // A pong that waited for room may be queued by `consume`. It must come after the pieces.
            for piece in pieces {
                let skip = from_pieces.min(piece.len());
                from_pieces -= skip;
                if skip < piece.len() {
                    proto.enqueue_raw(&piece[skip..], out.pool);
                }
            }
            if from_queue > 0 {
                proto.consume(from_queue, out);
            }
            proto.queued() > 0
        });
        let refused = refused || self.held() > 0;
        self.with_proto(core, |proto, out| proto.handle_refused(refused, out));
        Ok(refused)
    }
}

/// Hands the queue to the kernel, as much of it as fits into one call. Returns how many bytes that
/// were.
fn write_queue(proto: &proto::Connection, io: &mut Io) -> (usize, io::Result<usize>) {
    if proto.queued_chunks() == 1 {
        let bytes = proto.first_slice();
        return (bytes.len(), io.write(bytes));
    }
    let mut slices = [IoSlice::new(&[]); MAX_SLICES];
    let count = proto.io_slices(&mut slices);
    let offered = slices[..count].iter().map(|slice| slice.len()).sum();
    (offered, io.write_vectored(&slices[..count]))
}
