//! What only real time can show: the kernel's timestamps, how long callbacks take.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, SystemTime};

use femtows::message::{WebSocket, WebSocketConfig, WebSocketError, serve_websocket};
use femtows::{
    WSLoopConfig, WSLoopHandle, WSMessage, WSMessageAdapter, WSMessageListener, WSResult, WSServerConfig,
    WSTransport, WSTuning, ws_create_server,
};

use crate::support::peer::Peer;
use crate::support::probe::{Probe, echo, log};
use crate::support::running::{LoopThread, Server, serve};
use crate::support::wire::{CONTINUATION, Frame};
use crate::support::{PATIENCE, eventually};

/// A server whose listener sleeps over each frame, and what its frames said of their arrival.
fn timed_server(tuning: WSTuning, nap: Duration) -> (Server, Receiver<Option<SystemTime>>) {
    let (log, _) = log();
    let (tell, told) = channel();
    let server = serve(WSServerConfig::default().tuning(tuning), move |_| {
        let tell = tell.clone();
        Probe::new(&log).on_frame(move |transport, frame| {
            tell.send(frame.received_at()).unwrap();
            thread::sleep(nap);
            echo(transport, frame)
        })
    });
    (server, told)
}

#[test]
#[cfg(target_os = "linux")]
fn frames_tell_when_the_kernel_received_them() {
    let nap = Duration::from_millis(30);
    let (server, told) = timed_server(WSTuning::default().receive_timestamps(true), nap);
    let mut peer = Peer::connect(server.addr);
    // The kernel begins to note times a little after it was first asked to.
    eventually("the kernel notes times", || {
        peer.send(&Frame::text("now?"));
        peer.read_frame();
        told.recv_timeout(PATIENCE).unwrap().is_some()
    });
    for number in 0..5 {
        let before = SystemTime::now();
        let frames = [Frame::text(format!("{number}")), Frame::text("right behind it")];
        let bytes: Vec<u8> = frames.iter().flat_map(|frame| peer.encode(frame)).collect();
        peer.write(&bytes);
        assert_eq!([peer.read_frame(), peer.read_frame()], frames);
        let after = SystemTime::now();
        let stamps = [(); 2].map(|()| told.recv_timeout(PATIENCE).unwrap().expect("the kernel has noted it"));
        assert_eq!(stamps[0], stamps[1], "both came in one read");
        // The second was delivered a nap later than it came, which its stamp must not hide.
        assert!(before <= stamps[1] && stamps[1] + nap <= after, "{before:?} {stamps:?} {after:?}");
    }
}

/// Keeps when the messages came, and answers.
struct Times(Sender<Option<SystemTime>>);

impl WSMessageListener for Times {
    fn on_ws_message(&mut self, transport: &WSTransport, message: WSMessage<'_>) -> WSResult {
        self.0.send(message.received_at())?;
        transport.send_text("noted");
        Ok(())
    }
}

#[test]
#[cfg(target_os = "linux")]
fn messages_tell_when_the_kernel_received_them() {
    let (tell, told) = channel();
    let config = WSServerConfig::default().tuning(WSTuning::default().receive_timestamps(true));
    let server = serve(config, move |_| WSMessageAdapter::new(Times(tell.clone())));
    let mut peer = Peer::connect(server.addr);
    // The kernel begins to note times a little after it was first asked to.
    eventually("the kernel notes times", || {
        let before = SystemTime::now();
        for frame in [Frame::text("n").bits(false, 0), Frame::new(CONTINUATION, "ow?")] {
            peer.send(&frame);
        }
        peer.read_frame();
        let stamp = told.recv_timeout(PATIENCE).unwrap();
        assert!(stamp.is_none_or(|stamp| before <= stamp && stamp <= SystemTime::now()), "{stamp:?}");
        stamp.is_some()
    });
}

#[test]
#[cfg(target_os = "linux")]
fn tasks_learn_when_the_kernel_received_a_message() {
    let on = LoopThread::start(WSLoopConfig::default());
    let (tell, told) = channel();
    let addr = on.ask(move |handle| {
        let handler = move |ws: WebSocket| {
            let tell = tell.clone();
            async move {
                ws.accept().await?;
                while let Some((message, info)) = ws.recv_with_info().await? {
                    tell.send(info.received_at).unwrap();
                    ws.send(message).await?;
                }
                Ok::<(), WebSocketError>(())
            }
        };
        let config = WSServerConfig::default().tuning(WSTuning::default().receive_timestamps(true));
        let config = WebSocketConfig::default().server(config);
        serve_websocket(handle, handler, "127.0.0.1:0", config).unwrap().local_addr()
    });
    let mut peer = Peer::connect(addr);
    eventually("the kernel notes times", || {
        let before = SystemTime::now();
        peer.send(&Frame::text("now?"));
        peer.read_frame();
        let stamp = told.recv_timeout(PATIENCE).unwrap();
        assert!(stamp.is_none_or(|stamp| before <= stamp && stamp <= SystemTime::now()), "{stamp:?}");
        stamp.is_some()
    });
}

#[test]
fn frames_tell_nothing_unless_they_are_asked_to() {
    let (server, told) = timed_server(WSTuning::default(), Duration::ZERO);
    let mut peer = Peer::connect(server.addr);
    peer.send(&Frame::text("when?"));
    assert_eq!(peer.read_frame(), Frame::text("when?"));
    assert_eq!(told.recv_timeout(PATIENCE), Ok(None));
}

#[test]
fn the_longest_callback_and_the_lag_of_the_loop_are_measured_on_demand() {
    let nap = Duration::from_millis(20);
    for measures in [true, false] {
        let on = LoopThread::start(WSLoopConfig::default().measure_callbacks(measures));
        let (log, _) = log();
        let addr = on.ask(move |handle| {
            let factory = move |_: &_| {
                Probe::new(&log).on_frame(move |transport, frame| {
                    thread::sleep(nap);
                    echo(transport, frame)
                })
            };
            ws_create_server(handle, factory, "127.0.0.1:0", WSServerConfig::default()).unwrap().local_addr()
        });
        let mut peer = Peer::connect(addr);
        peer.send(&Frame::text("slowly"));
        assert_eq!(peer.read_frame(), Frame::text("slowly"));
        let metrics = on.ask(WSLoopHandle::metrics);
        on.ask(|_| ());
        let seen = metrics.snapshot();
        assert_eq!(seen.longest_callback.is_some(), measures, "{seen:?}");
        assert_eq!(seen.longest_callback >= Some(nap), measures, "{seen:?}");
        assert_eq!(seen.longest_loop_lag.is_some(), measures, "{seen:?}");
        assert_eq!(seen.longest_loop_lag >= Some(nap), measures, "{seen:?}");
        assert_eq!(seen.loop_lag > Some(Duration::ZERO), measures, "{seen:?}");
    }
}
