/// The proxy did not make a tunnel to the server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("proxy {proxy}: {kind}")]
pub struct WSProxyError {
    /// The proxy's URL, without user name and password.
    pub proxy: Box<str>,
    /// What is wrong.
    pub kind: WSProxyErrorKind,
}

/// Why there is no tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WSProxyErrorKind {
    /// The proxy wants credentials, and its URL has none. Blame: the caller.
    #[error("authentication is required, and the proxy's URL has no user name")]
    AuthenticationRequired,
    /// The proxy does not accept the credentials of its URL. Blame: the caller.
    #[error("the credentials were refused")]
    AuthenticationFailed,
    /// An HTTP proxy answered CONNECT with this status, which is not a success. Blame: the proxy, or the server behind it.
    #[error("it answered CONNECT with status {0}")]
    InvalidStatus(u16),
    /// A SOCKS proxy answered with this code. Blame: the proxy, or the server behind it.
    #[error("it refused with code {code}: {meaning}")]
    Refused {
        /// The code as it came.
        code: u8,
        /// What it stands for.
        meaning: &'static str,
    },
    /// The answer is not one of this kind of proxy; says why. Blame: the proxy, or a URL that names the wrong kind.
    #[error("invalid answer: {0}")]
    InvalidAnswer(&'static str),
    /// The proxy closed the connection before its answer was complete. Blame: the proxy.
    #[error("it closed the connection before its answer was complete")]
    Closed,
    /// A proxy of this kind cannot be asked for this server; says why. Blame: the caller.
    #[error("{0}")]
    Unsupported(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_stay_small() {
        assert!(size_of::<WSProxyErrorKind>() <= 24, "{}", size_of::<WSProxyErrorKind>());
        assert!(size_of::<WSProxyError>() <= 40, "{}", size_of::<WSProxyError>());
    }

    #[test]
    fn display_names_the_proxy_and_the_fault() {
        let error =
            WSProxyError { proxy: "http://proxy:3128".into(), kind: WSProxyErrorKind::InvalidStatus(502) };
        assert_eq!(error.to_string(), "proxy http://proxy:3128: it answered CONNECT with status 502");
    }
}
