//! Resolvers of the application.

use std::collections::HashMap;
use std::fmt::Debug;
use std::future::{pending, poll_fn, ready};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use femtows::message::{WebSocketConfig, connect_websocket};
use femtows::{
    WSConnectConfig, WSConnectError, WSIntoUpgrade, WSLoop, WSLoopConfig, WSPhase, WSProxy, WSResolver,
    WSResolving, WSServerConfig, WSUpgradeRequest, WSUpgradeResponse, ws_connect,
};

use crate::support::PATIENCE;
use crate::support::peer::PeerServer;
use crate::support::probe::{Probe, log};
use crate::support::running::{Server, block_on, connect, serve};

type Asked = Arc<Mutex<Vec<(String, u16)>>>;

fn echo() -> Server {
    let (log, _events) = log();
    serve(WSServerConfig::default(), move |_| Probe::new(&log).echo())
}

/// A configuration whose resolver answers any name with `addr`, and the names that it looked up.
fn answering(addr: SocketAddr) -> (WSConnectConfig, Asked) {
    let asked = Asked::default();
    let seen = Arc::clone(&asked);
    let config = WSConnectConfig::default().resolver(move |host: &str, port: u16| {
        seen.lock().unwrap().push((host.to_owned(), port));
        ready(Ok(vec![addr]))
    });
    (config, asked)
}

fn names(asked: &Asked) -> Vec<(String, u16)> {
    asked.lock().unwrap().clone()
}

/// A resolver that never answers, and reports when its lookup is dropped.
struct Hanging(Sender<()>);

