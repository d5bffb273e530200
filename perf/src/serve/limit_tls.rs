//! `limit` over TLS: what the kernel and rustls allow. A raw epoll echo that knows of WebSocket the opening handshake only.
//!
//! The bytes in the records go back as they came, still masked. Per event it makes one `recv`, opens all records that are complete,
//! seals what was in them into as few records as hold it, and makes one `send`.

use std::io::{ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;

use crate::handshake;
use crate::sys::{Epoll, Event, Events, Wait};
use crate::tls::{Buffers, Outgoing, Session};

/// Serves until it is killed; `spins` polls without ever sleeping.
pub(crate) fn serve(port: u16, spins: bool, config: Arc<ServerConfig>) -> Result<()> {
    let mut server = Server::listen(port, config)?;
    println!("listening on wss://127.0.0.1:{port}");
    let wait = if spins { Wait::Poll } else { Wait::Sleep(Duration::MAX) };
    let mut events = Events::with_capacity(1024);
    loop {
        for event in server.epoll.wait(&mut events, wait)? {
            server.ready(event)?;
        }
    }
}

struct Server {
    epoll: Epoll,
    listener: TcpListener,
    config: Arc<ServerConfig>,
    /// By file descriptor, which is the token too.
    connections: Vec<Option<Box<Connection>>>,
    buffers: Buffers,
    /// Records of the event at hand.
    out: Outgoing,
}

struct Connection {
    stream: TcpStream,
    session: Session<UnbufferedServerConnection>,
    /// Whether the upgrade was answered.
    is_open: bool,
    /// Records that the kernel refused. While there are any, nothing more is read.
    unsent: Vec<u8>,
    /// How much of `unsent` is gone; 0 if it is empty.
    flushed: usize,
}

impl Server {
    fn listen(port: u16, config: Arc<ServerConfig>) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).context("cannot listen")?;
        listener.set_nonblocking(true)?;
        let epoll = Epoll::new()?;
        epoll.add(&listener, token(&listener))?;
        let (buffers, out) = (Buffers::new(), Outgoing::default());
        Ok(Self { epoll, listener, config, connections: Vec::new(), buffers, out })
    }

    fn ready(&mut self, event: Event) -> Result<()> {
        if event.token == token(&self.listener) {
            return self.accept();
        }
        let Some(connection) = self.connections.get_mut(event.token).and_then(Option::as_mut) else {
            return Ok(());
        };
        if !connection.advance(&mut self.buffers, &mut self.out) {
            self.connections[event.token] = None;
        }
        Ok(())
    }

    fn accept(&mut self) -> Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("cannot accept"),
            };
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let token = token(&stream);
            self.epoll.add(&stream, token)?;
            if self.connections.len() <= token {
                self.connections.resize_with(token + 1, || None);
            }
            let session = Session::server(Arc::clone(&self.config))?;
            let connection = Connection { stream, session, is_open: false, unsent: Vec::new(), flushed: 0 };
            self.connections[token] = Some(Box::new(connection));
        }
    }
}

impl Connection {
    /// Sends back what is there. Whether the connection goes on.
    fn advance(&mut self, buffers: &mut Buffers, out: &mut Outgoing) -> bool {
        if !self.flush() {
            return true;
        }
        loop {
            let is_drained = match self.session.receive(&self.stream, buffers, out) {
                Ok(is_drained) => is_drained,
                Err(error) => {
                    out.clear();
                    return error.kind() == ErrorKind::WouldBlock;
                }
            };
            let is_answered = self.answer(&buffers.plain, out);
            self.send(out.bytes());
            out.clear();
            // What cannot be sent pauses reading; the event that says that it can goes on here.
            if !is_answered || is_drained || !self.unsent.is_empty() {
                return is_answered;
            }
        }
    }

    /// Seals the answer to what arrived. Whether there is one; the request comes in one piece, or the connection is closed.
    fn answer(&mut self, plain: &[u8], out: &mut Outgoing) -> bool {
        if plain.is_empty() {
            return true;
        }
        if self.is_open {
            return self.session.seal(plain, out).is_ok();
        }
        self.is_open = true;
        let response = handshake::response(plain);
        response.is_some_and(|response| self.session.seal(response.as_bytes(), out).is_ok())
    }

    /// Sends, and keeps what the kernel refuses. A broken connection is noticed when it is read.
    fn send(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let sent = self.stream.write(bytes).unwrap_or(0);
        self.unsent.extend_from_slice(&bytes[sent..]);
    }

    /// Sends what the kernel refused before. Whether all is gone.
    fn flush(&mut self) -> bool {
        while self.flushed < self.unsent.len() {
            match self.stream.write(&self.unsent[self.flushed..]) {
                Ok(len) => self.flushed += len,
                Err(_) => return false,
            }
        }
        self.unsent.clear();
        self.flushed = 0;
        true
    }
}

fn token(socket: &impl AsRawFd) -> usize {
    usize::try_from(socket.as_raw_fd()).expect("an open file descriptor is not negative")
}
