//! Masking in place and while copying: payloads of 8 B to 1 MiB, aligned and not, each back end.
//!
//! `cargo bench --bench mask`, or a part of it: `cargo bench --bench mask -- in_place/.*/unaligned/65536`.
//! `public` is what a caller of the crate gets: the inlined short path up to 64 bytes, then the preferred back end.

use std::hint::black_box;
use std::mem::MaybeUninit;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use femtows::mask::{self, backends};

const SIZES: [usize; 9] = [8, 20, 64, 125, 512, 4 << 10, 16 << 10, 64 << 10, 1 << 20];
const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
/// Where the payload begins, counted from a multiple of 64.
const OFFSETS: [(&str, usize); 2] = [("aligned", 0), ("unaligned", 13)];

/// `len` bytes that begin `offset` bytes behind a cache line boundary of `memory`.
fn placed(memory: &mut Vec<u8>, offset: usize, len: usize) -> &mut [u8] {
    memory.resize(len + 128, 0x5A);
    let start = memory.as_ptr().align_offset(64) + offset;
    &mut memory[start..start + len]
}

fn in_place(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("in_place");
    for (alignment, offset) in OFFSETS {
        for len in SIZES {
            group.throughput(Throughput::Bytes(len as u64));
            let mut memory = Vec::new();
            let data = placed(&mut memory, offset, len);
            group.bench_function(BenchmarkId::new(format!("public/{alignment}"), len), |bencher| {
                bencher.iter(|| mask::mask(black_box(&mut *data), black_box(KEY)));
            });
            for backend in backends::available() {
                group.bench_function(
                    BenchmarkId::new(format!("{}/{alignment}", backend.name()), len),
                    |bencher| {
                        bencher.iter(|| backend.mask(black_box(&mut *data), black_box(KEY)));
                    },
                );
            }
        }
    }
    group.finish();
}

/// The common case: a receive buffer full of small frames, unmasked one after the other. Time is for all of them, `thrpt` counts
/// frames.
///
/// Unlike masking the same bytes again and again it does not wait for the store of the round before.
fn frames(criterion: &mut Criterion) {
    const HEADER: usize = 6;
    const FRAMES: usize = 500;
    let mut group = criterion.benchmark_group("frames");
    group.throughput(Throughput::Elements(FRAMES as u64));
    for len in [8, 20, 64] {
        let mut buffer = vec![0x5A; FRAMES * (HEADER + len)];
        group.bench_function(BenchmarkId::from_parameter(len), |bencher| {
            bencher.iter(|| {
                for frame in black_box(&mut buffer).chunks_exact_mut(HEADER + len) {
                    mask::mask(&mut frame[HEADER..][..black_box(len)], KEY);
                }
            });
        });
    }
    group.finish();
}

fn copy(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("copy");
    for (alignment, offset) in OFFSETS {
        for len in SIZES {
            group.throughput(Throughput::Bytes(len as u64));
            let mut memory = Vec::new();
            let src = &*placed(&mut memory, offset, len);
            let mut out = vec![MaybeUninit::uninit(); len];
            group.bench_function(BenchmarkId::new(format!("public/{alignment}"), len), |bencher| {
                bencher.iter(|| mask::mask_copy(black_box(src), black_box(&mut out), black_box(KEY)));
            });
            for backend in backends::available() {
                group.bench_function(
                    BenchmarkId::new(format!("{}/{alignment}", backend.name()), len),
                    |bencher| {
                        bencher
                            .iter(|| backend.mask_copy(black_box(src), black_box(&mut out), black_box(KEY)));
                    },
                );
            }
        }
    }
    group.finish();
}

fn keys(criterion: &mut Criterion) {
    let mut keys = mask::MaskKeys::new();
    criterion.bench_function("next_key", |bencher| bencher.iter(|| keys.next_key()));
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(500));
    targets = in_place, frames, copy, keys
}
criterion_main!(benches);
