//! femtows: a WebSocket client and server library (RFC 6455) for people whose product is latency.
//!
//! Callbacks on borrowed frames, one single-threaded readiness loop per core, sends that never block.
//!
//! ```no_run
//! use femtows::*;
//!
//! struct Echo;
//!
//! impl WSMessageListener for Echo {
//!     fn on_ws_message(&mut self, transport: &WSTransport, message: WSMessage<'_>) -> WSResult {
//!         transport.send(message.msg_type(), message);
//!         Ok(())
//!     }
//! }
//!
//! fn main() -> Result<(), WSError> {
//!     let mut event_loop = WSLoop::new(WSLoopConfig::default())?;
//!     let config = WSServerConfig::default().pause_reading_on_backlog(true);
//!     let factory = |_: &WSUpgradeRequest| WSMessageAdapter::new(Echo);
//!     ws_create_server(&event_loop.handle(), factory, "127.0.0.1:9001", config)?;
//!     event_loop.run()
//! }
//! ```
//!
//! | to | use |
//! |---|---|
//! | run things | [`run`], [`WSLoop`], [`WSLoopHandle`] (same thread), [`WSLoopRemote`] (other threads) |
//! | serve | [`ws_create_server`], [`ws_create_server_on`], [`WSServer::take_over`], [`WSServerConfig`], [`Routes`], [`WSIntoUpgrade`], [`WSDeferredUpgrade`] |
//! | serve on many cores | [`ws_serve_per_core`], [`WSServerThreads`] |
//! | connect | [`ws_connect`], [`ws_connect_over`], [`ws_take_over`], [`WSConnectConfig`], [`WSConnectError`], [`WSProxy`], [`WSConnectReport`], [`WSReconnect`] |
//! | receive | [`WSMessageListener`] on messages, [`WSListener`] on frames |
//! | send | [`WSTransport`] (same thread), [`WSRemote`] (other threads), [`WSBuffer`], [`WSPreparedMessage`], [`WSPreparedFrame`] |
//! | drive the protocol yourself | [`proto`], [`handshake`], [`mask`], [`buf`] |
//! | compress messages | feature `deflate`: `WSDeflateConfig` in the configuration |
//! | know more: threads, lifetimes, latency, back-pressure, defaults | the guide, [`manual`] |

#[macro_use]
mod sys;

pub mod buf;
pub mod client;
mod connection;
#[cfg(feature = "deflate")]
pub mod deflate;
pub mod handshake;
pub mod manual;
pub mod mask;
mod messages;
mod net;
pub mod proto;
mod runtime;
pub mod server;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
#[cfg(feature = "tls")]
pub mod tls;
mod websocket;

pub mod message {
    //! Messages in place of frames: for callbacks, and for tasks.
    //!
    //! # Callbacks
    //! [`WSMessageListener`] is [`WSListener`](crate::WSListener) on whole messages.
    //!
    //! # Tasks
    //! A [`WebSocket`] is what the tasks of the loop receive from and send to. A server is [`serve_websocket`] with one `async fn` per
    //! connection; a client is [`open_websocket_url`] or [`connect_websocket_url`]. The tasks run on the loop's own thread, woken tasks are
    //! polled before what the dispatch has gathered is sent: an answer leaves in the same system call as that of a callback.
    //!
    //! ```
    //! use femtows::message::{HandlerError, Message, WebSocketConfig, WebSocketRequest, open_websocket_url, serve_websocket};
    //!
    //! async fn echo(request: WebSocketRequest) -> Result<(), HandlerError> {
    //!     let ws = request.accept().await?;
    //!     while let Some(message) = ws.recv().await? {
    //!         ws.send(message).await?;
    //!     }
    //!     Ok(())
    //! }
    //!
    //! femtows::run(async |handle| {
    //!     let server = serve_websocket(&handle, echo, "127.0.0.1:0", WebSocketConfig::default())?;
    //!     let url = format!("ws://{}/", server.local_addr());
    //!     let answer = open_websocket_url(&handle, &url, WebSocketConfig::default(), async |ws| {
    //!         ws.send_text("Hello").await?;
    //!         ws.recv().await
    //!     })
    //!     .await??;
    //!     assert_eq!(answer, Some(Message::from("Hello")));
    //!     Ok::<(), Box<dyn std::error::Error>>(())
    //! })?;
    //! # Ok::<(), Box<dyn std::error::Error>>(())
    //! ```

