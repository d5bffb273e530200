//! Echo server on tokio-tungstenite: its documented loop, each answer written at once into a cork.

use futures_util::{SinkExt, StreamExt};
use peer_serve::{Corked, LARGE, MAX_MESSAGE, Peer, PeerResult, Socket, run};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

fn main() -> PeerResult<()> {
    run::<TokioTungstenite>()
}

struct TokioTungstenite;

impl Peer for TokioTungstenite {
    async fn serve<S: Socket>(stream: S) -> PeerResult<()> {
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE))
            .write_buffer_size(0);
        let mut socket =
            tokio_tungstenite::accept_async_with_config(Corked::new(stream), Some(config)).await?;
        while let Some(message) = socket.next().await.transpose()? {
            if !message.is_text() && !message.is_binary() {
                continue;
            }
            if message.len() < LARGE / 2 {
                // Not flushed: the cork takes it whole, and passes it on before the next read.
                socket.feed(message).await?;
            } else {
                socket.send(message).await?;
            }
        }
        // The answer to a CLOSE.
        Ok(socket.get_mut().flush().await?)
    }
}
