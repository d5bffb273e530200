//! OpenSSL and ends that do not fit: who is at fault is told, and so is the other one.

use std::net::SocketAddr;

use femtows::{WSConnectConfig, WSConnectError, WSHandshakeFailure, WSServerConfig};

use crate::authority::{Authority, FAULTS, Fault, Identity, file};
use crate::peers::{OpenSsl, is_installed};
use crate::support::eventually;
use crate::support::probe::{Probe, log};
use crate::support::running::{Server, connect, serve};

fn ca_file(authority: &Authority) -> String {
    file("ca.pem", &authority.pem).into_os_string().into_string().unwrap()
}

fn our_server(config: WSServerConfig) -> Server {
    let (log, _) = log();
    serve(config, move |_| Probe::new(&log).echo())
}

/// Waits until one opening has failed in this way, and nothing is left of it.
fn one_has_failed(server: &Server, kind: WSHandshakeFailure) {
    eventually("the failure is counted", || {
        server.on.ask(move |handle| handle.metrics().snapshot().handshake_failures(kind)) == 1
    });
    eventually("nothing is left", || server.slots() == 0);
}

fn our_error(url: &str, config: WSConnectConfig) -> WSConnectError {
    let (log, _) = log();
    connect(url, config, Probe::new(&log)).opened().expect_err("these ends do not fit")
}

/// `openssl s_server` with this certificate, which expects one client.
fn openssl_server(identity: &Identity) -> (OpenSsl, SocketAddr) {
    let chain = file("chain.pem", &identity.chain);
    let key = file("key.pem", &identity.key);
    let files = ["-cert", chain.to_str().unwrap(), "-key", key.to_str().unwrap()];
    let command = [&["s_server", "-accept", "127.0.0.1:0", "-naccept", "1"][..], &files].concat();
    let mut server = OpenSsl::run(&command);
    let said = server.until("ACCEPT 127.0.0.1:");
    let addr = said.lines().last().and_then(|line| line.strip_prefix("ACCEPT ")).unwrap().parse().unwrap();
    (server, addr)
}

#[test]
fn openssl_refuses_our_certificate_and_says_so() {
    if !is_installed("openssl") {
        return;
    }
    for fault in FAULTS {
        let (identity, authority) = fault.certificate("localhost");
        let server = our_server(WSServerConfig::default().tls(identity.server()));
        let options = ["-verify_hostname", "localhost"];
        let mut client = OpenSsl::connect(server.addr, &ca_file(&authority), &options);
        client.until(match fault {
            Fault::WrongName => "hostname mismatch",
            Fault::Expired => "certificate has expired",
            Fault::UnknownIssuer => "unable to get local issuer certificate",
        });
        one_has_failed(&server, WSHandshakeFailure::Tls);
    }
}

/// RFC 8446 section 6.2: each fault has an alert of its own.
#[test]
fn openssl_is_told_why_we_refuse_its_certificate() {
    if !is_installed("openssl") {
        return;
    }
    for fault in FAULTS {
        let (identity, authority) = fault.certificate("localhost");
        let (mut server, addr) = openssl_server(&identity);
        let url = format!("wss://localhost:{}/", addr.port());
        let error = our_error(&url, WSConnectConfig::default().tls(authority.client()));
        let WSConnectError::Tls(tls) = &error else { panic!("{fault:?}: {error}") };
        assert!(tls.is_certificate_problem(), "{fault:?}: {error}");
        assert!(error.to_string().contains(fault.our_words()), "{fault:?}: {error}");
        server.until(match fault {
            Fault::WrongName => "alert bad certificate",
            Fault::Expired => "alert certificate expired",
            Fault::UnknownIssuer => "alert unknown ca",
        });
    }
}

#[test]
fn openssl_on_a_plain_port() {
    if !is_installed("openssl") {
        return;
    }
    let server = our_server(WSServerConfig::default());
    let mut client = OpenSsl::connect(server.addr, &ca_file(&Authority::new()), &[]);
    client.until("wrong version number");
    drop(client);
    one_has_failed(&server, WSHandshakeFailure::Invalid);
}

#[test]
fn our_plain_client_on_a_port_of_openssl() {
    if !is_installed("openssl") {
        return;
    }
    let (mut server, addr) = openssl_server(&Authority::new().issue(&["localhost"]));
    let error = our_error(&format!("ws://{addr}/"), WSConnectConfig::default());
    server.until("http request");
    assert!(error.to_string().contains("the server closed the connection without an answer"), "{error}");
}
