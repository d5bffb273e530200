//! Unmasking a payload in place.

/// Unmasks a payload whose first byte belongs to the first of the key.
pub type Unmask = fn(&mut [u8], [u8; 4]);

/// Who does it, by name.
pub const SUBJECTS: [(&str, Unmask); 3] = [
    ("femtows", femtows::mask::mask),
    ("fastwebsockets", fastwebsockets::unmask),
    ("nexus-web", nexus_web::ws::apply_mask),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_do_the_same() {
        let key = [0x37, 0xFA, 0x21, 0x3D];
        for len in (0..300_usize).chain([1 << 20]) {
            let payload: Vec<u8> = (0..len).map(|index| index as u8).collect();
            let expected: Vec<u8> = payload.iter().enumerate().map(|(at, byte)| byte ^ key[at % 4]).collect();
            for (name, unmask) in SUBJECTS {
                let mut payload = payload.clone();
                unmask(&mut payload, key);
                assert!(payload == expected, "{name}, {len} bytes");
            }
        }
    }
}
