//! The frame header (RFC 6455 section 5.2), both ways.

use crate::mask;

use super::{MAX_CONTROL_PAYLOAD, WSCloseCode, WSMsgType, WSProtocolError};

/// Longest header on the wire, in bytes: two, a 64-bit length, a masking key.
pub(crate) const MAX_HEADER: usize = 14;

/// Longest payload, in bytes, whose length fits into the second byte of the header.
pub(crate) const MAX_SHORT_PAYLOAD: usize = 125;

/// Least payload of a [long](FrameHeader::is_long) frame, in bytes.
pub(super) const LONG: u16 = 4096;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV2: u8 = 0x20;
const RSV3: u8 = 0x10;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

/// First byte of a whole message in one frame.
const TEXT_MESSAGE: u8 = FIN | WSMsgType::Text.opcode();
const BINARY_MESSAGE: u8 = FIN | WSMsgType::Binary.opcode();

/// The bits of a frame that are the sender's to choose.
///
/// The default is a whole message: `fin` set, no reserved bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendOptions {
    /// Whether this frame ends its message.
    pub fin: bool,
    /// First reserved bit. Only for an extension that both sides negotiated.
    pub rsv1: bool,
    /// Second reserved bit. Only for an extension that both sides negotiated.
    pub rsv2: bool,
    /// Third reserved bit. Only for an extension that both sides negotiated.
    pub rsv3: bool,
}

impl Default for SendOptions {
    fn default() -> Self {
        Self { fin: true, rsv1: false, rsv2: false, rsv3: false }
    }
}

impl SendOptions {
    /// A frame that does not end its message.
    pub const MORE_FRAGMENTS: Self = Self { fin: false, rsv1: false, rsv2: false, rsv3: false };

    /// The upper half of the first byte of the header. The four fields are moved to their places by one multiplication: an echo
    /// goes through here twice per frame.
    #[inline]
    fn bits(self) -> u8 {
        let fields = u32::from_le_bytes([self.fin, self.rsv1, self.rsv2, self.rsv3].map(u8::from));
        (fields.wrapping_mul(1 << 31 | 1 << 22 | 1 << 13 | 1 << 4) >> 24) as u8
    }

    /// The options whose [`bits`](Self::bits) are the upper half of `first`.
    #[inline]
    fn from_bits(first: u8) -> Self {
        let spread = u32::from(first >> 4) * (1 << 27 | 1 << 18 | 1 << 9 | 1);
        let fields = (spread >> 3) & 0x0101_0101;
        let [fin, rsv1, rsv2, rsv3] = fields.to_le_bytes().map(|field| field != 0);
        Self { fin, rsv1, rsv2, rsv3 }
    }
}

/// The first byte of a frame that is to be sent: what it is, and its sender's bits, in one register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FirstByte(u8);

impl FirstByte {
    #[inline]
    pub(crate) fn new(msg_type: WSMsgType, options: SendOptions) -> Self {
        Self(options.bits() | msg_type.opcode())
    }

    #[inline]
    pub(super) fn is_control(self) -> bool {
        self.0 & 0x08 != 0
    }

    pub(crate) fn msg_type(self) -> WSMsgType {
        WSMsgType::from_opcode(self.0 & OPCODE).expect("it was made of a valid one")
    }

    pub(crate) fn options(self) -> SendOptions {
        SendOptions::from_bits(self.0)
    }

    /// Returns the header of an unmasked frame: two bytes long up to [`MAX_SHORT_PAYLOAD`] bytes of
    /// payload, four up to 65535.
    #[inline]
    pub(super) fn header<const LEN: usize>(self, payload_len: usize) -> [u8; LEN] {
        debug_assert!(matches!((LEN, payload_len), (2, 0..=MAX_SHORT_PAYLOAD) | (4, 126..=0xffff)));
        let [high, low] = (payload_len as u16).to_be_bytes();
        let bytes = if LEN == 2 { [self.0, low, 0, 0] } else { [self.0, LENGTH_16, high, low] };
        std::array::from_fn(|at| bytes[at])
    }
}

