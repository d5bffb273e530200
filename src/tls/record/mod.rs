//! The record layer of TLS 1.3 behind the handshake (RFC 8446 section 5), without I/O.
//!
//! rustls shakes hands and hands over its traffic secrets; records are opened and sealed here, since rustls makes a copy of each,
//! in memory of its own. What follows from the secrets stays with rustls: new ones after a key update, and session tickets.

mod fault;
#[cfg(feature = "testkit")]
mod fuzz;
mod kernel;
mod keys;
mod post_handshake;
#[cfg(test)]
mod tests;

use rustls::{
    AlertDescription, CommonState, ContentType, Error, InvalidMessage, PeerMisbehaved, ProtocolVersion,
};

use crate::buf::RecvBuffer;

use fault::Fault;
use keys::{Keys, Opened};

#[cfg(feature = "testkit")]
pub use fuzz::fuzz_records;
pub(super) use kernel::Kernel;

/// Most plaintext in a record (RFC 8446 section 5.1), in bytes.
pub(crate) const MAX_PLAINTEXT: usize = 16 * 1024;

/// Type, version and length, in bytes.
pub(super) const HEADER: usize = 5;

/// What proves that a record was not changed, in bytes; all ciphers have the same.
const TAG: usize = 16;

/// Most behind a header, in bytes: plaintext or padding, content type and tag (RFC 8446 section 5.4).
const MAX_BODY: usize = MAX_PLAINTEXT + 1 + TAG;

/// Sealed content at most, beside application data: an alert or a key update, in bytes.
const SMALL_RECORD: usize = HEADER + 5 + 1 + TAG;

/// Records without content that may follow each other: a peer that sends nothing else only costs time.
const MAX_EMPTY_RECORDS: u8 = 32;

/// Warnings that are borne.
const MAX_WARNINGS: u8 = 4;

/// One connection's records, both ways.
///
/// # Invariants
/// - `messages` holds bytes only while a handshake message is incomplete.
/// - After a fault nothing is opened.
pub(super) struct RecordLayer {
    incoming: Keys,
    outgoing: Keys,
    kernel: Kernel,
    /// Most records that may be sealed with the same keys (RFC 8446 section 5.5).
    limit: u64,
    /// The beginning of a handshake message.
    messages: Vec<u8>,
    empty_records: u8,
    warnings: u8,
    /// Key updates since the last application data.
    key_updates: u8,
    /// The peer has asked for new keys and not got them.
    new_keys_wanted: bool,
    /// The peer has said that it sends nothing more.
    peer_closed: bool,
    failure: Option<Error>,
}

/// Whether a connection of rustls, with its handshake done, can go on here.
pub(super) fn can_take_over(state: &CommonState) -> bool {
    state.protocol_version() == Some(ProtocolVersion::TLSv1_3)
        && state.negotiated_cipher_suite().is_some_and(|suite| keys::are_supported(suite.suite()))
}

impl RecordLayer {
    /// Goes on where rustls stopped, between two records in both directions.
    pub(super) fn new(secrets: rustls::ExtractedSecrets, kernel: Kernel) -> Result<Self, Error> {
        Ok(Self {
            incoming: Keys::new(secrets.rx)?,
            outgoing: Keys::new(secrets.tx)?,
            limit: kernel.confidentiality_limit(),
            kernel,
            messages: Vec::new(),
            empty_records: 0,
            warnings: 0,
            key_updates: 0,
            new_keys_wanted: false,
            peer_closed: false,
            failure: None,
        })
    }

    /// Opens the whole records at the front of `incoming`. Appends what the application was sent to `plain`, and what has to be
    /// answered to `out`. Returns how many bytes are done with.
    ///
    /// # Errors
    /// Are final. The alert that tells the peer is in `out`, and what came before the fault in `plain`.
    pub(super) fn open(
        &mut self,
        incoming: &[u8],
        plain: &mut RecvBuffer,
        out: &mut Vec<u8>,
    ) -> Result<usize, Error> {
        if let Some(error) = &self.failure {
            return Err(error.clone());
        }
        let mut done = 0;
        while !self.peer_closed {
            let Some(body) = first_body(&incoming[done..]).map_err(|fault| self.fail(fault, out))? else {
                return Ok(done);
            };
            self.open_record(body, plain).map_err(|fault| self.fail(fault, out))?;
            done += HEADER + body.len();
        }
        // What follows `close_notify` is ignored (RFC 8446 section 6.1).
        Ok(incoming.len())
    }

