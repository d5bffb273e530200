//! Finding the end of a head, and faults in it, while it arrives.

use std::ops::Range;

use memchr::memchr;

use super::WSUpgradeResponse;
use super::start_line::{StartLine, StatusLine, parse_status_line};
use super::syntax::{is_field_value, is_tchar, text, trim};

/// Bounds on the head of a request or a response. They protect against abuse; they do not tune anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakeLimits {
    /// Largest head in bytes, the empty line at its end included. Default 16 KiB.
    ///
    /// A server answers a larger one with 431.
    pub max_head: usize,
    /// Most header lines. Default 128.
    ///
    /// A server answers more with 431.
    pub max_headers: usize,
}

impl Default for HandshakeLimits {
    fn default() -> Self {
        Self { max_head: 16 * 1024, max_headers: 128 }
    }
}

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadFault {
    /// Larger than [`HandshakeLimits::max_head`].
    TooLarge,
    /// More lines than [`HandshakeLimits::max_headers`].
    TooManyHeaders,
    /// A request with another method than GET and HEAD.
    Method,
    /// A request for another version of the protocol than 13.
    Version,
    /// Against the grammar or the rules; says what is wrong.
    Malformed(&'static str),
}

impl HeadFault {
    /// Returns what is wrong with the head of a response.
    fn describe(self) -> &'static str {
        match self {
            Self::TooLarge => "the response head is too large",
            Self::TooManyHeaders => "the response has too many headers",
            Self::Malformed(reason) => reason,
            Self::Method | Self::Version => "the request is not acceptable",
        }
    }

    /// Returns the answer to a request with this fault.
    pub(super) fn answer(self) -> WSUpgradeResponse {
        match self {
            // RFC 6585 section 5; a request line alone that is too long gets the same answer.
            Self::TooLarge => WSUpgradeResponse::constant(431, "the request head is too large\n", &[]),
            Self::TooManyHeaders => {
                WSUpgradeResponse::constant(431, "the request has too many headers\n", &[])
            }
            Self::Malformed(reason) => WSUpgradeResponse::built(400, format!("{reason}\n").into()),
            // RFC 9110 section 15.5.6
            Self::Method => {
                let body = "only GET and HEAD are served here\n";
                WSUpgradeResponse::constant(405, body, &[("Allow", "GET, HEAD")])
            }
            // RFC 6455 section 4.4, RFC 9110 section 15.5.22
            Self::Version => {
                let body = "the only version of the WebSocket protocol here is 13\n";
                let headers = [("Sec-WebSocket-Version", "13"), ("Upgrade", "websocket")];
                WSUpgradeResponse::constant(426, body, &headers)
            }
        }
    }
}

/// How far the head has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scan {
    /// The end has not arrived, and nothing is wrong so far.
    Incomplete,
    /// The head, from its first line to the empty line at its end; both included.
    Complete(Range<usize>),
}

/// Looks at each byte of a head once, and tells where it ends, or that it is bad as soon as that is certain.
///
/// ```text
/// StartLine --CRLF--> Name --':'--> Value --CRLF--> Name ...
///                      `--CRLF at the line's begin--> complete
/// ```
///
/// What it accepts is stricter than RFC 9112: lines end with CRLF only, nothing is folded, no control characters. The
/// verdict depends on the bytes only, never on how they were cut.
#[derive(Clone, Debug)]
pub(super) struct HeadScanner {
    start_line: StartLine,
    limits: HandshakeLimits,
    /// Where the head begins: behind an empty line that was skipped.
    start: usize,
    /// Where the current line begins. `start <= line <= checked`
    line: usize,
    /// All bytes before this one have been looked at. It never passes a CR whose LF is yet to come.
    checked: usize,
    headers: usize,
    part: Part,
}

/// The part of the head that the next byte belongs to.
#[derive(Clone, Copy, Debug)]
enum Part {
    StartLine,
    Name,
    Value,
}

impl HeadScanner {
    pub(super) fn new(start_line: StartLine, limits: HandshakeLimits) -> Self {
        Self { start_line, limits, start: 0, line: 0, checked: 0, headers: 0, part: Part::StartLine }
    }

