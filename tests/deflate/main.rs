//! Compressed messages through both ends of the library: over simulated links, on real sockets, beside zlib.

mod agreement;
mod ends;
mod fuzzed;
mod idle;
mod inbound;
mod outbound;
mod pairs;
mod prepared;
mod sockets;
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
