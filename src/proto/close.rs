//! Close codes and the payload of a CLOSE frame (RFC 6455 sections 5.5.1 and 7.4).

use std::fmt;

use super::WSProtocolError;

/// A status code of the closing handshake (RFC 6455 section 7.4).
///
/// Any `u16` can be held, since peers send what they like; [`is_valid_on_wire`](Self::is_valid_on_wire) tells
/// whether an endpoint may send it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WSCloseCode(pub u16);

impl WSCloseCode {
    /// 1000: the purpose of the connection is fulfilled.
    pub const OK: Self = Self(1000);
    /// 1001: an endpoint is going away (server shutdown, page left).
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1003: data of a type that the endpoint cannot accept.
    pub const UNSUPPORTED_DATA: Self = Self(1003);
    /// 1005: the CLOSE frame carried no code. Never on the wire.
    pub const NO_INFO: Self = Self(1005);
    /// 1006: the connection ended without a CLOSE frame. Never on the wire.
    pub const ABNORMAL_CLOSURE: Self = Self(1006);
    /// 1007: data inconsistent with the message type, such as text that is not UTF-8.
    pub const INVALID_TEXT: Self = Self(1007);
    /// 1008: a policy was violated.
    pub const POLICY_VIOLATION: Self = Self(1008);
    /// 1009: a message too big to process.
    pub const MESSAGE_TOO_BIG: Self = Self(1009);
    /// 1010: the client expected an extension that the server did not negotiate.
    pub const MANDATORY_EXTENSION: Self = Self(1010);
    /// 1011: the endpoint met an unexpected condition.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// 1012: the service restarts.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// 1013: the service is overloaded, try again later.
    pub const TRY_AGAIN_LATER: Self = Self(1013);
    /// 1014: a gateway got an invalid response from upstream.
    pub const BAD_GATEWAY: Self = Self(1014);
    /// 1015: the TLS handshake failed. Never on the wire.
    pub const TLS_HANDSHAKE: Self = Self(1015);

    /// Whether an endpoint may put this code on the wire: 1000-1003, 1007-1014, 3000-4999.
    #[inline]
    pub const fn is_valid_on_wire(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }

    /// Returns the standard name, such as `NORMAL_CLOSURE`.
    ///
    /// A code without a name of its own has that of its range, as in trio-websocket: `RFC_RESERVED`
    /// for 1000 to 2999, `IANA_RESERVED` for 3000 to 3999, `PRIVATE_RESERVED` for 4000 to 4999
    /// (RFC 6455 section 7.4.2), and `INVALID_CODE` for all others.
    pub const fn name(self) -> &'static str {
        match self.0 {
            1000 => "NORMAL_CLOSURE",
            1001 => "GOING_AWAY",
            1002 => "PROTOCOL_ERROR",
            1003 => "UNSUPPORTED_DATA",
            1005 => "NO_STATUS_RCVD",
            1006 => "ABNORMAL_CLOSURE",
            1007 => "INVALID_FRAME_PAYLOAD_DATA",
            1008 => "POLICY_VIOLATION",
            1009 => "MESSAGE_TOO_BIG",
            1010 => "MANDATORY_EXT",
            1011 => "INTERNAL_ERROR",
            1012 => "SERVICE_RESTART",
            1013 => "TRY_AGAIN_LATER",
            1014 => "BAD_GATEWAY",
            1015 => "TLS_HANDSHAKE",
            1004 | 1016..=2999 => "RFC_RESERVED",
            3000..=3999 => "IANA_RESERVED",
            4000..=4999 => "PRIVATE_RESERVED",
            _ => "INVALID_CODE",
        }
    }
}

impl WSCloseCode {
    /// Returns `true` if a CLOSE with this code may be sent, or one without a code for
    /// [`NO_INFO`](Self::NO_INFO).
    pub(crate) fn may_be_sent(self) -> bool {
        self == Self::NO_INFO || self.is_valid_on_wire()
    }
}

impl fmt::Debug for WSCloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0, self.name())
    }
}

impl fmt::Display for WSCloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl From<u16> for WSCloseCode {
    fn from(code: u16) -> Self {
        Self(code)
    }
}

/// Longest payload of a control frame, in bytes (RFC 6455 section 5.5).
pub(crate) const MAX_CONTROL_PAYLOAD: usize = 125;

/// Longest close reason, in bytes: a control payload less the two of the code.
pub(crate) const MAX_CLOSE_REASON: usize = MAX_CONTROL_PAYLOAD - 2;

/// The payload of a CLOSE frame, on the stack.
#[derive(Clone, Copy)]
pub struct ClosePayload {
    bytes: [u8; MAX_CONTROL_PAYLOAD],
    len: u8,
}

