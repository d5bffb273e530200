//! The loop itself: running and stopping, timers, tasks, other threads, several servers.

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use femtows::{
    WSConnectConfig, WSConnectError, WSError, WSLoop, WSLoopConfig, WSLoopHandle, WSMsgType, WSPhase,
    WSServer, WSServerConfig, ws_connect, ws_create_server,
};

use crate::support::eventually;
use crate::support::peer::Peer;
use crate::support::probe::{Probe, log};
use crate::support::running::{LoopThread, block_on};
use crate::support::wire::Frame;

fn new_loop() -> WSLoop {
    WSLoop::new(WSLoopConfig::default()).unwrap()
}

fn echo_server(handle: &WSLoopHandle, addr: &str) -> WSServer {
    let (log, _) = log();
    ws_create_server(handle, move |_| Probe::new(&log).echo(), addr, WSServerConfig::default()).unwrap()
}

#[test]
fn two_servers_and_many_clients_on_one_loop() {
    const CLIENTS: usize = 40;
    let mut event_loop = new_loop();
    let handle = event_loop.handle();
    let servers = [echo_server(&handle, "127.0.0.1:0"), echo_server(&handle, "127.0.0.1:0")];
    assert_ne!(servers[0].local_addr().port(), 0);
    assert_ne!(servers[0].local_addr(), servers[1].local_addr());
    let (log, events) = log();
    let echoed = Rc::new(Cell::new(0));
    let mut transports = Vec::new();
    for n in 0..CLIENTS {
        let url = format!("ws://{}/", servers[n % 2].local_addr());
        let connecting = ws_connect(&handle, Probe::new(&log), &url, WSConnectConfig::default());
        transports.push(block_on(&mut event_loop, connecting).unwrap());
    }
    for (n, transport) in transports.iter().enumerate() {
        assert!(transport.send(WSMsgType::Text, format!("client {n}")).is_accepted());
    }
    let mut texts = Vec::new();
    eventually("all echoes came", || {
        event_loop.run_once(Some(Duration::from_millis(10))).unwrap();
        for event in events.so_far() {
            if let crate::support::probe::Event::Frame(frame) = event {
                texts.push(String::from_utf8(frame.payload).unwrap());
                echoed.set(echoed.get() + 1);
            }
        }
        echoed.get() == CLIENTS
    });
    texts.sort_unstable();
    let mut wanted: Vec<_> = (0..CLIENTS).map(|n| format!("client {n}")).collect();
    wanted.sort_unstable();
    assert_eq!(texts, wanted);
    assert_eq!(servers.each_ref().map(WSServer::connections), [CLIENTS / 2; 2]);
    let mut ids: Vec<_> = transports.iter().map(femtows::WSTransport::id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), CLIENTS);
}

#[test]
fn a_closed_server_accepts_no_more_and_its_connections_live_on() {
    let mut event_loop = new_loop();
    let handle = event_loop.handle();
    let server = echo_server(&handle, "127.0.0.1:0");
    let (log, events) = log();
    let url = format!("ws://{}/", server.local_addr());
    let connecting = ws_connect(&handle, Probe::new(&log), &url, WSConnectConfig::default());
    let transport = block_on(&mut event_loop, connecting).unwrap();
    server.close();
    assert!(!server.is_listening());
    let connecting = ws_connect(&handle, Probe::new(&log), &url, WSConnectConfig::default());
    assert!(matches!(block_on(&mut event_loop, connecting), Err(WSConnectError::Io { .. })));
    transport.send(WSMsgType::Text, "still here");
    events.connected();
    let mut frame = None;
    eventually("the echo came", || {
        event_loop.run_once(Some(Duration::from_millis(10))).unwrap();
        frame = events.so_far().pop();
        frame.is_some()
    });
    assert_eq!(frame, Some(crate::support::probe::Event::Frame(Frame::text("still here"))));
}

