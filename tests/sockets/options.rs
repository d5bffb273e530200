//! Socket options of accepted and connected sockets.

use std::time::Duration;

use femtows::{WSConnectConfig, WSServerConfig, WSTuning};

use crate::support::probe::{Probe, log};
use crate::support::running::{LoopThread, connect, serve};

fn no_delay(on: &LoopThread) -> bool {
    on.ask_transport(0, |transport| transport.with_socket(|socket| socket.tcp_nodelay().unwrap()).unwrap())
}

#[test]
fn no_delay_is_set_on_both_ends_unless_it_is_turned_off() {
    for wanted in [None, Some(true), Some(false)] {
        let (log, _events) = log();
        let tuning = wanted.map_or_else(WSTuning::default, |on| WSTuning::default().no_delay(on));
        let server_log = log.clone();
        let server =
            serve(WSServerConfig::default().tuning(tuning.clone()), move |_| Probe::new(&server_log));
        let client = connect(&server.url("/"), WSConnectConfig::default().tuning(tuning), Probe::new(&log));
        client.opened().unwrap();
        let wanted = wanted.unwrap_or(true);
        assert_eq!((no_delay(&client.on), no_delay(&server.on)), (wanted, wanted));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn busy_poll_reaches_both_ends_or_leaves_them_usable() {
    fn busy_poll(on: &LoopThread) -> u32 {
        on.ask_transport(0, |transport| transport.with_socket(|socket| socket.busy_poll().unwrap()).unwrap())
    }
    // Without the right to it the option is refused, and the connection goes without.
    let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let allowed = socket2::SockRef::from(&probe).set_busy_poll(70).is_ok();
    let (log, _events) = log();
    let tuning = WSTuning::default().busy_poll(Duration::from_micros(70));
    let server_log = log.clone();
    let server = serve(WSServerConfig::default().tuning(tuning.clone()), move |_| Probe::new(&server_log));
    let client = connect(&server.url("/"), WSConnectConfig::default().tuning(tuning), Probe::new(&log));
    client.opened().unwrap();
    let by_default =
        socket2::SockRef::from(&std::net::TcpListener::bind("127.0.0.1:0").unwrap()).busy_poll().unwrap();
    let wanted = if allowed { 70 } else { by_default };
    assert_eq!((busy_poll(&client.on), busy_poll(&server.on)), (wanted, wanted));
}
