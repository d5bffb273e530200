//! Ends that do not fit, one of them a peer's: the right one gets a clear error, in both directions.

use femtows::{WSConnectConfig, WSConnectError, WSHandshakeFailure, WSServerConfig};

use crate::authority::{Authority, FAULTS, Identity, file};
use crate::peers::{Peer, PeerServer, WEBSOCKETS, WS};
use crate::support::eventually;
use crate::support::probe::{Probe, log};
use crate::support::running::{Server, connect, serve};

fn ca_file(name: &str, authority: &Authority) -> String {
    file(&format!("{name}.ca.pem"), &authority.pem).into_os_string().into_string().unwrap()
}

fn our_server(config: WSServerConfig) -> Server {
    let (log, _) = log();
    serve(config, move |_| Probe::new(&log).echo())
}

/// A server of the peer with this certificate, or without TLS.
fn their_server(peer: Peer, identity: Option<&Identity>) -> PeerServer {
    let Some(identity) = identity else { return peer.serve() };
    let chain = file(&format!("faulty.{}.chain.pem", peer.name), &identity.chain);
    let key = file(&format!("faulty.{}.key.pem", peer.name), &identity.key);
    peer.serve_with(&[("TLS_CERT", chain.to_str().unwrap()), ("TLS_KEY", key.to_str().unwrap())])
}

/// What our client says of a server.
fn our_error(url: &str, config: WSConnectConfig) -> WSConnectError {
    let (log, _) = log();
    connect(url, config, Probe::new(&log)).opened().expect_err("these ends do not fit")
}

/// Waits until one opening has failed, in one of these ways, and nothing is left of it.
fn one_has_failed(server: &Server, kinds: &'static [WSHandshakeFailure]) {
    let failed = || {
        server.on.ask(move |handle| {
            let metrics = handle.metrics().snapshot();
            let all: u64 = WSHandshakeFailure::ALL.iter().map(|kind| metrics.handshake_failures(*kind)).sum();
            (all, kinds.iter().map(|kind| metrics.handshake_failures(*kind)).sum::<u64>())
        })
    };
    eventually("nothing is left", || failed().0 > 0 && server.slots() == 0);
    assert_eq!(failed(), (1, 1), "{kinds:?}");
}

/// The peer's client does not trust our server, each time for the reason in `words`. It may hang up without an alert.
fn their_client_refuses(peer: Peer, words: [&str; 3]) {
    if !peer.is_installed() {
        return;
    }
    for (fault, words) in FAULTS.into_iter().zip(words) {
        let (identity, authority) = fault.certificate("127.0.0.1");
        let ca = ca_file(&format!("faults.{}", peer.name), &authority);
        let server = our_server(WSServerConfig::default().tls(identity.server()));
        let url = format!("wss://{}/", server.addr);
        let why = peer.refuses(&url, &[("SSL_CERT_FILE", &ca), ("NODE_EXTRA_CA_CERTS", &ca)]);
        assert!(why.contains(words), "{fault:?}: {why}");
        one_has_failed(&server, &[WSHandshakeFailure::Tls, WSHandshakeFailure::Io]);
    }
}

#[test]
fn websockets_client_refuses_our_certificate() {
    let words =
        ["certificate is not valid for '127.0.0.1'", "certificate has expired", "unable to get local issuer"];
    their_client_refuses(WEBSOCKETS, words);
}

#[test]
fn ws_client_refuses_our_certificate() {
    let words =
        ["does not match certificate's altnames", "certificate has expired", "unable to verify the first"];
    their_client_refuses(WS, words);
}

fn our_client_refuses(peer: Peer) {
    if !peer.is_installed() {
        return;
    }
    for fault in FAULTS {
        let (identity, authority) = fault.certificate("127.0.0.1");
        let server = their_server(peer, Some(&identity));
        let error = our_error(&server.url("/"), WSConnectConfig::default().tls(authority.client()));
        let WSConnectError::Tls(tls) = &error else { panic!("{fault:?}: {error}") };
        assert!(
            tls.is_certificate_problem() && error.to_string().contains(fault.our_words()),
            "{fault:?}: {error}"
        );
        server.stop();
    }
}

#[test]
fn our_client_refuses_the_certificate_of_websockets() {
    our_client_refuses(WEBSOCKETS);
}

#[test]
fn our_client_refuses_the_certificate_of_ws() {
    our_client_refuses(WS);
}

/// What the ends say that find no TLS at the other end.
struct Words {
    theirs_over_tls: &'static str,
    theirs_plain: &'static str,
    /// What the peer's plain server makes our client say.
    ours_over_tls: &'static str,
}

/// Clients that speak TLS to a server that does not, and the other way round.
fn one_end_is_plain(peer: Peer, words: &Words) {
    if !peer.is_installed() {
        return;
    }
    let authority = Authority::new();
    let identity = authority.issue(&["127.0.0.1"]);
    let ca = ca_file(&format!("plain.{}", peer.name), &authority);

    let plain = our_server(WSServerConfig::default());
    let url = format!("wss://{}/", plain.addr);
    let why = peer.refuses(&url, &[("SSL_CERT_FILE", &ca), ("NODE_EXTRA_CA_CERTS", &ca)]);
    assert!(why.contains(words.theirs_over_tls), "{why}");
    one_has_failed(&plain, &[WSHandshakeFailure::Invalid]);

    let secure = our_server(WSServerConfig::default().tls(identity.server()));
    let why = peer.refuses(&format!("ws://{}/", secure.addr), &[]);
    assert!(why.contains(words.theirs_plain), "{why}");
    one_has_failed(&secure, &[WSHandshakeFailure::Tls]);

    let plain = their_server(peer, None);
    let url = format!("wss://127.0.0.1:{}/", plain.port());
    let error = our_error(&url, WSConnectConfig::default().tls(authority.client()));
    assert!(error.to_string().contains(words.ours_over_tls), "{error}");
    plain.stop();

    let secure = their_server(peer, Some(&identity));
    let error = our_error(&format!("ws://127.0.0.1:{}/", secure.port()), WSConnectConfig::default());
    assert!(error.to_string().contains("the server closed the connection without an answer"), "{error}");
    secure.stop();
}

#[test]
fn websockets_and_one_plain_end() {
    let words = Words {
        theirs_over_tls: "wrong version number",
        theirs_plain: "did not receive a valid HTTP response",
        ours_over_tls: "the peer closed the connection during the TLS handshake",
    };
    one_end_is_plain(WEBSOCKETS, &words);
}

#[test]
fn ws_and_one_plain_end() {
    let words = Words {
        theirs_over_tls: "wrong version number",
        theirs_plain: "Parse Error",
        ours_over_tls: "the peer does not speak TLS",
    };
    one_end_is_plain(WS, &words);
}
