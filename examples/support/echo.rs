//! What echoes: two listeners, and a task.

use femtows::message::{WebSocket, WebSocketError};
use femtows::{WSFrame, WSListener, WSMessage, WSMessageListener, WSResult, WSTransport};

/// Sends back every data frame as it came, fragments as fragments.
pub(crate) struct EchoFrames;

impl WSListener for EchoFrames {
    fn on_ws_frame(&mut self, transport: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        if !frame.msg_type().is_control() {
            transport.send_frame(frame.msg_type(), frame.payload(), frame.send_options());
        }
        Ok(())
    }
}

/// Sends back every message in one frame, compressed if that was agreed on.
pub(crate) struct EchoMessages;

impl WSMessageListener for EchoMessages {
    fn on_ws_message(&mut self, transport: &WSTransport, message: WSMessage<'_>) -> WSResult {
        transport.send(message.msg_type(), message);
        Ok(())
    }
}

/// Sends back every message in one frame, at either end, until the connection is closed.
pub(crate) async fn echo_websocket(ws: WebSocket) -> Result<(), WebSocketError> {
    if !ws.accepted() {
        ws.accept().await?;
    }
    while let Some(message) = ws.recv().await? {
        ws.send(message).await?;
    }
    Ok(())
}
