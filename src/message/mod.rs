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
//! use femtows::{WSLoop, WSLoopConfig};
//!
//! async fn echo(request: WebSocketRequest) -> Result<(), HandlerError> {
//!     let ws = request.accept().await?;
//!     loop {
//!         let message = ws.get_message().await?;
//!         ws.send_message(message).await?;
//!     }
//! }
//!
//! let mut event_loop = WSLoop::new(WSLoopConfig::default())?;
//! let handle = event_loop.handle();
//! let server = serve_websocket(&handle, echo, "127.0.0.1:0", WebSocketConfig::default())?;
//!
//! let url = format!("ws://{}/", server.local_addr());
//! let answer = event_loop.block_on(async move {
//!     open_websocket_url(&handle, &url, WebSocketConfig::default(), async |ws| {
//!         ws.send_text("Hello").await?;
//!         ws.get_message().await
//!     })
//!     .await?
//! })??;
//! assert_eq!(answer, Message::from("Hello"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod client;
mod config;
mod error;
mod handler;
pub(crate) mod inbound;
mod listener;
mod owned;
mod request;
mod routes;
mod server;
mod target;
mod websocket;
mod wrap;

pub use crate::proto::WSPreparedMessage;
pub use client::{
    PendingWebSocket, connect_websocket, connect_websocket_url, open_websocket, open_websocket_url,
    websocket_listener,
};
pub use config::{CatchDisconnect, InvalidMessageType, MessageType, WebSocketConfig};
pub use error::{CloseReason, ConnectionClosed, ConnectionRejected, StateError, WebSocketError};
pub use handler::{Handler, HandlerError, IntoHandlerResult};
pub use listener::{WSMessage, WSMessageAdapter, WSMessageListener};
pub use owned::Message;
pub use request::WebSocketRequest;
pub use routes::Routes;
pub use server::{IntoRoutes, WebSocketFactory, serve_websocket, websocket_factory};
pub use websocket::{
    AcceptOptions, GetMessage, IterBytes, IterText, Messages, Ping, PingPayload, ReceiveEvent, SendEvent,
    SendMessage, SideState, Value, Values, WebSocket, WebSocketReceiver, WebSocketSender,
};
#[cfg(feature = "json")]
pub use websocket::{IterJson, JsonMode};
pub use wrap::{wrap_client_stream, wrap_server_stream};
