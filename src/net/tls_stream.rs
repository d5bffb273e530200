//! TLS over another stream.

use std::cell::Cell;
use std::fmt;
use std::io::{self, IoSlice};
use std::rc::Rc;

use mio::{Interest, Registry, Token};

use crate::buf::{RecvBuffer, ScratchBuffer};
use crate::tls::{MAX_PLAINTEXT, SealError, Session, TlsPeer, WSTlsError, WSTlsInfo};

use super::stream::{Layer, Read, Socket, Stream};

/// What is read at once, in bytes: several full records, and small enough to stay in the cache while it is opened.
const READ_SIZE: usize = 64 * 1024;

/// Plaintext sealed at once, in bytes: what of it the kernel refuses waits sealed.
const SEAL_SIZE: usize = 4 * MAX_PLAINTEXT;

/// Reads from the stream below for one `recv`: a peer whose records bring no plaintext must not
/// keep the loop there.
const MAX_READS: usize = 4;

/// Room in bytes for the rest of a handshake message, which may never come.
const GATHERING_ROOM: usize = 4096;

/// What all TLS streams of a loop use, one at a time, so that an idle one owns no buffer.
#[derive(Default)]
pub(crate) struct TlsShared {
    /// Records that arrived.
    records: Cell<Option<Box<RecvBuffer>>>,
    /// Small pieces of plaintext, gathered to make a record.
    gathered: Cell<Vec<u8>>,
    /// Records that are to leave.
    sealed: Cell<ScratchBuffer>,
    /// Handshakes that servers may still answer now. More than zero only while the loop serves those that asked for a further turn: so
    /// each waits for its turn, and none is overtaken.
    handshakes_left: Cell<usize>,
}

impl TlsShared {
    /// From here on this many handshakes may be answered.
    pub(crate) fn grant_handshakes(&self, handshakes: usize) {
        self.handshakes_left.set(handshakes);
    }

    /// Bytes of capacity that are kept for the next use.
    pub(crate) fn retained(&self) -> usize {
        let records = self.records.take();
        let mut bytes = records.as_ref().map_or(0, |buffer| buffer.capacity());
        self.records.set(records);
        let gathered = self.gathered.take();
        bytes += gathered.capacity();
        self.gathered.set(gathered);
        let sealed = self.sealed.take();
        bytes += sealed.capacity();
        self.sealed.set(sealed);
        bytes
    }

    #[inline]
    #[expect(clippy::unnecessary_box_returns, reason = "a buffer changes hands as one pointer")]
    fn take_records(&self) -> Box<RecvBuffer> {
        self.records.take().unwrap_or_else(|| Box::new(RecvBuffer::with_capacity(READ_SIZE)))
    }

    #[inline]
    fn give_records(&self, mut buffer: Box<RecvBuffer>) {
        // One that gathered a handshake message has another size.
        if (READ_SIZE..=2 * READ_SIZE).contains(&buffer.capacity()) {
            buffer.clear();
            self.records.set(Some(buffer));
        }
    }
}

/// # Invariants
/// - `sealed` holds bytes only while the stream below refuses them.
/// - `rest` holds bytes only while a record, or a message of the TLS handshake, is incomplete.
pub(crate) struct TlsStream {
    below: Stream,
    session: Session,
    whose: TlsPeer,
    shared: Rc<TlsShared>,
    /// Received and not opened.
    rest: Option<Box<RecvBuffer>>,
    /// Sealed; the first `sent` bytes have left.
    sealed: ScratchBuffer,
    sent: usize,
    /// A further read may return something that no event will announce: bytes that the stream below
    /// holds, the end behind `close_notify`, an error.
    unread: bool,
    incoming: Incoming,
    outgoing: Outgoing,
}

