//! TLS for the peers: rustls on a blocking socket, without any help of the library.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection};

/// One end of a TLS session. The methods are given the socket that it goes over.
pub(crate) struct Session(Connection);

/// A client that trusts this authority, and resumes no sessions.
pub(crate) fn client_config(authority: &str) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// A server with this certificate, and without tickets.
pub(crate) fn server_config(chain: &str, key: &str) -> Arc<ServerConfig> {
    server_config_with(chain, key, WebPkiClientVerifier::no_client_auth())
}

/// A server that wants a client certificate of this authority.
pub(crate) fn insisting_server_config(chain: &str, key: &str, authority: &str) -> Arc<ServerConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    server_config_with(chain, key, verifier)
}

fn server_config_with(chain: &str, key: &str, verifier: Arc<dyn ClientCertVerifier>) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_client_cert_verifier(verifier).with_single_cert(chain, key).unwrap();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Arc::new(config)
}

impl Session {
    /// A client's, before the handshake.
    pub(crate) fn client(config: &Arc<ClientConfig>) -> Self {
        let name = ServerName::try_from("localhost").unwrap();
        Self::new(ClientConnection::new(Arc::clone(config), name).unwrap().into())
    }

    /// A server's, before the handshake.
    pub(crate) fn server(config: &Arc<ServerConfig>) -> Self {
        Self::new(ServerConnection::new(Arc::clone(config)).unwrap().into())
    }

    fn new(mut connection: Connection) -> Self {
        connection.set_buffer_limit(None);
        Self(connection)
    }

    pub(crate) fn handshake(&mut self, socket: &mut (impl Read + Write)) -> io::Result<()> {
        while self.0.is_handshaking() {
            self.send(socket)?;
            if self.0.is_handshaking() {
                self.receive(socket)?;
            }
        }
        self.send(socket)
    }

    /// One read; a server's answer to what came is left for [`sealed`](Self::sealed).
    pub(crate) fn receive(&mut self, socket: &mut impl Read) -> io::Result<()> {
        if self.0.read_tls(socket)? == 0 && self.0.is_handshaking() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.0.process_new_packets().map(drop).map_err(io::Error::other)
    }

    /// What is to be sent.
    pub(crate) fn sealed(&mut self) -> Vec<u8> {
        let mut records = Vec::new();
        self.send(&mut records).unwrap();
        records
    }

    /// `bytes` as records.
    pub(crate) fn seal(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.0.writer().write_all(bytes).unwrap();
        self.sealed()
    }

    pub(crate) fn write(&mut self, socket: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
        self.0.writer().write_all(bytes).unwrap();
        self.send(socket)
    }

    /// `Ok(0)` behind `close_notify` only.
    pub(crate) fn read(&mut self, socket: &mut (impl Read + Write), buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return result,
            }
            self.receive(socket)?;
            self.send(socket)?;
        }
    }

    /// New keys, now and, by request, those of the other end.
    pub(crate) fn update_keys(&mut self) -> Vec<u8> {
        self.0.refresh_traffic_keys().unwrap();
        self.sealed()
    }

    pub(crate) fn close_notify(&mut self) -> Vec<u8> {
        self.0.send_close_notify();
        self.sealed()
    }

    fn send(&mut self, socket: &mut impl Write) -> io::Result<()> {
        while self.0.wants_write() {
            self.0.write_tls(socket)?;
        }
        Ok(())
    }
}
