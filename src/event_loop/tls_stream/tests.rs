//! What one layer of TLS owes another below it, as through an `https` proxy; and what is told of a peer that has gone.

use std::io::{self, Read, Write};
use std::rc::Rc;

use mio::net::UnixStream;
use rustls::pki_types::ServerName;

use super::super::stream::Stream;
use super::{TlsShared, TlsStream};
use crate::buf::RecvBuffer;
use crate::tls::{Session, TlsPeer, WSClientTls, WSServerTls, WSTlsError};

const NAME: &str = "localhost";

fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).expect("a certificate");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// Client and server over a socket that takes little at a time, both handshakes done.
fn ends() -> [Stream; 2] {
    let (chain, key) = certificate();
    let client = WSClientTls::default().without_web_roots().ca_pem(chain.as_bytes()).expect("PEM");
    let client = client.build().expect("usable");
    let server =
        WSServerTls::from_pem(chain.as_bytes(), key.as_bytes()).expect("PEM").build().expect("usable");
    let (near, far) = UnixStream::pair().expect("sockets");
    socket2::SockRef::from(&near).set_send_buffer_size(4096).expect("an option of every socket");
    let sessions = || {
        let name = ServerName::try_from(NAME).expect("a name");
        [Session::client(&client, name).expect("a client"), Session::server(&server).expect("a server")]
    };
    let shared = Rc::new(TlsShared::default());
    let over = |below, session, whose| {
        let mut stream = TlsStream::new(below, session, whose, &shared);
        let _ = stream.begin();
        Stream::Tls(Box::new(stream))
    };
    let [outer_client, outer_server] = sessions();
    let [inner_client, inner_server] = sessions();
    let mut ends = [
        over(over(Stream::Unix(near), outer_client, TlsPeer::Proxy), inner_client, TlsPeer::Endpoint),
        over(over(Stream::Unix(far), outer_server, TlsPeer::Proxy), inner_server, TlsPeer::Endpoint),
    ];
    let mut rounds = 0;
    while ends.iter().any(|end| end.tls().is_some_and(TlsStream::is_handshaking)) {
        rounds += 1;
        assert!(rounds < 1000, "a handshake that never ends: {ends:?}");
        for end in &mut ends {
            assert_eq!(receive(end), b"", "nothing was said yet");
            let _ = end.flush();
        }
    }
    ends
}

/// All that has arrived.
fn receive(end: &mut Stream) -> Vec<u8> {
    let mut buffer = RecvBuffer::with_capacity(64 * 1024);
    loop {
        match end.recv(&mut buffer) {
            Ok(0) => return buffer.filled().to_vec(),
            Ok(_) => buffer.make_room(64 * 1024),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return buffer.filled().to_vec(),
            Err(error) => panic!("{error}"),
        }
    }
}

/// What the outer layer has taken and the kernel has not is held: else nobody would wait for room, and it would never leave.
#[test]
fn what_either_layer_holds_counts_and_leaves() {
    let [mut client, mut server] = ends();
    let (mut sent, mut received, mut refused) = (0, 0, 0);
    while refused < 5 {
        while client.held() == 0 {
            sent += client.send(&[7; 100]).expect("nothing waits");
        }
        refused += 1;
        for _ in 0..1000 {
            received += receive(&mut server).len();
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
    assert_eq!(receive(&mut server), b"");
    let Stream::Tls(inner) = &mut server else { panic!("{server:?}") };
    assert!(!inner.is_truncated());
    assert_eq!(receive(inner.below_mut()), b"", "the end of the outer layer");
    assert!(!inner.below().is_truncated());
}

/// The alert finds nobody: what was wrong is told nevertheless.
#[test]
fn a_fault_of_a_peer_that_has_gone_is_told() {
    let client = WSClientTls::default().without_web_roots().ca_pem(certificate().0.as_bytes()).expect("PEM");
    let name = ServerName::try_from(NAME).expect("a name");
    let session = Session::client(&client.build().expect("usable"), name).expect("a client");
    let (near, mut far) = UnixStream::pair().expect("sockets");
    let mut stream = TlsStream::new(Stream::Unix(near), session, TlsPeer::Endpoint, &Rc::default());
    stream.begin().expect("there is room");
    let _ = far.read(&mut [0; 10_000]).expect("the first message");
    far.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").expect("there is room");
    drop(far);
    let error = stream.recv(&mut RecvBuffer::with_capacity(1024)).expect_err("that was no TLS");
    assert!(error.to_string().contains("does not speak TLS"), "{error}");
}

/// RFC 8446 section 6.2.
#[test]
fn nothing_follows_the_alert() {
    let [mut client, mut server] = ends();
    server.send(b"before").expect("there is room");
    let Stream::Tls(inner) = &mut client else { panic!("{client:?}") };
    inner.below_mut().send(b"this is no record").expect("there is room");
    let error = server.recv(&mut RecvBuffer::with_capacity(1024)).expect_err("it was not sealed");
    assert!(WSTlsError::in_io(&error).is_some(), "{error}");
    assert_eq!(server.send(b"behind").expect_err("all is said").kind(), io::ErrorKind::BrokenPipe);
}

/// A first message may come byte by byte: what has arrived of it is not moved for each read.
#[test]
fn bytes_of_an_incomplete_handshake_message_stay_in_place() {
    let (chain, key) = certificate();
    let server = WSServerTls::from_pem(chain.as_bytes(), key.as_bytes()).expect("PEM");
    let session = Session::server(&server.build().expect("usable")).expect("a server");
    let (near, mut far) = UnixStream::pair().expect("sockets");
    let mut stream = TlsStream::new(Stream::Unix(near), session, TlsPeer::Endpoint, &Rc::default());
    let mut places = Vec::new();
    for byte in [&[1, 0, 8, 0][..], &[9; 2000]].concat() {
        far.write_all(&[22, 3, 1, 0, 1, byte]).expect("there is room");
        let error = stream.recv(&mut RecvBuffer::with_capacity(64)).expect_err("it is incomplete");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        places.push(stream.rest.as_ref().map(|rest| rest.filled().as_ptr()));
    }
    places.dedup();
    assert!(places.len() <= 5, "{} places for 2004 reads", places.len());
}
