//! Echo server on sockudo-ws: its documented stream and sink, flushed once per burst, on mimalloc.

use peer_serve::{MAX_MESSAGE, Peer, PeerResult, Socket, accept_upgrade, echo_bursts, run};
use sockudo_ws::{Config, Message, WebSocketStream};

fn main() -> PeerResult<()> {
    sockudo_ws::init_clock();
    run::<SockudoWs>()
}

struct SockudoWs;

impl Peer for SockudoWs {
    async fn serve<S: Socket>(mut stream: S) -> PeerResult<()> {
        accept_upgrade(&mut stream).await?;
        let config =
            Config::builder().max_payload_length(MAX_MESSAGE).idle_timeout(0).auto_ping(false).build();
        let socket = WebSocketStream::server(stream, config);
        echo_bursts(socket, |message| {
            matches!(message, Message::Text(_) | Message::Binary(_)).then_some(message)
        })
        .await
    }
}
