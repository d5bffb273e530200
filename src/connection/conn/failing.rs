//! Callbacks that fail: the connection closes, the error is reported.

use std::rc::Rc;

use crate::connection::WSTransport;
use crate::proto::{Role, WSCloseCode, WSDisconnectCause, WSProtocolError};
use crate::runtime::WSListenerError;

use super::super::listener::{ListenerEvent, log_error};
use super::{Conn, ERROR};

/// Handles the error of a callback, which closes the connection if it `disconnects`.
#[cold]
pub(super) fn callback_failed(
    conn: &Rc<Conn>,
    error: Box<dyn std::error::Error + Send + Sync>,
    disconnects: bool,
) {
    match error.downcast::<WSProtocolError>() {
        Ok(error) => {
            // The listener has not failed, it rejects the peer's data. With a louder line a peer
            // could fill the log.
            log::debug!("connection {}: the listener closes: {error}", conn.id());
            let close = (*error).clone();
            end(conn, WSListenerError::new(error), &close);
        }
        Err(error) if !disconnects => report(conn, WSListenerError::new(error)),
        Err(error) => listener_failed(conn, &WSListenerError::new(error)),
    }
}

/// Closes with 1011. A client's error comes out of `wait_disconnected`, a server's is reported to the
/// listener.
pub(super) fn listener_failed(conn: &Rc<Conn>, error: &WSListenerError) {
    if conn.protocol_role() == Role::Server {
        report(conn, error.clone());
    }
    close(conn, error);
}

/// Closes with 1011 because `on_ws_error` itself has failed. A report of that would call it again.
pub(super) fn report_failed(conn: &Rc<Conn>, error: &WSListenerError) {
    end(conn, error.clone(), &internal_error());
    log_error(&WSTransport::new(Rc::clone(conn)), error);
}

/// Reports an error to the listener once the current callback has returned.
fn report(conn: &Rc<Conn>, error: WSListenerError) {
    conn.rare.push_report(error);
    conn.core.defer_source(conn, ERROR);
}

/// Passes the oldest error to the listener.
pub(super) fn run_report(conn: &Rc<Conn>) {
    let Some(error) = conn.rare.pop_report() else { return };
    if conn.is_listener_free() {
        conn.call_listener(ListenerEvent::Error(&error));
    } else {
        // An error of its last callback.
        log_error(&WSTransport::new(Rc::clone(conn)), &error);
    }
}

fn close(conn: &Rc<Conn>, error: &WSListenerError) {
    let is_kept = end(conn, error.clone(), &internal_error());
    // Nothing else reports a client's error once the connection ends for another reason.
    if !is_kept && conn.protocol_role() == Role::Client {
        log_error(&WSTransport::new(Rc::clone(conn)), error);
    }
}

fn internal_error() -> WSProtocolError {
    WSProtocolError::new(WSCloseCode::INTERNAL_ERROR, "")
}

/// Returns `true` if the error is what `wait_disconnected` returns.
fn end(conn: &Rc<Conn>, error: WSListenerError, close: &WSProtocolError) -> bool {
    conn.fail(close, WSDisconnectCause::ListenerError, error.into())
}
