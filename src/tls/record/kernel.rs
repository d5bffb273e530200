use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{ConnectionTrafficSecrets, Error};

/// What rustls goes on doing.
pub(crate) enum Kernel {
    Client(Box<KernelConnection<ClientConnectionData>>),
    Server(Box<KernelConnection<ServerConnectionData>>),
    /// Nobody: all secrets are known, and the same.
    #[cfg(feature = "testkit")]
    Known,
}

impl Kernel {
    /// Most records to be sealed with the same keys.
    pub(super) fn confidentiality_limit(&self) -> u64 {
        let suite = match self {
            Self::Client(kernel) => kernel.negotiated_cipher_suite(),
            Self::Server(kernel) => kernel.negotiated_cipher_suite(),
            #[cfg(feature = "testkit")]
            Self::Known => return u64::MAX,
        };
        suite.tls13().map_or(0, |suite| suite.common.confidentiality_limit)
    }

    pub(super) fn next_incoming(&mut self) -> Result<(u64, ConnectionTrafficSecrets), Error> {
        match self {
            Self::Client(kernel) => kernel.update_rx_secret(),
            Self::Server(kernel) => kernel.update_rx_secret(),
            #[cfg(feature = "testkit")]
            Self::Known => Ok(super::fuzz::known_secrets()),
        }
    }

    pub(super) fn next_outgoing(&mut self) -> Result<(u64, ConnectionTrafficSecrets), Error> {
        match self {
            Self::Client(kernel) => kernel.update_tx_secret(),
            Self::Server(kernel) => kernel.update_tx_secret(),
            #[cfg(feature = "testkit")]
            Self::Known => Ok(super::fuzz::known_secrets()),
        }
    }
}
