//! Connections for tasks: one `WebSocket`, what it is configured by and where it comes from.
//!
//! | file | what is in it |
//! |---|---|
//! | `client`, `server`, `wrap` | from a URL, an address or a stream to a `WebSocket` |
//! | `routes`, `handler`, `request` | which handler serves a request, and what it gets |
//! | `config`, `error` | what may be chosen; what may go wrong |
//! | `lifecycle` | opening and closing, and what is known of a connection |
//! | `receiving`, `sending` | what a task may ask for, as futures, streams and sinks |
//! | `typed` | values in place of messages |
//! | `shared` | what all handles of a connection and its listener share |
//! | `listener` | from callbacks to what tasks wait for |
//! | `inbox`, `waiters`, `pings` | the parts of that, without I/O |

mod client;
mod config;
mod error;
mod handler;
mod inbox;
mod lifecycle;
mod listener;
mod pings;
mod receiving;
mod request;
mod routes;
mod sending;
mod server;
mod shared;
mod typed;
mod waiters;
mod wrap;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::thread;

use crate::proto::WSCloseCode;

pub use client::{
    PendingWebSocket, connect_websocket, connect_websocket_url, open_websocket, open_websocket_url,
    websocket_listener,
};
pub use config::{CatchDisconnect, InvalidMessageType, MessageType, WebSocketConfig};
pub use error::{CloseReason, ConnectionClosed, ConnectionRejected, StateError, WebSocketError};
pub use handler::{Handler, HandlerError, IntoHandlerResult};
pub use lifecycle::{AcceptOptions, SideState};
#[cfg(feature = "json")]
pub use receiving::IterJson;
pub use receiving::{
    GetMessage, IterBytes, IterText, Messages, ReceiveEvent, Recv, Values, WebSocketReceiver,
};
pub use request::WebSocketRequest;
pub use routes::Routes;
pub use sending::{Ping, PingPayload, SendEvent, Sending, WebSocketSender};
pub use server::{IntoRoutes, WebSocketFactory, serve_websocket, websocket_factory};
#[cfg(feature = "json")]
pub use typed::JsonMode;
pub use typed::Value;
pub use wrap::{wrap_client_stream, wrap_server_stream};

use shared::Shared;
use waiters::Place;

/// A connection that tasks of its loop receive messages from and send messages to.
///
/// Clones are handles to the same connection; each task may have its own. When the last of them is dropped the connection is closed,
/// with 1000, or 1011 if that happens in a panic. It belongs to the thread of its loop.
///
/// Futures of this type may be dropped at any time: no message is lost by that, and none is sent in part.
///
/// ```text
/// application_state                                          client_state
///
///   Connecting ---- reject, close, an error ----+             Connecting
///       | accept                                |                 | accept, or receive_event: Connect
///       v                                       |                 v
///   Connected                                   |             Connected --+ a message
///       | close, aclose, the last drop,         |                 |    <--+
///       | an I/O error                          |                 | the application has seen the end
///       v                                       v                 v
///   Disconnected <------------------------------+             Disconnected
/// ```
///
/// A client's connection begins with both sides connected. As long as this end has not closed, messages that came before the peer's
/// CLOSE are received first; then everything gives [`ConnectionClosed`], each time it is asked.
pub struct WebSocket {
    shared: Rc<Shared>,
    /// `None` until this is used as a `Stream` or a `Sink`.
    places: Option<Box<Places>>,
}

impl Clone for WebSocket {
    fn clone(&self) -> Self {
        Self::new(Rc::clone(&self.shared))
    }
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

impl Drop for WebSocket {
    fn drop(&mut self) {
        let shared = &self.shared;
        if let Some(places) = &mut self.places {
            if places.receive.is_some() {
                shared.leave_inbox(&mut places.receive);
            }
            if places.send.is_some() {
                shared.leave_writers(&mut places.send);
            }
        }
        shared.drop_handle(code_of_drop);
    }
}

/// With which code a connection is closed that is given up.
fn code_of_drop() -> WSCloseCode {
    if thread::panicking() { WSCloseCode::INTERNAL_ERROR } else { WSCloseCode::OK }
}

/// The places of a handle as a `Stream` and as a `Sink`; each clone has its own.
#[derive(Default)]
struct Places {
    receive: Place,
    /// The stream has told of the end, and is over.
    is_over: bool,
    send: Place,
    closing: Option<Closing>,
}

/// A sink that is being closed.
type Closing = Pin<Box<dyn Future<Output = Result<(), WebSocketError>>>>;
