use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::buf::RecvBuffer;

/// Makes a write to a connection that the peer has reset an error instead of a signal.
#[cfg(not(target_vendor = "apple"))]
const SEND_FLAGS: SendFlags = SendFlags::NOSIGNAL;
#[cfg(target_vendor = "apple")]
const SEND_FLAGS: SendFlags = SendFlags::empty();

/// Receives into the spare memory of `buffer`, which is not initialised before.
#[inline]
pub(crate) fn recv_into(socket: &impl AsFd, buffer: &mut RecvBuffer) -> io::Result<usize> {
    let receive = |spare: &mut [MaybeUninit<u8>]| {
        let ((received, _), _) = recv(socket, spare, RecvFlags::empty())?;
        Ok(received.len())
    };
    // SAFETY: `recv` returns the front of the slice, which the kernel has written.
    retry(|| unsafe { buffer.fill_with(receive) })
}

/// Sends from one piece of memory, without `SIGPIPE`.
#[inline]
pub(crate) fn send(socket: &impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    retry(|| rustix::net::send(socket, bytes, SEND_FLAGS))
}

/// Sends from several pieces of memory, without `SIGPIPE`.
#[inline]
pub(crate) fn send_vectored(socket: &impl AsFd, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    retry(|| sendmsg(socket, slices, &mut SendAncillaryBuffer::default(), SEND_FLAGS))
}

/// Accepts a connection; its socket never blocks.
pub(crate) fn accept(listener: &impl AsFd) -> io::Result<OwnedFd> {
    #[cfg(target_os = "linux")]
    {
        use rustix::net::{SocketFlags, accept_with};

        Ok(accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let (socket, _) = SockRef::from(listener).accept()?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    }
}

/// Begins to connect a socket that never blocks. `configure` sees it before.
pub(crate) fn begin_connect(
    addr: SocketAddr,
    configure: impl FnOnce(SockRef<'_>) -> io::Result<()>,
) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    configure(SockRef::from(&socket))?;
    match socket.connect(&addr.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket.into()),
    }
}

/// Acknowledge at once, where the system knows such a mode.
pub(crate) fn set_quick_ack(socket: &impl AsFd) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        SockRef::from(socket).set_tcp_quickack(true)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = socket;
        Ok(())
    }
}

/// Calls again what a signal has interrupted.
#[inline(always)]
#[expect(clippy::inline_always, reason = "around a system call, which is an instruction")]
pub(super) fn retry(mut call: impl FnMut() -> Result<usize, Errno>) -> io::Result<usize> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}
