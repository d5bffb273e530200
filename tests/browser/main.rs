//! The chat page of `examples/chat_page.rs` in headless Chromium: two people talk.
//!
//! Skipped where Chromium or what drives it (`setup.sh` beside this file) is not installed, unless `FEMTOWS_BROWSER=require` is set.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use femtows::{WSLoop, WSLoopConfig};

#[path = "../../examples/chat_page.rs"]
#[allow(dead_code, reason = "an example's main is not called here")]
mod chat_page;

/// How long, in seconds, the browser may take for all of it; far more than it does.
const PATIENCE: &str = "300";

#[test]
fn two_people_talk_on_the_chat_page() {
    let Some(chromium) = installed() else { return };
    let (addr, addr_of_server) = mpsc::channel();
    let server = thread::spawn(move || {
        let mut event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
        let server = chat_page::serve(&event_loop.handle(), "127.0.0.1:0").unwrap();
        addr.send((server.local_addr(), event_loop.handle().remote())).unwrap();
        event_loop.run().unwrap();
    });
    let (addr, remote) = addr_of_server.recv().unwrap();

    let screenshot = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chat_page.png");
    let mut node = Command::new("timeout");
    node.args([PATIENCE, "node"]).arg(directory().join("talk.mjs")).arg(chromium);
    node.arg(format!("http://{addr}/")).arg(&screenshot).stdin(Stdio::null());
    if cfg!(feature = "deflate") {
        node.arg("permessage-deflate");
    }
    let output = node.output().expect("timeout and node can be run");
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    remote.stop();
    server.join().unwrap();

    assert!(output.status.success(), "{}\n{said}{complained}", output.status);
    let steps = said.lines().filter(|line| line.starts_with("ok ")).count();
    assert_eq!(steps, 8, "{said}{complained}");
    println!("{said}screenshot: {}", screenshot.display());
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser")
}

/// Chromium, if it and what drives it are installed. If not, and they do not have to be, that is printed.
fn installed() -> Option<&'static str> {
    let read = |name: &str| std::fs::read(directory().join(name)).ok();
    let chromium =
        ["/usr/bin/chromium", "/usr/bin/chromium-browser"].into_iter().find(|path| Path::new(path).exists());
    let missing = if chromium.is_none() {
        "Chromium is not installed"
    } else if read(".work/installed").is_none() || read(".work/installed") != read("package-lock.json") {
        "what drives it is not installed (run tests/browser/setup.sh)"
    } else {
        return chromium;
    };
    let required = std::env::var_os("FEMTOWS_BROWSER").is_some_and(|value| value == "require");
    assert!(!required, "{missing}");
    println!("SKIPPED: {missing}");
    None
}
