//! One end of a TLS connection without a socket of its own: what is received is opened, what is to be sent is sealed.
//!
//! rustls' unbuffered interface: one `recv` into a buffer that all connections share, and answers sealed into another.

use std::io::{self, Read};
use std::sync::Arc;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeTlsData, UnbufferedStatus, WriteTraffic};
use rustls::{ClientConfig, ServerConfig};

/// Size of the receive buffer in bytes, as in the rows without TLS.
const BUFFER: usize = 256 * 1024;

/// Most plaintext in a record, in bytes (RFC 8446 section 5.1).
const MAX_PLAINTEXT: usize = 16 * 1024;

/// What sealing adds to a record, in bytes: header, content type and tag of AES-GCM (RFC 8446 section 5.2).
const OVERHEAD: usize = 5 + 1 + 16;

/// A TLS connection of one side.
pub(crate) struct Session<C> {
    connection: C,
    /// The beginning of a record whose end has not arrived.
    partial: Vec<u8>,
}

/// Memory that connections share, because none needs it for longer than one event.
#[derive(Debug)]
pub(crate) struct Buffers {
    /// What `recv` wrote.
    incoming: Box<[u8]>,
    /// What was in the records of the last [`Session::receive`].
    pub(crate) plain: Vec<u8>,
}

/// Records to be sent. Its memory stays initialised, so that sealing never has to clear it.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    memory: Vec<u8>,
    len: usize,
}

/// The two sides of rustls, which have no trait in common.
pub(crate) trait Side {
    /// The side's own state.
    type Data;

    /// Whether application data cannot be exchanged yet.
    fn is_handshaking(&self) -> bool;

    /// Opens records at the front of `incoming`.
    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

/// What is left to do with the bytes at hand.
enum Step {
    More,
    Nothing,
    Closed,
}

impl Session<UnbufferedClientConnection> {
    /// The side that begins.
    pub(crate) fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> io::Result<Self> {
        let connection = UnbufferedClientConnection::new(config, name).map_err(io::Error::other)?;
        Ok(Self { connection, partial: Vec::new() })
    }
}

impl Session<UnbufferedServerConnection> {
    /// The side that waits.
    ///
    /// # Errors
    /// None that is known with a configuration of the harness.
    pub(crate) fn server(config: Arc<ServerConfig>) -> io::Result<Self> {
        let connection = UnbufferedServerConnection::new(config).map_err(io::Error::other)?;
        Ok(Self { connection, partial: Vec::new() })
    }
}

impl<C: Side> Session<C> {
    pub(crate) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Makes one `recv` and opens the records that are complete, into `buffers.plain`; what the handshake has to say is added to
    /// `out`. Whether the socket is drained.
    ///
    /// # Errors
    /// What `recv` says, `WouldBlock` among it; `UnexpectedEof` at the end of the stream, with or without `close_notify`.
    pub(crate) fn receive(
        &mut self,
        mut socket: impl Read,
        buffers: &mut Buffers,
        out: &mut Outgoing,
    ) -> io::Result<bool> {
        let Buffers { incoming, plain } = buffers;
        plain.clear();
        let kept = self.partial.len();
        incoming[..kept].copy_from_slice(&self.partial);
        let received = socket.read(&mut incoming[kept..])?;
        if received == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let len = kept + received;
        let opened = self.open(&mut incoming[..len], plain, out)?;
        self.partial.clear();
        self.partial.extend_from_slice(&incoming[opened..len]);
        Ok(len < incoming.len())
    }

    /// Adds what the handshake has to say before anything has arrived.
    pub(crate) fn start(&mut self, out: &mut Outgoing) -> io::Result<()> {
        self.open(&mut [], &mut Vec::new(), out).map(drop)
    }

