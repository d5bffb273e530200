//! The protocol of RFC 6455 without I/O.

mod close;
mod error;
mod msg_type;
mod utf8;

pub use close::{ClosePayload, MAX_CLOSE_REASON, MAX_CONTROL_PAYLOAD, WSCloseCode, parse_close_payload};
pub use error::WSProtocolError;
pub use msg_type::WSMsgType;
pub use utf8::{Utf8Error, Utf8Validator};
