//! Running the proxies that come with the system: tinyproxy, dante and squid, as Debian installs them.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::PATIENCE;

/// A proxy that can be installed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program {
    path: &'static str,
    package: &'static str,
    /// Before the file with its configuration.
    arguments: &'static [&'static str],
}

pub(crate) const TINYPROXY: Program =
    Program { path: "/usr/bin/tinyproxy", package: "tinyproxy-bin", arguments: &["-d", "-c"] };
pub(crate) const DANTE: Program =
    Program { path: "/usr/sbin/danted", package: "dante-server", arguments: &["-p", "pid", "-f"] };
pub(crate) const SQUID: Program =
    Program { path: "/usr/sbin/squid", package: "squid-openssl", arguments: &["-N", "-d", "1", "-f"] };

/// Somebody else may take the port between the look for a free one and its use.
const ATTEMPTS: usize = 5;

impl Program {
    /// Whether it can be run. If not, and it does not have to be, that is printed.
    pub(crate) fn is_installed(self) -> bool {
        let installed = Path::new(self.path).exists();
        let required = std::env::var_os("FEMTOWS_INTEROP").is_some_and(|value| value == "require");
        assert!(installed || !required, "{} is not installed", self.package);
        if !installed {
            println!("SKIPPED: {} is not installed (apt-get install {})", self.path, self.package);
        }
        installed
    }

    /// Runs it with these files beside its configuration, in which `PORT` stands for the port to listen on and `DIR` for where the files
    /// are.
    pub(crate) fn run(self, configuration: &str, files: &[(&str, &str)]) -> Daemon {
        for _ in 0..ATTEMPTS {
            let mut daemon = self.start(configuration, files);
            if daemon.listens() {
                return daemon;
            }
            println!("{} again: {}", self.path, daemon.said());
        }
        panic!("{} does not start", self.path)
    }

    fn start(self, configuration: &str, files: &[(&str, &str)]) -> Daemon {
        let (directory, port) = (own_directory(), free_port());
        let configuration = configuration.replace("PORT", &port.to_string());
        let configuration = configuration.replace("DIR", directory.to_str().unwrap());
        for (name, text) in files.iter().chain(&[("conf", configuration.as_str())]) {
            fs::write(directory.join(name), text).unwrap();
        }
        let log = File::create(directory.join("log")).unwrap();
        let mut command = Command::new(self.path);
        command.args(self.arguments).arg("conf").current_dir(&directory).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        // A group of its own, so that its children can be ended with it.
        let child = command.process_group(0).spawn().unwrap();
        Daemon { child, port, directory }
    }
}

/// A proxy that runs, until this is dropped.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) port: u16,
    directory: PathBuf,
}

impl Daemon {
    /// Waits until it does. False if it has ended instead.
    fn listens(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return true;
            }
            assert!(Instant::now() < deadline, "it does not listen: {}", self.said());
            thread::sleep(Duration::from_millis(20));
        }
        false
    }

    fn said(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Ends it and its children at once, whatever they are at.
    pub(crate) fn kill(&mut self) {
        if self.child.try_wait().unwrap().is_some() {
            return;
        }
        let group = libc::pid_t::try_from(self.child.id()).unwrap();
        // SAFETY: the child has not been waited for, so the id is its own, and that of the group that it leads.
        assert_eq!(unsafe { libc::kill(-group, libc::SIGKILL) }, 0);
        self.child.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("{}", self.said());
        }
        self.kill();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// A new directory. Those that give up root for another user have to be able to read it.
fn own_directory() -> PathBuf {
    static DIRECTORIES: AtomicUsize = AtomicUsize::new(0);
    let own = format!("femtows.{}.{}", std::process::id(), DIRECTORIES.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(own);
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}