    /// Appends `plain` to `out`, in records that are full but for the last.
    pub(super) fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        for content in plain.chunks(MAX_PLAINTEXT) {
            if self.new_keys_wanted || self.outgoing.sequence() + 1 >= self.limit {
                self.update_outgoing_keys(out)?;
            }
            self.outgoing.seal(ContentType::ApplicationData, content, out)?;
        }
        Ok(())
    }

    /// Appends `close_notify` (RFC 8446 section 6.1) to `out`.
    pub(super) fn close(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        self.seal_alert(AlertDescription::CloseNotify, out)
    }

    pub(super) fn is_server(&self) -> bool {
        matches!(self.kernel, Kernel::Server(_))
    }

    /// Whether the peer has sent `close_notify`.
    pub(super) fn is_peer_closed(&self) -> bool {
        self.peer_closed
    }

    fn open_record(&mut self, body: &[u8], plain: &mut RecvBuffer) -> Result<(), Fault> {
        match self.incoming.open(body, plain)? {
            Opened::Data(len) => {
                if !self.messages.is_empty() {
                    plain.shorten(len);
                    return Err(Fault::unexpected(PeerMisbehaved::MessageInterleavedWithHandshakeMessage));
                }
                self.key_updates = 0;
                self.count_empty(len)
            }
            Opened::Other(kind, content) => self.process(kind, &content),
        }
    }

    #[cold]
    fn process(&mut self, kind: ContentType, content: &[u8]) -> Result<(), Fault> {
        if kind != ContentType::Handshake && !self.messages.is_empty() {
            return Err(Fault::unexpected(PeerMisbehaved::MessageInterleavedWithHandshakeMessage));
        }
        match kind {
            // Only application data may be empty (RFC 8446 section 5.4).
            ContentType::Handshake | ContentType::Alert if content.is_empty() => {
                Err(Fault::new(InvalidMessage::InvalidEmptyPayload, AlertDescription::UnexpectedMessage))
            }
            ContentType::Handshake => self.process_messages(content),
            ContentType::Alert => self.process_alert(content),
            ContentType::ChangeCipherSpec => {
                Err(Fault::unexpected(PeerMisbehaved::IllegalMiddleboxChangeCipherSpec))
            }
            kind => Err(Fault::inappropriate_record(kind)),
        }
    }

    /// RFC 8446 section 6: what is not a closure is fatal whatever its level says, but for `user_canceled`.
    fn process_alert(&mut self, content: &[u8]) -> Result<(), Fault> {
        /// Alerts are never cut (RFC 8446 section 5.1).
        const MESSAGE: &str = "AlertMessagePayload";
        match *content {
            [_, description] => match AlertDescription::from(description) {
                AlertDescription::CloseNotify => {
                    self.peer_closed = true;
                    Ok(())
                }
                AlertDescription::UserCanceled if self.warnings < MAX_WARNINGS => {
                    self.warnings += 1;
                    Ok(())
                }
                AlertDescription::UserCanceled => {
                    Err(Fault::unexpected(PeerMisbehaved::TooManyWarningAlertsReceived))
                }
                told => Err(Fault::told(told)),
            },
            [_] | [] => Err(Fault::malformed(InvalidMessage::MissingData(MESSAGE))),
            [..] => Err(Fault::malformed(InvalidMessage::TrailingData(MESSAGE))),
        }
    }

    fn count_empty(&mut self, len: usize) -> Result<(), Fault> {
        if len > 0 {
            self.empty_records = 0;
            return Ok(());
        }
        if self.empty_records == MAX_EMPTY_RECORDS {
            return Err(Fault::unexpected(PeerMisbehaved::TooManyEmptyFragments));
        }
        self.empty_records += 1;
        Ok(())
    }

    #[cold]
    fn fail(&mut self, fault: Fault, out: &mut Vec<u8>) -> Error {
        if let Some(alert) = fault.alert
            && let Err(error) = self.seal_alert(alert, out)
        {
            log::debug!("no alert: {error}");
        }
        self.failure.insert(fault.error).clone()
    }

    fn seal_alert(&mut self, description: AlertDescription, out: &mut Vec<u8>) -> Result<(), Error> {
        // RFC 8446 section 6: closures are warnings, all else is fatal.
        let level = if description == AlertDescription::CloseNotify { 1 } else { 2 };
        out.reserve_exact(SMALL_RECORD);
        self.outgoing.seal(ContentType::Alert, &[level, description.into()], out)
    }
}

/// What is behind the header of the first record, if it is all there.
fn first_body(incoming: &[u8]) -> Result<Option<&[u8]>, Fault> {
    let Some((&[kind, major, _, high, low], rest)) = incoming.split_first_chunk::<HEADER>() else {
        return Ok(None);
    };
    // RFC 8446 section 5.2: the version says nothing; but that it is one tells TLS from other protocols.
    if kind != u8::from(ContentType::ApplicationData) || major != 3 {
        return Err(not_sealed(kind.into(), major));
    }
    let len = usize::from(u16::from_be_bytes([high, low]));
    if len > MAX_BODY {
        return Err(Fault::new(Error::PeerSentOversizedRecord, AlertDescription::RecordOverflow));
    }
    Ok(rest.get(..len))
}

#[cold]
fn not_sealed(kind: ContentType, major: u8) -> Fault {
    match kind {
        ContentType::Unknown(_) => Fault::malformed(InvalidMessage::InvalidContentType),
        _ if major != 3 => Fault::malformed(InvalidMessage::UnknownProtocolVersion),
        kind => Fault::inappropriate_record(kind),
    }
}
