//! The library's client through the proxies that come with the system, to the library's server: echoes, refusals, servers that are not
//! there, and proxies that die.

use std::net::TcpListener;

use femtows::{
    WSConnectConfig, WSDisconnectCause, WSDisconnectInfo, WSProxy, WSProxyErrorKind, WSServerConfig,
};

use crate::daemons::{DANTE, Daemon, SQUID, TINYPROXY};
use crate::proxies::{echo_server, echoes_through, proxy_at, refused_by};

/// `user` with `pass`, made by `openssl passwd -apr1 pass`.
const PASSWORDS: &str = "user:$apr1$Vkqt41pq$gCzCGoRHRMNX8u1XkvBa/0\n";

fn tinyproxy(rules: &str) -> Option<Daemon> {
    let conf = format!("Port PORT\nListen 127.0.0.1\nAllow 127.0.0.1\nTimeout 120\n{rules}\n");
    TINYPROXY.is_installed().then(|| TINYPROXY.run(&conf, &[]))
}

/// Nobody gets to 127.0.0.2.
fn dante(method: &str) -> Option<Daemon> {
    let conf = format!(
        "logoutput: stderr
        internal: 127.0.0.1 port = PORT
        external: lo
        clientmethod: none
        socksmethod: {method}
        user.privileged: root
        user.unprivileged: nobody
        client pass {{ from: 127.0.0.1/32 to: 0.0.0.0/0 }}
        socks block {{ from: 0.0.0.0/0 to: 127.0.0.2/32 }}
        socks pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 command: connect }}"
    );
    DANTE.is_installed().then(|| DANTE.run(&conf, &[]))
}

/// For `user` with `pass` only, and nobody gets to 127.0.0.2. `listen` begins the line that says where it listens.
fn squid(listen: &str, options: &str, files: &[(&str, &str)]) -> Option<Daemon> {
    let conf = format!(
        "{listen} 127.0.0.1:PORT {options}
auth_param basic program /usr/lib/squid/basic_ncsa_auth DIR/passwords
auth_param basic children 1 startup=1
acl known proxy_auth REQUIRED
acl forbidden dst 127.0.0.2
http_access deny forbidden
http_access allow known
http_access deny all
cache deny all
access_log none
cache_log /dev/null
cache_store_log none
netdb_filename none
pid_filename none
coredump_dir DIR
pinger_enable off
shutdown_lifetime 0 seconds
max_filedescriptors 256
visible_hostname localhost
"
    );
    let files = [&[("passwords", PASSWORDS)], files].concat();
    SQUID.is_installed().then(|| SQUID.run(&conf, &files))
}

/// Echoes from a server, by its address and by its name.
fn gets_through(proxy: &WSProxy) {
    let server = echo_server(WSServerConfig::default());
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("ws://{host}:{}/", server.addr.port());
        echoes_through(proxy, &url, WSConnectConfig::default());
    }
}

fn refusal(proxy: &WSProxy, url: &str) -> WSProxyErrorKind {
    refused_by(proxy, url, WSConnectConfig::default())
}

/// What the proxy says to a server that is not there.
fn unreachable(proxy: &WSProxy) -> WSProxyErrorKind {
    let nobody = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    refusal(proxy, &format!("ws://{nobody}/"))
}

/// How a connection ends whose proxy is killed.
fn killed(mut daemon: Daemon, proxy: &WSProxy, config: WSConnectConfig) -> WSDisconnectInfo {
    let server = echo_server(WSServerConfig::default());
    let (_client, events) = echoes_through(proxy, &server.url("/"), config);
    daemon.kill();
    events.disconnected()
}

/// TCP ends, one way or the other.
fn dies(daemon: Daemon, proxy: &WSProxy) {
    let info = killed(daemon, proxy, WSConnectConfig::default());
    assert!(
        matches!(
            info.cause,
            WSDisconnectCause::PeerEof | WSDisconnectCause::Io(std::io::ErrorKind::ConnectionReset)
        ),
        "{proxy}: {info}"
    );
}

