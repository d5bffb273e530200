//! The harness from outside: what `perf compare` writes, and what it refuses to count.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

#[test]
fn every_mode_gives_figures() {
    let options =
        "--peers limit,femtows --sizes 64 --rounds 1 --secs 0.05 --idle-connections 100 --no-syscalls";
    let (results, folder) = compare("all", options);
    let rows = results["rows"].as_array().unwrap();
    for (row, figure) in [
        ("latency", "p999"),
        ("load", "cpu"),
        ("idle", "opening_cpu"),
        ("broadcast", "cpu"),
        ("client", "cpu"),
    ] {
        let mut found = rows.iter().filter(|candidate| candidate["row"].get(row).is_some()).peekable();
        assert!(found.peek().is_some(), "no row {row}");
        for found in found.filter(|row| row["row"]["latency"]["placement"] != "spinning") {
            let entries = found["entries"].as_array().unwrap();
            assert_eq!(entries.len(), 2, "{found}");
            for entry in entries {
                let value = entry["rounds"][0][figure].as_f64().unwrap();
                assert!(value > 0.0, "{figure} of {entry}");
            }
        }
    }
    assert_eq!(results["skipped"], Value::Array(Vec::new()));
    for file in ["results.md", "latency.svg", "latency.png", "cpu.svg", "pipeline.png", "memory.svg"] {
        assert!(fs::metadata(folder.join(file)).unwrap().len() > 500, "{file}");
    }
}

#[test]
fn rows_over_tls() {
    // Enough connections that their memory is seen: what the openings before them freed has room for some.
    let options = "--peers limit,femtows,femtows-messages --modes tls --rounds 1 --secs 0.05 --idle-connections 800 --no-syscalls";
    let (results, folder) = compare("tls", options);
    let rows = results["rows"].as_array().unwrap();
    assert_eq!(results["skipped"], Value::Array(Vec::new()));
    for (row, figure, count) in
        [("load", "cpu", 5), ("latency", "p50", 1), ("opening", "opening_cpu", 1), ("idle", "memory", 1)]
    {
        let found: Vec<_> =
            rows.iter().filter(|candidate| candidate["row"]["tls"].get(row).is_some()).collect();
        assert_eq!(found.len(), count, "{row}");
        for found in found {
            let entries = found["entries"].as_array().unwrap();
            assert_eq!(entries.len(), 3, "{found}");
            for entry in entries {
                assert!(entry["rounds"][0][figure].as_f64().unwrap() > 0.0, "{entry}");
            }
        }
    }
    for file in ["tls.svg", "tls-latency.png", "tls-opening.svg", "tls-memory.svg"] {
        assert!(fs::metadata(folder.join(file)).unwrap().len() > 500, "{file}");
    }
}

