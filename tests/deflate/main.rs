//! Compressed messages through both ends of the library: over simulated links, on real sockets, beside zlib.

mod agreement;
mod attack;
mod ends;
mod frames;
mod fuzzed;
mod idle;
mod inbound;
mod isolation;
mod outbound;
mod pairs;
mod prepared;
mod sockets;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "shared with other test targets, each of which uses a part")]
mod support;
mod tasks;

/// What the fuzzer begins with.
#[test]
fn scripts_of_frames() {
    let mut random = femtows::testkit::Random::new(41);
    for _ in 0..300 {
        let script: Vec<u8> = (0..random.below(400)).map(|_| random.next_u64() as u8).collect();
        fuzzed::run(&script);
    }
}
