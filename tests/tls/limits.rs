//! Bounds on the work and on the memory that a TLS peer can cost the loop.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use femtows::testkit::TestKit;
use femtows::*;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, ContentType};

use crate::authority::Authority;
use crate::ends::{both_ends, echo};
use crate::remote::{Forger, Remote, TICKET, client_config, server_config};

/// Bytes that may arrive between two pieces of application data.
const WITHOUT_DATA: usize = 256 * 1024;

/// A client of the library with an open connection, and its server that forges. Tickets of a client
/// with rustls' own configuration are not counted.
fn forging_server(kit: &mut TestKit, counts_tickets: bool) -> (Forger, WSTransport) {
    let authority = Authority::new();
    let own = || Arc::new(client_config(&authority, &rustls::version::TLS13));
    let tls = if counts_tickets { authority.client() } else { WSClientTls::from_rustls(own()) };
    let config = WSConnectConfig::default().tls(tls);
    let (peer, client) = kit.raw_client(echo(), config);
    let mut remote =
        Remote::server(peer, server_config(&authority.issue(&["testkit"]), &rustls::version::TLS13));
    remote.upgrade(kit);
    (remote.into_forger(), kit.block_on(client).unwrap())
}

/// A server of the library with an open connection, and its client that forges.
fn forging_client(kit: &mut TestKit) -> (Forger, WSTransport) {
    let authority = Authority::new();
    let config = WSServerConfig::default().tls(authority.issue(&["testkit"]).server());
    let peer = kit.raw_server(|_: &WSUpgradeRequest| echo(), config);
    let mut remote = Remote::client(peer, client_config(&authority, &rustls::version::TLS13), "testkit");
    remote.upgrade(kit);
    let server = kit.transport(remote.peer.link(), femtows::proto::Role::Server).unwrap();
    (remote.into_forger(), server)
}

/// Returns the most bytes of a flood that one iteration of the loop took in, and how often a timer
/// fired that is due in each iteration.
fn most_in_a_turn(kit: &mut TestKit, forger: &mut Forger, flood: &[u8]) -> (usize, usize) {
    let fired = Rc::new(Cell::new(0));
    tick(&kit.handle(), Rc::clone(&fired));
    let link = forger.peer.link().clone();
    let to_client = link.to_client();
    to_client.capacity(flood.len() + 1);
    assert_eq!(forger.peer.write(flood), flood.len());
    let mut most = 0;
    let mut left = to_client.unread() + to_client.in_flight();
    for _ in 0..10_000 {
        kit.turn();
        if link.is_closed(femtows::proto::Role::Client) {
            return (most, fired.get());
        }
        let now = to_client.unread() + to_client.in_flight();
        most = most.max(left - now);
        left = now;
        if left == 0 {
            return (most, fired.get());
        }
    }
    panic!("{left} bytes of the flood are left");
}

fn tick(handle: &WSLoopHandle, fired: Rc<Cell<usize>>) {
    let again = handle.clone();
    let timer = handle.call_later(std::time::Duration::ZERO, move || {
        fired.set(fired.get() + 1);
        tick(&again, fired);
    });
    timer.detach();
}

fn tickets(forger: &mut Forger, count: usize) -> Vec<u8> {
    let record = TICKET.repeat(900);
    (0..count / 900).flat_map(|_| forger.seal(ContentType::Handshake, &record)).collect()
}

#[test]
fn flood_of_tickets_takes_one_read_of_each_dispatch() {
    let mut kit = TestKit::new(1);
    let (mut forger, _client) = forging_server(&mut kit, false);
    let flood = tickets(&mut forger, 600_000);
    let (most, _) = most_in_a_turn(&mut kit, &mut forger, &flood);
    // An iteration may dispatch the connection twice: for an event, and for unread bytes.
    assert!((1..=2 * 64 * 1024).contains(&most), "{most} bytes of {} in one turn", flood.len());
}

#[test]
fn timers_fire_during_a_flood_of_tickets() {
    let mut kit = TestKit::new(2);
    let (mut forger, _client) = forging_server(&mut kit, false);
    let flood = tickets(&mut forger, 600_000);
    let (_, fired) = most_in_a_turn(&mut kit, &mut forger, &flood);
    assert!(fired >= 4, "a timer fired {fired} times while {} bytes came", flood.len());
}

