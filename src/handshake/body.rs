//! The body of a response that refuses the upgrade (RFC 9112 section 6.3).

use bytes::Bytes;
use memchr::memchr;

use super::head::{header_values, single_header};
use super::syntax::trim;

/// Reads a body, for diagnosis only: it is cut at a bound, and what is malformed ends it.
#[derive(Clone, Debug)]
pub(super) struct BodyReader {
    framing: Framing,
    /// Most bytes to wait for, transfer coding included.
    max: usize,
}

#[derive(Clone, Debug)]
enum Framing {
    /// So many bytes.
    Length(usize),
    Chunked(ChunkDecoder),
    UntilEof,
}

impl BodyReader {
    /// For the body that follows `head`, of which at most `max` bytes are of interest.
    pub(super) fn new(status: u16, head: &[u8], max: usize) -> Self {
        let framing = if matches!(status, 204 | 304) {
            Framing::Length(0)
        } else if let Some(coding) = header_values(head, "transfer-encoding").last() {
            let last = coding.rsplit(|&byte| byte == b',').next().unwrap_or_default();
            let is_chunked = trim(last).eq_ignore_ascii_case(b"chunked");
            if is_chunked { Framing::Chunked(ChunkDecoder::default()) } else { Framing::UntilEof }
        } else {
            match single_header(head, "content-length") {
                Ok(Some(value)) => parse_number(value, 10).map_or(Framing::UntilEof, Framing::Length),
                _ => Framing::UntilEof,
            }
        };
        Self { framing, max }
    }

    /// Looks at `bytes`, all that arrived behind the head. Returns whether the body is complete, or as much of it as
    /// is of interest.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> bool {
        let bytes = self.bounded(bytes);
        let is_complete = match &mut self.framing {
            Framing::Length(length) => bytes.len() >= *length,
            Framing::Chunked(decoder) => decoder.receive(bytes),
            Framing::UntilEof => false,
        };
        is_complete || bytes.len() >= self.max
    }

    /// The body as it arrived, and as it was before its transfer coding.
    pub(super) fn finish(self, bytes: &[u8]) -> (Bytes, Bytes) {
        let bytes = self.bounded(bytes);
        let raw_length = match &self.framing {
            Framing::Length(length) => bytes.len().min(*length),
            Framing::Chunked(_) | Framing::UntilEof => bytes.len(),
        };
        let raw = Bytes::copy_from_slice(&bytes[..raw_length]);
        match self.framing {
            Framing::Chunked(decoder) => (raw, decoder.decoded.into()),
            Framing::Length(_) | Framing::UntilEof => (raw.clone(), raw),
        }
    }

    fn bounded<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[..bytes.len().min(self.max)]
    }
}

/// Undoes the chunked transfer coding (RFC 9112 section 7.1), up to the last chunk; trailers are left alone.
#[derive(Clone, Debug, Default)]
struct ChunkDecoder {
    decoded: Vec<u8>,
    /// Bytes before this one are done with.
    position: usize,
    /// Bytes before this one are known not to hold the end of a size line. `position <= scanned`
    scanned: usize,
    state: ChunkState,
}

#[derive(Clone, Copy, Debug, Default)]
enum ChunkState {
    /// At the line that gives the size.
    #[default]
    Size,
    /// Within data, of which this much is to come.
    Data(usize),
    /// At the CRLF behind the data.
    DataEnd,
    /// The last chunk is through, or the coding is malformed.
    Done,
}

impl ChunkDecoder {
    /// Decodes what is new in `bytes`, which are all bytes of the body. Returns whether the body is complete.
    fn receive(&mut self, bytes: &[u8]) -> bool {
        while self.step(bytes) {}
        matches!(self.state, ChunkState::Done)
    }

