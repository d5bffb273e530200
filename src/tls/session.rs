use std::convert::Infallible;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, OnceLock};

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError, UnbufferedStatus,
    WriteTraffic,
};
use rustls::{CommonState, Error, ServerConfig};

use crate::buf::{RecvBuffer, ScratchBuffer};
use crate::sys::panic_message;

use super::tickets::{ClientSetup, TicketCount};
use super::{WSTlsInfo, sni};

/// Largest plaintext of a record in bytes (RFC 8446 section 5.1).
pub(crate) const MAX_PLAINTEXT: usize = 16 * 1024;

/// Upper bound of what sealing adds to a record, in bytes: header, explicit nonce, content type and
/// tag.
const RECORD_OVERHEAD: usize = 64;

/// Content type, version and length of a record, in bytes.
const HEADER: usize = 5;

/// Largest body of a record in bytes (RFC 5246 section 6.2.3; TLS 1.3 allows less).
const MAX_BODY: usize = MAX_PLAINTEXT + 2048;

/// Bytes of records that may follow each other without application data. Tickets, key updates,
/// padding and the whole handshake are far below; beyond it the peer only costs time.
const MAX_WITHOUT_DATA: usize = 256 * 1024;

/// Bytes that may be held before the peer is authenticated: rustls refuses messages of 64 KiB, but
/// records of one byte make six bytes of each.
const MAX_HELD: usize = 64 * 1024;

/// One side of a TLS connection, without I/O: records in, plaintext and records out.
///
/// This is the only file that uses rustls' unbuffered interface, which later versions do not have.
///
/// A panic in what the application configured, such as a certificate verifier, is an error of this
/// connection. Errors are final.
pub(crate) struct Session {
    side: Box<Side>,
    /// The name in the `ClientHello`.
    server_name: Arc<OnceLock<Box<str>>>,
    /// Session tickets since the last application data; clients only.
    tickets: Option<Arc<TicketCount>>,
    /// Length of the whole records at the front of the bytes that come again, of which rustls has
    /// seen each: pieces of an incomplete handshake message. rustls continues behind them by
    /// offset, so it has to be shown all of them each time.
    seen: usize,
    /// Bytes of records since the last application data.
    without_data: usize,
    /// `close_notify` has arrived.
    peer_closed: bool,
    /// There was an error or a panic.
    failed: bool,
}

enum Side {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

/// The reason why plaintext was not sealed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealError {
    #[error("the TLS handshake is not done")]
    NotReady,
    #[error("TLS: {0}")]
    Failed(#[from] Error),
    #[error("TLS: {0}")]
    Exhausted(EncryptError),
}

/// The next step that rustls requires.
enum Next {
    /// Application data was appended.
    Data,
    Again,
    PeerClosed,
    Rest,
}

/// The first record of some bytes.
enum First {
    /// Its length with the header.
    Whole(usize),
    Incomplete,
    /// Not a record, which is certain before it is whole.
    Invalid,
}

impl Session {
    pub(crate) fn client(setup: &ClientSetup, name: ServerName<'static>) -> Result<Self, Error> {
        let server_name = Arc::new(OnceLock::new());
        if let ServerName::DnsName(name) = &name
            && setup.config.enable_sni
        {
            server_name.get_or_init(|| name.as_ref().into());
        }
        let (config, tickets) = setup.for_connection();
        let connection = contain(|| UnbufferedClientConnection::new(config, name))??;
        Ok(Self::new(Side::Client(connection), server_name, tickets))
    }

    pub(crate) fn server(config: &Arc<ServerConfig>) -> Result<Self, Error> {
        let (config, server_name) = sni::noting_server_name(config);
        let connection = contain(|| UnbufferedServerConnection::new(config))??;
        Ok(Self::new(Side::Server(connection), server_name, None))
    }

    fn new(side: Side, server_name: Arc<OnceLock<Box<str>>>, tickets: Option<Arc<TicketCount>>) -> Self {
        Self {
            side: Box::new(side),
            server_name,
            tickets,
            seen: 0,
            without_data: 0,
            peer_closed: false,
            failed: false,
        }
    }

    /// Opens the whole records at the front of `incoming`. Appends plaintext to `plain` and answers
    /// to `out`. Returns the number of bytes that are consumed; the rest has to come again, with
    /// more behind it.
    ///
    /// On an error the alert for the peer is in `out`, and plaintext that came before in `plain`.
    #[inline]
    pub(crate) fn open(
        &mut self,
        incoming: &mut [u8],
        plain: &mut RecvBuffer,
        out: &mut ScratchBuffer,
    ) -> Result<usize, Error> {
        self.contained(|session| session.open_records(incoming, plain, out))
    }

    /// Appends `plain` to `out`, as records of at most [`MAX_PLAINTEXT`] bytes each. `rest` is what
    /// [`open`](Self::open) did not consume.
    #[inline]
    pub(crate) fn seal(
        &mut self,
        plain: &[u8],
        rest: &mut [u8],
        out: &mut ScratchBuffer,
    ) -> Result<(), SealError> {
        let records = plain.len().div_ceil(MAX_PLAINTEXT) + 1;
        let size = plain.len() + records * RECORD_OVERHEAD;
        self.contained(|session| session.write(&Writes::Data(plain), rest, size, out))
    }