/// Each read brings data, so the flood goes on; it still takes turns with the timer.
#[test]
fn flood_of_tickets_with_data_between_is_served_in_turns() {
    let mut kit = TestKit::new(3);
    let (mut forger, client) = forging_server(&mut kit, false);
    let frame = forger.peer.encode_frame(WSMsgType::Text, b"data", <_>::default());
    let mut flood = Vec::new();
    for _ in 0..600 {
        flood.extend(forger.seal(ContentType::Handshake, &TICKET.repeat(900)));
        flood.extend(forger.seal(ContentType::ApplicationData, &frame));
    }
    let (most, fired) = most_in_a_turn(&mut kit, &mut forger, &flood);
    assert!(most <= 2 * 4 * 64 * 1024 && fired >= 20, "{most} bytes in one turn, {fired} turns");
    assert!(client.disconnect_info().is_none());
}

#[test]
fn tickets_without_data_end_the_connection() {
    for counts_tickets in [true, false] {
        let mut kit = TestKit::new(4);
        let (mut forger, client) = forging_server(&mut kit, counts_tickets);
        let flood = tickets(&mut forger, 600_000);
        most_in_a_turn(&mut kit, &mut forger, &flood);
        assert_eq!(client.disconnect_info().map(|info| info.cause), Some(WSDisconnectCause::Tls));
    }
}

#[test]
fn client_refuses_a_second_record_of_tickets() {
    let mut kit = TestKit::new(5);
    let (mut forger, client) = forging_server(&mut kit, true);
    for (count, refused) in [(32, false), (1, true)] {
        let tickets = forger.seal(ContentType::Handshake, &TICKET.repeat(count));
        forger.peer.write(&tickets);
        kit.run_until_idle();
        assert_eq!(client.disconnect_info().is_some(), refused, "{count} tickets more");
    }
    let error = kit.block_on(client.wait_disconnected()).unwrap_err();
    assert!(error.to_string().contains("too many session tickets"), "{error}");
}

#[test]
fn data_between_tickets_keeps_the_connection() {
    let mut kit = TestKit::new(6);
    let (mut forger, client) = forging_server(&mut kit, true);
    let frame = forger.peer.encode_frame(WSMsgType::Text, b"data", <_>::default());
    for _ in 0..100 {
        let tickets = forger.seal(ContentType::Handshake, &TICKET.repeat(32));
        let data = forger.seal(ContentType::ApplicationData, &frame);
        forger.peer.write(&[tickets, data].concat());
        kit.run_until_idle();
    }
    assert!(client.disconnect_info().is_none());
}

#[test]
fn padding_without_data_ends_the_connection_with_unexpected_message() {
    let mut kit = TestKit::new(7);
    let (mut forger, server) = forging_client(&mut kit);
    let mut sent = 0;
    while server.disconnect_info().is_none() {
        assert!(sent <= WITHOUT_DATA, "{sent} bytes without data");
        let record = forger.seal_padding();
        sent += record.len();
        forger.peer.write(&record);
        kit.run_until_idle();
    }
    assert!(sent > WITHOUT_DATA, "{sent} bytes are not too many");
    assert_eq!(server.disconnect_info().map(|info| info.cause), Some(WSDisconnectCause::Tls));
    assert_eq!(forger.alert(), AlertDescription::UnexpectedMessage);
}

#[test]
fn data_between_padding_keeps_the_connection() {
    let mut kit = TestKit::new(8);
    let (mut forger, server) = forging_client(&mut kit);
    for _ in 0..10 {
        for _ in 0..10 {
            let padding = forger.seal_padding();
            forger.peer.write(&padding);
        }
        let frame = forger.peer.encode_frame(WSMsgType::Text, b"data", <_>::default());
        let record = forger.seal(ContentType::ApplicationData, &frame);
        forger.peer.write(&record);
        kit.run_until_idle();
        assert!(server.disconnect_info().is_none());
    }
}

/// Records of 192 KiB without data, and these bytes behind them.
fn behind_padding(forger: &mut Forger, bytes: &[u8]) -> Vec<u8> {
    let mut records: Vec<u8> = (0..12).flat_map(|_| forger.seal_padding()).collect();
    records.extend(forger.seal(ContentType::ApplicationData, bytes));
    records
}

/// Only the first of several reads is announced by an event.
#[test]
fn request_behind_records_without_data_is_answered() {
    let mut kit = TestKit::new(11);
    let authority = Authority::new();
    let config = WSServerConfig::default().tls(authority.issue(&["testkit"]).server());
    let peer = kit.raw_server(|_: &WSUpgradeRequest| echo(), config);
    let mut remote = Remote::client(peer, client_config(&authority, &rustls::version::TLS13), "testkit");
    remote.exchange(&mut kit);
    let mut forger = remote.into_forger();
    let records = behind_padding(&mut forger, &femtows::testkit::Peer::request());
    forger.peer.link().to_server().capacity(records.len());
    assert_eq!(forger.peer.write(&records), records.len());
    kit.run_until_idle();
    assert!(kit.transport(forger.peer.link(), femtows::proto::Role::Server).is_some());
}

