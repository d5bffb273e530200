//! The name that a client asked for: rustls shows it to whoever chooses the certificate, and nobody else.

use std::cell::Cell;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

thread_local! {
    /// The name in the last `ClientHello` that was processed on this thread.
    static LAST: Cell<Option<Box<str>>> = const { Cell::new(None) };
}

/// Takes the name that the `ClientHello` just processed on this thread has brought.
pub(super) fn take_last() -> Option<Box<str>> {
    LAST.take()
}

/// Notes the name and lets another choose.
#[derive(Debug)]
pub(super) struct NotesServerName(pub(super) Arc<dyn ResolvesServerCert>);

impl ResolvesServerCert for NotesServerName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        LAST.set(hello.server_name().map(Into::into));
        self.0.resolve(hello)
    }

    fn only_raw_public_keys(&self) -> bool {
        self.0.only_raw_public_keys()
    }
}