/// What can be wrong with a header whatever the state of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    /// Opcode 3-7 or 11-15.
    ReservedOpcode,
    /// A control frame without FIN.
    FragmentedControl,
    /// A control frame with more than 125 bytes.
    ControlTooLong,
    /// A 16- or 64-bit length that a shorter form could hold.
    NonMinimalLength,
    /// A 64-bit length with the most significant bit set.
    LengthTooBig,
}

impl HeaderFault {
    const fn message(self) -> &'static str {
        match self {
            Self::ReservedOpcode => "reserved opcode",
            Self::FragmentedControl => "fragmented control frame",
            Self::ControlTooLong => "control frame payload over 125 bytes",
            Self::NonMinimalLength => "payload length is not minimally encoded",
            Self::LengthTooBig => "most significant bit of the payload length is set",
        }
    }
}

impl From<HeaderFault> for WSProtocolError {
    #[cold]
    fn from(fault: HeaderFault) -> Self {
        Self::new(WSCloseCode::PROTOCOL_ERROR, fault.message())
    }
}

/// A frame header.
///
/// Two words, each written and read as one: a header is copied several times on its way to the listener, and a copy of fields that
/// were just written one by one would wait for each of them to reach the cache.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    payload_len: u64,
    /// From the lowest byte up: FIN, reserved bits and a valid opcode as on the wire; the length of the header itself; `MASKED` or zero;
    /// unused; the masking key as the wire has it, zero if there is none.
    packed: u64,
}

impl FrameHeader {
    /// The header of a frame to be sent.
    ///
    /// `mask` is the masking key, which a client must and a server must not use (RFC 6455 section 5.1).
    #[inline]
    pub(crate) fn new(
        msg_type: WSMsgType,
        options: SendOptions,
        mask: Option<[u8; 4]>,
        payload_len: usize,
    ) -> Self {
        Self::from_parts(options.bits() | msg_type.opcode(), mask, payload_len as u64)
    }

    /// Reads the header at the front of `bytes`; `Ok(None)` if more bytes are needed to know it.
    ///
    /// # Errors
    /// As soon as it is certain that no continuation of `bytes` is a valid header.
    #[inline]
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Self>, HeaderFault> {
        let &[first, second, ref rest @ ..] = bytes else {
            return Self::check_first_byte(bytes);
        };
        let Some(msg_type) = WSMsgType::from_opcode(first & OPCODE) else {
            return Err(HeaderFault::ReservedOpcode);
        };
        if msg_type.is_control() {
            if first & FIN == 0 {
                return Err(HeaderFault::FragmentedControl);
            }
            if usize::from(second & LENGTH) > MAX_CONTROL_PAYLOAD {
                return Err(HeaderFault::ControlTooLong);
            }
        }
        let (payload_len, rest) = match second & LENGTH {
            LENGTH_16 => match rest.split_first_chunk::<2>() {
                Some((length, rest)) => (long_length(u16::from_be_bytes(*length).into(), 126)?, rest),
                None => return Ok(None),
            },
            LENGTH_64 => match rest.split_first_chunk::<8>() {
                Some((length, rest)) => (long_length(u64::from_be_bytes(*length), 1 << 16)?, rest),
                None => return Ok(None),
            },
            short => (u64::from(short), rest),
        };
        let mask = if second & MASKED == 0 {
            None
        } else {
            match rest.first_chunk::<4>() {
                Some(key) => Some(*key),
                None => return Ok(None),
            }
        };
        Ok(Some(Self::from_parts(first, mask, payload_len)))
    }

