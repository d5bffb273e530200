//! The protocol of RFC 6455 without I/O: bytes and time come in, frames and bytes go out.
//!
//! [`Connection`] is the whole of it for one open connection; its contract is on the type. The loop of this crate drives it,
//! and so can any other runtime, a test or a fuzzer.

mod close;
mod connection;
mod deadline;
mod disconnect;
mod error;
mod fragments;
mod frame;
mod header;
mod keepalive;
#[cfg(any(test, feature = "testkit"))]
#[path = "tests/model/mod.rs"]
mod model;
mod msg_type;
mod payload;
mod prepared;
mod receiver;
mod rules;
#[cfg(test)]
mod tests;
mod utf8;

pub(crate) use close::{
    ClosePayload, MAX_CLOSE_REASON, MAX_CONTROL_PAYLOAD, parse_close_payload, truncate_at_char,
};
pub use close::{WSClose, WSCloseCode, WSCloseHandshake};
pub use connection::{Action, Connection, Disposition, Event, StreamState};
pub(crate) use deadline::deadline_after;
pub use disconnect::{WSDisconnectCause, WSDisconnectInfo, WSDisconnectSide};
pub use error::WSProtocolError;
pub(crate) use fragments::MessageAssembler;
pub use frame::WSFrame;
pub(crate) use header::{FirstByte, MAX_SHORT_PAYLOAD};
pub use header::{FrameHeader, SendOptions};
pub use keepalive::{AutoPing, KeepAliveRules, WSAutoPingStrategy};
pub(crate) use keepalive::{KeepAlive, KeepAliveStep};
pub use msg_type::WSMsgType;
pub use payload::{Payload, SendContext, WSDropReason};
pub use prepared::{WSPreparedFrame, WSPreparedMessage};
pub use receiver::FrameHead;
#[cfg(any(test, feature = "testkit"))]
pub(crate) use receiver::Receiver;
pub use rules::{Role, Rules, WSOverflowPolicy};

pub(crate) use utf8::Utf8Validator;

/// For the benches and fuzz targets of this repository. Not part of the API.
#[doc(hidden)]
pub mod internal {
    pub use super::close::{ClosePayload, parse_close_payload};
    pub use super::fragments::MessageAssembler;
    #[cfg(feature = "testkit")]
    pub use super::model::{fuzz_calls, fuzz_frames};
    pub use super::receiver::Receiver;
    pub use super::utf8::{Utf8Error, Utf8Validator};
}
