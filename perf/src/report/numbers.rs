//! Numbers as people read them.

/// A number with three significant digits, or all digits before the point, and with its thousands set apart.
pub(crate) fn compact(value: f64) -> String {
    let decimals = match value.abs() {
        x if x >= 99.95 => 0,
        x if x >= 9.995 => 1,
        x if x >= 0.9995 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(a, b)| (a, Some(b)));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    match fraction {
        Some(fraction) => format!("{grouped}.{fraction}"),
        None => grouped,
    }
}

#[cfg(test)]
mod tests {
    use super::compact;

    #[test]
    fn digits() {
        for (value, text) in [
            (0.0, "0.000"),
            (0.123_49, "0.123"),
            (0.9999, "1.00"),
            (1.004, "1.00"),
            (12.34, "12.3"),
            (99.99, "100"),
            (123.4, "123"),
            (12_345.6, "12 346"),
            (1_234_567.0, "1 234 567"),
        ] {
            assert_eq!(compact(value), text);
        }
    }
}
