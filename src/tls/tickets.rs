//! Session tickets that a client receives (RFC 8446 section 4.6.1), counted per connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, NamedGroup};

/// Tickets that are stored between two pieces of application data; servers send one or two.
const MAX_STORED: u32 = 8;

/// Tickets that may follow each other without application data. rustls allows as many key updates.
const MAX_WITHOUT_DATA: u32 = 32;

/// The configuration and the store that client sessions are made from.
#[derive(Clone, Debug)]
pub(crate) struct ClientSetup {
    pub(super) config: Arc<ClientConfig>,
    /// The session store in `config`. `None` if the configuration is the application's: rustls does
    /// not give out its store.
    store: Option<Arc<dyn ClientSessionStore>>,
}

impl ClientSetup {
    /// Uses the application's configuration as it is.
    pub(super) fn of_rustls(config: Arc<ClientConfig>) -> Self {
        Self { config, store: None }
    }

    /// Uses this store in place of the one in `config`.
    pub(super) fn with_store(mut config: ClientConfig, store: Arc<dyn ClientSessionStore>) -> Self {
        config.resumption = Resumption::store(Arc::clone(&store));
        Self { config: Arc::new(config), store: Some(store) }
    }

    /// Returns the configuration for one connection, and the count of its tickets.
    pub(super) fn for_connection(&self) -> (Arc<ClientConfig>, Option<Arc<TicketCount>>) {
        let Some(store) = &self.store else { return (Arc::clone(&self.config), None) };
        let count = Arc::new(TicketCount::default());
        let mut config = ClientConfig::clone(&self.config);
        let counting = CountingStore { store: Arc::clone(store), count: Arc::clone(&count) };
        config.resumption = Resumption::store(Arc::new(counting));
        (Arc::new(config), Some(count))
    }
}

/// Tickets of one connection since the last application data.
#[derive(Debug, Default)]
pub(super) struct TicketCount(AtomicU32);

impl TicketCount {
    #[inline]
    pub(super) fn data_arrived(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Returns `true` if there were too many.
    pub(super) fn is_exceeded(&self) -> bool {
        self.0.load(Ordering::Relaxed) > MAX_WITHOUT_DATA
    }
}

/// The store of all connections, as one of them uses it.
#[derive(Debug)]
struct CountingStore {
    store: Arc<dyn ClientSessionStore>,
    count: Arc<TicketCount>,
}

impl ClientSessionStore for CountingStore {
    fn set_kx_hint(&self, server: ServerName<'static>, group: NamedGroup) {
        self.store.set_kx_hint(server, group);
    }

    fn kx_hint(&self, server: &ServerName<'_>) -> Option<NamedGroup> {
        self.store.kx_hint(server)
    }

    fn set_tls12_session(&self, server: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.store.set_tls12_session(server, value);
    }

    fn tls12_session(&self, server: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.store.tls12_session(server)
    }

    fn remove_tls12_session(&self, server: &ServerName<'static>) {
        self.store.remove_tls12_session(server);
    }

    fn insert_tls13_ticket(&self, server: ServerName<'static>, value: Tls13ClientSessionValue) {
        let before = self.count.0.fetch_add(1, Ordering::Relaxed);
        if before < MAX_STORED {
            self.store.insert_tls13_ticket(server, value);
        }
    }

    fn take_tls13_ticket(&self, server: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.store.take_tls13_ticket(server)
    }
}
