//! The guide: what the reference of single items does not tell.
//!
//! | page | answers |
//! |---|---|
//! | [`threading`] | what runs where, and how other threads reach it |
//! | [`lifetimes`] | what is borrowed and how long, and who owns what |
//! | [`latency`] | where the time goes, and what can be done about it |
//! | [`messages`] | tasks that receive and send: handlers, back-pressure, cancelling, closing |
//! | [`back_pressure`] | what happens when somebody is too slow |
//! | [`shutdown`] | how connections, servers and loops end |
//! | [`liveness`] | how a peer that is gone is noticed |
//! | [`proxies`] | how a client finds its way |
//! | `tls` (feature `tls`) | certificates on both sides |
//! | [`security`] | values for servers on the open internet, and why |
//! | [`defaults`] | every default, and why |
//! | [`picows`] | what became of each name of picows |
//! | [`asyncapi`] | and of each name of trio-websocket, Starlette, bocadillo and `MicroPie` |
//!
//! These modules hold documentation only.

#[doc = include_str!("threading.md")]
pub mod threading {}

#[doc = include_str!("lifetimes.md")]
pub mod lifetimes {}

#[doc = include_str!("latency.md")]
pub mod latency {}

#[doc = include_str!("messages.md")]
pub mod messages {}

#[doc = include_str!("back_pressure.md")]
pub mod back_pressure {}

#[doc = include_str!("shutdown.md")]
pub mod shutdown {}

#[doc = include_str!("liveness.md")]
pub mod liveness {}

#[doc = include_str!("proxies.md")]
pub mod proxies {}

#[cfg(feature = "tls")]
#[doc = include_str!("tls.md")]
pub mod tls {}

#[doc = include_str!("security.md")]
pub mod security {}

#[doc = include_str!("defaults.md")]
pub mod defaults {}

#[doc = include_str!("../../docs/picows.md")]
pub mod picows {}

#[doc = include_str!("../../docs/asyncapi.md")]
pub mod asyncapi {}
