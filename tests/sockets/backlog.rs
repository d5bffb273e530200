//! A client that sends and never reads, against a callback echo server that pauses reading on a
//! backlog.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use femtows::{
    WSFrame, WSLimits, WSListener, WSOverflowPolicy, WSResult, WSServerConfig, WSTransport, WSUpgradeRequest,
};

use crate::support::PATIENCE;
use crate::support::peer::Peer;
use crate::support::running::{self, serve};

/// 64 MiB on the wire: a masked frame of ten bytes has sixteen.
const MESSAGES: usize = (64 << 20) / 16;

/// The most that may wait: the bytes that one dispatch gathers before a flush, the high watermark,
/// and a frame.
const BOUND: usize = (256 << 10) + (64 << 10) + 12;

struct Echo;

impl WSListener for Echo {
    fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
        running::remember(transport);
        Ok(())
    }

    fn on_ws_frame(&mut self, transport: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        if !frame.msg_type().is_control() {
            transport.send(frame.msg_type(), frame.payload());
        }
        Ok(())
    }
}

/// Numbered messages of ten bytes, each behind this header.
fn messages(header: &[u8], numbers: std::ops::Range<usize>) -> Vec<u8> {
    numbers.flat_map(|number| [header, format!("{number:010}").as_bytes()].concat()).collect()
}

/// Writes all messages, counts what has been written, and reads nothing.
fn write_all(mut stream: TcpStream, written: &AtomicUsize) {
    for first in (0..MESSAGES).step_by(4096) {
        let chunk = messages(&[0x82, 0x8a, 0, 0, 0, 0], first..MESSAGES.min(first + 4096));
        stream.write_all(&chunk).unwrap();
        written.fetch_add(chunk.len(), Ordering::Relaxed);
    }
}

#[test]
fn a_client_that_never_reads_waits_and_loses_nothing() {
    let limits = WSLimits::default().max_outbound(256 << 20).overflow_policy(WSOverflowPolicy::Close);
    let config = WSServerConfig::default().limits(limits).pause_reading_on_backlog(true);
    let server = serve(config, |_: &WSUpgradeRequest| Echo);
    let mut stream = TcpStream::connect(server.addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let _peer = Peer::client_on(stream.try_clone().unwrap()).upgraded();
    let written = Arc::new(AtomicUsize::new(0));
    let writer = {
        let (stream, written) = (stream.try_clone().unwrap(), Arc::clone(&written));
        thread::spawn(move || write_all(stream, &written))
    };
    // Until the client has not got rid of a byte for half a second, or of all.
    let (mut most, mut last, mut still) = (0, 0, 0);
    while still < 20 && !writer.is_finished() {
        most = most.max(server.on.ask_transport(0, WSTransport::buffered_amount));
        let now = written.load(Ordering::Relaxed);
        still = if now == last { still + 1 } else { 0 };
        last = now;
        thread::sleep(Duration::from_millis(25));
    }
    most = most.max(server.on.ask_transport(0, WSTransport::buffered_amount));
    println!("the server holds {most} bytes; the client has written {last}");
    assert!(most <= BOUND, "{most} bytes wait");
    let mut buffer = vec![0; 12 * 4096];
    for first in (0..MESSAGES).step_by(4096) {
        let expected = messages(&[0x82, 10], first..MESSAGES.min(first + 4096));
        stream.read_exact(&mut buffer[..expected.len()]).unwrap();
        assert!(buffer[..expected.len()] == expected[..], "the messages from {first} on");
    }
    writer.join().unwrap();
}
