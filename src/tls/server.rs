use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{KeyLogFile, RootCertStore, ServerConfig};

use super::{ALPN, WSTlsConfigError, pem, provider};

/// What a server presents to its clients, and what it asks of them.
///
/// Clones share what was built from them, tickets included: servers of several loops that are given clones resume each other's
/// sessions.
///
/// ```no_run
/// # use femtows::*;
/// # fn demo() -> Result<(), WSError> {
/// let tls = WSServerTls::from_pem_files("chain.pem", "key.pem")?;
/// let config = WSServerConfig::default().tls(tls);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct WSServerTls {
    source: Source,
    /// Made from the rest when first asked for; begun anew by each setter.
    built: Arc<OnceLock<Arc<ServerConfig>>>,
}

#[derive(Clone)]
enum Source {
    Own(Arc<Own>),
    Rustls(Arc<ServerConfig>),
}

/// What is made into a `rustls::ServerConfig`.
#[derive(Clone)]
struct Own {
    identity: Arc<CertifiedKey>,
    client_roots: Vec<CertificateDer<'static>>,
    client_certificates: WSClientCertificates,
    session_tickets: usize,
    key_log: bool,
}

/// Whether clients present a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WSClientCertificates {
    /// They are not asked for one.
    #[default]
    Ignored,
    /// They are asked; one that is presented has to be valid.
    Optional,
    /// The handshake fails without a valid one.
    Required,
}

impl WSServerTls {
    /// The certificate, with those that lead to its issuer behind it, and its private key, in PEM files. They are read now.
    ///
    /// # Errors
    /// - [`WSTlsConfigError::File`] if a file cannot be read or holds no certificate, or no key;
    /// - [`WSTlsConfigError::KeyMismatch`] if the key belongs to another certificate;
    /// - [`WSTlsConfigError::Rejected`] if the certificate or the key cannot be used.
    pub fn from_pem_files(chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Self, WSTlsConfigError> {
        Ok(Self::new(pem::identity_in_files(chain.as_ref(), key.as_ref())?))
    }

    /// [`from_pem_files`](Self::from_pem_files) for PEM in memory.
    ///
    /// # Errors
    /// Those of [`from_pem_files`](Self::from_pem_files), with [`WSTlsConfigError::Pem`] in place
    /// of `File`.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, WSTlsConfigError> {
        Ok(Self::new(pem::identity(chain, key)?))
    }

    /// Uses a configuration of rustls. The setters of this type have no effect on it; its own ALPN
    /// protocols are used.
    pub fn from_rustls(config: Arc<ServerConfig>) -> Self {
        Self { source: Source::Rustls(config), built: Arc::default() }
    }

    fn new(identity: Arc<CertifiedKey>) -> Self {
        let own = Own {
            identity,
            client_roots: Vec::new(),
            client_certificates: WSClientCertificates::Ignored,
            session_tickets: 1,
            key_log: false,
        };
        Self { source: Source::Own(Arc::new(own)), built: Arc::default() }
    }

    /// Asks clients for certificates that were issued by one of these authorities, in PEM. Default: they are not asked.
    ///
    /// # Errors
    /// [`WSTlsConfigError::Pem`] if there is no certificate in it.
    pub fn client_certificates(
        self,
        authorities: &[u8],
        ask: WSClientCertificates,
    ) -> Result<Self, WSTlsConfigError> {
        let roots = pem::certificates(authorities)?;
        Ok(self.change(|own| {
            own.client_roots = roots;
            own.client_certificates = ask;
        }))
    }

    /// How many session tickets a client gets after a full TLS 1.3 handshake (RFC 8446 section 4.6.1); each lets it connect once
    /// without the expensive part, and costs this end a few microseconds. 0: sessions are not resumed. Default 1.
    #[must_use]
    pub fn session_tickets(self, count: usize) -> Self {
        self.change(|own| own.session_tickets = count)
    }

    /// Whether session secrets are appended to the file that the environment variable `SSLKEYLOGFILE` names, so that captured
    /// traffic can be decrypted. For debugging only. Default false: the variable has no effect.
    #[must_use]
    pub fn key_log(self, on: bool) -> Self {
        self.change(|own| own.key_log = on)
    }

    fn change(mut self, change: impl FnOnce(&mut Own)) -> Self {
        if let Source::Own(own) = &mut self.source {
            change(Arc::make_mut(own));
            self.built = Arc::default();
        }
        self
    }

    /// The configuration for rustls.
    pub(crate) fn build(&self) -> Result<Arc<ServerConfig>, WSTlsConfigError> {
        if let Some(built) = self.built.get() {
            return Ok(Arc::clone(built));
        }
        let mut config = match &self.source {
            Source::Own(own) => own.build()?,
            Source::Rustls(config) => ServerConfig::clone(config),
        };
        // A request that can be replayed is not worth the round trip.
        config.max_early_data_size = 0;
        Ok(Arc::clone(self.built.get_or_init(|| Arc::new(config))))
    }
}

impl Own {
    fn build(&self) -> Result<ServerConfig, WSTlsConfigError> {
        let builder =
            ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        let builder = if self.client_certificates == WSClientCertificates::Ignored {
            builder.with_no_client_auth()
        } else {
            let mut roots = RootCertStore::empty();
            for root in &self.client_roots {
                roots.add(root.clone())?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
            let verifier = if self.client_certificates == WSClientCertificates::Optional {
                verifier.allow_unauthenticated()
            } else {
                verifier
            };
            let built =
                verifier.build().map_err(|error| WSTlsConfigError::Trust(error.to_string().into()))?;
            builder.with_client_cert_verifier(built)
        };
        let identity = SingleCertAndKey::from(Arc::clone(&self.identity));
        let mut config = builder.with_cert_resolver(Arc::new(identity));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.send_tls13_tickets = self.session_tickets;
        if self.session_tickets > 0 {
            config.ticketer = Ticketer::new()?;
        } else {
            config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        }
        if self.key_log {
            config.key_log = Arc::new(KeyLogFile::new());
        }
        Ok(config)
    }
}

impl fmt::Debug for WSServerTls {
    /// Shows no key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("WSServerTls");
        match &self.source {
            Source::Own(own) => out
                .field("certificates", &own.identity.cert.len())
                .field("client_certificates", &own.client_certificates)
                .field("session_tickets", &own.session_tickets)
                .field("key_log", &own.key_log),
            Source::Rustls(_) => out.field("rustls", &"ServerConfig"),
        };
        out.finish_non_exhaustive()
    }
}
