//! Connections that agreed on compression, in closed loop.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use super::answer::{AnswerReader, frame_len};
use super::script::CompressedScript;
use crate::generator::carrier::connect;
use crate::generator::{Fault, Outcome, PATIENCE, Target, Until};
use crate::handshake;
use crate::sys::{Epoll, Events, Wait};

/// What the client asks for; whether the server keeps its context is left to the server.
const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover\r\n";

/// Size of the receive buffer in bytes.
const BUFFER: usize = 256 * 1024;

/// Open connections to one server.
#[derive(Debug)]
pub(crate) struct CompressedFleet {
    connections: Vec<Talk>,
    epoll: Epoll,
    events: Events,
    buffer: Box<[u8]>,
    keeps_context: bool,
}

/// What the answers of a run were.
#[derive(Debug)]
pub(crate) struct Replies {
    /// Messages and their times.
    pub(crate) outcome: Outcome,
    /// Bytes of the frames that came back, headers included.
    pub(crate) wire: u64,
    /// Bytes of the messages in them.
    pub(crate) plain: u64,
}

/// One connection.
#[derive(Debug)]
struct Talk {
    stream: TcpStream,
    /// Number of the exchange in progress, over all runs.
    exchange: usize,
    /// Exchanges done in this run.
    done: u64,
    started: Instant,
    is_busy: bool,
    sent: usize,
    /// What has arrived of the answer.
    answer: Vec<u8>,
    /// While answers are checked.
    reader: Option<AnswerReader>,
}

impl CompressedFleet {
    /// Opens `count` connections to a server that has to say whether it keeps its context.
    ///
    /// # Errors
    /// If it does not accept one, or not with this extension and the context that is expected.
    pub(crate) fn open(target: &Target, count: usize, keeps_context: bool) -> Result<Self, Fault> {
        let open = |_| Talk::open(target, keeps_context);
        let connections = (0..count).map(open).collect::<Result<Vec<_>, _>>()?;
        let epoll = Epoll::new().map_err(|error| Fault::Io("epoll", error))?;
        for (token, talk) in connections.iter().enumerate() {
            epoll.add(&talk.stream, token).map_err(|error| Fault::Io("epoll", error))?;
        }
        let events = Events::with_capacity(count.clamp(1, 1024));
        Ok(Self { connections, epoll, events, buffer: vec![0; BUFFER].into(), keeps_context })
    }

    /// The first run of a fleet: inflates each answer and compares it with what was sent.
    ///
    /// # Errors
    /// At the first wrong answer, a lost connection, or a silent server.
    pub(crate) fn verify(&mut self, script: &CompressedScript, exchanges: u64) -> Result<(), Fault> {
        for talk in &mut self.connections {
            talk.reader = Some(AnswerReader::new(self.keeps_context));
        }
        self.run(script, Until::Exchanges(exchanges))?;
        for talk in &mut self.connections {
            talk.reader = None;
        }
        Ok(())
    }

    /// Echoes on all connections at once, each in closed loop.
    ///
    /// # Errors
    /// At the first frame that cannot be an answer, a lost connection, or a silent server.
    pub(crate) fn run(&mut self, script: &CompressedScript, until: Until) -> Result<Replies, Fault> {
        let started = Instant::now();
        let mut busy = self.connections.len();
        let mut replies = Replies { outcome: Outcome::new(), wire: 0, plain: 0 };
        for talk in &mut self.connections {
            talk.done = 0;
            talk.begin(script)?;
        }
        while busy > 0 {
            let ready = self.epoll.wait(&mut self.events, Wait::Sleep(PATIENCE));
            let mut is_silent = true;
            for event in ready.map_err(|error| Fault::Io("epoll", error))? {
                is_silent = false;
                let talk = &mut self.connections[event.token];
                if !talk.is_busy || !talk.advance(script, event.is_readable, &mut self.buffer)? {
                    continue;
                }
                talk.finish(script, &mut replies)?;
                if is_over(until, talk.done, started) {
                    busy -= 1;
                } else {
                    talk.begin(script)?;
                }
            }
            if is_silent {
                return Err(Fault::Silent);
            }
        }
        replies.outcome.elapsed = started.elapsed();
        Ok(replies)
    }
}

fn is_over(until: Until, done: u64, started: Instant) -> bool {
    match until {
        Until::Exchanges(count) => done >= count,
        Until::Elapsed(time) => started.elapsed() >= time,
    }
}

