//! OpenSSL and curl against our server. A tool that is not installed is skipped, unless `FEMTOWS_INTEROP=require` is set.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};

use femtows::WSServerConfig;

use crate::authority::{Authority, file};
use crate::support::probe::{Probe, log};
use crate::support::running::{Server, serve};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";

/// A text frame with a mask of zeros; `s_client` sends lines.
const MESSAGE: &[u8] = b"\x81\x86\0\0\0\0hello\n";

pub(crate) fn is_installed(tool: &str) -> bool {
    let installed =
        Command::new(tool).arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    let required = std::env::var_os("FEMTOWS_INTEROP").is_some_and(|value| value == "require");
    assert!(installed || !required, "{tool} is not installed");
    if !installed {
        println!("SKIPPED: {tool} is not installed");
    }
    installed
}

/// An echo server and the file with the authority that it is known to.
fn secure_server(test: &str) -> (Server, String) {
    let authority = Authority::new();
    let (log, _) = log();
    let tls = authority.issue(&["localhost", "127.0.0.1"]).server();
    let server = serve(WSServerConfig::default().tls(tls), move |_| Probe::new(&log).echo());
    let ca = file(&format!("{test}.ca.pem"), &authority.pem);
    (server, ca.into_os_string().into_string().unwrap())
}

/// An `openssl` command that talks, killed when this is dropped.
pub(crate) struct OpenSsl {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl OpenSsl {
    /// `s_client`, which trusts this authority only.
    pub(crate) fn connect(addr: SocketAddr, ca: &str, options: &[&str]) -> Self {
        let addr = addr.to_string();
        let command = ["s_client", "-connect", &addr, "-CAfile", ca, "-verify_return_error"];
        Self::run(&[&command[..], &["-servername", "localhost", "-alpn", "http/1.1"], options].concat())
    }

    pub(crate) fn run(arguments: &[&str]) -> Self {
        // What it says and what it complains of come in the order in which they happen.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$@\" 2>&1", "sh", "openssl"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    pub(crate) fn write(&mut self, text: impl AsRef<[u8]>) {
        let input = self.child.stdin.as_mut().unwrap();
        input.write_all(text.as_ref()).unwrap();
        input.flush().unwrap();
    }

    /// All lines up to one that contains this.
    pub(crate) fn until(&mut self, wanted: &str) -> String {
        let mut seen = String::new();
        loop {
            let mut line = Vec::new();
            let n = self.output.read_until(b'\n', &mut line).unwrap();
            assert!(n > 0, "never came: {wanted}\n{seen}");
            let line = String::from_utf8_lossy(&line);
            seen.push_str(&line);
            if line.contains(wanted) {
                return seen;
            }
        }
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn openssl_upgrades_over_both_versions() {
    if !is_installed("openssl") {
        return;
    }
    let (server, ca) = secure_server("openssl_upgrades");
    for version in ["-tls1_2", "-tls1_3"] {
        let mut client = OpenSsl::connect(server.addr, &ca, &[version]);
        let seen = client.until("Verify return code: 0 (ok)");
        assert!(seen.contains("ALPN protocol: http/1.1"), "{seen}");
        client.write(REQUEST);
        client.until("HTTP/1.1 101");
    }
}

/// RFC 8446 section 4.6.3: new keys for one direction (`k`) or for both (`K`), and bytes still come through.
#[test]
fn openssl_updates_its_keys_with_each_cipher() {
    if !is_installed("openssl") {
        return;
    }
    let (server, ca) = secure_server("openssl_updates");
    for suite in ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"] {
        let mut client = OpenSsl::connect(server.addr, &ca, &["-tls1_3", "-ciphersuites", suite]);
        client.until("Verify return code: 0 (ok)");
        client.write("K\n");
        client.until("KEYUPDATE");
        client.write(REQUEST);
        client.until("HTTP/1.1 101");
        for command in ["k\n", "K\n", "K\n"] {
            client.write(MESSAGE);
            client.until("hello");
            client.write(command);
            client.until("KEYUPDATE");
        }
        client.write(MESSAGE);
        client.until("hello");
    }
}

/// RFC 5246 section 7.2.2: a server may decline with `no_renegotiation`; OpenSSL then gives up.
#[test]
fn renegotiation_is_refused() {
    if !is_installed("openssl") {
        return;
    }
    let (server, ca) = secure_server("renegotiation");
    let mut client = OpenSsl::connect(server.addr, &ca, &["-tls1_2"]);
    client.until("Verify return code: 0 (ok)");
    client.write("R\n");
    client.until("RENEGOTIATING");
    client.until("no renegotiation");
}

/// curl offers HTTP/2 too, and has to be content with HTTP/1.1.
#[test]
fn curl_is_told_to_upgrade() {
    if !is_installed("curl") {
        return;
    }
    let (server, ca) = secure_server("curl");
    let url = format!("https://localhost:{}/", server.addr.port());
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "60", "--cacert", &ca])
        .args(["--output", "/dev/null", "--write-out", "%{http_code} %{http_version}", &url])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said, "426 1.1", "{}", String::from_utf8_lossy(&output.stderr));
}
