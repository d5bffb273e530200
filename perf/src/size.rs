//! Sizes as people write them: `20`, `16KiB`, `100kB`, `1MiB`.

const KIB: usize = 1024;
const MIB: usize = 1024 * 1024;

/// Bytes of a size.
///
/// # Errors
/// If it is not a number with one of the units B, kB, KiB, MiB, or none.
pub(crate) fn parse(text: &str) -> Result<usize, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim() {
        "" | "B" => 1,
        "kB" => 1000,
        "KiB" => KIB,
        "MiB" => MIB,
        other => return Err(format!("unknown unit {other:?}; B, kB, KiB and MiB are known")),
    };
    let number: usize = number.parse().map_err(|_| format!("{text:?} is not a size"))?;
    number
        .checked_mul(unit)
        .filter(|&size| (1..=16 * MIB).contains(&size))
        .ok_or_else(|| "1 B to 16 MiB".into())
}

/// The shortest exact name of a size.
pub(crate) fn name(bytes: usize) -> String {
    match bytes {
        0 => "0 B".into(),
        _ if bytes.is_multiple_of(MIB) => format!("{} MiB", bytes / MIB),
        _ if bytes.is_multiple_of(KIB) => format!("{} KiB", bytes / KIB),
        _ if bytes.is_multiple_of(1000) => format!("{} kB", bytes / 1000),
        _ => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_sizes() {
        for (text, bytes) in
            [("20 B", 20), ("1 KiB", 1024), ("100 kB", 100_000), ("1 MiB", 1 << 20), ("1025 B", 1025)]
        {
            assert_eq!(parse(text), Ok(bytes));
            assert_eq!(name(bytes), text);
        }
        assert_eq!(parse("16KiB"), Ok(16_384));
        assert_eq!(parse("512"), Ok(512));
        for bad in ["", "x", "0", "1 GiB", "17MiB", "-1", "1.5kB", "99999999999999999999"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
