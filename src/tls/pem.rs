//! PEM (RFC 7468): certificates and keys, from files or from memory.

use std::path::Path;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::WSTlsConfigError;

/// All certificates in a file; at least one.
pub(super) fn certificates_in_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, WSTlsConfigError> {
    let fail = |source| in_file(path, source);
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(fail)?.collect();
    at_least_one(found.map_err(fail)?).map_err(fail)
}

/// All certificates in memory; at least one.
pub(super) fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, WSTlsConfigError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    found.and_then(at_least_one).map_err(WSTlsConfigError::Pem)
}

/// The first private key in a file: PKCS#8, PKCS#1 or SEC1.
pub(super) fn key_in_file(path: &Path) -> Result<PrivateKeyDer<'static>, WSTlsConfigError> {
    PrivateKeyDer::from_pem_file(path).map_err(|source| in_file(path, source))
}

/// The first private key in memory.
pub(super) fn key(text: &[u8]) -> Result<PrivateKeyDer<'static>, WSTlsConfigError> {
    PrivateKeyDer::from_pem_slice(text).map_err(WSTlsConfigError::Pem)
}

fn in_file(path: &Path, source: pem::Error) -> WSTlsConfigError {
    WSTlsConfigError::File { path: path.into(), source }
}

fn at_least_one<T>(found: Vec<T>) -> Result<Vec<T>, pem::Error> {
    if found.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(found) }
}
