#!/usr/bin/env python3
"""Checks that a server keeps the contract of the harness's peers, with clients that share no code with it.

Usage: check.py [--broadcast] [--tls] [--most BYTES] -- COMMAND...   The command gets `--port N` appended, and is ended afterwards.
With --tls it also gets `--tls-cert FILE --tls-key FILE`, made for the occasion by the program openssl, and has to speak TLS 1.3.

One client is the Python package `websockets`; the other is a bare socket that compares every byte of the answer.
Prints one line and exits with 0 if all is well, else says what differed.
"""

import argparse
import asyncio
import contextlib
import os
import pathlib
import socket
import ssl
import struct
import subprocess
import sys
import tempfile

from websockets.asyncio.client import connect

TEXT, BINARY = 1, 2
SIZES = (0, 1, 20, 125, 126, 512, 8 << 10, 65535, 65536, 100_000, 1 << 20)
DEADLINE = 60.0


class Mismatch(Exception):
    """The server answered something else than it should."""


@contextlib.contextmanager
def running(command: list[str]):
    """Starts the server and yields its port once it says `listening`."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.PIPE, text=True) as server:
        try:
            line = server.stdout.readline()
            if not line.startswith("listening"):
                raise Mismatch(f"expected a line `listening`, got {line!r}")
            yield port
            if server.poll() is not None:
                raise Mismatch(f"the server ended with {server.returncode}")
        finally:
            server.terminate()
            try:
                server.wait(timeout=10)
            except subprocess.TimeoutExpired:
                server.kill()
                raise Mismatch("SIGTERM does not end it") from None


def payload(kind: int, size: int) -> bytes:
    """`size` bytes that a text frame may carry too, with a multi-byte character at an odd place."""
    if kind == BINARY:
        return os.urandom(size)
    return ("a€" * (size // 4 + 1)).encode()[:size] if size % 4 in (0, 1) else b"x" * size


def frame(kind: int, data: bytes, key: bytes | None = None) -> bytes:
    """One frame of RFC 6455 section 5.2, masked if there is a key."""
    bit = 0x80 if key else 0
    if len(data) < 126:
        head = bytes((0x80 | kind, bit | len(data)))
    elif len(data) < 1 << 16:
        head = struct.pack("!BBH", 0x80 | kind, bit | 126, len(data))
    else:
        head = struct.pack("!BBQ", 0x80 | kind, bit | 127, len(data))
    if not key:
        return head + data
    pad = (key * (len(data) // 4 + 1))[: len(data)]
    masked = int.from_bytes(data, "big") ^ int.from_bytes(pad, "big")
    return head + key + masked.to_bytes(len(data), "big")


@contextlib.contextmanager
def identity():
    """Makes a certificate for localhost on P-256; yields the arguments for the server and the trust of the clients."""
    with tempfile.TemporaryDirectory() as folder:
        certificate, key = pathlib.Path(folder, "cert.pem"), pathlib.Path(folder, "key.pem")
        make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
        make = [*make.split(), "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
        subprocess.run(make, check=True, capture_output=True)
        context = ssl.create_default_context(cafile=certificate)
        yield ["--tls-cert", str(certificate), "--tls-key", str(key)], context


async def open_raw(
    port: int, context: ssl.SSLContext | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    name = "localhost" if context else None
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, limit=4 << 20, ssl=context, server_hostname=name
    )
    if context and (version := writer.get_extra_info("ssl_object").version()) != "TLSv1.3":
        raise Mismatch(f"{version} was negotiated")
    writer.write(
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 101 ") or b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" not in head:
        raise Mismatch(f"wrong answer to the upgrade: {head!r}")
    if b"permessage-deflate" in head.lower():
        raise Mismatch("compression was negotiated")
    return reader, writer


async def exchange(reader, writer, chunks: list[bytes], expected: bytes, what: str) -> None:
    """Writes the chunks while it reads; the answer must be `expected` to the byte."""

    async def write() -> None:
        for chunk in chunks:
            writer.write(chunk)
            await writer.drain()

    _, got = await asyncio.gather(write(), reader.readexactly(len(expected)))
    if got != expected:
        place = next(index for index, pair in enumerate(zip(got, expected)) if pair[0] != pair[1])
        raise Mismatch(f"{what}: byte {place} of {len(expected)} differs")


async def check_bytes(port: int, context: ssl.SSLContext | None, most: int) -> None:
    reader, writer = await open_raw(port, context)
    for size in (size for size in SIZES if size <= most):
        for kind in (TEXT, BINARY):
            data = payload(kind, size)
            sent, answer = frame(kind, data, os.urandom(4)), frame(kind, data)
            await exchange(reader, writer, [sent], answer, f"one message of {size}")
            if size <= 512:
                pieces = [sent[index : index + 3] for index in range(0, len(sent), 3)]
                await exchange(reader, writer, pieces, answer, f"in pieces, {size}")
    for size, depth in ((20, 64), (20, 3000), (512, 64), (16 << 10, 64), (1 << 20, 8)):
        if size * depth > most:
            continue
        datas = [payload(BINARY, size) for _ in range(depth)]
        burst = b"".join(frame(BINARY, data, os.urandom(4)) for data in datas)
        answer = b"".join(frame(BINARY, data) for data in datas)
        await exchange(reader, writer, [burst], answer, f"{depth} messages of {size} at once")
    writer.close()


async def check_client(port: int, context: ssl.SSLContext | None, most: int) -> None:
    options = {"ssl": context, "server_hostname": "localhost"} if context else {}
    url = f"{'wss' if context else 'ws'}://127.0.0.1:{port}/"
    async with connect(url, compression=None, max_size=None, **options) as client:
        for size in (size for size in SIZES if size <= most):
            binary, text = payload(BINARY, size), "é" * (size // 2)
            for message in (binary, text):
                await client.send(message)
                if await client.recv() != message:
                    raise Mismatch(f"`websockets` got another message of {size} back")
        await client.send([b"frag", b"ment", b"ed"])
        if await client.recv() != b"fragmented":
            raise Mismatch("a fragmented message came back changed")
        await (await client.ping(b"alive"))
    if client.close_code != 1000:
        raise Mismatch(f"the closing handshake ended with {client.close_code}")


async def check_broadcast(port: int) -> None:
    base = f"ws://127.0.0.1:{port}"
    async with contextlib.AsyncExitStack() as stack:
        subscribers = [
            await stack.enter_async_context(connect(f"{base}/sub", compression=None, max_size=None)) for _ in range(5)
        ]
        publisher = await stack.enter_async_context(connect(f"{base}/pub", compression=None))
        messages = [payload(BINARY, size) for size in (128, 1024, 16 << 10, 100_000)] * 4
        for message in messages:
            await publisher.send(message)
        for subscriber in subscribers:
            if [await subscriber.recv() for _ in messages] != messages:
                raise Mismatch("a subscriber got something else")


async def check(port: int, broadcast: bool, context: ssl.SSLContext | None, most: int) -> None:
    async with asyncio.timeout(DEADLINE):
        await check_bytes(port, context, most)
        await check_client(port, context, most)
        if broadcast:
            await check_broadcast(port)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--broadcast", action="store_true", help="check /sub and /pub too")
    parser.add_argument("--tls", action="store_true", help="the server shall speak TLS; not with --broadcast")
    parser.add_argument("--most", type=int, default=1 << 30, help="bytes in flight that the server is known to bear")
    parser.add_argument("command", nargs="+", help="the server, after --")
    arguments = parser.parse_args()
    secured = identity() if arguments.tls else contextlib.nullcontext(([], None))
    try:
        with secured as (files, context), running([*arguments.command, *files]) as port:
            asyncio.run(check(port, arguments.broadcast and not arguments.tls, context, arguments.most))
    except (Mismatch, OSError, EOFError, TimeoutError, subprocess.CalledProcessError) as error:
        print(f"broken: {type(error).__name__} {error}", file=sys.stderr)
        return 1
    print("contract kept")
    return 0


if __name__ == "__main__":
    sys.exit(main())
