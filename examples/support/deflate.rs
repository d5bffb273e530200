//! `--deflate`: compressed messages, each by itself; `--deflate-context`: with reference to earlier ones.

use femtows::{WSConnectConfig, WSServerConfig};

use crate::args::Args;

/// What the command line asks for.
#[derive(Clone, Copy)]
pub(crate) enum Deflate {
    Off,
    Alone,
    Context,
}

#[allow(dead_code, reason = "an example is a client or a server")]
impl Deflate {
    pub(crate) fn parse(args: &mut Args) -> Self {
        let wanted = match (args.flag("--deflate"), args.flag("--deflate-context")) {
            (false, false) => Self::Off,
            (true, false) => Self::Alone,
            (_, true) => Self::Context,
        };
        if cfg!(not(feature = "deflate")) && !matches!(wanted, Self::Off) {
            args.fail("compression needs the feature `deflate`");
        }
        wanted
    }

    #[cfg(feature = "deflate")]
    fn config(self) -> Option<femtows::WSDeflateConfig> {
        let config = femtows::WSDeflateConfig::default();
        match self {
            Self::Off => None,
            Self::Alone => Some(config),
            Self::Context => Some(config.context_takeover(true)),
        }
    }

    #[cfg_attr(not(feature = "deflate"), expect(clippy::unused_self, reason = "there is no compression"))]
    pub(crate) fn serving(self, config: WSServerConfig) -> WSServerConfig {
        #[cfg(feature = "deflate")]
        let config = config.deflate(self.config());
        config
    }

    #[cfg_attr(not(feature = "deflate"), expect(clippy::unused_self, reason = "there is no compression"))]
    pub(crate) fn connecting(self, config: WSConnectConfig) -> WSConnectConfig {
        #[cfg(feature = "deflate")]
        let config = config.deflate(self.config());
        config
    }
}
