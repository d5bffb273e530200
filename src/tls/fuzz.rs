//! Sessions of both sides before authentication. The peer is a fuzzer, which sends records from a
//! script.

use std::sync::{Arc, OnceLock};

use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ContentType, Error, ServerConfig};

use crate::buf::{RecvBuffer, ScratchBuffer};

use super::{ClientSetup, Session, WSClientTls, provider};

/// Bytes that a session may leave unconsumed: 64 KiB and a record.
const MOST_HELD: usize = 64 * 1024 + 20 * 1024;

/// Has no certificate, so a server's handshake ends behind the `ClientHello`.
#[derive(Debug)]
struct NoCertificate;

impl ResolvesServerCert for NoCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

fn configs() -> &'static (ClientSetup, Arc<ServerConfig>) {
    static CONFIGS: OnceLock<(ClientSetup, Arc<ServerConfig>)> = OnceLock::new();
    CONFIGS.get_or_init(|| {
        let client = WSClientTls::default().dangerous_accept_any_certificate().build();
        let server = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions that the provider has");
        let server = server.with_no_client_auth().with_cert_resolver(Arc::new(NoCertificate));
        (client.expect("no file is read"), Arc::new(server))
    })
}

/// Runs a script. The first byte chooses the side; of each step the first byte is the kind, the
/// second the length of the content.
///
/// # Panics
/// If a session panics, delivers anything before authentication, consumes more than it was given,
/// holds more than its bound, or opens anything after an error.
pub fn fuzz_session(script: &[u8]) {
    let [side, script @ ..] = script else { return };
    let (client_setup, server_config) = configs();
    let name = ServerName::try_from("fuzz.test").expect("a name");
    let client = Session::client(client_setup, name).expect("a client");
    let server = Session::server(server_config).expect("a server");
    let (session, mut other) = if side % 2 == 0 { (server, client) } else { (client, server) };
    let mut genuine = ScratchBuffer::default();
    if side % 2 == 0 {
        other.open(&mut [], &mut RecvBuffer::default(), &mut genuine).expect("a client begins");
    }
    let mut end = End { session, wire: Vec::new(), rest: Vec::new(), out: ScratchBuffer::default() };
    if side % 2 == 1 {
        end.session.open(&mut [], &mut RecvBuffer::default(), &mut end.out).expect("a client begins");
    }
    let mut genuine = genuine.filled();
    let mut steps = script;
    while let [step, len, rest @ ..] = steps {
        if let 6 = step % 8 {
            let (piece, behind) = genuine.split_at(genuine.len().min(usize::from(*len)));
            genuine = behind;
            end.wire.extend_from_slice(piece);
            steps = rest;
            continue;
        }
        let (content, behind) = rest.split_at(rest.len().min(usize::from(*len)));
        steps = behind;
        match (step % 8, content) {
            (0, _) => end.record(ContentType::Handshake.into(), content),
            (1, _) => content.iter().for_each(|&byte| end.record(ContentType::Handshake.into(), &[byte])),
            (2, _) => end.record(ContentType::Alert.into(), content),
            (3, [kind, content @ ..]) => end.record(*kind, content),
            (4, _) => end.record(ContentType::ChangeCipherSpec.into(), content),
            (5, _) => end.wire.extend_from_slice(content),
            _ => end.deliver(usize::from(*len)),
        }
    }
    end.deliver(usize::MAX);
}

/// The session under test.
struct End {
    session: Session,
    /// Not delivered yet.
    wire: Vec<u8>,
    /// Not consumed yet.
    rest: Vec<u8>,
    out: ScratchBuffer,
}

impl End {
    fn record(&mut self, kind: u8, content: &[u8]) {
        self.wire.extend([kind, 3, 3, 0, content.len() as u8]);
        self.wire.extend_from_slice(content);
    }

    /// Delivers at most this many bytes.
    fn deliver(&mut self, most: usize) {
        let end = self.wire.len().min(most);
        self.rest.extend(self.wire.drain(..end));
        if self.rest.is_empty() {
            return;
        }
        let mut plain = RecvBuffer::default();
        match self.session.open(&mut self.rest, &mut plain, &mut self.out) {
            Ok(done) => {
                self.rest.drain(..done);
                assert!(self.rest.len() <= MOST_HELD, "{} bytes are held", self.rest.len());
            }
            Err(error) => {
                assert!(!matches!(&error, Error::General(text) if text.starts_with("panic")), "{error}");
                let again = self.session.open(&mut self.rest, &mut plain, &mut self.out);
                assert!(again.is_err(), "an error is final");
            }
        }
        assert!(plain.is_empty(), "something was delivered before authentication");
    }
}
