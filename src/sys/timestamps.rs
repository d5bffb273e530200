//! When the kernel received what is read: `SO_TIMESTAMPNS` (Linux), by the software clock of its network stack.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, SystemTime};

use rustix::io::Errno;

use crate::buf::RecvBuffer;

use super::socket::retry;

/// Room for control data: one timestamp takes 32 bytes, and nothing else is asked for.
const CONTROL: usize = 64;

/// Memory for control data, aligned as the kernel writes it.
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// Asks the kernel to note the time of what arrives from now on.
pub(crate) fn enable_receive_timestamps(socket: &impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is open while it is borrowed, and the option's value is a `c_int` of that size, read only during the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPNS,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Receives as [`recv_into`](super::recv_into) does, and tells when the kernel received the last of it; `None` if it did not note that.
pub(crate) fn recv_with_timestamp(
    socket: &impl AsFd,
    buffer: &mut RecvBuffer,
) -> io::Result<(usize, Option<SystemTime>)> {
    let mut control = Control([0; CONTROL]);
    let mut written = 0;
    // SAFETY: `receive` returns how many bytes at the front of the slice the kernel has written.
    let n = retry(|| unsafe {
        buffer.fill_with(|spare| {
            let (n, control) = receive(socket, spare, &mut control)?;
            written = control;
            Ok(n)
        })
    })?;
    Ok((n, timestamp_in(&control.0[..written])))
}

/// One `recvmsg`: how many bytes it wrote into `spare`, and how many of control data.
fn receive(
    socket: &impl AsFd,
    spare: &mut [std::mem::MaybeUninit<u8>],
    control: &mut Control,
) -> Result<(usize, usize), Errno> {
    let mut place = libc::iovec { iov_base: spare.as_mut_ptr().cast(), iov_len: spare.len() };
    // SAFETY: `msghdr` is plain data for which all zeroes is a value: no address, no places, no control data.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut place;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = CONTROL;
    // SAFETY: the descriptor is open while it is borrowed; every pointer in `message` is to memory that outlives the call, is not used
    // otherwise meanwhile, and is as long as is said beside it.
    let n = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut message, 0) };
    let errno = || Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO);
    let n = usize::try_from(n).map_err(|_| errno())?;
    Ok((n, message.msg_controllen.min(CONTROL)))
}

/// Finds the timestamp in control data: each entry is its length with this header (a word), its level and its type (an `int`
/// each), and its data; the next begins at a multiple of a word.
fn timestamp_in(mut control: &[u8]) -> Option<SystemTime> {
    const WORD: usize = size_of::<usize>();
    loop {
        let (len, rest) = control.split_first_chunk::<WORD>()?;
        let (level, rest) = rest.split_first_chunk::<4>()?;
        let (kind, data) = rest.split_first_chunk::<4>()?;
        let named = (i32::from_ne_bytes(*level), i32::from_ne_bytes(*kind));
        if named == (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) {
            let (seconds, nanos) = data.split_first_chunk::<8>()?;
            let nanos = u64::from_ne_bytes(*nanos.first_chunk::<8>()?);
            let since_epoch = Duration::from_secs(u64::from_ne_bytes(*seconds)) + Duration::from_nanos(nanos);
            return SystemTime::UNIX_EPOCH.checked_add(since_epoch);
        }
        let len = usize::from_ne_bytes(*len).checked_next_multiple_of(WORD)?;
        control = control.get(len.max(WORD)..)?;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// A header of control data and what is behind it.
    fn entry(kind: i32, data: &[u8]) -> Vec<u8> {
        let mut bytes = (16 + data.len()).to_ne_bytes().to_vec();
        bytes.extend(libc::SOL_SOCKET.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    #[test]
    fn a_timestamp_is_found_behind_other_control_data_and_never_beyond_its_end() {
        let time = [7u64.to_ne_bytes(), 9u64.to_ne_bytes()].concat();
        let stamp = entry(libc::SCM_TIMESTAMPNS, &time);
        let both = [entry(libc::SCM_RIGHTS, &[1, 2, 3, 4, 5]), stamp.clone()].concat();
        let wanted = SystemTime::UNIX_EPOCH + Duration::new(7, 9);
        for control in [&stamp, &both] {
            assert_eq!(timestamp_in(control), Some(wanted));
            for end in 0..control.len() {
                assert_eq!(timestamp_in(&control[..end]), None);
            }
        }
        assert_eq!(timestamp_in(&[0; 64]), None);
        assert_eq!(timestamp_in(&[0xff; 64]), None);
    }

    #[test]
    fn the_bytes_are_those_of_a_plain_read() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (receiver, _) = listener.accept().unwrap();
        enable_receive_timestamps(&receiver).unwrap();
        let sent: Vec<u8> = (0..=255).collect();
        for stamped in [true, false] {
            sender.write_all(&sent).unwrap();
            let mut buffer = RecvBuffer::with_capacity(1000);
            while buffer.len() < sent.len() {
                if stamped {
                    recv_with_timestamp(&receiver, &mut buffer).unwrap();
                } else {
                    crate::sys::recv_into(&receiver, &mut buffer).unwrap();
                }
            }
            assert_eq!(buffer.filled(), sent);
        }
        receiver.set_nonblocking(true).unwrap();
        let mut buffer = RecvBuffer::with_capacity(10);
        let nothing = recv_with_timestamp(&receiver, &mut buffer);
        assert_eq!(nothing.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(sender);
        assert_eq!(recv_with_timestamp(&receiver, &mut buffer).unwrap(), (0, None));
    }
}
