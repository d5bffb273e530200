//! A peer that ends its half without CLOSE, over plain TCP and over TLS, against tasks.

use std::sync::mpsc::channel;
use std::time::Duration;

use femtows::message::{HandlerError, WebSocket, WebSocketConfig, websocket_factory};
use femtows::{WSLoopConfig, WSServerConfig, ws_create_server};

use crate::support::PATIENCE;
use crate::support::peer::Peer;
use crate::support::running::LoopThread;
use crate::support::wire::{CLOSE, Frame};
use crate::way::Way;

async fn echo(ws: WebSocket) -> Result<(), HandlerError> {
    ws.accept().await?;
    loop {
        ws.send_message(ws.get_message().await?).await?;
    }
}

/// An echo server of tasks, and a client of it.
fn serve_tasks(way: &Way) -> (LoopThread, Peer) {
    let config = way.server(WSServerConfig::default());
    let on = LoopThread::start(WSLoopConfig::default());
    let addr = on.ask(move |handle| {
        let factory = websocket_factory(echo, WebSocketConfig::default());
        ws_create_server(handle, factory, "127.0.0.1:0", config).unwrap().local_addr()
    });
    let peer = way.connect(addr);
    (on, peer)
}

fn texts() -> Vec<Frame> {
    (0..10).map(|number| Frame::text(number.to_string())).collect()
}

fn send_texts(peer: &mut Peer) {
    let bytes: Vec<u8> = texts().iter().flat_map(|text| peer.encode(text)).collect();
    peer.write(&bytes);
}

/// Reads as many frames as were sent, or up to the end of the stream.
fn echoes(peer: &mut Peer) -> Vec<Frame> {
    (0..10).map_while(|_| peer.next_frame()).collect()
}

#[test]
fn ten_texts_and_the_end_of_the_stream_are_ten_echoes() {
    for way in Way::all() {
        let (_on, mut peer) = serve_tasks(&way);
        send_texts(&mut peer);
        peer.shutdown_write();
        assert_eq!(echoes(&mut peer), texts(), "TLS: {}", way.is_secure());
        // The handler has ended: CLOSE, then the end of the stream.
        assert_eq!(peer.read_frame().opcode, CLOSE);
        peer.expect_eof();
    }
}

#[test]
fn an_end_of_tcp_without_close_notify_still_gets_every_echo() {
    for way in Way::all() {
        let (_on, mut peer) = serve_tasks(&way);
        send_texts(&mut peer);
        peer.cut_write();
        assert_eq!(echoes(&mut peer), texts(), "TLS: {}", way.is_secure());
    }
}

/// No task receives: the second message is not even parsed when the reset comes.
#[test]
fn a_reset_is_noticed_behind_a_full_queue() {
    for way in Way::all() {
        let config = way.server(WSServerConfig::default());
        let on = LoopThread::start(WSLoopConfig::default());
        let (told, seen) = channel();
        let addr = on.ask(move |handle| {
            let timers = handle.clone();
            let handler = move |ws: WebSocket| {
                let (timers, told) = (timers.clone(), told.clone());
                async move {
                    ws.accept().await?;
                    while !ws.is_closed() {
                        timers.sleep(Duration::from_millis(10)).await;
                    }
                    let sent = ws.send_text("into the void").await.is_err();
                    told.send((sent, ws.receive_text().await.ok()))?;
                    Ok::<(), HandlerError>(())
                }
            };
            let factory = websocket_factory(handler, WebSocketConfig::default());
            ws_create_server(handle, factory, "127.0.0.1:0", config).unwrap().local_addr()
        });
        let mut peer = way.connect(addr);
        peer.send(&Frame::text("queued"));
        // The answer shows that the message in front of it is in the queue.
        peer.send_and_sync(&[]);
        peer.send(&Frame::text("never parsed"));
        peer.reset();
        let seen = seen.recv_timeout(PATIENCE).expect("the handler sees the end");
        assert_eq!(seen, (true, Some("queued".to_owned())), "TLS: {}", way.is_secure());
    }
}
