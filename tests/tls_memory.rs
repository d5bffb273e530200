//! What an idle TLS connection of a server holds: all that `malloc` has given to the process, cryptography included.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

#[path = "tls/authority.rs"]
#[allow(dead_code, reason = "shared with the tests of TLS, which use all of it")]
mod authority;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use authority::Authority;
use femtows::{
    WSFrame, WSListener, WSLoop, WSLoopConfig, WSResult, WSServerConfig, WSTransport, WSTuning,
    WSUpgradeRequest, ws_create_server,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, StreamOwned};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

const CONNECTIONS: usize = 300;

/// Most bytes per connection, without the client's half.
const MOST_BYTES: usize = 6 * 1024;

struct Silent;

impl WSListener for Silent {
    fn on_ws_frame(&mut self, _: &WSTransport, _: &mut WSFrame<'_>) -> WSResult {
        Ok(())
    }
}

/// Bytes that are allocated in all arenas.
fn allocated() -> usize {
    // SAFETY: the function has no preconditions.
    let info = unsafe { libc::mallinfo2() };
    info.uordblks + info.hblkhd
}

/// Opens connections one after the other, and lets go of all but their sockets.
fn open(addr: std::net::SocketAddr, config: &Arc<ClientConfig>, count: usize) -> Vec<TcpStream> {
    let open_one = |_| {
        let name = ServerName::try_from("localhost").unwrap();
        let tls = ClientConnection::new(Arc::clone(config), name).unwrap();
        let mut stream = StreamOwned::new(tls, TcpStream::connect(addr).unwrap());
        stream.write_all(REQUEST).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.extend(byte);
        }
        assert!(answer.starts_with(b"HTTP/1.1 101 "));
        stream.sock
    };
    (0..count).map(open_one).collect()
}

#[test]
fn an_idle_tls_connection_is_small() {
    let authority = Authority::new();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    let config = Arc::new(config);

    let mut event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
    let tls = authority.issue(&["localhost"]).server();
    let server = WSServerConfig::default().tls(tls).tuning(WSTuning::default().keep_handshake(false));
    let server =
        ws_create_server(&event_loop.handle(), |_: &WSUpgradeRequest| Silent, "127.0.0.1:0", server).unwrap();
    let addr = server.local_addr();
    let mut connect = |count: usize| {
        let config = Arc::clone(&config);
        let clients = thread::spawn(move || open(addr, &config, count));
        while !clients.is_finished() {
            event_loop.run_once(Some(Duration::from_millis(10))).unwrap();
        }
        clients.join().unwrap()
    };
    // Buffers of the loop, and what the cryptography makes once, are there after the first ones.
    let first = connect(20);
    let before = allocated();
    let rest = connect(CONNECTIONS);
    let each = (allocated() - before) / CONNECTIONS;
    println!("{each} bytes per idle connection");
    assert_eq!(server.connections(), first.len() + rest.len());
    assert!(each <= MOST_BYTES, "{each} bytes per idle connection");
}
