//! However a stream is cut, the receiver finds in it what the twin does, at the same byte.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::proto::model::drive::Case;
use crate::proto::model::random::Random;
use crate::proto::model::twin::{self, Scene};
use crate::proto::tests::streams::{LONG, MIDDLE, SMALL, Shape, TINY, scene, tampered, valid};

#[test]
fn every_split_of_tiny_streams() {
    let mut seen = Seen::default();
    for_seeds(0..400, |seed| {
        let (scene, mut wire) = stream(seed, &TINY);
        wire.truncate(11);
        seen.count(&scene, &wire);
        let mut case = Case::new(scene, wire.clone());
        for cuts in 0..1u32 << (wire.len() - 1) {
            case.check((1..wire.len()).filter(|end| cuts >> (end - 1) & 1 != 0));
        }
    });
    seen.assert_all();
}

#[test]
fn every_two_cuts_of_small_streams() {
    let mut seen = Seen::default();
    for_seeds(0..400, |seed| {
        let (scene, wire) = stream(seed, &SMALL);
        seen.count(&scene, &wire);
        let mut case = Case::new(scene, wire.clone());
        for second in 1..=wire.len().min(60) {
            for first in 1..=second {
                case.check([first, second]);
            }
        }
    });
    seen.assert_all();
}

#[test]
fn middle_streams_byte_by_byte_and_cut_at_random() {
    let mut seen = Seen::default();
    for_seeds(0..600, |seed| {
        let (scene, wire) = stream(seed, &MIDDLE);
        seen.count(&scene, &wire);
        let mut case = Case::new(scene, wire.clone());
        case.check(1..wire.len());
        let mut random = Random::new(!seed);
        for _ in 0..10 {
            case.check(random_cuts(&mut random, wire.len(), 12));
        }
    });
    seen.assert_all();
}

#[test]
fn long_streams_cut_at_random() {
    let mut seen = Seen::default();
    for_seeds(0..60, |seed| {
        let (scene, wire) = stream(seed, &LONG);
        seen.count(&scene, &wire);
        let mut case = Case::new(scene, wire.clone());
        let mut random = Random::new(!seed);
        for _ in 0..3 {
            case.check(random_cuts(&mut random, wire.len(), 8));
        }
    });
    seen.assert_all();
}

/// What a fuzzer begins with.
#[test]
fn junk() {
    for_seeds(0..4_000, |seed| {
        let mut random = Random::new(seed);
        let len = random.below(30);
        Case::new(Scene::from_bits(random.byte()), random.bytes(len)).check(1..len);
    });
}

/// A random scene with a random stream in it; two of three are tampered with.
fn stream(seed: u64, shape: &Shape) -> (Scene, Vec<u8>) {
    let mut random = Random::new(seed);
    let scene = scene(&mut random);
    let mut wire = valid(&mut random, &scene, shape);
    if !random.one_in(3) {
        wire = tampered(&mut random, wire);
    }
    (scene, wire)
}

fn random_cuts(random: &mut Random, len: usize, most: usize) -> Vec<usize> {
    let mut cuts: Vec<_> = (0..random.below(most)).map(|_| random.below(len) + 1).collect();
    cuts.sort_unstable();
    cuts
}

/// Runs a property for each seed and says which one it failed for.
pub(crate) fn for_seeds(seeds: std::ops::Range<u64>, mut property: impl FnMut(u64)) {
    for seed in seeds {
        catch_unwind(AssertUnwindSafe(|| property(seed))).unwrap_or_else(|panic| {
            eprintln!("the property failed for seed {seed}");
            resume_unwind(panic)
        });
    }
}

/// How the streams fared, so that a generator that has become one-sided is noticed.
#[derive(Debug, Default)]
struct Seen {
    frames: usize,
    faultless: usize,
    violations: usize,
    bad_texts: usize,
    too_big: usize,
}

impl Seen {
    fn count(&mut self, scene: &Scene, wire: &[u8]) {
        let reading = twin::read(scene, wire);
        self.frames += reading.frames.len();
        *match reading.fault.as_ref().map(|fault| fault.code) {
            None => &mut self.faultless,
            Some(1002) => &mut self.violations,
            Some(1007) => &mut self.bad_texts,
            Some(_) => &mut self.too_big,
        } += 1;
    }

    fn assert_all(&self) {
        let least =
            [self.frames, self.faultless, self.violations, self.bad_texts, self.too_big].into_iter().min();
        assert!(least >= Some(5), "the streams are one-sided: {self:?}");
    }
}
