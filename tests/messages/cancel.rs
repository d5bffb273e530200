//! Each future dropped at each of its polls: nothing is lost, nothing is torn, and everybody else goes on.

use std::cell::Cell;
use std::rc::Rc;

use femtows::message::*;
use femtows::testkit::TestKit;
use femtows::{WSConnectConfig, WSMsgType, WSServerConfig, WSTuning, WSUpgradeResponse};

use crate::ends::*;
use crate::polls::{Dropped, until};

/// More polls than any of these futures needs.
const POLLS: usize = 4;

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

/// Whichever of the futures `receive` makes is dropped, the messages that it did not give are the next receiver's.
fn receivers(receive: impl AsyncFn(&WebSocket) -> String + Clone + 'static) {
    for queue in [0, 1, 2, 16] {
        for dropped in Dropped::within(POLLS) {
            // The one that is dropped waits before or behind another one.
            for is_first in [true, false] {
                let mut kit = TestKit::new(1);
                let ends = pair(&mut kit, WebSocketConfig::default().message_queue_size(queue));
                let got = Log::new();
                let victim = |log: &Log| {
                    let (log, ws, receive) = (log.clone(), ends.server.clone(), receive.clone());
                    kit.handle().spawn(async move {
                        if let Some(text) = until(dropped, receive(&ws)).await {
                            log.add(text);
                        }
                    })
                };
                let other = |log: &Log| {
                    let (log, ws) = (log.clone(), ends.server.clone());
                    kit.handle().spawn(async move {
                        while let Ok(text) = ws.receive_text().await {
                            log.add(text);
                        }
                    })
                };
                let (victim, other) = if is_first {
                    let victim = victim(&got);
                    (victim, other(&got))
                } else {
                    let other = other(&got);
                    (victim(&got), other)
                };
                kit.run_until_idle();
                kit.block_on(async {
                    for text in numbers(6) {
                        ends.client.send_text(text).await.expect("open");
                    }
                });
                kit.run_until_idle();
                // What was meant for the victim may come late.
                let mut got = got.take();
                got.sort_unstable();
                assert_eq!(got, numbers(6), "queue {queue}, {dropped:?}, first: {is_first}");
                kit.block_on(ends.client.aclose(1000, "")).expect("the peer answers");
                kit.block_on(victim);
                kit.block_on(other);
                assert_eq!(kit.leftovers(), [""; 0]);
            }
        }
    }
}

#[test]
fn get_message_dropped_at_each_poll_loses_nothing() {
    receivers(async |ws| ws.get_message().await.expect("open").into_text());
}

#[test]
fn recv_with_info_dropped_at_each_poll_loses_nothing() {
    receivers(async |ws| ws.recv_with_info().await.expect("no error").expect("open").0.into_text());
}

#[test]
fn receive_text_dropped_at_each_poll_loses_nothing() {
    receivers(async |ws| ws.receive_text().await.expect("open"));
}

#[test]
fn receive_json_dropped_at_each_poll_loses_nothing() {
    receivers(async |ws| ws.receive_json::<u32>(JsonMode::Text).await.expect("open").to_string());
}

#[test]
fn receive_event_dropped_at_each_poll_loses_nothing() {
    receivers(async |ws| match ws.receive_event().await.expect("open") {
        ReceiveEvent::Receive(message) => message.into_text(),
        other => panic!("{other:?}"),
    });
}

#[test]
fn next_of_an_iterator_dropped_at_each_poll_loses_nothing() {
    receivers(async |ws| ws.iter_text().next().await.expect("open").expect("a text"));
}

#[test]
fn a_stream_polled_and_dropped_loses_nothing() {
    receivers(async |ws| {
        let mut stream = ws.clone();
        let next =
            std::future::poll_fn(|cx| futures_core::Stream::poll_next(std::pin::Pin::new(&mut stream), cx));
        next.await.expect("it never ends").expect("open").into_text()
    });
}

