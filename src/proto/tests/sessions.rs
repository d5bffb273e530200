//! Whatever is asked of a connection, it keeps its promises.

use crate::proto::model::random::Random;
use crate::proto::model::session::Session;
use crate::proto::tests::receiving::for_seeds;

#[test]
fn random_scripts() {
    for_seeds(0..4_000, |seed| {
        let mut random = Random::new(seed);
        let len = random.below(400);
        Session::run(&random.bytes(len));
    });
}

/// Pings that arrive while the queue is full: the newest is answered once there is room, the others never.
#[test]
fn scripts_with_frames_in_them() {
    for_seeds(0..4_000, |seed| {
        let mut random = Random::new(seed);
        // A server with room for 200 bytes; one that a peer can reach without a valid mask would test nothing.
        let mut script = vec![random.pick(&[0, 2, 8]) | random.pick(&[0, 16, 32])];
        for _ in 0..random.below(60) {
            match random.below(3) {
                0 => script.extend([random.byte(), random.byte()]),
                1 => script.extend([4, random.byte()]),
                _ => {
                    let len = random.pick(&[0, 2, 125]);
                    let first = random.pick(&[0x89, 0x89, 0x89, 0x82, 0x88, 0x01]);
                    script.extend([0, 6 + len, first, 0x80 | len, 0, 0, 0, 0]);
                    script.extend(random.bytes(len.into()));
                }
            }
        }
        Session::run(&script);
    });
}