    /// The header of a whole, unfragmented TEXT or BINARY frame below 64 KiB without reserved bits at the front of `bytes`, masked or
    /// not as `masked` says; TEXT only if `text` says so. `None` if it is anything else, good or bad, and if it is shorter than eight
    /// bytes: those that any such header fits into are read as one word.
    #[inline]
    pub(super) fn parse_plain(bytes: &[u8], masked: bool, text: bool) -> Option<Self> {
        let word = u64::from_le_bytes(*bytes.first_chunk()?);
        let [first, second, ..] = word.to_le_bytes();
        if first != BINARY_MESSAGE && !(text && first == TEXT_MESSAGE) {
            return None;
        }
        let length = if masked { second ^ MASKED } else { second };
        let (payload_len, length_end, key) = match length {
            0..LENGTH_16 => (u16::from(length), 2, (word >> 16) as u32),
            LENGTH_16 => match ((word >> 16) as u16).swap_bytes() {
                // Not minimal.
                0..126 => return None,
                length => (length, 4, (word >> 32) as u32),
            },
            _ => return None,
        };
        let (mask, header_len) =
            if masked { (Some(key.to_le_bytes()), length_end + 4) } else { (None, length_end) };
        let whole = bytes.len() >= header_len + usize::from(payload_len);
        whole.then(|| Self::pack(first, mask, header_len, payload_len.into()))
    }

    #[inline]
    fn from_parts(first: u8, mask: Option<[u8; 4]>, payload_len: u64) -> Self {
        let length = match payload_len {
            0..=125 => 0,
            126..=0xffff => 2,
            _ => 8,
        };
        let header_len = 2 + length + if mask.is_some() { 4 } else { 0 };
        Self::pack(first, mask, header_len, payload_len)
    }

    /// Returns the header of a compressed message that was inflated, as one frame. It has no bytes of its
    /// own. Its payload is as long as the message was on the wire.
    #[cfg(feature = "deflate")]
    pub(super) fn of_inflated(msg_type: WSMsgType, wire_len: usize) -> Self {
        Self::pack(FIN | msg_type.opcode(), None, 0, wire_len as u64)
    }

    #[inline]
    fn pack(first: u8, mask: Option<[u8; 4]>, header_len: usize, payload_len: u64) -> Self {
        let mask = match mask {
            Some(key) => u64::from(u32::from_le_bytes(key)) << 32 | u64::from(MASKED) << 16,
            None => 0,
        };
        Self { payload_len, packed: mask | (header_len as u64) << 8 | u64::from(first) }
    }

    #[inline]
    fn first_byte(self) -> u8 {
        self.packed as u8
    }

    #[cold]
    fn check_first_byte(bytes: &[u8]) -> Result<Option<Self>, HeaderFault> {
        match bytes.first().map(|first| (first & FIN != 0, WSMsgType::from_opcode(first & OPCODE))) {
            Some((_, None)) => Err(HeaderFault::ReservedOpcode),
            Some((false, Some(kind))) if kind.is_control() => Err(HeaderFault::FragmentedControl),
            _ => Ok(None),
        }
    }

    /// Message type.
    #[inline]
    pub fn msg_type(&self) -> WSMsgType {
        match self.first_byte() & OPCODE {
            0x0 => WSMsgType::Continuation,
            0x1 => WSMsgType::Text,
            0x2 => WSMsgType::Binary,
            0x8 => WSMsgType::Close,
            0x9 => WSMsgType::Ping,
            // Headers are made of valid opcodes only.
            _ => WSMsgType::Pong,
        }
    }

    /// Whether this frame ends its message.
    #[inline]
    pub fn fin(&self) -> bool {
        self.first_byte() & FIN != 0
    }

    /// First reserved bit; RFC 7692 marks a compressed message with it.
    #[inline]
    pub fn rsv1(&self) -> bool {
        self.first_byte() & RSV1 != 0
    }

    /// Second reserved bit.
    #[inline]
    pub fn rsv2(&self) -> bool {
        self.first_byte() & RSV2 != 0
    }

    /// Third reserved bit.
    #[inline]
    pub fn rsv3(&self) -> bool {
        self.first_byte() & RSV3 != 0
    }

    /// The options that send a frame with the same bits.
    #[inline]
    pub(crate) fn options(&self) -> SendOptions {
        SendOptions::from_bits(self.first_byte())
    }