impl ClosePayload {
    /// Encodes a code and a reason.
    ///
    /// [`WSCloseCode::NO_INFO`] gives an empty payload. The reason is cut to 123 bytes at a character boundary.
    /// The code is written as it is: whether it may be sent is the caller's question.
    pub fn new(code: WSCloseCode, reason: &str) -> Self {
        let mut payload = Self { bytes: [0; MAX_CONTROL_PAYLOAD], len: 0 };
        if code == WSCloseCode::NO_INFO {
            return payload;
        }
        let reason = truncate_at_char(reason, MAX_CLOSE_REASON);
        payload.bytes[..2].copy_from_slice(&code.0.to_be_bytes());
        payload.bytes[2..2 + reason.len()].copy_from_slice(reason.as_bytes());
        payload.len = (2 + reason.len()) as u8;
        payload
    }

    /// The encoded bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Debug for ClosePayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClosePayload").field(&self.as_bytes()).finish()
    }
}

/// Reads the payload of a CLOSE frame: code and reason, checked as RFC 6455 section 7.4 asks.
///
/// An empty payload is [`WSCloseCode::NO_INFO`] with an empty reason.
///
/// # Errors
/// 1002 for a payload of one byte or a code that must not be on the wire, 1007 for a reason that is not UTF-8.
pub fn parse_close_payload(payload: &[u8]) -> Result<(WSCloseCode, &str), WSProtocolError> {
    match payload {
        [] => Ok((WSCloseCode::NO_INFO, "")),
        [_] => Err(WSProtocolError::new(WSCloseCode::PROTOCOL_ERROR, "close payload of one byte")),
        [high, low, reason @ ..] => {
            let code = WSCloseCode(u16::from_be_bytes([*high, *low]));
            if !code.is_valid_on_wire() {
                return Err(WSProtocolError::new(
                    WSCloseCode::PROTOCOL_ERROR,
                    format!("close code {} must not be sent", code.0),
                ));
            }
            match simdutf8::basic::from_utf8(reason) {
                Ok(reason) => Ok((code, reason)),
                Err(_) => Err(WSProtocolError::new(WSCloseCode::INVALID_TEXT, "close reason is not UTF-8")),
            }
        }
    }
}

/// One side's half of the closing handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WSClose {
    /// The code, or [`WSCloseCode::NO_INFO`] if the frame carried none.
    pub code: WSCloseCode,
    /// The reason; empty if there was none.
    pub reason: Box<str>,
}

/// Which CLOSE frames were exchanged so far (RFC 6455 section 7.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WSCloseHandshake {
    /// The CLOSE that the peer sent.
    pub recv: Option<WSClose>,
    /// The CLOSE that this end sent.
    pub sent: Option<WSClose>,
    /// Whether the peer's came first: this end answered, or has still to answer.
    pub recv_then_sent: bool,
}

/// The longest prefix of at most `max` bytes that ends at a character boundary.
pub(crate) fn truncate_at_char(text: &str, max: usize) -> &str {
    if text.len() <= max {
        return text;
    }
    let mut end = max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_codes_are_exactly_the_ranges_of_the_rfc() {
        for code in 0..=u16::MAX {
            let expected = (1000..=1003).contains(&code)
                || (1007..=1014).contains(&code)
                || (3000..=4999).contains(&code);
            assert_eq!(WSCloseCode(code).is_valid_on_wire(), expected, "{code}");
        }
    }

    #[test]
    fn payload_round_trip() {
        let payload = ClosePayload::new(WSCloseCode::GOING_AWAY, "bye");
        assert_eq!(payload.as_bytes(), b"\x03\xe9bye");
        assert_eq!(parse_close_payload(payload.as_bytes()).unwrap(), (WSCloseCode::GOING_AWAY, "bye"));
        assert_eq!(ClosePayload::new(WSCloseCode::NO_INFO, "ignored").as_bytes(), b"");
        assert_eq!(parse_close_payload(b"").unwrap(), (WSCloseCode::NO_INFO, ""));
    }

    #[test]
    fn long_reason_is_cut_at_a_character() {
        let reason = "\u{e4}".repeat(100);
        let payload = ClosePayload::new(WSCloseCode::OK, &reason);
        assert_eq!(payload.as_bytes().len(), 2 + 122);
        assert!(parse_close_payload(payload.as_bytes()).is_ok());
    }

    #[test]
    fn bad_payloads() {
        assert_eq!(parse_close_payload(b"\x03").unwrap_err().code, WSCloseCode::PROTOCOL_ERROR);
        for code in [0u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535] {
            let error = parse_close_payload(&code.to_be_bytes()).unwrap_err();
            assert_eq!(error.code, WSCloseCode::PROTOCOL_ERROR, "{code}");
        }
        assert_eq!(parse_close_payload(b"\x03\xe8\xff").unwrap_err().code, WSCloseCode::INVALID_TEXT);
    }
}