    /// One step; returns whether another one is possible.
    fn step(&mut self, bytes: &[u8]) -> bool {
        let rest = bytes.get(self.position..).unwrap_or_default();
        match self.state {
            ChunkState::Size => {
                let Some(length) = memchr(b'\n', bytes.get(self.scanned..).unwrap_or_default()) else {
                    self.scanned = bytes.len();
                    return false;
                };
                let end = self.scanned + length;
                self.state = match parse_chunk_size(&bytes[self.position..end]) {
                    None | Some(0) => ChunkState::Done,
                    Some(size) => ChunkState::Data(size),
                };
                self.position = end + 1;
            }
            ChunkState::Data(left) => {
                let length = left.min(rest.len());
                self.decoded.extend_from_slice(&rest[..length]);
                self.position += length;
                if length < left {
                    self.state = ChunkState::Data(left - length);
                    return false;
                }
                self.state = ChunkState::DataEnd;
            }
            ChunkState::DataEnd => {
                let Some(end) = rest.get(..2) else { return false };
                self.state = if end == b"\r\n" { ChunkState::Size } else { ChunkState::Done };
                self.position += 2;
                self.scanned = self.position;
            }
            ChunkState::Done => return false,
        }
        true
    }
}

/// The size in the line that begins a chunk, whose extensions are ignored. `None` if it is malformed.
fn parse_chunk_size(line: &[u8]) -> Option<usize> {
    parse_number(trim(line.strip_suffix(b"\r")?.split(|&byte| byte == b';').next()?), 16)
}

/// A number without sign or white space. `None` if it is none, or too large to be one.
fn parse_number(digits: &[u8], radix: u32) -> Option<usize> {
    let digits = str::from_utf8(digits).ok()?;
    let is_number = digits.chars().all(|digit| digit.is_digit(radix));
    if is_number { usize::from_str_radix(digits, radix).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &str, body: &[u8], max: usize) -> (bool, Bytes, Bytes) {
        let head = format!("HTTP/1.1 400 x\r\n{headers}\r\n\r\n");
        let mut whole = BodyReader::new(400, head.as_bytes(), max);
        let mut piecewise = whole.clone();
        let is_complete = whole.receive(body);
        let finished_early = (0..=body.len()).any(|end| piecewise.receive(&body[..end]));
        assert_eq!(finished_early, is_complete);
        let (raw, decoded) = whole.finish(body);
        assert_eq!(piecewise.finish(body).1, decoded);
        (is_complete, raw, decoded)
    }

    #[test]
    fn by_length() {
        assert_eq!(read("Content-Length: 3", b"abcdef", 10), (true, "abc".into(), "abc".into()));
        assert_eq!(read("Content-Length: 9", b"abcdef", 10), (false, "abcdef".into(), "abcdef".into()));
        assert_eq!(read("Content-Length: 99", b"abcdef", 4), (true, "abcd".into(), "abcd".into()));
        assert!(read("Content-Length: 0", b"", 10).0);
    }

    /// RFC 9112 section 6.3, item 1.
    #[test]
    fn some_statuses_have_none_whatever_is_said() {
        for status in [204, 304] {
            let mut reader = BodyReader::new(status, b"HTTP/1.1 304 x\r\nContent-Length: 3\r\n\r\n", 10);
            assert!(reader.receive(b""));
            assert_eq!(reader.finish(b"abc"), (Bytes::new(), Bytes::new()));
        }
    }

    #[test]
    fn until_the_end() {
        for headers in [
            "A: b",
            "Content-Length: +3",
            "Content-Length: 3\r\nContent-Length: 4",
            "Transfer-Encoding: gzip",
        ] {
            assert_eq!(read(headers, b"abcdef", 10), (false, "abcdef".into(), "abcdef".into()), "{headers}");
        }
        assert!(read("Content-Length: 99999999999999999999", b"abcdef", 6).0);
    }

    #[test]
    fn chunked() {
        let header = "Transfer-Encoding: gzip, Chunked";
        let body = b"3\r\nabc\r\n0A;x=y\r\n0123456789\r\n0\r\n\r\n";
        let (is_complete, raw, decoded) = read(header, body, 1000);
        assert!(is_complete);
        assert_eq!(raw, body[..]);
        assert_eq!(decoded, "abc0123456789");
        assert_eq!(read(header, body, 20).2, "abc0123");
        assert!(!read(header, &body[..body.len() - 4], 1000).0);
        for malformed in ["x\r\n", "3\nabc", "-1\r\n", "\r\n", "2\r\nabc\r\n", "fffffffffffffffff\r\n"] {
            assert!(read(header, malformed.as_bytes(), 1000).0, "{malformed:?}");
        }
    }
}
