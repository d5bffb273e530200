//! What the tokio peers share: the command line, the accept loop, the upgrade for crates that bring none, and
//! two ways of answering a burst of messages with one write.
//!
//! Nothing here is part of what is compared, so each piece is the cheapest form that we know, and every peer
//! that can use it does.

mod args;
mod cork;
mod echo;
#[cfg(feature = "tls")]
mod tls;
mod upgrade;

use std::future::Future;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

pub use args::{Args, TlsFiles};
pub use cork::{Corked, LARGE};
pub use echo::echo_bursts;
pub use upgrade::{accept_upgrade, accept_upgrade_with};

/// The largest message that every peer accepts, in bytes.
pub const MAX_MESSAGE: usize = 16 << 20;

/// What a connection ends with; the harness only looks at the bytes, so that the text goes to stderr.
pub type PeerResult<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// An echo server, compiled once for TCP and once for TLS.
pub trait Peer {
    /// Upgrades a connection and echoes until it ends.
    fn serve<S: Socket>(stream: S) -> impl Future<Output = PeerResult<()>> + Send + 'static;
}

/// What carries the bytes of a connection.
pub trait Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Socket for S {}

/// Listens on `127.0.0.1`, says `listening` on stdout, and gives each connection to `P` in a task of its own.
///
/// One thread, `TCP_NODELAY` on every connection, tasks outside of tokio's cooperative budget as in the echo
/// servers that fastwebsockets and tokio-websockets publish. With `--spin` an always ready task keeps the
/// runtime polling the kernel with a time-out of zero.
///
/// # Errors
/// When the runtime cannot start, the port cannot be bound, `accept` fails, or TLS is asked for that cannot be had.
pub fn run<P: Peer>() -> PeerResult<()> {
    let args = Args::from_env()?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", args.port)).await?;
        if args.spin {
            tokio::spawn(spin());
        }
        match args.tls {
            None => accept(&listener, P::serve).await,
            #[cfg(feature = "tls")]
            Some(files) => {
                let acceptor = tls::acceptor(&files)?;
                accept(&listener, |stream| {
                    let handshake = acceptor.accept(stream);
                    async { P::serve(handshake.await?).await }
                })
                .await
            }
            #[cfg(not(feature = "tls"))]
            Some(_) => Err("this peer does not speak TLS".into()),
        }
    })
}

async fn accept<F, Fut>(listener: &TcpListener, serve: F) -> PeerResult<()>
where
    F: Fn(TcpStream) -> Fut,
    Fut: Future<Output = PeerResult<()>> + Send + 'static,
{
    println!("listening on {}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let connection = serve(stream);
        tokio::spawn(tokio::task::unconstrained(async move {
            if let Err(error) = connection.await {
                eprintln!("connection ended: {error}");
            }
        }));
    }
}

async fn spin() {
    loop {
        tokio::task::yield_now().await;
    }
}
