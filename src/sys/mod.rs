//! The thin layer over the operating system and the process: what std, mio and log do not offer.

#[macro_use]
pub(crate) mod log_limit;

mod affinity;
mod busy_poll;
mod panic;
mod prefetch;
mod socket;
// The layout of control data is that of systems with words of 64 bits.
#[cfg_attr(not(all(target_os = "linux", target_pointer_width = "64")), path = "no_timestamps.rs")]
mod timestamps;

pub(crate) use affinity::{allowed_cpus, pin_thread};
pub(crate) use busy_poll::set_busy_poll;
pub(crate) use panic::panic_message;
pub(crate) use prefetch::prefetch;
pub(crate) use socket::{accept, begin_connect, recv_into, send, send_vectored, set_quick_ack};
pub(crate) use timestamps::{enable_receive_timestamps, recv_with_timestamp};
