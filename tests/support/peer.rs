//! Both ends of a connection on a blocking socket, without any help of the library.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::PATIENCE;
#[cfg(feature = "tls")]
use super::secure::Session;
use super::wire::{Frame, PING, PONG};

/// The key of every client here: that of RFC 6455 section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// One end of a TCP connection, or of TLS over it. Every wait is bounded; what does not come is a panic.
///
/// Dropped, it closes TCP without a word, and so without `close_notify`.
pub(crate) struct Peer {
    stream: TcpStream,
    #[cfg(feature = "tls")]
    session: Option<Box<Session>>,
    received: Vec<u8>,
    /// Whether this is the client.
    masks: bool,
}

/// A listening socket whose connections are served by hand.
pub(crate) struct PeerServer {
    socket: TcpListener,
}

impl PeerServer {
    pub(crate) fn bind() -> Self {
        Self { socket: TcpListener::bind(("127.0.0.1", 0)).unwrap() }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("ws://{}{path}", self.addr())
    }

    /// TCP only.
    pub(crate) fn accept_tcp(&self) -> Peer {
        Peer::new(self.socket.accept().unwrap().0, false)
    }

    /// The opening handshake too; the head of the request comes with it.
    pub(crate) fn accept_asked(&self) -> (Peer, String) {
        let mut peer = self.accept_tcp();
        let request = peer.read_head();
        let key = header(&request, "Sec-WebSocket-Key").expect("a client sends a key");
        peer.write(switching(&key, "").as_bytes());
        (peer, request)
    }

    /// The opening handshake too.
    pub(crate) fn accept(&self) -> Peer {
        self.accept_asked().0
    }
}

/// The 101 response to a request with this key; `extra` holds whole header lines.
pub(crate) fn switching(key: &str, extra: &str) -> String {
    let digest = sha1_smol::Sha1::from(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")).digest().bytes();
    let accept = STANDARD.encode(digest);
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{extra}\r\n"
    )
}

/// A request to upgrade; `extra` holds whole header lines.
pub(crate) fn upgrade_request(path: &str, extra: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{extra}\r\n"
    )
}

/// The value of a header in a head.
pub(crate) fn header(head: &str, name: &str) -> Option<String> {
    let fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let mut values =
        fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim());
    let value = values.next().map(str::to_owned);
    assert_eq!(values.next(), None, "{name} twice");
    value
}

/// The status of a response.
pub(crate) fn status(head: &str) -> u16 {
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    status.unwrap_or_else(|| panic!("not a response: {head:?}")).parse().unwrap()
}

