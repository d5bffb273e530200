//! What belongs to a connection, or to a scope: tasks that end with it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use femtows::testkit::TestKit;
use femtows::*;

const SECOND: Duration = Duration::from_secs(1);

/// Notes its drop.
struct Dropped(Rc<RefCell<Vec<&'static str>>>, &'static str);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.borrow_mut().push(self.1);
    }
}

/// Spawns a task of its connection, and notes its own end.
struct Owner {
    log: Rc<RefCell<Vec<&'static str>>>,
    late: Rc<Cell<Option<WSTask<()>>>>,
}

impl WSListener for Owner {
    fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
        let guard = Dropped(Rc::clone(&self.log), "task dropped");
        let (to, handle) = (transport.clone(), transport.handle());
        let ticks = async move {
            let _guard = guard;
            loop {
                to.send(WSMsgType::Text, "tick");
                handle.sleep(SECOND).await;
            }
        };
        transport.spawn(ticks).detach();
        Ok(())
    }

    fn on_ws_frame(&mut self, _: &WSTransport, _: &mut WSFrame<'_>) -> WSResult {
        Ok(())
    }

    fn on_ws_disconnected(&mut self, transport: &WSTransport) {
        self.log.borrow_mut().push("disconnected");
        let guard = Dropped(Rc::clone(&self.log), "late task dropped");
        let task = transport.spawn(async move {
            let _guard = guard;
            panic!("it is never polled");
        });
        self.late.set(Some(task));
    }
}

#[test]
fn tasks_of_a_connection_run_until_it_ends() {
    let mut kit = TestKit::new(1);
    let (log, late) = (Rc::default(), Rc::default());
    let owner = {
        let (log, late) = (Rc::clone(&log), Rc::clone(&late));
        move |_: &WSUpgradeRequest| Owner { log: Rc::clone(&log), late: Rc::clone(&late) }
    };
    let mut peer = kit.raw_server(owner, WSServerConfig::default());
    peer.upgrade(&mut kit);
    kit.advance(2 * SECOND);
    assert_eq!(peer.frames().len(), 3, "one at once, one per second");
    assert!(log.borrow().is_empty());
    peer.close();
    kit.run_until_idle();
    assert_eq!(*log.borrow(), ["task dropped", "disconnected", "late task dropped"]);
    let late: WSTask<()> = late.take().expect("it was spawned");
    assert!(late.is_finished());
    drop(peer);
    assert_eq!(kit.leftovers(), <[&str; 0]>::default());
}

#[test]
fn a_task_may_end_its_own_connection() {
    let mut kit = TestKit::new(2);
    let (log, late) = (Rc::default(), Rc::default());
    let owner = {
        let (log, late) = (Rc::clone(&log), Rc::clone(&late));
        move |_: &WSUpgradeRequest| Owner { log: Rc::clone(&log), late: Rc::clone(&late) }
    };
    let mut peer = kit.raw_server(owner, WSServerConfig::default());
    peer.upgrade(&mut kit);
    let transport = kit.transport(peer.link(), proto::Role::Server).unwrap();
    let (guard, to) = (Dropped(Rc::clone(&log), "ending task dropped"), transport.clone());
    let ending = transport.spawn(async move {
        let _guard = guard;
        to.abort();
        to.wait_disconnected().await
    });
    kit.run_until_idle();
    assert!(ending.is_finished());
    let log = log.borrow();
    let position = |entry| log.iter().position(|seen| *seen == entry).unwrap();
    assert!(position("ending task dropped") < position("disconnected"), "{log:?}");
}

#[test]
fn many_short_tasks_of_a_connection_leave_nothing_behind() {
    let mut kit = TestKit::new(3);
    let (log, late) = (Rc::default(), Rc::default());
    let owner = move |_: &WSUpgradeRequest| Owner { log: Rc::clone(&log), late: Rc::clone(&late) };
    let mut peer = kit.raw_server(owner, WSServerConfig::default());
    peer.upgrade(&mut kit);
    let transport = kit.transport(peer.link(), proto::Role::Server).unwrap();
    let done = Rc::new(Cell::new(0));
    for _ in 0..100 {
        for _ in 0..100 {
            let done = Rc::clone(&done);
            transport.spawn(async move { done.set(done.get() + 1) }).detach();
        }
        kit.run_until_idle();
    }
    assert_eq!(done.get(), 10_000);
}

#[test]
fn a_scope_ends_its_tasks_and_no_others() {
    let mut kit = TestKit::new(4);
    let handle = kit.handle();
    let log = Rc::new(RefCell::new(Vec::new()));
    let sleeping = |name| {
        let (guard, handle) = (Dropped(Rc::clone(&log), name), handle.clone());
        async move {
            let _guard = guard;
            handle.sleep(SECOND).await;
        }
    };
    let scope = handle.task_scope();
    let inside = [scope.spawn(sleeping("first")), scope.spawn(sleeping("second"))];
    let done = scope.spawn(async { 7 });
    let outside = handle.spawn(sleeping("outside"));
    kit.run_until_idle();
    drop(scope);
    assert_eq!(*log.borrow(), ["first", "second"], "dropped at once, in their order");
    assert!(inside.iter().all(WSTask::is_finished));
    assert_eq!(kit.block_on(done), 7, "a result stays");
    assert!(!outside.is_finished());
    kit.block_on(outside);
}

