use std::convert::Infallible;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError, UnbufferedStatus,
    WriteTraffic,
};
use rustls::{ClientConfig, CommonState, Error, ExtractedSecrets, ServerConfig};

use crate::buf::RecvBuffer;
use crate::error::panic_message;

use super::record::{self, HEADER, Kernel, MAX_PLAINTEXT, RecordLayer};
use super::{WSTlsInfo, sni};

/// What sealing adds to a record at most, in bytes: header, explicit nonce, content type and tag, rounded up.
const RECORD_OVERHEAD: usize = 64;

/// One end of a TLS connection, without I/O: records come in, plaintext and records go out.
///
/// A panic in what the application's configuration brings along, such as a verifier of certificates, is an error of this connection.
pub(crate) struct Session {
    state: State,
    /// The name that the client asked for.
    server_name: Option<Box<str>>,
    /// The peer has said that it sends nothing more.
    peer_closed: bool,
}

/// ```text
/// Rustls --> Records
/// ```
enum State {
    /// The handshake. What follows it too, if the version is 1.2, or the configuration keeps the secrets to itself.
    ///
    /// The first `seen` bytes that come again are whole records that rustls has been shown: pieces of a message that is incomplete, which
    /// it goes on from. It counts on seeing all of them each time.
    Rustls { side: Box<Side>, may_take_over: bool, seen: usize },
    /// TLS 1.3, the handshake done.
    Records { layer: Box<RecordLayer>, info: Box<WSTlsInfo> },
    /// Neither: rustls did not hand over, or there was a panic.
    Lost,
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
    Failed(#[from] Error),
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
        let may_take_over = config.enable_secret_extraction;
        let connection = contain(|| UnbufferedClientConnection::new(config, name))??;
        let side = Box::new(Side::Client(connection));
        Ok(Self { state: State::Rustls { side, may_take_over, seen: 0 }, server_name, peer_closed: false })
    }

    pub(crate) fn server(config: Arc<ServerConfig>) -> Result<Self, Error> {
        let may_take_over = config.enable_secret_extraction;
        let connection = contain(|| UnbufferedServerConnection::new(config))??;
        let side = Box::new(Side::Server(connection));
        Ok(Self {
            state: State::Rustls { side, may_take_over, seen: 0 },
            server_name: None,
            peer_closed: false,
        })
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
        self.contained(|session| session.open_any(incoming, plain, out))
    }

    /// Makes a panic an error, after which the session is not used again. Bytes that were opened or are to be sent are only ever appended,
    /// so those before it are whole.
    #[inline]
    fn contained<T, E: From<Error>>(&mut self, act: impl FnOnce(&mut Self) -> Result<T, E>) -> Result<T, E> {
        let result = contain(|| act(self));
        result.unwrap_or_else(|panic| {
            self.state = State::Lost;
            Err(panic.into())
        })
    }

    #[inline]
    fn open_any(
        &mut self,
        incoming: &mut [u8],
        plain: &mut RecvBuffer,
        out: &mut Vec<u8>,
    ) -> Result<usize, Error> {
        let done = match &self.state {
            State::Records { .. } => 0,
            State::Rustls { .. } => self.open_by_rustls(incoming, plain, out)?,
            State::Lost => return Err(lost()),
        };
        if let State::Records { layer, .. } = &mut self.state {
            let opened = layer.open(&incoming[done..], plain, out)?;
            self.peer_closed = layer.is_peer_closed();
            return Ok(done + opened);
        }
        Ok(done)
    }