    /// Whether any reserved bit is set.
    #[inline]
    pub(crate) fn has_reserved_bits(&self) -> bool {
        self.first_byte() & (RSV1 | RSV2 | RSV3) != 0
    }

    /// Whether this is the frame of a whole, uncompressed BINARY message of at least 4 KiB.
    #[inline]
    pub(crate) fn is_long(&self) -> bool {
        self.payload_len >= LONG.into() && self.first_byte() == BINARY_MESSAGE
    }

    /// The masking key, if the payload is masked.
    #[inline]
    pub(crate) fn mask(&self) -> Option<[u8; 4]> {
        let masked = self.packed & u64::from(MASKED) << 16 != 0;
        masked.then_some(((self.packed >> 32) as u32).to_le_bytes())
    }

    /// Returns a copy of the frame's payload, unmasked.
    pub(crate) fn unmasked_copy(&self, payload: &[u8]) -> Vec<u8> {
        let mut copy = Vec::with_capacity(payload.len());
        match self.mask() {
            Some(key) => mask::mask_extend(payload, &mut copy, key),
            None => copy.extend_from_slice(payload),
        }
        copy
    }

    /// Unmasks the frame's payload in place.
    #[inline]
    pub(crate) fn unmask(&self, payload: &mut [u8]) {
        if let Some(key) = self.mask() {
            mask::mask(payload, key);
        }
    }

    /// Length of the payload in bytes, as the header claims it.
    #[inline]
    pub fn payload_len(&self) -> u64 {
        self.payload_len
    }

    /// Length of the header itself in bytes, 2 to 14.
    #[inline]
    pub fn header_len(&self) -> usize {
        usize::from((self.packed >> 8) as u8)
    }

    /// Writes the header to the end of `room` and returns where in `room` it begins.
    ///
    /// # Panics
    /// If `room` is shorter than the header.
    #[inline]
    pub(crate) fn encode_back(&self, room: &mut [u8]) -> usize {
        let header = self.encode();
        let start = room.len() - header.len();
        room[start..].copy_from_slice(&header);
        start
    }

    /// Appends the header to `out`.
    #[inline]
    pub(crate) fn encode_to(&self, out: &mut Vec<u8>) {
        // The commonest forms by themselves: two or four bytes, written as one.
        match (self.payload_len, self.mask()) {
            (short @ 0..=125, None) => out.extend_from_slice(&[self.first_byte(), short as u8]),
            (middle @ 126..=0xffff, None) => {
                let [high, low] = (middle as u16).to_be_bytes();
                out.extend_from_slice(&[self.first_byte(), LENGTH_16, high, low]);
            }
            _ => self.encode_any_to(out),
        }
    }

    #[inline]
    fn encode_any_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.encode());
    }

    /// The header as it goes onto the wire.
    #[inline]
    pub(crate) fn encode(&self) -> EncodedHeader {
        let mut bytes = [0; MAX_HEADER];
        bytes[0] = self.first_byte();
        let masked = if self.mask().is_some() { MASKED } else { 0 };
        let length_end = match self.payload_len {
            short @ 0..=125 => {
                bytes[1] = masked | short as u8;
                2
            }
            middle @ 126..=0xffff => {
                bytes[1] = masked | LENGTH_16;
                bytes[2..4].copy_from_slice(&(middle as u16).to_be_bytes());
                4
            }
            long => {
                bytes[1] = masked | LENGTH_64;
                bytes[2..10].copy_from_slice(&long.to_be_bytes());
                10
            }
        };
        let len = match self.mask() {
            Some(key) => {
                bytes[length_end..length_end + 4].copy_from_slice(&key);
                length_end + 4
            }
            None => length_end,
        };
        EncodedHeader { bytes, len: len as u8 }
    }
}

impl std::fmt::Debug for FrameHeader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameHeader")
            .field("msg_type", &self.msg_type())
            .field("fin", &self.fin())
            .field("rsv", &(self.rsv1(), self.rsv2(), self.rsv3()))
            .field("mask", &self.mask())
            .field("payload_len", &self.payload_len)
            .finish_non_exhaustive()
    }
}

