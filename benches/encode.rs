//! Writing header and payload into the send queue, which a client masks and a server does not, until 64 KiB leave. Time is for
//! all of them, `thrpt` counts frames.
//!
//! `cargo bench --bench encode`, or a part of it: `cargo bench --bench encode -- client/20`

#[allow(dead_code, reason = "shared with other benches, each of which uses a part")]
mod support;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use femtows::proto::Role;

use support::{End, frames_in_buffer};

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    for (name, role) in [("server", Role::Server), ("client", Role::Client)] {
        for len in [20, 128, 512, 4 << 10, 16 << 10] {
            let payload = vec![b'x'; len];
            let count = frames_in_buffer(len);
            let mut end = End::new(role);
            group.throughput(Throughput::Elements(count as u64));
            group.bench_function(BenchmarkId::new(name, len), |bencher| {
                bencher.iter(|| {
                    for _ in 0..count {
                        end.send(black_box(&payload));
                    }
                    end.flush();
                });
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = encode
}
criterion_main!(benches);
