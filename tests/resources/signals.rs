//! Signals.

use std::time::Duration;

use femtows::{WSMsgType, WSServerConfig, WSTransport, WSTuning};

use crate::own_process;
use crate::support::eventually;
use crate::support::peer::Peer;
use crate::support::probe::{Probe, log};
use crate::support::running::serve;

/// The default disposition of SIGPIPE, which ends the process, instead of the one that Rust sets up.
struct DeadlyPipes;

impl DeadlyPipes {
    fn set() -> Self {
        // SAFETY: setting a default disposition runs no code of ours.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        Self
    }
}

impl Drop for DeadlyPipes {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    }
}

/// Writes to connections that the peer has reset, before the loop learns of it: an error, not a signal.
#[test]
fn a_reset_peer_raises_no_sigpipe() {
    let _process = own_process();
    for size in [10, 100_000] {
        let (log, events) = log();
        // Each frame goes to the kernel by itself, so that there is one after the first that failed.
        let tuning = WSTuning::default().write_strategy(femtows::WSWriteStrategy::Immediate);
        let server = serve(WSServerConfig::default().tuning(tuning), move |_| Probe::new(&log));
        let peer = Peer::connect(server.addr);
        events.connected();
        let pipes = DeadlyPipes::set();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        server
            .on
            .remote
            .post(move |_| {
                // The loop does not look at the socket meanwhile.
                wait.recv().unwrap();
                std::thread::sleep(Duration::from_millis(50));
                for transport in crate::support::running::opened() {
                    // The pending error of the reset is taken off, so that the next write would raise the signal.
                    let _ = transport.with_socket(|socket| socket.take_error());
                    for _ in 0..10 {
                        transport.send(WSMsgType::Binary, vec![0; size]);
                        transport.flush();
                    }
                }
            })
            .unwrap();
        peer.reset();
        go.send(()).unwrap();
        let info = events.until_disconnected();
        assert!(matches!(info.cause, femtows::WSDisconnectCause::Io(_)), "{info}");
        eventually("the slot is free", || server.slots() == 0);
        assert!(server.on.ask_transport(0, WSTransport::is_disconnected));
        drop(pipes);
    }
}

/// A signal with a handler interrupts the poll and nothing else.
#[test]
fn an_interrupted_poll_goes_on() {
    extern "C" fn nothing(_: libc::c_int) {}
    let _process = own_process();
    let (log, events) = log();
    let server = serve(WSServerConfig::default(), move |_| Probe::new(&log));
    let mut peer = Peer::connect(server.addr);
    events.connected();
    let handler: extern "C" fn(libc::c_int) = nothing;
    // SAFETY: the handler does nothing.
    unsafe { libc::signal(libc::SIGUSR1, handler as libc::sighandler_t) };
    // SAFETY: asks for the own thread only.
    let thread = server.on.ask(|_| unsafe { libc::pthread_self() } as usize);
    for _ in 0..20 {
        // SAFETY: the loop's thread lives as long as `server`.
        assert_eq!(unsafe { libc::pthread_kill(thread as libc::pthread_t, libc::SIGUSR1) }, 0);
        peer.send_and_sync(&[]);
    }
}