/// The bytes of an encoded header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EncodedHeader {
    bytes: [u8; MAX_HEADER],
    len: u8,
}

impl std::ops::Deref for EncodedHeader {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// Checks an extended length against the smallest value that needs its form (RFC 6455 section 5.2).
#[inline]
fn long_length(length: u64, smallest: u64) -> Result<u64, HeaderFault> {
    if length >> 63 != 0 {
        Err(HeaderFault::LengthTooBig)
    } else if length < smallest {
        Err(HeaderFault::NonMinimalLength)
    } else {
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encode_then_parse_is_the_identity() {
        let lengths = [0usize, 1, 125, 126, 127, 0xffff, 0x1_0000, 0x7fff_ffff_ffff_ffff];
        for opcode in [0, 1, 2, 8, 9, 10] {
            let msg_type = WSMsgType::from_opcode(opcode).unwrap();
            for bits in 0..16u8 {
                let options = SendOptions {
                    fin: bits & 1 != 0,
                    rsv1: bits & 2 != 0,
                    rsv2: bits & 4 != 0,
                    rsv3: bits & 8 != 0,
                };
                for len in lengths {
                    if msg_type.is_control() && (!options.fin || len > 125) {
                        continue;
                    }
                    for mask in [None, Some([1, 2, 3, 4])] {
                        let header = FrameHeader::new(msg_type, options, mask, len);
                        let encoded = header.encode();
                        assert_eq!(encoded.len(), header.header_len());
                        assert_eq!(FrameHeader::parse(&encoded), Ok(Some(header)));
                        for cut in 0..encoded.len() {
                            assert_eq!(FrameHeader::parse(&encoded[..cut]), Ok(None), "cut at {cut}");
                        }
                        let mut room = [0xee; 20];
                        let start = header.encode_back(&mut room);
                        assert_eq!(room[start..], *encoded);
                        assert!(room[..start].iter().all(|&b| b == 0xee));
                    }
                }
            }
        }
    }

    #[test]
    fn options_and_bits() {
        for first in 0..=255u8 {
            let options = SendOptions::from_bits(first);
            let fields =
                [(options.fin, FIN), (options.rsv1, RSV1), (options.rsv2, RSV2), (options.rsv3, RSV3)];
            assert!(fields.iter().all(|&(field, bit)| field == (first & bit != 0)), "{first:x}: {options:?}");
            assert_eq!(options.bits(), first & 0xf0);
        }
    }

    #[test]
    fn faults() {
        use HeaderFault::*;
        let cases: &[(&[u8], HeaderFault)] = &[
            (b"\x83", ReservedOpcode),
            (b"\x8b\x00", ReservedOpcode),
            (b"\x09", FragmentedControl),
            (b"\x08\x00", FragmentedControl),
            (b"\x89\x7e", ControlTooLong),
            (b"\x88\xff", ControlTooLong),
            (b"\x82\x7e\x00\x7d", NonMinimalLength),
            (b"\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff", NonMinimalLength),
            (b"\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00", LengthTooBig),
            (b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff", LengthTooBig),
        ];
        for (bytes, fault) in cases {
            assert_eq!(FrameHeader::parse(bytes), Err(*fault), "{bytes:x?}");
        }
    }

    #[test]
    fn the_short_way_takes_minimal_lengths_only() {
        for (length, masked) in (0..300_u16).flat_map(|length| [(length, true), (length, false)]) {
            let [high, low] = length.to_be_bytes();
            let mut bytes = vec![BINARY_MESSAGE, LENGTH_16 | if masked { MASKED } else { 0 }, high, low];
            bytes.resize(400, 0);
            let taken = FrameHeader::parse_plain(&bytes, masked, true).is_some();
            assert_eq!(taken, length >= 126, "{length}");
        }
    }

    #[test]
    fn headers_stay_small() {
        assert!(size_of::<FrameHeader>() <= 16, "{}", size_of::<FrameHeader>());
    }
}
