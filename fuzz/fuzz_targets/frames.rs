#![no_main]
//! Two bytes set the scene and the cuts; the rest, in pieces, has to be read as the twin reads it.

#[path = "../../tests/properties/model/drive.rs"]
mod drive;
#[path = "../../tests/properties/model/twin.rs"]
mod twin;
#[path = "../../tests/properties/model/wire.rs"]
mod wire;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((&[options, step], wire)) = data.split_first_chunk() else { return };
    let cuts = (1..wire.len()).filter(|end| end % (usize::from(step) + 1) == 0);
    drive::Case::new(twin::Scene::from_bits(options), wire.to_vec()).check(cuts);
});
