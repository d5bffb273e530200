//! The command line that every peer of the harness understands.

use std::path::PathBuf;

use crate::PeerResult;

const USAGE: &str = "usage: --port N [--spin] [--tls-cert FILE --tls-key FILE]";

/// `--port N [--spin] [--tls-cert FILE --tls-key FILE]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Args {
    /// The TCP port on `127.0.0.1`.
    pub port: u16,
    /// Poll the kernel without ever sleeping.
    pub spin: bool,
    /// Speak TLS.
    pub tls: Option<TlsFiles>,
}

/// What a TLS server presents, in PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those above it.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Args {
    /// Reads the arguments of this process.
    ///
    /// # Errors
    /// An argument that is unknown or malformed, no `--port`, or one of the two TLS files only.
    pub fn from_env() -> PeerResult<Self> {
        Self::parse(std::env::args().skip(1))
    }

    fn parse(mut words: impl Iterator<Item = String>) -> PeerResult<Self> {
        let (mut port, mut spin, mut certificate, mut key) = (None, false, None, None);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--port" => port = Some(value()?.parse()?),
                "--spin" => spin = true,
                "--tls-cert" => certificate = Some(PathBuf::from(value()?)),
                "--tls-key" => key = Some(PathBuf::from(value()?)),
                _ => return Err(format!("unknown argument {word}; {USAGE}").into()),
            }
        }
        let tls = match (certificate, key) {
            (Some(certificate), Some(key)) => Some(TlsFiles { certificate, key }),
            (None, None) => None,
            _ => return Err(USAGE.into()),
        };
        Ok(Self { port: port.ok_or(USAGE)?, spin, tls })
    }
}

#[cfg(test)]
mod tests {
    use super::{Args, TlsFiles};

    fn parse(line: &str) -> Option<Args> {
        Args::parse(line.split_whitespace().map(str::to_owned)).ok()
    }

    #[test]
    fn reads_port_and_spin_in_any_order() {
        assert_eq!(parse("--port 9001"), Some(Args { port: 9001, spin: false, tls: None }));
        assert_eq!(parse("--spin --port 9001"), Some(Args { port: 9001, spin: true, tls: None }));
        let tls = Some(TlsFiles { certificate: "c".into(), key: "k".into() });
        assert_eq!(parse("--tls-key k --port 1 --tls-cert c"), Some(Args { port: 1, spin: false, tls }));
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for line in
            ["", "--port", "--port x", "--port 1 --fast", "--port 1 --tls-key k", "--port 1 --tls-cert c"]
        {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
