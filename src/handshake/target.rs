//! The target of a request (RFC 9112 section 3.2).

/// The target of a request, in parts, none of them decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target<'a> {
    /// Of an absolute target; it takes the place of `Host` (section 3.2.2).
    pub(super) authority: Option<&'a str>,
    /// Begins with a slash.
    pub(super) path: &'a str,
    /// What is behind the first `?`.
    pub(super) query: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// Splits what the request line has. Only what does not begin with a slash is absolute: a query
    /// may contain a URI, too.
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn target_is_a_path_or_an_absolute_uri() {
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
    }
}
