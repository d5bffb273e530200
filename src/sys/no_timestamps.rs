//! Systems whose timestamps are not known here: what is received has none.

use std::io;
use std::os::fd::AsFd;
use std::time::SystemTime;

use crate::buf::RecvBuffer;

pub(crate) fn enable_receive_timestamps(_: &impl AsFd) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn recv_with_timestamp(
    socket: &impl AsFd,
    buffer: &mut RecvBuffer,
) -> io::Result<(usize, Option<SystemTime>)> {
    Ok((super::recv_into(socket, buffer)?, None))
}
