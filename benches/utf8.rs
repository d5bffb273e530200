//! Incremental UTF-8 validation of ASCII and of mixed text, whole and in pieces of the size of a TCP segment.
//!
//! `cargo bench --bench utf8`

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use femtows::proto::internal::Utf8Validator;

const SIZES: [usize; 5] = [20, 125, 1 << 10, 16 << 10, 1 << 20];
/// Bytes of a TCP segment on Ethernet; odd, so that pieces of mixed text split characters.
const SEGMENT: usize = 1447;

/// The characters of the pattern over and over, as many as fit into `len` bytes.
fn text(pattern: &str, len: usize) -> String {
    let mut text = String::with_capacity(len);
    for character in pattern.chars().cycle() {
        if text.len() + character.len_utf8() > len {
            break;
        }
        text.push(character);
    }
    text
}

fn validate<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> bool {
    let mut validator = Utf8Validator::new();
    for piece in pieces {
        if validator.push(piece).is_err() {
            return false;
        }
    }
    validator.finish().is_ok()
}

fn utf8(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("utf8");
    for (name, pattern) in [("ascii", "{\"price\":101.25,\"qty\":7}"), ("mixed", "κόσμε and 日本語, 🦀. ")]
    {
        for len in SIZES {
            let text = text(pattern, len);
            group.throughput(Throughput::Bytes(text.len() as u64));
            group.bench_function(BenchmarkId::new(format!("{name}/whole"), len), |bencher| {
                bencher.iter(|| validate(std::iter::once(black_box(text.as_bytes()))));
            });
            if len > SEGMENT {
                group.bench_function(BenchmarkId::new(format!("{name}/pieces"), len), |bencher| {
                    bencher.iter(|| validate(black_box(text.as_bytes()).chunks(SEGMENT)));
                });
            }
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(500));
    targets = utf8
}
criterion_main!(benches);
