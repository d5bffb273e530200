use std::collections::VecDeque;
use std::io::{Read as _, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use mio::{Events, Poll};

use super::super::stream::{Layer, SocketKind};
use super::*;
use crate::sys;

const TOKEN: Token = Token(7);

/// An end of a socket pair, and the peer's end, neither of which blocks.
fn pair() -> (Io, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    far.set_nonblocking(true).unwrap();
    (io_of(Socket::new(near.into(), SocketKind::Unix)), far)
}

fn io_of(socket: Socket) -> Io {
    Io::new(socket.into())
}

/// A connected TCP socket, and the peer's.
fn tcp() -> (Io, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    near.set_nonblocking(true).unwrap();
    (io_of(Socket::new(near.into(), SocketKind::Tcp)), listener.accept().unwrap().0)
}

/// Returns the number of bytes and whether reading has to go on.
fn data(read: &Read) -> (usize, bool) {
    let Read::Data { len, more } = *read else { panic!("{read:?}") };
    (len, more)
}

fn drain(peer: &mut UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let error = peer.read_to_end(&mut bytes).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    bytes
}

#[test]
fn a_read_that_leaves_room_is_the_last() {
    let (mut io, mut peer) = pair();
    peer.write_all(b"hello").unwrap();
    let mut buffer = RecvBuffer::with_capacity(64);
    assert_eq!(data(&io.read(&mut buffer)), (5, false));
    assert_eq!(buffer.filled(), b"hello");
    assert!(!io.is_unread());
    assert!(matches!(io.read(&mut buffer), Read::Blocked { again: false }));
}

#[test]
fn a_read_that_fills_its_room_has_to_go_on() {
    let (mut io, mut peer) = pair();
    let mut buffer = RecvBuffer::with_capacity(4);
    let room = buffer.spare();
    peer.write_all(&vec![1; room]).unwrap();
    assert_eq!(data(&io.read(&mut buffer)), (room, true));
    assert!(io.is_unread());
    buffer.clear();
    assert!(matches!(io.read(&mut buffer), Read::Blocked { again: false }));
    assert!(!io.is_unread());
}

#[test]
fn an_announced_end_is_read_up_to() {
    let (mut io, mut peer) = pair();
    peer.write_all(b"last").unwrap();
    drop(peer);
    let mut buffer = RecvBuffer::with_capacity(64);
    io.note(true);
    // A later event without the flag takes nothing back.
    io.note(false);
    assert!(io.is_end_ahead());
    assert_eq!(data(&io.read(&mut buffer)), (4, true));
    assert!(io.is_unread());
    assert!(matches!(io.read(&mut buffer), Read::End));
    assert!(!io.is_unread());
}

#[test]
fn bytes_left_unread_count_until_a_read() {
    let (mut io, mut peer) = pair();
    peer.write_all(b"x").unwrap();
    io.leave_unread();
    assert!(io.is_unread());
    assert_eq!(data(&io.read(&mut RecvBuffer::with_capacity(64))), (1, false));
    assert!(!io.is_unread());
}

#[test]
fn a_read_with_a_timestamp_is_a_read() {
    let (mut io, mut peer) = tcp();
    if cfg!(all(target_os = "linux", target_pointer_width = "64")) {
        sys::enable_receive_timestamps(io.tcp().unwrap()).unwrap();
    }
    peer.write_all(b"now").unwrap();
    drop(peer);
    io.note(true);
    let mut buffer = RecvBuffer::with_capacity(64);
    let mut next = || loop {
        match io.read_with_timestamp(&mut buffer).0 {
            Read::Blocked { .. } => std::thread::yield_now(),
            read => break read,
        }
    };
    assert_eq!(data(&next()), (3, true));
    assert!(matches!(next(), Read::End));
    assert_eq!(buffer.filled(), b"now");
}

#[test]
fn a_reset_is_found_without_reading() {
    let (mut io, peer) = tcp();
    // Closing with unread bytes resets the connection.
    io.write(b"unread").unwrap();
    let _ = peer.peek(&mut [0]).unwrap();
    drop(peer);
    assert_eq!(io.take_error().map(|error| error.kind()), Some(io::ErrorKind::ConnectionReset));
    assert!(io.take_error().is_none());
}

#[test]
fn writable_interest_is_armed_once() {
    let mut poll = Poll::new().unwrap();
    let (mut io, mut peer) = pair();
    io.register(poll.registry(), TOKEN, Interest::READABLE).unwrap();
    let mut events = Events::with_capacity(8);
    // Whether the next poll reports room, after interest was set.
    let mut reported = |io: &mut Io, on| {
        io.want_write(poll.registry(), TOKEN, on).unwrap();
        poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
        events.iter().any(|event| event.token() == TOKEN && event.is_writable())
    };
    assert!(!reported(&mut io, false), "nobody asked");
    assert!(reported(&mut io, true), "arming reports what is true");
    // Registering again would report the same room again.
    assert!(!reported(&mut io, true));
    while io.write(&[0; 4096]).is_ok() {}
    drain(&mut peer);
    assert!(reported(&mut io, true), "room after a refusal is news");
    assert!(!reported(&mut io, false));
    while io.write(&[0; 4096]).is_ok() {}
    drain(&mut peer);
    assert!(!reported(&mut io, false));
}

#[test]
fn write_all_from_goes_on_where_it_was_refused() {
    let (mut io, mut peer) = pair();
    let out: Vec<u8> = (0..1_000_000u32).map(|n| n as u8).collect();
    let (mut sent, mut received, mut refusals) = (0, Vec::new(), 0);
    while !io.write_all_from(&out, &mut sent).unwrap() {
        refusals += 1;
        assert!(sent < out.len());
        received.extend(drain(&mut peer));
    }
    received.extend(drain(&mut peer));
    assert!(refusals > 0 && sent == out.len() && received == out);
    assert!(io.write_all_from(&out, &mut sent).unwrap(), "nothing is left");
    drop(peer);
    assert_eq!(io.write_all_from(b"x", &mut 0).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn a_half_close_lets_reading_go_on() {
    let (mut io, mut peer) = pair();
    io.shutdown_write().unwrap();
    assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
    peer.write_all(b"still").unwrap();
    assert_eq!(data(&io.read(&mut RecvBuffer::with_capacity(64))).0, 5);
    assert_eq!(io.write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn only_tcp_has_addresses_and_tcp_options() {
    let (io, peer) = tcp();
    assert_eq!(io.peer_addr().unwrap(), peer.local_addr().unwrap());
    assert_eq!(io.local_addr().unwrap(), peer.peer_addr().unwrap());
    io.tune(SocketOptions { no_delay: true, quick_ack: true });
    assert!(io.socket().unwrap().tcp_nodelay().unwrap());
    let (io, _peer) = pair();
    assert!(io.tcp().is_none() && io.socket().is_some());
    assert_eq!(io.peer_addr().unwrap_err().kind(), io::ErrorKind::Unsupported);
    io.tune(SocketOptions { no_delay: true, quick_ack: true });
}

#[test]
fn a_connect_ends_with_a_peer_or_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let connect = || {
        let socket = sys::begin_connect(addr, |_| Ok(())).unwrap();
        let io = io_of(Socket::new(socket.into(), SocketKind::Tcp));
        loop {
            match io.is_connected() {
                Ok(false) => std::thread::yield_now(),
                outcome => return outcome,
            }
        }
    };
    assert!(connect().unwrap());
    drop(listener);
    assert_eq!(connect().unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
}

/// A layer whose reads and flushes are given.
#[derive(Debug, Default)]
struct Scripted {
    reads: VecDeque<Read>,
    held: usize,
}

impl Layer for Scripted {
    fn read(&mut self, _: &mut RecvBuffer) -> Read {
        self.reads.pop_front().unwrap_or(Read::End)
    }

    /// Takes everything and holds it.
    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let offered = slices.iter().map(|slice| slice.len()).sum();
        self.held += offered;
        Ok(offered)
    }

    /// Sends half of what is held.
    fn flush(&mut self) -> io::Result<()> {
        self.held /= 2;
        if self.held == 0 { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }

    fn held(&self) -> usize {
        self.held
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn register(&mut self, _: &Registry, _: Token, _: Interest) -> io::Result<()> {
        Ok(())
    }

    fn reregister(&mut self, _: &Registry, _: Token, _: Interest) -> io::Result<()> {
        Ok(())
    }

    fn take_error(&self) -> Option<io::Error> {
        None
    }
}

#[test]
fn a_layer_says_by_itself_what_is_unread() {
    let reads = [
        // Records are buffered below: a read may leave room and not be the last.
        Read::Data { len: 1, more: true },
        Read::Blocked { again: true },
        Read::Data { len: 1, more: false },
        Read::Blocked { again: false },
    ];
    let mut io = Io::new(Stream::layer(Scripted { reads: reads.into(), held: 0 }));
    let mut buffer = RecvBuffer::with_capacity(64);
    let mut next = || {
        let read = io.read(&mut buffer);
        (matches!(read, Read::Data { more: true, .. } | Read::Blocked { again: true }), io.is_unread())
    };
    assert_eq!(next(), (true, true));
    assert_eq!(next(), (true, true));
    assert_eq!(next(), (false, false));
    assert_eq!(next(), (false, false));
}

#[test]
fn what_a_layer_holds_has_not_left() {
    let mut io = Io::new(Stream::layer(Scripted::default()));
    let mut sent = 0;
    assert!(!io.write_all_from(b"abcd", &mut sent).unwrap());
    assert_eq!((sent, io.held()), (4, 2));
    assert!(!io.write_all_from(b"abcd", &mut sent).unwrap());
    assert!(io.write_all_from(b"abcd", &mut sent).unwrap());
    assert_eq!((sent, io.held()), (4, 0));
}
