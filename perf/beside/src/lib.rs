//! What femtows and other crates do without a socket, behind one interface for each kind of work.
//!
//! | module | work | who exposes it |
//! |---|---|---|
//! | [`parse`] | from received bytes to unmasked payloads | femtows, nexus-web, tungstenite |
//! | [`unmask`] | a payload in place | fastwebsockets, femtows, nexus-web |
//!
//! fastwebsockets parses only behind an asynchronous stream, and tungstenite keeps its masking to itself.

pub mod parse;
pub mod unmask;
