//! The library and two peers over TLS, in both roles, with certificates made for the run.

use femtows::{WSConnectConfig, WSIntoUpgrade, WSServerConfig};

use crate::authority::{Authority, file};
use crate::peers::{Peer, WEBSOCKETS, WS};
use crate::support::probe::{Probe, log};
use crate::support::running::serve;
use crate::{Api, client, limits};

fn their_client(peer: Peer) {
    if !peer.is_installed() {
        return;
    }
    let authority = Authority::new();
    let ca = file(&format!("interop.{}.ca.pem", peer.name), &authority.pem);
    let ca = ca.to_str().unwrap();
    let (log, _) = log();
    let config = WSServerConfig::default().limits(limits()).tls(authority.issue(&["127.0.0.1"]).server());
    let server = serve(config, move |_| Probe::new(&log).echo().into_upgrade());
    let url = format!("wss://{}/", server.addr);
    peer.check_with(&url, &[("SSL_CERT_FILE", ca), ("NODE_EXTRA_CA_CERTS", ca)]);
}

fn their_server(peer: Peer) {
    if !peer.is_installed() {
        return;
    }
    let authority = Authority::new();
    let identity = authority.issue(&["127.0.0.1"]);
    let chain = file(&format!("interop.{}.chain.pem", peer.name), &identity.chain);
    let key = file(&format!("interop.{}.key.pem", peer.name), &identity.key);
    let environment = [("TLS_CERT", chain.to_str().unwrap()), ("TLS_KEY", key.to_str().unwrap())];
    let server = peer.serve_with(&environment);
    let config = WSConnectConfig::default().tls(authority.client());
    for api in [Api::Frames, Api::Messages] {
        client::echoes_over(&server, api, &config);
    }
    server.stop();
}

#[test]
fn websockets_client_over_tls() {
    their_client(WEBSOCKETS);
}

#[test]
fn ws_client_over_tls() {
    their_client(WS);
}

#[test]
fn websockets_server_over_tls() {
    their_server(WEBSOCKETS);
}

#[test]
fn ws_server_over_tls() {
    their_server(WS);
}
