//! What the two ends of a simulated link share, and the one that the loop holds.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::time::Instant;

use mio::{Interest, Registry};

use crate::buf::RecvBuffer;
use crate::net::{Layer, Read};
use crate::proto::Role;
use crate::runtime::{Readiness, Token};

use super::Random;
use super::pipe::Pipe;

/// Both directions and both ends of a link.
///
/// It behaves as TCP and epoll in edge-triggered mode do on Linux: an end becomes *armed* when something changes for it, and an armed
/// end reports all that is true for it at that time, once.
#[derive(Debug)]
pub(super) struct Wire {
    ends: [End; 2],
    /// What the client writes, what the server writes.
    pipes: [Pipe; 2],
    pub(super) now: Instant,
    pub(super) random: Random,
    /// Percent of reads during which bytes arrive that no event announced before.
    pub(super) late_arrivals: usize,
}

/// One end, as the kernel sees a socket.
#[derive(Debug, Default)]
struct End {
    token: Option<Token>,
    writable_interest: bool,
    /// Something changed since the last report.
    armed: bool,
    /// A write was refused, wholly or in part: room will be reported.
    wants_room: bool,
    closed: bool,
    shut_write: bool,
    reset: Reset,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reset {
    #[default]
    No,
    /// The next call reports it.
    Unreported,
    Reported,
}

fn index(role: Role) -> usize {
    match role {
        Role::Client => 0,
        Role::Server => 1,
    }
}

pub(super) fn other(role: Role) -> Role {
    match role {
        Role::Client => Role::Server,
        Role::Server => Role::Client,
    }
}

impl Wire {
    pub(super) fn new(now: Instant, random: Random) -> Self {
        Self {
            ends: [End::default(), End::default()],
            pipes: [Pipe::new(), Pipe::new()],
            now,
            random,
            late_arrivals: 0,
        }
    }

    /// The direction that starts at `from`.
    pub(super) fn pipe(&mut self, from: Role) -> &mut Pipe {
        &mut self.pipes[index(from)]
    }

    fn end(&mut self, role: Role) -> &mut End {
        &mut self.ends[index(role)]
    }

    pub(super) fn token(&self, role: Role) -> Option<Token> {
        self.ends[index(role)].token
    }

    pub(super) fn is_closed(&self, role: Role) -> bool {
        self.ends[index(role)].closed
    }

    /// Lets arrive what is due, and finds out who can write again.
    pub(super) fn pump(&mut self) {
        for from in [Role::Client, Role::Server] {
            let now = self.now;
            if self.pipe(from).pump(now) {
                self.arrived(from);
            }
            self.report_room(from);
        }
    }

    /// Lets `n` bytes through a stalled direction.
    pub(super) fn release(&mut self, from: Role, n: usize) -> usize {
        let released = self.pipe(from).arrive(n);
        if released > 0 {
            self.arrived(from);
        }
        released
    }

    /// New bytes, or the end, are where the reader can see them.
    fn arrived(&mut self, from: Role) {
        let to = other(from);
        if !self.end(to).closed {
            self.end(to).armed = true;
        } else if self.pipe(from).arrived() > 0 {
            // Nobody will read them: the kernel answers with a reset, which comes behind what is in flight already.
            self.pipe(from).lose_arrived();
            let now = self.now;
            self.pipe(to).ends_in_reset = true;
            self.pipe(to).finish(now);
        }
        if self.pipe(to).ends_in_reset && self.pipe(to).has_end_arrived() {
            self.reset_end(from);
        }
        if self.pipe(from).ends_in_reset && self.pipe(from).has_end_arrived() {
            self.reset_end(to);
        }
    }

    fn report_room(&mut self, role: Role) {
        if self.end(role).wants_room && self.pipe(role).room() > 0 {
            let end = self.end(role);
            end.wants_room = false;
            end.armed = true;
        }
    }

