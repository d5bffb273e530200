//! `limit`: what the kernel allows. A raw epoll TCP echo that knows of WebSocket the opening handshake only.
//!
//! What arrives goes back as it came, still masked; what arrives on `/pub` goes to all on `/sub`. Per event it makes one `recv`
//! and one `send`, never a failed one in the closed loop, and no `epoll_ctl` after the accept. No server that parses can be faster.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::handshake;
use crate::sys::{Epoll, Event, Events, Wait};

/// Size of the receive buffer in bytes: large enough that few messages take several reads, and small enough for the cache.
const BUFFER: usize = 256 * 1024;

/// Serves until it is killed; `spins` polls without ever sleeping.
pub(crate) fn serve(port: u16, spins: bool) -> Result<()> {
    let mut server = Server::listen(port)?;
    println!("listening on ws://127.0.0.1:{port}");
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
    /// By file descriptor, which is the token too.
    connections: Vec<Option<Connection>>,
    /// Tokens of those on `/sub`.
    subscribers: Vec<usize>,
    buffer: Box<[u8]>,
}

struct Connection {
    stream: TcpStream,
    role: Role,
    /// What the kernel refused. While there is any, nothing more is read from an echo.
    unsent: Vec<u8>,
    /// How much of `unsent` is gone; 0 if it is empty.
    flushed: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The request has not come.
    Opening,
    Echo,
    Subscriber,
    Publisher,
}

impl Server {
    fn listen(port: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).context("cannot listen")?;
        listener.set_nonblocking(true)?;
        let epoll = Epoll::new()?;
        epoll.add(&listener, token(&listener))?;
        let (connections, subscribers) = (Vec::new(), Vec::new());
        Ok(Self { epoll, listener, connections, subscribers, buffer: vec![0; BUFFER].into() })
    }

    fn ready(&mut self, event: Event) -> Result<()> {
        if event.token == token(&self.listener) {
            return self.accept();
        }
        let Some(connection) = self.connections.get_mut(event.token).and_then(Option::as_mut) else {
            return Ok(());
        };
        if !connection.unsent.is_empty() && !connection.flush() {
            return Ok(());
        }
        match connection.role {
            Role::Opening => self.open(event.token),
            Role::Echo | Role::Subscriber => {
                if !connection.echo(&mut self.buffer) {
                    self.remove(event.token);
                }
            }
            Role::Publisher => self.publish(event.token),
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
            self.connections[token] =
                Some(Connection { stream, role: Role::Opening, unsent: Vec::new(), flushed: 0 });
        }
    }

    /// Answers the request, which the harness sends in one piece; anything else is closed.
    fn open(&mut self, token: usize) {
        let Some(connection) = &mut self.connections[token] else { return };
        let len = match connection.stream.read(&mut self.buffer) {
            Ok(len) => len,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(_) => 0,
        };
        let head = &self.buffer[..len];
        let Some(response) = handshake::response(head) else { return self.remove(token) };
        connection.role = match String::from_utf8_lossy(head).split_ascii_whitespace().nth(1) {
            Some("/sub") => Role::Subscriber,
            Some("/pub") => Role::Publisher,
            _ => Role::Echo,
        };
        connection.send(response.as_bytes());
        if connection.role == Role::Subscriber {
            self.subscribers.push(token);
        }
    }

    fn publish(&mut self, token: usize) {
        loop {
            let Some(publisher) = &mut self.connections[token] else { return };
            let len = match publisher.stream.read(&mut self.buffer) {
                Ok(0) => return self.remove(token),
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.remove(token),
            };
            for &subscriber in &self.subscribers {
                if let Some(subscriber) = &mut self.connections[subscriber] {
                    subscriber.send(&self.buffer[..len]);
                }
            }
            if len < self.buffer.len() {
                return;
            }
        }
    }

    fn remove(&mut self, token: usize) {
        self.connections[token] = None;
        self.subscribers.retain(|&subscriber| subscriber != token);
    }
}

impl Connection {
    /// Sends back what is there. Whether the connection goes on.
    fn echo(&mut self, buffer: &mut [u8]) -> bool {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return false,
                Ok(len) => {
                    self.send(&buffer[..len]);
                    // A read that did not fill the buffer has drained the socket. What cannot be sent pauses reading; the event
                    // that says that it can goes on here.
                    if len < buffer.len() || !self.unsent.is_empty() {
                        return true;
                    }
                }
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
    }

    /// Sends, and keeps what the kernel refuses. A broken connection is noticed when it is read.
    fn send(&mut self, bytes: &[u8]) {
        let sent = if self.unsent.is_empty() { self.stream.write(bytes).unwrap_or(0) } else { 0 };
        if sent < bytes.len() {
            self.unsent.extend_from_slice(&bytes[sent..]);
        }
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
