//! Header fields as a multimap.

use std::borrow::Cow;
use std::fmt;

use multimap::MultiMap;

use super::WSInvalidHeader;
use super::head::header_lines;
use super::syntax::{is_field_value, is_token, list_items, text};

/// Header fields in the order in which they arrived or were added; a name may occur more than once.
///
/// Names are compared without regard to case, and keep the case in which they were given. Values are text: bytes that
/// are not UTF-8 are read as Latin-1 (the `obs-text` of RFC 9110 section 5.5). Neither can contain what would break
/// out of its line. `Debug` shows `***` in place of credentials: `Authorization`,
/// `Proxy-Authorization`, `Cookie` and `Set-Cookie`.
#[derive(Clone, Default)]
pub struct WSHeaders {
    /// Name and value in order.
    entries: Vec<(String, String)>,
    /// Positions in `entries`, ascending, under the name in lower case.
    index: MultiMap<String, usize>,
}

impl WSHeaders {
    /// No headers.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of the first header with this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.get_all(name).next()
    }

    /// The values of all headers with this name, in order.
    pub fn get_all(&self, name: &str) -> impl Iterator<Item = &str> {
        let positions = self.index.get_vec(lower_case(name).as_ref()).map_or(&[][..], Vec::as_slice);
        positions.iter().map(|&position| self.entries[position].1.as_str())
    }

    /// Whether a header with this name is there.
    pub fn contains(&self, name: &str) -> bool {
        self.index.contains_key(lower_case(name).as_ref())
    }

    /// Whether a header that is a comma-separated list (RFC 9110 section 5.6.1) contains `token`, compared without
    /// regard to case. Headers of the same name are one list.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.tokens(name).any(|found| found.eq_ignore_ascii_case(token))
    }

    /// The items of a header that is a comma-separated list (RFC 9110 section 5.6.1), in order, empty ones left out.
    /// Headers of the same name are one list.
    pub fn tokens(&self, name: &str) -> impl Iterator<Item = &str> {
        self.get_all(name).flat_map(list_items)
    }

    /// Adds a header behind those that are there. White space around the value is dropped.
    ///
    /// # Errors
    /// If the name is not a token (RFC 9110 section 5.6.2), or the value contains CR, LF, NUL or another control
    /// character. Nothing is added then.
    pub fn append(
        &mut self,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Result<(), WSInvalidHeader> {
        let (name, value) = checked(name.into(), value.into())?;
        self.push(name, value);
        Ok(())
    }

    /// Adds a header behind those that are there, and removes those that had this name.
    ///
    /// # Errors
    /// As [`append`](Self::append). Nothing changes then.
    pub fn insert(
        &mut self,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Result<(), WSInvalidHeader> {
        let (name, value) = checked(name.into(), value.into())?;
        self.remove(&name);
        self.push(name, value);
        Ok(())
    }

    /// Removes all headers with this name. Returns whether there were any.
    pub fn remove(&mut self, name: &str) -> bool {
        if !self.contains(name) {
            return false;
        }
        self.retain(|other| !other.eq_ignore_ascii_case(name));
        true
    }

    /// Removes the headers whose names `keep` returns `false` for.
    pub(crate) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        let entries = std::mem::take(&mut self.entries);
        self.index.clear();
        for (name, value) in entries.into_iter().filter(|(name, _)| keep(name)) {
            self.push(name, value);
        }
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.entries.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The number of headers; repeated ones count each time.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no headers.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The headers of a head whose syntax has been checked.
    pub(super) fn from_head(head: &[u8]) -> Self {
        let mut headers = Self::new();
        for (name, value) in header_lines(head) {
            headers.push(text(name).into_owned(), text(value).into_owned());
        }
        headers
    }

    fn push(&mut self, name: String, value: String) {
        self.index.insert(lower_case(&name).into_owned(), self.entries.len());
        self.entries.push((name, value));
    }
}

impl fmt::Debug for WSHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, value)| (name, shown(name, value)))).finish()
    }
}