/// Both ends, of which the server's can send nothing further without waiting; and what it has sent.
fn blocked(kit: &mut TestKit) -> (Pair, Vec<String>) {
    let tuning = WSTuning::default().write_watermarks(0, 1000);
    let server = WebSocketConfig::default().server(WSServerConfig::default().tuning(tuning));
    let ends = pair_with(kit, server, WebSocketConfig::default().message_queue_size(100));
    ends.link.to_client().capacity(100).stall();
    let mut sent = Vec::new();
    while ends.server.transport().expect("open").buffered_amount() <= 1000 {
        let text = format!("{} of the messages that fill the queue", sent.len());
        kit.block_on(ends.server.send_text(&text)).expect("open");
        sent.push(text);
        kit.run_until_idle();
    }
    (ends, sent)
}

/// Whichever of the futures `send` makes is dropped, all others send, and it has sent all or nothing.
fn senders(send: impl AsyncFn(&WebSocket, String) -> Result<(), WebSocketError> + Clone + 'static) {
    for dropped in Dropped::within(POLLS) {
        for victim in 0..4 {
            let mut kit = TestKit::new(1);
            let (ends, mut expected) = blocked(&mut kit);
            let mut tasks = Vec::new();
            let victim_has_sent = Rc::new(Cell::new(false));
            for number in 0..4 {
                let (ws, send, has_sent) = (ends.server.clone(), send.clone(), Rc::clone(&victim_has_sent));
                let text = number.to_string();
                tasks.push(kit.handle().spawn(async move {
                    if number == victim {
                        let result = until(dropped, send(&ws, text)).await;
                        has_sent.set(result.is_some_and(|result| result.is_ok()));
                    } else {
                        send(&ws, text).await.expect("open");
                    }
                }));
            }
            kit.run_until_idle();
            assert!(tasks.iter().filter(|task| task.is_finished()).count() <= 1, "they wait");
            ends.link.to_client().unstall();
            for task in tasks {
                kit.block_on(task);
            }
            kit.run_until_idle();
            expected.extend((0..4).filter(|&n| n != victim || victim_has_sent.get()).map(|n| n.to_string()));
            let got = kit.block_on(async {
                ends.server.close(1000, "").expect("open");
                let mut got = Vec::new();
                while let Ok(text) = ends.client.receive_text().await {
                    got.push(text);
                }
                got
            });
            assert_eq!(got, expected, "{dropped:?}, the {victim}th");
        }
    }
}

#[test]
fn send_message_dropped_at_each_poll_sends_all_or_nothing() {
    senders(async |ws, text| ws.send_message(text).await);
}

#[test]
fn send_json_dropped_at_each_poll_sends_all_or_nothing() {
    senders(async |ws, text| ws.send_json(&text.parse::<u32>().expect("a number"), JsonMode::Text).await);
}

#[test]
fn send_event_dropped_at_each_poll_sends_all_or_nothing() {
    senders(async |ws, text| ws.send_event(SendEvent::Send(text.into())).await);
}

#[test]
fn send_of_a_value_dropped_at_each_poll_sends_all_or_nothing() {
    senders(async |ws, text| ws.send(text).await);
}

#[test]
fn a_sink_dropped_at_each_poll_sends_all_or_nothing() {
    use futures_sink::Sink;
    senders(async |ws, text| {
        let mut sink = ws.clone();
        std::future::poll_fn(|cx| std::pin::Pin::new(&mut sink).poll_ready(cx)).await?;
        std::pin::Pin::new(&mut sink).start_send(text.into())
    });
}