    /// Appends `close_notify` (RFC 8446 section 6.1) to `out`; nothing before the handshake is
    /// done. `rest` as for [`seal`](Self::seal).
    pub(crate) fn close(&mut self, rest: &mut [u8], out: &mut ScratchBuffer) {
        let closed = self.contained(|session| session.write(&Writes::Close, rest, RECORD_OVERHEAD, out));
        if let Err(error) = closed {
            log::debug!("no close_notify: {error}");
        }
    }

    #[inline]
    pub(crate) fn is_handshaking(&self) -> bool {
        self.side.state().is_handshaking()
    }

    pub(crate) fn is_server(&self) -> bool {
        matches!(*self.side, Side::Server(_))
    }

    /// Returns `true` if `close_notify` has arrived.
    #[inline]
    pub(crate) fn is_peer_closed(&self) -> bool {
        self.peer_closed
    }

    /// Returns `true` while what [`open`](Self::open) did not consume may grow beyond a record: a
    /// handshake message is incomplete.
    #[inline]
    pub(crate) fn is_gathering(&self) -> bool {
        self.seen > 0 || self.is_handshaking()
    }

    pub(crate) fn info(&self) -> Option<WSTlsInfo> {
        let state = self.side.state();
        let server_name = self.server_name.get().map(|name| &**name);
        WSTlsInfo::of(state, server_name).filter(|_| !state.is_handshaking())
    }

    /// Makes errors final, and a panic an error. Bytes are only ever appended, so those before are
    /// whole.
    #[inline]
    fn contained<T, E: From<Error>>(&mut self, act: impl FnOnce(&mut Self) -> Result<T, E>) -> Result<T, E> {
        if self.failed {
            return Err(Error::General("the TLS session has failed before".into()).into());
        }
        contain(|| act(self)).unwrap_or_else(|panic| {
            self.failed = true;
            Err(panic.into())
        })
    }

    fn open_records(
        &mut self,
        incoming: &mut [u8],
        plain: &mut RecvBuffer,
        out: &mut ScratchBuffer,
    ) -> Result<usize, Error> {
        let mut done = 0;
        let mut whole = self.seen;
        if incoming.is_empty() {
            // A client begins.
            return self.follow_rustls(incoming, plain, out);
        }
        // rustls is shown one record at a time. It would process any number of messages without
        // data in one call; and after a record of data it has nothing more to return.
        loop {
            let len = match first_record(&incoming[whole..]) {
                First::Whole(len) => len,
                First::Incomplete => break,
                First::Invalid => {
                    // rustls returns the error.
                    done += self.follow_rustls(&mut incoming[done..], plain, out)?;
                    break;
                }
            };
            whole += len;
            let before = plain.len();
            done += self.follow_rustls(&mut incoming[done..whole], plain, out)?;
            if self.peer_closed {
                // What follows `close_notify` is ignored (RFC 8446 section 6.1).
                self.seen = 0;
                return Ok(incoming.len());
            }
            if plain.len() > before {
                self.data_arrived();
            } else {
                self.check_without_data(len, &incoming[done..whole], out)?;
            }
        }
        self.seen = whole - done;
        if incoming.len() - done > MAX_HELD && self.is_handshaking() {
            return Err(self.refuse("a handshake message is too long", &incoming[done..whole], out));
        }
        Ok(done)
    }

    #[inline]
    fn data_arrived(&mut self) {
        self.without_data = 0;
        if let Some(tickets) = &self.tickets {
            tickets.data_arrived();
        }
    }

    /// Checks the bounds after a record of `len` bytes without data.
    #[cold]
    fn check_without_data(&mut self, len: usize, seen: &[u8], out: &mut ScratchBuffer) -> Result<(), Error> {
        self.without_data += len;
        if self.without_data > MAX_WITHOUT_DATA {
            return Err(self.refuse("too many bytes without application data", seen, out));
        }
        if self.tickets.as_ref().is_some_and(|tickets| tickets.is_exceeded()) {
            return Err(self.refuse("too many session tickets", seen, out));
        }
        Ok(())
    }

    /// Returns the error for a peer that exceeds a bound, and appends an alert to `out`. `seen` is
    /// what rustls has seen and not consumed.
    #[cold]
    fn refuse(&mut self, why: &str, seen: &[u8], out: &mut ScratchBuffer) -> Error {
        // rustls sends no alert on request, only for a record that it refuses. Behind the handshake
        // a ChangeCipherSpec makes it send `unexpected_message`; during the handshake, where one
        // would be ignored, and within a handshake message, an unknown content type makes it send
        // `decode_error`.
        let record: &[u8] =
            if self.is_handshaking() || !seen.is_empty() { &[0; HEADER] } else { &[20, 3, 3, 0, 1, 1] };
        let mut shown = [seen, record].concat();
        if self.follow_rustls(&mut shown, &mut RecvBuffer::default(), out).is_ok() {
            log::debug!("TLS: no alert for: {why}");
        }
        self.failed = true;
        Error::General(why.into())
    }

