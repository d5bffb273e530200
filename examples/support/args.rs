//! Command lines of the examples: `--name value` and `--flag`.

use std::process::exit;
use std::str::FromStr;

/// What is left of the command line.
pub(crate) struct Args {
    usage: &'static str,
    left: Vec<String>,
}

#[allow(dead_code, reason = "few examples use all of it")]
impl Args {
    /// Takes the command line of the process. `--help` prints the usage.
    pub(crate) fn parse(usage: &'static str) -> Self {
        let mut args = Self { usage, left: std::env::args().skip(1).collect() };
        if args.flag("--help") {
            println!("usage: {usage}");
            exit(0);
        }
        args
    }

    /// The value behind `name`, if it is given.
    pub(crate) fn value(&mut self, name: &str) -> Option<String> {
        let at = self.left.iter().position(|arg| arg == name)?;
        if at + 1 == self.left.len() {
            self.fail(&format!("{name} needs a value"));
        }
        self.left.remove(at);
        Some(self.left.remove(at))
    }

    /// The number behind `name`, if it is given.
    pub(crate) fn number<T: FromStr>(&mut self, name: &str) -> Option<T> {
        let value = self.value(name)?;
        Some(value.parse().unwrap_or_else(|_| self.fail(&format!("{name} {value} is not a number in range"))))
    }

    /// Whether `name` is given.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let at = self.left.iter().position(|arg| arg == name);
        at.map(|at| self.left.remove(at)).is_some()
    }

    /// The next argument that is not an option.
    pub(crate) fn positional(&mut self, what: &str) -> String {
        match self.left.iter().position(|arg| !arg.starts_with("--")) {
            Some(at) => self.left.remove(at),
            None => self.fail(&format!("{what} is missing")),
        }
    }

    /// Returns all arguments that are left.
    pub(crate) fn rest(self) -> Vec<String> {
        self.left
    }

    /// Refuses what was not asked for.
    pub(crate) fn finish(self) {
        if let Some(unknown) = self.left.first() {
            self.fail(&format!("unknown argument {unknown:?}"));
        }
    }

    /// Says what is wrong, and ends the process.
    pub(crate) fn fail(&self, message: &str) -> ! {
        eprintln!("{message}\nusage: {}", self.usage);
        exit(2);
    }
}
