// TEMPORARY: shims for event_loop.
pub(crate) use crate::client::ConfigureSocket;
pub(crate) use crate::connection::{ConnectionConfig, WSTuning};
#[cfg(feature = "deflate")]
pub(crate) use crate::deflate::WSDeflateConfig;
pub(crate) use crate::runtime::{WSBusyPoll, WSLoopConfig};
pub(crate) use crate::server::WSServerConfig;
