//! The thin layer over the operating system: what std and mio do not offer.

mod socket;

pub(crate) use socket::{begin_connect, recv_into, send, send_vectored, set_quick_ack};