    /// Seals all of `plain` into as few records as hold it, and adds them to `out`.
    ///
    /// # Errors
    /// If the handshake is not done, or the peer has ended the session.
    pub(crate) fn seal(&mut self, plain: &[u8], out: &mut Outgoing) -> io::Result<()> {
        let room = plain.len() + plain.len().div_ceil(MAX_PLAINTEXT) * OVERHEAD;
        loop {
            match self.connection.process(&mut []).state.map_err(io::Error::other)? {
                ConnectionState::WriteTraffic(mut state) => return write(&mut state, plain, room, out),
                ConnectionState::EncodeTlsData(mut state) => encode(&mut state, out)?,
                ConnectionState::TransmitTlsData(state) => state.done(),
                state => return Err(io::Error::other(format!("cannot seal now: {state:?}"))),
            }
        }
    }

    /// How many bytes at the front of `incoming` are done with.
    fn open(&mut self, incoming: &mut [u8], plain: &mut Vec<u8>, out: &mut Outgoing) -> io::Result<usize> {
        let mut done = 0;
        loop {
            let UnbufferedStatus { discard, state } = self.connection.process(&mut incoming[done..]);
            done += discard;
            match advance(state.map_err(io::Error::other)?, plain, out)? {
                (Step::More, discard) => done += discard,
                (Step::Nothing, discard) => return Ok(done + discard),
                (Step::Closed, _) => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }
}

/// Does what a state asks for. Also says how many further bytes are done with.
fn advance<Data>(
    state: ConnectionState<'_, '_, Data>,
    plain: &mut Vec<u8>,
    out: &mut Outgoing,
) -> io::Result<(Step, usize)> {
    let mut discard = 0;
    let step = match state {
        ConnectionState::ReadTraffic(mut state) => {
            while let Some(record) = state.next_record() {
                let record = record.map_err(io::Error::other)?;
                plain.extend_from_slice(record.payload);
                discard += record.discard;
            }
            Step::More
        }
        ConnectionState::EncodeTlsData(mut state) => {
            encode(&mut state, out)?;
            Step::More
        }
        ConnectionState::TransmitTlsData(state) => {
            state.done();
            Step::More
        }
        ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_) => Step::Nothing,
        ConnectionState::PeerClosed | ConnectionState::Closed => Step::Closed,
        state => return Err(io::Error::other(format!("unexpected in TLS: {state:?}"))),
    };
    Ok((step, discard))
}

fn encode<Data>(state: &mut EncodeTlsData<'_, Data>, out: &mut Outgoing) -> io::Result<()> {
    // More than a flight of the handshake with one short certificate takes.
    const FLIGHT: usize = MAX_PLAINTEXT + OVERHEAD;
    let len = state.encode(out.room(FLIGHT)).map_err(io::Error::other)?;
    out.len += len;
    Ok(())
}

fn write<Data>(
    state: &mut WriteTraffic<'_, Data>,
    plain: &[u8],
    room: usize,
    out: &mut Outgoing,
) -> io::Result<()> {
    let len = state.encrypt(plain, out.room(room)).map_err(io::Error::other)?;
    out.len += len;
    Ok(())
}

impl Buffers {
    pub(crate) fn new() -> Self {
        Self { incoming: vec![0; BUFFER].into(), plain: Vec::with_capacity(BUFFER) }
    }
}

impl Outgoing {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.memory[..self.len]
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    fn room(&mut self, len: usize) -> &mut [u8] {
        let end = self.len + len;
        if self.memory.len() < end {
            self.memory.resize(end, 0);
        }
        &mut self.memory[self.len..]
    }
}

impl Side for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn is_handshaking(&self) -> bool {
        // Through `Deref`, the method of the state that both sides share.
        (**self).is_handshaking()
    }

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
}

impl Side for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn is_handshaking(&self) -> bool {
        (**self).is_handshaking()
    }

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(incoming)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Identity, SERVER_NAME, server_config};
    use super::*;

    struct Pair {
        client: Session<UnbufferedClientConnection>,
        server: Session<UnbufferedServerConnection>,
        buffers: Buffers,
    }

    impl Pair {
        /// Both sides with the handshake done.
        fn open() -> Self {
            let identity = Identity::create().unwrap();
            let name = ServerName::try_from(SERVER_NAME).unwrap();
            let config = server_config(&identity.certificate_file(), &identity.key_file()).unwrap();
            let mut pair = Self {
                client: Session::client(identity.client_config().unwrap(), name).unwrap(),
                server: Session::server(config).unwrap(),
                buffers: Buffers::new(),
            };
            let (mut hello, mut flight, mut finished) = Default::default();
            pair.client.start(&mut hello).unwrap();
            pair.server.receive(hello.bytes(), &mut pair.buffers, &mut flight).unwrap();
            pair.client.receive(flight.bytes(), &mut pair.buffers, &mut finished).unwrap();
            pair.server.receive(finished.bytes(), &mut pair.buffers, &mut Outgoing::default()).unwrap();
            assert!(!pair.client.is_handshaking() && !pair.server.is_handshaking());
            pair
        }
    }

    /// Lengths of the records in `bytes`.
    fn records(mut bytes: &[u8]) -> Vec<usize> {
        let mut lens = Vec::new();
        while let [_, _, _, high, low, ..] = *bytes {
            lens.push(usize::from(u16::from_be_bytes([high, low])));
            bytes = &bytes[5 + lens.last().unwrap()..];
        }
        lens
    }

    #[test]
    fn a_batch_is_sealed_into_few_records() {
        let mut pair = Pair::open();
        let message: Vec<u8> = (0..40_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        let mut out = Outgoing::default();
        pair.client.seal(&message, &mut out).unwrap();
        let full = MAX_PLAINTEXT + OVERHEAD - 5;
        assert_eq!(records(out.bytes()), [full, full, 40_000 - 2 * MAX_PLAINTEXT + OVERHEAD - 5]);
        let is_drained = pair.server.receive(out.bytes(), &mut pair.buffers, &mut Outgoing::default());
        assert!(is_drained.unwrap());
        assert!(pair.buffers.plain == message);
    }

    #[test]
    fn records_may_arrive_in_pieces() {
        let mut pair = Pair::open();
        let mut out = Outgoing::default();
        pair.client.seal(b"one", &mut out).unwrap();
        pair.client.seal(b"two", &mut out).unwrap();
        let (mut got, mut none) = (Vec::new(), Outgoing::default());
        for piece in out.bytes().chunks(7) {
            pair.server.receive(piece, &mut pair.buffers, &mut none).unwrap();
            got.extend_from_slice(&pair.buffers.plain);
        }
        assert_eq!(got, b"onetwo");
        assert!(none.bytes().is_empty());
    }

    #[test]
    fn more_than_the_buffer_is_not_drained() {
        let mut pair = Pair::open();
        let mut out = Outgoing::default();
        pair.client.seal(&vec![7; BUFFER], &mut out).unwrap();
        let mut socket = out.bytes();
        let mut none = Outgoing::default();
        assert!(!pair.server.receive(&mut socket, &mut pair.buffers, &mut none).unwrap());
        let first = pair.buffers.plain.len();
        assert!(pair.server.receive(&mut socket, &mut pair.buffers, &mut none).unwrap());
        assert_eq!(first + pair.buffers.plain.len(), BUFFER);
        let error = pair.server.receive(&mut socket, &mut pair.buffers, &mut none).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn another_certificate_is_not_trusted() {
        let (identity, other) = (Identity::create().unwrap(), Identity::create().unwrap());
        let config = server_config(&identity.certificate_file(), &identity.key_file()).unwrap();
        let name = ServerName::try_from(SERVER_NAME).unwrap();
        let mut client = Session::client(other.client_config().unwrap(), name).unwrap();
        let mut server = Session::server(config).unwrap();
        let (mut hello, mut flight, mut buffers) = (Outgoing::default(), Outgoing::default(), Buffers::new());
        client.start(&mut hello).unwrap();
        server.receive(hello.bytes(), &mut buffers, &mut flight).unwrap();
        let error = client.receive(flight.bytes(), &mut buffers, &mut hello).unwrap_err();
        assert!(error.to_string().contains("certificate"), "{error}");
    }
}
