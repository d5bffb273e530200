//! Busy polling of an epoll instance: `EPIOCSPARAMS`, from Linux 6.9 on.

use std::io;
use std::os::fd::AsRawFd;

/// Sets for how many microseconds a wait on this epoll instance polls network cards, with which
/// budget of packets, and whether polling is preferred to interrupts.
///
/// # Errors
/// `Unsupported` if the kernel has no such parameters.
#[cfg(target_os = "linux")]
pub(crate) fn set_busy_poll(epoll: &impl AsRawFd, micros: u32, budget: u16, prefer: bool) -> io::Result<()> {
    let parameters = libc::epoll_params {
        busy_poll_usecs: micros,
        busy_poll_budget: budget,
        prefer_busy_poll: prefer.into(),
        __pad: 0,
    };
    // SAFETY: the kernel reads as much of `parameters` as the request's number encodes, which is
    // its size, and only during the call. On a descriptor of another kind the request fails.
    let result = unsafe { libc::ioctl(epoll.as_raw_fd(), libc::EPIOCSPARAMS, &raw const parameters) };
    if result == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // Without the request; before any request on epoll; without CONFIG_NET_RX_BUSY_POLL. The
        // values are in their ranges, so that `EINVAL` is not about them.
        Some(libc::EINVAL | libc::ENOTTY | libc::EOPNOTSUPP) => {
            Err(io::Error::new(io::ErrorKind::Unsupported, error))
        }
        _ => Err(error),
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn set_busy_poll(
    _epoll: &impl AsRawFd,
    _micros: u32,
    _budget: u16,
    _prefer: bool,
) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// Takes a descriptor of another kind: it fails as an epoll instance of an older kernel does.
    #[test]
    fn without_the_request_it_is_unsupported() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let error = set_busy_poll(&file, 1, 1, false).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    }
}
