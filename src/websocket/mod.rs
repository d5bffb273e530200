//! Connections for tasks: one `WebSocket`, what it is configured by and where it comes from.
//!
//! | file | what is in it |
//! |---|---|
//! | `client`, `server`, `wrap` | from a URL, an address or a stream to a `WebSocket` |
//! | `routes`, `target`, `handler`, `request` | which handler serves a request, and what it gets |
//! | `config`, `error` | what may be chosen; what may go wrong |
//! | `shared` | what all handles of a connection and its listener share; how it ends |
//! | `listener` | from callbacks to what tasks wait for |
//! | `inbox`, `waiters`, `pings` | the parts of that, without I/O |
//! | `receive`, `send`, `ping`, `close` | what a task may ask for |
//! | `opening` | accept, reject |
//! | `events` | the two sides' states, and one event at a time |
//! | `typed`, `json` | values in place of messages |
//! | `streams` | iterators, futures' `Stream` and `Sink`, halves |
//! | `scope` | a body between accept and close |
//! | `facts` | what is known of the connection |

mod client;
mod close;
mod config;
mod error;
mod events;
mod facts;
mod handler;
mod inbox;
#[cfg(feature = "json")]
mod json;
mod listener;
mod opening;
mod ping;
mod pings;
mod receive;
mod request;
mod routes;
mod scope;
mod send;
mod server;
mod shared;
mod streams;
mod target;
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
pub use events::{ReceiveEvent, SendEvent, SideState};
pub use handler::{Handler, HandlerError, IntoHandlerResult};
#[cfg(feature = "json")]
pub use json::JsonMode;
pub use opening::AcceptOptions;
pub use ping::{Ping, PingPayload};
pub use receive::GetMessage;
pub use request::WebSocketRequest;
pub use routes::Routes;
pub use send::SendMessage;
pub use server::{IntoRoutes, WebSocketFactory, serve_websocket, websocket_factory};
#[cfg(feature = "json")]
pub use streams::IterJson;
pub use streams::{IterBytes, IterText, Messages, WebSocketReceiver, WebSocketSender};
pub use typed::{Value, Values};
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

impl WebSocket {
    fn new(shared: Rc<Shared>) -> Self {
        shared.handles.set(shared.handles.get() + 1);
        Self { shared, places: None }
    }

    fn shared(&self) -> &Rc<Shared> {
        &self.shared
    }
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
        let others = shared.handles.get() - 1;
        shared.handles.set(others);
        if others == 0 {
            shared.abandon(code_of_drop());
        }
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