    pub use crate::messages::{Message, MessageInfo, WSMessage, WSMessageAdapter, WSMessageListener};
    pub use crate::proto::WSPreparedMessage;
    pub use crate::websocket::{
        AcceptOptions, CatchDisconnect, CloseReason, ConnectionClosed, ConnectionRejected, GetMessage,
        Handler, HandlerError, IntoHandlerResult, IntoRoutes, InvalidMessageType, IterBytes, IterText,
        MessageType, Messages, PendingWebSocket, Ping, PingPayload, ReceiveEvent, Recv, Routes, SendEvent,
        Sending, SideState, StateError, Value, Values, WebSocket, WebSocketConfig, WebSocketError,
        WebSocketFactory, WebSocketReceiver, WebSocketRequest, WebSocketSender, connect_websocket,
        connect_websocket_url, open_websocket, open_websocket_url, serve_websocket, websocket_factory,
        websocket_listener, wrap_client_stream, wrap_server_stream,
    };
    #[cfg(feature = "json")]
    pub use crate::websocket::{IterJson, JsonMode};
}

/// The examples of README.md compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;

/// The rustls of this build, for those who bring their own configuration.
#[cfg(feature = "tls")]
pub use rustls;

pub use buf::{WS_HEADROOM, WSBuffer};
pub use client::{
    WSBackoff, WSConnectConfig, WSConnectError, WSReconnect, WSRetry, ws_connect, ws_connect_over,
    ws_connect_with, ws_take_over,
};
pub use connection::{
    WSAttemptOutcome, WSConfigError, WSConnectAttempt, WSConnectReport, WSDropped, WSLimits, WSListener,
    WSMessageOptions, WSRemote, WSResult, WSSendStatus, WSTransport, WSTuning, WSUpgraded, WSWriteStrategy,
};
#[cfg(feature = "deflate")]
pub use deflate::WSDeflateConfig;
pub use handshake::{
    WSHandshakeError, WSHandshakeErrorKind, WSHeaders, WSInvalidHeader, WSInvalidProxy, WSInvalidRequest,
    WSInvalidResponse, WSInvalidUrl, WSProxy, WSProxyError, WSProxyErrorKind, WSRequestHead,
    WSUpgradeResponse, WSUrl,
};
pub use messages::{WSMessage, WSMessageAdapter, WSMessageListener};
pub use net::{WSListeningSocket, WSResolver, WSResolving, WSSocket};
pub use proto::{
    SendOptions, WSAutoPingStrategy, WSClose, WSCloseCode, WSCloseHandshake, WSDisconnectCause,
    WSDisconnectInfo, WSDisconnectSide, WSDropReason, WSFrame, WSMsgType, WSOverflowPolicy, WSPreparedFrame,
    WSPreparedMessage, WSProtocolError,
};
pub use runtime::{
    WSBudgetPolicy, WSBusyPoll, WSError, WSHandshakeFailure, WSListenerError, WSLoopConfig, WSMetrics,
    WSMetricsSnapshot, WSOutbound, WSPhase,
};
pub use runtime::{
    WSLoop, WSLoopHandle, WSLoopRemote, WSRemoteError, WSSleep, WSTask, WSTaskScope, WSTimer, run,
};
pub use server::{
    WSDeferredUpgrade, WSIntoUpgrade, WSOriginPolicy, WSPerCoreConfig, WSServeError, WSServer,
    WSServerConfig, WSServerRemote, WSServerThreads, WSSpread, WSUpgradeOutcome, WSUpgradeRequest,
    WSUpgradeResponseWithListener, WSUpgradeTicket, ws_create_server, ws_create_server_on,
    ws_create_server_without_socket, ws_serve_per_core,
};
#[cfg(feature = "tls")]
pub use tls::{
    WSClientCertificates, WSClientTls, WSServerTls, WSTlsConfigError, WSTlsError, WSTlsInfo, WSTlsVersion,
};
pub use websocket::Routes;
