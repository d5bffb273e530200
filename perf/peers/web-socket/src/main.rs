//! Echo server on web-socket: its documented loop over a buffered reader, corked per burst.

use peer_serve::{Corked, Peer, PeerResult, Socket, accept_upgrade, run};
use tokio::io::BufReader;
use web_socket::{CloseCode, DataType, Event, MessageType, Stream, WebSocket};

fn main() -> PeerResult<()> {
    run::<WebSocketPeer>()
}

struct WebSocketPeer;

impl Peer for WebSocketPeer {
    async fn serve<S: Socket>(mut stream: S) -> PeerResult<()> {
        accept_upgrade(&mut stream).await?;
        let mut socket = WebSocket::server(BufReader::with_capacity(64 << 10, Corked::new(stream)));
        let mut fragments = Vec::new();
        loop {
            match socket.recv().await? {
                Event::Data { ty: DataType::Complete(kind), data } => echo(&mut socket, kind, &data).await?,
                Event::Data { ty: DataType::Stream(part), data } => {
                    fragments.extend_from_slice(&data);
                    if let Stream::End(kind) = part {
                        echo(&mut socket, kind, &std::mem::take(&mut fragments)).await?;
                    }
                }
                Event::Ping(data) => socket.send_pong(data).await?,
                Event::Pong(_) => {}
                Event::Error(_) => return Ok(socket.close(CloseCode::ProtocolError).await?),
                Event::Close { code, .. } => return Ok(socket.close(code).await?),
            }
        }
    }
}

async fn echo<S>(socket: &mut WebSocket<S>, kind: MessageType, data: &[u8]) -> std::io::Result<()>
where
    S: tokio::io::AsyncWrite + Unpin,
{
    match kind {
        // The text form only takes a `&str`; the crate does not check received text either.
        MessageType::Text => socket.send(std::str::from_utf8(data).map_err(std::io::Error::other)?).await,
        MessageType::Binary => socket.send(data).await,
    }
}
