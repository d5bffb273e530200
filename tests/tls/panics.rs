//! Panics in what an application brings along for TLS end their connection, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use femtows::testkit::TestKit;
use femtows::*;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, NamedGroup, ServerConfig, SignatureScheme};

use crate::authority::Authority;
use crate::ends::{both_ends, echo, secure_pair};

/// Panics wherever it is asked.
#[derive(Debug)]
struct Panicky;

impl ResolvesServerCert for Panicky {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        panic!("in the resolver")
    }
}

impl ServerCertVerifier for Panicky {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        panic!("in the verifier")
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        unreachable!("the certificate comes first")
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        unreachable!("the certificate comes first")
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// A store of sessions that panics when it is asked for one, or given one.
#[derive(Debug)]
struct PanickyStore {
    at_first: bool,
}

impl ClientSessionStore for PanickyStore {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        assert!(!self.at_first, "in the store");
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, _: Tls13ClientSessionValue) {
        panic!("at the ticket")
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        None
    }
}

/// What the client is told, or that its connection ended; the loop, and a pair that was open before, go on.
fn refused(server: WSServerConfig, client: WSConnectConfig) -> String {
    let mut kit = TestKit::new(1);
    let (neighbours, received) = secure_pair(&mut kit);
    let opening = kit.opening(|_: &WSUpgradeRequest| echo(), |_, _| echo(), server, client);
    let error = match kit.block_on(opening.client) {
        Ok(transport) => format!("{:?}", kit.block_on(transport.wait_disconnected())),
        Err(error) => format!("{error:?}: {error}"),
    };
    assert!(neighbours.client.send(WSMsgType::Text, "still here").is_accepted());
    kit.run_until_idle();
    assert_eq!(received.take(), [b"still here"]);
    kit.advance(Duration::from_secs(3));
    neighbours.client.abort();
    kit.run_until_idle();
    assert_eq!(kit.leftovers(), Vec::<&str>::new());
    error
}

fn client_config() -> ClientConfig {
    let builder = ClientConfig::builder().dangerous();
    builder.with_custom_certificate_verifier(Arc::new(Panicky)).with_no_client_auth()
}

#[test]
fn a_panic_of_a_resolver_of_certificates() {
    let (_, client) = both_ends();
    let resolver = ServerConfig::builder().with_no_client_auth().with_cert_resolver(Arc::new(Panicky));
    let server = WSServerConfig::default().tls(WSServerTls::from_rustls(Arc::new(resolver)));
    let error = refused(server, client);
    assert!(error.contains("closed"), "{error}");
}

#[test]
fn a_panic_of_a_verifier_of_certificates() {
    let (server, _) = both_ends();
    let client = WSConnectConfig::default().tls(WSClientTls::from_rustls(Arc::new(client_config())));
    let error = refused(server, client);
    assert!(error.starts_with("Tls") && error.contains("in the verifier"), "{error}");
}

#[test]
fn a_panic_of_a_store_of_sessions() {
    let authority = Authority::new();
    for at_first in [true, false] {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.resumption = Resumption::store(Arc::new(PanickyStore { at_first }));
        let server = WSServerConfig::default().tls(authority.issue(&["testkit"]).server());
        let client = WSConnectConfig::default().tls(WSClientTls::from_rustls(Arc::new(config)));
        let error = refused(server, client);
        assert!(error.contains(if at_first { "in the store" } else { "at the ticket" }), "{error}");
    }
}
