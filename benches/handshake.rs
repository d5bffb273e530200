//! What an opening costs the server: read the request, check it, write the 101 response.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use femtows::handshake::{HandshakeLimits, ServerHandshake, ServerProgress, encode_default_switching};

/// What a current desktop browser sends.
const BROWSER_REQUEST: &[u8] = b"GET /feed/quotes?symbols=EURUSD,GBPUSD&depth=5 HTTP/1.1\r\n\
    Host: stream.example.com\r\n\
    Connection: Upgrade\r\n\
    Pragma: no-cache\r\n\
    Cache-Control: no-cache\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n\
    Upgrade: websocket\r\n\
    Origin: https://www.example.com\r\n\
    Sec-WebSocket-Version: 13\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; consent=all\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";

fn server(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("handshake/server");
    group.throughput(Throughput::Elements(1));
    group.bench_function("read, check, encode", |bencher| {
        let mut out = Vec::with_capacity(512);
        bencher.iter(|| {
            out.clear();
            let mut handshake = ServerHandshake::new(HandshakeLimits::default());
            let progress = handshake.receive(black_box(BROWSER_REQUEST));
            let ServerProgress::Request { request, .. } = progress else { panic!("{progress:?}") };
            encode_default_switching(&request, &mut out).expect("an upgrade");
            black_box(&out);
        });
    });
    group.bench_function("read, check", |bencher| {
        bencher.iter(|| ServerHandshake::new(HandshakeLimits::default()).receive(black_box(BROWSER_REQUEST)));
    });
    group.bench_function("read byte by byte, check", |bencher| {
        bencher.iter(|| {
            let mut handshake = ServerHandshake::new(HandshakeLimits::default());
            for end in 1..BROWSER_REQUEST.len() {
                black_box(handshake.receive(&BROWSER_REQUEST[..end]));
            }
            handshake.receive(black_box(BROWSER_REQUEST))
        });
    });
    group.finish();
}

criterion_group!(benches, server);
criterion_main!(benches);
