//! The opening handshake (RFC 6455 section 4) without I/O, for both sides.
//!
//! Bytes come in, progress and bytes go out; nothing here knows a socket or a clock. Both sides are handed *all*
//! bytes that arrived so far each time, and remember how far they have looked, so that the total cost is linear
//! however the peer cuts its bytes.
//!
//! | side | state | input | output |
//! |---|---|---|---|
//! | server | [`ServerHandshake`] | [`receive`](ServerHandshake::receive) | [`ServerProgress`], then [`WSUpgradeResponse::encode_switching`] or [`WSUpgradeResponse::encode`] |
//! | client | [`ClientHandshake`] | [`receive`](ClientHandshake::receive), [`receive_eof`](ClientHandshake::receive_eof) | [`request_bytes`](ClientHandshake::request_bytes), [`ClientProgress`] |
//!
//! What a client decides before and after its request is here, too, as far as it needs neither sockets nor the loop:
//! [`WSUrl`], the tunnels of a [`WSProxy`], the race of addresses, and where a redirection leads.
//!
//! A head is refused as soon as it is certain to be bad: nobody waits for a deadline to learn that he speaks TLS to
//! a plain port.

mod authority;
mod body;
mod client;
mod encode;
mod error;
#[cfg(feature = "deflate")]
mod extensions;
mod head;
mod headers;
mod key;
mod presets;
pub(crate) mod proxy;
pub(crate) mod race;
mod redirect;
mod request;
mod request_builder;
mod request_rules;
mod response;
mod response_rules;
mod server;
mod start_line;
mod syntax;
mod target;
#[cfg(test)]
mod tests;
mod url;

pub use client::{ClientHandshake, ClientHandshakeConfig, ClientProgress};
pub use encode::encode_default_switching;
pub use error::{
    WSHandshakeError, WSHandshakeErrorKind, WSInvalidHeader, WSInvalidRequest, WSInvalidResponse,
};
#[cfg(feature = "deflate")]
pub(crate) use extensions::{add_extension, extension_values, invalid_extensions};
pub use head::HandshakeLimits;
pub use headers::WSHeaders;
pub use key::{accept_key, client_key};
#[cfg(feature = "testkit")]
#[doc(hidden)]
pub use proxy::fuzz_proxy_answers;
pub use proxy::{WSInvalidProxy, WSProxy, WSProxyError, WSProxyErrorKind};
pub(crate) use redirect::{leave_behind, redirect_target};
pub use request::WSRequestHead;
pub use response::WSUpgradeResponse;
pub use server::{ServerHandshake, ServerProgress};
pub use url::{WSInvalidUrl, WSUrl};
