//! The example serves HTTP and WebSocket on one port.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

struct Example(Child);

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the example. Returns it with its address.
fn start() -> (Example, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_femtows-axum"))
        .arg("127.0.0.1:0")
        .stdout(Stdio::piped())
        .spawn()
        .expect("the example starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let addr = line.trim().strip_prefix("listening on http://").expect("the address").to_owned();
    (Example(child), addr)
}

fn connect(addr: &str, request: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(addr).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket.write_all(request).unwrap();
    socket
}

/// Reads until `end` has come. Returns everything as text.
fn read_until(socket: &mut TcpStream, end: &[u8]) -> String {
    let (mut bytes, mut byte) = (Vec::new(), [0]);
    while !bytes.ends_with(end) {
        assert_eq!(socket.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&bytes));
        bytes.push(byte[0]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn axum_serves_http() {
    let (_example, addr) = start();
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let response = read_until(&mut connect(&addr, request), b"WebSocket by femtows\n");
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    let request = b"GET /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let response = read_until(&mut connect(&addr, request), b"\r\n\r\n");
    assert!(response.starts_with("HTTP/1.1 426"), "{response}");
}

#[test]
fn femtows_takes_over_with_the_bytes_behind_the_request() {
    let (_example, addr) = start();
    // Key and response are those of RFC 6455 section 1.3. The frame is "hi", masked with zeros.
    let request = b"GET /echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n\
        \x81\x82\0\0\0\0hi";
    let mut socket = connect(&addr, request);
    let head = read_until(&mut socket, b"\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    read_until(&mut socket, b"\x81\x02hi");
    socket.write_all(b"\x82\x83\0\0\0\0two").unwrap();
    read_until(&mut socket, b"\x82\x03two");
}
