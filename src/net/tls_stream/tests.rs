//! What one layer of TLS owes another below it, as through an `https` proxy; and what is told of a peer that has gone.

use std::io::{self, IoSlice, Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use rustls::pki_types::ServerName;

use super::super::stream::{Layer, Read as Received, Socket, SocketKind, Stream};
use super::{TlsShared, TlsStream};
use crate::buf::RecvBuffer;
use crate::tls::{Session, TlsPeer, WSClientTls, WSServerTls, WSTlsError};

const NAME: &str = "localhost";

fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).expect("a certificate");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// Two sockets that are connected and never block.
fn sockets() -> (UnixStream, UnixStream) {
    let (near, far) = UnixStream::pair().expect("sockets");
    for end in [&near, &far] {
        end.set_nonblocking(true).expect("an option of every socket");
    }
    (near, far)
}

fn stream(socket: UnixStream) -> Stream {
    Socket::new(socket.into(), SocketKind::Unix).into()
}

/// Client and server over a socket that takes little at a time, both handshakes done.
fn ends() -> [TlsStream; 2] {
    let (chain, key) = certificate();
    let client = WSClientTls::default().without_web_roots().ca_pem(chain.as_bytes()).expect("PEM");
    let client = client.build().expect("usable");
    let server =
        WSServerTls::from_pem(chain.as_bytes(), key.as_bytes()).expect("PEM").build().expect("usable");
    let (near, far) = sockets();
    socket2::SockRef::from(&near).set_send_buffer_size(4096).expect("an option of every socket");
    let sessions = || {
        let name = ServerName::try_from(NAME).expect("a name");
        [Session::client(&client, name).expect("a client"), Session::server(&server).expect("a server")]
    };
    let shared = Rc::new(TlsShared::default());
    let over = |below, session, whose| {
        let mut stream = TlsStream::new(below, session, whose, &shared);
        let _ = stream.begin();
        stream
    };
    let [outer_client, outer_server] = sessions();
    let [inner_client, inner_server] = sessions();
    let mut ends = [
        over(
            Stream::layer(over(stream(near), outer_client, TlsPeer::Proxy)),
            inner_client,
            TlsPeer::Endpoint,
        ),
        over(Stream::layer(over(stream(far), outer_server, TlsPeer::Proxy)), inner_server, TlsPeer::Endpoint),
    ];
    let mut rounds = 0;
    while ends.iter().any(TlsStream::is_handshaking) {
        rounds += 1;
        assert!(rounds < 1000, "a handshake that never ends: {ends:?}");
        for end in &mut ends {
            assert_eq!(receive(|buffer| end.read(buffer)), b"", "nothing was said yet");
            let _ = end.flush();
        }
    }
    ends
}

/// All that has arrived.
fn receive(mut read: impl FnMut(&mut RecvBuffer) -> Received) -> Vec<u8> {
    let mut buffer = RecvBuffer::with_capacity(64 * 1024);
    loop {
        match read(&mut buffer) {
            Received::Data { .. } => buffer.make_room(64 * 1024),
            Received::Blocked { .. } | Received::End => return buffer.filled().to_vec(),
            Received::Failed(error) => panic!("{error}"),
        }
    }
}

/// The error of a read that has to fail.
fn failure(stream: &mut TlsStream) -> io::Error {
    match stream.read(&mut RecvBuffer::with_capacity(1024)) {
        Received::Failed(error) => error,
        other => panic!("{other:?}"),
    }
}

fn write(stream: &mut TlsStream, bytes: &[u8]) -> io::Result<usize> {
    stream.write(&[IoSlice::new(bytes)])
}

/// What the outer layer has taken and the kernel has not is held: else nobody would wait for room, and it would never leave.
#[test]
fn what_either_layer_holds_counts_and_leaves() {
    let [mut client, mut server] = ends();
    let (mut sent, mut received, mut refused) = (0, 0, 0);
    while refused < 5 {
        while client.held() == 0 {
            sent += write(&mut client, &[7; 100]).expect("nothing waits");
        }
        refused += 1;
        for _ in 0..1000 {
            received += receive(|buffer| server.read(buffer)).len();
            let _ = client.flush();
        }
        assert_eq!((client.held(), received), (0, sent));
    }
}

/// Both layers say `close_notify`: the proxy is told too that nothing was cut off.
#[test]
fn both_layers_part() {
    let [mut client, mut server] = ends();
    client.part();
    drop(client);
    assert_eq!(receive(|buffer| server.read(buffer)), b"");
    assert!(!server.is_truncated());
    assert_eq!(receive(|buffer| server.below.read(buffer)), b"", "the end of the outer layer");
    assert!(!server.below.is_truncated());
}

/// The alert finds nobody: what was wrong is told nevertheless.
#[test]
fn a_fault_of_a_peer_that_has_gone_is_told() {
    let client = WSClientTls::default().without_web_roots().ca_pem(certificate().0.as_bytes()).expect("PEM");
    let name = ServerName::try_from(NAME).expect("a name");
    let session = Session::client(&client.build().expect("usable"), name).expect("a client");
    let (near, mut far) = sockets();
    let mut stream = TlsStream::new(stream(near), session, TlsPeer::Endpoint, &Rc::default());
    stream.begin().expect("there is room");
    let _ = far.read(&mut [0; 10_000]).expect("the first message");
    far.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").expect("there is room");
    drop(far);
    let error = failure(&mut stream);
    assert!(error.to_string().contains("does not speak TLS"), "{error}");
}

/// RFC 8446 section 6.2.
#[test]
fn nothing_follows_the_alert() {
    let [mut client, mut server] = ends();
    write(&mut server, b"before").expect("there is room");
    client.below.write(b"this is no record").expect("there is room");
    let error = failure(&mut server);
    assert!(WSTlsError::in_io(&error).is_some(), "{error}");
    assert_eq!(write(&mut server, b"behind").expect_err("all is said").kind(), io::ErrorKind::BrokenPipe);
}

/// A first message may come byte by byte: what has arrived of it is not moved for each read.
#[test]
fn bytes_of_an_incomplete_handshake_message_stay_in_place() {
    let (chain, key) = certificate();
    let server = WSServerTls::from_pem(chain.as_bytes(), key.as_bytes()).expect("PEM");
    let session = Session::server(&server.build().expect("usable")).expect("a server");
    let (near, mut far) = sockets();
    let mut stream = TlsStream::new(stream(near), session, TlsPeer::Endpoint, &Rc::default());
    let mut places = Vec::new();
    for byte in [&[1, 0, 8, 0][..], &[9; 2000]].concat() {
        far.write_all(&[22, 3, 1, 0, 1, byte]).expect("there is room");
        let read = stream.read(&mut RecvBuffer::with_capacity(64));
        assert!(matches!(read, Received::Blocked { again: false }), "it is incomplete: {read:?}");
        places.push(stream.rest.as_ref().map(|rest| rest.filled().as_ptr()));
    }
    places.dedup();
    assert!(places.len() <= 5, "{} places for 2004 reads", places.len());
}