    /// Appends `plain` to `out`, as records of at most [`MAX_PLAINTEXT`] bytes each. `rest` is what [`open`](Self::open) was not done
    /// with.
    pub(crate) fn seal(&mut self, plain: &[u8], rest: &mut [u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        if let State::Records { layer, .. } = &mut self.state {
            return layer.seal(plain, out).map_err(SealError::Failed);
        }
        let records = plain.len().div_ceil(MAX_PLAINTEXT) + 1;
        let size = plain.len() + records * RECORD_OVERHEAD;
        self.contained(|session| session.write(&Writes::Data(plain), rest, size, out))
    }

    /// Appends `close_notify` (RFC 8446 section 6.1) to `out`; nothing if the handshake is not done. `rest` as for
    /// [`seal`](Self::seal).
    pub(crate) fn close(&mut self, rest: &mut [u8], out: &mut Vec<u8>) {
        let closed = match &mut self.state {
            State::Records { layer, .. } => layer.close(out).map_err(SealError::Failed),
            _ => self.contained(|session| session.write(&Writes::Close, rest, RECORD_OVERHEAD, out)),
        };
        if let Err(error) = closed {
            log::debug!("no close_notify: {error}");
        }
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        matches!(&self.state, State::Rustls { side, .. } if side.state().is_handshaking())
    }

    pub(crate) fn is_server(&self) -> bool {
        match &self.state {
            State::Rustls { side, .. } => matches!(**side, Side::Server(_)),
            State::Records { layer, .. } => layer.is_server(),
            State::Lost => false,
        }
    }

    /// Whether the peer has sent `close_notify`.
    pub(crate) fn is_peer_closed(&self) -> bool {
        self.peer_closed
    }

    pub(crate) fn info(&self) -> Option<WSTlsInfo> {
        match &self.state {
            State::Rustls { side, .. } => {
                let state = side.state();
                WSTlsInfo::of(state, self.server_name.as_deref()).filter(|_| !state.is_handshaking())
            }
            State::Records { info, .. } => Some((**info).clone()),
            State::Lost => None,
        }
    }

    #[cfg(test)]
    pub(super) fn records(&mut self) -> Option<&mut RecordLayer> {
        if let State::Records { layer, .. } = &mut self.state { Some(layer) } else { None }
    }

    /// The part of [`open`](Self::open) that rustls does.
    ///
    /// As long as its secrets may be taken it is shown record by record: so it holds nothing that is behind its handshake.
    fn open_by_rustls(
        &mut self,
        incoming: &mut [u8],
        plain: &mut RecvBuffer,
        out: &mut Vec<u8>,
    ) -> Result<usize, Error> {
        let mut done = 0;
        let mut whole = if let State::Rustls { seen, .. } = self.state { seen } else { 0 };
        loop {
            let may_take_over = matches!(self.state, State::Rustls { may_take_over: true, .. });
            let next = if may_take_over { first_record(&incoming[whole..]) } else { None };
            whole += next.unwrap_or(0);
            let shown = if next.is_some() { whole } else { incoming.len() };
            done += self.follow_rustls(&mut incoming[done..shown], plain, out)?;
            if done == shown && self.take_over()? || shown == incoming.len() {
                if let State::Rustls { seen, .. } = &mut self.state {
                    *seen = whole.saturating_sub(done);
                }
                return Ok(done);
            }
        }
    }

    /// Does what rustls asks for until it asks for more records.
    fn follow_rustls(
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
                    while matches!(&self.state, State::Rustls { side, .. } if side.state().wants_write())
                        && let (_, Ok(Next::Again)) = self.step(&mut incoming[done..], plain, out)
                    {
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Replaces rustls by a record layer of our own, if its handshake is done and its secrets may be taken. Whether it did.
    fn take_over(&mut self) -> Result<bool, Error> {
        let State::Rustls { side, may_take_over, .. } = &mut self.state else { return Ok(false) };
        if !*may_take_over || self.peer_closed || side.state().is_handshaking() {
            return Ok(false);
        }
        *may_take_over = record::can_take_over(side.state());
        let Some(info) = WSTlsInfo::of(side.state(), self.server_name.as_deref()).filter(|_| *may_take_over)
        else {
            return Ok(false);
        };
        let State::Rustls { side, .. } = std::mem::replace(&mut self.state, State::Lost) else {
            return Err(lost());
        };
        let (secrets, kernel) = side.hand_over()?;
        let layer = Box::new(RecordLayer::new(secrets, kernel)?);
        self.state = State::Records { layer, info: Box::new(info) };
        self.server_name = None;
        Ok(true)
    }

    fn step(
        &mut self,
        incoming: &mut [u8],
        plain: &mut RecvBuffer,
        out: &mut Vec<u8>,
    ) -> (usize, Result<Next, Error>) {
        let State::Rustls { side, .. } = &mut self.state else { return (0, Err(lost())) };
        match &mut **side {
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
        let State::Rustls { side, .. } = &mut self.state else { return Err(SealError::Failed(lost())) };
        loop {
            let written = match &mut **side {
                Side::Client(connection) => write(connection.process_tls_records(rest), what, size, out),
                Side::Server(connection) => write(connection.process_tls_records(rest), what, size, out),
            };
            if written? {
                return Ok(());
            }
        }
    }
}

impl Side {
    fn state(&self) -> &CommonState {
        match self {
            Self::Client(connection) => connection,
            Self::Server(connection) => connection,
        }
    }

    fn hand_over(self) -> Result<(ExtractedSecrets, Kernel), Error> {
        Ok(match self {
            Self::Client(connection) => {
                let (secrets, kernel) = connection.dangerous_into_kernel_connection()?;
                (secrets, Kernel::Client(Box::new(kernel)))
            }
            Self::Server(connection) => {
                let (secrets, kernel) = connection.dangerous_into_kernel_connection()?;
                (secrets, Kernel::Server(Box::new(kernel)))
            }
        })
    }
}

/// Makes a panic an error.
#[inline]
fn contain<T>(act: impl FnOnce() -> T) -> Result<T, Error> {
    panic::catch_unwind(AssertUnwindSafe(act)).map_err(|panic| {
        let message = panic_message(&*panic);
        log::error!("TLS: panic: {message}");
        Error::General(format!("panic: {message}"))
    })
}

fn lost() -> Error {
    Error::General("rustls did not hand over its secrets".into())
}

/// Length of the first record, if it is all there.
fn first_record(incoming: &[u8]) -> Option<usize> {
    let (header, body) = incoming.split_first_chunk::<HEADER>()?;
    let len = usize::from(u16::from_be_bytes([header[3], header[4]]));
    (len <= body.len()).then_some(HEADER + len)
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
