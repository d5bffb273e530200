//! Ways to a `WebSocket`, and what it knows of itself.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use femtows::message::*;
use femtows::{
    WSCloseCode, WSConnectConfig, WSFrame, WSListener, WSLoop, WSLoopConfig, WSLoopHandle, WSMsgType,
    WSResult, WSServerConfig, WSSocket, WSTransport, WSUpgradeRequest, WSUpgradeResponse, ws_connect,
    ws_create_server,
};

use crate::support::peer::{PeerServer, header, switching};
use crate::support::wire::Frame;

const PATIENCE: Duration = Duration::from_secs(30);

/// Runs this on a loop of its own.
fn run<T>(body: impl AsyncFnOnce(WSLoopHandle) -> T) -> T {
    let mut event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
    let handle = event_loop.handle();
    event_loop.block_on(handle.timeout(PATIENCE, body(handle.clone()))).unwrap().unwrap()
}

async fn echo(request: WebSocketRequest) -> Result<(), HandlerError> {
    let ws = request.accept().await?;
    loop {
        ws.send_message(ws.get_message().await?).await?;
    }
}

async fn comes_back(ws: &WebSocket) -> Result<bool, WebSocketError> {
    ws.send_message("Hello").await?;
    Ok(ws.get_message().await? == Message::from("Hello"))
}

#[test]
fn open_websocket_closes_with_1000_behind_its_body() {
    run(async |handle| {
        let server = serve_websocket(&handle, echo, "127.0.0.1:0", WebSocketConfig::default()).unwrap();
        let (url, port) = (format!("ws://{}/", server.local_addr()), server.local_addr().port());
        let config = WebSocketConfig::default;
        let body = async |ws: WebSocket| (comes_back(&ws).await.unwrap(), ws);
        let by_url = open_websocket_url(&handle, &url, config(), body).await.unwrap();
        let in_parts = open_websocket(&handle, "127.0.0.1", port, "", config(), body).await.unwrap();
        for (came_back, ws) in [by_url, in_parts] {
            assert!(came_back);
            assert_eq!(ws.close_reason(), Some(CloseReason::new(WSCloseCode::OK, "")));
            ws.transport().unwrap().wait_disconnected().await.unwrap();
        }
    });
}

/// So many that the loop looks ahead, and some of which are gone when it does.
#[test]
fn hundreds_of_tasks_that_are_ready_at_once_are_all_served() {
    run(async |handle| {
        let server = serve_websocket(&handle, echo, "127.0.0.1:0", WebSocketConfig::default()).unwrap();
        let url = format!("ws://{}/", server.local_addr());
        let mut clients = Vec::new();
        for _ in 0..301 {
            clients.push(connect_websocket_url(&handle, &url, WebSocketConfig::default()).await.unwrap());
        }
        for (n, ws) in clients.iter().enumerate() {
            ws.send_message(format!("{n}")).await.unwrap();
            if n % 7 == 3 {
                ws.transport().unwrap().abort();
            }
        }
        for (n, ws) in clients.iter().enumerate() {
            let answer = ws.get_message().await;
            if n % 7 == 3 {
                assert!(answer.is_err(), "{n} has left");
            } else {
                assert_eq!(answer.unwrap(), Message::from(format!("{n}")));
            }
        }
    });
}

#[test]
fn connect_websocket_leaves_the_end_to_the_caller() {
    run(async |handle| {
        let server = serve_websocket(&handle, echo, "127.0.0.1:0", WebSocketConfig::default()).unwrap();
        let port = server.local_addr().port();
        let ws = connect_websocket(&handle, "127.0.0.1", port, "a?b", WebSocketConfig::default());
        let ws = ws.await.unwrap();
        assert!(comes_back(&ws).await.unwrap());
        assert_eq!(ws.url(), format!("ws://127.0.0.1:{port}/a?b"));
        assert_eq!(ws.path(), "/a");
        assert!(!ws.is_closed());
        ws.aclose(1000, "").await.unwrap();
        assert!(ws.is_closed());
    });
}

