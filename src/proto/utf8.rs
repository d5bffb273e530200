//! UTF-8 in pieces (RFC 6455 section 8.1).

/// Text that is not UTF-8 (RFC 3629). RFC 6455 section 8.1 fails the connection for it, with close code 1007.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid UTF-8")]
pub struct Utf8Error;

/// Validates text that arrives in pieces, cut anywhere, and fails at the first byte that no continuation could repair.
///
/// [`push`](Self::push) takes the pieces in order, [`finish`](Self::finish) ends the text. Only whole characters go
/// through the bulk validator; a character that the cut of a piece splits is followed byte by byte, with the ranges of
/// RFC 3629 section 4. So overlong forms (`E0 80`), surrogates (`ED A0`) and code points above U+10FFFF (`F4 90`) fail
/// at their second byte even if the piece ends there.
///
/// After an error, as after `finish`, the validator is at the start of a new text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Utf8Validator {
    /// Continuation bytes that the current character still needs, 0 to 3. At 0 the bounds have no meaning.
    missing: u8,
    /// The least value that the next continuation byte may have.
    low: u8,
    /// The greatest value that the next continuation byte may have.
    high: u8,
}

impl Utf8Validator {
    /// A validator at the start of a text.
    pub const fn new() -> Self {
        Self { missing: 0, low: 0, high: 0 }
    }

    /// Takes the next piece of the text.
    ///
    /// # Errors
    /// The text up to here is not the beginning of any valid text.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Utf8Error> {
        let validator = std::mem::take(self);
        *self = validator.after(bytes)?;
        Ok(())
    }

    /// Ends the text.
    ///
    /// # Errors
    /// The text stops in the middle of a character.
    #[inline]
    pub fn finish(&mut self) -> Result<(), Utf8Error> {
        let validator = std::mem::take(self);
        if validator.is_at_boundary() { Ok(()) } else { Err(Utf8Error) }
    }

    /// Whether the text so far ends with a whole character, and so could stop here.
    #[inline]
    pub const fn is_at_boundary(&self) -> bool {
        self.missing == 0
    }

    fn after(mut self, mut bytes: &[u8]) -> Result<Self, Utf8Error> {
        while !self.is_at_boundary() {
            let Some((&byte, rest)) = bytes.split_first() else { return Ok(self) };
            self = self.after_continuation(byte)?;
            bytes = rest;
        }
        let (whole, begun) = bytes.split_at(bytes.len() - begun_character(bytes));
        simdutf8::basic::from_utf8(whole).map_err(|_| Utf8Error)?;
        match begun {
            [] => Ok(self),
            [lead, continuation @ ..] => continuation
                .iter()
                .try_fold(Self::after_lead(*lead)?, |state, &byte| state.after_continuation(byte)),
        }
    }

    /// The state after the first byte of a character of several bytes (RFC 3629 section 4).
    fn after_lead(lead: u8) -> Result<Self, Utf8Error> {
        let (missing, low, high) = match lead {
            0xC2..=0xDF => (1, 0x80, 0xBF),
            0xE0 => (2, 0xA0, 0xBF),
            0xED => (2, 0x80, 0x9F),
            0xE1..=0xEF => (2, 0x80, 0xBF),
            0xF0 => (3, 0x90, 0xBF),
            0xF1..=0xF3 => (3, 0x80, 0xBF),
            0xF4 => (3, 0x80, 0x8F),
            _ => return Err(Utf8Error),
        };
        Ok(Self { missing, low, high })
    }

    fn after_continuation(self, byte: u8) -> Result<Self, Utf8Error> {
        debug_assert!((1..=3).contains(&self.missing));
        if !(self.low..=self.high).contains(&byte) {
            return Err(Utf8Error);
        }
        Ok(Self { missing: self.missing - 1, low: 0x80, high: 0xBF })
    }
}

