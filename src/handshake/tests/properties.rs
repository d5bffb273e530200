//! What has to hold for all bytes, tried on many.

use super::reference::{Verdict, is_authority, judge};
use super::*;

#[test]
fn the_cuts_do_not_change_what_becomes_of_a_request() {
    for request in requests() {
        let whole = request_outcome(&request, [request.len()]);
        for cut in 0..=request.len() {
            assert_eq!(request_outcome(&request, [cut, request.len()]), whole, "cut at {cut}: {request:?}");
        }
        assert_eq!(request_outcome(&request, 0..=request.len()), whole, "byte by byte: {request:?}");
    }
}

#[test]
fn the_cuts_do_not_change_what_becomes_of_a_response() {
    for response in responses() {
        let whole = response_outcome(&response, [response.len()]);
        for cut in 0..=response.len() {
            assert_eq!(
                response_outcome(&response, [cut, response.len()]),
                whole,
                "cut at {cut}: {response:?}"
            );
        }
        assert_eq!(response_outcome(&response, 0..=response.len()), whole, "byte by byte: {response:?}");
    }
}

#[test]
fn mutated_requests_fare_as_the_reference_says() {
    let (mut random, seeds, mut seen) = (Random(0x5EED_0001), requests(), [0; 3]);
    for _ in 0..20_000 {
        let request = mutated(&seeds, &mut random);
        let verdict = match receive_request(&request) {
            ServerProgress::Request { request, .. } if request.is_upgrade() => Verdict::Upgrade,
            ServerProgress::Request { .. } => Verdict::PlainHttp,
            ServerProgress::Incomplete | ServerProgress::Reject(_) => Verdict::Other,
        };
        assert_eq!(verdict, judge(&request), "{:?}", String::from_utf8_lossy(&request));
        seen[verdict as usize] += 1;
        let cut = random.below(request.len() + 1);
        let whole = request_outcome(&request, [request.len()]);
        assert_eq!(request_outcome(&request, [cut, request.len()]), whole);
    }
    assert!(seen.iter().all(|&count| count > 100), "the mutations are one-sided: {seen:?}");
}

/// Strings over an alphabet of what authorities are made of.
#[test]
fn authorities_fare_as_the_reference_says() {
    const PIECES: [&[u8]; 20] = [
        b"h", b"0", b"1", b"ff", b"80", b"65535", b"256", b"1.2.3.4", b":", b":", b"::", b".", b"[", b"]",
        b"[::1]", b"v1.", b"%", b"%4f", b"@", b"-",
    ];
    let (mut random, mut seen) = (Random(0x5EED_0004), [0; 2]);
    for round in 0..200_000 {
        let mut text: Vec<u8> = (0..=random.below(8)).flat_map(|_| random.pick(&PIECES).to_vec()).collect();
        if round % 2 == 0 {
            text.insert(0, b'[');
            text.push(b']');
        }
        let expected = is_authority(str::from_utf8(&text).expect("the pieces are ASCII"));
        let accepted = super::super::authority::is_authority(&text);
        assert_eq!(accepted, expected, "{:?}", String::from_utf8_lossy(&text));
        seen[usize::from(accepted)] += 1;
    }
    assert!(seen.iter().all(|&count| count > 1000), "the strings are one-sided: {seen:?}");
}

#[test]
fn accepted_requests_are_read_as_httparse_reads_them() {
    let (mut random, seeds) = (Random(0x5EED_0002), requests());
    for _ in 0..20_000 {
        let bytes = mutated(&seeds, &mut random);
        let ServerProgress::Request { request, .. } = receive_request(&bytes) else { continue };
        let mut slots = [httparse::EMPTY_HEADER; 128];
        let mut parsed = httparse::Request::new(&mut slots);
        let length = parsed.parse(request.raw_head()).expect("httparse accepts it, too");
        assert_eq!(length, httparse::Status::Complete(request.raw_head().len()));
        assert_eq!((parsed.method, parsed.path), (Some(request.method()), Some(request.target())));
        let headers = request.headers();
        assert_eq!(headers.len(), parsed.headers.len());
        for (ours, theirs) in headers.iter().zip(parsed.headers) {
            assert_eq!(ours.0, theirs.name);
            assert_eq!(ours.1, syntax::text(syntax::trim(theirs.value)));
        }
    }
}

#[test]
fn mutated_responses_never_panic_and_are_accepted_only_with_the_right_key() {
    let (mut random, seeds, mut accepted) = (Random(0x5EED_0003), responses(), 0);
    for _ in 0..20_000 {
        let response = mutated(&seeds, &mut random);
        let cut = random.below(response.len() + 1);
        let whole = response_outcome(&response, [response.len()]);
        assert_eq!(response_outcome(&response, [cut, response.len()]), whole);
        if whole.starts_with("accepted") {
            accepted += 1;
            let text = String::from_utf8_lossy(&response);
            assert!(
                text.contains(": s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
                    || text.contains(":s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
            );
            assert!(text.contains("HTTP/1.1 101"), "{text}");
        }
    }
    assert!(accepted > 100, "the mutations are one-sided: {accepted}");
}

/// A small generator of numbers that are the same in every run (xorshift64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 16) as usize % bound.max(1)
    }

    fn pick<'a, T: ?Sized>(&mut self, items: &[&'a T]) -> &'a T {
        items[self.below(items.len())]
    }
}

