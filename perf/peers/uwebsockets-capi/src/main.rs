//! Echo and broadcast server on uWebSockets through its C API, on libuv, without TLS and without compression.
//!
//! Paths: `/sub` subscribes, `/pub` publishes each message to all subscribers, any other path echoes.

use std::error::Error;
use std::ffi::{CStr, c_char, c_void};
use std::ptr::null_mut;

use libuwebsockets_sys as uws;

/// uWebSockets' switch for TLS, in each of its functions.
const PLAIN: i32 = 0;
const MAX_MESSAGE: u32 = 16 << 20;
const MAX_BACKPRESSURE: u32 = 64 << 20;
const TOPIC: &[u8] = b"all";

unsafe extern "C" {
    /// One turn of the event loop that does not wait (libusockets.h).
    fn us_loop_pump(event_loop: *mut uws::us_loop_t);
}

fn main() -> Result<(), Box<dyn Error>> {
    let (port, spin) = arguments()?;
    // SAFETY: all zero is the documented "no TLS options"; the app lives until the process ends.
    let app = unsafe { uws::uws_create_app(PLAIN, std::mem::zeroed()) };
    route(app, c"/sub", |behavior| behavior.open = Some(subscribe));
    route(app, c"/pub", |behavior| behavior.message = Some(publish));
    route(app, c"/*", |behavior| behavior.message = Some(echo));
    let config = uws::uws_app_listen_config_t { port, host: c"127.0.0.1".as_ptr(), options: 0 };
    // SAFETY: `app` came from `uws_create_app`, the host is a C string that lives for ever.
    unsafe { uws::uws_app_listen_with_config(PLAIN, app, config, Some(listening), null_mut()) };
    if spin {
        // SAFETY: this is the loop of the thread that created the app, and the thread that runs it.
        let event_loop = unsafe { uws::uws_get_loop() };
        loop {
            // SAFETY: as above.
            unsafe { us_loop_pump(event_loop) };
        }
    }
    // SAFETY: as for `uws_app_listen_with_config`.
    unsafe { uws::uws_app_run(PLAIN, app) };
    Ok(())
}

/// `--port N [--spin]`.
fn arguments() -> Result<(i32, bool), Box<dyn Error>> {
    let (mut port, mut spin) = (None, false);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--port" => port = Some(words.next().ok_or("--port needs a number")?.parse::<u16>()?),
            "--spin" => spin = true,
            _ => return Err(format!("unknown argument {word}; usage: --port N [--spin]").into()),
        }
    }
    Ok((port.ok_or("usage: --port N [--spin]")?.into(), spin))
}

/// Serves `pattern` with the limits of the harness and no timers; `handlers` adds what the path does.
fn route(app: *mut uws::uws_app_t, pattern: &CStr, handlers: impl FnOnce(&mut uws::uws_socket_behavior_t)) {
    // SAFETY: integers and optional function pointers, for all of which zero is a value.
    let mut behavior: uws::uws_socket_behavior_t = unsafe { std::mem::zeroed() };
    behavior.compression = uws::uws_compress_options_t_DISABLED;
    behavior.maxPayloadLength = MAX_MESSAGE;
    behavior.maxBackpressure = MAX_BACKPRESSURE;
    handlers(&mut behavior);
    // SAFETY: the pattern and the behavior are copied; the app is handed to the callbacks and outlives them.
    unsafe { uws::uws_ws(PLAIN, app, pattern.as_ptr(), behavior, app.cast()) };
}

extern "C" fn listening(
    socket: *mut uws::us_listen_socket_t,
    config: uws::uws_app_listen_config_t,
    _user: *mut c_void,
) {
    if socket.is_null() {
        eprintln!("cannot listen on port {}", config.port);
        std::process::exit(1);
    }
    println!("listening on 127.0.0.1:{}", config.port);
}

/// The library corks the socket around every read: all answers to one read leave in one write.
extern "C" fn echo(
    socket: *mut uws::uws_websocket_t,
    message: *const c_char,
    length: usize,
    opcode: uws::uws_opcode_t,
    _user: *mut c_void,
) {
    // SAFETY: socket and message are alive for the length of the callback.
    unsafe { uws::uws_ws_send(PLAIN, socket, message, length, opcode) };
}

extern "C" fn subscribe(socket: *mut uws::uws_websocket_t, _user: *mut c_void) {
    // SAFETY: the socket is alive for the length of the callback, the topic is copied.
    unsafe { uws::uws_ws_subscribe(PLAIN, socket, TOPIC.as_ptr().cast(), TOPIC.len()) };
}

extern "C" fn publish(
    _socket: *mut uws::uws_websocket_t,
    message: *const c_char,
    length: usize,
    opcode: uws::uws_opcode_t,
    app: *mut c_void,
) {
    let topic = TOPIC.as_ptr().cast();
    // SAFETY: `app` is the pointer given to `uws_ws`; message and topic are alive for the call.
    unsafe { uws::uws_publish(PLAIN, app.cast(), topic, TOPIC.len(), message, length, opcode, false) };
}