/// The length in bytes of the character that begins at the end of `bytes` and is not complete; 0 to 3.
///
/// Judges by the lead byte alone. Whatever is wrong before or in the last three bytes is left to the validators.
fn begun_character(bytes: &[u8]) -> usize {
    let is_continuation = |byte: u8| byte & 0xC0 == 0x80;
    let Some(back) = bytes.iter().rev().take(3).position(|&byte| !is_continuation(byte)) else { return 0 };
    let present = back + 1;
    let needed = match bytes[bytes.len() - present] {
        0xC2..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF4 => 4,
        _ => 1,
    };
    if present < needed { present } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The naive twin: whether some continuation would make `text` valid.
    fn is_viable(text: &[u8]) -> bool {
        std::str::from_utf8(text).map_or_else(|error| error.error_len().is_none(), |_| true)
    }

    /// The length of the shortest prefix that nothing can repair, by the twin.
    fn first_fault(text: &[u8]) -> Option<usize> {
        (1..=text.len()).find(|&end| !is_viable(&text[..end]))
    }

    /// Whether pushing `pieces` and finishing behaves as the standard library says for the whole text, at every cut.
    fn check(pieces: &[&[u8]]) {
        let text = pieces.concat();
        let fault = first_fault(&text);
        let mut validator = Utf8Validator::new();
        let mut end = 0;
        for piece in pieces {
            end += piece.len();
            let viable = fault.is_none_or(|fault| end < fault);
            assert_eq!(validator.push(piece).is_ok(), viable, "{pieces:x?}, up to {end}");
            if !viable {
                assert_eq!(validator, Utf8Validator::new());
                return;
            }
            let valid = std::str::from_utf8(&text[..end]).is_ok();
            assert_eq!(validator.is_at_boundary(), valid, "{pieces:x?}, up to {end}");
        }
        assert_eq!(validator.finish().is_ok(), std::str::from_utf8(&text).is_ok(), "{pieces:x?}");
        assert_eq!(validator, Utf8Validator::new());
    }

    /// Checks `text` in one piece, byte by byte, and cut at every place and every pair of places.
    fn check_every_split(text: &[u8]) {
        check(&[text]);
        check(&text.chunks(1).collect::<Vec<_>>());
        for second in 0..=text.len() {
            for first in 0..=second {
                check(&[&text[..first], &text[first..second], &text[second..]]);
            }
        }
    }

    /// The first and the last code points of each length, and the neighbours of the surrogates.
    fn boundary_characters() -> impl Iterator<Item = char> {
        [
            0, 0x7F, 0x80, 0x7FF, 0x800, 0xFFF, 0x1000, 0xD7FF, 0xE000, 0xFFFF, 0x1_0000, 0x3_FFFF,
            0x10_0000, 0x10_FFFF,
        ]
        .into_iter()
        .filter_map(char::from_u32)
    }

    #[test]
    #[cfg_attr(miri, ignore = "exhaustive, and nothing unsafe in it")]
    fn boundary_code_points_in_every_neighbourhood() {
        for first in boundary_characters() {
            for second in boundary_characters() {
                check_every_split(format!("{first}{second}").as_bytes());
                check_every_split(format!("a{first}é{second}").as_bytes());
            }
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "exhaustive, and nothing unsafe in it")]
    fn every_pair_of_bytes() {
        for pair in 0..=u16::MAX {
            check(&[&pair.to_be_bytes()]);
            check(&pair.to_be_bytes().chunks(1).collect::<Vec<_>>());
        }
    }

    /// Every sequence of up to four bytes that is an invalid prefix extends a viable one by one bad byte; so every
    /// viable prefix, with all 256 values behind it, covers them all. Continuation bytes that lie inside a range are
    /// represented by its ends.
    #[test]
    #[cfg_attr(miri, ignore = "exhaustive, and nothing unsafe in it")]
    fn every_way_to_leave_a_viable_prefix() {
        let mut viable = vec![vec![]];
        for _ in 0..4 {
            let mut longer = Vec::new();
            for prefix in &viable {
                for byte in 0..=255 {
                    let text = [&prefix[..], &[byte]].concat();
                    check(&text.chunks(1).collect::<Vec<_>>());
                    for cut in 0..=text.len() {
                        check(&[&text[..cut], &text[cut..]]);
                    }
                    let is_lead_or_end =
                        prefix.is_empty() || matches!(byte, 0x80 | 0x8F | 0x90 | 0x9F | 0xA0 | 0xBF);
                    if is_lead_or_end && byte >= 0x80 && is_viable(&text) {
                        longer.push(text);
                    }
                }
            }
            viable = longer;
        }
    }

    #[test]
    fn faults_in_long_texts_are_found_where_they_are() {
        let text = "κόσμε, ASCII in between, 日本語 and 🦀. ".repeat(4).into_bytes();
        check_every_split(&text[..if cfg!(miri) { 8 } else { 60 }]);
        for at in (0..text.len()).step_by(if cfg!(miri) { 37 } else { 1 }) {
            for bad in [0x00, 0x80, 0xC0, 0xED, 0xF5, 0xFF] {
                let mut broken = text.clone();
                broken[at] = bad;
                check(&[&broken]);
                check(&[&broken[..at], &broken[at..]]);
                check(&[&broken[..=at], &broken[at + 1..]]);
            }
        }
    }

    #[test]
    fn random_texts_in_random_pieces() {
        let mut keys = crate::mask::MaskKeys::seeded(3629);
        let mut below = move |limit: usize| u32::from_le_bytes(keys.next_key()) as usize % limit;
        for _ in 0..if cfg!(miri) { 20 } else { 5_000 } {
            let mut text = Vec::new();
            for _ in 0..below(40) {
                let limit = [0x80, 0x800, 0x1_0000, 0x11_0000][below(4)];
                let character = char::from_u32(below(limit) as u32).unwrap_or('x');
                text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            if !text.is_empty() && below(2) == 0 {
                let at = below(text.len());
                text[at] = below(256) as u8;
            }
            let mut pieces = Vec::new();
            let mut rest = &text[..];
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(1 + below(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            check(&pieces);
        }
    }

    #[test]
    fn stays_small() {
        assert!(size_of::<Utf8Validator>() <= 8);
    }
}