#[test]
fn ipv6() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        println!("SKIPPED: ::1 is not there");
        return;
    }
    let mut event_loop = new_loop();
    let handle = event_loop.handle();
    let server = echo_server(&handle, "[::1]:0");
    assert!(server.local_addr().is_ipv6());
    let (log, _events) = log();
    let url = format!("ws://[::1]:{}/", server.local_addr().port());
    let connecting = ws_connect(&handle, Probe::new(&log), &url, WSConnectConfig::default());
    let transport = block_on(&mut event_loop, connecting).unwrap();
    assert_eq!(transport.peer_addr().unwrap(), server.local_addr());
    assert_eq!(transport.request().unwrap().host().unwrap(), server.local_addr().to_string());
}

#[test]
fn one_port_for_both_families() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        println!("SKIPPED: ::1 is not there");
        return;
    }
    let on = LoopThread::start(WSLoopConfig::default());
    let port = on.ask(|handle| echo_server(handle, "[::]:0").local_addr().port());
    for addr in [SocketAddr::from(([127, 0, 0, 1], port)), SocketAddr::from((Ipv6Addr::LOCALHOST, port))] {
        Peer::connect(addr);
    }
}

#[test]
fn an_address_in_use_is_an_error() {
    let event_loop = new_loop();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (log, _events) = log();
    let addr = taken.local_addr().unwrap();
    let listen =
        ws_create_server(&event_loop.handle(), move |_| Probe::new(&log), addr, WSServerConfig::default());
    assert!(matches!(listen, Err(femtows::WSServeError::Io { .. })), "{listen:?}");
    assert_eq!(event_loop.handle().slots(), 0);
}

#[test]
fn timers_fire_in_the_order_of_their_deadlines() {
    let mut event_loop = new_loop();
    let handle = event_loop.handle();
    let order = Rc::new(RefCell::new(Vec::new()));
    let note = |name: &'static str| {
        let order = Rc::clone(&order);
        move || order.borrow_mut().push(name)
    };
    handle.call_later(Duration::from_millis(30), note("30 ms")).detach();
    handle.call_later(Duration::from_millis(10), note("10 ms")).detach();
    handle.call_later(Duration::ZERO, note("first of two")).detach();
    handle.call_later(Duration::ZERO, note("second of two")).detach();
    handle.call_later(Duration::from_millis(20), note("cancelled")).cancel();
    drop(handle.call_later(Duration::from_millis(20), note("dropped")));
    handle.call_later(Duration::MAX, note("never")).detach();
    let stop = handle.clone();
    handle.call_later(Duration::from_millis(40), move || stop.stop()).detach();
    event_loop.run().unwrap();
    assert_eq!(*order.borrow(), ["first of two", "second of two", "10 ms", "30 ms"]);
}

#[test]
fn sleep_and_timeout() {
    let mut event_loop = new_loop();
    let handle = event_loop.handle();
    let owner = handle.clone();
    let (late, soon) = block_on(&mut event_loop, async move {
        let before = owner.now();
        owner.sleep(Duration::from_millis(20)).await;
        assert!(owner.now() >= before + Duration::from_millis(20));
        let late = owner.timeout(Duration::from_millis(10), owner.sleep(Duration::from_secs(3600))).await;
        let soon = owner.timeout(Duration::from_secs(3600), owner.sleep(Duration::from_millis(10))).await;
        (late, soon)
    });
    let timeout = Duration::from_millis(10);
    assert!(matches!(late, Err(WSError::Timeout { phase: WSPhase::Operation, timeout: t }) if t == timeout));
    assert!(soon.is_ok());
    // Nothing is left that would wake the loop.
    assert_eq!(handle.slots(), 0);
}

