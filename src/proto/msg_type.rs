/// Message type: the opcode of a frame (RFC 6455 section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum WSMsgType {
    /// A further fragment of the message that an earlier [`Text`](Self::Text) or [`Binary`](Self::Binary) frame began.
    Continuation = 0x0,
    /// A text message, or its first fragment. The payload is UTF-8.
    Text = 0x1,
    /// A binary message, or its first fragment.
    Binary = 0x2,
    /// The closing handshake (RFC 6455 section 5.5.1).
    Close = 0x8,
    /// A ping (RFC 6455 section 5.5.2).
    Ping = 0x9,
    /// A pong (RFC 6455 section 5.5.3).
    Pong = 0xA,
}

impl WSMsgType {
    /// The type with this opcode, or `None` if the opcode is reserved.
    #[inline]
    pub const fn from_opcode(opcode: u8) -> Option<Self> {
        Some(match opcode {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    /// The four bits that stand for this type on the wire.
    #[inline]
    pub const fn opcode(self) -> u8 {
        self as u8
    }

    /// Whether this is a control frame: CLOSE, PING or PONG (RFC 6455 section 5.5).
    #[inline]
    pub const fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opcode_round_trip() {
        for opcode in 0..=255u8 {
            match WSMsgType::from_opcode(opcode) {
                Some(kind) => {
                    assert_eq!(kind.opcode(), opcode);
                    assert_eq!(kind.is_control(), opcode >= 8);
                }
                None => assert!((3..8).contains(&opcode) || opcode > 0xA),
            }
        }
    }
}
