//! TLS handshakes over simulated links.

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use femtows::message::{WebSocketConfig, WebSocketRequest, websocket_factory};
use femtows::proto::Role;
use femtows::testkit::TestKit;
use femtows::*;

use crate::authority::Authority;
use crate::ends::{both_ends, echo, secure_pair};

#[test]
fn both_ends_know_what_was_agreed_on() {
    let mut kit = TestKit::new(1);
    let (pair, _) = secure_pair(&mut kit);
    for transport in [&pair.client, &pair.server] {
        assert!(transport.is_secure());
        let info = transport.tls_info().unwrap();
        assert_eq!(info.version, WSTlsVersion::Tls13);
        assert!(info.cipher_suite.starts_with("TLS13_"), "{}", info.cipher_suite);
        assert_eq!(info.alpn.as_deref(), Some("http/1.1"));
        assert_eq!(info.server_name.as_deref(), Some("testkit"));
        assert!(!info.resumed);
    }
    assert_eq!(pair.client.tls_info().unwrap().peer_certificates.len(), 1);
    assert!(pair.server.tls_info().unwrap().peer_certificates.is_empty());
    pair.client.abort();
    assert!(pair.client.is_secure() && pair.client.tls_info().is_none());
}

#[test]
fn request_has_the_facts_of_tls() {
    let authority = Authority::new();
    let tls = authority.issue(&["testkit"]).server();
    let tls = tls.client_certificates(authority.pem.as_bytes(), WSClientCertificates::Required).unwrap();
    let identity = authority.issue(&["a client"]);
    let client = authority.client().identity_pem(identity.chain.as_bytes(), identity.key.as_bytes()).unwrap();
    let asked = Rc::new(Cell::new(None));
    let keep = Rc::clone(&asked);
    let factory = move |request: &WSUpgradeRequest| {
        keep.set(Some((request.clone(), request.tls())));
        echo()
    };
    let mut kit = TestKit::new(1);
    let (server, client) = (WSServerConfig::default().tls(tls), WSConnectConfig::default().tls(client));
    let pair = kit.pair(factory, echo(), server, client).unwrap();
    let (request, info) = asked.take().unwrap();
    assert!(request.is_secure());
    let info = info.unwrap();
    assert_eq!(info.version, WSTlsVersion::Tls13);
    assert!(info.cipher_suite.starts_with("TLS13_"), "{}", info.cipher_suite);
    assert_eq!(info.server_name.as_deref(), Some("testkit"));
    assert_eq!(info.peer_certificates.len(), 1);
    assert_eq!(request.tls().as_ref(), Some(&info), "when it is open");
    pair.server.abort();
    kit.run_until_idle();
    assert_eq!(request.tls(), None);
}

#[test]
fn request_of_a_plain_connection_has_no_facts_of_tls() {
    let mut kit = TestKit::new(1);
    let seen = Rc::new(Cell::new(false));
    let keep = Rc::clone(&seen);
    let factory = move |request: &WSUpgradeRequest| {
        keep.set(request.tls().is_none() && !request.is_secure());
        echo()
    };
    kit.pair(factory, echo(), WSServerConfig::default(), WSConnectConfig::default()).unwrap();
    assert!(seen.get());
}

#[test]
fn a_plain_pair_is_not_secure() {
    let mut kit = TestKit::new(2);
    let (server, client) = (WSServerConfig::default(), WSConnectConfig::default());
    let pair = kit.pair(|_: &WSUpgradeRequest| echo(), echo(), server, client).unwrap();
    assert!(!pair.client.is_secure() && pair.client.tls_info().is_none());
}

#[test]
fn t01_the_whole_opening_byte_by_byte() {
    let mut kit = TestKit::new(3);
    let (server, client) = both_ends();
    let opening = kit.opening(|_: &WSUpgradeRequest| echo(), |_, _| echo(), server, client);
    let directions = [opening.link.to_server(), opening.link.to_client()];
    for direction in &directions {
        direction.stall();
    }
    let mut released = 0;
    loop {
        kit.run_until_idle();
        let step: usize = directions.iter().map(|direction| direction.release(1)).sum();
        released += step;
        if step == 0 {
            break;
        }
    }
    assert!(released > 1000, "a handshake of {released} bytes");
    assert!(kit.block_on(opening.client).unwrap().is_secure());
}

/// Each flight arrives in two parts, cut at each byte.
#[test]
fn t01_handshake_records_cut_at_every_byte() {
    let (server, client) = both_ends();
    let mut cut = 1;
    loop {
        let mut kit = TestKit::new(4);
        let (server, client) = (server.clone(), client.clone());
        let opening = kit.opening(|_: &WSUpgradeRequest| echo(), |_, _| echo(), server, client);
        let directions = [opening.link.to_server(), opening.link.to_client()];
        let mut longest = 0;
        for direction in directions.iter().cycle() {
            direction.stall();
            kit.run_until_idle();
            if directions.iter().all(|direction| direction.in_flight() == 0) {
                break;
            }
            longest = longest.max(direction.in_flight());
            direction.release(cut);
            kit.run_until_idle();
            direction.release(usize::MAX);
            kit.run_until_idle();
        }
        kit.block_on(opening.client).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
        if cut >= longest {
            break;
        }
        cut += 1;
    }
    assert!(cut > 400, "the longest flight had {cut} bytes");
}

