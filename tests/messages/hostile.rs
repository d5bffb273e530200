//! Handlers and wakers that do what they should not.

use std::cell::RefCell;
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use femtows::message::*;
use femtows::testkit::{Peer, TestKit};
use femtows::{WSMsgType, WSUpgradeResponse};

use crate::ends::*;
use crate::polls::step_back;

/// Where a handler panics.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    Called,
    FirstPoll,
    AfterConnectEvent,
    Accepted,
    AfterAMessage,
    InsideWith,
    WhileAnotherTaskReceives,
    Dropped,
}

const STAGES: [Stage; 8] = [
    Stage::Called,
    Stage::FirstPoll,
    Stage::AfterConnectEvent,
    Stage::Accepted,
    Stage::AfterAMessage,
    Stage::InsideWith,
    Stage::WhileAnotherTaskReceives,
    Stage::Dropped,
];

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("a handler's local");
    }
}

async fn panics_at(stage: Stage, ws: WebSocket, kit: femtows::WSLoopHandle) -> Result<(), HandlerError> {
    assert!(stage != Stage::FirstPoll, "at the first poll");
    if stage == Stage::AfterConnectEvent {
        ws.receive_event().await?;
        step_back().await;
        panic!("after the first event");
    }
    if stage == Stage::InsideWith {
        ws.with(async |_| -> Result<(), HandlerError> { panic!("inside the block") }).await?;
    }
    ws.accept().await?;
    assert!(stage != Stage::Accepted, "after accept");
    if stage == Stage::Dropped {
        let _local = PanicsWhenDropped;
        return Ok(());
    }
    if stage == Stage::WhileAnotherTaskReceives {
        let other = ws.clone();
        kit.spawn(async move { assert_eq!(code(other.get_message().await), 1011) }).detach();
        step_back().await;
        panic!("while another task receives");
    }
    ws.receive_text().await?;
    panic!("after a message");
}

#[test]
fn a_handler_that_panics_ends_its_connection_and_no_other() {
    for stage in STAGES {
        let mut kit = TestKit::new(1);
        let handle = kit.handle();
        let handler = move |ws: WebSocket| {
            assert!(stage != Stage::Called || ws.path() == "/neighbour", "when it is called");
            let handle = handle.clone();
            async move {
                if ws.path() == "/neighbour" {
                    return ws
                        .with(async |ws| Ok(ws.send_text(ws.receive_text().await?).await?))
                        .await
                        .map(drop);
                }
                panics_at(stage, ws, handle).await
            }
        };
        let config = WebSocketConfig::default();
        let factory = websocket_factory(handler, config.clone());
        let server = kit.server(factory, config.server_config());
        let mut neighbour = kit.connect_to(&server);
        neighbour.write(&request("/neighbour", ""));
        let mut peer = kit.connect_to(&server);
        peer.write(&request("/", ""));
        kit.run_until_idle();
        let head = peer.read();
        if [Stage::Called, Stage::FirstPoll, Stage::AfterConnectEvent].contains(&stage) {
            assert!(head.starts_with(b"HTTP/1.1 500 "), "{stage:?}: {}", String::from_utf8_lossy(&head));
        } else {
            let end = head.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
            if stage == Stage::AfterAMessage {
                peer.send_frame(WSMsgType::Text, b"hello");
                kit.run_until_idle();
                assert_eq!(closes(&mut peer), [close_payload(1011, "")]);
            } else {
                let frame = [&[0x88, 2][..], &1011u16.to_be_bytes()].concat();
                assert_eq!(head[end..], frame, "{stage:?}");
            }
            peer.send_frame(WSMsgType::Close, &close_payload(1011, ""));
        }
        neighbour.read();
        neighbour.send_frame(WSMsgType::Text, b"still there");
        kit.run_until_idle();
        assert_eq!(neighbour.frames()[0].payload, b"still there");
        neighbour.send_frame(WSMsgType::Close, &close_payload(1000, ""));
        server.close();
        peer.close();
        neighbour.close();
        kit.advance(61 * SECOND);
        assert_eq!(kit.leftovers(), [""; 0], "{stage:?}");
    }
}

struct Flag(Rc<RefCell<bool>>);

impl Drop for Flag {
    fn drop(&mut self) {
        *self.0.borrow_mut() = true;
    }
}

