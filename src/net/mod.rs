//! Sockets, streams over them, and name lookup.
//!
//! | file | contents |
//! |---|---|
//! | `io` | a registered stream: reading, writing, interest, end of file |
//! | `stream` | a socket with a kind, or a layer |
//! | `tls_stream` | the layer that is TLS |
//! | `listening` | listening sockets |
//! | `socket` | sockets that the application hands over |
//! | `options` | socket options |
//! | `resolve`, `lookups` | from a name to addresses |
//!
//! It uses mio to register descriptors, and does not depend on the event loop.

mod io;
mod listening;
mod lookups;
mod options;
mod resolve;
mod socket;
mod stream;
#[cfg(feature = "tls")]
mod tls_stream;

pub(crate) use io::Io;
pub(crate) use listening::{ListenError, Listening};
#[cfg(test)]
pub(crate) use lookups::with_redirections_hanging;
pub(crate) use options::{ListenOptions, SocketOptions};
pub(crate) use resolve::resolve;
pub use resolve::{WSResolver, WSResolving};
pub use socket::{WSListeningSocket, WSSocket};
#[cfg(any(test, feature = "testkit"))]
pub(crate) use stream::Layer;
pub(crate) use stream::{Read, Socket, SocketKind, Stream};
#[cfg(feature = "tls")]
pub(crate) use tls_stream::{TlsShared, TlsStream};
