use std::convert::Infallible;
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError, UnbufferedStatus,
    WriteTraffic,
};
use rustls::{ClientConfig, CommonState, Error, ServerConfig};

use crate::buf::RecvBuffer;

use super::{WSTlsInfo, sni};

/// What sealing adds to a record at most, in bytes: header, explicit nonce, content type and tag, rounded up.
const RECORD_OVERHEAD: usize = 64;

/// Most plaintext in a record (RFC 8446 section 5.1), in bytes.
pub(crate) const MAX_PLAINTEXT: usize = 16 * 1024;

/// One end of a TLS connection, without I/O: records come in, plaintext and records go out.
pub(crate) struct Session {
    side: Side,
    /// The name that the client asked for.
    server_name: Option<Box<str>>,
    /// The peer has said that it sends nothing more.
    peer_closed: bool,
}

enum Side {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// Why plaintext was not sealed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealError {
    #[error("the TLS handshake is not done")]
    NotReady,
    #[error("TLS: {0}")]
    Failed(Error),
    #[error("TLS: {0}")]
    Exhausted(EncryptError),
}

/// What rustls wants next.
enum Next {
    Again,
    PeerClosed,
    Rest,
}

impl Session {
    pub(crate) fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, Error> {
        let asked = if let ServerName::DnsName(name) = &name { Some(name.as_ref().into()) } else { None };
        let server_name = asked.filter(|_| config.enable_sni);
        let side = Side::Client(UnbufferedClientConnection::new(config, name)?);
        Ok(Self { side, server_name, peer_closed: false })
    }

    pub(crate) fn server(config: Arc<ServerConfig>) -> Result<Self, Error> {
        let side = Side::Server(UnbufferedServerConnection::new(config)?);
        Ok(Self { side, server_name: None, peer_closed: false })
    }

