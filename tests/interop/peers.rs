//! Running the peers.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// An implementation, in either role.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    command: &'static [&'static str],
}

const PYTHON: &str = ".work/venv/bin/python";

pub(crate) const WEBSOCKETS: Peer = Peer { name: "websockets", command: &[PYTHON, "peer_websockets.py"] };
pub(crate) const PICOWS: Peer = Peer { name: "picows", command: &[PYTHON, "peer_picows.py"] };
/// A proxy, not a peer of the protocol.
pub(crate) const PPROXY: Peer = Peer { name: "pproxy", command: &[PYTHON, "-u", "-m", "pproxy"] };
pub(crate) const WS: Peer = Peer { name: "ws", command: &["node", "peer_ws.mjs"] };

/// How long one run of a peer may take.
const PATIENCE: Duration = Duration::from_secs(180);

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop")
}

impl Peer {
    /// Whether the peer can be run. If not, and it does not have to be, that is printed.
    pub(crate) fn is_installed(self) -> bool {
        let read = |name: &str| std::fs::read(directory().join(name)).unwrap_or_default();
        // What was installed for other versions of these files does not count.
        let installed =
            read(".work/installed") == [read("requirements.txt"), read("package-lock.json")].concat();
        let required = std::env::var_os("FEMTOWS_INTEROP").is_some_and(|value| value == "require");
        assert!(installed || !required, "peer {} is not installed, or not as the files now say", self.name);
        if !installed {
            println!("SKIPPED: peer {} is not installed (run tests/interop/setup.sh)", self.name);
        }
        installed
    }

    fn spawn(self, arguments: &[&str], environment: &[(&str, &str)]) -> Child {
        let mut command = Command::new(self.command[0]);
        command.envs(environment.iter().copied());
        command.args(&self.command[1..]).args(arguments).current_dir(directory());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap_or_else(|error| panic!("cannot run {}: {error}", self.name))
    }

    /// Runs the checks of the peer's client against a server.
    pub(crate) fn check(self, url: &str) {
        self.check_with(url, &[]);
    }

    /// [`check`](Self::check) with additions to the environment.
    pub(crate) fn check_with(self, url: &str, environment: &[(&str, &str)]) {
        self.check_output(url, self.run_client(url, environment));
    }

    /// [`check`](Self::check) with compression.
    #[cfg(feature = "deflate")]
    pub(crate) fn check_compressed(self, url: &str) {
        self.check_output(url, self.run(&["client", url, "--deflate-on"], &[]));
    }

    fn check_output(self, url: &str, (status, output, errors): (Option<i32>, String, String)) {
        let good = output.lines().filter(|line| line.starts_with("ok ")).count();
        assert!(
            status == Some(0) && good > 10 && !output.contains("FAIL "),
            "{} against {url}: status {status:?}\n{output}{errors}",
            self.name
        );
    }

    /// Why the peer's client cannot connect.
    #[cfg(feature = "tls")]
    pub(crate) fn refuses(self, url: &str, environment: &[(&str, &str)]) -> String {
        let (status, output, errors) = self.run_client(url, environment);
        let why = output.strip_prefix("FAIL connection: ").filter(|_| status == Some(1));
        why.unwrap_or_else(|| panic!("{} against {url}: status {status:?}\n{output}{errors}", self.name))
            .to_owned()
    }

    /// Exit status, output and errors.
    fn run_client(self, url: &str, environment: &[(&str, &str)]) -> (Option<i32>, String, String) {
        self.run(&["client", url], environment)
    }

    /// The same with these arguments.
    fn run(self, arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String, String) {
        let mut child = self.spawn(arguments, environment);
        let output = read_all(child.stdout.take().unwrap());
        let errors = read_all(child.stderr.take().unwrap());
        let status = wait(&mut child);
        (status, output.recv().unwrap(), errors.recv().unwrap())
    }

    pub(crate) fn serve(self) -> PeerServer {
        self.serve_with(&[])
    }

    /// [`serve`](Self::serve) with additions to the environment.
    pub(crate) fn serve_with(self, environment: &[(&str, &str)]) -> PeerServer {
        self.serve_as(&["server"], environment, |line| line.strip_prefix("port ")?.trim().parse().ok())
    }

    /// Runs as a server with these arguments; `port_in` finds the port in the first line that it prints.
    pub(crate) fn serve_as(
        self,
        arguments: &[&str],
        environment: &[(&str, &str)],
        port_in: fn(&str) -> Option<u16>,
    ) -> PeerServer {
        let mut child = self.spawn(arguments, environment);
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let port = port_in(&line).unwrap_or_else(|| {
            let mut errors = String::new();
            let _ = child.kill();
            let _ = child.stderr.take().unwrap().read_to_string(&mut errors);
            panic!("the {} server printed {line:?}, not its port\n{errors}", self.name)
        });
        let scheme = if environment.iter().any(|(name, _)| *name == "TLS_CERT") { "wss" } else { "ws" };
        PeerServer { child, scheme, port, _output: output }
    }
}

/// A peer's server, until this is dropped.
pub(crate) struct PeerServer {
    child: Child,
    scheme: &'static str,
    port: u16,
    /// Kept open, so that the peer may go on printing.
    _output: BufReader<ChildStdout>,
}

impl PeerServer {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://127.0.0.1:{}{path}", self.scheme, self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Ends the server as its documentation says; it has to be well until then.
    pub(crate) fn stop(mut self) {
        let pid = libc::pid_t::try_from(self.child.id()).unwrap();
        // SAFETY: the child has not been waited for, so the id is its own.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGTERM) }, 0);
        assert_eq!(wait(&mut self.child), Some(0), "the status of the server");
    }
}

impl Drop for PeerServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The exit status; `None` if it took too long, or if a signal ended it.
fn wait(child: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Reads on a thread of its own, so that no pipe fills up.
fn read_all(mut from: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (done, read) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        let _ = done.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    read
}
