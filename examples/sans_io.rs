//! The protocol without the loop: a blocking WebSocket over anything that reads and writes. Client
//! and server talk over a socket pair, on two threads.
//!
//! `cargo run --example sans_io`

use std::error::Error;
use std::io::{self, IoSlice, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use femtows::buf::BufferPool;
use femtows::handshake::{
    ClientHandshake, ClientHandshakeConfig, ClientProgress, HandshakeLimits, ServerHandshake, ServerProgress,
    encode_default_switching,
};
use femtows::mask::MaskKeys;
use femtows::proto::{
    Action, Connection, Disposition, Payload, Role, Rules, SendContext, SendOptions, StreamState,
    WSCloseCode, WSDisconnectCause, WSDisconnectInfo, WSMsgType,
};

/// A blocking connection. It sends PONG and answers CLOSE by itself.
struct Blocking<S> {
    stream: S,
    connection: Connection,
    received: Vec<u8>,
    pool: BufferPool,
    keys: MaskKeys,
    ended: Option<WSDisconnectInfo>,
}

impl<S: Read + Write> Blocking<S> {
    /// Opens the connection as a client.
    fn connect(mut stream: S, host: &str, path: &str) -> Result<Self, Box<dyn Error>> {
        let mut nonce = [0; 16];
        MaskKeys::new().fill(&mut nonce);
        let mut handshake = ClientHandshake::new(ClientHandshakeConfig::new(host, path), nonce)?;
        stream.write_all(handshake.request_bytes())?;
        let mut received = Vec::new();
        loop {
            read(&mut stream, &mut received)?;
            if let ClientProgress::Accepted { consumed, .. } = handshake.receive(&received)? {
                received.drain(..consumed);
                return Ok(Self::open(stream, Role::Client, received));
            }
        }
    }

    /// Opens the connection as a server, for any path.
    fn accept(mut stream: S) -> Result<Self, Box<dyn Error>> {
        let mut handshake = ServerHandshake::new(HandshakeLimits::default());
        let (mut received, mut response) = (Vec::new(), Vec::new());
        loop {
            read(&mut stream, &mut received)?;
            match handshake.receive(&received) {
                ServerProgress::Incomplete => {}
                ServerProgress::Request { request, consumed } => {
                    encode_default_switching(&request, &mut response)?;
                    stream.write_all(&response)?;
                    received.drain(..consumed);
                    return Ok(Self::open(stream, Role::Server, received));
                }
                ServerProgress::Reject(refusal) => {
                    refusal.encode(&mut response);
                    stream.write_all(&response)?;
                    return Err("a bad request".into());
                }
            }
        }
    }

    fn open(stream: S, role: Role, received: Vec<u8>) -> Self {
        let connection = Connection::new(role, Arc::new(Rules::default()));
        let (pool, keys) = (BufferPool::new(1 << 20), MaskKeys::new());
        Self { stream, connection, received, pool, keys, ended: None }
    }

    /// Calls the connection, then writes what it has queued and does what it asks for.
    fn call<R>(
        &mut self,
        call: impl FnOnce(&mut Connection, Instant, &mut SendContext<'_>) -> R,
    ) -> io::Result<R> {
        let mut out = SendContext { pool: &mut self.pool, keys: &mut self.keys };
        let result = call(&mut self.connection, Instant::now(), &mut out);
        self.write()?;
        while let Some(action) = self.connection.poll_action(Instant::now(), StreamState::default()) {
            match action {
                Action::Write => self.write()?,
                // `Write` has no half-close, so the end of TCP is all there is.
                Action::ShutdownWrite => _ = self.connection.abort(WSDisconnectCause::Closed),
                Action::Disconnected(info) => self.ended = Some(info),
                // A blocking stream takes everything, and these rules need no timer and no events.
                _ => {}
            }
        }
        Ok(result)
    }

    fn write(&mut self) -> io::Result<()> {
        loop {
            let mut slices = [IoSlice::new(&[]); 8];
            let filled = self.connection.io_slices(&mut slices);
            if filled == 0 {
                return Ok(());
            }
            let written = self.stream.write_vectored(&slices[..filled])?;
            let mut out = SendContext { pool: &mut self.pool, keys: &mut self.keys };
            self.connection.consume(written, &mut out);
        }
    }

    fn send(&mut self, msg_type: WSMsgType, payload: &[u8]) -> Result<(), Box<dyn Error>> {
        let payload = Payload::Borrowed(payload);
        self.call(|connection, _, out| connection.send(msg_type, payload, SendOptions::default(), out))?
            .map_err(|reason| format!("not sent: {reason:?}").into())
    }

    fn close(&mut self, code: WSCloseCode, reason: &str) -> io::Result<bool> {
        self.call(|connection, now, out| connection.send_close(code, reason, now, out))
    }

    /// Waits for the next data frame. `None` when the connection has ended.
    fn receive(&mut self) -> io::Result<Option<(WSMsgType, Vec<u8>)>> {
        while self.ended.is_none() {
            if !self.connection.is_receiving() {
                self.received.clear();
            }
            let polled =
                if self.received.is_empty() { Ok(None) } else { self.connection.poll(&mut self.received) };
            let head = match polled {
                Ok(Some(head)) => head,
                Ok(None) => {
                    if read(&mut self.stream, &mut self.received).is_err() {
                        self.call(|connection, _, _| connection.handle_end())?;
                    }
                    continue;
                }
                Err(error) => {
                    let cause = WSDisconnectCause::ProtocolError;
                    self.call(|connection, now, out| connection.fail(&error, cause, now, out))?;
                    continue;
                }
            };
            let frame: Vec<u8> = self.received.drain(..head.wire_len()).collect();
            let (msg_type, payload) = (head.header.msg_type(), &frame[head.header.header_len()..]);
            if !msg_type.is_control() {
                return Ok(Some((msg_type, payload.to_vec())));
            }
            self.call(|connection, now, out| match connection.handle_control(msg_type, payload, out) {
                Ok(Disposition::Deliver) => connection.auto_close(now, out),
                Ok(Disposition::Consumed) => {}
                Err(error) => _ = connection.fail(&error, WSDisconnectCause::ProtocolError, now, out),
            })?;
        }
        Ok(None)
    }
}

/// Adds what arrives next.
fn read(stream: &mut impl Read, received: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = [0; 4096];
    let n = stream.read(&mut buffer)?;
    if n == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    received.extend_from_slice(&buffer[..n]);
    Ok(())
}

fn serve(stream: UnixStream) -> Result<WSDisconnectInfo, String> {
    let echo = || -> Result<_, Box<dyn Error>> {
        let mut server = Blocking::accept(stream)?;
        while let Some((msg_type, payload)) = server.receive()? {
            server.send(msg_type, &payload)?;
        }
        server.ended.ok_or_else(|| "no end".into())
    };
    echo().map_err(|error| error.to_string())
}

fn main() -> Result<(), Box<dyn Error>> {
    let (one, other) = UnixStream::pair()?;
    let server = thread::spawn(|| serve(other));
    let mut client = Blocking::connect(one, "localhost", "/echo")?;
    client.send(WSMsgType::Ping, b"")?;
    for payload in [&b"Hello"[..], &vec![7; 100_000]] {
        client.send(WSMsgType::Binary, payload)?;
        let (_, echoed) = client.receive()?.ok_or("the server has closed")?;
        assert_eq!(echoed, payload);
        println!("{} bytes came back", echoed.len());
    }
    client.close(WSCloseCode::OK, "done")?;
    assert_eq!(client.receive()?, None);
    let (here, there) = (client.ended.ok_or("no end")?, server.join().expect("no panic")?);
    println!("client: {here}\nserver: {there}");
    assert_eq!((here.code, there.code), (WSCloseCode::OK, WSCloseCode::OK));
    Ok(())
}
