use std::fmt;

use rustls::{CommonState, HandshakeKind, ProtocolVersion};

/// What a TLS handshake agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WSTlsInfo {
    /// The version of the protocol.
    pub version: WSTlsVersion,
    /// The cipher suite, by its IANA name, such as `TLS13_AES_256_GCM_SHA384`.
    pub cipher_suite: Box<str>,
    /// The application protocol (RFC 7301), if both ends named one: `http/1.1`.
    pub alpn: Option<Box<str>>,
    /// The name that the client asked for (RFC 6066 section 3). A client that connects to an address sends none.
    pub server_name: Option<Box<str>>,
    /// The peer's certificate and those that lead to its issuer, in DER; empty if it has shown none.
    pub peer_certificates: Vec<Box<[u8]>>,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum WSTlsVersion {
    /// TLS 1.2, RFC 5246.
    Tls12,
    /// TLS 1.3, RFC 8446.
    Tls13,
}

impl fmt::Display for WSTlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls12 => "TLS 1.2",
            Self::Tls13 => "TLS 1.3",
        })
    }
}

impl WSTlsInfo {
    /// `None` before the handshake is done.
    pub(super) fn of(state: &CommonState, server_name: Option<&str>) -> Option<Self> {
        let version = match state.protocol_version()? {
            ProtocolVersion::TLSv1_2 => WSTlsVersion::Tls12,
            ProtocolVersion::TLSv1_3 => WSTlsVersion::Tls13,
            _ => return None,
        };
        let suite = state.negotiated_cipher_suite()?.suite();
        let certificates = state.peer_certificates().unwrap_or_default();
        Some(Self {
            version,
            cipher_suite: suite.as_str().unwrap_or_default().into(),
            alpn: state.alpn_protocol().map(|name| String::from_utf8_lossy(name).into()),
            server_name: server_name.map(Into::into),
            peer_certificates: certificates.iter().map(|der| der.as_ref().into()).collect(),
            resumed: state.handshake_kind() == Some(HandshakeKind::Resumed),
        })
    }
}