#[test]
fn ping_dropped_at_each_poll_forgets_its_payload_and_wakes_the_others() {
    for dropped in Dropped::within(POLLS) {
        let mut kit = TestKit::new(1);
        let (client, mut peer) = raw_client(&mut kit, WebSocketConfig::default());
        let ping = |payload: &'static [u8]| {
            let client = client.clone();
            async move { client.ping(payload).await.map(drop) }
        };
        let first = kit.handle().spawn(ping(b"first"));
        let victim = kit.handle().spawn(until(dropped, ping(b"victim")));
        let last = kit.handle().spawn(ping(b"last"));
        kit.run_until_idle();
        for frame in peer.frames() {
            peer.send_frame(WSMsgType::Pong, &frame.payload);
            kit.run_until_idle();
        }
        kit.block_on(first).expect("answered");
        let result = kit.block_on(victim);
        kit.block_on(last).expect("answered");
        let again = kit.handle().spawn(ping(b"victim"));
        kit.run_until_idle();
        peer.send_frame(WSMsgType::Pong, b"victim");
        kit.block_on(again).unwrap_or_else(|error| panic!("{dropped:?}, {result:?}: {error}"));
    }
}

#[test]
fn aclose_dropped_at_each_poll_still_closes() {
    for dropped in Dropped::within(POLLS) {
        let mut kit = TestKit::new(1);
        let (server, mut peer) = raw_pair(&mut kit, WebSocketConfig::default().disconnect_timeout(SECOND));
        let waiting = server.clone();
        let receiver = kit.handle().spawn(async move { code(waiting.get_message().await) });
        let closing = server.clone();
        let victim =
            kit.handle().spawn(async move { until(dropped, closing.aclose(4000, "bye")).await.is_some() });
        kit.run_until_idle();
        let was_polled = !matches!(dropped, Dropped::After(0) | Dropped::WokenAfter(0));
        assert_eq!(closes(&mut peer), vec![close_payload(4000, "bye"); usize::from(was_polled)]);
        if !was_polled {
            server.close(4000, "bye").expect("nothing has happened");
        }
        assert_eq!(kit.block_on(receiver), 4000);
        kit.advance(4 * SECOND);
        assert!(peer.is_ended(), "{dropped:?}");
        assert!(victim.is_finished());
        peer.close();
        kit.run_until_idle();
        assert_eq!(kit.leftovers(), [""; 0], "{dropped:?}");
    }
}

#[test]
fn accept_dropped_at_each_poll_leaves_a_whole_connection_or_none() {
    for dropped in Dropped::within(POLLS) {
        let mut kit = TestKit::new(1);
        let (request, mut peer) = asked(&mut kit, "/", "");
        let ws = request.into_websocket();
        let accepting = ws.clone();
        let victim = kit.handle().spawn(async move {
            if let Some(result) = until(dropped, accepting.accept()).await {
                result.expect("it waits");
            }
        });
        kit.run_until_idle();
        assert!(victim.is_finished());
        if ws.application_state() == SideState::Connecting {
            assert!(peer.read().is_empty());
            kit.block_on(ws.accept()).expect("nothing has happened");
        }
        assert!(peer.read().starts_with(b"HTTP/1.1 101 "), "{dropped:?}");
        peer.send_frame(WSMsgType::Text, b"hello");
        assert_eq!(kit.block_on(ws.receive_text()).expect("open"), "hello");
        peer.close();
        assert_eq!(code(kit.block_on(ws.receive_text())), 1006);
        // The peer may have ended only its half, and the handler has not ended.
        ws.close(1000, "").expect("this end has not closed");
        kit.run_until_idle();
        assert_eq!(kit.leftovers(), [""; 0], "{dropped:?}");
    }
}

