//! Ends that do not fit: the right one gets a clear error, and the other one an alert.

use std::time::Duration;

use femtows::testkit::{Peer, TestKit};
use femtows::*;

use crate::authority::{Authority, Identity, file};
use crate::ends::{both_ends, echo, secure_pair};
use crate::support::logs;

/// Content type of an alert record (RFC 8446 section 5.1).
const ALERT: u8 = 21;

/// What a client with this configuration is told by a server with that one.
fn refused(server: WSServerTls, client: WSClientTls) -> WSConnectError {
    let mut kit = TestKit::new(1);
    let (server, client) = (WSServerConfig::default().tls(server), WSConnectConfig::default().tls(client));
    let opening = kit.opening(
        |_: &WSUpgradeRequest| -> Option<crate::ends::Keeper> { panic!("no request may come through") },
        |_, _| echo(),
        server,
        client,
    );
    let error = kit.block_on(opening.client).unwrap_err();
    kit.advance(Duration::from_secs(3));
    assert_eq!(kit.leftovers(), Vec::<&str>::new());
    error
}

fn certificate_problem(error: &WSConnectError) -> String {
    match error {
        WSConnectError::Tls(tls) if tls.is_certificate_problem() => error.to_string(),
        other => panic!("not a problem with a certificate: {other}"),
    }
}

#[test]
fn a_certificate_for_another_name() {
    let authority = Authority::new();
    let error = refused(authority.issue(&["elsewhere"]).server(), authority.client());
    assert!(certificate_problem(&error).contains("elsewhere"), "{error}");
}

#[test]
fn an_expired_certificate() {
    let authority = Authority::new();
    let error = refused(authority.issue_until(&["testkit"], 2001).server(), authority.client());
    assert!(certificate_problem(&error).contains("expired"), "{error}");
}

#[test]
fn an_unknown_issuer() {
    let server = Authority::new().issue(&["testkit"]).server();
    for client in [Authority::new().client(), WSClientTls::default()] {
        let error = refused(server.clone(), client);
        assert!(certificate_problem(&error).contains("issued by nobody who is trusted"), "{error}");
    }
}

#[test]
fn only_the_loud_option_accepts_anything() {
    let mut kit = TestKit::new(2);
    let server = WSServerConfig::default().tls(Authority::new().issue_until(&["elsewhere"], 2001).server());
    let client = WSConnectConfig::default().tls(WSClientTls::default().dangerous_accept_any_certificate());
    let pair = kit.pair(|_: &WSUpgradeRequest| echo(), echo(), server, client).unwrap();
    assert!(pair.client.is_secure());
}

fn mutual(
    ask: WSClientCertificates,
    identity: Option<&Identity>,
    authority: &Authority,
) -> (WSServerTls, WSClientTls) {
    let server =
        authority.issue(&["testkit"]).server().client_certificates(authority.pem.as_bytes(), ask).unwrap();
    let client = authority.client();
    let client = match identity {
        Some(identity) => client.identity_pem(identity.chain.as_bytes(), identity.key.as_bytes()).unwrap(),
        None => client,
    };
    (server, client)
}

#[test]
fn client_certificates_are_shown_to_the_server() {
    let authority = Authority::new();
    let identity = authority.issue(&["a client"]);
    for (ask, own, shown) in [
        (WSClientCertificates::Required, Some(&identity), 1),
        (WSClientCertificates::Optional, Some(&identity), 1),
        (WSClientCertificates::Optional, None, 0),
        (WSClientCertificates::Ignored, Some(&identity), 0),
    ] {
        let (server, client) = mutual(ask, own, &authority);
        let (server, client) =
            (WSServerConfig::default().tls(server), WSConnectConfig::default().tls(client));
        let mut kit = TestKit::new(3);
        let pair = kit.pair(|_: &WSUpgradeRequest| echo(), echo(), server, client).unwrap();
        assert_eq!(pair.server.tls_info().unwrap().peer_certificates.len(), shown, "{ask:?}");
    }
}

#[test]
fn clients_without_a_good_certificate_are_refused() {
    let authority = Authority::new();
    let stranger = Authority::new().issue(&["a stranger"]);
    for (ask, own) in [
        (WSClientCertificates::Required, None),
        (WSClientCertificates::Required, Some(&stranger)),
        (WSClientCertificates::Optional, Some(&stranger)),
    ] {
        let (server, client) = mutual(ask, own, &authority);
        let error = refused(server, client);
        let WSConnectError::Tls(tls) = &error else { panic!("{error}") };
        assert!(matches!(tls.rustls_error(), rustls::Error::AlertReceived(_)), "{error}");
    }
}

#[test]
fn t11_plain_bytes_on_a_tls_port_are_answered_with_an_alert() {
    let mut kit = TestKit::new(4);
    let (server, _) = both_ends();
    let mut peer = kit.raw_server(|_: &WSUpgradeRequest| echo(), server);
    peer.write(&Peer::request());
    kit.run_until_idle();
    assert_eq!(peer.read().first(), Some(&ALERT));
    assert!(peer.is_ended() && peer.error().is_none());
    drop(peer);
    kit.advance(Duration::from_secs(3));
    assert_eq!(kit.leftovers(), Vec::<&str>::new());
}

#[test]
fn a_tls_client_on_a_plain_port() {
    let mut kit = TestKit::new(5);
    let (_, client) = both_ends();
    let opening =
        kit.opening(|_: &WSUpgradeRequest| echo(), |_, _| echo(), WSServerConfig::default(), client);
    let error = kit.block_on(opening.client).unwrap_err();
    assert!(
        matches!(error, WSConnectError::Tls(_)) && error.to_string().contains("does not speak TLS"),
        "{error}"
    );
}