    /// Does what rustls requires until it requires more records. Returns the number of bytes that
    /// are consumed.
    fn follow_rustls(
        &mut self,
        incoming: &mut [u8],
        plain: &mut RecvBuffer,
        out: &mut ScratchBuffer,
    ) -> Result<usize, Error> {
        let mut done = 0;
        loop {
            let (discard, next) = self.step(&mut incoming[done..], plain, out);
            done += discard;
            match next {
                // A further call would find nothing.
                Ok(Next::Data) if done == incoming.len() && !self.side.state().wants_write() => {
                    return Ok(done);
                }
                Ok(Next::Data | Next::Again) => {}
                Ok(Next::PeerClosed) => self.peer_closed = true,
                Ok(Next::Rest) => return Ok(done),
                Err(error) => {
                    self.failed = true;
                    // The alert for the peer follows the error. Nothing more may be opened.
                    while self.side.state().wants_write()
                        && let (_, Ok(Next::Again)) = self.step(&mut incoming[done..], plain, out)
                    {
                    }
                    return Err(error);
                }
            }
        }
    }

    #[inline]
    fn step(
        &mut self,
        incoming: &mut [u8],
        plain: &mut RecvBuffer,
        out: &mut ScratchBuffer,
    ) -> (usize, Result<Next, Error>) {
        match &mut *self.side {
            Side::Client(connection) => follow(connection.process_tls_records(incoming), plain, out),
            Side::Server(connection) => follow(connection.process_tls_records(incoming), plain, out),
        }
    }

    fn write(
        &mut self,
        what: &Writes<'_>,
        rest: &mut [u8],
        size: usize,
        out: &mut ScratchBuffer,
    ) -> Result<(), SealError> {
        // Of an incomplete record rustls needs nothing.
        let seen = &mut rest[..self.seen];
        loop {
            let written = match &mut *self.side {
                Side::Client(connection) => write(connection.process_tls_records(seen), what, size, out),
                Side::Server(connection) => write(connection.process_tls_records(seen), what, size, out),
            };
            if written? {
                return Ok(());
            }
        }
    }
}

impl Side {
    #[inline]
    fn state(&self) -> &CommonState {
        match self {
            Self::Client(connection) => connection,
            Self::Server(connection) => connection,
        }
    }
}

/// Makes a panic an error.
#[inline]
fn contain<T>(act: impl FnOnce() -> T) -> Result<T, Error> {
    panic::catch_unwind(AssertUnwindSafe(act)).map_err(|panic| {
        let message = panic_message(&*panic);
        error_limited!("TLS: panic: {message}");
        Error::General(format!("panic: {message}"))
    })
}

#[inline]
fn first_record(incoming: &[u8]) -> First {
    let Some((&[kind, major, _, high, low], body)) = incoming.split_first_chunk::<HEADER>() else {
        // One byte distinguishes other protocols from TLS.
        return if matches!(incoming, [] | [20..=24, ..]) { First::Incomplete } else { First::Invalid };
    };
    let len = usize::from(u16::from_be_bytes([high, low]));
    if len <= body.len() {
        First::Whole(HEADER + len)
    } else if matches!(kind, 20..=24) && major == 3 && len < MAX_BODY {
        First::Incomplete
    } else {
        First::Invalid
    }
}

/// Does what rustls requires.
#[inline]
fn follow<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    plain: &mut RecvBuffer,
    out: &mut ScratchBuffer,
) -> (usize, Result<Next, Error>) {
    let mut discard = status.discard;
    let next = match status.state {
        Err(error) => Err(error),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                None => break Ok(Next::Data),
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

/// The bytes to write once the connection can be written to.
enum Writes<'a> {
    Data(&'a [u8]),
    Close,
}

/// Returns `true` if it was written. Something of rustls' own may have to go first.
#[inline]
fn write<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    what: &Writes<'_>,
    size: usize,
    out: &mut ScratchBuffer,
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

fn encode<Data>(mut data: EncodeTlsData<'_, Data>, out: &mut ScratchBuffer) {
    let encoded: Result<(), Infallible> = append(out, RECORD_OVERHEAD, |place| match data.encode(place) {
        Ok(n) => Ok(n),
        Err(EncodeError::InsufficientSize(size)) => Err(Ok(size)),
        Err(EncodeError::AlreadyEncoded) => Ok(0),
    });
    match encoded {
        Ok(()) => {}
    }
}

#[inline]
fn encrypt<Data>(
    traffic: &mut WriteTraffic<'_, Data>,
    out: &mut ScratchBuffer,
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

/// Appends what `fill` writes into the place it is given: `size` bytes, or as many as it requires.
#[inline]
fn append<E>(
    out: &mut ScratchBuffer,
    mut size: usize,
    mut fill: impl FnMut(&mut [u8]) -> Result<usize, Result<InsufficientSizeError, E>>,
) -> Result<(), E> {
    loop {
        match fill(out.spare(size)) {
            Ok(written) => {
                out.advance(written);
                return Ok(());
            }
            Err(Ok(insufficient)) => size = insufficient.required_size,
            Err(Err(error)) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
