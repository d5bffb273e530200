//! Socket options of accepted and connected sockets.

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
