//! A stream that holds small writes back until its owner reads again.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Held writes that would pass this size together are sent without waiting for the next read, in bytes.
const LIMIT: usize = 64 << 10;
/// Writes from this size on are never held back, in bytes.
pub const LARGE: usize = 8 << 10;

/// Gathers writes and sends them before the next read, flushed: TLS may keep records that the socket refused.
///
/// A library that reads only when its own buffer holds no further frame thereby answers a burst with one
/// system call, though it writes frame by frame. A small write never waits for the peer, because the next read does.
///
/// # Invariant
/// `0 <= sent <= held.len()`; the bytes from `sent` on have yet to be written.
#[derive(Debug)]
pub struct Corked<S> {
    inner: S,
    held: Vec<u8>,
    sent: usize,
}

impl<S> Corked<S> {
    /// Wraps `inner`; no memory is taken before the first write.
    pub fn new(inner: S) -> Self {
        Self { inner, held: Vec::new(), sent: 0 }
    }
}

impl<S: AsyncWrite + Unpin> Corked<S> {
    /// Writes what is held back.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.held.len() {
            match ready!(Pin::new(&mut self.inner).poll_write(cx, &self.held[self.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.sent += written,
            }
        }
        self.held.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    /// Whether a write of `len` bytes goes straight to the stream; if it does not, it is held back without waiting.
    fn poll_passes(&mut self, cx: &mut Context<'_>, len: usize) -> Poll<io::Result<bool>> {
        if len >= LARGE {
            ready!(self.poll_drain(cx))?;
            return Poll::Ready(Ok(true));
        }
        if self.held.len() + len > LIMIT {
            // Pending is no reason to wait here: the next read, or a large write, does.
            if let Poll::Ready(drained) = self.poll_drain(cx) {
                drained?;
            }
        }
        Poll::Ready(Ok(false))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Corked<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Corked<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if ready!(self.poll_passes(cx, data.len()))? {
            return Pin::new(&mut self.inner).poll_write(cx, data);
        }
        self.held.extend_from_slice(data);
        Poll::Ready(Ok(data.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let len = parts.iter().map(|part| part.len()).sum();
        if ready!(self.poll_passes(cx, len))? {
            return Pin::new(&mut self.inner).poll_write_vectored(cx, parts);
        }
        for part in parts {
            self.held.extend_from_slice(part);
        }
        Poll::Ready(Ok(len))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::future::join;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter};

    use super::{Corked, LARGE, LIMIT};

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn small_writes_leave_together_before_a_read() {
        block_on(async {
            let (mut corked, mut peer) = pair();
            corked.write_all(b"one").await.unwrap();
            corked.write_all(b"two").await.unwrap();
            assert_eq!(corked.held, b"onetwo");
            peer.write_all(b"x").await.unwrap();
            corked.read_u8().await.unwrap();
            assert!(corked.held.is_empty());
            let mut got = [0; 6];
            peer.read_exact(&mut got).await.unwrap();
            assert_eq!(&got, b"onetwo");
        });
    }

    #[test]
    fn what_the_stream_keeps_leaves_before_a_read_too() {
        block_on(async {
            let (near, mut peer) = tokio::io::duplex(LIMIT);
            let mut corked = Corked::new(BufWriter::new(near));
            corked.write_all(b"one").await.unwrap();
            assert!(corked.read_u8().now_or_never().is_none(), "the peer has sent nothing");
            let mut got = [0; 3];
            peer.read_exact(&mut got).now_or_never().expect("it is there").unwrap();
            assert_eq!(&got, b"one");
        });
    }

    #[test]
    fn a_small_write_never_waits() {
        block_on(async {
            let (mut corked, mut peer) = pair();
            let part = [7; LARGE - 1];
            for _ in 0..100 {
                corked.write_all(&part).now_or_never().expect("does not wait").unwrap();
            }
            let mut got = vec![0; 100 * part.len()];
            let (flushed, read) = join(corked.flush(), peer.read_exact(&mut got)).await;
            flushed.unwrap();
            read.unwrap();
            assert!(got.iter().all(|&byte| byte == 7));
        });
    }

    #[test]
    fn order_survives_large_writes_and_a_full_cork() {
        block_on(async {
            let (mut corked, mut peer) = pair();
            let mut expected = Vec::new();
            for (index, len) in [3, LARGE, 5, LIMIT, LARGE + 1, 1].into_iter().enumerate() {
                let part = vec![index as u8; len];
                corked.write_all(&part).await.unwrap();
                expected.extend(part);
            }
            corked.shutdown().await.unwrap();
            let mut got = Vec::new();
            peer.read_to_end(&mut got).await.unwrap();
            assert!(got == expected);
        });
    }

    fn pair() -> (Corked<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
        let (near, far) = tokio::io::duplex(4 * LIMIT);
        (Corked::new(near), far)
    }
}
