//! Busy polling of a loop, read back from the kernel.

use std::collections::HashSet;
use std::fs;
use std::time::Duration;

use femtows::{WSBusyPoll, WSError, WSLoop, WSLoopConfig};

use crate::own_process;

/// Returns the parameters of an epoll instance: microseconds, budget, preference.
fn parameters(descriptor: i32) -> Option<(u32, u16, u8)> {
    let mut found =
        libc::epoll_params { busy_poll_usecs: 0, busy_poll_budget: 0, prefer_busy_poll: 0, __pad: 0 };
    // SAFETY: the kernel writes a `struct epoll_params`; a descriptor of another kind is refused.
    let result = unsafe { libc::ioctl(descriptor, libc::EPIOCGPARAMS, &raw mut found) };
    (result == 0).then_some((found.busy_poll_usecs, found.busy_poll_budget, found.prefer_busy_poll))
}

/// Returns the parameters of the epoll instances of this process, each once. `None`, and a line of
/// output, if the kernel has none.
fn of_this_process() -> Option<HashSet<(u32, u16, u8)>> {
    let is_epoll = |entry: &fs::DirEntry| {
        fs::read_link(entry.path()).is_ok_and(|kind| kind.to_string_lossy() == "anon_inode:[eventpoll]")
    };
    let descriptors = fs::read_dir("/proc/self/fd").unwrap().map(Result::unwrap).filter(is_epoll);
    let found: Option<HashSet<_>> =
        descriptors.map(|entry| parameters(entry.file_name().to_str().unwrap().parse().unwrap())).collect();
    if found.is_none() {
        println!("skipped: this kernel has no EPIOCGPARAMS (Linux 6.9)");
    }
    found
}

/// Returns the parameters of a loop of this configuration. `None` if the kernel has none.
fn of_loop(config: WSLoopConfig) -> Option<(u32, u16, u8)> {
    let event_loop = WSLoop::new(config).unwrap();
    let found = of_this_process()?;
    drop(event_loop);
    // Its registry has the same epoll instance under another descriptor.
    assert_eq!(found.len(), 1, "{found:?}");
    found.into_iter().next()
}

#[test]
fn busy_poll_is_set_on_the_epoll_instance() {
    let _process = own_process();
    let busy_poll = WSBusyPoll::new(Duration::from_micros(70)).budget(16).prefer(true);
    if let Some(found) = of_loop(WSLoopConfig::default().busy_poll(busy_poll)) {
        assert_eq!(found, (70, 16, 1));
    }
}

#[test]
fn the_longest_busy_poll_is_accepted() {
    let _process = own_process();
    let busy_poll = WSBusyPoll::new(Duration::MAX);
    if let Some(found) = of_loop(WSLoopConfig::default().busy_poll(busy_poll)) {
        assert_eq!(found, (i32::MAX.cast_unsigned(), 0, 0));
    }
}

#[test]
fn without_busy_poll_the_parameters_are_left_alone() {
    let _process = own_process();
    if let Some(found) = of_loop(WSLoopConfig::default()) {
        assert_eq!(found, (0, 0, 0));
    }
}

/// With the right to it, the budget is set.
#[test]
fn a_budget_without_the_right_to_it_is_an_error() {
    let _process = own_process();
    if of_loop(WSLoopConfig::default()).is_none() {
        return;
    }
    let busy_poll = WSBusyPoll::new(Duration::from_micros(1)).budget(65);
    match WSLoop::new(WSLoopConfig::default().busy_poll(busy_poll)) {
        Ok(_event_loop) => assert_eq!(of_this_process().unwrap(), [(1, 65, 0)].into()),
        Err(WSError::Io { context, source }) => {
            assert_eq!(&*context, "cannot set busy polling");
            assert_eq!(source.raw_os_error(), Some(libc::EPERM));
        }
        Err(error) => panic!("{error}"),
    }
}
