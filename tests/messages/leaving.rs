//! Blocks and handlers that are left in the middle, and with errors of the application's own.

use std::error::Error;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use femtows::message::*;
use femtows::testkit::TestKit;
use femtows::{WSLoop, WSLoopConfig};

use crate::ends::*;

#[test]
fn a_block_that_is_left_half_way_closes() {
    for panics in [false, true] {
        let mut kit = TestKit::new(1);
        let (ws, mut peer) = raw_pair(&mut kit, WebSocketConfig::default());
        {
            let mut block = Box::pin(ws.with(async |ws| Ok(ws.get_message().await?)));
            assert!(block.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            if panics {
                let panic = catch_unwind(AssertUnwindSafe(move || {
                    let _held = block;
                    panic!("on purpose");
                }));
                assert!(panic.is_err());
            }
        }
        let code = if panics { 1011 } else { 1000 };
        assert_eq!(ws.close_reason(), Some(reason(code, "")), "though there is a handle");
        kit.run_until_idle();
        assert_eq!(closes(&mut peer), [close_payload(code, "")]);
    }
}

#[test]
fn open_websocket_that_is_left_half_way_closes() {
    let mut event_loop = WSLoop::new(WSLoopConfig::default()).expect("a loop");
    let handle = event_loop.handle();
    let ended = Slot::new();
    let seen = ended.clone();
    let handler = move |ws: WebSocket| {
        let seen = seen.clone();
        async move {
            ws.accept().await?;
            let end = ws.get_message().await;
            seen.put(ws.close_reason());
            end.map(drop)
        }
    };
    let server =
        serve_websocket(&handle, handler, "127.0.0.1:0", WebSocketConfig::default()).expect("a server");
    let url = format!("ws://{}/", server.local_addr());
    let kept = Slot::new();
    let keep = kept.clone();
    let opening = {
        let handle = handle.clone();
        handle.clone().spawn(async move {
            open_websocket_url(&handle, &url, WebSocketConfig::default(), async |ws| {
                keep.put(ws.clone());
                std::future::pending::<()>().await;
            })
            .await
        })
    };
    event_loop
        .block_on(async {
            while kept.0.take().map(|ws| kept.put(ws)).is_none() {
                handle.sleep(SECOND / 100).await;
            }
            opening.cancel().await;
        })
        .expect("the loop");
    let client = kept.take();
    assert_eq!(client.close_reason(), Some(reason(1000, "")));
    event_loop.block_on(client.aclose(1000, "")).expect("the loop").expect("the handler returns");
    assert_eq!(ended.take(), Some(reason(1000, "")));
}

/// An error of an application, around one of the library's.
#[derive(Debug)]
enum Failure {
    /// As its source.
    Source(WebSocketError),
    /// In its place, as `#[error(transparent)]` does.
    Transparent(WebSocketError),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the application's")
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Source(error) => Some(error),
            Self::Transparent(error) => error.source(),
        }
    }
}

#[test]
fn an_error_that_comes_from_the_end_of_the_connection_is_no_failure() {
    for wrap in [Failure::Source, Failure::Transparent] {
        let mut kit = TestKit::new(1);
        let handler = move |ws: WebSocket| async move {
            ws.accept().await?;
            let closed = ConnectionClosed { reason: reason(1001, "") };
            Err::<(), HandlerError>(wrap(closed.into()).into())
        };
        let (client, _) = connect(&mut kit, handler, WebSocketConfig::default()).expect("it accepts");
        assert_eq!(code(kit.block_on(client.get_message())), 1000);

        let ends = pair(&mut kit, WebSocketConfig::default());
        ends.client.close(4000, "").expect("open");
        let block = ends.server.with(async |ws| ws.get_message().await.map_err(|error| wrap(error).into()));
        assert!(matches!(kit.block_on(block), Ok(None)), "it is caught");
    }
    // An error from elsewhere stays one.
    let mut kit = TestKit::new(1);
    let handler = |ws: WebSocket| async move {
        ws.accept().await?;
        Err::<(), HandlerError>(Failure::Source(WebSocketError::DisconnectionTimeout).into())
    };
    let (client, _) = connect(&mut kit, handler, WebSocketConfig::default()).expect("it accepts");
    assert_eq!(code(kit.block_on(client.get_message())), 1011);
}

#[test]
fn handles_outlive_their_loop() {
    let ends = {
        let mut kit = TestKit::new(1);
        let ends = pair(&mut kit, WebSocketConfig::default().message_queue_size(9));
        for ws in [&ends.client, &ends.server] {
            kit.block_on(ws.send_text("goes with the loop")).expect("open");
        }
        kit.run_until_idle();
        ends
    };
    let mut cx = Context::from_waker(Waker::noop());
    for ws in [ends.client, ends.server] {
        let Poll::Ready(received) = pin!(ws.get_message()).poll(&mut cx) else { panic!("it waits") };
        let Poll::Ready(sent) = pin!(ws.send_text("x")).poll(&mut cx) else { panic!("it waits") };
        let Poll::Ready(pinged) = pin!(ws.ping(None)).poll(&mut cx) else { panic!("it waits") };
        let codes = [code(received), code(sent), code(pinged), code(ws.pong(b""))];
        assert_eq!(codes, [1006; 4]);
        let Poll::Ready(closed) = pin!(ws.aclose(1000, "")).poll(&mut cx) else { panic!("it waits") };
        closed.expect("it is closed");
        assert!(ws.local_addr().is_err() && ws.peer_addr().is_err());
    }
}

#[test]
fn a_request_outlives_its_loop() {
    let asked = Slot::new();
    {
        let mut kit = TestKit::new(1);
        let mut peer = raw(&mut kit, ask(&asked), WebSocketConfig::default());
        peer.write(&request("/", ""));
        kit.run_until_idle();
    }
    let request = asked.take();
    assert_eq!(request.close_reason(), Some(reason(1006, "")));
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(accepted) = pin!(request.accept()).poll(&mut cx) else { panic!("it waits") };
    assert_eq!(code(accepted), 1006);
}