#[test]
fn a_link_that_takes_few_bytes_at_a_time() {
    for seed in 0..50 {
        let mut kit = TestKit::new(seed);
        kit.spurious_events(20);
        let (server, client) = both_ends();
        let opening = kit.opening(|_: &WSUpgradeRequest| echo(), |_, _| echo(), server, client);
        opening.link.to_server().capacity(100).max_write(70).max_read(50);
        opening.link.to_client().capacity(100).max_write(30).max_read(90);
        opening.link.late_arrivals(30);
        kit.block_on(opening.client).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

#[test]
fn t02_half_a_record_does_not_outlive_the_deadline() {
    for handshake_bytes in [1, 4, 5, 100] {
        let mut kit = TestKit::new(5);
        let (server, client) = both_ends();
        let client = client.handshake_timeout(None);
        let opening = kit.opening(|_: &WSUpgradeRequest| echo(), |_, _| echo(), server, client);
        opening.link.to_server().stall();
        kit.run_until_idle();
        opening.link.to_server().release(handshake_bytes);
        kit.advance(Duration::from_millis(4_999));
        assert!(!opening.link.is_closed(femtows::proto::Role::Server));
        kit.advance(Duration::from_millis(1));
        assert!(opening.link.is_closed(femtows::proto::Role::Server));
        let error = kit.block_on(opening.client).unwrap_err();
        assert!(matches!(error, WSConnectError::Io { .. }), "{error}");
        assert_eq!(kit.leftovers(), Vec::<&str>::new());
    }
}

#[test]
fn t02_a_silent_server_does_not_outlive_the_clients_deadline() {
    let mut kit = TestKit::new(6);
    let (_, client) = both_ends();
    let (peer, client) = kit.raw_client(echo(), client);
    let error = kit.block_on(client).unwrap_err();
    assert!(matches!(error, WSConnectError::Timeout { phase: WSPhase::Opening, .. }), "{error}");
    drop(peer);
}

#[test]
fn a_turn_answers_no_more_handshakes_than_configured() {
    const OPENINGS: usize = 7;
    let mut kit = TestKit::with_config(7, WSLoopConfig::default().tls_handshakes_per_turn(2));
    let (server, client) = both_ends();
    let openings: Vec<_> = (0..OPENINGS)
        .map(|_| kit.opening(|_: &WSUpgradeRequest| echo(), |_, _| echo(), server.clone(), client.clone()))
        .collect();
    let answered = |openings: &[femtows::testkit::Opening]| {
        openings.iter().filter(|opening| opening.link.to_client().in_flight() > 0).count()
    };
    for opening in &openings {
        opening.link.to_client().stall();
    }
    let mut before = 0;
    let mut turns = 0;
    while before < OPENINGS {
        assert!(turns < 20, "{before} of {OPENINGS} answered");
        turns += 1;
        kit.turn();
        let now = answered(&openings);
        assert!(now <= before + 2, "{} answered in one turn", now - before);
        before = now;
    }
    for opening in openings {
        opening.link.to_client().unstall();
        kit.block_on(opening.client).unwrap();
    }
}

#[test]
fn sessions_are_resumed_unless_there_are_no_tickets() {
    for (tickets, resumed) in [(0, false), (1, true), (2, true)] {
        let authority = Authority::new();
        let server =
            WSServerConfig::default().tls(authority.issue(&["testkit"]).server().session_tickets(tickets));
        let client = WSConnectConfig::default().tls(authority.client());
        let mut kit = TestKit::new(8);
        for wanted in [false, resumed, resumed] {
            let pair =
                kit.pair(|_: &WSUpgradeRequest| echo(), echo(), server.clone(), client.clone()).unwrap();
            kit.run_until_idle();
            for transport in [&pair.client, &pair.server] {
                assert_eq!(transport.tls_info().unwrap().resumed, wanted, "with {tickets} tickets");
            }
        }
    }
}

#[test]
fn tls_1_2_and_other_alpn_by_ones_own_rustls() {
    let authority = Authority::new();
    let mut roots = rustls::RootCertStore::empty();
    for root in pem_certificates(&authority.pem) {
        roots.add(root).unwrap();
    }
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let own = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = WSConnectConfig::default().tls(WSClientTls::from_rustls(std::sync::Arc::new(own)));
    let server = WSServerConfig::default().tls(authority.issue(&["testkit"]).server());
    let mut kit = TestKit::new(9);
    let pair = kit.pair(|_: &WSUpgradeRequest| echo(), echo(), server, client).unwrap();
    for transport in [&pair.client, &pair.server] {
        let info = transport.tls_info().unwrap();
        assert_eq!((info.version, info.alpn), (WSTlsVersion::Tls12, None));
    }
}

fn pem_certificates(text: &str) -> Vec<rustls::pki_types::CertificateDer<'static>> {
    use rustls::pki_types::pem::PemObject;
    rustls::pki_types::CertificateDer::pem_slice_iter(text.as_bytes()).map(Result::unwrap).collect()
}

/// `ClientHello`, the server's flight, then `Finished` and the request: three times the delay.
#[test]
fn tls_handshake_counts_into_the_10_seconds_of_a_request_head() {
    let (server, client) = both_ends();
    let config = WebSocketConfig::default().server(server);
    for (delay, is_late) in [(Duration::from_millis(3300), false), (Duration::from_millis(3400), true)] {
        let mut kit = TestKit::new(7);
        let handler = |_: WebSocketRequest| pending::<()>();
        let factory = websocket_factory(handler, config.clone());
        let client = client.clone().handshake_timeout(None);
        let opening = kit.opening(factory, |_, _| echo(), config.server_config(), client);
        opening.link.to_server().delay(delay);
        opening.link.to_client().delay(delay);
        kit.advance(Duration::from_secs(10));
        assert_eq!(opening.link.is_closed(Role::Server), is_late, "{delay:?}");
    }
}
