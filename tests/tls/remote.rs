//! The peer on a simulated link: rustls, without any help of the library.

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;

use femtows::proto::WSMsgType;
use femtows::testkit::{Peer, TestKit};
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, Iv, MessageDecrypter, MessageEncrypter, OutboundChunks,
    OutboundPlainMessage,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, Connection, ConnectionTrafficSecrets, ContentType,
    Error, ProtocolVersion, RootCertStore, ServerConfig, ServerConnection, SupportedCipherSuite,
    SupportedProtocolVersion,
};

use crate::authority::{Authority, Identity};

pub(crate) type Version = &'static SupportedProtocolVersion;

pub(crate) const VERSIONS: [Version; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

/// With `ChaCha20` only: AWS-LC refuses to go on with keys for AES where rustls stopped, as a
/// [`Forger`] does.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| format!("{suite:?}").contains("CHACHA20"));
    Arc::new(provider)
}

/// A client that speaks this version of TLS and trusts this authority.
pub(crate) fn client_config(authority: &Authority, version: Version) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[version]).unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.enable_secret_extraction = true;
    config
}

/// A server that speaks this version of TLS.
pub(crate) fn server_config(identity: &Identity, version: Version) -> ServerConfig {
    let chain = CertificateDer::pem_slice_iter(identity.chain.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    let builder = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[version]).unwrap();
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key).unwrap();
    config.enable_secret_extraction = true;
    config
}

/// One end of a link that speaks TLS.
pub(crate) struct Remote {
    pub(crate) peer: Peer,
    session: Connection,
    received: Vec<u8>,
    /// The error of rustls for bytes that arrived.
    pub(crate) error: Option<Error>,
}

impl Remote {
    /// A client of a library's server.
    pub(crate) fn client(peer: Peer, config: ClientConfig, name: &str) -> Self {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        Self::new(peer, ClientConnection::new(Arc::new(config), name).unwrap().into())
    }

    /// A server of a library's client.
    pub(crate) fn server(peer: Peer, config: ServerConfig) -> Self {
        Self::new(peer, ServerConnection::new(Arc::new(config)).unwrap().into())
    }

    fn new(peer: Peer, mut session: Connection) -> Self {
        session.set_buffer_limit(None);
        Self { peer, session, received: Vec::new(), error: None }
    }

    /// Runs the loop, and carries records in both directions, until nothing moves.
    pub(crate) fn exchange(&mut self, kit: &mut TestKit) {
        loop {
            kit.run_until_idle();
            let arrived = self.peer.read();
            let waiting = self.sealed();
            if arrived.is_empty() && waiting.is_empty() {
                return;
            }
            self.peer.write(&waiting);
            self.open(&arrived);
        }
    }

    fn open(&mut self, mut arrived: &[u8]) {
        while !arrived.is_empty() && self.error.is_none() {
            // Behind `close_notify` rustls reads nothing.
            if self.session.read_tls(&mut arrived).unwrap() == 0 {
                return;
            }
            self.error = self.session.process_new_packets().err();
            match self.session.reader().read_to_end(&mut self.received) {
                Err(error) if error.kind() != ErrorKind::WouldBlock => panic!("{error}"),
                _ => {}
            }
        }
    }

    /// Both handshakes: TLS, and the upgrade.
    pub(crate) fn upgrade(&mut self, kit: &mut TestKit) {
        if matches!(self.session, Connection::Client(_)) {
            self.session.writer().write_all(&Peer::request()).unwrap();
        }
        self.exchange(kit);
        let head = self.take_received();
        if let Some(response) = Peer::response_to(&head) {
            self.session.writer().write_all(&response).unwrap();
            self.exchange(kit);
        } else {
            assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
        }
    }

    pub(crate) fn take_received(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.received)
    }

    /// Returns the records that the session has to send.
    pub(crate) fn sealed(&mut self) -> Vec<u8> {
        let mut records = Vec::new();
        while self.session.wants_write() {
            self.session.write_tls(&mut records).unwrap();
        }
        records
    }

    /// Records with this frame.
    pub(crate) fn seal_frame(&mut self, msg_type: WSMsgType, payload: &[u8]) -> Vec<u8> {
        let frame = self.peer.encode_frame(msg_type, payload, <_>::default());
        self.seal_bytes(&frame)
    }

    /// Records with these bytes.
    pub(crate) fn seal_bytes(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.session.writer().write_all(bytes).unwrap();
        self.sealed()
    }

    pub(crate) fn seal_close_notify(&mut self) -> Vec<u8> {
        self.session.send_close_notify();
        self.sealed()
    }

    /// Returns `true` if the library's end has sent `close_notify`.
    pub(crate) fn has_close_notify(&mut self) -> bool {
        matches!(self.session.reader().read(&mut [0]), Ok(0))
    }

    /// Seals any records from here on. Nothing is opened any more.
    pub(crate) fn into_forger(self) -> Forger {
        let Some(SupportedCipherSuite::Tls13(suite)) = self.session.negotiated_cipher_suite() else {
            panic!("not TLS 1.3")
        };
        let secrets = self.session.dangerous_extract_secrets().unwrap();
        let (key, iv) = key_and_iv(secrets.tx.1);
        let encrypter = suite.aead_alg.encrypter(key, iv);
        let (key, iv) = key_and_iv(secrets.rx.1);
        let decrypter = suite.aead_alg.decrypter(key, iv);
        Forger { peer: self.peer, encrypter, sealed: secrets.tx.0, decrypter, opened: secrets.rx.0 }
    }
}

/// An end that seals any records.
pub(crate) struct Forger {
    pub(crate) peer: Peer,
    encrypter: Box<dyn MessageEncrypter>,
    sealed: u64,
    decrypter: Box<dyn MessageDecrypter>,
    opened: u64,
}

fn key_and_iv(secrets: ConnectionTrafficSecrets) -> (AeadKey, Iv) {
    match secrets {
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key, iv),
        _ => panic!("another cipher"),
    }
}

impl Forger {
    /// A record with this content.
    pub(crate) fn seal(&mut self, typ: ContentType, content: &[u8]) -> Vec<u8> {
        let payload = OutboundChunks::Single(content);
        let message = OutboundPlainMessage { typ, version: ProtocolVersion::TLSv1_2, payload };
        self.sealed += 1;
        self.encrypter.encrypt(message, self.sealed - 1).unwrap().encode()
    }

    /// The alert in the next record that the library's end has sent.
    pub(crate) fn alert(&mut self) -> AlertDescription {
        let mut record = self.peer.read();
        let body = InboundOpaqueMessage::new(record[0].into(), ProtocolVersion::TLSv1_2, &mut record[5..]);
        let opened = self.decrypter.decrypt(body, self.opened).unwrap();
        assert_eq!(opened.typ, ContentType::Alert);
        opened.payload[1].into()
    }

    /// A record of application data of zero bytes, padded as far as it goes (RFC 8446 section 5.4).
    pub(crate) fn seal_padding(&mut self) -> Vec<u8> {
        let mut inner = vec![0; 16 * 1024];
        inner[0] = ContentType::ApplicationData.into();
        // The last byte of what is padding is taken for the content type.
        self.seal(ContentType::Unknown(0), &inner)
    }
}

/// The shortest `NewSessionTicket` (RFC 8446 section 4.6.1): good for an hour, one byte long.
pub(crate) const TICKET: [u8; 18] = [4, 0, 0, 14, 0, 0, 14, 16, 0, 0, 0, 0, 0, 0, 1, 7, 0, 0];
