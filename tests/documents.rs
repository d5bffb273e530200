//! What the documents name exists.

use std::fs;
use std::path::Path;

/// The pages with tables of names, and how many rows they have at least.
const PAGES: [(&str, usize); 2] = [("docs/picows.md", 100), ("docs/asyncapi.md", 90)];

/// A table row of such a page: what the other library has, what femtows has, remarks, tests.
struct Row {
    theirs: String,
    femtows: String,
    remarks: String,
    held_by: String,
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rows() -> Vec<Row> {
    PAGES.iter().flat_map(|(page, least)| rows_of(page, *least)).collect()
}

fn rows_of(page: &str, least: usize) -> Vec<Row> {
    let text = fs::read_to_string(repository().join(page)).unwrap();
    let cells = |line: &str| -> Vec<String> { line.split('|').map(|cell| cell.trim().to_owned()).collect() };
    let rows = text.lines().map(cells).filter_map(|cells| match <[String; 6]>::try_from(cells) {
        Ok([_, theirs, femtows, remarks, held_by, _]) if theirs.starts_with('`') => {
            Some(Row { theirs, femtows, remarks, held_by })
        }
        _ => None,
    });
    let rows: Vec<_> = rows.collect();
    assert!(rows.len() > least, "{page}: {} rows: are the tables still tables?", rows.len());
    rows
}

/// What stands between backticks.
fn code_spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn is_test(reference: &str) -> bool {
    let Some((file, name)) = reference.split_once("::") else { return false };
    let Ok(source) = fs::read_to_string(repository().join(file)) else { return false };
    let lines: Vec<&str> = source.lines().map(str::trim_start).collect();
    let head = format!("fn {name}()");
    lines.windows(2).any(|pair| pair[0] == "#[test]" && pair[1].starts_with(&head))
}

#[test]
fn tests_that_the_documents_name_exist() {
    let missing: Vec<_> = rows()
        .iter()
        .flat_map(|row| code_spans(&row.held_by).map(str::to_owned).collect::<Vec<_>>())
        .filter(|reference| !is_test(reference))
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn every_counterpart_is_held_by_a_test_and_every_gap_is_told() {
    for Row { theirs, femtows, remarks, held_by } in rows() {
        if femtows.is_empty() {
            let told = ["missing", "needs no counterpart"].iter().any(|told| remarks.starts_with(told));
            assert!(told && held_by.is_empty(), "{theirs}");
        } else {
            assert!(!held_by.is_empty(), "{theirs}");
        }
    }
}

#[test]
fn names_that_the_documents_give_compile() {
    let compiled = include_str!("documents.rs").split_once("mod names {").expect("the module below").1;
    let words = |text: &str| -> Vec<String> {
        let is_of_a_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        text.split(|c| !is_of_a_path(c)).map(|word| word.trim_matches(':').to_owned()).collect()
    };
    let compiled = words(compiled);
    for row in rows() {
        for name in code_spans(&row.femtows) {
            assert!(compiled.iter().any(|word| word == name), "{name} is not among the names below");
        }
    }
}

/// Every name of a femtows column, in the form that it has there.
#[expect(dead_code, unused_imports, reason = "that it compiles is the test")]
mod names {
    use femtows::{
        WSAutoPingStrategy, WSClose, WSCloseCode, WSCloseHandshake, WSConfigError, WSConnectConfig,
        WSConnectError, WSError, WSFrame, WSHandshakeError, WSHandshakeErrorKind, WSIntoUpgrade,
        WSInvalidUrl, WSListener, WSLoopConfig, WSMessageListener, WSMsgType, WSProtocolError, WSProxy,
        WSRemote, WSRequestHead, WSServeError, WSServerConfig, WSTransport, WSUpgradeRequest,
        WSUpgradeResponse, WSUpgradeResponseWithListener, WSUrl, ws_connect, ws_connect_over,
        ws_connect_with, ws_create_server, ws_create_server_on,
    };

    macro_rules! field {
        ($type:ident :: $field:ident) => {
            let _ = |value: &$type| {
                let _ = &value.$field;
            };
        };
    }

    fn listener(listener: &mut impl WSListener, transport: &WSTransport, frame: &mut WSFrame<'_>) {
        let _ = WSListener::on_ws_connected(listener, transport);
        let _ = WSListener::on_ws_frame(listener, transport, frame);
        WSListener::on_ws_disconnected(listener, transport);
        WSListener::pause_writing(listener, transport);
        WSListener::resume_writing(listener, transport);
        let _ = WSListener::send_user_specific_ping(listener, transport);
        let _ = WSListener::is_user_specific_pong(listener, frame);
    }

    fn frame() {
        let _ = (WSFrame::msg_type, WSFrame::fin, WSFrame::rsv1, WSFrame::rsv2, WSFrame::rsv3);
        let _ = (WSFrame::last_in_buffer, WSFrame::tail_size, WSFrame::payload, WSFrame::payload_mut);
        let _ = (WSFrame::payload_as_utf8, WSFrame::payload_as_ascii);
        let _ = (WSFrame::close_code, WSFrame::close_message);
    }

    fn transport(transport: &WSTransport) {
        WSTransport::send(transport, WSMsgType::Text, "");
        WSTransport::send_frame(transport, WSMsgType::Text, "", femtows::SendOptions::default());
        let _ = WSTransport::send_ping(transport, "");
        let _ = WSTransport::send_pong(transport, "");
        let _ = WSTransport::with_socket(transport, |_| ());
        let _ = (WSTransport::send_reuse_external_buffer, WSTransport::send_buffer);
        let _ = (WSTransport::close, WSTransport::disconnect, WSTransport::abort);
        drop(WSTransport::wait_disconnected(transport));
        drop(WSTransport::measure_roundtrip_time(transport, 1));
        let _ = WSTransport::notify_user_specific_pong_received;
        let _ = (WSTransport::set_write_watermarks, WSTransport::buffered_amount);
        let _ = (WSTransport::local_addr, WSTransport::peer_addr);
        let _ = (WSTransport::request, WSTransport::response, WSTransport::close_handshake);
        let _ = (WSTransport::is_client_side, WSTransport::is_secure);
        let _ = (WSTransport::is_close_frame_sent, WSTransport::is_disconnected);
        field!(WSCloseHandshake::recv);
        field!(WSCloseHandshake::sent);
        field!(WSCloseHandshake::recv_then_sent);
        field!(WSClose::code);
        field!(WSClose::reason);
    }

    fn configuration() {
        let _ = (WSServerConfig::disconnect_on_error, WSConnectConfig::disconnect_on_error);
        let _ = (WSServerConfig::handshake_timeout, WSConnectConfig::handshake_timeout);
        let _ = (WSServerConfig::enable_auto_ping, WSConnectConfig::enable_auto_ping);
        let _ = (WSServerConfig::auto_ping_idle_timeout, WSConnectConfig::auto_ping_idle_timeout);
        let _ = (WSServerConfig::auto_ping_reply_timeout, WSConnectConfig::auto_ping_reply_timeout);
        let _ = (WSServerConfig::auto_ping_strategy, WSConnectConfig::auto_ping_strategy);
        let _ = (WSAutoPingStrategy::PingWhenIdle, WSAutoPingStrategy::PingPeriodically);
        let _ = (WSServerConfig::enable_auto_pong, WSConnectConfig::enable_auto_pong);
        let _ = (WSServerConfig::max_frame_size, WSConnectConfig::max_frame_size);
        let _ = (WSConnectConfig::extra_headers, WSConnectConfig::header, WSConnectConfig::bearer);
        let _ = WSConnectConfig::max_redirects;
        let _ = WSConnectConfig::proxy(WSConnectConfig::default(), WSProxy::parse("socks5://localhost").ok());
        let _ = WSConnectConfig::socket_factory(WSConnectConfig::default(), |_| Ok(None));
        let _ = WSConnectConfig::configure_socket(WSConnectConfig::default(), |_, _| Ok(()));
        let _ = (WSServerConfig::backlog, WSServerConfig::reuse_port, WSServerConfig::ipv6_only);
        let _ = WSLoopConfig::read_buffer_size;
    }

    #[cfg(feature = "tls")]
    fn tls() {
        let _ = (WSConnectConfig::tls, WSConnectConfig::proxy_tls, WSServerConfig::tls);
    }

    fn handshake(response: WSUpgradeResponse, listener: impl WSListener + 'static) {
        let _ = (WSRequestHead::method, WSRequestHead::target);
        let _ = (WSRequestHead::path, WSRequestHead::query);
        let _ = (WSRequestHead::version, WSRequestHead::headers, WSRequestHead::header);
        let _ = (WSUpgradeResponse::version, WSUpgradeResponse::status, WSUpgradeResponse::body);
        let _ = (WSUpgradeResponse::headers, WSUpgradeResponse::get_header);
        let _ = (WSUpgradeResponse::switching_protocols, WSUpgradeResponse::redirect);
        let _ = (WSUpgradeResponse::ok(""), WSUpgradeResponse::error(404, ""));
        drop(WSUpgradeResponseWithListener::new(response, listener));
        let _ = (WSUrl::is_secure, WSUrl::host, WSUrl::port, WSUrl::host_header);
        let _ = (WSUrl::path_and_query, WSUrl::authorization);
    }

    fn error(kind: &WSHandshakeErrorKind) {
        let _ = (WSConnectError::Handshake, WSError::Protocol, WSConfigError::Url);
        field!(WSHandshakeError::raw_header);
        field!(WSHandshakeError::raw_body);
        field!(WSHandshakeError::response);
        field!(WSProtocolError::code);
        field!(WSProtocolError::message);
        field!(WSInvalidUrl::url);
        field!(WSInvalidUrl::reason);
        let _ = (WSHandshakeErrorKind::InvalidMessage, WSHandshakeErrorKind::InvalidStatus);
        let _ = matches!(kind, WSHandshakeErrorKind::InvalidHeader { .. });
        let _ = matches!(kind, WSHandshakeErrorKind::InvalidUpgrade { .. });
    }

    fn enums() {
        let _ = (WSMsgType::from_opcode, WSMsgType::opcode);
        let _ = (WSMsgType::Continuation, WSMsgType::Text, WSMsgType::Binary);
        let _ = (WSMsgType::Close, WSMsgType::Ping, WSMsgType::Pong);
        let _ = (WSCloseCode::NO_INFO, WSCloseCode::OK, WSCloseCode::GOING_AWAY);
        let _ = (WSCloseCode::PROTOCOL_ERROR, WSCloseCode::UNSUPPORTED_DATA);
        let _ = (WSCloseCode::ABNORMAL_CLOSURE, WSCloseCode::INVALID_TEXT);
        let _ = (WSCloseCode::POLICY_VIOLATION, WSCloseCode::MESSAGE_TOO_BIG);
        let _ = (WSCloseCode::MANDATORY_EXTENSION, WSCloseCode::INTERNAL_ERROR);
        let _ = (WSCloseCode::SERVICE_RESTART, WSCloseCode::TRY_AGAIN_LATER, WSCloseCode::BAD_GATEWAY);
    }

    use femtows::message::{
        AcceptOptions, CatchDisconnect, CloseReason, ConnectionClosed, ConnectionRejected, HandlerError,
        MessageType, ReceiveEvent, Routes, SendEvent, SideState, StateError, Value, WebSocket,
        WebSocketConfig, WebSocketError, WebSocketRequest, connect_websocket, connect_websocket_url,
        open_websocket, open_websocket_url, serve_websocket, wrap_client_stream, wrap_server_stream,
    };

    fn websocket(ws: &WebSocket) {
        drop((WebSocket::accept(ws), WebSocket::accept_with(ws, AcceptOptions::new()), WebSocket::reject));
        drop(AcceptOptions::subprotocol(AcceptOptions::new(), ""));
        drop(AcceptOptions::session_id(AcceptOptions::new(), ""));
        drop((WebSocket::get_message(ws), WebSocket::messages(ws), WebSocket::receive_event(ws)));
        drop((WebSocket::receive_text(ws), WebSocket::receive_bytes(ws), WebSocket::receive_value(ws)));
        drop((WebSocket::iter_text(ws), WebSocket::iter_bytes(ws), WebSocket::values(ws)));
        drop((WebSocket::send_message(ws, ""), WebSocket::send_text(ws, ""), WebSocket::send_bytes(ws, "")));
        drop((WebSocket::send_value(ws, ""), WebSocket::send_event));
        drop((WebSocket::ping(ws, None), WebSocket::pong(ws, b"")));
        drop((WebSocket::close(ws, 1000, ""), WebSocket::aclose(ws, 1000, "")));
        drop(WebSocket::with(ws, async |_| Ok::<_, HandlerError>(())));
        let _ = (WebSocket::close_reason, WebSocket::is_closed, WebSocket::is_client, WebSocket::is_server);
        let _ = (WebSocket::client_state, WebSocket::application_state, WebSocket::accepted);
        let _ = (WebSocket::headers, WebSocket::path, WebSocket::url, WebSocket::path_parameter);
        let _ = (WebSocket::proposed_subprotocols, WebSocket::subprotocol, WebSocket::session_id);
        let _ = (WebSocket::local_addr, WebSocket::peer_addr);
        let _ = (WebSocketRequest::accept, WebSocketRequest::accept_with, WebSocketRequest::reject);
    }

    #[cfg(feature = "json")]
    fn json(ws: &WebSocket) {
        use femtows::message::JsonMode;
        let mode: JsonMode = JsonMode::Text;
        drop(WebSocket::receive_json::<i32>(ws, mode));
        drop(WebSocket::iter_json::<i32>(ws, JsonMode::Binary));
        drop(WebSocket::send_json(ws, &0, JsonMode::Text));
    }

    fn messages_configuration() {
        let _ = (WebSocketConfig::message_queue_size, WebSocketConfig::max_message_size);
        let _ = (WebSocketConfig::connect_timeout, WebSocketConfig::disconnect_timeout);
        let _ = (WebSocketConfig::receive_type, WebSocketConfig::send_type, WebSocketConfig::value_type);
        let _ = WebSocketConfig::catch_disconnect(WebSocketConfig::default(), CatchDisconnect::All);
        let _ = (MessageType::Text, WSConnectConfig::subprotocols(WSConnectConfig::default(), [""]));
        let serve = async |_: WebSocket| {};
        let _ = Routes::route(Routes::new(), "/", serve);
        let _ = Routes::route_with(Routes::new(), "/", WebSocketConfig::default(), serve);
        let _ = (Routes::<()>::not_found, WSUpgradeResponse::forbidden);
    }

    fn events(received: &ReceiveEvent, _: &Value) {
        let _ = matches!(received, ReceiveEvent::Connect | ReceiveEvent::Disconnect(_));
        let _ = (ReceiveEvent::Receive, SendEvent::Accept, SendEvent::Send, SendEvent::HttpResponse);
        let _ = SendEvent::Close { code: WSCloseCode::OK, reason: String::new() };
        let _ = (SideState::Connecting, SideState::Connected, SideState::Disconnected);
    }

    fn errors(_: &ConnectionRejected, _: &StateError) {
        field!(CloseReason::code);
        field!(CloseReason::reason);
        field!(ConnectionClosed::reason);
        let _ = CloseReason::name;
        let _ = (WebSocketError::Closed, WebSocketError::State, WebSocketError::Rejected);
        let _ = (WebSocketError::ConnectionTimeout, WebSocketError::DisconnectionTimeout);
        let _ = WebSocketError::Connect;
    }
}
