//! From 64 KiB of masked frames to payloads that the caller can read. Time is for all of them, `thrpt` counts frames.

use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use femtows_beside::parse::{Femtows, NexusWeb, Parser, Tungstenite, wire};

fn subject<P: Parser>(group: &mut BenchmarkGroup<'_, WallTime>, len: usize) {
    let (wire, frames) = wire(len);
    let mut parser = P::new(wire);
    group.throughput(Throughput::Elements(frames as u64));
    group.bench_function(BenchmarkId::new(P::NAME, len), |bencher| {
        bencher.iter(|| {
            black_box(&mut parser).parse(|payload| {
                black_box(payload);
            });
        });
    });
}

fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    for len in [20, 128, 512, 16 << 10] {
        subject::<Femtows>(&mut group, len);
        subject::<NexusWeb>(&mut group, len);
        subject::<Tungstenite>(&mut group, len);
    }
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
