//! Proxies: where they are, and how they are asked for a tunnel. Nothing here does I/O.
//!
//! | file | what is in it |
//! |---|---|
//! | `url` | [`WSProxy`]: kind, address and credentials |
//! | `tunnel` | the exchange that makes a tunnel, whatever the kind |
//! | `http` | CONNECT (RFC 9110 section 9.3.6) |
//! | `socks4` | SOCKS4 and SOCKS4a |
//! | `socks5` | SOCKS5 (RFC 1928, RFC 1929) |
//! | `error` | why there is no tunnel |
//! | `fuzz` | what a fuzzer drives |

mod error;
#[cfg(feature = "testkit")]
mod fuzz;
mod http;
mod socks4;
mod socks5;
mod tunnel;
mod url;

pub use error::{WSProxyError, WSProxyErrorKind};
#[cfg(feature = "testkit")]
pub use fuzz::fuzz_proxy_answers;
pub(crate) use tunnel::{Progress, Tunnel};
pub(crate) use url::Scheme;
pub use url::{WSInvalidProxy, WSProxy};
