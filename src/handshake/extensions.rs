//! `Sec-WebSocket-Extensions` in heads that were read or written (RFC 6455 section 9.1).

use bytes::Bytes;

use super::head::{header_values, joined_values};
use super::headers::encode_header;
use super::{WSHandshakeError, WSHandshakeErrorKind, WSUpgradeResponse};

const NAME: &str = "Sec-WebSocket-Extensions";

/// The values of the header in a head that was checked, one per line.
pub(crate) fn extension_values(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    header_values(head, NAME)
}

/// Adds the header to a whole head.
pub(crate) fn add_extension(value: &str, head: &mut Vec<u8>) {
    debug_assert!(head.ends_with(b"\r\n\r\n"), "the head is whole");
    head.truncate(head.len() - 2);
    encode_header(NAME, value, head);
    head.extend_from_slice(b"\r\n");
}

/// The error for a response that agrees to what was not offered.
pub(crate) fn invalid_extensions(response: WSUpgradeResponse) -> WSHandshakeError {
    let raw_header = Bytes::copy_from_slice(response.raw_head().unwrap_or_default());
    let value = joined_values(&raw_header, NAME).map(Into::into);
    WSHandshakeError {
        raw_header,
        raw_body: Bytes::new(),
        response: Some(response),
        kind: WSHandshakeErrorKind::InvalidHeader { name: NAME.into(), value },
    }
}
