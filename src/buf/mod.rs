//! Receive and send buffers, and the pool they come from and go back to.

mod pool;
mod recv;
#[cfg(any(feature = "deflate", feature = "tls"))]
mod scratch;
mod send_queue;
mod ws_buffer;

pub use pool::BufferPool;
pub(crate) use recv::RecvBuffer;
#[cfg(any(feature = "deflate", feature = "tls"))]
pub(crate) use scratch::ScratchBuffer;
pub(crate) use send_queue::{MIN_OPENED, SendQueue};
pub use ws_buffer::{WS_HEADROOM, WSBuffer};

/// For the tests and fuzz targets of this repository. Not part of the API.
#[cfg(any(feature = "deflate", feature = "tls"))]
#[doc(hidden)]
pub mod internal {
    pub use super::scratch::ScratchBuffer;
}