#[test]
fn tinyproxy_lets_through() {
    let Some(daemon) = tinyproxy("") else { return };
    let proxy = proxy_at(daemon.port, "http://");
    gets_through(&proxy);
    assert_eq!(unreachable(&proxy), WSProxyErrorKind::InvalidStatus(500));
    dies(daemon, &proxy);
}

#[test]
fn tinyproxy_wants_credentials() {
    let Some(daemon) = tinyproxy("BasicAuth user pass") else { return };
    gets_through(&proxy_at(daemon.port, "http://user:pass@"));
    let server = echo_server(WSServerConfig::default());
    let refusal = |scheme_and_user| refusal(&proxy_at(daemon.port, scheme_and_user), &server.url("/"));
    assert_eq!(refusal("http://"), WSProxyErrorKind::AuthenticationRequired);
    assert_eq!(refusal("http://user:wrong@"), WSProxyErrorKind::AuthenticationFailed);
}

#[test]
fn tinyproxy_denies() {
    let Some(daemon) = tinyproxy("ConnectPort 443") else { return };
    let server = echo_server(WSServerConfig::default());
    let denied = refusal(&proxy_at(daemon.port, "http://"), &server.url("/"));
    assert_eq!(denied, WSProxyErrorKind::InvalidStatus(403));
}

#[test]
fn dante_lets_through() {
    let Some(daemon) = dante("none") else { return };
    for scheme in ["socks4://", "socks5://", "socks5h://", "socks5h://user:pass@"] {
        gets_through(&proxy_at(daemon.port, scheme));
    }
    let proxy = proxy_at(daemon.port, "socks5://");
    dies(daemon, &proxy);
}

#[test]
fn dante_denies() {
    use WSProxyErrorKind::Refused;
    let Some(daemon) = dante("none") else { return };
    for (scheme, denied, unreachable) in
        [("socks4://", 0x5b, 0x5b), ("socks5://", 2, 5), ("socks5h://", 2, 5)]
    {
        let proxy = proxy_at(daemon.port, scheme);
        let kind = refusal(&proxy, "ws://127.0.0.2:80/");
        assert!(matches!(kind, Refused { code, .. } if code == denied), "{scheme}: {kind}");
        let kind = self::unreachable(&proxy);
        assert!(matches!(kind, Refused { code, .. } if code == unreachable), "{scheme}: {kind}");
    }
}

/// Its users are those of the system, so that nobody can be let in here; `pproxy` does that.
#[test]
fn dante_wants_credentials() {
    let Some(daemon) = dante("username") else { return };
    let server = echo_server(WSServerConfig::default());
    let refusal = |scheme_and_user| refusal(&proxy_at(daemon.port, scheme_and_user), &server.url("/"));
    assert_eq!(refusal("socks5h://"), WSProxyErrorKind::AuthenticationRequired);
    assert_eq!(refusal("socks5h://nobody:wrong@"), WSProxyErrorKind::AuthenticationFailed);
}

#[test]
fn squid_wants_credentials() {
    let Some(daemon) = squid("http_port", "", &[]) else { return };
    let known = proxy_at(daemon.port, "http://user:pass@");
    gets_through(&known);
    let server = echo_server(WSServerConfig::default());
    let refusal = |scheme_and_user| self::refusal(&proxy_at(daemon.port, scheme_and_user), &server.url("/"));
    assert_eq!(refusal("http://"), WSProxyErrorKind::AuthenticationRequired);
    assert_eq!(refusal("http://user:wrong@"), WSProxyErrorKind::AuthenticationFailed);
    assert_eq!(self::refusal(&known, "ws://127.0.0.2:80/"), WSProxyErrorKind::InvalidStatus(403));
    assert_eq!(unreachable(&known), WSProxyErrorKind::InvalidStatus(503));
    dies(daemon, &known);
}

#[cfg(feature = "tls")]
mod over_tls {
    use femtows::{WSConnectError, WSHandshakeFailure};

    use super::*;
    use crate::authority::{Authority, FAULTS, Identity};
    use crate::support::probe::{Probe, log};
    use crate::support::running::connect;

