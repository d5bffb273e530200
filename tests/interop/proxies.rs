//! The library's client through a real proxy.

use femtows::{
    WSConnectConfig, WSConnectError, WSMsgType, WSProxy, WSProxyErrorKind, WSServerConfig, WSTransport,
};

use crate::peers::{PPROXY, PeerServer};
use crate::support::pattern;
use crate::support::probe::{Events, Probe, log};
use crate::support::running::{Client, Server, connect, serve};
use crate::support::wire::{BINARY, Frame};

/// A proxy of these kinds, for everybody or for `user` with `pass` only; `None` if it is not installed.
fn proxy(kinds: &str, guarded: bool) -> Option<PeerServer> {
    let guard = if guarded { "#user:pass" } else { "" };
    let listen = format!("{kinds}://127.0.0.1:0{guard}");
    // It says `Serving on ipv? 127.0.0.1:PORT by http,socks5`.
    let port_in = |line: &str| {
        let (_, rest) = line.split_once("127.0.0.1:")?;
        rest.split_whitespace().next()?.parse().ok()
    };
    PPROXY.is_installed().then(|| PPROXY.serve_as(&["-l", &listen], &[], port_in))
}

pub(crate) fn echo_server(config: WSServerConfig) -> Server {
    let (log, _events) = log();
    serve(config, move |_| Probe::new(&log).echo())
}

pub(crate) fn proxy_at(port: u16, scheme_and_user: &str) -> WSProxy {
    WSProxy::parse(&format!("{scheme_and_user}127.0.0.1:{port}")).unwrap()
}

/// Small and large messages go through and come back.
fn gets_through(proxy: &PeerServer, scheme_and_user: &str, host: &str) {
    let server = echo_server(WSServerConfig::default());
    let url = format!("ws://{host}:{}/", server.addr.port());
    echoes_through(&proxy_at(proxy.port(), scheme_and_user), &url, WSConnectConfig::default());
}

/// Small and large messages go to an echo server and come back; the connection stays.
pub(crate) fn echoes_through(proxy: &WSProxy, url: &str, config: WSConnectConfig) -> (Client, Events) {
    let (log, events) = log();
    let client = connect(url, config.proxy(proxy.clone()), Probe::new(&log));
    client.opened().unwrap_or_else(|error| panic!("{proxy} {url}: {error}"));
    events.connected();
    for size in [0, 1, 125, 70_000, 1 << 20] {
        let payload = pattern(size);
        let sent = payload.clone();
        client.on.ask_transport(0, move |transport: &WSTransport| transport.send(WSMsgType::Binary, &sent));
        assert!(events.frame() == Frame::new(BINARY, payload), "{proxy} {url}: {size}");
    }
    let winner = client.on.ask_transport(0, |transport| transport.connect_report().unwrap().winner());
    assert_eq!(winner.unwrap().port(), proxy.port());
    (client, events)
}

fn refusal(proxy: &PeerServer, scheme_and_user: &str, url: &str) -> WSProxyErrorKind {
    refused_by(&proxy_at(proxy.port(), scheme_and_user), url, WSConnectConfig::default())
}

/// Why the proxy makes no tunnel.
pub(crate) fn refused_by(proxy: &WSProxy, url: &str, config: WSConnectConfig) -> WSProxyErrorKind {
    let (log, _events) = log();
    match connect(url, config.proxy(proxy.clone()), Probe::new(&log)).opened() {
        Err(WSConnectError::Proxy(error)) => error.kind,
        other => panic!("{proxy}: {other:?}"),
    }
}

#[test]
fn pproxy_without_credentials() {
    let Some(proxy) = proxy("http+socks4+socks5", false) else { return };
    for scheme in ["http://", "socks4://", "socks5://", "socks5h://"] {
        gets_through(&proxy, scheme, "127.0.0.1");
        gets_through(&proxy, scheme, "localhost");
    }
    gets_through(&proxy, "socks4a://", "127.0.0.1");
    gets_through(&proxy, "socks5h://user:pass@", "localhost");
}

#[test]
fn pproxy_with_credentials() {
    for (kinds, scheme_and_user, host) in [
        ("http", "http://user:pass@", "localhost"),
        ("socks4+socks5", "socks5h://user:pass@", "localhost"),
        ("socks4+socks5", "socks5://us%65r:pass@", "localhost"),
        // It compares the user id with the whole of this.
        ("socks4+socks5", "socks4://user%3Apass@", "127.0.0.1"),
    ] {
        // A new one each time: it remembers who has shown credentials.
        let Some(proxy) = proxy(kinds, true) else { return };
        gets_through(&proxy, scheme_and_user, host);
    }
}

#[test]
fn pproxy_refuses() {
    let Some(proxy) = proxy("http", true) else { return };
    let server = echo_server(WSServerConfig::default());
    let url = server.url("/");
    assert_eq!(refusal(&proxy, "http://", &url), WSProxyErrorKind::AuthenticationRequired);
    assert_eq!(refusal(&proxy, "http://user:wrong@", &url), WSProxyErrorKind::AuthenticationFailed);
    let Some(socks) = self::proxy("socks4+socks5", true) else { return };
    // It says why to nobody but its own log, and closes.
    assert_eq!(refusal(&socks, "socks5h://user:wrong@", &url), WSProxyErrorKind::Closed);
    assert_eq!(refusal(&socks, "socks4://wrong@", &url), WSProxyErrorKind::Closed);
    // It takes the one for the other, and closes.
    assert_eq!(refusal(&socks, "http://", &url), WSProxyErrorKind::Closed);
}
