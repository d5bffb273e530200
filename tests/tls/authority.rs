//! Certificates made for a test.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use femtows::{WSClientCertificates, WSClientTls, WSServerTls};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

/// An authority of the test's own.
pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) chain: String,
    pub(crate) key: String,
}

/// What is wrong with a server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    WrongName,
    Expired,
    UnknownIssuer,
}

pub(crate) const FAULTS: [Fault; 3] = [Fault::WrongName, Fault::Expired, Fault::UnknownIssuer];

impl Fault {
    /// A certificate that is faulty for a server of this name, and the authority that its clients trust.
    pub(crate) fn certificate(self, name: &str) -> (Identity, Authority) {
        let authority = Authority::new();
        match self {
            Self::WrongName => (authority.issue(&["elsewhere.test"]), authority),
            Self::Expired => (authority.issue_until(&[name], 2001), authority),
            Self::UnknownIssuer => (authority.issue(&[name]), Authority::new()),
        }
    }

    /// Words of the error that this library's client gives.
    pub(crate) fn our_words(self) -> &'static str {
        match self {
            Self::WrongName => "elsewhere.test",
            Self::Expired => "expired",
            Self::UnknownIssuer => "issued by nobody who is trusted",
        }
    }
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        // Two authorities do not share a name.
        let name = format!("the test's own authority {:?}", &key.public_key_raw()[..8]);
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate for these names and addresses.
    pub(crate) fn issue(&self, names: &[&str]) -> Identity {
        self.issue_until(names, 4096)
    }

    /// A certificate that is good up to the beginning of this year.
    pub(crate) fn issue_until(&self, names: &[&str], year: i32) -> Identity {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, "a test's own end");
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().unwrap();
        let chain = params.signed_by(&key, &self.issuer).unwrap().pem();
        Identity { chain, key: key.serialize_pem() }
    }

    /// A client that trusts nobody else.
    pub(crate) fn client(&self) -> WSClientTls {
        WSClientTls::default().without_web_roots().ca_pem(self.pem.as_bytes()).unwrap()
    }
}

impl Identity {
    pub(crate) fn server(&self) -> WSServerTls {
        WSServerTls::from_pem(self.chain.as_bytes(), self.key.as_bytes()).unwrap()
    }

    /// A server that can be loaded but not used: the authority of its clients is no certificate.
    pub(crate) fn unusable_server(&self) -> WSServerTls {
        let garbage = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        self.server().client_certificates(garbage, WSClientCertificates::Optional).unwrap()
    }
}

/// A new file with this text: no other test has it.
pub(crate) fn file(name: &str, text: &str) -> PathBuf {
    static FILES: AtomicUsize = AtomicUsize::new(0);
    let own = format!("{}.{}.{name}", env!("CARGO_CRATE_NAME"), FILES.fetch_add(1, Ordering::Relaxed));
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(own);
    std::fs::write(&path, text).unwrap();
    path
}