impl Talk {
    fn open(target: &Target, keeps_context: bool) -> Result<Self, Fault> {
        let io = |error| Fault::Io("handshake", error);
        let mut stream = connect(target).map_err(|error| Fault::Io("connect", error))?;
        let request = handshake::request_with(&target.host, &target.path, OFFER);
        stream.write_all(request.as_bytes()).map_err(io)?;
        let mut head = Vec::new();
        while !handshake::is_accepted(&head).map_err(io)? {
            let mut piece = [0; 4096];
            let len = stream.read(&mut piece).map_err(io)?;
            if len == 0 {
                return Err(Fault::Closed);
            }
            head.extend_from_slice(&piece[..len]);
        }
        check_agreement(&String::from_utf8_lossy(&head), keeps_context)?;
        stream.set_nonblocking(true).map_err(io)?;
        Ok(Self {
            stream,
            exchange: 0,
            done: 0,
            started: Instant::now(),
            is_busy: false,
            sent: 0,
            answer: Vec::new(),
            reader: None,
        })
    }

    /// Starts an exchange.
    fn begin(&mut self, script: &CompressedScript) -> Result<(), Fault> {
        self.started = Instant::now();
        self.is_busy = true;
        self.sent = 0;
        self.answer.clear();
        self.send(script)
    }

    fn send(&mut self, script: &CompressedScript) -> Result<(), Fault> {
        let request = &script.exchange(self.exchange).request;
        while self.sent < request.len() {
            match self.stream.write(&request[self.sent..]) {
                Ok(len) => self.sent += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(Fault::Io("send", error)),
            }
        }
        Ok(())
    }

    /// Goes on as far as the kernel lets it. Whether the answer is complete.
    fn advance(
        &mut self,
        script: &CompressedScript,
        is_readable: bool,
        buffer: &mut [u8],
    ) -> Result<bool, Fault> {
        self.send(script)?;
        if !is_readable {
            return Ok(false);
        }
        match self.stream.read(buffer) {
            Ok(0) => return Err(Fault::Closed),
            Ok(len) => self.answer.extend_from_slice(&buffer[..len]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(Fault::Io("receive", error)),
        }
        match frame_len(&self.answer)? {
            Some(len) if self.answer.len() > len => Err(Fault::Extra(self.answer.len() - len)),
            len => Ok(len == Some(self.answer.len())),
        }
    }

    /// Counts a complete answer.
    fn finish(&mut self, script: &CompressedScript, replies: &mut Replies) -> Result<(), Fault> {
        let text = &script.exchange(self.exchange).text;
        replies.outcome.record(self.started.elapsed(), 1);
        replies.wire += self.answer.len() as u64;
        replies.plain += text.len() as u64;
        if let Some(reader) = &mut self.reader {
            reader.compare(&self.answer, text)?;
        }
        self.is_busy = false;
        self.exchange += 1;
        self.done += 1;
        Ok(())
    }
}

/// Whether the server's response is what the table says of it.
fn check_agreement(head: &str, keeps_context: bool) -> Result<(), Fault> {
    let accepted = handshake::header(head, "sec-websocket-extensions").unwrap_or_default();
    let mut words = accepted.split([';', ',']).map(str::trim);
    if words.next() != Some("permessage-deflate") {
        return Err(Fault::Reply("the handshake does not accept compression"));
    }
    if keeps_context == words.any(|word| word == "server_no_context_takeover") {
        return Err(Fault::Reply(
            "the handshake does not say of the server's context what the registry says",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_agreement_is_what_was_expected() {
        let head = |value: &str| format!("HTTP/1.1 101 OK\r\nSec-WebSocket-Extensions: {value}\r\n\r\n");
        let shared = head("permessage-deflate; server_no_context_takeover; client_no_context_takeover");
        check_agreement(&shared, false).unwrap();
        assert!(check_agreement(&shared, true).is_err());
        let own = head("permessage-deflate; client_no_context_takeover; server_max_window_bits=12");
        check_agreement(&own, true).unwrap();
        assert!(check_agreement(&own, false).is_err());
        assert!(check_agreement("HTTP/1.1 101 OK\r\n\r\n", true).is_err());
    }

    #[test]
    fn runs_end_by_count_or_time() {
        let now = Instant::now();
        assert!(is_over(Until::Exchanges(3), 3, now) && !is_over(Until::Exchanges(3), 2, now));
        assert!(is_over(Until::Elapsed(Duration::ZERO), 0, now));
        assert!(!is_over(Until::Elapsed(Duration::MAX), 9, now));
    }
}