#[test]
fn aclose_of_a_client_succeeds_though_the_server_leaves_tcp_open() {
    let server = PeerServer::bind();
    let url = server.url("/");
    let (done, may_end) = channel();
    let serving = thread::spawn(move || {
        let mut peer = server.accept();
        assert_eq!(peer.read_frame(), Frame::close(1000, ""));
        peer.send(&Frame::close(1000, ""));
        // Until then TCP stays open.
        may_end.recv_timeout(PATIENCE).unwrap();
    });
    run(async |handle| {
        let config = WebSocketConfig::default().disconnect_timeout(Duration::from_secs(5));
        let ws = connect_websocket_url(&handle, &url, config).await.unwrap();
        ws.aclose(1000, "").await.unwrap();
        done.send(()).unwrap();
    });
    serving.join().unwrap();
}

/// As case 4.2.3 of the Autobahn suite, with all that the server sends in one piece.
#[test]
fn message_that_comes_with_the_response_is_answered_before_a_fault_behind_it() {
    let server = PeerServer::bind();
    let url = server.url("/");
    let serving = thread::spawn(move || {
        let mut peer = server.accept_tcp();
        let request = peer.read_head();
        let mut bytes = switching(&header(&request, "Sec-WebSocket-Key").unwrap(), "").into_bytes();
        bytes.extend(peer.encode(&Frame::text("Hello")));
        // A reserved control frame, opcode 13: a full queue does not hold it.
        bytes.extend([0x8d, 0]);
        peer.write(&bytes);
        peer.read_frame()
    });
    run(async |handle| {
        let connecting = handle.clone();
        let echo = handle.spawn(async move {
            let ws = connect_websocket_url(&connecting, &url, WebSocketConfig::default()).await.unwrap();
            while let Ok(message) = ws.get_message().await {
                let _ = ws.send_message(message).await;
            }
        });
        echo.await;
    });
    assert_eq!(serving.join().unwrap(), Frame::text("Hello"));
}

#[test]
fn streams_that_are_there_already_are_wrapped() {
    run(async |handle| {
        let (client, server) = WSSocket::pair().unwrap();
        let accepting = handle.spawn({
            let handle = handle.clone();
            async move {
                let request = wrap_server_stream(&handle, server, WebSocketConfig::default()).await.unwrap();
                assert_eq!(request.path(), "/wrapped");
                request.accept().await.unwrap()
            }
        });
        let url = "ws://localhost/wrapped";
        let client = wrap_client_stream(&handle, client, url, WebSocketConfig::default()).await.unwrap();
        let server = accepting.await;
        server.send_text("Hello").await.unwrap();
        assert_eq!(client.receive_text().await.unwrap(), "Hello");
    });
}

#[test]
fn a_wrapped_stream_may_be_rejected() {
    run(async |handle| {
        let (client, server) = WSSocket::pair().unwrap();
        let rejecting = handle.spawn({
            let handle = handle.clone();
            async move {
                let request = wrap_server_stream(&handle, server, WebSocketConfig::default()).await.unwrap();
                request.reject(WSUpgradeResponse::error(418, "no").unwrap()).unwrap();
            }
        });
        let client = wrap_client_stream(&handle, client, "ws://localhost/", WebSocketConfig::default()).await;
        assert!(matches!(client, Err(WebSocketError::Rejected(refused)) if refused.status == 418));
        rejecting.await;
    });
}

#[test]
fn both_ends_know_who_and_where_they_are() {
    run(async |handle| {
        let server_end = Rc::new(Cell::new(None));
        let keep = Rc::clone(&server_end);
        let handler = move |ws: WebSocket| {
            let keep = Rc::clone(&keep);
            async move {
                assert_eq!(ws.path_parameter("room"), Some("a b"));
                assert_eq!(ws.query_parameter("name").as_deref(), Some("\u{fc} x"));
                assert_eq!(ws.query_parameters().len(), 2);
                ws.accept().await?;
                keep.set(Some(ws.clone()));
                Err::<(), _>(ws.get_message().await.unwrap_err())
            }
        };
        let routes = Routes::new().route("/in/{room}", handler);
        let server = serve_websocket(&handle, routes, "127.0.0.1:0", WebSocketConfig::default()).unwrap();
        let url = format!("ws://{}/in/a%20b?name=%C3%BC+x&n=1", server.local_addr());
        let client = connect_websocket_url(&handle, &url, WebSocketConfig::default()).await.unwrap();
        client.ping(None).await.unwrap();
        let server = server_end.take().unwrap();
        assert!(client.is_client() && !client.is_server() && client.accepted());
        assert!(server.is_server() && !server.is_client() && server.accepted());
        assert_eq!(client.local_addr().unwrap(), server.peer_addr().unwrap());
        assert_eq!(client.peer_addr().unwrap(), server.local_addr().unwrap());
        assert_eq!([client.url(), server.url()], [url.clone(), url]);
    });
}

