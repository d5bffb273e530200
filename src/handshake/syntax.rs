//! Character classes and the small grammar of HTTP fields (RFC 9110 sections 5.5 and 5.6).

use std::borrow::Cow;

/// Whether `byte` is a `tchar` (RFC 9110 section 5.6.2).
pub(super) const fn is_tchar(byte: u8) -> bool {
    TCHAR[byte as usize]
}

/// Whether `bytes` is a `token`: one `tchar` or more.
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| is_tchar(byte))
}

/// Whether `bytes` may stand in a field value: no control character but HTAB (RFC 9110 section 5.5).
pub(super) fn is_field_value(bytes: &[u8]) -> bool {
    // Counting, which has no early exit, compiles to vector code; values are short.
    bytes.iter().filter(|&&byte| (byte < b' ' && byte != b'\t') || byte == 0x7F).count() == 0
}

/// Whether `bytes` may be a request target: visible ASCII without a fragment (RFC 9112 section 3.2).
pub(super) fn is_target(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| byte.is_ascii_graphic() && byte != b'#')
}

/// `bytes` without the optional white space around it (RFC 9110 section 5.6.3).
pub(super) fn trim(bytes: &[u8]) -> &[u8] {
    let is_text = |byte: &u8| !matches!(byte, b' ' | b'\t');
    let start = bytes.iter().position(is_text).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(is_text).map_or(start, |last| last + 1);
    &bytes[start..end]
}

/// The items of a comma-separated list, empty ones left out (RFC 9110 section 5.6.1.2).
pub(super) fn list_items(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(|item| item.trim_matches([' ', '\t'])).filter(|item| !item.is_empty())
}

/// Whether a comma-separated list contains `token`, compared without regard to case.
pub(super) fn list_contains(value: &[u8], token: &str) -> bool {
    value.split(|&byte| byte == b',').any(|item| trim(item).eq_ignore_ascii_case(token.as_bytes()))
}

/// A field value as text: UTF-8 if it is, else Latin-1, which every sequence of bytes is.
pub(super) fn text(value: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(value) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(value.iter().map(|&byte| char::from(byte)).collect()),
    }
}

/// `TCHAR[byte]` tells whether `byte` is a `tchar`.
const TCHAR: [bool; 256] = table(b"!#$%&'*+-.^_`|~");

/// Returns the table of a class of characters: letters, digits and `others`.
pub(super) const fn table(others: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trims_only_optional_white_space() {
        assert_eq!(trim(b" \ta b\t "), b"a b");
        assert_eq!(trim(b" \t"), b"");
        assert_eq!(trim(b""), b"");
        assert_eq!(trim(b"\x0Ba"), b"\x0Ba");
    }

    #[test]
    fn lists() {
        assert_eq!(list_items(" a, ,b\t,,c d").collect::<Vec<_>>(), ["a", "b", "c d"]);
        assert!(list_contains(b"keep-alive, UPGRADE", "upgrade"));
        assert!(!list_contains(b"keep-alive, upgrades", "upgrade"));
    }

    #[test]
    fn text_never_fails() {
        assert_eq!(text("gr\u{fc}n".as_bytes()), "gr\u{fc}n");
        assert_eq!(text(b"gr\xFCn"), "gr\u{fc}n");
    }
}