    /// Breaks the link for both ends. What has arrived can still be read.
    pub(super) fn reset(&mut self) {
        for role in [Role::Client, Role::Server] {
            self.reset_end(role);
        }
    }

    fn reset_end(&mut self, role: Role) {
        self.pipe(role).lose_flying();
        self.pipe(other(role)).lose_flying();
        let end = self.end(role);
        if !end.closed && end.reset == Reset::No {
            end.reset = Reset::Unreported;
            end.armed = true;
        }
    }

    /// An event without a reason.
    pub(super) fn spurious(&mut self, role: Role) -> Option<(Token, Readiness)> {
        let end = self.end(role);
        let token = end.token.filter(|_| !end.closed)?;
        Some((token, Readiness { readable: true, writable: end.writable_interest, read_closed: false }))
    }

    /// What an armed end has to report.
    pub(super) fn take_event(&mut self, role: Role) -> Option<(Token, Readiness)> {
        if !std::mem::take(&mut self.end(role).armed) {
            return None;
        }
        let incoming = self.pipe(other(role));
        let (has_bytes, has_end) = (incoming.arrived() > 0, incoming.has_end_arrived());
        let has_room = self.pipe(role).room() > 0;
        let end = self.end(role);
        let token = end.token.filter(|_| !end.closed)?;
        let reset = end.reset != Reset::No;
        let readiness = Readiness {
            readable: has_bytes || has_end || reset,
            writable: end.writable_interest && (has_room || reset),
            read_closed: has_end || reset,
        };
        (readiness != Readiness::default()).then_some((token, readiness))
    }

    /// Whether an end has something to report, or bytes arrive without the clock moving.
    pub(super) fn is_active(&self) -> bool {
        self.ends.iter().any(|end| end.armed && !end.closed && end.token.is_some())
            || self.pipes.iter().any(|pipe| pipe.next_due().is_some_and(|due| due <= self.now))
            || (0..2).any(|i| self.ends[i].wants_room && !self.ends[i].closed && self.pipes[i].room() > 0)
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.pipes.iter().filter_map(Pipe::next_due).min()
    }

