//! Echo server on sockudo-ws with permessage-deflate: the same with its compressed stream.

use peer_serve::{MAX_MESSAGE, Peer, PeerResult, Socket, accept_upgrade_with, echo_bursts, run};
use sockudo_ws::deflate::negotiate_server_deflate;
use sockudo_ws::{CompressedWebSocketStream, Config, DeflateConfig, Message};

fn main() -> PeerResult<()> {
    sockudo_ws::init_clock();
    run::<SockudoWs>()
}

struct SockudoWs;

impl Peer for SockudoWs {
    async fn serve<S: Socket>(mut stream: S) -> PeerResult<()> {
        let mut agreed = None;
        accept_upgrade_with(&mut stream, |offer| {
            agreed = negotiate_server_deflate(offer, &DeflateConfig::default());
            agreed.as_ref().map(sockudo_ws::deflate::DeflateNegotiation::to_response_header)
        })
        .await?;
        let deflate = agreed.ok_or("the client does not offer permessage-deflate")?.config;
        let config =
            Config::builder().max_payload_length(MAX_MESSAGE).idle_timeout(0).auto_ping(false).build();
        let socket = CompressedWebSocketStream::server(stream, config, deflate);
        echo_bursts(socket, |message| {
            matches!(message, Message::Text(_) | Message::Binary(_)).then_some(message)
        })
        .await
    }
}
