//! Certificate and key: made for one server process, handed to it as files, trusted by the generator.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::provider;

/// The name in the certificate, which the generator asks for.
pub(crate) const SERVER_NAME: &str = "localhost";

/// A self-signed ECDSA certificate on P-256, and files of it that are removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Identity {
    folder: PathBuf,
    certificate: CertificateDer<'static>,
}

impl Identity {
    /// Makes one, and writes `cert.pem` and `key.pem` into a new folder for temporary files that only this user can read.
    ///
    /// # Errors
    /// If the files cannot be written.
    pub(crate) fn create() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed([SERVER_NAME.to_owned()])?;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("femtows-perf-tls-{}-{count}", std::process::id()));
        create_private(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let identity = Self { folder, certificate: cert.der().clone() };
        fs::write(identity.certificate_file(), cert.pem()).context("cannot write the certificate")?;
        fs::write(identity.key_file(), signing_key.serialize_pem()).context("cannot write the key")?;
        Ok(identity)
    }

    /// Where the certificate is.
    pub(crate) fn certificate_file(&self) -> PathBuf {
        self.folder.join("cert.pem")
    }

    /// Where its key is.
    pub(crate) fn key_file(&self) -> PathBuf {
        self.folder.join("key.pem")
    }

    /// What the generator connects with: it trusts this certificate only, and never resumes a session.
    ///
    /// # Errors
    /// None that is known: certificate and algorithms are ours.
    pub(crate) fn client_config(&self) -> Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone())?;
        let config = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13])?;
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        // What cannot be removed is of use to nobody: the certificate is trusted by this process only.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// What a server on rustls that belongs to the harness accepts: as said for all servers, without session tickets.
///
/// # Errors
/// If a file cannot be read, or the key is not that of the certificate.
pub(crate) fn server_config(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>> {
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
    let chain = chain.with_context(|| format!("no certificate in {}", certificate.display()))?;
    let key =
        PrivateKeyDer::from_pem_file(key).with_context(|| format!("no private key in {}", key.display()))?;
    let config = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13])?;
    let mut config = config.with_no_client_auth().with_single_cert(chain, key)?;
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn create_private(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().mode(0o700).create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_serve_and_go() {
        let (identity, other) = (Identity::create().unwrap(), Identity::create().unwrap());
        server_config(&identity.certificate_file(), &identity.key_file()).unwrap();
        server_config(&identity.certificate_file(), &other.key_file()).unwrap_err();
        let folder = identity.folder.clone();
        drop(identity);
        assert!(!folder.exists());
        assert!(other.key_file().exists());
    }
}
