//! The operating system as the judge of certificates. On Linux that is a file of authorities, which the environment may name: so the
//! client of each test is a process of its own.

use std::process::Command;

use femtows::*;

use crate::authority::{Authority, FAULTS, file};
use crate::support::probe::{Probe, log};
use crate::support::running::{connect, serve};

/// Where the client's process is to connect to.
const URL: &str = "FEMTOWS_TEST_URL";

/// What the client says of a server with this certificate if its system trusts this authority.
fn said(trusted: &Authority, tls: WSServerTls) -> String {
    let (log, _) = log();
    let server = serve(WSServerConfig::default().tls(tls), move |_| Probe::new(&log).echo());
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["platform::client", "--exact", "--ignored", "--nocapture"])
        .env("SSL_CERT_FILE", file("system.pem", &trusted.pem))
        .env_remove("SSL_CERT_DIR")
        .env(URL, format!("wss://localhost:{}/", server.addr.port()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_systems_authorities_are_trusted() {
    let authority = Authority::new();
    let said = said(&authority, authority.issue(&["localhost"]).server());
    assert!(said.contains("opened: Ok"), "{said}");
}

#[test]
fn what_is_wrong_is_told() {
    for fault in FAULTS {
        let (identity, trusted) = fault.certificate("localhost");
        let said = said(&trusted, identity.server());
        assert!(said.contains("opened: Err") && said.contains(fault.our_words()), "{fault:?}: {said}");
    }
}

#[test]
#[ignore = "the process of the other tests' client"]
fn client() {
    let url = std::env::var(URL).expect("run by another test");
    let (log, _) = log();
    let config = WSConnectConfig::default().tls(WSClientTls::default().platform_verifier());
    match connect(&url, config, Probe::new(&log)).opened() {
        Ok(()) => println!("opened: Ok"),
        Err(error) => println!("opened: Err: {error}"),
    }
}