#[test]
fn a_task_that_drops_its_own_scope_ends_after_its_poll() {
    let mut kit = TestKit::new(5);
    let scope = Rc::new(Cell::new(Some(kit.handle().task_scope())));
    let log = Rc::new(RefCell::new(Vec::new()));
    let task = {
        let (within, log) = (Rc::clone(&scope), Rc::clone(&log));
        let own = scope.take().unwrap();
        let guard = Dropped(Rc::clone(&log), "dropped");
        let task = own.spawn(async move {
            let _guard = guard;
            drop(within.take());
            log.borrow_mut().push("goes on");
            std::future::pending::<()>().await;
        });
        scope.set(Some(own));
        task
    };
    kit.run_until_idle();
    assert!(task.is_finished());
    assert_eq!(*log.borrow(), ["goes on", "dropped"]);
}

#[test]
#[expect(clippy::let_underscore_future, reason = "the request is made by the call")]
fn cancelling_and_aborting_need_no_await() {
    let mut kit = TestKit::new(6);
    let log = Rc::new(RefCell::new(Vec::new()));
    let spawn = |name| {
        let guard = Dropped(Rc::clone(&log), name);
        kit.handle().spawn(async move {
            let _guard = guard;
            std::future::pending::<()>().await;
        })
    };
    let (cancelled, aborted) = (spawn("cancelled"), spawn("aborted"));
    let early = spawn("before its first poll");
    early.abort();
    kit.run_until_idle();
    let _ = cancelled.cancel();
    aborted.abort();
    aborted.abort();
    assert!(!aborted.is_finished(), "the future is dropped by the loop");
    kit.run_until_idle();
    assert!(aborted.is_finished());
    assert_eq!(*log.borrow(), ["before its first poll", "cancelled", "aborted"]);
    let done = kit.handle().spawn(async { 3 });
    kit.run_until_idle();
    done.abort();
    assert_eq!(kit.block_on(done.cancel()), Some(3), "a result that is there stays");
}

/// Looks at the values of its connection and of its loop.
#[derive(Default)]
struct Holder;

struct Name(&'static str);

/// A value that holds its own connection.
struct Circle(WSTransport, Rc<RefCell<Vec<&'static str>>>);

impl Drop for Circle {
    fn drop(&mut self) {
        self.1.borrow_mut().push("circle dropped");
        self.0.set_data(Name("set too late"));
    }
}

#[derive(Default)]
struct Names(RefCell<Vec<&'static str>>);

impl WSListener for Holder {
    fn on_ws_frame(&mut self, _: &WSTransport, _: &mut WSFrame<'_>) -> WSResult {
        Ok(())
    }

    fn on_ws_disconnected(&mut self, transport: &WSTransport) {
        let name = transport.data::<Name>().map_or("nameless", |name| name.0);
        transport.handle().local::<Names>().0.borrow_mut().push(name);
    }
}

#[test]
fn values_of_a_connection_are_there_until_on_ws_disconnected_has_returned() {
    let mut kit = TestKit::new(7);
    let mut peer = kit.raw_server(|_: &WSUpgradeRequest| Holder, WSServerConfig::default());
    peer.upgrade(&mut kit);
    let transport = kit.transport(peer.link(), proto::Role::Server).unwrap();
    assert!(transport.data::<Name>().is_none());
    transport.set_data(Name("first"));
    let first = transport.data::<Name>().unwrap();
    transport.set_data(Name("second"));
    let log = Rc::new(RefCell::new(Vec::new()));
    transport.set_data(Circle(transport.clone(), Rc::clone(&log)));
    assert_eq!((first.0, transport.data::<Name>().unwrap().0), ("first", "second"));
    peer.close();
    kit.run_until_idle();
    assert_eq!(*kit.handle().local::<Names>().0.borrow(), ["second"]);
    assert_eq!(*log.borrow(), ["circle dropped"]);
    assert!(transport.data::<Name>().is_none(), "neither the old one nor one that came too late");
}

#[derive(Clone, Default)]
struct Drops(Rc<RefCell<Vec<&'static str>>>);

/// A value that holds its own loop.
#[derive(Default)]
struct Looped(RefCell<Option<(WSLoopHandle, Drops)>>);

impl Drop for Looped {
    fn drop(&mut self) {
        if let Some((handle, drops)) = self.0.take() {
            drops.0.borrow_mut().push("value dropped");
            assert!(handle.local::<Looped>().0.borrow().is_none(), "a new one, which is not kept");
        }
    }
}

#[test]
fn values_of_a_loop_are_one_of_each_type_and_end_with_it() {
    let (kit, other) = (TestKit::new(8), TestKit::new(9));
    let handle = kit.handle();
    assert!(Rc::ptr_eq(&handle.local::<Names>(), &handle.local::<Names>()));
    assert!(!Rc::ptr_eq(&handle.local::<Names>(), &other.handle().local::<Names>()));
    let drops = Drops::default();
    handle.local::<Looped>().0.replace(Some((handle.clone(), drops.clone())));
    drop(kit);
    assert_eq!(*drops.0.borrow(), ["value dropped"]);
    assert!(
        !Rc::ptr_eq(&handle.local::<Names>(), &handle.local::<Names>()),
        "a loop that is gone keeps none"
    );
}

#[test]
fn making_a_value_of_a_loop_may_ask_for_it() {
    thread_local! {
        static HANDLE: RefCell<Option<WSLoopHandle>> = const { RefCell::new(None) };
    }
    struct Nested(u8);
    impl Default for Nested {
        fn default() -> Self {
            match HANDLE.take() {
                Some(handle) => Self(handle.local::<Self>().0 + 1),
                None => Self(1),
            }
        }
    }
    let kit = TestKit::new(10);
    HANDLE.set(Some(kit.handle()));
    assert_eq!(kit.handle().local::<Nested>().0, 1, "the one that was made first");
}