/// Returns the value of a header as it may be logged.
fn shown<'a>(name: &str, value: &'a str) -> &'a str {
    const CREDENTIALS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "set-cookie"];
    if CREDENTIALS.iter().any(|known| known.eq_ignore_ascii_case(name)) { "***" } else { value }
}

/// Order and values count; the case of names does not.
impl PartialEq for WSHeaders {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self.iter().zip(other.iter()).all(|(a, b)| a.0.eq_ignore_ascii_case(b.0) && a.1 == b.1)
    }
}

impl Eq for WSHeaders {}

/// Writes one header line.
pub(super) fn encode_header(name: &str, value: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn checked(name: String, mut value: String) -> Result<(String, String), WSInvalidHeader> {
    if !is_token(name.as_bytes()) {
        return Err(WSInvalidHeader { name, reason: "the name is not a token" });
    }
    if !is_field_value(value.as_bytes()) {
        return Err(WSInvalidHeader { name, reason: "the value contains a control character" });
    }
    let trimmed = value.trim_matches([' ', '\t']);
    if trimmed.len() != value.len() {
        value = trimmed.to_owned();
    }
    Ok((name, value))
}

fn lower_case(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> WSHeaders {
        let mut headers = WSHeaders::new();
        for (name, value) in [("Host", "h"), ("X-A", "1, 2"), ("Via", " v "), ("x-a", "3,,Four")] {
            headers.append(name, value).expect("a valid header");
        }
        headers
    }

    #[test]
    fn names_ignore_case_and_keep_order() {
        let headers = sample();
        assert_eq!(headers.get("x-A"), Some("1, 2"));
        assert_eq!(headers.get_all("X-a").collect::<Vec<_>>(), ["1, 2", "3,,Four"]);
        assert_eq!(headers.get("nothing"), None);
        assert_eq!(
            headers.iter().collect::<Vec<_>>(),
            [("Host", "h"), ("X-A", "1, 2"), ("Via", "v"), ("x-a", "3,,Four")]
        );
    }

    #[test]
    fn repeated_headers_are_one_list() {
        let headers = sample();
        assert_eq!(headers.tokens("x-a").collect::<Vec<_>>(), ["1", "2", "3", "Four"]);
        assert!(headers.has_token("X-A", "four"));
        assert!(!headers.has_token("X-A", "fou"));
    }

    #[test]
    fn insert_and_remove_keep_the_index_right() {
        let mut headers = sample();
        headers.insert("X-a", "new").expect("a valid header");
        assert_eq!(headers.iter().collect::<Vec<_>>(), [("Host", "h"), ("Via", "v"), ("X-a", "new")]);
        assert_eq!(headers.get_all("x-a").collect::<Vec<_>>(), ["new"]);
        assert!(headers.remove("HOST"));
        assert!(!headers.remove("host"));
        assert_eq!((headers.get("via"), headers.get("x-a"), headers.len()), (Some("v"), Some("new"), 2));
    }

    #[test]
    fn debug_hides_credentials() {
        let mut headers = sample();
        for name in ["Authorization", "proxy-authorization", "COOKIE", "Set-Cookie"] {
            headers.append(name, "secret").expect("a valid header");
        }
        let shown = format!("{headers:?}");
        assert!(!shown.contains("secret"), "{shown}");
        assert!(shown.contains(r#"("COOKIE", "***")"#) && shown.contains(r#"("Via", "v")"#), "{shown}");
    }

    #[test]
    fn what_would_break_out_of_the_line_is_refused() {
        let mut headers = WSHeaders::new();
        for name in ["", "a b", "a:", "a\r\n", "\u{e4}", "a\0"] {
            assert!(headers.append(name, "v").is_err(), "{name:?}");
        }
        for value in ["a\r", "a\n", "a\r\nb: c", "\0", "\x7f"] {
            assert!(headers.append("n", value).is_err(), "{value:?}");
            assert!(headers.insert("n", value).is_err(), "{value:?}");
        }
        assert!(headers.is_empty());
        assert!(headers.append("n", "t\u{e4}b\tok").is_ok());
    }
}