struct Dropped(Sender<()>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

impl WSResolver for Hanging {
    fn resolve<'a>(&'a self, _: &'a str, _: u16) -> WSResolving<'a> {
        let dropped = Dropped(self.0.clone());
        Box::pin(async move {
            let _dropped = dropped;
            pending().await
        })
    }
}

#[test]
fn a_configured_resolver_is_given_name_and_port() {
    let server = echo();
    let (config, asked) = answering(server.addr);
    let (log, _events) = log();
    connect("ws://Feed.Example:81/", config, Probe::new(&log)).opened().unwrap();
    assert_eq!(names(&asked), [("feed.example".to_owned(), 81)]);
}

#[test]
fn a_resolver_may_borrow_from_itself_and_from_the_name() {
    struct Table(HashMap<&'static str, SocketAddr>);

    impl WSResolver for Table {
        fn resolve<'a>(&'a self, host: &'a str, _: u16) -> WSResolving<'a> {
            Box::pin(async move { Ok(self.0.get(host).copied().into_iter().collect()) })
        }
    }

    let server = echo();
    let config = WSConnectConfig::default().resolver(Table(HashMap::from([("feed.example", server.addr)])));
    let (log, _events) = log();
    connect("ws://feed.example/", config, Probe::new(&log)).opened().unwrap();
}

#[test]
fn a_resolver_may_answer_from_another_thread() {
    let server = echo();
    let addr = server.addr;
    let config = WSConnectConfig::default().resolver(move |_: &str, _: u16| {
        let slot: Arc<Mutex<(Option<SocketAddr>, Option<Waker>)>> = Arc::default();
        let answer = Arc::clone(&slot);
        let mut thread = Some(move || {
            let waker = {
                let mut slot = answer.lock().unwrap();
                slot.0 = Some(addr);
                slot.1.take()
            };
            waker.expect("polled before").wake();
        });
        poll_fn(move |cx| {
            let mut slot = slot.lock().unwrap();
            if let Some(addr) = slot.0 {
                return Poll::Ready(Ok(vec![addr]));
            }
            slot.1 = Some(cx.waker().clone());
            if let Some(run) = thread.take() {
                thread::spawn(run);
            }
            Poll::Pending
        })
    });
    let (log, _events) = log();
    connect("ws://feed.example/", config, Probe::new(&log)).opened().unwrap();
}

#[test]
fn a_configured_resolver_is_not_asked_for_addresses_nor_localhost() {
    let server = echo();
    for host in ["127.0.0.1", "localhost", "app.localhost."] {
        let (config, asked) = answering(server.addr);
        let (log, _events) = log();
        let url = format!("ws://{host}:{}/", server.addr.port());
        connect(&url, config, Probe::new(&log)).opened().unwrap();
        assert_eq!(names(&asked), [], "{host}");
    }
}

#[test]
fn a_configured_resolver_is_asked_for_the_host_of_a_redirection() {
    let (events, _events) = log();
    let server = serve(WSServerConfig::default(), move |request: &WSUpgradeRequest| {
        if request.path() == "/away" {
            return WSUpgradeResponse::redirect(302, "ws://other.example:82/").unwrap().into_upgrade();
        }
        Probe::new(&events).into_upgrade()
    });
    let (config, asked) = answering(server.addr);
    let (log, _events) = log();
    connect("ws://feed.example:81/away", config, Probe::new(&log)).opened().unwrap();
    assert_eq!(names(&asked), [("feed.example".to_owned(), 81), ("other.example".to_owned(), 82)]);
}

/// Returns the names that are resolved on the way to `feed.example` through a proxy that does not
/// answer.
fn asked_with_proxy(scheme: &str) -> Vec<(String, u16)> {
    let proxy = PeerServer::bind();
    let (config, asked) = answering(proxy.addr());
    let config = config.proxy(WSProxy::parse(&format!("{scheme}://proxy.example:1080")).unwrap());
    let (log, _events) = log();
    let client = connect("ws://feed.example/", config, Probe::new(&log));
    drop(proxy.accept_tcp());
    client.opened().unwrap_err();
    names(&asked)
}

#[test]
fn a_configured_resolver_is_asked_for_the_proxy() {
    for scheme in ["http", "socks5h", "socks4a"] {
        assert_eq!(asked_with_proxy(scheme), [("proxy.example".to_owned(), 1080)], "{scheme}");
    }
}

#[test]
fn a_configured_resolver_is_asked_for_the_server_too_if_the_proxy_wants_an_address() {
    for scheme in ["socks5", "socks4"] {
        let wanted = [("feed.example".to_owned(), 80), ("proxy.example".to_owned(), 1080)];
        assert_eq!(asked_with_proxy(scheme), wanted, "{scheme}");
    }
}

#[test]
fn the_error_of_a_configured_resolver_is_a_resolve_error() {
    let config = WSConnectConfig::default()
        .resolver(|_: &str, _: u16| ready(Err(io::Error::new(io::ErrorKind::PermissionDenied, "not today"))));
    let (log, _events) = log();
    let error = connect("ws://feed.example/", config, Probe::new(&log)).opened().unwrap_err();
    assert_eq!(error.to_string(), "cannot resolve feed.example: not today");
}

#[test]
fn no_address_from_a_configured_resolver_is_a_resolve_error() {
    let config = WSConnectConfig::default().resolver(|_: &str, _: u16| ready(Ok(Vec::new())));
    let (log, _events) = log();
    let error = connect("ws://feed.example/", config, Probe::new(&log)).opened().unwrap_err();
    assert!(matches!(&error, WSConnectError::Resolve { host, .. } if &**host == "feed.example"), "{error}");
}

#[test]
fn the_handshake_deadline_covers_a_configured_resolver_and_drops_its_lookup() {
    let (tell, dropped) = channel();
    let timeout = Duration::from_millis(50);
    let config = WSConnectConfig::default().handshake_timeout(Some(timeout)).resolver(Hanging(tell));
    let (log, _events) = log();
    let client = connect("ws://feed.example/", config, Probe::new(&log));
    let error = client.opened().unwrap_err();
    assert!(matches!(error, WSConnectError::Timeout { phase: WSPhase::Resolve, .. }), "{error}");
    dropped.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn dropping_the_connect_drops_the_lookup_of_a_configured_resolver() {
    let (tell, dropped) = channel();
    let (log, _events) = log();
    let mut event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
    let handle = event_loop.handle();
    let config = WSConnectConfig::default().handshake_timeout(None).resolver(Hanging(tell));
    let mut connecting = Box::pin(ws_connect(&handle, Probe::new(&log), "ws://feed.example/", config));
    block_on(&mut event_loop, async {
        poll_fn(|cx| {
            assert!(connecting.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
    });
    assert!(dropped.try_recv().is_err(), "the lookup is under way");
    drop(connecting);
    dropped.try_recv().expect("dropped with the connect");
}

#[test]
fn websockets_of_tasks_use_a_configured_resolver() {
    let server = echo();
    let (config, asked) = answering(server.addr);
    let mut event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
    let handle = event_loop.handle();
    let config = WebSocketConfig::default().client(config);
    let ws = block_on(&mut event_loop, connect_websocket(&handle, "feed.example", 81, "/", config)).unwrap();
    assert_eq!(names(&asked), [("feed.example".to_owned(), 81)]);
    drop(ws);
}

#[test]
fn clones_of_a_configuration_share_its_resolver() {
    fn sendable(config: impl Clone + Debug + Send + Sync) -> impl Clone + Debug + Send + Sync {
        config.clone()
    }

    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let config = WSConnectConfig::default().resolver(move |_: &str, _: u16| {
        counted.fetch_add(1, Ordering::Relaxed);
        ready(Ok(Vec::new()))
    });
    let _ = sendable(config.clone());
    for _ in 0..2 {
        let (log, _events) = log();
        connect("ws://feed.example/", config.clone(), Probe::new(&log)).opened().unwrap_err();
    }
    assert_eq!(calls.load(Ordering::Relaxed), 2);
}
