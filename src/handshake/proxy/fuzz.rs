//! What a fuzzer drives: the exchange with a proxy of each kind, in pieces.

use super::{Progress, Tunnel, WSProxy, WSProxyErrorKind};

const PROXIES: [&str; 8] = [
    "http://h",
    "https://u:p@h",
    "socks4://h",
    "socks4a://u@h",
    "socks5://h",
    "socks5://u:p@h",
    "socks5h://h",
    "socks5h://u:p@h",
];

/// Longer than anything that is said to a proxy, in bytes.
const MOST_SENT: usize = 512;

/// Runs a script: the first byte chooses the proxy, the second how long the pieces are in which its answer comes, which is the rest.
///
/// # Panics
/// If the answer fares otherwise than in one piece, if more of it is consumed than there was, or if more is said than the protocols have
/// words for.
pub fn fuzz_proxy_answers(script: &[u8]) {
    let [choice, step, answer @ ..] = script else { return };
    let url = PROXIES[usize::from(*choice) % PROXIES.len()];
    let proxy = WSProxy::parse(url).expect("one of those above");
    let (outcome, sent) = exchange(&proxy, answer, usize::from(*step).max(1));
    let whole = exchange(&proxy, answer, answer.len().max(1));
    assert_eq!((outcome, &sent), (whole.0, &whole.1));
    assert!(sent.len() <= MOST_SENT, "{} bytes", sent.len());
    if let Ok(Progress::Open { consumed }) = outcome {
        assert!((1..=answer.len()).contains(&consumed), "{consumed} of {}", answer.len());
    }
}

/// What comes of an answer in pieces of `step` bytes, and what was said.
fn exchange(proxy: &WSProxy, answer: &[u8], step: usize) -> (Result<Progress, WSProxyErrorKind>, Vec<u8>) {
    let resolved = "192.0.2.1:80".parse().ok();
    let mut tunnel = Tunnel::new(proxy, "server.test", 80, resolved).expect("each kind reaches it");
    let mut outcome = Ok(Progress::Incomplete);
    let mut arrived = 0;
    while arrived < answer.len() && outcome == Ok(Progress::Incomplete) {
        arrived = (arrived + step).min(answer.len());
        outcome = tunnel.receive(&answer[..arrived]).map_err(|error| error.kind);
    }
    (outcome, tunnel.outgoing().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_run() {
        let answers: [&[u8]; 5] = [
            b"HTTP/1.1 100 Wait\r\n\r\nHTTP/1.1 200 OK\r\n\r\nearly",
            b"HTTP/1.1 407 No\r\n\r\n",
            b"\x00\x5a\0\0\0\0\0\0early",
            b"\x05\x02\x01\x00\x05\x00\x00\x03\x01h\0\0",
            b"\x05\x00\x05\x00\x00\x01\0\0\0\0\0\0",
        ];
        for choice in 0..PROXIES.len() as u8 {
            for answer in answers {
                for step in 0..20 {
                    fuzz_proxy_answers(&[&[choice, step][..], answer].concat());
                }
            }
        }
    }
}