/// One of `seeds` with one to three small changes.
fn mutated(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    const PIECES: [&[u8]; 14] = [
        b"\r\n",
        b"\n",
        b"\r",
        b":",
        b" ",
        b"\t",
        b",",
        b"\0",
        b"\xFF",
        b"0",
        b"Upgrade",
        b"\r\n\r\n",
        b"websocket",
        b"\x7F",
    ];
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(4)).min(bytes.len());
        match random.below(6) {
            0 => drop(bytes.drain(at..end)),
            1 => drop(bytes.splice(at..at, random.pick(&PIECES).iter().copied())),
            2 => drop(bytes.splice(at..end, random.pick(&PIECES).iter().copied())),
            3 => bytes[at..end].iter_mut().for_each(|byte| *byte ^= 0x20),
            4 => bytes[at..end].fill((random.next() >> 32) as u8),
            _ => move_line(&mut bytes, random),
        }
    }
    bytes
}

/// Copies a line, or moves it, to another place.
fn move_line(bytes: &mut Vec<u8>, random: &mut Random) {
    let mut lines: Vec<Vec<u8>> = bytes.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    if lines.is_empty() {
        return;
    }
    let from = random.below(lines.len());
    let line = if random.below(2) == 0 { lines.remove(from) } else { lines[from].clone() };
    lines.insert(random.below(lines.len() + 1), line);
    *bytes = lines.concat();
}

/// What becomes of a request of which first `ends[0]` bytes are there, then `ends[1]`, and so on.
fn request_outcome(bytes: &[u8], ends: impl IntoIterator<Item = usize>) -> String {
    let mut server = ServerHandshake::new(HandshakeLimits::default());
    for end in ends {
        match server.receive(&bytes[..end]) {
            ServerProgress::Incomplete => {}
            ServerProgress::Request { request, consumed } => {
                return format!("accepted {consumed} {} {:?}", request.is_upgrade(), request.raw_head());
            }
            ServerProgress::Reject(response) => {
                let mut out = Vec::new();
                response.encode(&mut out);
                return String::from_utf8(out).expect("a refusal is ASCII");
            }
        }
    }
    "incomplete".into()
}

/// As [`request_outcome`], for a response after which the connection is closed.
fn response_outcome(bytes: &[u8], ends: impl IntoIterator<Item = usize>) -> String {
    let mut client = client();
    for end in ends {
        match client.receive(&bytes[..end]) {
            Ok(ClientProgress::Incomplete) => {}
            Ok(ClientProgress::Accepted { response, subprotocol, consumed }) => {
                return format!("accepted {consumed} {subprotocol:?} {:?}", response.raw_head());
            }
            Err(error) => return describe(&error),
        }
    }
    describe(&client.receive_eof(bytes))
}

fn describe(error: &WSHandshakeError) -> String {
    // How much of the head or of a bad 101's body was there depends on the cut.
    format!("{} {:?}", error.kind, error.response.as_ref().map(|response| response.body().clone()))
}

fn requests() -> Vec<Vec<u8>> {
    let mut requests = vec![
        REQUEST.to_owned(),
        format!("\r\n{REQUEST}"),
        format!("{REQUEST}\u{1}\u{2}"),
        "GET /health HTTP/1.1\r\nHost: h\r\n\r\n".into(),
        "GET http://h/a HTTP/1.1\r\nHost: h\r\nX-Long: a b\t c\r\nContent-Length: 0\r\n\r\n".into(),
        with_header(REQUEST, "Content-Length: 5"),
        with_header(REQUEST, "X: a\r\n b"),
        with_header(REQUEST, "X Y: a"),
        with_header(REQUEST, "X: a\rb"),
        with_header(REQUEST, "X\n"),
        with_line(REQUEST, "Sec-WebSocket-Version", "Sec-WebSocket-Version: 8"),
        REQUEST.replace("GET", "POST"),
        REQUEST.replace("GET", "HEAD"),
        "HEAD /health HTTP/1.1\r\nHost: [::1]:80\r\n\r\n".into(),
        "HEAD /health HTTP/1.1\r\n\r\n".into(),
        "GET http://h:80:90/ HTTP/1.1\r\nHost: h:80:90\r\n\r\n".into(),
        REQUEST.replace("\r\n", "\n"),
        REQUEST[..REQUEST.len() - 2].to_owned(),
    ];
    requests.push("\r\n\r\n".into());
    requests.into_iter().map(String::into_bytes).collect()
}

fn responses() -> Vec<Vec<u8>> {
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let responses = [
        RESPONSE.to_owned(),
        format!("{interim}{RESPONSE}frames"),
        with_header(RESPONSE, "X: a\r\n b"),
        with_header(RESPONSE, "Transfer-Encoding: chunked"),
        with_line(RESPONSE, "Upgrade", ""),
        RESPONSE.replace("\r\n", "\n"),
        "HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nnot found".into(),
        "HTTP/1.1 404 Not Found\r\nContent-Length: 19\r\n\r\nnot found".into(),
        "HTTP/1.1 500 x\r\nTransfer-Encoding: chunked\r\n\r\n4;x\r\nabcd\r\nA\r\n0123456789\r\n0\r\n\r\n"
            .into(),
        "HTTP/1.0 200 OK\r\n\r\nhello".into(),
        "SSH-2.0-OpenSSH".into(),
    ];
    responses.into_iter().map(String::into_bytes).collect()
}