#[test]
fn a_loop_that_goes_takes_its_handlers_along() {
    for stage in 0..5 {
        let mut kit = TestKit::new(1);
        let dropped = Rc::new(RefCell::new(false));
        let (seen, handle) = (Rc::clone(&dropped), kit.handle());
        let handler = move |ws: WebSocket| {
            let (flag, handle) = (Flag(Rc::clone(&seen)), handle.clone());
            async move {
                let _flag = flag;
                match stage {
                    0 => pending().await,
                    1 => drop(ws.receive_event().await?),
                    _ => ws.accept().await?,
                }
                match stage {
                    2 => drop(ws.get_message().await),
                    3 => handle.sleep(1000 * SECOND).await,
                    _ => pending().await,
                }
                // Whatever it does on its way out.
                let _ = ws.close(1000, "");
                let _ = ws.send_text("too late").await;
                pending::<()>().await;
                Ok::<(), WebSocketError>(())
            }
        };
        let mut peer = raw(&mut kit, handler, WebSocketConfig::default());
        peer.write(&request("/", ""));
        kit.run_until_idle();
        assert!(!*dropped.borrow(), "it waits");
        drop(kit);
        assert!(*dropped.borrow(), "stage {stage}");
    }
}

#[test]
fn a_loop_that_goes_wakes_whoever_holds_its_connections() {
    let mut kit = TestKit::new(1);
    let ends = pair(&mut kit, WebSocketConfig::default());
    let (client, server) = (ends.client.clone(), ends.server.clone());
    drop(kit);
    for ws in [client, server] {
        assert!(ws.is_closed());
        let mut receiving = Box::pin(async { code(ws.receive_text().await) });
        let polled = receiving.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(polled, Poll::Ready(1001 | 1006)), "{polled:?}");
        let mut closing = Box::pin(async { ws.aclose(1000, "").await.is_ok() });
        assert!(closing.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    }
}

#[test]
fn clones_that_outlive_the_handler_find_the_connection_closed() {
    let mut kit = TestKit::new(1);
    let kept = Slot::new();
    let keeper = kept.clone();
    let handler = move |request: WebSocketRequest| {
        let keeper = keeper.clone();
        async move { request.accept().await.map(|ws| keeper.put(ws)) }
    };
    let (client, _) = connect(&mut kit, handler, WebSocketConfig::default()).expect("it accepts");
    assert_eq!(code(kit.block_on(client.receive_text())), 1000);
    let ws: WebSocket = kept.take();
    kit.block_on(async {
        assert_eq!(code(ws.receive_text().await), 1000);
        let refused = ws.send_text("x").await;
        assert!(is_state_error(&refused) && refused.expect_err("refused").is_closed());
        assert!(is_state_error(&ws.ping(None).await));
        ws.aclose(1000, "").await.expect("idempotent");
    });
    kit.run_until_idle();
    assert_eq!(kit.leftovers(), [""; 0]);
}

#[test]
fn of_several_tasks_that_close_one_does() {
    let mut kit = TestKit::new(1);
    let (server, mut peer) = raw_pair(&mut kit, WebSocketConfig::default());
    let log = Log::new();
    for number in 0..3 {
        let (ws, log) = (server.clone(), log.clone());
        kit.handle().spawn(async move { log.add(ws.close(4000 + number, "").is_ok()) }).detach();
        let ws = server.clone();
        kit.handle()
            .spawn(async move { ws.aclose(4100 + number, "").await.expect("the peer answers") })
            .detach();
    }
    kit.run_until_idle();
    assert_eq!(log.take(), [true, false, false]);
    assert_eq!(closes(&mut peer), [close_payload(4000, "")]);
    peer.send_frame(WSMsgType::Close, &close_payload(4000, ""));
    kit.run_until_idle();
    peer.close();
    kit.run_until_idle();
    assert_eq!(kit.leftovers(), [""; 0]);
}

