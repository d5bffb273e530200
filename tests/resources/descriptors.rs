//! Running out of descriptors.

use std::fs::File;
use std::mem::MaybeUninit;
use std::thread;
use std::time::{Duration, Instant};

use femtows::{WSError, WSLoop, WSLoopConfig, WSServerConfig};

use crate::own_process;
use crate::support::peer::{Peer, status, upgrade_request};
use crate::support::probe::{Probe, log};
use crate::support::running::serve;
use crate::support::wire::Frame;

/// The limit on descriptors; put back when this is dropped.
struct Limit(libc::rlimit);

impl Limit {
    fn lower_to(descriptors: u64) -> Self {
        let mut old = MaybeUninit::uninit();
        // SAFETY: `old` is a place for the answer.
        assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, old.as_mut_ptr()) }, 0);
        // SAFETY: the call above succeeded.
        let old = unsafe { old.assume_init() };
        set(&libc::rlimit { rlim_cur: descriptors, ..old });
        Self(old)
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        set(&self.0);
    }
}

fn set(limit: &libc::rlimit) {
    // SAFETY: `limit` is valid for reading.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, limit) }, 0);
}

/// CPU time that the process has used.
fn cpu_time() -> Duration {
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: `usage` is a place for the answer.
    assert_eq!(unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) }, 0);
    // SAFETY: the call above succeeded.
    let usage = unsafe { usage.assume_init() };
    let time = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec.try_into().unwrap())
            + Duration::from_micros(time.tv_usec.try_into().unwrap())
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}

/// Takes every descriptor that is left.
fn take_all() -> Vec<File> {
    let mut files = Vec::new();
    loop {
        match File::open("/dev/null") {
            Ok(file) => files.push(file),
            Err(error) if error.raw_os_error() == Some(libc::EMFILE) => return files,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn t15_emfile_while_accepting_does_not_spin_and_accepting_resumes() {
    let _process = own_process();
    let (log, events) = log();
    let server = serve(WSServerConfig::default().handshake_timeout(None), move |_| Probe::new(&log).echo());
    let mut neighbour = Peer::connect(server.addr);
    events.connected();
    let _limit = Limit::lower_to(256);
    let mut taken = take_all();
    // One for each end that the test holds, none for the server's, which looks away until they are taken.
    taken.truncate(taken.len() - 3);
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let look_away = move |_: &femtows::WSLoopHandle| {
        let _ = wait.recv();
    };
    server.on.remote.post(look_away).unwrap();
    let mut waiting: Vec<Peer> = (0..3).map(|_| Peer::connect_tcp(server.addr)).collect();
    drop(go);
    assert_eq!(File::open("/dev/null").unwrap_err().raw_os_error(), Some(libc::EMFILE));

    let (cpu, wall) = (cpu_time(), Instant::now());
    thread::sleep(Duration::from_millis(1500));
    let (cpu, wall) = (cpu_time().checked_sub(cpu).unwrap(), wall.elapsed());
    assert!(cpu * 10 < wall * 3, "{cpu:?} of CPU in {wall:?}");
    assert_eq!(server.slots(), 1, "none was accepted");
    neighbour.send(&Frame::text("still there?"));
    assert_eq!(neighbour.read_frame(), Frame::text("still there?"));

    drop(taken);
    for peer in &mut waiting {
        assert_eq!(status(&peer.ask(&upgrade_request("/", ""))), 101);
        peer.send(&Frame::text("at last"));
        assert_eq!(peer.read_frame(), Frame::text("at last"));
    }
}

/// A server may be closed while it waits for descriptors.
#[test]
fn t15_a_server_that_waits_for_descriptors_can_be_closed() {
    let _process = own_process();
    let (log, _events) = log();
    let mut event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
    let handle = event_loop.handle();
    let factory = move |_: &femtows::WSUpgradeRequest| Probe::new(&log);
    let server =
        femtows::ws_create_server(&handle, factory, "127.0.0.1:0", WSServerConfig::default()).unwrap();
    let _limit = Limit::lower_to(256);
    let mut taken = take_all();
    taken.pop();
    let mut peer = Peer::connect_tcp(server.local_addr());
    for _ in 0..5 {
        event_loop.run_once(Some(Duration::from_millis(10))).unwrap();
    }
    server.close();
    drop(taken);
    for _ in 0..20 {
        event_loop.run_once(Some(Duration::from_millis(10))).unwrap();
    }
    assert_eq!(handle.slots(), 0);
    peer.expect_gone();
}

#[test]
fn without_descriptors_connecting_and_loops_are_errors() {
    let _process = own_process();
    let (log, _events) = log();
    let mut event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
    let handle = event_loop.handle();
    let _limit = Limit::lower_to(256);
    let taken = take_all();
    let is_emfile = |error: &WSError| match error {
        WSError::Io { source, .. } => source.raw_os_error() == Some(libc::EMFILE),
        _ => false,
    };
    let error = WSLoop::new(WSLoopConfig::default()).unwrap_err();
    assert!(is_emfile(&error), "{error}");
    let connecting = femtows::ws_connect(
        &handle,
        Probe::new(&log),
        "ws://127.0.0.1:1/",
        femtows::WSConnectConfig::default(),
    );
    let error = crate::support::running::block_on(&mut event_loop, connecting).unwrap_err();
    assert!(is_emfile(&error.clone().into()), "{error}");
    assert_eq!(handle.slots(), 0);
    drop(taken);
}
