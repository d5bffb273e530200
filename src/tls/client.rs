use std::fmt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionMemoryCache, ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DigitallySignedStruct, Error, KeyLogFile, RootCertStore, SignatureScheme};

use super::{ALPN, ClientSetup, WSTlsConfigError, pem, provider};

/// Servers whose sessions are kept for resumption, as by rustls' default.
const SESSIONS: usize = 256;

/// Whom a client trusts, and what it presents.
///
/// By default servers are judged by Mozilla's root certificates, which are compiled in. Clones share what was built from them:
/// connections made with clones resume each other's sessions.
///
/// ```no_run
/// # use femtows::*;
/// # fn demo() -> Result<(), WSError> {
/// let tls = WSClientTls::default().ca_file("company-root.pem")?;
/// let config = WSConnectConfig::default().tls(tls);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct WSClientTls {
    source: Source,
    /// Made from the rest when first asked for; begun anew by each setter.
    built: Arc<OnceLock<ClientSetup>>,
}

#[derive(Clone)]
enum Source {
    Own(Arc<Own>),
    Rustls(Arc<ClientConfig>),
}

impl Default for Source {
    fn default() -> Self {
        Self::Own(Arc::default())
    }
}

/// What is made into a `rustls::ClientConfig`.
#[derive(Clone, Default)]
struct Own {
    trust: Trust,
    extra_roots: Vec<CertificateDer<'static>>,
    identity: Option<Arc<CertifiedKey>>,
    key_log: bool,
}

/// Who judges a server's certificate.
#[derive(Clone, Copy, Debug, Default)]
enum Trust {
    #[default]
    WebRoots,
    /// Nobody but the extra roots.
    ExtraRootsOnly,
    #[cfg(feature = "tls-platform-verifier")]
    Platform,
    Anything,
}

impl WSClientTls {
    /// Uses a configuration of rustls. The setters of this type have no effect on it; its own ALPN
    /// protocols are used.
    pub fn from_rustls(config: Arc<ClientConfig>) -> Self {
        Self { source: Source::Rustls(config), built: Arc::default() }
    }

    /// Trusts the authorities in this PEM file too.
    ///
    /// # Errors
    /// [`WSTlsConfigError::File`] if the file cannot be read or holds no certificate.
    pub fn ca_file(self, path: impl AsRef<Path>) -> Result<Self, WSTlsConfigError> {
        let roots = pem::certificates_in_file(path.as_ref())?;
        Ok(self.change(|own| own.extra_roots.extend(roots)))
    }

    /// Trusts the authorities in this PEM text too.
    ///
    /// # Errors
    /// [`WSTlsConfigError::Pem`] if there is no certificate in it.
    pub fn ca_pem(self, text: &[u8]) -> Result<Self, WSTlsConfigError> {
        let roots = pem::certificates(text)?;
        Ok(self.change(|own| own.extra_roots.extend(roots)))
    }

    /// Trusts nobody but the authorities given with [`ca_file`](Self::ca_file) and [`ca_pem`](Self::ca_pem).
    #[must_use]
    pub fn without_web_roots(self) -> Self {
        self.change(|own| own.trust = Trust::ExtraRootsOnly)
    }

    /// Lets the operating system judge, by the certificates that it trusts, instead of Mozilla's roots.
    #[cfg(feature = "tls-platform-verifier")]
    #[must_use]
    pub fn platform_verifier(self) -> Self {
        self.change(|own| own.trust = Trust::Platform)
    }

    /// Accepts **any** certificate, for any name: whoever is on the way can read and change everything. For tests on machines of
    /// one's own.
    ///
    /// Each call logs a warning; clones of the configuration and connections made with it do not.
    #[must_use]
    pub fn dangerous_accept_any_certificate(self) -> Self {
        self.change(|own| {
            log::warn!("TLS: any certificate is accepted for any name, so connections are not protected");
            own.trust = Trust::Anything;
        })
    }