#[test]
fn a_pong_is_sent_unasked() {
    /// Tells what PONG it got.
    struct Ear;
    impl WSListener for Ear {
        fn on_ws_frame(&mut self, transport: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
            if frame.msg_type() == WSMsgType::Pong {
                transport.send(WSMsgType::Binary, frame.payload());
            }
            Ok(())
        }
    }
    run(async |handle| {
        let factory = |_: &WSUpgradeRequest| Ear;
        let server = ws_create_server(&handle, factory, "127.0.0.1:0", WSServerConfig::default()).unwrap();
        let url = format!("ws://{}/", server.local_addr());
        let ws = connect_websocket_url(&handle, &url, WebSocketConfig::default()).await.unwrap();
        ws.pong(b"alive").unwrap();
        assert_eq!(ws.receive_bytes().await.unwrap(), &b"alive"[..]);
        assert!(matches!(ws.pong(&[0; 126]), Err(WebSocketError::TooBig { size: 126, limit: 125 })));
    });
}

struct Deaf;

impl WSListener for Deaf {
    fn on_ws_frame(&mut self, _: &WSTransport, _: &mut WSFrame<'_>) -> WSResult {
        Ok(())
    }
}

#[test]
fn request_knows_its_addresses_as_long_as_there_is_a_connection() {
    run(async |handle| {
        let asked = Rc::new(Cell::new(None));
        let keep = Rc::clone(&asked);
        let factory = move |request: &WSUpgradeRequest| {
            keep.set(Some((request.clone(), request.peer_addr().unwrap(), request.local_addr().unwrap())));
            Deaf
        };
        let config = WSServerConfig::default();
        let server = ws_create_server(&handle, factory, "127.0.0.1:0", config).unwrap();
        let url = format!("ws://{}/", server.local_addr());
        let client = ws_connect(&handle, Deaf, &url, WSConnectConfig::default()).await.unwrap();
        let (request, peer, local) = asked.take().unwrap();
        assert_eq!((peer, local), (client.local_addr().unwrap(), client.peer_addr().unwrap()));
        let open = (request.peer_addr().unwrap(), request.local_addr().unwrap());
        assert_eq!(open, (peer, local), "when it is open");
        client.abort();
        while server.connections() > 0 {
            request.handle().sleep(Duration::from_millis(1)).await;
        }
        let kinds = [request.peer_addr(), request.local_addr()].map(|addr| addr.unwrap_err().kind());
        assert_eq!(kinds, [std::io::ErrorKind::NotConnected; 2]);
    });
}

#[test]
fn websocket_knows_its_addresses_before_accept() {
    run(async |handle| {
        let seen = Rc::new(Cell::new(None));
        let keep = Rc::clone(&seen);
        let handler = move |request: WebSocketRequest| {
            let keep = Rc::clone(&keep);
            async move {
                let before = (request.peer_addr()?, request.local_addr()?);
                let ws = request.accept().await?;
                keep.set(Some((before, (ws.peer_addr()?, ws.local_addr()?))));
                ws.get_message().await?;
                Ok::<_, HandlerError>(())
            }
        };
        let server = serve_websocket(&handle, handler, "127.0.0.1:0", WebSocketConfig::default()).unwrap();
        let url = format!("ws://{}/", server.local_addr());
        let client = connect_websocket_url(&handle, &url, WebSocketConfig::default()).await.unwrap();
        client.ping(None).await.unwrap();
        let (before, after) = seen.take().unwrap();
        assert_eq!(before, (client.local_addr().unwrap(), client.peer_addr().unwrap()));
        assert_eq!(after, before);
        let request = client.request().unwrap();
        assert_eq!(request.peer_addr().unwrap(), client.peer_addr().unwrap(), "at a client");
    });
}