    /// Looks at what is new in `bytes`, which are all bytes since the beginning.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<Scan, HeadFault> {
        let window = &bytes[..bytes.len().min(self.limits.max_head)];
        loop {
            let rest = window.get(self.checked..).unwrap_or_default();
            let Some(length) = memchr(b'\n', rest) else {
                let content = rest.strip_suffix(b"\r").unwrap_or(rest);
                let end = self.checked + content.len();
                self.check(&window[self.line..end])?;
                self.checked = end;
                break;
            };
            let content = &rest[..length];
            let content_without_cr = content.strip_suffix(b"\r");
            let end = self.checked + content_without_cr.unwrap_or(content).len();
            self.check(&window[self.line..end])?;
            if content_without_cr.is_none() {
                return Err(HeadFault::Malformed("a line ends without CR"));
            }
            let next_line = self.checked + length + 1;
            if self.finish_line(&window[self.line..next_line])? {
                return Ok(Scan::Complete(self.start..next_line));
            }
            self.line = next_line;
            self.checked = next_line;
        }
        if bytes.len() >= self.limits.max_head { Err(HeadFault::TooLarge) } else { Ok(Scan::Incomplete) }
    }

    /// Checks the bytes of `line`, the current line so far, from `checked` on; no line end is among
    /// them.
    fn check(&mut self, line: &[u8]) -> Result<(), HeadFault> {
        let offset = self.checked - self.line;
        if let Part::StartLine = self.part {
            return self.start_line.check_bytes(line, offset);
        }
        let mut content = &line[offset..];
        if let Part::Name = self.part {
            let Some(length) = content.iter().position(|&byte| !is_tchar(byte)) else { return Ok(()) };
            let at_line_start = self.checked + length == self.line;
            match content[length] {
                b':' if !at_line_start => self.part = Part::Value,
                // RFC 9112 section 5.2: obs-fold is refused in whatever is not message/http
                b' ' | b'\t' if at_line_start => return Err(HeadFault::Malformed("a header line is folded")),
                _ => return Err(HeadFault::Malformed("a header name is not a token")),
            }
            content = &content[length..];
        }
        if is_field_value(content) {
            Ok(())
        } else {
            Err(HeadFault::Malformed("a header value contains a control character"))
        }
    }

    /// Handles the end of `line`, given with its CRLF, all of whose bytes passed [`check`](Self::check). Returns whether the head ends here.
    fn finish_line(&mut self, line: &[u8]) -> Result<bool, HeadFault> {
        match self.part {
            // RFC 9112 section 2.2: a server should ignore an empty line before the request line; one it is.
            Part::StartLine
                if line == b"\r\n" && self.start_line == StartLine::Request && self.start == 0 =>
            {
                self.start = 2;
                return Ok(false);
            }
            Part::StartLine => self.start_line.check_line(line).map_err(HeadFault::Malformed)?,
            Part::Name if line == b"\r\n" => return Ok(true),
            Part::Name => return Err(HeadFault::Malformed("a header line has no colon")),
            Part::Value => {
                self.headers += 1;
                if self.headers > self.limits.max_headers {
                    return Err(HeadFault::TooManyHeaders);
                }
            }
        }
        self.part = Part::Name;
        Ok(false)
    }
}

/// How many interim responses are skipped before the final one.
const MAX_INTERIM_RESPONSES: usize = 8;

/// Finds the head of the final response, behind interim ones, which mean nothing here (RFC 9110
/// section 15.2).
#[derive(Clone, Debug)]
pub(super) struct ResponseScanner {
    scanner: HeadScanner,
    /// A 101 is the final response.
    upgrades: bool,
    /// Where the current response begins.
    start: usize,
    interim_responses: usize,
}

impl ResponseScanner {
    pub(super) fn new(limits: HandshakeLimits, upgrades: bool) -> Self {
        Self {
            scanner: HeadScanner::new(StartLine::Status, limits),
            upgrades,
            start: 0,
            interim_responses: 0,
        }
    }

    /// Returns what has arrived of the current response.
    pub(super) fn current<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.start..).unwrap_or_default()
    }

    /// Looks at what is new in `bytes`, which are all bytes since the beginning. Returns the status
    /// line and the place of the final head once that has arrived.
    ///
    /// # Errors
    /// Says what is wrong with a head.
    pub(super) fn advance(
        &mut self,
        bytes: &[u8],
    ) -> Result<Option<(StatusLine, Range<usize>)>, &'static str> {
        loop {
            let response = self.current(bytes);
            let head = match self.scanner.advance(response) {
                Ok(Scan::Incomplete) => return Ok(None),
                Ok(Scan::Complete(head)) => &response[head],
                Err(fault) => return Err(fault.describe()),
            };
            let line = parse_status_line(head)?;
            let end = self.start + head.len();
            if !matches!(line.status, 100..=199) || (self.upgrades && line.status == 101) {
                return Ok(Some((line, self.start..end)));
            }
            self.interim_responses += 1;
            if self.interim_responses > MAX_INTERIM_RESPONSES {
                return Err("too many interim responses");
            }
            self.start = end;
            self.scanner = HeadScanner::new(StartLine::Status, self.scanner.limits);
        }
    }
}

/// The first line of a complete head, without its line end.
pub(super) fn first_line(head: &[u8]) -> &[u8] {
    let end = memchr(b'\r', head).unwrap_or(head.len());
    &head[..end]
}

/// Names and values of a head that a [`HeadScanner`] accepted, in order. Values are trimmed.
pub(super) fn header_lines(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = head.get(first_line(head).len() + 2..).unwrap_or_default();
    std::iter::from_fn(move || {
        let end = memchr(b'\n', rest)?;
        let line = rest[..end].strip_suffix(b"\r")?;
        rest = &rest[end + 1..];
        let (name, value) = line.split_at_checked(memchr(b':', line)?)?;
        Some((name, trim(&value[1..])))
    })
}

/// The values of the header `name` in a head that a [`HeadScanner`] accepted, in order.
pub(super) fn header_values<'a>(head: &'a [u8], name: &str) -> impl Iterator<Item = &'a [u8]> {
    header_lines(head)
        .filter(move |(found, _)| found.eq_ignore_ascii_case(name.as_bytes()))
        .map(|(_, value)| value)
}

/// The header `name` occurs more than once where it may not.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Repeated;

/// The value of a header that may be there once at most.
pub(super) fn single_header<'a>(head: &'a [u8], name: &str) -> Result<Option<&'a [u8]>, Repeated> {
    let mut values = header_values(head, name);
    let first = values.next();
    if values.next().is_none() { Ok(first) } else { Err(Repeated) }
}

/// All values of the header `name`, joined with commas (RFC 9110 section 5.3); `None` if it is absent.
pub(super) fn joined_values(head: &[u8], name: &str) -> Option<String> {
    header_values(head, name).map(|value| text(value).into_owned()).reduce(|all, next| all + ", " + &next)
}
