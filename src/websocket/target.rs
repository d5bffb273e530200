//! What the line of a request names (RFC 9112 section 3.2).

use std::borrow::Cow;

/// The target of a request, in parts, none of them decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    /// Of a target that is a whole URI, which takes the place of `Host` (section 3.2.2).
    pub(super) authority: Option<&'a str>,
    /// Begins with a slash.
    pub(super) path: &'a str,
    /// What is behind the first `?`.
    pub(super) query: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// Takes apart what stands in the request line. Only what does not begin with a slash is a whole URI: queries may hold others.
    pub(super) fn of(target: &'a str) -> Self {
        let (authority, rest) = match target.split_once("://") {
            Some((_, rest)) if !target.starts_with('/') => {
                let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
                (Some(authority), rest)
            }
            _ => (None, target),
        };
        let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
        Self { authority, path: if path.is_empty() { "/" } else { path }, query }
    }

    /// As it is asked for at the server that it is of.
    pub(super) fn path_and_query(&self) -> Cow<'a, str> {
        match self.query {
            Some(query) => format!("{}?{query}", self.path).into(),
            None => self.path.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_path_or_a_whole_uri() {
        for (target, authority, path, query) in [
            ("/a", None, "/a", None),
            ("/a?b=/c", None, "/a", Some("b=/c")),
            ("/a?b?c", None, "/a", Some("b?c")),
            ("/a?", None, "/a", Some("")),
            ("/a?u=http://host/b", None, "/a", Some("u=http://host/b")),
            ("/http://host/b", None, "/http://host/b", None),
            ("//host/b", None, "//host/b", None),
            ("http://host:1/a?b", Some("host:1"), "/a", Some("b")),
            ("http://host", Some("host"), "/", None),
            ("http://host?b=/c", Some("host"), "/", Some("b=/c")),
            ("http://host/a?u=ws://other/b", Some("host"), "/a", Some("u=ws://other/b")),
        ] {
            assert_eq!(Target::of(target), Target { authority, path, query }, "{target}");
        }
        assert_eq!(Target::of("http://host?b").path_and_query(), "/?b");
        assert_eq!(Target::of("/a?").path_and_query(), "/a?");
        assert_eq!(Target::of("http://host/a").path_and_query(), "/a");
    }
}
