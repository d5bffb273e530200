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
        Some(headers) if is_request_line(request_line) => judge_headers(&headers),
        _ => Verdict::Other,
    }
}

fn is_request_line(line: &str) -> bool {
    let parts: Vec<&str> = line.split(' ').collect();
    let [method, target, version] = parts[..] else { return false };
    let lower = target.to_ascii_lowercase();
    let has_start = ["/", "http://", "https://"].iter().any(|start| lower.starts_with(start));
    let is_visible = target.chars().all(|c| ('!'..='~').contains(&c) && c != '#');
    method == "GET" && version == "HTTP/1.1" && has_start && is_visible
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
        [host] => {
            let is_bad = |c: char| c <= ' ' || c >= '\x7F' || "\"#/<>?@\\^`{|}".contains(c);
            !host.is_empty() && !host.contains(is_bad)
        }
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