#[test]
fn a_receive_inside_a_loop_over_messages_takes_from_the_same_queue() {
    let mut kit = TestKit::new(1);
    let ends = pair(&mut kit, WebSocketConfig::default());
    let (server, log) = (ends.server.clone(), Log::new());
    let seen = log.clone();
    let task = kit.handle().spawn(async move {
        let mut texts = server.iter_text();
        // Waits before all others, and is not polled while they receive.
        let mut waiting = Box::pin(server.get_message());
        poll_fn(|cx| {
            assert!(waiting.as_mut().poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        while let Some(text) = texts.next().await {
            seen.add(text.expect("a text"));
            if seen.len() == 2 {
                seen.add(server.receive_text().await.expect("open"));
            }
            if seen.len() == 4 {
                seen.add(waiting.as_mut().await.expect("its own").into_text());
                waiting.set(server.get_message());
            }
        }
    });
    kit.run_until_idle();
    kit.block_on(async {
        for number in 0..6 {
            ends.client.send_text(number.to_string()).await.expect("open");
        }
        ends.client.aclose(1000, "").await.expect("the peer answers");
    });
    kit.block_on(task);
    assert_eq!(log.take(), ["1", "2", "3", "4", "0", "5"], "0 was for the one that waited first");
}

/// A waker that holds something, and drops it with itself.
struct Holds(std::sync::Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Wake for Holds {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Holds {
    fn drop(&mut self) {
        let call = self.0.get_mut().expect("nothing panics meanwhile").take();
        call.expect("dropped once")();
    }
}

/// What one thread alone has, where the type of a waker asks for more.
struct OneThread<T>(T);

// SAFETY: these tests have one thread each.
unsafe impl<T> Send for OneThread<T> {}

fn calls_when_dropped(call: impl FnOnce() + 'static) -> Waker {
    let call = OneThread(call);
    Waker::from(Arc::new(Holds(std::sync::Mutex::new(Some(Box::new(move || {
        let OneThread(call) = { call };
        call();
    }))))))
}

struct PanicsWhenWoken;

impl Wake for PanicsWhenWoken {
    fn wake(self: Arc<Self>) {
        panic!("a waker of the application");
    }
}

#[test]
fn a_waker_that_panics_takes_no_wake_up_from_others() {
    let mut kit = TestKit::new(1);
    let (ws, mut peer) = raw_pair(&mut kit, WebSocketConfig::default());
    let panics = Waker::from(Arc::new(PanicsWhenWoken));
    let mut first = Box::pin(ws.get_message());
    assert!(first.as_mut().poll(&mut Context::from_waker(&panics)).is_pending());
    let (log, other) = (Log::new(), ws.clone());
    let seen = log.clone();
    kit.handle().spawn(async move { seen.add(other.get_message().await.is_err()) }).detach();
    kit.run_until_idle();
    peer.close();
    kit.run_until_idle();
    assert_eq!(log.take(), [true], "the second task is told of the end");
}

/// Polls each future with a waker whose end uses the connection in every way; then replaces, wakes and drops that waker.
#[test]
fn a_waker_may_use_the_connection_while_it_is_dropped() {
    type Polled<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;
    fn each(ws: &WebSocket) -> Vec<Polled<'_>> {
        vec![
            Box::pin(async { drop(ws.get_message().await) }),
            Box::pin(async { drop(ws.receive_event().await) }),
            Box::pin(async { drop(ws.iter_text().next().await) }),
            Box::pin(async { drop(ws.ping(None).await) }),
            Box::pin(async { drop(ws.send_text("waits").await) }),
            Box::pin(async { drop(ws.aclose(1000, "").await) }),
        ]
    }
    for end in 0..4 {
        for index in 0..6 {
            let mut kit = TestKit::new(1);
            let tuning = femtows::WSTuning::default().write_watermarks(0, 10);
            let server = femtows::WSServerConfig::default().tuning(tuning);
            let (ws, mut peer) = raw_pair(&mut kit, WebSocketConfig::default().server(server));
            peer.link().to_client().capacity(10).stall();
            kit.block_on(ws.send_text("more than the kernel takes, and more than the watermark"))
                .expect("open");
            kit.run_until_idle();
            let used = Log::new();
            let (log, other) = (used.clone(), ws.clone());
            let use_it = move || {
                let mut receiving = Box::pin(other.get_message());
                let _ = receiving.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                drop(receiving);
                let _ = other.close_reason();
                log.add(());
            };
            let mut future = each(&ws).remove(index);
            let waker = calls_when_dropped(use_it);
            assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            drop(waker);
            match end {
                0 => drop(future.as_mut().poll(&mut Context::from_waker(Waker::noop()))),
                1 => {}
                2 => peer.send_frame(WSMsgType::Text, b"hello"),
                _ => peer.send_frame(WSMsgType::Close, b""),
            }
            kit.run_until_idle();
            drop(future);
            kit.run_until_idle();
            drop(kit);
            assert_eq!(used.len(), 1, "end {end}, future {index}");
        }
    }
}

/// As above, before the connection is open.
#[test]
fn a_waker_may_use_the_request_while_it_is_dropped() {
    for index in 0..2 {
        let mut kit = TestKit::new(1);
        let (request, peer) = asked(&mut kit, "/", "");
        let ws = request.into_websocket();
        kit.block_on(ws.receive_event()).expect("connect");
        let (used, other) = (Log::new(), ws.clone());
        let log = used.clone();
        let waker = calls_when_dropped(move || {
            let _ = other.close_reason();
            log.add(());
        });
        let mut future: Pin<Box<dyn Future<Output = ()> + '_>> = match index {
            0 => Box::pin(async { drop(ws.receive_event().await) }),
            _ => Box::pin(async { drop(ws.accept().await) }),
        };
        assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(waker);
        drop(future);
        kit.run_until_idle();
        assert_eq!(used.len(), 1, "future {index}");
        let _ = ws.reject(WSUpgradeResponse::not_found());
        drop::<Peer>(peer);
    }
}
