//! Sessions against rustls itself, on either side and with every cipher of TLS 1.3.

use std::io::{Read, Write};
use std::sync::{Arc, OnceLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::version::TLS13;
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, Connection, Error, HandshakeKind, RootCertStore,
    ServerConfig, ServerConnection, SupportedCipherSuite,
};

use crate::buf::{RecvBuffer, ScratchBuffer};
use crate::tls::{ClientSetup, Session};

const NAME: &str = "twin.test";

const SUITES: [SupportedCipherSuite; 3] = [
    aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
    aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
    aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
];

/// Both ends' configurations, with nothing but this suite.
fn configs(suite: SupportedCipherSuite) -> (Arc<ClientConfig>, Arc<ServerConfig>) {
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
    let client = client.with_root_certificates(roots).with_no_client_auth();
    let server = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.clone()));
    let mut server = server.with_no_client_auth().with_single_cert(vec![certificate.clone()], key).unwrap();
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
    out: ScratchBuffer,
}

fn client(config: &Arc<ClientConfig>) -> End {
    End::new(Session::client(&ClientSetup::of_rustls(Arc::clone(config)), name()).unwrap())
}

fn server(config: &Arc<ServerConfig>) -> End {
    End::new(Session::server(config).unwrap())
}

impl End {
    fn new(session: Session) -> Self {
        Self { session, rest: Vec::new(), plain: RecvBuffer::default(), out: ScratchBuffer::default() }
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

    fn take_out(&mut self) -> Vec<u8> {
        let out = self.out.filled().to_vec();
        self.out.begin(0);
        out
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

struct Twins {
    ours: End,
    theirs: Connection,
    /// What they have received.
    received: Vec<u8>,
}

impl Twins {
    /// Both ends with the handshake done; `is_client` is ours.
    fn new(suite: usize, is_client: bool) -> Self {
        let (client_config, server_config) = configs(SUITES[suite]);
        let (ours, mut theirs): (End, Connection) = if is_client {
            (client(&client_config), ServerConnection::new(server_config).unwrap().into())
        } else {
            (server(&server_config), ClientConnection::new(client_config, name()).unwrap().into())
        };
        theirs.set_buffer_limit(None);
        let mut twins = Self { ours, theirs, received: Vec::new() };
        twins.ours.receive(&[]).unwrap();
        twins.exchange(&mut Random(1));
        twins
    }

    /// Carries everything there is, in pieces.
    fn exchange(&mut self, random: &mut Random) {
        loop {
            let mut to_us = self.take_from_theirs();
            let mut to_them = self.ours.take_out();
            if to_us.is_empty() && to_them.is_empty() {
                return;
            }
            while !to_us.is_empty() {
                let piece = 1 + random.below(to_us.len().min(40_000));
                self.ours.receive(&to_us.drain(..piece).collect::<Vec<_>>()).unwrap();
            }
            while !to_them.is_empty() {
                let piece = 1 + random.below(to_them.len().min(40_000));
                self.tell_theirs(&to_them.drain(..piece).collect::<Vec<_>>()).unwrap();
            }
        }
    }

    fn take_from_theirs(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.theirs.wants_write() {
            self.theirs.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    fn tell_theirs(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            self.theirs.read_tls(&mut bytes).unwrap();
            self.theirs.process_new_packets()?;
            // An error says that there is no more for now.
            let _ = self.theirs.reader().read_to_end(&mut self.received);
        }
        Ok(())
    }
}

fn some_bytes(random: &mut Random) -> Vec<u8> {
    let most = [1, 20, 300, 17_000, 70_000][random.below(5)];
    let first = random.below(251);
    (0..random.below(most + 1)).map(|n| ((first + n) % 251) as u8).collect()
}

#[test]
fn bytes_cross_in_both_directions_whatever_is_cut_and_whoever_changes_keys() {
    for (suite, is_client) in [(0, true), (0, false), (1, true), (1, false), (2, true), (2, false)] {
        let mut random = Random(suite as u64 * 2 + u64::from(is_client));
        let mut twins = Twins::new(suite, is_client);
        for _ in 0..40 {
            let (to_us, to_them) = (some_bytes(&mut random), some_bytes(&mut random));
            if random.below(6) == 0 {
                twins.theirs.refresh_traffic_keys().unwrap();
            }
            twins.theirs.writer().write_all(&to_us).unwrap();
            twins.ours.send(&to_them);
            twins.exchange(&mut random);
            assert!(twins.ours.take_plain() == to_us && std::mem::take(&mut twins.received) == to_them);
        }
    }
}

#[test]
fn closures_are_told_and_understood() {
    for is_client in [true, false] {
        let mut twins = Twins::new(0, is_client);
        twins.theirs.writer().write_all(b"the last").unwrap();
        twins.theirs.send_close_notify();
        assert!(!twins.ours.session.is_peer_closed());
        let mut last = twins.take_from_theirs();
        last.extend_from_slice(b"ignored, whatever it is");
        twins.ours.receive(&last).unwrap();
        assert!(twins.ours.session.is_peer_closed());
        assert_eq!((twins.ours.take_plain(), twins.ours.rest.len()), (b"the last".to_vec(), 0));

        let End { session, rest, out, .. } = &mut twins.ours;
        session.close(rest, out);
        twins.exchange(&mut Random(1));
        let mut plain = Vec::new();
        assert_eq!(twins.theirs.reader().read_to_end(&mut plain).unwrap(), 0);
    }
}

#[test]
fn tickets_that_arrive_behind_the_handshake_resume_sessions() {
    let (client_config, server_config) = configs(SUITES[0]);
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
        let theirs = ServerConnection::new(server_config.clone()).unwrap().into();
        let mut twins = Twins { ours: client(&client_config), theirs, received: Vec::new() };
        twins.ours.receive(&[]).unwrap();
        twins.exchange(&mut Random(1));
        assert_eq!(twins.theirs.handshake_kind(), Some(kind));
        assert_eq!(twins.ours.session.info().unwrap().resumed, kind == HandshakeKind::Resumed);
    }
}

/// Our end before its handshake, and rustls' that cuts messages over records of this size.
fn cutting(is_client: bool, record: usize) -> Twins {
    let (mut client_config, mut server_config) = configs(SUITES[0]);
    let (ours, theirs): (_, Connection) = if is_client {
        Arc::make_mut(&mut server_config).max_fragment_size = Some(record);
        (client(&client_config), ServerConnection::new(server_config).unwrap().into())
    } else {
        Arc::make_mut(&mut client_config).max_fragment_size = Some(record);
        (server(&server_config), ClientConnection::new(client_config, name()).unwrap().into())
    };
    let mut twins = Twins { ours, theirs, received: Vec::new() };
    if is_client {
        twins.ours.receive(&[]).unwrap();
    }
    twins.theirs.writer().write_all(b"over there").unwrap();
    twins
}

/// A message of the handshake may be cut over many records, which need not come together (RFC 8446 section 5.1).
#[test]
fn handshakes_in_the_smallest_records() {
    for (is_client, piece) in
        [1, 7, 31, 32, 33, 500].into_iter().flat_map(|piece| [(true, piece), (false, piece)])
    {
        let mut twins = cutting(is_client, 32);
        let mut flights = 0;
        while twins.ours.plain.is_empty() {
            assert!(flights < 4, "it does not come to an end");
            flights += 1;
            twins.take_from_theirs().chunks(piece).for_each(|piece| twins.ours.receive(piece).unwrap());
            let to_them = twins.ours.take_out();
            twins.tell_theirs(&to_them).unwrap();
        }
        assert_eq!(twins.ours.take_plain(), b"over there");
    }
}

/// Whatever becomes of them, it is no panic.
#[test]
fn handshakes_that_were_changed_on_the_way() {
    let mut random = Random(1);
    let mut faults = 0;
    for round in 0..600 {
        let mut twins = cutting(round % 2 == 0, 32 + random.below(300));
        let changed = random.below(2);
        'handshake: for flight in 0..4 {
            let mut to_us = twins.take_from_theirs();
            if flight == changed && !to_us.is_empty() {
                let at = random.below(to_us.len());
                to_us[at] ^= 1 << random.below(8);
            }
            let mut rest = &to_us[..];
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at((1 + random.below(200)).min(rest.len()));
                rest = behind;
                if twins.ours.receive(piece).is_err() {
                    faults += 1;
                    break 'handshake;
                }
            }
            let to_them = twins.ours.take_out();
            if twins.tell_theirs(&to_them).is_err() {
                break;
            }
        }
        assert!(matches!(&twins.ours.take_plain()[..], b"" | b"over there"));
    }
    assert!(faults > 100, "{faults}");
}

/// Wherever the stream is cut.
#[test]
fn application_data_that_arrives_with_the_handshake_is_not_lost() {
    let (client_config, server_config) = configs(SUITES[0]);
    let mut cuts = 0;
    for cut in 0.. {
        let theirs: Connection = ClientConnection::new(client_config.clone(), name()).unwrap().into();
        let mut twins = Twins { ours: server(&server_config), theirs, received: Vec::new() };
        let hello = twins.take_from_theirs();
        twins.ours.receive(&hello).unwrap();
        let flight = twins.ours.take_out();
        twins.tell_theirs(&flight).unwrap();
        twins.theirs.writer().write_all(b"with the handshake").unwrap();
        let rest = twins.take_from_theirs();
        if cut > rest.len() {
            break;
        }
        twins.ours.receive(&rest[..cut]).unwrap();
        twins.ours.receive(&rest[cut..]).unwrap();
        assert_eq!(twins.ours.take_plain(), b"with the handshake", "cut at {cut}");
        cuts += 1;
    }
    assert!(cuts > 80);
}

/// Each bit of each byte; nothing of what was changed is delivered, and the peer understands the alert.
#[test]
fn what_was_changed_on_the_way_is_refused() {
    for position in 0.. {
        let mut twins = Twins::new(position % 3, position % 2 == 0);
        twins.theirs.writer().write_all(b"genuine").unwrap();
        let genuine = twins.take_from_theirs();
        twins.theirs.writer().write_all(b"changed").unwrap();
        let mut changed = twins.take_from_theirs();
        let Some(byte) = changed.get_mut(position) else { break };
        *byte ^= 1 << (position % 8);
        twins.ours.receive(&genuine).unwrap();
        // A length that has grown waits for more.
        let received = twins.ours.receive(&changed).and_then(|()| twins.ours.receive(&vec![0; 40_000]));
        // rustls puts neither the content type nor the second byte of the version under the tag as
        // they came: both have no meaning in TLS 1.3.
        if position == 0 || position == 2 {
            assert_eq!(twins.ours.take_plain(), b"genuinechanged");
            continue;
        }
        let error = received.unwrap_err();
        assert_eq!(twins.ours.take_plain(), b"genuine");
        assert!(twins.ours.receive(&genuine).is_err(), "a fault is final");
        assert_eq!(twins.ours.take_plain(), b"");
        let alert = twins.ours.take_out();
        let Error::AlertReceived(alert) = twins.tell_theirs(&alert).unwrap_err() else { panic!() };
        if position >= 5 {
            assert_eq!((error, alert), (Error::DecryptError, AlertDescription::BadRecordMac));
        }
    }
}

#[test]
fn records_that_come_twice_or_in_another_order_are_refused() {
    for is_twice in [true, false] {
        let mut twins = Twins::new(0, false);
        twins.theirs.writer().write_all(b"one").unwrap();
        let one = twins.take_from_theirs();
        twins.theirs.writer().write_all(b"two").unwrap();
        let two = twins.take_from_theirs();
        let received = if is_twice { [&one[..], &one].concat() } else { [&two[..], &one].concat() };
        assert_eq!(twins.ours.receive(&received), Err(Error::DecryptError));
        assert_eq!(twins.ours.take_plain(), if is_twice { &b"one"[..] } else { b"" });
    }
}

/// The fuzz target, with scripts that look random.
#[cfg(feature = "testkit")]
#[test]
fn random_scripts() {
    let mut random = Random(1);
    for _ in 0..2000 {
        let len = random.below(300);
        // Steps with few bytes each, so that many make a script.
        let script: Vec<u8> = (0..len)
            .map(|_| {
                let bound = [8, 30, 256][random.below(3)];
                random.below(bound) as u8
            })
            .collect();
        crate::tls::fuzz_session(&script);
    }
}
