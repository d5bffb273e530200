//! A deterministic test kit.

use std::io::{self, IoSlice};

use crate::buf::RecvBuffer;

/// One end of a simulated stream.
#[derive(Debug)]
pub(crate) struct SimStream;

impl SimStream {
    pub(crate) fn recv(&mut self, _: &mut RecvBuffer) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    pub(crate) fn send(&mut self, _: &[IoSlice<'_>]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    pub(crate) fn shutdown_write(&mut self) {}
}