#[test]
fn tasks_run_side_by_side_and_can_be_cancelled() {
    let mut event_loop = new_loop();
    let handle = event_loop.handle();
    let (sender, receiver) = mpsc::channel();
    let slow = {
        let (owner, sender) = (handle.clone(), sender.clone());
        handle.spawn(async move {
            owner.sleep(Duration::from_millis(20)).await;
            sender.send("slow").unwrap();
            1
        })
    };
    let quick = handle.spawn(async move {
        sender.send("quick").unwrap();
        2
    });
    let forever = {
        let owner = handle.clone();
        handle.spawn(async move { owner.sleep(Duration::MAX).await })
    };
    let sum = block_on(&mut event_loop, async move { slow.await + quick.await });
    assert_eq!(sum, 3);
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), ["quick", "slow"]);
    assert!(!forever.is_finished());
    assert_eq!(block_on(&mut event_loop, forever.cancel()), None);
}

/// Counts its polls, of which the first keeps the waker.
struct Counted {
    polls: Arc<AtomicUsize>,
    waker: mpsc::Sender<Waker>,
}

impl Future for Counted {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let first = self.polls.fetch_add(1, Ordering::SeqCst) == 0;
        if first {
            self.waker.send(cx.waker().clone()).unwrap();
        }
        if first { Poll::Pending } else { Poll::Ready(()) }
    }
}

#[test]
fn a_task_runs_on_its_own_loop_wherever_it_is_woken() {
    let (mut home, mut other) = (new_loop(), new_loop());
    let asleep = |home: &mut WSLoop| {
        let (polls, (waker, wakers)) = (Arc::new(AtomicUsize::new(0)), mpsc::channel());
        home.handle().spawn(Counted { polls: Arc::clone(&polls), waker }).detach();
        home.run_once(Some(Duration::ZERO)).unwrap();
        (polls, wakers.recv().unwrap())
    };
    let polls = |polls: &AtomicUsize| polls.load(Ordering::SeqCst);

    // On the thread of its loop, by a task of another.
    let (polled, waker) = asleep(&mut home);
    other.block_on(async { waker.wake() }).unwrap();
    other.run_once(Some(Duration::ZERO)).unwrap();
    assert_eq!(polls(&polled), 1);
    home.run_once(Some(Duration::ZERO)).unwrap();
    assert_eq!(polls(&polled), 2);

    // On another thread; on one that has a loop; and on one that is ending.
    let elsewhere: [fn(Waker); 3] = [
        |waker| waker.wake(),
        |waker| new_loop().block_on(async { waker.wake() }).unwrap(),
        |waker| {
            struct Last(Cell<Option<Waker>>);
            impl Drop for Last {
                fn drop(&mut self) {
                    self.0.take().unwrap().wake();
                }
            }
            thread_local!(static LAST: Last = const { Last(Cell::new(None)) });
            LAST.with(|last| last.0.set(Some(waker)));
            new_loop();
        },
    ];
    for wake in elsewhere {
        let (polled, waker) = asleep(&mut home);
        thread::spawn(move || wake(waker)).join().unwrap();
        assert_eq!(polls(&polled), 1);
        home.run_once(None).unwrap();
        assert_eq!(polls(&polled), 2);
    }

    // When its loop is gone, it is too.
    let (polled, waker) = asleep(&mut home);
    drop(home);
    waker.wake();
    other.run_once(Some(Duration::ZERO)).unwrap();
    assert_eq!(polls(&polled), 1);
}

#[test]
fn a_loop_may_end_with_its_thread() {
    thread_local!(static LOOP: Cell<Option<WSLoop>> = const { Cell::new(None) });
    // What a thread has is dropped in the order in which it was first used, or in the reverse one.
    for used_first in [true, false] {
        let (gone, dropped) = mpsc::channel();
        let thread = thread::spawn(move || {
            if used_first {
                LOOP.set(None);
            }
            let mut event_loop = new_loop();
            let asleep = Last(gone.clone());
            let task = async move {
                let _asleep = asleep;
                pending::<()>().await;
            };
            event_loop.handle().spawn(task).detach();
            event_loop.run_once(Some(Duration::ZERO)).unwrap();
            let never_polled = Last(gone);
            event_loop.handle().spawn(async move { drop(never_polled) }).detach();
            LOOP.set(Some(event_loop));
        });
        thread.join().unwrap();
        assert_eq!(dropped.iter().count(), 2);
    }
}

