//! Unmasking payloads in place. Time is for a run of 64 KiB, or of one payload if that is longer.
//!
//! A run goes over different payloads one behind the other, as in a receive buffer: masking the same few bytes again and again
//! would wait for the stores of the round before, which no receiver does.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use femtows_beside::unmask::SUBJECTS;

const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
const CACHE_LINE: usize = 64;

/// Where a payload of some length lies: bytes before it, and bytes from one payload to the next.
type Place = fn(usize) -> (usize, usize);

const PLACES: [(&str, Place); 2] = [
    ("aligned", |len| (0, len.next_multiple_of(CACHE_LINE))),
    // Behind its header, and that behind the payload before.
    ("as received", |len| {
        let header = if len < 126 { 6 } else { 8 };
        (header, header + len)
    }),
];

fn unmask(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("unmask");
    for (placed, place) in PLACES {
        for len in [20, 125, 512, 4 << 10, 16 << 10, 64 << 10, 1 << 20] {
            let (header, stride) = place(len);
            let count = ((64 << 10) / stride).max(1);
            let mut memory = vec![0x5A; count * stride + CACHE_LINE];
            let start = memory.as_ptr().align_offset(CACHE_LINE);
            let run = &mut memory[start..][..count * stride];
            group.throughput(Throughput::Bytes((count * len) as u64));
            for (name, unmask) in SUBJECTS {
                group.bench_function(BenchmarkId::new(format!("{name}/{placed}"), len), |bencher| {
                    bencher.iter(|| {
                        for payload in black_box(&mut *run).chunks_exact_mut(stride) {
                            unmask(&mut payload[header..][..black_box(len)], black_box(KEY));
                        }
                    });
                });
            }
        }
    }
    group.finish();
}

criterion_group!(benches, unmask);
criterion_main!(benches);
