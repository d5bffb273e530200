//! PEM (RFC 7468): certificates and keys, from files or from memory.

use std::path::Path;
use std::sync::Arc;

use rustls::Error;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::{WSTlsConfigError, provider};

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

/// Reads a certificate, with its chain, and its key (PKCS#8, PKCS#1 or SEC1) from two files.
///
/// # Errors
/// If a file cannot be read or lacks its part, or if the key belongs to another certificate.
pub(super) fn identity_in_files(chain: &Path, key: &Path) -> Result<Arc<CertifiedKey>, WSTlsConfigError> {
    let files = || Some((chain.into(), key.into()));
    let certificates = certificates_in_file(chain)?;
    let private_key = PrivateKeyDer::from_pem_file(key).map_err(|source| in_file(key, source))?;
    certified(certificates, private_key, files)
}

/// [`identity_in_files`] for memory.
pub(super) fn identity(chain: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, WSTlsConfigError> {
    let chain = certificates(chain)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(WSTlsConfigError::Pem)?;
    certified(chain, key, || None)
}

fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    files: impl FnOnce() -> Option<(Box<Path>, Box<Path>)>,
) -> Result<Arc<CertifiedKey>, WSTlsConfigError> {
    CertifiedKey::from_der(chain, key, &provider()).map(Arc::new).map_err(|error| match error {
        Error::InconsistentKeys(_) => WSTlsConfigError::KeyMismatch { files: files() },
        error => error.into(),
    })
}

fn in_file(path: &Path, source: pem::Error) -> WSTlsConfigError {
    WSTlsConfigError::File { path: path.into(), source }
}

fn at_least_one<T>(found: Vec<T>) -> Result<Vec<T>, pem::Error> {
    if found.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(found) }
}
