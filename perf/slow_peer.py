#!/usr/bin/env python3
"""Memory of an echo server whose peer sends and never reads.

Usage: slow_peer.py [--send messages|pings] [--mib N] [--wait SECONDS] SERVER [ARGUMENT...]

SERVER has to print `listening on ws://HOST:PORT`, as examples/echo_server does. Prints how much the
peer could send, the server's anonymous memory before and after (RssAnon, Linux), and, with --wait,
whether the server has ended the connection by then.
"""
import argparse
import os
import re
import socket
import subprocess
import time

FRAMES = {
    # Masked with a key of zeros: 10 bytes of binary data; a PING of 125 bytes.
    "messages": b"\x82\x8a\0\0\0\0" + b"0123456789",
    "pings": b"\x89\xfd\0\0\0\0" + b"p" * 125,
}
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def anonymous_kib(pid):
    with open(f"/proc/{pid}/status") as status:
        return int(re.search(r"RssAnon:\s+(\d+) kB", status.read())[1])


def send_until_refused(peer, block, total):
    """Sends up to `total` bytes; gives up when the kernel has refused bytes for a second."""
    sent, rest, last = 0, memoryview(block), time.monotonic()
    peer.setblocking(False)
    while sent < total and time.monotonic() - last < 1:
        try:
            n = peer.send(rest)
        except BlockingIOError:
            time.sleep(0.002)
            continue
        sent, last = sent + n, time.monotonic()
        rest = rest[n:] if n < len(rest) else memoryview(block)
    return sent


def is_ended(pid, seconds):
    """Returns `True` if the server closes the connection within `seconds`, by its descriptors."""
    end, before = time.monotonic() + seconds, len(os.listdir(f"/proc/{pid}/fd"))
    while time.monotonic() < end:
        time.sleep(0.5)
        if len(os.listdir(f"/proc/{pid}/fd")) < before:
            return True
    return False


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--send", choices=FRAMES, default="messages")
parser.add_argument("--mib", type=int, default=64)
parser.add_argument("--wait", type=float, default=0)
parser.add_argument("server", nargs=argparse.REMAINDER)
options = parser.parse_args()
server = subprocess.Popen(options.server, stdout=subprocess.PIPE, text=True)
try:
    host, port = re.search(r"ws://([\d.]+):(\d+)", server.stdout.readline()).groups()
    peer = socket.socket()
    # A small window: else the kernels hold megabytes, and little is left for the server to hold.
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    peer.connect((host, int(port)))
    peer.sendall(REQUEST)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += peer.recv(1)
    before = anonymous_kib(server.pid)
    frame = FRAMES[options.send]
    sent = send_until_refused(peer, frame * 4096, options.mib << 20)
    time.sleep(0.5)
    after = anonymous_kib(server.pid)
    print(f"sent {sent / 2**20:.1f} MiB of {options.send}; server {before} kB before, {after} kB after", end="")
    if options.wait:
        print(", ended" if is_ended(server.pid, options.wait) else ", still open", end="")
    print()
finally:
    server.terminate()
    server.wait()
