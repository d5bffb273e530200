//! The thin layer over the operating system: what std and mio do not offer.

mod socket;

pub(crate) use socket::{recv_into, send, send_vectored, set_busy_poll, set_quick_ack};