    /// Opens the whole records at the front of `incoming`. Appends plaintext to `plain` and what has to be sent to `out`. Returns
    /// how many bytes at the front are done with: the rest has to come again, with more behind it.
    ///
    /// On an error the alert that tells the peer is in `out`, and plaintext that came before the fault in `plain`.
    pub(crate) fn open(
        &mut self,
        incoming: &mut [u8],
        plain: &mut RecvBuffer,
        out: &mut Vec<u8>,
    ) -> Result<usize, Error> {
        let mut done = 0;
        loop {
            let (discard, next) = self.step(&mut incoming[done..], plain, out);
            done += discard;
            match next {
                Ok(Next::Again) => {}
                Ok(Next::PeerClosed) => self.peer_closed = true,
                Ok(Next::Rest) => return Ok(done),
                Err(error) => {
                    // Behind an error there is an alert for the peer. Nothing more may be opened.
                    while self.state().wants_write()
                        && let (_, Ok(Next::Again)) = self.step(&mut incoming[done..], plain, out)
                    {
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Appends `plain` to `out`, as records of at most [`MAX_PLAINTEXT`] bytes each. `rest` is what [`open`](Self::open) was not done
    /// with.
    pub(crate) fn seal(&mut self, plain: &[u8], rest: &mut [u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        let records = plain.len().div_ceil(MAX_PLAINTEXT) + 1;
        let size = plain.len() + records * RECORD_OVERHEAD;
        self.write(&Writes::Data(plain), rest, size, out)
    }

    /// Appends `close_notify` (RFC 8446 section 6.1) to `out`; nothing if the handshake is not done. `rest` as for
    /// [`seal`](Self::seal).
    pub(crate) fn close(&mut self, rest: &mut [u8], out: &mut Vec<u8>) {
        if let Err(error) = self.write(&Writes::Close, rest, RECORD_OVERHEAD, out) {
            log::debug!("no close_notify: {error}");
        }
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.state().is_handshaking()
    }

    pub(crate) fn is_server(&self) -> bool {
        matches!(self.side, Side::Server(_))
    }

    /// Whether the peer has sent `close_notify`.
    pub(crate) fn is_peer_closed(&self) -> bool {
        self.peer_closed
    }

    pub(crate) fn info(&self) -> Option<WSTlsInfo> {
        WSTlsInfo::of(self.state(), self.server_name.as_deref()).filter(|_| !self.is_handshaking())
    }

    fn state(&self) -> &CommonState {
        match &self.side {
            Side::Client(connection) => connection,
            Side::Server(connection) => connection,
        }
    }

    fn step(
        &mut self,
        incoming: &mut [u8],
        plain: &mut RecvBuffer,
        out: &mut Vec<u8>,
    ) -> (usize, Result<Next, Error>) {
        match &mut self.side {
            Side::Client(connection) => follow(connection.process_tls_records(incoming), plain, out),
            Side::Server(connection) => {
                let handshaking = connection.is_handshaking();
                let followed = follow(connection.process_tls_records(incoming), plain, out);
                if handshaking && let Some(name) = sni::take_last() {
                    self.server_name = Some(name);
                }
                followed
            }
        }
    }

    fn write(
        &mut self,
        what: &Writes<'_>,
        rest: &mut [u8],
        size: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        loop {
            let written = match &mut self.side {
                Side::Client(connection) => write(connection.process_tls_records(rest), what, size, out),
                Side::Server(connection) => write(connection.process_tls_records(rest), what, size, out),
            };
            if written? {
                return Ok(());
            }
        }
    }
}

/// Does what rustls asks for.
fn follow<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    plain: &mut RecvBuffer,
    out: &mut Vec<u8>,
) -> (usize, Result<Next, Error>) {
    let mut discard = status.discard;
    let next = match status.state {
        Err(error) => Err(error),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                None => break Ok(Next::Again),
                Some(Err(error)) => break Err(error),
                Some(Ok(record)) => {
                    discard += record.discard;
                    plain.extend_from_slice(record.payload);
                }
            }
        },
        Ok(ConnectionState::EncodeTlsData(data)) => {
            encode(data, out);
            Ok(Next::Again)
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Ok(Next::Again)
        }
        Ok(ConnectionState::PeerClosed) => Ok(Next::PeerClosed),
        Ok(ConnectionState::ReadEarlyData(_)) => Err(Error::General("early data is not accepted".into())),
        Ok(_) => Ok(Next::Rest),
    };
    (discard, next)
}

/// What is written once the connection lets itself be written to.
enum Writes<'a> {
    Data(&'a [u8]),
    Close,
}

/// Whether it was written. Something of rustls' own may have to go first.
fn write<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    what: &Writes<'_>,
    size: usize,
    out: &mut Vec<u8>,
) -> Result<bool, SealError> {
    debug_assert_eq!(status.discard, 0, "nothing whole is left to open");
    match status.state {
        Ok(ConnectionState::WriteTraffic(mut traffic)) => {
            encrypt(&mut traffic, out, size, what).map(|()| true)
        }
        Ok(ConnectionState::EncodeTlsData(data)) => {
            encode(data, out);
            Ok(false)
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Ok(false)
        }
        Ok(_) => Err(SealError::NotReady),
        Err(error) => Err(SealError::Failed(error)),
    }
}

fn encode<Data>(mut data: EncodeTlsData<'_, Data>, out: &mut Vec<u8>) {
    let encoded: Result<(), Infallible> = append(out, RECORD_OVERHEAD, |place| match data.encode(place) {
        Ok(n) => Ok(n),
        Err(EncodeError::InsufficientSize(size)) => Err(Ok(size)),
        Err(EncodeError::AlreadyEncoded) => Ok(0),
    });
    match encoded {
        Ok(()) => {}
    }
}

fn encrypt<Data>(
    traffic: &mut WriteTraffic<'_, Data>,
    out: &mut Vec<u8>,
    size: usize,
    what: &Writes<'_>,
) -> Result<(), SealError> {
    append(out, size, |place| {
        let written = match what {
            Writes::Data(plain) => traffic.encrypt(plain, place),
            Writes::Close => traffic.queue_close_notify(place),
        };
        written.map_err(|error| match error {
            EncryptError::InsufficientSize(size) => Ok(size),
            error @ EncryptError::EncryptExhausted => Err(SealError::Exhausted(error)),
        })
    })
}

/// Appends what `fill` writes into the place it is given: `size` bytes, or as many as it asks for.
fn append<E>(
    out: &mut Vec<u8>,
    size: usize,
    mut fill: impl FnMut(&mut [u8]) -> Result<usize, Result<InsufficientSizeError, E>>,
) -> Result<(), E> {
    let start = out.len();
    let mut size = size;
    loop {
        out.resize(start + size, 0);
        match fill(&mut out[start..]) {
            Ok(n) => {
                out.truncate(start + n);
                return Ok(());
            }
            Err(Ok(insufficient)) => size = insufficient.required_size,
            Err(Err(error)) => {
                out.truncate(start);
                return Err(error);
            }
        }
    }
}
