//! `femtows`: an echo and broadcast server on this library.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use femtows::message::{WebSocketConfig, WebSocketError, WebSocketRequest, websocket_factory};
use femtows::{
    WSDeflateConfig, WSFrame, WSIntoUpgrade, WSLimits, WSListener, WSLoop, WSLoopConfig, WSMessage,
    WSMessageAdapter, WSMessageListener, WSPreparedFrame, WSResult, WSServerConfig, WSServerTls, WSTransport,
    WSTuning, WSUpgradeRequest, ws_create_server,
};

use crate::tls::server_config;

/// Largest message in bytes.
const MAX_MESSAGE: usize = 16 << 20;

/// Which of the library's interfaces echoes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Api {
    /// `WSListener`: frames, borrowed.
    Frames,
    /// `WSMessageListener`: whole messages, text checked.
    Messages,
    /// `WebSocket`: a task per connection.
    Async,
}

/// How messages are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Deflate {
    /// Not at all.
    Off,
    /// Each by itself: the library's defaults.
    Alone,
    /// In the context of those before: the library's settings for small messages.
    SmallFeeds,
}

impl Deflate {
    fn config(self) -> Option<WSDeflateConfig> {
        match self {
            Self::Off => None,
            Self::Alone => Some(WSDeflateConfig::default()),
            Self::SmallFeeds => Some(WSDeflateConfig::small_feeds()),
        }
    }
}

/// Serves until it is killed; `spins` polls without ever sleeping.
///
/// # Errors
/// If the port is taken, or `tls`, files of certificate and key, cannot be used.
pub(crate) fn serve(
    port: u16,
    spins: bool,
    api: Api,
    deflate: Deflate,
    tls: Option<(&Path, &Path)>,
) -> Result<()> {
    let limits = WSLimits::default()
        .max_frame_size(MAX_MESSAGE)
        .max_message_size(MAX_MESSAGE)
        .max_outbound(4 * MAX_MESSAGE);
    // An echo never asks for its request again.
    let mut config = WSServerConfig::default()
        .limits(limits)
        .tuning(WSTuning::default().keep_handshake(false))
        .pause_reading_on_backlog(true);
    if let Some((certificate, key)) = tls {
        config = config.tls(WSServerTls::from_rustls(server_config(certificate, key)?));
    }
    config = config.deflate(deflate.config());
    let spin = spins.then_some(Duration::MAX);
    let mut event_loop = WSLoop::new(WSLoopConfig::default().spin(spin))?;
    let subscribers = Subscribers::default();
    let handle = event_loop.handle();
    let tasks = WebSocketConfig::default().max_message_size(MAX_MESSAGE).server(config.clone());
    let mut tasks = websocket_factory(echo, tasks);
    let factory = move |request: &WSUpgradeRequest| match (request.path(), api) {
        ("/sub", _) => Subscriber(Rc::clone(&subscribers)).into_upgrade(),
        ("/pub", _) => Publisher(Rc::clone(&subscribers)).into_upgrade(),
        (_, Api::Frames) => EchoFrames.into_upgrade(),
        (_, Api::Messages) => WSMessageAdapter::new(EchoMessages).into_upgrade(),
        (_, Api::Async) => tasks(request),
    };
    ws_create_server(&handle, factory, ("127.0.0.1", port), config)?;
    println!("listening on ws://127.0.0.1:{port}");
    event_loop.run()?;
    Ok(())
}

struct EchoFrames;

impl WSListener for EchoFrames {
    fn on_ws_frame(&mut self, transport: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        if !frame.msg_type().is_control() {
            transport.send_frame(frame.msg_type(), frame.payload(), frame.send_options());
        }
        Ok(())
    }
}

struct EchoMessages;

impl WSMessageListener for EchoMessages {
    fn on_ws_message(&mut self, transport: &WSTransport, message: WSMessage<'_>) -> WSResult {
        transport.send(message.msg_type(), message);
        Ok(())
    }
}

async fn echo(request: WebSocketRequest) -> Result<(), WebSocketError> {
    let ws = request.accept().await?;
    while let Some(message) = ws.recv().await? {
        ws.send(message).await?;
    }
    Ok(())
}

type Subscribers = Rc<RefCell<Vec<WSTransport>>>;

struct Subscriber(Subscribers);

impl WSListener for Subscriber {
    fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
        self.0.borrow_mut().push(transport.clone());
        Ok(())
    }

    fn on_ws_frame(&mut self, _: &WSTransport, _: &mut WSFrame<'_>) -> WSResult {
        Ok(())
    }

    fn on_ws_disconnected(&mut self, transport: &WSTransport) {
        self.0.borrow_mut().retain(|subscriber| subscriber != transport);
    }
}

/// Encodes each message once and sends it to all subscribers.
struct Publisher(Subscribers);

impl WSListener for Publisher {
    fn on_ws_frame(&mut self, _: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        if frame.msg_type().is_control() {
            return Ok(());
        }
        let message = WSPreparedFrame::with_options(frame.msg_type(), frame.payload(), frame.send_options());
        for subscriber in &*self.0.borrow() {
            subscriber.send_prepared_frame(&message);
        }
        Ok(())
    }
}
