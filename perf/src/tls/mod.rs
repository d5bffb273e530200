//! TLS of the harness itself: certificates for servers, the generator's client side, and a session without I/O for both ends.
//!
//! Everybody gets the same: TLS 1.3, AES-128-GCM, keys agreed on P-256, an ECDSA certificate on P-256, no session tickets.

mod identity;
mod session;

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub(crate) use identity::{Identity, SERVER_NAME, server_config};
pub(crate) use session::{Buffers, Outgoing, Session};

/// The one cipher suite and the one group that are offered and accepted.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![aws_lc_rs::kx_group::SECP256R1],
        ..aws_lc_rs::default_provider()
    })
}
