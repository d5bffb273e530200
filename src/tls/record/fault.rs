use rustls::{AlertDescription, ContentType, Error, HandshakeType, InvalidMessage, PeerMisbehaved};

/// Why a connection cannot go on, and what the peer is told.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) error: Error,
    /// Nothing is said to a peer that has given up itself.
    pub(super) alert: Option<AlertDescription>,
}

impl Fault {
    #[cold]
    pub(super) fn new(error: impl Into<Error>, alert: AlertDescription) -> Self {
        Self { error: error.into(), alert: Some(alert) }
    }

    /// Not sealed by the peer, or not for this place (RFC 8446 section 5.2).
    #[cold]
    pub(super) fn bad_record() -> Self {
        Self::new(Error::DecryptError, AlertDescription::BadRecordMac)
    }

    /// Out of place.
    #[cold]
    pub(super) fn unexpected(what: PeerMisbehaved) -> Self {
        Self::new(what, AlertDescription::UnexpectedMessage)
    }

    /// A record of a type that has no place here.
    #[cold]
    pub(super) fn inappropriate_record(kind: ContentType) -> Self {
        let error = Error::InappropriateMessage {
            expect_types: vec![ContentType::ApplicationData, ContentType::Handshake, ContentType::Alert],
            got_type: kind,
        };
        Self::new(error, AlertDescription::UnexpectedMessage)
    }

    /// A handshake message that has no place behind the handshake.
    #[cold]
    pub(super) fn inappropriate_message(kind: HandshakeType, expected: Vec<HandshakeType>) -> Self {
        let error = Error::InappropriateHandshakeMessage { expect_types: expected, got_type: kind };
        Self::new(error, AlertDescription::UnexpectedMessage)
    }

    /// Cannot be read.
    #[cold]
    pub(super) fn malformed(what: InvalidMessage) -> Self {
        Self::new(what, AlertDescription::DecodeError)
    }

    /// The peer has given up.
    #[cold]
    pub(super) fn told(alert: AlertDescription) -> Self {
        Self { error: Error::AlertReceived(alert), alert: None }
    }
}

/// A failure of this end's own.
impl From<Error> for Fault {
    #[cold]
    fn from(error: Error) -> Self {
        Self::new(error, AlertDescription::InternalError)
    }
}
