//! The thin layer over the operating system: what std and mio do not offer.

mod affinity;
mod socket;

pub(crate) use affinity::{allowed_cpus, pin_thread};
pub(crate) use socket::{begin_connect, recv_into, send, send_vectored, set_busy_poll, set_quick_ack};