#[test]
fn the_first_events_dropped_at_each_poll_leave_the_request_to_the_next() {
    for dropped in Dropped::within(POLLS) {
        let mut kit = TestKit::new(1);
        let (request, mut peer) = asked(&mut kit, "/", "");
        let ws = request.into_websocket();
        assert_eq!(kit.block_on(ws.receive_event()).expect("first"), ReceiveEvent::Connect);
        let waiting = ws.clone();
        let victim = kit.handle().spawn(async move { until(dropped, waiting.receive_event()).await });
        let accepting = ws.clone();
        let accept = SendEvent::Accept(AcceptOptions::new());
        let accepted = kit.handle().spawn(async move { until(dropped, accepting.send_event(accept)).await });
        kit.run_until_idle();
        assert!(accepted.is_finished());
        if ws.application_state() == SideState::Connecting {
            kit.block_on(ws.accept()).expect("nothing has happened");
        }
        assert!(peer.read().starts_with(b"HTTP/1.1 101 "), "{dropped:?}");
        peer.send_frame(WSMsgType::Text, b"one");
        kit.run_until_idle();
        let first = if victim.is_finished() { kit.block_on(victim) } else { None };
        let first = first.unwrap_or_else(|| kit.block_on(ws.receive_event()));
        assert_eq!(first.expect("open"), ReceiveEvent::Receive("one".into()), "{dropped:?}");
    }
}

#[test]
fn with_dropped_at_each_poll_leaves_the_rest_to_the_handler() {
    for dropped in Dropped::within(POLLS) {
        let mut kit = TestKit::new(1);
        let ended = Slot::new();
        let seen = ended.clone();
        let handler = move |ws: WebSocket| {
            let seen = seen.clone();
            async move {
                let body = ws.with(async |ws| -> Result<(), HandlerError> {
                    loop {
                        let text = ws.receive_text().await?;
                        ws.send_text(text).await?;
                    }
                });
                seen.put(until(dropped, body).await.is_some());
            }
        };
        let mut peer = raw(&mut kit, handler, WebSocketConfig::default());
        peer.write(&request("/", ""));
        kit.run_until_idle();
        let head = peer.read();
        if head.starts_with(b"HTTP/1.1 101 ") {
            peer.send_frame(WSMsgType::Text, b"hello");
            kit.run_until_idle();
            peer.send_frame(WSMsgType::Close, &close_payload(1000, ""));
            kit.run_until_idle();
        } else {
            assert!(head.starts_with(b"HTTP/1.1 403 "), "{dropped:?}: {}", String::from_utf8_lossy(&head));
        }
        ended.take();
        peer.close();
        kit.run_until_idle();
        assert_eq!(kit.leftovers(), [""; 0], "{dropped:?}");
    }
}

#[test]
fn a_client_dropped_at_each_turn_of_its_opening_leaves_nothing() {
    for turns in 0..40 {
        let mut kit = TestKit::new(turns);
        let config = WebSocketConfig::default();
        let handler = |ws: WebSocket| async move {
            ws.accept().await?;
            ws.get_message().await.map(drop)
        };
        let (listener, pending) = websocket_listener(&kit.handle(), config.clone());
        let factory = websocket_factory(handler, config.clone());
        let opening =
            kit.opening(factory, |_, _| listener, config.server_config(), WSConnectConfig::default());
        opening.link.to_client().capacity(20).max_read(20);
        for _ in 0..turns {
            kit.turn();
        }
        // What `connect_websocket_url` holds while it waits.
        drop(pending);
        kit.handle().spawn(opening.client.cancel()).detach();
        kit.advance(61 * SECOND);
        assert_eq!(kit.leftovers(), [""; 0], "after {turns} turns");
        assert_eq!(kit.handle().slots(), 0, "after {turns} turns");
    }
}

#[test]
fn what_is_left_to_accept_is_refused_when_it_is_dropped() {
    let mut kit = TestKit::new(1);
    let (request, mut peer) = asked(&mut kit, "/", "");
    let other = request.into_websocket();
    kit.block_on(async {
        let refused = other.accept_with(AcceptOptions::new().subprotocol("chat")).await;
        assert!(is_state_error(&refused), "it was not offered");
    });
    other.reject(WSUpgradeResponse::not_found()).expect("nothing was decided");
    kit.run_until_idle();
    assert!(peer.read().starts_with(b"HTTP/1.1 404 "));
}