#[test]
fn tables_are_made_again_from_figures() {
    let (_, folder) = compare("again", "--peers limit --modes pipeline --rounds 1 --secs 0.05 --no-syscalls");
    let table = fs::read_to_string(folder.join("results.md")).unwrap();
    fs::remove_file(folder.join("results.md")).unwrap();
    let output = perf(&["report", folder.join("results.json").to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::read_to_string(folder.join("results.md")).unwrap(), table);
}

#[test]
fn system_calls_are_counted_or_missed_by_name() {
    let (results, _) = compare("strace", "--peers limit --modes pipeline --sizes 20 --rounds 1 --secs 0.05");
    let calls = results["rows"][0]["entries"][0]["syscalls"].as_array().unwrap();
    if calls.is_empty() {
        let skipped = results["skipped"].to_string();
        assert!(skipped.contains("system calls") && skipped.contains("strace"), "{skipped}");
        return;
    }
    for name in ["recvfrom", "sendto"] {
        let call = calls.iter().find(|call| call["name"] == name).unwrap();
        // 64 messages arrive at once.
        let per_message = call["calls"].as_f64().unwrap();
        assert!((0.005..0.1).contains(&per_message), "{name}: {per_message} per message");
    }
}

#[test]
fn another_server_is_measured_too() {
    let url = serve(|_, _| {});
    let options = format!(
        "--peers limit --modes closed,broadcast,idle --sizes 20 --rounds 1 --secs 0.05 --no-syscalls --server {url}"
    );
    let (results, _) = compare("other", &options);
    let entry = &results["rows"][0]["entries"][1];
    assert_eq!(entry["name"], url.as_str());
    assert!(entry["rounds"][0]["rate"].as_f64().unwrap() > 0.0);
    assert!(entry["rounds"][0].get("cpu").is_none(), "the process is not known");
    let skipped = results["skipped"].to_string();
    assert!(skipped.contains("not known to publish") && skipped.contains("--pid"), "{skipped}");
}

#[test]
fn a_wrong_echo_is_never_counted() {
    // Right in the verification, wrong later.
    let url = serve(|number, reply| reply[2] ^= u8::from(number == 300));
    let options = format!(
        "--peers limit --modes latency --sizes 20 --rounds 2 --secs 0.5 --no-syscalls --server {url}"
    );
    let (results, _) = compare("wrong", &options);
    let rows = results["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 3);
    for row in rows {
        assert_eq!(row["entries"].as_array().unwrap().len(), 1, "the liar is left out: {row}");
    }
    let skipped = results["skipped"].to_string();
    assert_eq!(skipped.matches("wrong echo: byte 2 of a reply").count(), 2, "{skipped}");
}

#[test]
fn an_unknown_server_is_an_error() {
    let output = perf(&["compare", "--peers", "no-such-server"]);
    assert!(!output.status.success());
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("no-such-server") && message.contains("limit"), "{message}");
}

#[test]
fn instructions_are_counted_or_valgrind_is_missing() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("instructions");
    let peers = "limit,femtows,femtows-messages,femtows-async";
    let out = folder.to_str().unwrap();
    let output =
        perf(&["compare", "--modes", "instructions", "--sizes", "20", "--peers", peers, "--out", out]);
    if Command::new("valgrind").arg("--version").output().is_err() {
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && message.contains("valgrind"), "{message}");
        return;
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let results: Value = serde_json::from_slice(&fs::read(folder.join("results.json")).unwrap()).unwrap();
    assert_eq!(results["skipped"], Value::Array(Vec::new()));
    let rows = results["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 3);
    for row in rows {
        let entries = row["entries"].as_array().unwrap();
        let counts: Vec<_> =
            entries.iter().map(|entry| entry["rounds"][0]["instructions"].as_f64()).collect();
        let [Some(limit), others @ ..] = &counts[..] else { panic!("{row}") };
        assert_eq!(others.len(), 3, "{row}");
        for count in others {
            assert!(count.is_some_and(|count| count > *limit && *limit > 0.0), "{row}");
        }
    }
}

fn perf(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_perf")).args(args).output().unwrap()
}

/// Runs a comparison and reads its figures.
fn compare(name: &str, options: &str) -> (Value, PathBuf) {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut args = vec!["compare", "--out", folder.to_str().unwrap()];
    args.extend(options.split(' '));
    let output = perf(&args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let json = fs::read(folder.join("results.json")).unwrap();
    (serde_json::from_slice(&json).unwrap(), folder)
}

/// An echo server for short frames, one thread per connection. `spoil` gets the number of each reply on its connection.
fn serve(spoil: fn(u32, &mut [u8])) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/echo", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            stream.set_nodelay(true).unwrap();
            thread::spawn(move || echo(stream, spoil));
        }
    });
    url
}

fn echo(mut stream: TcpStream, spoil: fn(u32, &mut [u8])) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let key = head.split("Sec-WebSocket-Key: ").nth(1).unwrap().lines().next().unwrap();
    let digest = sha1_smol::Sha1::from(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")).digest();
    let accept = STANDARD.encode(digest.bytes());
    let response = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    write!(stream, "{response}Sec-WebSocket-Accept: {accept}\r\n\r\n").unwrap();
    for number in 0.. {
        let mut header = [0; 6];
        match stream.read_exact(&mut header) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
            Err(error) => panic!("{error}"),
        }
        assert!(header[1] & 0x80 != 0 && header[1] & 0x7f < 126, "a short masked frame");
        let mut reply = vec![header[0], header[1] & 0x7f];
        reply.resize(2 + usize::from(reply[1]), 0);
        stream.read_exact(&mut reply[2..]).unwrap();
        reply[2..].iter_mut().zip(header[2..].iter().cycle()).for_each(|(byte, key)| *byte ^= key);
        spoil(number, &mut reply);
        if stream.write_all(&reply).is_err() {
            return;
        }
    }
}
