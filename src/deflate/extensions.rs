//! The grammar of `Sec-WebSocket-Extensions` (RFC 6455 section 9.1), read once from left to right.

use std::borrow::Cow;

/// The value does not follow the grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// One extension: a name and its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Extension<'a> {
    pub(super) name: &'a [u8],
    pub(super) parameters: Vec<Parameter<'a>>,
}

/// A name, and a value if there is one.
type Parameter<'a> = (&'a [u8], Option<Cow<'a, [u8]>>);

impl Extension<'_> {
    /// Whether this is the extension `name`, compared without regard to case.
    pub(super) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// The extensions in one header's value. Ends behind the first fault.
pub(super) fn extensions(value: &[u8]) -> impl Iterator<Item = Result<Extension<'_>, Malformed>> {
    let mut cursor = Cursor { rest: value };
    let mut failed = false;
    std::iter::from_fn(move || {
        if failed {
            return None;
        }
        let next = cursor.next_extension();
        failed = matches!(next, Err(Malformed));
        next.transpose()
    })
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// The next extension, `None` at the end; empty items of the list are skipped (RFC 9110 section 5.6.1.2).
    fn next_extension(&mut self) -> Result<Option<Extension<'a>>, Malformed> {
        self.skip_space();
        while self.take(b',') {
            self.skip_space();
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        let name = self.token()?;
        let mut parameters = Vec::new();
        self.skip_space();
        while self.take(b';') {
            parameters.push(self.parameter()?);
        }
        if self.rest.is_empty() || self.take(b',') {
            Ok(Some(Extension { name, parameters }))
        } else {
            Err(Malformed)
        }
    }

    /// A parameter and the white space around it.
    fn parameter(&mut self) -> Result<Parameter<'a>, Malformed> {
        self.skip_space();
        let name = self.token()?;
        self.skip_space();
        if !self.take(b'=') {
            return Ok((name, None));
        }
        self.skip_space();
        let value = if self.take(b'"') { self.quoted()? } else { Cow::Borrowed(self.token()?) };
        self.skip_space();
        Ok((name, Some(value)))
    }

    fn token(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.rest.iter().position(|&byte| !is_tchar(byte)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at(len);
        self.rest = rest;
        if token.is_empty() { Err(Malformed) } else { Ok(token) }
    }

    /// What follows the opening quote. What it says must be a token (RFC 6455 section 9.1).
    fn quoted(&mut self) -> Result<Cow<'a, [u8]>, Malformed> {
        let mut value = Vec::new();
        loop {
            let (&byte, rest) = self.rest.split_first().ok_or(Malformed)?;
            self.rest = rest;
            let byte = match byte {
                b'"' => break,
                b'\\' => {
                    let (&escaped, rest) = self.rest.split_first().ok_or(Malformed)?;
                    self.rest = rest;
                    escaped
                }
                byte => byte,
            };
            if !is_tchar(byte) {
                return Err(Malformed);
            }
            value.push(byte);
        }
        if value.is_empty() { Err(Malformed) } else { Ok(Cow::Owned(value)) }
    }

    fn take(&mut self, byte: u8) -> bool {
        let taken = self.rest.first() == Some(&byte);
        self.rest = &self.rest[usize::from(taken)..];
        taken
    }

    fn skip_space(&mut self) {
        let is_text = |byte: &u8| !matches!(byte, b' ' | b'\t');
        let len = self.rest.iter().position(is_text).unwrap_or(self.rest.len());
        self.rest = &self.rest[len..];
    }
}

/// Whether `byte` may stand in a token (RFC 9110 section 5.6.2).
fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn displayed(value: &str) -> Vec<String> {
        let shown = |extension: Result<Extension<'_>, Malformed>| match extension {
            Err(Malformed) => "!".to_owned(),
            Ok(extension) => {
                let mut text = String::from_utf8_lossy(extension.name).into_owned();
                for (name, value) in extension.parameters {
                    text += ";";
                    text += &String::from_utf8_lossy(name);
                    if let Some(value) = value {
                        text += "=";
                        text += &String::from_utf8_lossy(&value);
                    }
                }
                text
            }
        };
        extensions(value.as_bytes()).map(shown).collect()
    }

    #[test]
    fn lists_parameters_quotes_and_white_space() {
        let cases: [(&str, &[&str]); 15] = [
            ("", &[]),
            (" , ,", &[]),
            ("a", &["a"]),
            ("a, b;c", &["a", "b;c"]),
            ("\ta ; b = c ;d= \"e\" , f", &["a;b=c;d=e", "f"]),
            ("a;b=\"1\\0\"", &["a;b=10"]),
            ("a,,b", &["a", "b"]),
            ("a;", &["!"]),
            ("a;=b", &["!"]),
            ("a;b=", &["!"]),
            ("a;b=\"\"", &["!"]),
            ("a;b=\"c d\"", &["!"]),
            ("a;b=\"c", &["!"]),
            ("a;b=\"c\\", &["!"]),
            ("a, b c, d", &["a", "!"]),
        ];
        for (value, expected) in cases {
            assert_eq!(displayed(value), expected, "{value:?}");
        }
    }
}
