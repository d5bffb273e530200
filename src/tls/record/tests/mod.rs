mod faults;
mod forger;
mod twin;

use std::sync::{Arc, OnceLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::version::TLS13;
use rustls::{ClientConfig, Error, RootCertStore, ServerConfig, SupportedCipherSuite};

use crate::buf::RecvBuffer;
use crate::tls::Session;

const NAME: &str = "twin.test";

const SUITES: [SupportedCipherSuite; 3] = [
    aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
    aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
    aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
];

/// Both ends' configurations, with nothing but this suite; secrets may be taken out if `extract`.
fn configs(suite: SupportedCipherSuite, extract: bool) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
    static IDENTITY: OnceLock<(CertificateDer<'static>, Vec<u8>)> = OnceLock::new();
    let (certificate, key) = IDENTITY.get_or_init(|| {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
        (made.cert.der().clone(), made.signing_key.serialize_der())
    });
    let provider = Arc::new(CryptoProvider { cipher_suites: vec![suite], ..aws_lc_rs::default_provider() });
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let client = client.with_protocol_versions(&[&TLS13]).unwrap();
    let mut client = client.with_root_certificates(roots).with_no_client_auth();
    client.enable_secret_extraction = extract;
    let server = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.clone()));
    let mut server = server.with_no_client_auth().with_single_cert(vec![certificate.clone()], key).unwrap();
    server.enable_secret_extraction = extract;
    server.send_tls13_tickets = 2;
    (Arc::new(client), Arc::new(server))
}

fn name() -> ServerName<'static> {
    ServerName::try_from(NAME).unwrap()
}

/// One end of ours: what it was not done with, what it has received, what it has to send.
struct End {
    session: Session,
    rest: Vec<u8>,
    plain: RecvBuffer,
    out: Vec<u8>,
}

impl End {
    fn new(session: Session) -> Self {
        Self { session, rest: Vec::new(), plain: RecvBuffer::default(), out: Vec::new() }
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.rest.extend_from_slice(bytes);
        let done = self.session.open(&mut self.rest, &mut self.plain, &mut self.out)?;
        self.rest.drain(..done);
        Ok(())
    }

    fn send(&mut self, plain: &[u8]) {
        self.session.seal(plain, &mut self.rest, &mut self.out).unwrap();
    }

    fn take_plain(&mut self) -> Vec<u8> {
        let plain = self.plain.filled().to_vec();
        self.plain.clear();
        plain
    }
}

/// Numbers that look random, from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}
