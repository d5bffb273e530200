//! What a client shows to those that it is sent on to.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use femtows::rustls::pki_types::pem::PemObject;
use femtows::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use femtows::rustls::{ClientConfig, RootCertStore};
use femtows::*;

use crate::authority::{Authority, Identity};
use crate::support::PATIENCE;
use crate::support::probe::{Probe, log};
use crate::support::running::{connect, serve};

/// Tells how many certificates its client has shown.
struct Shown(Sender<usize>);

impl WSListener for Shown {
    fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
        self.0.send(transport.tls_info().map_or(0, |info| info.peer_certificates.len()))?;
        Ok(())
    }

    fn on_ws_frame(&mut self, _: &WSTransport, _: &mut WSFrame<'_>) -> WSResult {
        Ok(())
    }
}

/// The same client as a configuration of rustls.
fn with_identity(authority: &Authority, identity: &Identity) -> Arc<ClientConfig> {
    let certificates = |pem: &str| -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().unwrap()
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(&authority.pem));
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    Arc::new(builder.with_client_auth_cert(certificates(&identity.chain), key).unwrap())
}

#[test]
fn t13_a_client_certificate_does_not_follow_to_another_origin() {
    let authority = Authority::new();
    let asking = || {
        let tls = authority.issue(&["localhost"]).server();
        let tls = tls.client_certificates(authority.pem.as_bytes(), WSClientCertificates::Optional).unwrap();
        WSServerConfig::default().tls(tls)
    };
    let (tell, shown) = channel();
    let tell_elsewhere = tell.clone();
    let elsewhere = serve(asking(), move |_| Shown(tell_elsewhere.clone()));
    let port = elsewhere.addr.port();
    let here = serve(asking(), move |request: &WSUpgradeRequest| match request.path() {
        "/away" => Err(WSUpgradeResponse::redirect(302, &format!("wss://localhost:{port}/")).unwrap()),
        "/on" => Err(WSUpgradeResponse::redirect(302, "/").unwrap()),
        _ => Ok(Shown(tell.clone())),
    });
    let identity = authority.issue(&["a client"]);
    let own = authority.client().identity_pem(identity.chain.as_bytes(), identity.key.as_bytes()).unwrap();
    for tls in [own, WSClientTls::from_rustls(with_identity(&authority, &identity))] {
        for (path, count) in [("/", 1), ("/on", 1), ("/away", 0)] {
            let (log, _) = log();
            let url = format!("wss://localhost:{}{path}", here.addr.port());
            let client = connect(&url, WSConnectConfig::default().tls(tls.clone()), Probe::new(&log));
            client.opened().unwrap();
            assert_eq!(shown.recv_timeout(PATIENCE), Ok(count), "{path}");
        }
    }
}
