//! A slow and simple check of requests, written from the rules alone, to hold the fast one against.

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Upgrade,
    PlainHttp,
    /// Refused, or not complete.
    Other,
}

/// Judges bytes that hold at most one request. Knows no limits: keep well below them.
pub(super) fn judge(bytes: &[u8]) -> Verdict {
    // One char per byte.
    let text: String = bytes.iter().map(|&byte| char::from(byte)).collect();
    let text = text.strip_prefix("\r\n").unwrap_or(&text);
    let Some((head, _)) = text.split_once("\r\n\r\n") else { return Verdict::Other };
    let mut lines = head.split("\r\n");
    let request_line = lines.next().unwrap_or_default();
    let headers: Option<Vec<(String, &str)>> = lines.map(split_header).collect();
    match headers {
        Some(headers) if is_request_line(request_line) => match judge_headers(&headers) {
            Verdict::Upgrade if !request_line.starts_with("GET ") => Verdict::Other,
            verdict => verdict,
        },
        _ => Verdict::Other,
    }
}

fn is_request_line(line: &str) -> bool {
    let parts: Vec<&str> = line.split(' ').collect();
    let [method, target, version] = parts[..] else { return false };
    let lower = target.to_ascii_lowercase();
    let has_good_start = target.starts_with('/')
        || ["http://", "https://"].iter().any(|scheme| {
            lower
                .strip_prefix(scheme)
                .is_some_and(|rest| rest.split(['/', '?']).next().is_some_and(is_authority))
        });
    let is_visible = target.chars().all(|c| ('!'..='~').contains(&c) && c != '#');
    ["GET", "HEAD"].contains(&method) && version == "HTTP/1.1" && has_good_start && is_visible
}

/// RFC 3986 section 3.2 without user information and with a host, by backtracking over where it
/// ends.
pub(super) fn is_authority(text: &str) -> bool {
    (1..=text.len()).filter(|&end| text.is_char_boundary(end)).any(|end| {
        let (host, rest) = text.split_at(end);
        let port = rest.strip_prefix(':');
        let has_good_port = port.is_some_and(|port| {
            port.chars().all(|c| c.is_ascii_digit())
                && (port.is_empty() || port.parse().is_ok_and(|port: u128| port <= 65535))
        });
        (rest.is_empty() || has_good_port) && (is_reg_name(host) || is_ip_literal(host))
    })
}

fn is_reg_name(host: &str) -> bool {
    let mut chars = host.chars();
    while let Some(c) = chars.next() {
        let is_escape = c == '%' && chars.by_ref().take(2).filter(char::is_ascii_hexdigit).count() == 2;
        if !is_escape && !is_plain(c) {
            return false;
        }
    }
    true
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=".contains(c)
}

fn is_ip_literal(host: &str) -> bool {
    let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) else { return false };
    let mut future = inner.splitn(2, '.');
    let (version, address) = (future.next().unwrap_or_default(), future.next().unwrap_or_default());
    let is_future = version.len() > 1
        && version.starts_with(['v', 'V'])
        && version[1..].chars().all(|c| c.is_ascii_hexdigit())
        && !address.is_empty()
        && address.chars().all(|c| c == ':' || is_plain(c));
    is_future || is_ipv6(inner)
}

/// Eight groups of 16 bits, or fewer with one `::` in place of those that are zero; the last two
/// may be an IPv4 address.
fn is_ipv6(text: &str) -> bool {
    let halves: Vec<&str> = text.split("::").collect();
    let groups = |half: &str, may_end_in_ipv4: bool| -> Option<usize> {
        if half.is_empty() {
            return Some(0);
        }
        let parts: Vec<&str> = half.split(':').collect();
        let (last, first) = parts.split_last()?;
        let is_group =
            |part: &&str| (1..=4).contains(&part.len()) && part.chars().all(|c| c.is_ascii_hexdigit());
        if !first.iter().all(is_group) {
            return None;
        }
        if is_group(last) {
            Some(parts.len())
        } else if may_end_in_ipv4 && is_ipv4(last) {
            Some(parts.len() + 1)
        } else {
            None
        }
    };
    match halves[..] {
        [whole] => groups(whole, true) == Some(8),
        [before, after] => match (groups(before, false), groups(after, true)) {
            (Some(before), Some(after)) => before + after <= 7,
            _ => false,
        },
        _ => false,
    }
}

fn is_ipv4(text: &str) -> bool {
    let is_octet = |part: &str| {
        let is_short = (1..=3).contains(&part.len()) && part.chars().all(|c| c.is_ascii_digit());
        is_short && (part == "0" || !part.starts_with('0')) && part.parse::<u16>().is_ok_and(|n| n < 256)
    };
    text.split('.').count() == 4 && text.split('.').all(is_octet)
}

fn split_header(line: &str) -> Option<(String, &str)> {
    let (name, value) = line.split_once(':')?;
    let is_tchar = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let is_good = |c: char| c == '\t' || (c >= ' ' && c != '\x7F');
    if name.is_empty() || !name.chars().all(is_tchar) || !value.chars().all(is_good) {
        return None;
    }
    Some((name.to_ascii_lowercase(), value.trim_matches([' ', '\t'])))
}

fn judge_headers(headers: &[(String, &str)]) -> Verdict {
    let all = |name: &str| headers.iter().filter(|h| h.0 == name).map(|h| h.1).collect::<Vec<_>>();
    let has = |name: &str, token: &str| {
        all(name).join(",").split(',').any(|item| item.trim_matches([' ', '\t']).eq_ignore_ascii_case(token))
    };
    let host_is_good = match all("host")[..] {
        [host] => is_authority(host),
        _ => false,
    };
    let has_no_body = all("transfer-encoding").is_empty() && matches!(all("content-length")[..], [] | ["0"]);
    if !host_is_good || !has_no_body {
        return Verdict::Other;
    }
    let names_websocket = headers.iter().any(|(name, _)| name.starts_with("sec-websocket-"));
    if all("upgrade").is_empty() && !has("connection", "upgrade") && !names_websocket {
        return Verdict::PlainHttp;
    }
    let key_is_good = match all("sec-websocket-key")[..] {
        [key] => is_key(key),
        _ => false,
    };
    let is_good = has("upgrade", "websocket")
        && has("connection", "upgrade")
        && all("sec-websocket-version") == ["13"]
        && key_is_good;
    if is_good { Verdict::Upgrade } else { Verdict::Other }
}

/// 22 base64 digits and the padding; of the last digit four bits are not looked at.
fn is_key(key: &str) -> bool {
    let is_digit = |c: char| c.is_ascii_alphanumeric() || c == '+' || c == '/';
    key.len() == 24 && key.ends_with("==") && key[..22].chars().all(is_digit)
}
