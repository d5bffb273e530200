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
mod msg_type;
mod payload;
mod prepared;
mod receiver;
mod rules;
#[cfg(test)]
mod tests;
mod utf8;

pub(crate) use close::truncate_at_char;
pub use close::{
    ClosePayload, MAX_CLOSE_REASON, MAX_CONTROL_PAYLOAD, WSClose, WSCloseCode, WSCloseHandshake,
    parse_close_payload,
};
pub use connection::{Action, Connection, Disposition, Event, StreamState};
pub use disconnect::{WSDisconnectCause, WSDisconnectInfo, WSDisconnectSide};
pub use error::WSProtocolError;
pub use fragments::MessageAssembler;
pub use frame::WSFrame;
pub(crate) use header::FirstByte;
pub use header::{EncodedHeader, FrameHeader, HeaderFault, MAX_HEADER, MAX_SHORT_PAYLOAD, SendOptions};
pub use keepalive::{AutoPing, KeepAlive, KeepAliveRules, KeepAliveStep, WSAutoPingStrategy};
pub use msg_type::WSMsgType;
pub use payload::{Payload, SendContext, WSDropReason};
pub use prepared::{WSPreparedFrame, WSPreparedMessage};
pub use receiver::{FrameHead, Receiver};
pub use rules::{Role, Rules, WSOverflowPolicy};
pub use utf8::{Utf8Error, Utf8Validator};

pub(crate) use deadline::deadline_after;
