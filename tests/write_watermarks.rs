//! `pause_writing` and `resume_writing` against a peer that does not read.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use femtows::{
    WSConnectConfig, WSFrame, WSListener, WSLoop, WSLoopConfig, WSMsgType, WSResult, WSServerConfig,
    WSTransport, WSUpgradeRequest, ws_connect, ws_create_server,
};

const FRAME: usize = 8 * 1024;
const LOW: usize = 16 * 1024;
const HIGH: usize = 64 * 1024;

/// What the watermark callbacks found in `buffered_amount`.
#[derive(Default)]
struct Watermarks {
    paused: RefCell<Vec<usize>>,
    resumed: RefCell<Vec<usize>>,
}

/// Sends one frame per turn of the loop until told to pause, and no more.
struct Sender(Rc<Watermarks>);

impl WSListener for Sender {
    fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
        transport.set_write_watermarks(LOW, HIGH);
        let (transport, marks) = (transport.clone(), Rc::clone(&self.0));
        let handle = transport.handle();
        let send = async move {
            // Far more than any kernel buffers.
            for _ in 0..4000 {
                if !marks.paused.borrow().is_empty() {
                    return;
                }
                assert!(transport.send(WSMsgType::Binary, [7; FRAME]).is_accepted());
                transport.handle().sleep(Duration::from_micros(1)).await;
            }
        };
        handle.spawn(send).detach();
        Ok(())
    }

    fn on_ws_frame(&mut self, _: &WSTransport, _: &mut WSFrame<'_>) -> WSResult {
        Ok(())
    }

    fn pause_writing(&mut self, transport: &WSTransport) {
        self.0.paused.borrow_mut().push(transport.buffered_amount());
    }

    fn resume_writing(&mut self, transport: &WSTransport) {
        self.0.resumed.borrow_mut().push(transport.buffered_amount());
    }
}

/// Does not read until told to.
struct Sleeper(Rc<Cell<usize>>);

impl WSListener for Sleeper {
    fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
        transport.pause_reading();
        Ok(())
    }

    fn on_ws_frame(&mut self, _: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        self.0.set(self.0.get() + frame.payload().len());
        Ok(())
    }
}

#[test]
fn a_sender_is_paused_while_the_kernel_takes_nothing_and_resumed_when_it_does() {
    let mut event_loop = WSLoop::new(WSLoopConfig::default()).unwrap();
    let handle = event_loop.handle();
    let marks = Rc::new(Watermarks::default());
    let received = Rc::new(Cell::new(0));

    let of_server = Rc::clone(&marks);
    let factory = move |_: &WSUpgradeRequest| Sender(Rc::clone(&of_server));
    let server = ws_create_server(&handle, factory, "127.0.0.1:0", WSServerConfig::default()).unwrap();
    let url = format!("ws://{}/", server.local_addr());
    let listener = Sleeper(Rc::clone(&received));
    let client = event_loop
        .block_on(ws_connect(&handle, listener, &url, WSConnectConfig::default()))
        .unwrap()
        .unwrap();

    let until = |event_loop: &mut WSLoop, done: &dyn Fn() -> bool| {
        for _ in 0..2000 {
            if done() {
                return;
            }
            event_loop.run_once(Some(Duration::from_millis(10))).unwrap();
        }
    };
    until(&mut event_loop, &|| !marks.paused.borrow().is_empty());
    let paused = marks.paused.borrow().clone();
    assert_eq!(paused.len(), 1, "the sender was not told to pause");
    assert!(paused[0] > HIGH && paused[0] <= HIGH + 2 * FRAME, "paused late: {} bytes wait", paused[0]);
    assert!(marks.resumed.borrow().is_empty());

    client.resume_reading();
    until(&mut event_loop, &|| !marks.resumed.borrow().is_empty());
    let resumed = marks.resumed.borrow().clone();
    assert_eq!(resumed.len(), 1, "the sender was not told to go on");
    assert!(resumed[0] <= LOW, "resumed early: {} bytes wait", resumed[0]);
    assert_eq!(marks.paused.borrow().len(), 1);
    assert!(received.get() > 0);
}
