//! System calls that fail on one thread, by a seccomp filter.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use femtows::{WSLoop, WSLoopConfig, WSServerConfig, WSUpgradeRequest, ws_create_server};

use crate::own_process;
use crate::support::peer::Peer;
use crate::support::probe::{Probe, log};

// Offsets in `struct seccomp_data`, on a machine that is little-endian.
const NUMBER: u32 = 0;
const FIRST_ARGUMENT: u32 = 16;

/// Lets a system call fail with `errno` on this thread, for as long as it lives; only with a given
/// first argument, if there is one.
fn refuse(call: i64, first: Option<u32>, errno: i32) {
    fn instruction(code: u32, if_equal: u8, if_not: u8, value: u32) -> libc::sock_filter {
        libc::sock_filter { code: code as u16, jt: if_equal, jf: if_not, k: value }
    }
    let call: u32 = call.try_into().unwrap();
    let load = |from| instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, from);
    let end = |with| instruction(libc::BPF_RET | libc::BPF_K, 0, 0, with);
    let equal = |value, if_not| instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, if_not, value);
    let failure = end(libc::SECCOMP_RET_ERRNO | errno.cast_unsigned());
    let mut filter = match first {
        Some(first) => vec![
            load(NUMBER),
            equal(call, 3),
            load(FIRST_ARGUMENT),
            equal(first, 1),
            failure,
            end(libc::SECCOMP_RET_ALLOW),
        ],
        None => vec![load(NUMBER), equal(call, 1), failure, end(libc::SECCOMP_RET_ALLOW)],
    };
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: this only gives up the right to gain privileges.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: the program outlives the call, which copies it.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

/// The addresses that a server binds on a thread of which IPv6 sockets are refused.
fn bound_without_ipv6(addrs: &'static [&'static str], errno: i32) -> Result<Vec<SocketAddr>, String> {
    let bind = move || {
        refuse(libc::SYS_socket, Some(libc::AF_INET6.cast_unsigned()), errno);
        let event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
        let (log, _events) = log();
        let addrs: Vec<SocketAddr> = addrs.iter().map(|addr| addr.parse().unwrap()).collect();
        let factory = move |_: &WSUpgradeRequest| Probe::new(&log);
        let server = ws_create_server(&event_loop.handle(), factory, &addrs[..], WSServerConfig::default());
        server.map(|server| server.local_addrs()).map_err(|error| error.to_string())
    };
    thread::spawn(bind).join().unwrap()
}

#[test]
fn addresses_of_a_family_that_the_system_lacks_are_skipped() {
    let _process = own_process();
    let addrs = bound_without_ipv6(&["[::1]:0", "127.0.0.1:0"], libc::EAFNOSUPPORT).unwrap();
    assert_eq!(addrs.len(), 1);
    assert!(addrs[0].is_ipv4());
}

#[test]
fn an_address_of_a_family_that_the_system_lacks_is_an_error_if_it_is_the_only_one() {
    let _process = own_process();
    let error = bound_without_ipv6(&["[::1]:8123"], libc::EAFNOSUPPORT).unwrap_err();
    assert!(error.starts_with("cannot listen on [::1]:8123: "), "{error}");
}

/// A lack of descriptors does not concern the family.
#[test]
fn other_failures_of_a_family_are_errors() {
    let _process = own_process();
    let error = bound_without_ipv6(&["[::1]:8123", "127.0.0.1:0"], libc::EMFILE).unwrap_err();
    assert!(error.starts_with("cannot listen on [::1]:8123: "), "{error}");
}

/// The connection stays in the kernel's queue, so that accepting can be tried for ever.
#[test]
fn an_accept_that_always_fails_with_an_error_of_one_connection_does_not_spin() {
    let _process = own_process();
    let (log, _events) = log();
    let (tell, told) = std::sync::mpsc::channel();
    let serve = move || {
        let mut event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
        let factory = move |_: &WSUpgradeRequest| Probe::new(&log);
        let config = WSServerConfig::default();
        let server = ws_create_server(&event_loop.handle(), factory, "127.0.0.1:0", config).unwrap();
        refuse(libc::SYS_accept4, None, libc::EPROTO);
        tell.send((server.local_addr(), event_loop.handle().remote())).unwrap();
        let mut iterations = 0;
        let end = Instant::now() + Duration::from_secs(1);
        while Instant::now() < end {
            event_loop.run_once(Some(Duration::from_millis(500))).unwrap();
            iterations += 1;
        }
        iterations
    };
    let thread = thread::spawn(serve);
    let (addr, _remote) = told.recv().unwrap();
    let _peer = Peer::connect_tcp(addr);
    let iterations = thread.join().unwrap();
    assert!(iterations < 100, "{iterations} iterations in a second");
}
