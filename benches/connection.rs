//! A whole connection in memory, from bytes to bytes: 64 KiB of frames are received, each is sent back, all leave together. Time
//! is for all of them, `thrpt` counts frames.
//!
//! `cargo bench --bench connection`, or a part of it: `cargo bench --bench connection -- server/20`

#[allow(dead_code, reason = "shared with other benches, each of which uses a part")]
mod support;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use femtows::proto::Role;

use support::{End, frames_for, frames_in_buffer};

/// A server unmasks what it receives, a client masks what it sends.
fn echo(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("connection");
    for (name, role) in [("server", Role::Server), ("client", Role::Client)] {
        for len in [20, 128, 512, 16 << 10] {
            let count = frames_in_buffer(len);
            let mut wire = frames_for(role, len, count);
            let mut end = End::new(role);
            group.throughput(Throughput::Elements(count as u64));
            group.bench_function(BenchmarkId::new(name, len), |bencher| {
                bencher.iter(|| end.echo(black_box(&mut wire)));
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = echo
}
criterion_main!(benches);
