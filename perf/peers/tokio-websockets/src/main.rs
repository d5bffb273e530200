//! Echo server on tokio-websockets: messages pass from stream to sink, flushed once per burst.

use peer_serve::{MAX_MESSAGE, Peer, PeerResult, Socket, echo_bursts, run};
use tokio_websockets::{Config, Limits, Message, ServerBuilder};

fn main() -> PeerResult<()> {
    run::<TokioWebsockets>()
}

struct TokioWebsockets;

impl Peer for TokioWebsockets {
    async fn serve<S: Socket>(stream: S) -> PeerResult<()> {
        let (_request, socket) = ServerBuilder::new()
            .config(Config::default().frame_size(usize::MAX).flush_threshold(64 << 10))
            .limits(Limits::default().max_payload_len(Some(MAX_MESSAGE)))
            .accept(stream)
            .await?;
        echo_bursts(socket, |message: Message| (message.is_text() || message.is_binary()).then_some(message))
            .await
    }
}
