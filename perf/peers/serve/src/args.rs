//! The command line that every peer of the harness understands.

use crate::PeerResult;

/// `--port N [--spin]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Args {
    /// The TCP port on `127.0.0.1`.
    pub port: u16,
    /// Poll the kernel without ever sleeping.
    pub spin: bool,
}

impl Args {
    /// Reads the arguments of this process.
    ///
    /// # Errors
    /// An argument that is unknown or malformed, or no `--port`.
    pub fn from_env() -> PeerResult<Self> {
        Self::parse(std::env::args().skip(1))
    }

    fn parse(mut words: impl Iterator<Item = String>) -> PeerResult<Self> {
        let (mut port, mut spin) = (None, false);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--port" => port = Some(words.next().ok_or("--port needs a number")?.parse()?),
                "--spin" => spin = true,
                _ => return Err(format!("unknown argument {word}; usage: --port N [--spin]").into()),
            }
        }
        Ok(Self { port: port.ok_or("usage: --port N [--spin]")?, spin })
    }
}

#[cfg(test)]
mod tests {
    use super::Args;

    fn parse(line: &str) -> Option<Args> {
        Args::parse(line.split_whitespace().map(str::to_owned)).ok()
    }

    #[test]
    fn reads_port_and_spin_in_any_order() {
        assert_eq!(parse("--port 9001"), Some(Args { port: 9001, spin: false }));
        assert_eq!(parse("--spin --port 9001"), Some(Args { port: 9001, spin: true }));
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for line in ["", "--port", "--port x", "--port 1 --fast"] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
