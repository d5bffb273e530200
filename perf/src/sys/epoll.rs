//! A minimal epoll: edge-triggered, for reading and writing, never changed after `add`.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// How a thread waits for the next event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Asleep, until something happens or the time is over.
    Sleep(Duration),
    /// Not at all.
    Poll,
}

/// A readiness queue of the kernel.
#[derive(Debug)]
pub(crate) struct Epoll {
    fd: OwnedFd,
}

impl Epoll {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: takes no pointers.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just opened `fd`, and nobody else has it.
        Ok(Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Reports under `token` that `source` became readable or writable, once per change. Ends when `source` is closed.
    pub(crate) fn add(&self, source: &impl AsRawFd, token: usize) -> io::Result<()> {
        let interest = (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLET).cast_unsigned();
        let mut event = libc::epoll_event { events: interest, u64: token as u64 };
        let fd = source.as_raw_fd();
        // SAFETY: `event` is valid for the time of the call.
        let result = unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Waits for events and returns how many came. A signal counts as none.
    pub(crate) fn wait<'a>(
        &self,
        events: &'a mut Events,
        wait: Wait,
    ) -> io::Result<impl Iterator<Item = Event> + use<'a>> {
        let timeout = match wait {
            Wait::Sleep(time) => i32::try_from(time.as_millis()).unwrap_or(i32::MAX),
            Wait::Poll => 0,
        };
        let capacity = i32::try_from(events.0.len()).unwrap_or(i32::MAX);
        // SAFETY: the kernel writes at most `capacity` entries of a vector that has as many.
        let count =
            unsafe { libc::epoll_wait(self.fd.as_raw_fd(), events.0.as_mut_ptr(), capacity, timeout) };
        let count = match usize::try_from(count) {
            Ok(count) => count,
            Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => 0,
            Err(_) => return Err(io::Error::last_os_error()),
        };
        Ok(events.0[..count].iter().map(|event| Event {
            token: event.u64 as usize,
            is_readable: event.events & !libc::EPOLLOUT.cast_unsigned() != 0,
        }))
    }
}

/// Something became ready.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    /// As given to [`Epoll::add`].
    pub(crate) token: usize,
    /// Whether there are bytes, an end or an error to read; else only writing became possible.
    pub(crate) is_readable: bool,
}

/// Room for events.
#[derive(Debug)]
pub(crate) struct Events(Vec<libc::epoll_event>);

impl Events {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self(vec![libc::epoll_event { events: 0, u64: 0 }; capacity])
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn reports_what_became_ready() {
        let (mut near, far) = UnixStream::pair().unwrap();
        let epoll = Epoll::new().unwrap();
        let mut events = Events::with_capacity(4);
        epoll.add(&far, 7).unwrap();
        let ready: Vec<_> = epoll.wait(&mut events, Wait::Poll).unwrap().collect();
        assert!(ready.len() == 1 && !ready[0].is_readable, "a new socket is writable only");

        near.write_all(b"x").unwrap();
        let ready: Vec<_> = epoll.wait(&mut events, Wait::Sleep(Duration::from_secs(5))).unwrap().collect();
        assert!(ready.len() == 1 && ready[0].is_readable && ready[0].token == 7);
        assert_eq!(epoll.wait(&mut events, Wait::Poll).unwrap().count(), 0, "edge-triggered");
    }
}