/// Tells that it is dropped.
struct Last(mpsc::Sender<()>);

impl Drop for Last {
    fn drop(&mut self) {
        self.0.send(()).unwrap();
    }
}

#[test]
fn panics_in_tasks_calls_and_timers_leave_the_loop_running() {
    let mut event_loop = new_loop();
    let handle = event_loop.handle();
    let task = handle.spawn(async { panic!("in a task") });
    handle.call_soon(|| panic!("in a call"));
    handle.call_later(Duration::ZERO, || panic!("in a timer")).detach();
    handle.remote().post(|_| panic!("in a posted call")).unwrap();
    let reached = Rc::new(Cell::new(0));
    for delay in [0, 5] {
        let reached = Rc::clone(&reached);
        handle.call_later(Duration::from_millis(delay), move || reached.set(reached.get() + 1)).detach();
    }
    eventually("the timers fire", || {
        event_loop.run_once(Some(Duration::from_millis(1))).unwrap();
        reached.get() == 2
    });
    assert!(task.is_finished());
    let caught = panic::catch_unwind(AssertUnwindSafe(|| event_loop.block_on(task)));
    let message = caught.expect_err("the panic comes out of the await");
    assert_eq!(message.downcast_ref::<&str>(), Some(&"in a task"));
}

/// The loop is as before after a panic that came out of `block_on`: sends leave, time passes, it sleeps.
#[test]
fn a_panic_out_of_block_on_leaves_the_loop_whole() {
    let on = LoopThread::start(WSLoopConfig::default());
    let addr = on.ask(|handle| echo_server(handle, "127.0.0.1:0").local_addr());
    let mut event_loop = new_loop();
    let handle = event_loop.handle();
    let caught = panic::catch_unwind(AssertUnwindSafe(|| event_loop.block_on(async { panic!("out of it") })));
    assert!(caught.is_err());
    let (log, events) = log();
    let url = format!("ws://{addr}/");
    let connecting = ws_connect(&handle, Probe::new(&log), &url, WSConnectConfig::default());
    let transport = block_on(&mut event_loop, connecting).unwrap();
    events.connected();
    // Outside of a dispatch a send leaves at once.
    assert_eq!(transport.send(WSMsgType::Text, "x"), femtows::WSSendStatus::Sent);
    let before = handle.now();
    thread::sleep(Duration::from_millis(2));
    assert!(handle.now() > before);
}

#[test]
fn run_once_waits_no_longer_than_it_is_told() {
    let mut event_loop = new_loop();
    let handle = event_loop.handle();
    let fired = Rc::new(Cell::new(false));
    let seen = Rc::clone(&fired);
    handle.call_later(Duration::from_secs(3600), move || seen.set(true)).detach();
    event_loop.run_once(Some(Duration::ZERO)).unwrap();
    event_loop.run_once(Some(Duration::from_millis(5))).unwrap();
    assert!(!fired.get());
    let seen = Rc::clone(&fired);
    handle.call_later(Duration::from_millis(5), move || seen.set(true)).detach();
    // Without a limit it waits for the timer.
    event_loop.run_once(None).unwrap();
    assert!(fired.get());
}

#[test]
fn a_spinning_loop_does_the_same() {
    let mut event_loop = WSLoop::new(WSLoopConfig::default().spin(Some(Duration::from_millis(5)))).unwrap();
    let handle = event_loop.handle();
    let server = echo_server(&handle, "127.0.0.1:0");
    let (log, events) = log();
    let url = format!("ws://{}/", server.local_addr());
    let connecting = ws_connect(&handle, Probe::new(&log), &url, WSConnectConfig::default());
    let transport = block_on(&mut event_loop, connecting).unwrap();
    transport.send(WSMsgType::Binary, "x");
    block_on(&mut event_loop, handle.sleep(Duration::from_millis(20)));
    events.connected();
    assert_eq!(events.frame(), Frame::binary("x"));
}

