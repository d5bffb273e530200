//! Reference implementations for the tests and the fuzz targets.

#![cfg_attr(not(test), allow(dead_code, reason = "the fuzz targets need less than the tests"))]

#[cfg(test)]
pub(super) mod caller;
pub(super) mod drive;
#[cfg(test)]
pub(super) mod random;
pub(super) mod session;
pub(super) mod twin;
pub(super) mod wire;

/// Runs a connection under a script of calls, with received bytes in between.
///
/// # Panics
/// If the connection violates its contract.
#[cfg(feature = "testkit")]
pub fn fuzz_calls(script: &[u8]) {
    session::Session::run(script);
}

/// Compares the parser with the reference implementation. Two bytes choose the rules and the sizes
/// of the pieces, the rest arrives in such pieces.
///
/// # Panics
/// If they differ.
#[cfg(feature = "testkit")]
pub fn fuzz_frames(data: &[u8]) {
    let Some((&[options, step], wire)) = data.split_first_chunk() else { return };
    let cuts = (1..wire.len()).filter(|end| end % (usize::from(step) + 1) == 0);
    drive::Case::new(twin::Scene::from_bits(options), wire.to_vec()).check(cuts);
}