    fn secure_squid(identity: &Identity) -> Option<Daemon> {
        let files = [("chain.pem", identity.chain.as_str()), ("key.pem", &identity.key)];
        squid("https_port", "tls-cert=DIR/chain.pem tls-key=DIR/key.pem", &files)
    }

    /// A proxy of each kind, and its URL.
    fn daemons(authority: &Authority) -> Vec<(Daemon, &'static str)> {
        let identity = authority.issue(&["127.0.0.1"]);
        let all = [
            (tinyproxy(""), "http://"),
            (dante("none"), "socks4://"),
            (dante("none"), "socks5h://"),
            (squid("http_port", "", &[]), "http://user:pass@"),
            (secure_squid(&identity), "https://user:pass@"),
        ];
        all.into_iter().filter_map(|(daemon, url)| Some((daemon?, url))).collect()
    }

    #[test]
    fn wss_goes_through_each() {
        let authority = Authority::new();
        let identity = authority.issue(&["localhost", "127.0.0.1"]);
        let server = echo_server(WSServerConfig::default().tls(identity.server()));
        for (daemon, scheme_and_user) in daemons(&authority) {
            let url = format!("wss://127.0.0.1:{}/", server.addr.port());
            let config = WSConnectConfig::default().tls(authority.client());
            let (client, _events) = echoes_through(&proxy_at(daemon.port, scheme_and_user), &url, config);
            let report =
                client.on.ask_transport(0, |transport| (*transport.connect_report().unwrap()).clone());
            assert_eq!(report.proxy_tls.is_some(), scheme_and_user.starts_with("https"), "{report}");
            assert!(report.tls.is_some(), "{report}");
        }
    }

    #[test]
    fn squid_over_tls() {
        let authority = Authority::new();
        let Some(daemon) = secure_squid(&authority.issue(&["127.0.0.1"])) else { return };
        let config = || WSConnectConfig::default().tls(authority.client());
        let server = echo_server(WSServerConfig::default());
        let url = server.url("/");
        let known = proxy_at(daemon.port, "https://user:pass@");
        echoes_through(&known, &url, config());
        let kind = refused_by(&proxy_at(daemon.port, "https://"), &url, config());
        assert_eq!(kind, WSProxyErrorKind::AuthenticationRequired);
        let kind = refused_by(&proxy_at(daemon.port, "https://user:wrong@"), &url, config());
        assert_eq!(kind, WSProxyErrorKind::AuthenticationFailed);
        assert_eq!(refused_by(&known, "ws://127.0.0.2/", config()), WSProxyErrorKind::InvalidStatus(403));
        let info = killed(daemon, &known, config());
        assert!(
            matches!(
                info.cause,
                WSDisconnectCause::Truncated | WSDisconnectCause::Io(std::io::ErrorKind::ConnectionReset)
            ),
            "{info}"
        );
    }

    /// Squid's certificate, or that of the server behind it.
    #[test]
    fn either_certificate_is_judged() {
        for at_proxy in [true, false] {
            for fault in FAULTS {
                let (faulty, authority) = fault.certificate("127.0.0.1");
                let good = authority.issue(&["127.0.0.1"]);
                let (proxy, server) = if at_proxy { (faulty, good) } else { (good, faulty) };
                let Some(daemon) = secure_squid(&proxy) else { return };
                let server = echo_server(WSServerConfig::default().tls(server.server()));
                let proxy = proxy_at(daemon.port, "https://user:pass@");
                let config = WSConnectConfig::default().tls(authority.client()).proxy(proxy);
                let (log, _events) = log();
                let client = connect(&format!("wss://{}/", server.addr), config, Probe::new(&log));
                match client.opened() {
                    Err(WSConnectError::Tls(error)) => {
                        assert_eq!(error.is_from_proxy(), at_proxy, "{fault:?}: {error}");
                        assert!(error.to_string().contains(fault.our_words()), "{error}");
                    }
                    other => panic!("{fault:?}: {other:?}"),
                }
                let kind = WSHandshakeFailure::Tls;
                let failed =
                    client.on.ask(move |handle| handle.metrics().snapshot().handshake_failures(kind));
                assert_eq!(failed, 1, "it is counted");
            }
        }
    }
}
