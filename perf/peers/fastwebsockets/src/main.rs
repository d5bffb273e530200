//! Echo server on fastwebsockets: its documented loop over a `FragmentCollector`, corked per burst.

use fastwebsockets::{FragmentCollector, OpCode, Role, WebSocket};
use peer_serve::{Corked, MAX_MESSAGE, Peer, PeerResult, Socket, accept_upgrade, run};
use tokio::io::AsyncWriteExt;

fn main() -> PeerResult<()> {
    run::<Fastwebsockets>()
}

struct Fastwebsockets;

impl Peer for Fastwebsockets {
    async fn serve<S: Socket>(mut stream: S) -> PeerResult<()> {
        accept_upgrade(&mut stream).await?;
        let mut socket = WebSocket::after_handshake(Corked::new(stream), Role::Server);
        socket.set_writev(true);
        socket.set_auto_close(true);
        socket.set_auto_pong(true);
        socket.set_max_message_size(MAX_MESSAGE + 1);
        let mut socket = FragmentCollector::new(socket);
        loop {
            let frame = socket.read_frame().await?;
            match frame.opcode {
                OpCode::Close => return Ok(socket.into_inner().flush().await?),
                OpCode::Text | OpCode::Binary => socket.write_frame(frame).await?,
                _ => {}
            }
        }
    }
}
