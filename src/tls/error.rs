use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem;
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

/// TLS failed on a connection. Blame: the peer, or what this end was told to trust.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}{}{source}", prefix(*whose), explain(source, *whose))]
pub struct WSTlsError {
    source: Arc<Error>,
    whose: TlsPeer,
}

/// Who is at the other end of a layer of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlsPeer {
    /// The peer of the WebSocket.
    Endpoint,
    /// The `https` proxy on the way to it.
    Proxy,
}

impl WSTlsError {
    /// What rustls said.
    pub fn rustls_error(&self) -> &Error {
        &self.source
    }

    /// Whether the peer's certificate was the problem: unknown issuer, wrong name, out of date, none at all.
    pub fn is_certificate_problem(&self) -> bool {
        matches!(*self.source, Error::InvalidCertificate(_) | Error::NoCertificatesPresented)
    }

    /// Whether it was TLS with an `https` proxy that failed, not TLS with the server behind it.
    pub fn is_from_proxy(&self) -> bool {
        self.whose == TlsPeer::Proxy
    }

    /// `source` failed in the layer of TLS that ends there.
    pub(crate) fn new(source: Error, whose: TlsPeer) -> Self {
        Self { source: Arc::new(source), whose }
    }

    /// The error in `error`, if a TLS stream made it.
    pub(crate) fn in_io(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<WSTlsError> for io::Error {
    fn from(error: WSTlsError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

fn prefix(whose: TlsPeer) -> &'static str {
    match whose {
        TlsPeer::Endpoint => "",
        TlsPeer::Proxy => "with the proxy: ",
    }
}

/// What rustls leaves its reader to guess.
fn explain(error: &Error, whose: TlsPeer) -> &'static str {
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "the peer's certificate was issued by nobody who is trusted: "
        }
        Error::InvalidCertificate(_) => "the peer's certificate was refused: ",
        Error::NoCertificatesPresented => "the client has to present a certificate: ",
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => match whose {
            TlsPeer::Endpoint => "the peer does not speak TLS (a server without it has a ws:// URL): ",
            TlsPeer::Proxy => "the peer does not speak TLS (a proxy without it has an http:// URL): ",
        },
        Error::AlertReceived(AlertDescription::UnknownCA | AlertDescription::BadCertificate) => {
            "the peer refused this end's certificate: "
        }
        _ => "",
    }
}

/// Certificates or keys that were configured cannot be used. Blame: the caller.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WSTlsConfigError {
    /// A file cannot be read, or is not PEM of the right kind.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: Box<Path>,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// Memory is not PEM of the right kind.
    #[error("PEM: {0}")]
    Pem(#[source] pem::Error),
    /// The private key belongs to another certificate than the first of the chain.
    #[error(
        "the private key{} does not belong to the certificate{}",
        in_file(files.as_ref().map(|(_, key)| &**key)),
        in_file(files.as_ref().map(|(chain, _)| &**chain))
    )]
    KeyMismatch {
        /// The files of the chain and of the key; `None` if they came from memory.
        files: Option<(Box<Path>, Box<Path>)>,
    },
    /// rustls refused: a certificate is malformed, or the key is of an unknown kind.
    #[error("{0}")]
    Rejected(#[from] Error),
    /// The certificates that peers are to be judged by cannot be used.
    #[error("trusted certificates: {0}")]
    Trust(Box<str>),
}

/// Returns the file's name, for the message behind the part that was read from it.
fn in_file(file: Option<&Path>) -> String {
    file.map_or_else(String::new, |file| format!(" in {}", file.display()))
}
