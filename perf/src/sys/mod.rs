//! The few system calls that std does not offer. All `unsafe` of the harness is here.

mod affinity;
mod epoll;
mod process;

pub(crate) use affinity::{allowed_cores, pin_thread};
pub(crate) use epoll::{Epoll, Event, Events, Wait};
pub(crate) use process::{confine, die_with_this_thread, interrupt, raise_open_files};
