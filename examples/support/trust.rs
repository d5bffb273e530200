//! Whom a client of `wss` URLs trusts: `--tls-ca FILE` or `--insecure`.

use std::error::Error;

use femtows::WSConnectConfig;

use crate::args::Args;

pub(crate) enum Trust {
    WebRoots,
    /// The authorities in this PEM file, too.
    Authority(String),
    Anybody,
}

impl Trust {
    /// Takes what the command line says of it.
    pub(crate) fn parse(args: &mut Args) -> Self {
        match (args.value("--tls-ca"), args.flag("--insecure")) {
            (None, false) => Self::WebRoots,
            (Some(file), false) => Self::Authority(file),
            (None, true) => Self::Anybody,
            (Some(_), true) => args.fail("--tls-ca and --insecure exclude each other"),
        }
    }

    #[cfg(feature = "tls")]
    pub(crate) fn apply(&self, config: WSConnectConfig) -> Result<WSConnectConfig, Box<dyn Error>> {
        let tls = femtows::WSClientTls::default();
        Ok(match self {
            Self::WebRoots => config,
            Self::Authority(file) => config.tls(tls.ca_file(file)?),
            Self::Anybody => config.tls(tls.dangerous_accept_any_certificate()),
        })
    }

    #[cfg(not(feature = "tls"))]
    pub(crate) fn apply(&self, config: WSConnectConfig) -> Result<WSConnectConfig, Box<dyn Error>> {
        match self {
            Self::WebRoots => Ok(config),
            Self::Authority(file) => Err(format!("trusting {file} needs the feature `tls`").into()),
            Self::Anybody => Err("TLS needs the feature `tls`".into()),
        }
    }
}
