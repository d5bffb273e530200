//! The latency harness of femtows.

mod peers;

fn main() {
    for peer in peers::PEERS {
        println!("{peer:?}: {:?}", peer.locate());
    }
}
