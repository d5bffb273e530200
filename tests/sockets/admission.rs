//! How many connections a server lets in, and of whom.

use std::net::{IpAddr, SocketAddr};

use femtows::WSServerConfig;
use socket2::{Domain, Socket, Type};

use crate::support::eventually;
use crate::support::peer::{Peer, status, upgrade_request};
use crate::support::probe::{Probe, log};
use crate::support::running::{Server, serve};

fn server_with(config: WSServerConfig) -> Server {
    let (log, _) = log();
    serve(config, move |_| Probe::new(&log).echo())
}

fn connect_from(ip: [u8; 4], server: &Server) -> Peer {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(IpAddr::from(ip), 0).into()).unwrap();
    socket.connect(&server.addr.into()).unwrap();
    Peer::client_on(socket.into())
}

fn is_let_in(peer: &mut Peer) -> bool {
    // The server may have gone before it is asked.
    peer.try_write(upgrade_request("/", "").as_bytes())
        && peer.try_read_head().is_some_and(|head| status(&head) == 101)
}

#[test]
fn one_address_cannot_take_all_connections() {
    let server = server_with(WSServerConfig::default().max_connections_per_ip(2));
    let mut of_one: Vec<Peer> = (0..2).map(|_| connect_from([127, 0, 0, 1], &server)).collect();
    assert!(of_one.iter_mut().all(is_let_in));
    assert!(!is_let_in(&mut connect_from([127, 0, 0, 1], &server)));
    let mut neighbour = connect_from([127, 0, 0, 2], &server);
    assert!(is_let_in(&mut neighbour), "another address has room of its own");
    // A reset takes the address of the peer away from its socket; it must count all the same.
    of_one.remove(0).reset();
    eventually("the connection is gone", || server.slots() == 2);
    let mut third = connect_from([127, 0, 0, 1], &server);
    assert!(is_let_in(&mut third));
    assert!(!is_let_in(&mut connect_from([127, 0, 0, 1], &server)));
}

#[test]
fn who_is_not_let_in_is_closed_before_it_says_a_word() {
    let server = server_with(WSServerConfig::default().max_connections(1).handshake_timeout(None));
    let mut first = connect_from([127, 0, 0, 1], &server);
    assert!(is_let_in(&mut first));
    let mut silent = connect_from([127, 0, 0, 1], &server);
    silent.expect_eof();
    assert_eq!(server.slots(), 1);
}

#[test]
fn public_preset_refuses_the_65th_connection_of_an_address() {
    let server = server_with(WSServerConfig::public());
    let mut of_one: Vec<Peer> = (0..64).map(|_| connect_from([127, 0, 0, 1], &server)).collect();
    assert!(of_one.iter_mut().all(is_let_in));
    assert!(!is_let_in(&mut connect_from([127, 0, 0, 1], &server)), "the 65th");
    assert!(is_let_in(&mut connect_from([127, 0, 0, 2], &server)), "of another address");
}