#[test]
fn a_plain_client_on_a_tls_port() {
    let mut kit = TestKit::new(6);
    let (server, _) = both_ends();
    let opening =
        kit.opening(|_: &WSUpgradeRequest| echo(), |_, _| echo(), server, WSConnectConfig::default());
    let error = kit.block_on(opening.client).unwrap_err();
    assert!(matches!(error, WSConnectError::Handshake(_)), "{error}");
}

#[test]
fn a_server_that_hangs_up_during_the_handshake() {
    let mut kit = TestKit::new(7);
    let (_, client) = both_ends();
    let (mut peer, client) = kit.raw_client(echo(), client);
    kit.run_until_idle();
    assert!(!peer.read().is_empty());
    peer.close();
    let error = kit.block_on(client).unwrap_err();
    assert!(error.to_string().contains("during the TLS handshake"), "{error}");
}

/// Somebody on the way changes a byte.
#[test]
fn a_forged_record_ends_the_connection() {
    let mut kit = TestKit::new(8);
    let (pair, _) = secure_pair(&mut kit);
    kit.run_until_idle();
    let forged = [[23, 3, 3, 0, 32].as_slice(), &[7; 32]].concat();
    pair.link.to_server().inject(&forged);
    kit.run_until_idle();
    assert_eq!(pair.server.disconnect_info().unwrap().cause, WSDisconnectCause::Tls);
    let error = kit.block_on(pair.server.wait_disconnected()).unwrap_err();
    assert!(matches!(error, WSError::Tls(_)), "{error}");
    let told = pair.client.disconnect_info().unwrap();
    assert_eq!(told.cause, WSDisconnectCause::Tls, "{told}");
}

#[test]
fn what_cannot_be_used_is_refused_before_anything_listens() {
    let authority = Authority::new();
    let one = authority.issue(&["one"]);
    assert!(matches!(WSServerTls::from_pem(b"", one.key.as_bytes()), Err(WSTlsConfigError::Pem(_))));
    assert!(matches!(WSServerTls::from_pem(one.chain.as_bytes(), b"no key"), Err(WSTlsConfigError::Pem(_))));
    assert!(matches!(
        WSServerTls::from_pem_files("/nowhere", "/nowhere"),
        Err(WSTlsConfigError::File { .. })
    ));
    let kit = TestKit::new(9);
    let config = WSServerConfig::default().tls(one.unusable_server());
    let error =
        ws_create_server(&kit.handle(), |_: &WSUpgradeRequest| echo(), "127.0.0.1:0", config).unwrap_err();
    assert!(matches!(error, WSServeError::Config(WSConfigError::Tls(_))), "{error}");
    assert!(!format!("{:?}", one.server()).contains("PRIVATE"));
}

/// A certificate and the key of another one.
fn mismatch() -> (String, String) {
    let authority = Authority::new();
    (authority.issue(&["one"]).chain, authority.issue(&["other"]).key)
}

#[test]
fn a_server_key_of_another_certificate_is_refused_where_it_is_loaded() {
    let (chain, key) = mismatch();
    let error = WSServerTls::from_pem(chain.as_bytes(), key.as_bytes()).map(drop).unwrap_err();
    assert!(error.to_string().contains("does not belong to the certificate"), "{error}");
}

#[test]
fn a_server_key_of_another_certificate_is_refused_with_the_names_of_the_files() {
    let (chain, key) = mismatch();
    let (chain, key) = (file("chain.pem", &chain), file("key.pem", &key));
    let error = WSServerTls::from_pem_files(&chain, &key).map(drop).unwrap_err().to_string();
    assert!(error.contains(chain.to_str().unwrap()) && error.contains(key.to_str().unwrap()), "{error}");
}

#[test]
fn a_client_key_of_another_certificate_is_refused_where_it_is_loaded() {
    let (chain, key) = mismatch();
    let tls = WSClientTls::default();
    let error = tls.identity_pem(chain.as_bytes(), key.as_bytes()).map(drop).unwrap_err();
    assert!(error.to_string().contains("does not belong to the certificate"), "{error}");
}

#[test]
fn a_client_key_of_another_certificate_is_refused_with_the_names_of_the_files() {
    let (chain, key) = mismatch();
    let (chain, key) = (file("chain.pem", &chain), file("key.pem", &key));
    let error = WSClientTls::default().identity_files(&chain, &key).map(drop).unwrap_err().to_string();
    assert!(error.contains(chain.to_str().unwrap()) && error.contains(key.to_str().unwrap()), "{error}");
}

/// Two connections by one configuration.
#[test]
fn accepting_any_certificate_is_warned_of_once_per_configuration() {
    logs::take();
    let identity = Authority::new().issue(&["a client"]);
    let tls = WSClientTls::default().dangerous_accept_any_certificate();
    let tls = tls.identity_pem(identity.chain.as_bytes(), identity.key.as_bytes()).unwrap();
    let client = WSConnectConfig::default().tls(tls);
    for seed in 0..2 {
        let server = WSServerConfig::default().tls(Authority::new().issue(&["testkit"]).server());
        TestKit::new(seed).pair(|_: &WSUpgradeRequest| echo(), echo(), server, client.clone()).unwrap();
    }
    let warnings = logs::take();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("any certificate"), "{warnings:?}");
}

#[test]
fn checked_certificates_are_not_warned_of() {
    logs::take();
    let mut kit = TestKit::new(10);
    secure_pair(&mut kit);
    assert_eq!(logs::take(), Vec::<String>::new());
}
