//! Echo over a `Stream` and `Sink` of messages, one flush per burst.

use futures_util::{FutureExt, Sink, SinkExt, Stream, StreamExt};

use crate::PeerResult;

/// At most this many messages are held before they are written, so that a client that never stops sending is
/// answered all the same.
const BURST: usize = 256;

/// Echoes what `answer` makes of each message until the stream ends.
///
/// All messages that are already there are taken before the first is written and flushed: libraries that flush
/// in `poll_next` would otherwise pay a system call for each message of a burst. A single message goes
/// out at once.
///
/// # Errors
/// What the stream or the sink reports.
pub async fn echo_bursts<S, M, E>(mut socket: S, answer: impl Fn(M) -> Option<M>) -> PeerResult<()>
where
    S: Stream<Item = Result<M, E>> + Sink<M, Error = E> + Unpin,
    E: std::error::Error + Send + Sync + 'static,
{
    let mut burst = Vec::new();
    while let Some(first) = socket.next().await {
        burst.extend(answer(first?));
        while burst.len() < BURST
            && let Some(Some(next)) = socket.next().now_or_never()
        {
            burst.extend(answer(next?));
        }
        for message in burst.drain(..) {
            socket.feed(message).await?;
        }
        socket.flush().await?;
    }
    Ok(())
}