impl Peer {
    fn new(stream: TcpStream, masks: bool) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            #[cfg(feature = "tls")]
            session: None,
            received: Vec::new(),
            masks,
        }
    }

    /// TLS from here on; its handshake is done now.
    #[cfg(feature = "tls")]
    pub(crate) fn secured(mut self, mut session: Session) -> Self {
        session.handshake(&mut self.stream).unwrap();
        self.session = Some(Box::new(session));
        self
    }

    /// A client with TCP only.
    pub(crate) fn connect_tcp(addr: SocketAddr) -> Self {
        Self::new(TcpStream::connect_timeout(&addr, PATIENCE).unwrap(), true)
    }

    /// A client on a socket that is connected.
    pub(crate) fn client_on(stream: TcpStream) -> Self {
        Self::new(stream, true)
    }

    /// A client with the opening handshake done.
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        Self::connect_tcp(addr).upgraded()
    }

    /// The client's side of the opening handshake.
    pub(crate) fn upgraded(mut self) -> Self {
        let head = self.ask(&upgrade_request("/", ""));
        assert_eq!(status(&head), 101, "{head}");
        assert_eq!(header(&head, "Sec-WebSocket-Accept").as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        self
    }

    /// Sends a request and reads the head of the response.
    pub(crate) fn ask(&mut self, request: &str) -> String {
        self.write(request.as_bytes());
        self.read_head()
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.send_bytes(bytes).unwrap();
    }

    /// As [`write`](Self::write), for when the other end may have gone.
    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> bool {
        self.send_bytes(bytes).is_ok()
    }

    fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        #[cfg(feature = "tls")]
        if let Some(session) = &mut self.session {
            return session.write(&mut self.stream, bytes);
        }
        self.stream.write_all(bytes)
    }

    /// Bytes for TCP itself, past TLS.
    pub(crate) fn write_raw(&mut self, bytes: &[u8]) {
        assert!(self.try_write_raw(bytes), "the other end has gone");
    }

    /// As [`write_raw`](Self::write_raw), for when the other end may have gone.
    pub(crate) fn try_write_raw(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// The TLS session, to make records of its own.
    #[cfg(feature = "tls")]
    pub(crate) fn session(&mut self) -> &mut Session {
        self.session.as_mut().expect("a peer over TLS")
    }

    /// The frame as this end sends it.
    pub(crate) fn encode(&self, frame: &Frame) -> Vec<u8> {
        frame.encode(self.masks.then_some([0x37, 0xfa, 0x21, 0x3d]))
    }

    pub(crate) fn send(&mut self, frame: &Frame) {
        let bytes = self.encode(frame);
        self.write(&bytes);
    }

    /// Sends a PING behind `before`, in one piece, and waits for its PONG: `before` was received.
    pub(crate) fn send_and_sync(&mut self, before: &[Frame]) {
        let mut bytes: Vec<u8> = before.iter().flat_map(|frame| self.encode(frame)).collect();
        bytes.extend(self.encode(&Frame::new(PING, "sync")));
        self.write(&bytes);
        assert_eq!(self.read_frame(), Frame::new(PONG, "sync"));
    }

    pub(crate) fn read_head(&mut self) -> String {
        String::from_utf8(self.read_past_empty_line()).unwrap()
    }

    /// Bytes up to and with an empty line.
    pub(crate) fn read_past_empty_line(&mut self) -> Vec<u8> {
        loop {
            if let Some(end) = self.received.windows(4).position(|window| window == b"\r\n\r\n") {
                return self.received.drain(..end + 4).collect();
            }
            assert!(self.fill(), "EOF inside a head: {:?}", String::from_utf8_lossy(&self.received));
        }
    }

    /// The next bytes, as many as `len`.
    pub(crate) fn read_bytes(&mut self, len: usize) -> Vec<u8> {
        while self.received.len() < len {
            assert!(self.fill(), "EOF before {len} bytes: {:?}", self.received);
        }
        self.received.drain(..len).collect()
    }

    /// As [`read_head`](Self::read_head); `None` if the other end closes or resets instead of saying a word.
    pub(crate) fn try_read_head(&mut self) -> Option<String> {
        match self.stream.peek(&mut [0]) {
            Ok(0) => None,
            Ok(_) => Some(self.read_head()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn read_frame(&mut self) -> Frame {
        self.next_frame().expect("a frame, not EOF")
    }

    /// A frame that has been received whole.
    pub(crate) fn take_frame(&mut self) -> Option<Frame> {
        let (frame, len) = Frame::decode(&self.received, !self.masks)?;
        self.received.drain(..len);
        Some(frame)
    }

    /// `None` at EOF.
    pub(crate) fn next_frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.take_frame() {
                return Some(frame);
            }
            if !self.fill() {
                assert!(self.received.is_empty(), "EOF inside a frame");
                return None;
            }
        }
    }

    /// All that comes before EOF.
    pub(crate) fn read_to_eof(&mut self) -> Vec<u8> {
        while self.fill() {}
        std::mem::take(&mut self.received)
    }

    /// EOF is next: not a byte, not a reset.
    pub(crate) fn expect_eof(&mut self) {
        let rest = self.read_to_eof();
        assert!(rest.is_empty(), "{} bytes before EOF: {:?}", rest.len(), &rest[..rest.len().min(80)]);
    }

    /// The end of TCP is next, as EOF or as a reset.
    pub(crate) fn expect_gone(&mut self) {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// For `time` nothing comes, not even EOF.
    pub(crate) fn expect_silence(&mut self, time: Duration) {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let result = self.stream.read(&mut [0; 1]);
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        match result {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            other => panic!("not silent: {other:?}"),
        }
    }

    /// Ends the outgoing half, behind `close_notify` if there is TLS.
    pub(crate) fn shutdown_write(&mut self) {
        assert!(self.try_shutdown_write(), "the other end has gone already");
    }

    /// As [`shutdown_write`](Self::shutdown_write), for when the other end may have gone.
    pub(crate) fn try_shutdown_write(&mut self) -> bool {
        #[cfg(feature = "tls")]
        if let Some(session) = &mut self.session {
            let alert = session.close_notify();
            if self.stream.write_all(&alert).is_err() {
                return false;
            }
        }
        self.stream.shutdown(Shutdown::Write).is_ok()
    }

    /// Ends the outgoing half of TCP, without `close_notify`.
    pub(crate) fn cut_write(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Goes with a RST.
    pub(crate) fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Whether more bytes came; false at EOF.
    fn fill(&mut self) -> bool {
        self.try_fill().unwrap()
    }

    /// As [`fill`](Self::fill), with what went wrong.
    pub(crate) fn try_fill(&mut self) -> io::Result<bool> {
        let mut buffer = vec![0; 64 * 1024];
        let n = self.receive_bytes(&mut buffer)?;
        self.received.extend(&buffer[..n]);
        Ok(n > 0)
    }

    fn receive_bytes(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        #[cfg(feature = "tls")]
        if let Some(session) = &mut self.session {
            return session.read(&mut self.stream, buffer);
        }
        self.stream.read(buffer)
    }
}
