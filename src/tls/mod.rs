//! TLS by rustls: what a connection is to present and to trust, and sessions without I/O.
//!
//! | to | use |
//! |---|---|
//! | serve `wss` | [`WSServerTls`] in [`WSServerConfig::tls`](crate::WSServerConfig::tls) |
//! | change the certificate of a running server | [`WSServer::set_tls`](crate::server::WSServer::set_tls) |
//! | connect to `wss` with other than the defaults | [`WSClientTls`] in [`WSConnectConfig::tls`](crate::WSConnectConfig::tls) |
//! | see what was agreed on | [`WSTransport::tls_info`](crate::WSTransport::tls_info) |
//!
//! What moves a session's bytes is `net/tls_stream.rs`.

mod client;
mod error;
#[cfg(feature = "testkit")]
mod fuzz;
mod info;
mod pem;
mod server;
mod session;
mod sni;
mod tickets;

use std::sync::{Arc, OnceLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub use client::WSClientTls;
pub(crate) use error::TlsPeer;
pub use error::{WSTlsConfigError, WSTlsError};
#[cfg(feature = "testkit")]
#[doc(hidden)]
pub use fuzz::fuzz_session;
pub use info::{WSTlsInfo, WSTlsVersion};
pub use server::{WSClientCertificates, WSServerTls};
pub(crate) use session::{MAX_PLAINTEXT, SealError, Session};
pub(crate) use tickets::ClientSetup;

/// The one protocol that is spoken inside (RFC 7301; RFC 6455 section 4.1 upgrades from HTTP/1.1).
const ALPN: &[u8] = b"http/1.1";

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(aws_lc_rs::default_provider())))
}