#[test]
fn stop_ends_run_from_any_thread_and_run_may_be_called_again() {
    let mut event_loop = new_loop();
    let handle = event_loop.handle();
    let remote = handle.remote();
    for _ in 0..3 {
        let remote = remote.clone();
        let thread = thread::spawn(move || {
            thread::sleep(Duration::from_millis(5));
            remote.stop();
        });
        event_loop.run().unwrap();
        thread.join().unwrap();
    }
    let stop = handle.clone();
    handle.call_soon(move || stop.stop());
    event_loop.run().unwrap();
    // A stop that comes before the run counts for it.
    handle.stop();
    event_loop.run().unwrap();
}

#[test]
fn posted_calls_run_in_order_on_the_thread_of_the_loop() {
    const THREADS: usize = 4;
    const CALLS: usize = 500;
    let on = LoopThread::start(WSLoopConfig::default());
    let loop_thread = on.ask(|_| thread::current().id());
    let (sender, receiver) = mpsc::channel();
    let threads: Vec<_> = (0..THREADS)
        .map(|n| {
            let (remote, sender) = (on.remote.clone(), sender.clone());
            thread::spawn(move || {
                for call in 0..CALLS {
                    let sender = sender.clone();
                    let tell =
                        move |_: &WSLoopHandle| sender.send((thread::current().id(), n, call)).unwrap();
                    remote.post(tell).unwrap();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    on.ask(|_| ());
    let mut next = [0; THREADS];
    for (thread, n, call) in receiver.try_iter() {
        assert_eq!((thread, call), (loop_thread, next[n]));
        next[n] += 1;
    }
    assert_eq!(next, [CALLS; THREADS]);
}

/// A sleeping loop is woken by each kind of request, however the two threads meet.
#[test]
fn no_wake_up_is_lost() {
    let on = LoopThread::start(WSLoopConfig::default());
    let count = Arc::new(AtomicUsize::new(0));
    for n in 1..=2000 {
        let counter = Arc::clone(&count);
        let call = move |_: &WSLoopHandle| {
            counter.fetch_add(1, Ordering::SeqCst);
        };
        on.remote.post(call).unwrap();
        if n % 3 != 0 {
            eventually("the call ran", || count.load(Ordering::SeqCst) == n);
        }
    }
}

#[test]
fn no_wake_up_of_a_task_is_lost() {
    let mut event_loop = new_loop();
    let handle = event_loop.handle();
    let (wakers, waiting) = mpsc::channel::<Waker>();
    let waking = thread::spawn(move || {
        for (n, waker) in waiting.into_iter().enumerate() {
            // The loop is asleep, about to be, or busy.
            (0..n % 50 * 100).for_each(|_| std::hint::spin_loop());
            waker.wake();
        }
    });
    let mut polls = 0;
    let task = handle.spawn(poll_fn(move |cx| {
        polls += 1;
        if polls > 5000 {
            return Poll::Ready(());
        }
        wakers.send(cx.waker().clone()).unwrap();
        Poll::Pending
    }));
    let in_time = handle.timeout(Duration::from_secs(60), task);
    event_loop.block_on(in_time).unwrap().expect("a wake-up is lost");
    waking.join().unwrap();
}

/// CPU time that this thread has used.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the answer.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) }, 0);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

/// A stop is for `run`; until somebody runs the loop it must not keep it from sleeping.
#[test]
fn a_stop_that_waits_does_not_make_block_on_spin() {
    let mut event_loop = new_loop();
    let handle = event_loop.handle();
    handle.stop();
    let (before, wall) = (cpu_time(), std::time::Instant::now());
    block_on(&mut event_loop, handle.sleep(Duration::from_millis(500)));
    let (used, wall) = (cpu_time().checked_sub(before).unwrap(), wall.elapsed());
    assert!(used * 20 < wall, "{used:?} of CPU in {wall:?}");
    // It was not forgotten.
    event_loop.run().unwrap();
}