#[test]
fn response_behind_records_without_data_opens_the_connection() {
    let mut kit = TestKit::new(12);
    let authority = Authority::new();
    let (peer, client) = kit.raw_client(echo(), WSConnectConfig::default().tls(authority.client()));
    let config = server_config(&authority.issue(&["testkit"]), &rustls::version::TLS13);
    let mut remote = Remote::server(peer, config);
    remote.exchange(&mut kit);
    let response = femtows::testkit::Peer::response_to(&remote.take_received()).unwrap();
    let mut forger = remote.into_forger();
    let records = behind_padding(&mut forger, &response);
    forger.peer.link().to_client().capacity(records.len());
    assert_eq!(forger.peer.write(&records), records.len());
    kit.run_until_idle();
    assert!(kit.block_on(client).is_ok());
}

#[test]
fn message_behind_records_without_data_is_delivered_after_a_pause() {
    let mut kit = TestKit::new(13);
    let (mut forger, server) = forging_client(&mut kit);
    server.pause_reading();
    let frame = forger.peer.encode_frame(WSMsgType::Text, b"data", <_>::default());
    let records = behind_padding(&mut forger, &frame);
    forger.peer.link().to_server().capacity(records.len());
    assert_eq!(forger.peer.write(&records), records.len());
    kit.run_until_idle();
    assert!(forger.peer.read().is_empty());
    server.resume_reading();
    kit.run_until_idle();
    assert!(!forger.peer.read().is_empty(), "no echo");
}

/// A first message of 60 000 bytes in records of one byte each.
#[test]
fn hello_in_one_byte_records_is_refused_early() {
    let mut kit = TestKit::new(9);
    let (server, _) = both_ends();
    let mut peer = kit.raw_server(|_: &WSUpgradeRequest| echo(), server);
    let hello = [&[1, 0, 0xea, 0x60][..], &vec![9; 60_000]].concat();
    let mut sent = 0;
    for crumbs in hello.chunks(1000) {
        let records: Vec<u8> = crumbs.iter().flat_map(|&byte| [22, 3, 1, 0, 1, byte]).collect();
        sent += peer.write(&records);
        kit.run_until_idle();
        if peer.is_ended() || peer.error().is_some() {
            break;
        }
    }
    assert!(sent <= 72 * 1024, "{sent} bytes were taken before authentication");
    // An alert: `decode_error`, fatal.
    assert_eq!(peer.read(), [21, 3, 3, 0, 2, 2, 50]);
}

/// Chooses a certificate for all names but one, for which it panics.
#[derive(Debug)]
struct PanicsAtName(Arc<CertifiedKey>, AtomicUsize);

impl ResolvesServerCert for PanicsAtName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        assert_ne!(hello.server_name(), Some("secret.test"), "in the resolver");
        Some(Arc::clone(&self.0))
    }
}

#[test]
fn panic_of_a_resolver_leaves_no_name_for_the_next_handshake() {
    use rustls::pki_types::pem::PemObject;
    let authority = Authority::new();
    let identity = authority.issue(&["127.0.0.1"]);
    let chain = rustls::pki_types::CertificateDer::pem_slice_iter(identity.chain.as_bytes());
    let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let key = CertifiedKey::from_der(chain.map(Result::unwrap).collect(), key, &provider).unwrap();
    let resolver = Arc::new(PanicsAtName(Arc::new(key), AtomicUsize::new(0)));
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(provider));
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_cert_resolver(resolver.clone());
    let config = WSServerConfig::default().tls(WSServerTls::from_rustls(Arc::new(config)));

    let mut kit = TestKit::new(10);
    let server = kit.server(|_: &WSUpgradeRequest| echo(), config);
    let client = || client_config(&authority, &rustls::version::TLS13);
    let mut remote = Remote::client(kit.connect_to(&server), client(), "secret.test");
    remote.exchange(&mut kit);
    assert_eq!(resolver.1.load(Ordering::Relaxed), 1, "the resolver was asked");

    // A client that connects to an address names no server. Its first message comes in two pieces.
    let mut remote = Remote::client(kit.connect_to(&server), client(), "127.0.0.1");
    let hello = remote.sealed();
    let (first, rest) = hello.split_at(50);
    remote.peer.write(first);
    kit.run_until_idle();
    remote.peer.write(rest);
    remote.upgrade(&mut kit);
    let server = kit.transport(remote.peer.link(), femtows::proto::Role::Server).unwrap();
    assert_eq!(server.tls_info().unwrap().server_name, None);
}
