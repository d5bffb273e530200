//! Clients that take their time over application records: each byte of each record arrives alone.

use femtows::testkit::TestKit;
use femtows::*;

use crate::ends::secure_pair;
use crate::support::pattern;

#[test]
fn t01_records_cut_at_every_byte() {
    let mut kit = TestKit::new(1);
    let (pair, received) = secure_pair(&mut kit);
    kit.run_until_idle();
    for size in [0, 1, 5, 64, 126] {
        let payload = pattern(size);
        for cut in 1.. {
            pair.link.to_server().stall();
            pair.client.send(WSMsgType::Binary, &payload);
            pair.client.send(WSMsgType::Text, "and one more");
            kit.run_until_idle();
            if cut >= pair.link.to_server().in_flight() {
                pair.link.to_server().unstall();
                kit.run_until_idle();
                received.take();
                break;
            }
            pair.link.to_server().release(cut);
            kit.run_until_idle();
            pair.link.to_server().unstall();
            kit.run_until_idle();
            assert_eq!(received.take(), [&payload[..], b"and one more"], "cut at {cut}");
        }
    }
}
