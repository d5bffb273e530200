//! Finding the frames in 64 KiB that were received, and unmasking them where they lie. Time is for all of them, `thrpt` counts
//! frames.
//!
//! `cargo bench --bench parse`, or a part of it: `cargo bench --bench parse -- masked/20`

#[allow(dead_code, reason = "shared with other benches, each of which uses a part")]
mod support;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use femtows::proto::internal::Receiver;
use femtows::proto::{Role, Rules};

use support::{frames_for, frames_in_buffer};

/// Unmasking the same bytes again and again masks them every other time; no one looks.
fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    for (name, role) in [("masked", Role::Server), ("unmasked", Role::Client)] {
        for len in [20, 128, 512, 16 << 10] {
            let count = frames_in_buffer(len);
            let mut wire = frames_for(role, len, count);
            let rules = Rules::default();
            let mut receiver = Receiver::new(role, &rules);
            group.throughput(Throughput::Elements(count as u64));
            group.bench_function(BenchmarkId::new(name, len), |bencher| {
                bencher.iter(|| {
                    let mut rest = &mut wire[..];
                    while let Ok(Some(head)) = receiver.poll(rest, &rules) {
                        let (frame, tail) = rest.split_at_mut(head.wire_len());
                        black_box(&mut frame[head.header.header_len()..]);
                        rest = tail;
                    }
                });
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = parse
}
criterion_main!(benches);