    fn close(&mut self, role: Role) {
        let unread = self.pipe(other(role)).arrived() > 0;
        let broken = self.end(role).reset != Reset::No;
        self.end(role).closed = true;
        self.pipe(other(role)).lose_arrived();
        if broken {
            return;
        }
        if unread {
            // As Linux does: bytes that nobody has read make a reset, and what is in flight arrives in part.
            let in_flight = self.pipe(role).in_flight();
            let survives = self.random.below(in_flight + 1);
            self.pipe(role).arrive(survives);
            self.reset_end(other(role));
        } else {
            let now = self.now;
            self.pipe(role).finish(now);
        }
    }
}

/// One end of a simulated link, as a connection of the loop holds it. Dropping it closes that end.
pub(crate) struct SimStream {
    pub(super) wire: Rc<RefCell<Wire>>,
    pub(super) role: Role,
}

impl SimStream {
    /// Receives what has arrived; `Ok(0)` is the end of the stream.
    pub(super) fn recv_with(&mut self, room: usize, take: impl FnMut(&[u8])) -> io::Result<usize> {
        let mut wire = self.wire.borrow_mut();
        let late = wire.late_arrivals;
        if wire.random.chance(late) {
            wire.pump();
        }
        let (sender, now_reset) = (other(self.role), wire.end(self.role).reset);
        let incoming = wire.pipe(sender);
        let (arrived, ended, max_read) = (incoming.arrived(), incoming.has_end_arrived(), incoming.max_read);
        if arrived > 0 {
            let short = max_read < arrived && !ended && now_reset == Reset::No;
            let limit = if short { 1 + wire.random.below(max_read) } else { usize::MAX };
            let n = wire.pipe(sender).pull(room.min(limit), take);
            // A short read: the rest behaves as if it arrived right after.
            wire.end(self.role).armed |= short;
            return Ok(n);
        }
        match now_reset {
            Reset::Unreported => {
                wire.end(self.role).reset = Reset::Reported;
                Err(io::ErrorKind::ConnectionReset.into())
            }
            Reset::Reported => Ok(0),
            Reset::No if ended => Ok(0),
            Reset::No => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Reports to this token from here on; what is true now is reported too, as the kernel does.
    fn set_interest(&mut self, token: Token, interest: Interest) {
        let mut wire = self.wire.borrow_mut();
        let end = wire.end(self.role);
        end.token = Some(token);
        end.writable_interest = interest.is_writable();
        end.armed = true;
    }
}

impl Layer for SimStream {
    fn read(&mut self, buffer: &mut RecvBuffer) -> Read {
        let room = buffer.spare();
        Read::of(self.recv_with(room, |part| buffer.extend_from_slice(part)), room)
    }

    /// Sends as much as there is room for.
    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut wire = self.wire.borrow_mut();
        let now = wire.now;
        let end = wire.end(self.role);
        match end.reset {
            Reset::Unreported => {
                end.reset = Reset::Reported;
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            Reset::Reported => return Err(io::ErrorKind::BrokenPipe.into()),
            Reset::No if end.shut_write => return Err(io::ErrorKind::BrokenPipe.into()),
            Reset::No => {}
        }
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        let max_write = wire.pipe(self.role).max_write;
        let limit = if max_write < offered { 1 + wire.random.below(max_write) } else { usize::MAX };
        let room = wire.pipe(self.role).room();
        let taken = wire.pipe(self.role).push(slices, offered.min(room).min(limit), now);
        wire.end(self.role).wants_room |= taken < offered;
        if taken == 0 && offered > 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }

    /// Ends the outgoing half.
    fn shutdown_write(&mut self) -> io::Result<()> {
        let mut wire = self.wire.borrow_mut();
        let now = wire.now;
        if wire.end(self.role).reset != Reset::No {
            return Err(io::ErrorKind::NotConnected.into());
        }
        wire.end(self.role).shut_write = true;
        wire.pipe(self.role).finish(now);
        Ok(())
    }

    /// The simulated network reports readiness by itself, without a poll.
    fn register(&mut self, _: &Registry, token: mio::Token, interest: Interest) -> io::Result<()> {
        self.set_interest(Token::from_mio(token), interest);
        Ok(())
    }

    fn reregister(&mut self, registry: &Registry, token: mio::Token, interest: Interest) -> io::Result<()> {
        self.register(registry, token, interest)
    }

    /// Takes the error of the socket, if it has one.
    fn take_error(&self) -> Option<io::Error> {
        let reset = &mut self.wire.borrow_mut().ends[index(self.role)].reset;
        (*reset == Reset::Unreported).then(|| {
            *reset = Reset::Reported;
            io::ErrorKind::ConnectionReset.into()
        })
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.wire.borrow_mut().close(self.role);
    }
}

impl fmt::Debug for SimStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimStream").field("role", &self.role).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READABLE: Readiness = Readiness { readable: true, writable: false, read_closed: false };

    /// Client and server, registered for everything; what is true at first was reported.
    fn ends() -> (Rc<RefCell<Wire>>, SimStream, SimStream) {
        let wire = Rc::new(RefCell::new(Wire::new(Instant::now(), Random::new(0))));
        let mut ends = [Role::Client, Role::Server].map(|role| SimStream { wire: Rc::clone(&wire), role });
        for (end, token) in ends.iter_mut().zip(1..) {
            end.set_interest(Token::from_mio(mio::Token(token)), Interest::READABLE | Interest::WRITABLE);
            assert!(event(&wire, end.role).is_some_and(|readiness| readiness.writable));
        }
        let [client, server] = ends;
        (wire, client, server)
    }

    fn event(wire: &Rc<RefCell<Wire>>, role: Role) -> Option<Readiness> {
        let mut wire = wire.borrow_mut();
        wire.pump();
        wire.take_event(role).map(|(_, readiness)| readiness)
    }

    fn send(stream: &mut SimStream, bytes: &[u8]) -> Result<usize, io::ErrorKind> {
        stream.write(&[IoSlice::new(bytes)]).map_err(|error| error.kind())
    }

    fn recv(stream: &mut SimStream, room: usize) -> Result<Vec<u8>, io::ErrorKind> {
        let mut out = Vec::new();
        stream.recv_with(room, |part| out.extend_from_slice(part)).map_err(|error| error.kind())?;
        Ok(out)
    }

    #[test]
    fn news_are_told_once() {
        let (wire, mut client, mut server) = ends();
        assert_eq!(event(&wire, Role::Server), None);
        assert_eq!(send(&mut client, b"abc"), Ok(3));
        assert_eq!(event(&wire, Role::Server), Some(Readiness { writable: true, ..READABLE }));
        assert_eq!(event(&wire, Role::Server), None, "unread bytes are no news");
        assert_eq!(recv(&mut server, 2), Ok(b"ab".to_vec()));
        assert_eq!(event(&wire, Role::Server), None);
        server.set_interest(Token::from_mio(mio::Token(2)), Interest::READABLE);
        assert_eq!(event(&wire, Role::Server), Some(READABLE), "but registering asks anew");
        assert_eq!(recv(&mut server, 9), Ok(b"c".to_vec()));
        assert_eq!(recv(&mut server, 9), Err(io::ErrorKind::WouldBlock));
    }

    #[test]
    fn room_is_told_to_who_was_refused() {
        let (wire, mut client, mut server) = ends();
        wire.borrow_mut().pipe(Role::Client).capacity = 3;
        assert_eq!(send(&mut client, b"abcd"), Ok(3));
        assert_eq!(send(&mut client, b"d"), Err(io::ErrorKind::WouldBlock));
        assert_eq!(recv(&mut server, 9), Err(io::ErrorKind::WouldBlock), "nothing arrives between turns");
        assert_eq!(event(&wire, Role::Client), None);
        assert!(event(&wire, Role::Server).is_some());
        assert_eq!(recv(&mut server, 9), Ok(b"abc".to_vec()));
        assert!(event(&wire, Role::Client).is_some_and(|readiness| readiness.writable));
        assert_eq!(event(&wire, Role::Client), None);
    }

    #[test]
    fn closing_with_unread_bytes_resets() {
        let (wire, mut client, mut server) = ends();
        send(&mut client, b"unread").unwrap();
        send(&mut server, b"arrived").unwrap();
        wire.borrow_mut().pump();
        drop(server);
        let readiness = event(&wire, Role::Client).unwrap();
        assert!(readiness.readable && readiness.read_closed);
        assert_eq!(recv(&mut client, 99), Ok(b"arrived".to_vec()), "what had arrived can be read");
        assert_eq!(recv(&mut client, 99), Err(io::ErrorKind::ConnectionReset));
        assert_eq!(recv(&mut client, 99), Ok(Vec::new()));
        assert_eq!(send(&mut client, b"more"), Err(io::ErrorKind::BrokenPipe));
    }

    #[test]
    fn bytes_to_a_closed_end_reset_behind_what_it_sent() {
        let (wire, mut client, mut server) = ends();
        wire.borrow_mut().pipe(Role::Server).stalled = true;
        send(&mut server, b"last words").unwrap();
        drop(server);
        assert_eq!(send(&mut client, b"too late"), Ok(8));
        assert_eq!(event(&wire, Role::Client), None);
        wire.borrow_mut().pipe(Role::Server).stalled = false;
        assert!(event(&wire, Role::Client).is_some_and(|readiness| readiness.read_closed));
        assert_eq!(recv(&mut client, 99), Ok(b"last words".to_vec()));
        assert_eq!(recv(&mut client, 99), Err(io::ErrorKind::ConnectionReset));
    }
}
