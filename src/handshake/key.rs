//! `Sec-WebSocket-Key` and `Sec-WebSocket-Accept` (RFC 6455 sections 4.1 and 4.2.2).

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, PAD, STANDARD};
use sha1_smol::Sha1;

/// The constant that RFC 6455 section 1.3 appends to the key before it is hashed.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Does not look at bits behind the last byte: some clients make up keys out of random digits.
const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, PAD.with_decode_allow_trailing_bits(true));

/// The value of `Sec-WebSocket-Accept` that answers a `Sec-WebSocket-Key` (RFC 6455 section 4.2.2, item 5.4).
///
/// `key` is the header's value as sent, without surrounding white space; it is not decoded.
pub fn accept_key(key: &[u8]) -> [u8; 28] {
    let mut sha1 = Sha1::new();
    sha1.update(key);
    sha1.update(GUID);
    encode(&sha1.digest().bytes())
}

/// The value of `Sec-WebSocket-Key` for a nonce (RFC 6455 section 4.1, item 7).
///
/// The nonce has to be chosen at random for each connection.
pub fn client_key(nonce: &[u8; 16]) -> [u8; 24] {
    encode(nonce)
}

/// Whether `key` is, "when decoded, 16 bytes in length" (RFC 6455 section 4.2.1 item 5).
pub(super) fn is_valid_key(key: &[u8]) -> bool {
    // The decoder's own estimate of the room it needs is a multiple of three.
    let mut nonce = [0; 18];
    LENIENT.decode_slice(key, &mut nonce) == Ok(16)
}

/// Encodes `bytes` as base64 with padding; `N` is the length of the result.
fn encode<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut text = [0; N];
    let written = STANDARD.encode_slice(bytes, &mut text);
    debug_assert_eq!(written, Ok(N));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_6455_section_1_3() {
        assert_eq!(&accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(&client_key(b"the sample nonce"), b"dGhlIHNhbXBsZSBub25jZQ==");
    }

    #[test]
    fn only_keys_of_16_bytes_are_valid() {
        assert!(is_valid_key(b"dGhlIHNhbXBsZSBub25jZQ=="));
        assert!(is_valid_key(b"AAAAAAAAAAAAAAAAAAAAAA=="));
        assert!(is_valid_key(b"dGhlIHNhbXBsZSBub25jZR=="), "bits are set behind the last byte");
        let bad: [&[u8]; 7] = [
            b"",
            b"dGhlIHNhbXBsZSBub25jZQ=",
            b"dGhlIHNhbXBsZSBub25jZQ",
            b"dGhlIHNhbXBsZSBub25jZTE=", // 17 bytes
            b"dGhlIHNhbXBsZSBub25jZTEy", // 18 bytes
            b"dGhlIHNhbXBsZSBub25j====",
            b"dGhlIHNhbXBsZSBub25-ZQ==",
        ];
        for key in bad {
            assert!(!is_valid_key(key), "{key:?}");
        }
    }
}