    /// The certificate to present if the server asks for one, with those that lead to its issuer, and its private key, in PEM
    /// files. Default none.
    ///
    /// # Errors
    /// - [`WSTlsConfigError::File`] if a file cannot be read or holds no certificate, or no key;
    /// - [`WSTlsConfigError::KeyMismatch`] if the key belongs to another certificate;
    /// - [`WSTlsConfigError::Rejected`] if the certificate or the key cannot be used.
    pub fn identity_files(
        self,
        chain: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, WSTlsConfigError> {
        let identity = pem::identity_in_files(chain.as_ref(), key.as_ref())?;
        Ok(self.change(|own| own.identity = Some(identity)))
    }

    /// [`identity_files`](Self::identity_files) for PEM in memory.
    ///
    /// # Errors
    /// Those of [`identity_files`](Self::identity_files), with [`WSTlsConfigError::Pem`] in place
    /// of `File`.
    pub fn identity_pem(self, chain: &[u8], key: &[u8]) -> Result<Self, WSTlsConfigError> {
        let identity = pem::identity(chain, key)?;
        Ok(self.change(|own| own.identity = Some(identity)))
    }

    /// Whether session secrets are appended to the file that the environment variable `SSLKEYLOGFILE` names, so that captured
    /// traffic can be decrypted. For debugging only. Default false: the variable has no effect.
    #[must_use]
    pub fn key_log(self, on: bool) -> Self {
        self.change(|own| own.key_log = on)
    }

    /// The same, but that it presents no certificate.
    pub(crate) fn without_identity(&self) -> Self {
        match &self.source {
            Source::Own(own) if own.identity.is_some() => self.clone().change(|own| own.identity = None),
            Source::Rustls(config) if config.client_auth_cert_resolver.has_certs() => {
                let mut config = ClientConfig::clone(config);
                config.client_auth_cert_resolver = Arc::new(NoIdentity);
                Self::from_rustls(Arc::new(config))
            }
            Source::Own(_) | Source::Rustls(_) => self.clone(),
        }
    }

    fn change(mut self, change: impl FnOnce(&mut Own)) -> Self {
        if let Source::Own(own) = &mut self.source {
            change(Arc::make_mut(own));
            self.built = Arc::default();
        }
        self
    }

    /// The configuration of those who configured nothing: one for the process, so that sessions are resumed.
    pub(crate) fn shared_default() -> Self {
        static DEFAULT: OnceLock<WSClientTls> = OnceLock::new();
        DEFAULT.get_or_init(Self::default).clone()
    }

    /// Returns what sessions are made from.
    pub(crate) fn build(&self) -> Result<ClientSetup, WSTlsConfigError> {
        let own = match &self.source {
            Source::Rustls(config) => return Ok(ClientSetup::of_rustls(Arc::clone(config))),
            Source::Own(own) => own,
        };
        if let Some(built) = self.built.get() {
            return Ok(built.clone());
        }
        let sessions = Arc::new(ClientSessionMemoryCache::new(SESSIONS));
        let setup = ClientSetup::with_store(own.build()?, sessions);
        Ok(self.built.get_or_init(|| setup).clone())
    }
}

/// Presents nothing.
#[derive(Debug)]
struct NoIdentity;

impl ResolvesClientCert for NoIdentity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

impl Own {
    fn build(&self) -> Result<ClientConfig, WSTlsConfigError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier()?);
        let mut config = match &self.identity {
            Some(identity) => {
                let identity = SingleCertAndKey::from(Arc::clone(identity));
                builder.with_client_cert_resolver(Arc::new(identity))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        if self.key_log {
            config.key_log = Arc::new(KeyLogFile::new());
        }
        Ok(config)
    }

    fn verifier(&self) -> Result<Arc<dyn ServerCertVerifier>, WSTlsConfigError> {
        let web = match self.trust {
            Trust::Anything => return Ok(Arc::new(AcceptsAnything(provider()))),
            #[cfg(feature = "tls-platform-verifier")]
            Trust::Platform => {
                let roots = self.extra_roots.iter().cloned();
                let verifier = rustls_platform_verifier::Verifier::new_with_extra_roots(roots, provider())?;
                return Ok(Arc::new(verifier));
            }
            Trust::WebRoots => webpki_roots::TLS_SERVER_ROOTS,
            Trust::ExtraRootsOnly => &[],
        };
        let mut roots = RootCertStore { roots: web.to_vec() };
        for root in &self.extra_roots {
            roots.add(root.clone())?;
        }
        let built: Result<Arc<WebPkiServerVerifier>, _> =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
        Ok(built.map_err(|error| WSTlsConfigError::Trust(error.to_string().into()))?)
    }
}

impl fmt::Debug for WSClientTls {
    /// Shows no key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("WSClientTls");
        match &self.source {
            Source::Own(own) => out
                .field("trust", &own.trust)
                .field("extra_roots", &own.extra_roots.len())
                .field("identity", &own.identity.is_some())
                .field("key_log", &own.key_log),
            Source::Rustls(_) => out.field("rustls", &"ClientConfig"),
        };
        out.finish_non_exhaustive()
    }
}

/// Checks that the server has the key of the certificate it shows, and nothing about the certificate.
#[derive(Debug)]
struct AcceptsAnything(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptsAnything {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
