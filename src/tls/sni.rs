//! The server name (SNI) of a client, which rustls passes only to the certificate resolver.

use std::sync::{Arc, OnceLock};

use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Stores the name of one connection and forwards to the configured resolver.
#[derive(Debug)]
struct NotesServerName {
    resolver: Arc<dyn ResolvesServerCert>,
    name: Arc<OnceLock<Box<str>>>,
}

impl ResolvesServerCert for NotesServerName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let Some(name) = hello.server_name() {
            self.name.get_or_init(|| name.into());
        }
        self.resolver.resolve(hello)
    }

    fn only_raw_public_keys(&self) -> bool {
        self.resolver.only_raw_public_keys()
    }
}

/// Returns the configuration for one connection, and the place where its server name will be.
pub(super) fn noting_server_name(config: &ServerConfig) -> (Arc<ServerConfig>, Arc<OnceLock<Box<str>>>) {
    let name = Arc::new(OnceLock::new());
    let mut config = ServerConfig::clone(config);
    let resolver = Arc::clone(&config.cert_resolver);
    config.cert_resolver = Arc::new(NotesServerName { resolver, name: Arc::clone(&name) });
    (Arc::new(config), name)
}