#[derive(Debug)]
enum Incoming {
    Open,
    /// The stream below ended behind `close_notify`.
    Closed,
    /// The stream below ended, and nobody has said that it would.
    Truncated,
    /// To be told by the next read; what still arrives is thrown away.
    Failed(Option<WSTlsError>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outgoing {
    Open,
    /// `close_notify` is sealed; the stream below ends when it has left.
    Ending,
    Ended,
}

impl TlsStream {
    /// TLS over `below`. A client's first message leaves as soon as it can.
    pub(crate) fn new(below: Stream, session: Session, whose: TlsPeer, shared: &Rc<TlsShared>) -> Self {
        Self {
            below,
            session,
            whose,
            shared: Rc::clone(shared),
            rest: None,
            sealed: ScratchBuffer::default(),
            sent: 0,
            unread: false,
            incoming: Incoming::Open,
            outgoing: Outgoing::Open,
        }
    }

    /// Sends a client's first message.
    ///
    /// # Errors
    /// `WouldBlock` if bytes of it are left.
    pub(crate) fn begin(&mut self) -> io::Result<()> {
        self.open(&mut RecvBuffer::default(), &mut RecvBuffer::default());
        self.transmit()
    }

    pub(crate) fn info(&self) -> Option<WSTlsInfo> {
        self.session.info()
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// Whether this is a handshake that has to wait until it may be answered.
    pub(crate) fn has_to_wait(&self) -> bool {
        self.is_handshaking() && self.shared.handshakes_left.get() == 0
    }

    /// Sealed bytes that the stream below has refused.
    fn refused(&self) -> usize {
        self.sealed.len() - self.sent
    }

    // --- in ----------------------------------------------------------------------------------------------------------------

    /// Appends plaintext to `buffer`; `Ok(0)` is the end of the stream. Handshake messages are
    /// answered on the way.
    ///
    /// # Errors
    /// `WouldBlock` if no plaintext came; reading has to go on without an event while `unread` is
    /// true.
    fn receive(&mut self, buffer: &mut RecvBuffer) -> io::Result<usize> {
        let before = buffer.len();
        for _ in 0..MAX_READS {
            match &mut self.incoming {
                Incoming::Open => {}
                Incoming::Closed | Incoming::Truncated => return Ok(0),
                Incoming::Failed(error) => {
                    let told = error.take();
                    return told.map_or_else(|| self.discard(), |error| Err(error.into()));
                }
            }
            self.read_below(buffer)?;
            // A fault is told even if the alert cannot leave any more: it is why the other end has gone.
            if let Err(error) = self.transmit()
                && error.kind() != io::ErrorKind::WouldBlock
                && !matches!(self.incoming, Incoming::Failed(_))
            {
                return Err(error);
            }
            if buffer.len() > before {
                return Ok(buffer.len() - before);
            }
            // A full read that brought nothing: other connections and timers come first.
            if self.unread && matches!(self.incoming, Incoming::Open) {
                break;
            }
        }
        self.unread = true;
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Reads once from the stream below.
    fn read_below(&mut self, buffer: &mut RecvBuffer) -> io::Result<()> {
        let mut records = self.take_records();
        let result = match self.receive_records(&mut records) {
            Ok(0) => self.ended(),
            Ok(_) => {
                self.open(&mut records, buffer);
                Ok(())
            }
            Err(error) => Err(error),
        };
        self.keep_or_give(records);
        result
    }

    /// Receives from the stream below; `Ok(0)` is its end. What it leaves unread no event will
    /// announce to this stream either.
    fn receive_records(&mut self, records: &mut RecvBuffer) -> io::Result<usize> {
        let (received, unread) = match self.below.read(records) {
            Read::Data { len, more } => (Ok(len), more),
            Read::Blocked { again } => (Err(io::ErrorKind::WouldBlock.into()), again),
            Read::End => (Ok(0), false),
            Read::Failed(error) => (Err(error), false),
        };
        self.unread = unread;
        received
    }

    /// Returns a buffer with what is not opened yet in front, and room behind it.
    ///
    /// An incomplete record is copied in front of the next read, so that the connection holds no
    /// more than has arrived. An incomplete handshake message, which is longer and may come byte by
    /// byte, stays where it is.
    #[inline]
    #[expect(clippy::unnecessary_box_returns, reason = "a buffer changes hands as one pointer")]
    fn take_records(&mut self) -> Box<RecvBuffer> {
        let Some(mut rest) = self.rest.take() else { return self.shared.take_records() };
        if self.session.is_gathering() {
            if rest.spare() < GATHERING_ROOM / 8 {
                rest.make_room(GATHERING_ROOM);
            }
            return rest;
        }
        let mut records = self.shared.take_records();
        records.extend_from_slice(rest.filled());
        records.make_room(MAX_PLAINTEXT);
        records
    }

    /// Keeps what is not opened yet.
    #[inline]
    fn keep_or_give(&mut self, records: Box<RecvBuffer>) {
        if records.is_empty() {
            return self.shared.give_records(records);
        }
        if self.session.is_gathering() && records.capacity() - records.len() < 2 * GATHERING_ROOM {
            self.rest = Some(records);
            return;
        }
        let mut rest = Box::new(RecvBuffer::with_capacity(records.len()));
        rest.extend_from_slice(records.filled());
        self.rest = Some(rest);
        self.shared.give_records(records);
    }

    /// Opens what is whole in `records`. A fault is left for the next read, so that what came before it is delivered.
    fn open(&mut self, records: &mut RecvBuffer, buffer: &mut RecvBuffer) {
        buffer.make_room(records.len());
        let handshaking = self.session.is_handshaking();
        let waiting = self.refused();
        if handshaking {
            // Behind the handshake there is seldom anything to answer.
            self.take_sealed();
        }
        match self.session.open(records.filled_mut(), buffer, &mut self.sealed) {
            Ok(done) => {
                records.consume(done);
                if self.session.is_peer_closed() {
                    // The end is there to be read, behind what came before it.
                    self.unread = true;
                    self.incoming = Incoming::Closed;
                }
            }
            Err(error) => {
                records.clear();
                self.unread = true;
                self.incoming = Incoming::Failed(Some(WSTlsError::new(error, self.whose)));
            }
        }
        if handshaking && self.session.is_server() && self.refused() > waiting {
            let left = &self.shared.handshakes_left;
            left.set(left.get().saturating_sub(1));
        }
    }

    fn ended(&mut self) -> io::Result<()> {
        if self.session.is_handshaking() {
            let message = "the peer closed the connection during the TLS handshake";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        self.incoming = Incoming::Truncated;
        Ok(())
    }

    /// After a fault: reads and throws away, so that closing the socket does not overtake the alert.
    fn discard(&mut self) -> io::Result<usize> {
        let mut records = self.shared.take_records();
        let received = self.receive_records(&mut records);
        self.shared.give_records(records);
        received
    }

    // --- out ---------------------------------------------------------------------------------------------------------------

    /// Nothing follows an alert that told of a fault, nor is there anything to close before the handshake is done.
    fn seal_close_notify(&mut self) {
        if !matches!(self.incoming, Incoming::Failed(_)) && !self.session.is_handshaking() {
            self.take_sealed();
            self.session.close(rest_of(&mut self.rest), &mut self.sealed);
        }
    }

    fn take_sealed(&mut self) {
        if self.sealed.capacity() == 0 {
            self.sealed = self.shared.sealed.take();
        }
    }

    /// Sends what is sealed. `WouldBlock` if bytes are left, here or in a layer of TLS below.
    fn transmit(&mut self) -> io::Result<()> {
        while self.refused() > 0 {
            self.sent += self.below.write(&self.sealed.filled()[self.sent..])?;
        }
        if self.sealed.capacity() > 0 {
            let mut sealed = std::mem::take(&mut self.sealed);
            self.sent = 0;
            sealed.begin(0);
            self.shared.sealed.set(sealed);
        }
        self.below.flush()
    }
}

impl Layer for TlsStream {
    /// A read may be `Blocked` although more is there: the bound of one read was reached.
    fn read(&mut self, buffer: &mut RecvBuffer) -> Read {
        match self.receive(buffer) {
            Ok(0) => Read::End,
            Ok(len) => Read::Data { len, more: self.unread },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Read::Blocked { again: self.unread },
            Err(error) => Read::Failed(error),
        }
    }

    /// Seals and sends. Returns how many bytes of plaintext were taken: fewer than offered only if the stream below has refused bytes;
    /// those wait, sealed.
    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.session.is_handshaking() {
            self.transmit()?;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if let Incoming::Failed(_) = self.incoming {
            // Nothing may follow the alert.
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.flush()?;
        let mut taken = 0;
        let mut pieces = Pieces::new(slices);
        let mut gathered = self.shared.gathered.take();
        let result = loop {
            let Some(piece) = pieces.next(&mut gathered) else { break Ok(taken) };
            self.take_sealed();
            let rest = rest_of(&mut self.rest);
            if let Err(error) = self.session.seal(piece, rest, &mut self.sealed) {
                break Err(seal_failed(error, self.whose));
            }
            taken += piece.len();
            // Small pieces leave together: one system call for a header and its payload.
            if self.sealed.len() < SEAL_SIZE && !pieces.is_empty() {
                continue;
            }
            match self.transmit() {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(taken),
                Err(error) => break Err(error),
            }
        };
        gathered.clear();
        self.shared.gathered.set(gathered);
        result
    }

    /// Sends what is sealed, and ends the outgoing half behind it if that was asked for.
    ///
    /// # Errors
    /// `WouldBlock` if bytes are left.
    fn flush(&mut self) -> io::Result<()> {
        self.transmit()?;
        if self.outgoing == Outgoing::Ending {
            self.outgoing = Outgoing::Ended;
            self.below.shutdown_write()?;
        }
        Ok(())
    }

    /// Says `close_notify`, and ends the stream below when that has left.
    fn shutdown_write(&mut self) -> io::Result<()> {
        if self.outgoing == Outgoing::Open {
            self.seal_close_notify();
            self.outgoing = Outgoing::Ending;
        }
        match self.flush() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            flushed => flushed,
        }
    }

    /// Says `close_notify`, if it can be said at once: the socket is about to be closed.
    fn part(&mut self) {
        if self.outgoing == Outgoing::Open && self.held() == 0 {
            self.seal_close_notify();
            self.outgoing = Outgoing::Ended;
            if let Err(error) = self.transmit() {
                log::trace!("close_notify: {error}");
            }
            self.below.part();
        }
    }

    fn register(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.below.register(registry, token, interest)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.below.reregister(registry, token, interest)
    }

    /// Sealed bytes that have not left, in this layer and below it.
    fn held(&self) -> usize {
        self.refused() + self.below.held()
    }

    fn take_error(&self) -> Option<io::Error> {
        self.below.take_error()
    }

    /// Returns `true` if the stream below ended without `close_notify`: somebody on the way may
    /// have cut it.
    fn is_truncated(&self) -> bool {
        matches!(self.incoming, Incoming::Truncated)
    }

    fn socket(&self) -> Option<&Socket> {
        self.below.socket()
    }

    fn tls(&self) -> Option<&TlsStream> {
        Some(self)
    }
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream")
            .field("below", &self.below)
            .field("handshaking", &self.is_handshaking())
            .field("incoming", &self.incoming)
            .field("outgoing", &self.outgoing)
            .field("held", &self.held())
            .finish_non_exhaustive()
    }
}

fn rest_of(rest: &mut Option<Box<RecvBuffer>>) -> &mut [u8] {
    rest.as_mut().map_or(&mut [], |rest| rest.filled_mut())
}

fn seal_failed(error: SealError, whose: TlsPeer) -> io::Error {
    match error {
        SealError::NotReady => io::ErrorKind::WouldBlock.into(),
        SealError::Failed(error) => WSTlsError::new(error, whose).into(),
        error @ SealError::Exhausted(_) => io::Error::other(error),
    }
}

/// Cuts plaintext into pieces that make few records: what is short is gathered with what follows, what is long is sealed from where
/// it is.
struct Pieces<'a> {
    slices: &'a [IoSlice<'a>],
    /// Of the first slice, this many bytes are done with.
    at: usize,
}

impl<'a> Pieces<'a> {
    fn new(slices: &'a [IoSlice<'a>]) -> Self {
        Self { slices, at: 0 }
    }

    fn next<'b>(&mut self, gathered: &'b mut Vec<u8>) -> Option<&'b [u8]>
    where
        'a: 'b,
    {
        self.skip_empty();
        let (first, rest) = self.slices.split_first()?;
        let left = &first[self.at..];
        if rest.is_empty() || left.len() >= MAX_PLAINTEXT {
            let whole = if rest.is_empty() { left.len() } else { left.len() - left.len() % MAX_PLAINTEXT };
            let n = whole.min(SEAL_SIZE);
            self.at += n;
            return Some(&left[..n]);
        }
        gathered.clear();
        while gathered.len() < MAX_PLAINTEXT {
            let Some(slice) = self.slices.first() else { break };
            let left = slice.len() - self.at;
            let room = MAX_PLAINTEXT - gathered.len();
            // Of a long slice that needs further records anyway, the part that leaves full ones is
            // enough: those are sealed from where they are.
            let rest = left % MAX_PLAINTEXT;
            let n = if left > room && rest <= room { rest } else { left.min(room) };
            gathered.extend_from_slice(&slice[self.at..self.at + n]);
            self.at += n;
            if n < left {
                break;
            }
            self.skip_empty();
        }
        Some(gathered)
    }

    fn is_empty(&mut self) -> bool {
        self.skip_empty();
        self.slices.is_empty()
    }

    fn skip_empty(&mut self) {
        while let Some((first, rest)) = self.slices.split_first()
            && self.at == first.len()
        {
            self.slices = rest;
            self.at = 0;
        }
    }
}

#[cfg(test)]
mod tests;
