//! The value of `Host` and the authority of a request target (RFC 9112 section 3.2).

use std::net::Ipv6Addr;

use super::syntax::table;

/// Returns `true` if `bytes` are `uri-host [ ":" port ]` (RFC 3986 section 3.2) and the host is not
/// empty.
///
/// A client sends an empty `Host` for a URI without an authority (RFC 9112 section 3.2), and every
/// `http` URI has a host (RFC 9110 section 4.2.1). User information is refused (section 4.2.4).
pub(super) fn is_authority(bytes: &[u8]) -> bool {
    let host_len = match bytes {
        // The colons of an address in brackets do not begin a port.
        [b'[', ..] => bytes.iter().position(|&byte| byte == b']').map_or(0, |bracket| bracket + 1),
        _ => registered_name_len(bytes),
    };
    let (host, port) = bytes.split_at(host_len);
    let is_host = match host.strip_prefix(b"[").map(|rest| rest.strip_suffix(b"]")) {
        Some(inner) => inner.is_some_and(|inner| is_ipv6(inner) || is_ip_future(inner)),
        // An IPv4 address is a registered name, too.
        None => host_len > 0,
    };
    is_host && is_port_suffix(port)
}

/// Returns the length of the registered name at the front of `bytes`:
/// `*( unreserved / pct-encoded / sub-delims )`.
fn registered_name_len(bytes: &[u8]) -> usize {
    let mut len = 0;
    loop {
        let rest = &bytes[len..];
        len += rest.iter().position(|&byte| !is_unreserved_or_sub_delim(byte)).unwrap_or(rest.len());
        match bytes[len..] {
            [b'%', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => len += 3,
            _ => return len,
        }
    }
}

/// Returns `true` for an IPv6 address. A zone identifier (RFC 6874) has no meaning on another
/// machine and is refused.
fn is_ipv6(inner: &[u8]) -> bool {
    str::from_utf8(inner).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

/// `"v" 1*HEXDIG "." 1*( unreserved / sub-delims / ":" )`
fn is_ip_future(inner: &[u8]) -> bool {
    let Some((b'v' | b'V', rest)) = inner.split_first() else { return false };
    let Some(dot) = rest.iter().position(|&byte| byte == b'.') else { return false };
    let (version, address) = (&rest[..dot], &rest[dot + 1..]);
    let is_allowed = |&byte: &u8| byte == b':' || is_unreserved_or_sub_delim(byte);
    !version.is_empty()
        && version.iter().all(u8::is_ascii_hexdigit)
        && !address.is_empty()
        && address.iter().all(is_allowed)
}

/// Matches nothing, or a colon and a port, which may be empty (RFC 3986 section 3.2.3) and is at
/// most 65535.
fn is_port_suffix(suffix: &[u8]) -> bool {
    let Some((&colon, digits)) = suffix.split_first() else { return true };
    let add_digit = |port: u16, digit: &u8| {
        let value = Some(digit.wrapping_sub(b'0')).filter(|&value| value <= 9)?;
        port.checked_mul(10)?.checked_add(value.into())
    };
    colon == b':' && digits.iter().try_fold(0, add_digit).is_some()
}

fn is_unreserved_or_sub_delim(byte: u8) -> bool {
    UNRESERVED_OR_SUB_DELIM[usize::from(byte)]
}

/// RFC 3986 sections 2.2 and 2.3. Each request has a host: a table costs less than comparisons.
const UNRESERVED_OR_SUB_DELIM: [bool; 256] = table(b"-._~!$&'()*+,;=");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_formed_authorities_are_accepted() {
        for authority in [
            "h",
            "h:",
            "h:0",
            "h:80",
            "h:65535",
            "h:0000000080",
            "example.com",
            "a_b.example",
            "xn--bcher-kva.example:8080",
            "%C3%BC.example",
            "a!$&'()*+,;=~-._z",
            "127.0.0.1:9001",
            "999.1.1.1",
            "[::]",
            "[::1]",
            "[::1]:",
            "[::1]:8080",
            "[2001:DB8::ffff:192.0.2.1]:443",
            "[1:2:3:4:5:6:7:8]",
            "[v1.fe80::a+en1]:80",
            "[VF.x]",
        ] {
            assert!(is_authority(authority.as_bytes()), "{authority}");
        }
    }

    #[test]
    fn malformed_authorities_are_refused() {
        for authority in [
            "",
            ":",
            ":80",
            "h:80:90",
            "h::80",
            "h:8a",
            "h:+80",
            "h:-1",
            "h: 80",
            "h:65536",
            "h:4294967376",
            "a b",
            "user@h",
            "h/path",
            "h?q",
            "h#f",
            "h\\",
            "\"h\"",
            "h\u{e4}",
            "h%",
            "h%4",
            "h%4g",
        ] {
            assert!(!is_authority(authority.as_bytes()), "{authority}");
        }
    }

    #[test]
    fn malformed_addresses_in_brackets_are_refused() {
        for authority in [
            "[::1",
            "::1]",
            "::1",
            "[",
            "]",
            "[]",
            "[]:80",
            "[::1]80",
            "[::1]]",
            "[[::1]]",
            "h[::1]",
            "[::1]h",
            "[::1]:8a",
            "[::1]:80:90",
            "[h]",
            "[127.0.0.1]",
            "[1:2:3:4:5:6:7:8:9]",
            "[1::2::3]",
            "[12345::]",
            "[::g]",
            "[::1.2.3]",
            "[::1.2.3.256]",
            "[fe80::1%25eth0]",
            "[fe80::1%1]",
            "[v.x]",
            "[v1.]",
            "[v1]",
            "[vg.x]",
            "[v1.a/b]",
            "[ ::1]",
        ] {
            assert!(!is_authority(authority.as_bytes()), "{authority}");
        }
    }
}
