//! The short way of sending, and the size of a connection.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::{Action, Connection};
use crate::buf::{BufferPool, WS_HEADROOM, WSBuffer};
use crate::mask::MaskKeys;
use crate::proto::header::FirstByte;
use crate::proto::{
    Payload, Receiver, Role, Rules, SendContext, SendOptions, WSCloseCode, WSDisconnectCause, WSMsgType,
    WSPreparedFrame,
};

/// A server's connection with one frame gathered.
fn gathering(pool: &RefCell<BufferPool>) -> Connection {
    let mut connection = Connection::new(Role::Server, Arc::new(Rules::default()));
    assert!(gathers(&mut connection, pool));
    connection
}

fn text() -> FirstByte {
    FirstByte::new(WSMsgType::Text, SendOptions::default())
}

fn gathers(connection: &mut Connection, pool: &RefCell<BufferPool>) -> bool {
    let prepared = WSPreparedFrame::new(WSMsgType::Text, "prepared");
    let gathered = [
        Payload::Borrowed(b"short"),
        Payload::Borrowed(&[b'l'; 200]),
        Payload::InPlace(&mut [b'i'; WS_HEADROOM + 20], WS_HEADROOM),
        Payload::Shared(&Bytes::from_static(b"shared")),
        Payload::Prepared(&prepared),
    ]
    .map(|payload| connection.gather(text(), &payload, pool));
    let owned = Payload::Owned(WSBuffer::from(&b"owned"[..]));
    assert!(!connection.gather(text(), &owned, pool), "what owns its memory is not copied");
    assert!(gathered.iter().all(|&gathered_too| gathered_too == gathered[0]), "{gathered:?}");
    gathered[0]
}

#[test]
fn the_short_way_is_closed_by_what_lets_not_every_frame_leave() {
    type Change = fn(&mut Connection, &mut SendContext<'_>);
    let changes: [(&str, Change); 6] = [
        ("leave", |connection, _| connection.disconnect(true, Instant::now())),
        ("CLOSE arrived", |connection, out| {
            connection.handle_control(WSMsgType::Close, b"", out).unwrap();
        }),
        ("CLOSE sent", |connection, out| {
            connection.send_close(WSCloseCode::OK, "", Instant::now(), out);
        }),
        ("failed", |connection, out| {
            let fault = crate::proto::WSProtocolError::new(WSCloseCode::PROTOCOL_ERROR, "fault");
            connection.fail(&fault, WSDisconnectCause::ProtocolError, Instant::now(), out);
        }),
        ("abandoned", |connection, out| {
            connection.abandon(out.pool);
        }),
        ("the kernel refuses", |connection, out| connection.handle_refused(true, out)),
    ];
    for (what, change) in changes {
        let (pool, mut keys) = (RefCell::new(BufferPool::new(1 << 20)), MaskKeys::fixed([0; 4]));
        let mut connection = gathering(&pool);
        change(&mut connection, &mut SendContext { pool: &mut pool.borrow_mut(), keys: &mut keys });
        assert!(!gathers(&mut connection, &pool), "{what}");
    }
}

#[test]
fn what_is_gathered_keeps_its_place_in_the_order() {
    type Change = fn(&mut Connection, &mut SendContext<'_>);
    let changes: [(&str, Change); 3] = [
        ("bytes left", |connection, out| connection.consume(1, out)),
        ("raw bytes queued", |connection, out| connection.enqueue_raw(b"raw", out.pool)),
        ("shared bytes queued", |connection, out| {
            let shared = Bytes::from_static(&[b's'; 16 * 1024]);
            connection
                .send(WSMsgType::Binary, Payload::Shared(&shared), SendOptions::default(), out)
                .unwrap();
        }),
    ];
    for (what, change) in changes {
        let (pool, mut keys) = (RefCell::new(BufferPool::new(1 << 20)), MaskKeys::fixed([0; 4]));
        let mut connection = gathering(&pool);
        change(&mut connection, &mut SendContext { pool: &mut pool.borrow_mut(), keys: &mut keys });
        let before = queued(&connection);
        let gathered = gathers(&mut connection, &pool);
        let after = queued(&connection);
        assert!(after.starts_with(&before), "{what}");
        assert_eq!(gathered, after.len() > before.len(), "{what}");
    }
}

fn queued(connection: &Connection) -> Vec<u8> {
    let mut slices = [std::io::IoSlice::new(&[]); 8];
    let count = connection.io_slices(&mut slices);
    slices[..count].iter().flat_map(|slice| slice.to_vec()).collect()
}

#[test]
fn no_more_is_gathered_than_the_limits_allow() {
    let pool = RefCell::new(BufferPool::new(1 << 20));
    let rules = Rules { max_outbound: 3000, ..Rules::default() };
    let mut connection = Connection::new(Role::Server, Arc::new(rules));
    while connection.gather(text(), &Payload::Borrowed(&[b'x'; 100]), &pool) {}
    assert!(connection.queued() > 1500 && connection.queued() <= 3000, "{}", connection.queued());
    assert!(!connection.gather(text(), &Payload::Borrowed(&[b'x'; 2000]), &pool));
    assert!(connection.queued() <= 3000);
}

#[test]
fn a_client_has_no_short_way_and_control_frames_do_not_go_it() {
    let pool = RefCell::new(BufferPool::new(1 << 20));
    let mut server = gathering(&pool);
    let ping = FirstByte::new(WSMsgType::Ping, SendOptions::default());
    assert!(!server.gather(ping, &Payload::Borrowed(b""), &pool));
    assert!(!server.gather(ping, &Payload::Borrowed(&[0; 200]), &pool));
    let mut client = Connection::new(Role::Client, Arc::new(Rules::default()));
    assert!(!gathers(&mut client, &pool));
}

#[test]
fn open_connections_and_actions_stay_small() {
    // The boxes are there only while there is something to send, to watch or to end.
    assert_eq!(size_of::<Connection>(), size_of::<Receiver>() + 7 * size_of::<usize>());
    assert!(size_of::<Option<Action>>() <= 64);
}
