//! What the tokio peers share: the command line, the accept loop, the upgrade for crates that bring none, and
//! two ways of answering a burst of messages with one write.
//!
//! Nothing here is part of what is compared, so each piece is the cheapest form that we know, and every peer
//! that can use it does.

mod args;
mod cork;
mod echo;
mod upgrade;

use std::future::Future;

use tokio::net::{TcpListener, TcpStream};

pub use args::Args;
pub use cork::{Corked, LARGE};
pub use echo::echo_bursts;
pub use upgrade::accept_upgrade;

/// The largest message that every peer accepts, in bytes.
pub const MAX_MESSAGE: usize = 16 << 20;

/// What a connection ends with; the harness only looks at the bytes, so that the text goes to stderr.
pub type PeerResult<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Listens on `127.0.0.1`, says `listening` on stdout, and gives each connection to `serve` in a task of its own.
///
/// One thread, `TCP_NODELAY` on every connection, tasks outside of tokio's cooperative budget as in the echo
/// servers that fastwebsockets and tokio-websockets publish. With `--spin` an always ready task keeps the
/// runtime polling the kernel with a time-out of zero.
///
/// # Errors
/// When the runtime cannot start, the port cannot be bound, or `accept` fails.
pub fn run<F, Fut>(serve: F) -> PeerResult<()>
where
    F: Fn(TcpStream) -> Fut,
    Fut: Future<Output = PeerResult<()>> + Send + 'static,
{
    let args = Args::from_env()?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", args.port)).await?;
        println!("listening on {}", listener.local_addr()?);
        if args.spin {
            tokio::spawn(spin());
        }
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
    })
}

async fn spin() {
    loop {
        tokio::task::yield_now().await;
    }
}
