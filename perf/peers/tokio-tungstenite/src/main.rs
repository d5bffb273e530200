//! Echo server on tokio-tungstenite: messages pass from stream to sink, flushed once per burst.

use peer_serve::{MAX_MESSAGE, PeerResult, echo_bursts, run};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

fn main() -> PeerResult<()> {
    run(|stream| async move {
        let config =
            WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
        let socket = tokio_tungstenite::accept_async_with_config(stream, Some(config)).await?;
        echo_bursts(socket, |message: Message| (message.is_text() || message.is_binary()).then_some(message))
            .await
    })
}
