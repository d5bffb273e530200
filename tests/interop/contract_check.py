#!/usr/bin/env python3
"""Check what the paths of a peer's server do, byte by byte on a plain socket: contract_check.py PORT

Knows none of the libraries, so that a fault they share cannot hide. Prints a line for each check, exits 1 if one failed.
"""
import base64
import os
import socket
import struct
import sys
import urllib.parse

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
NAMES = {CONTINUATION: "continuation", TEXT: "text", BINARY: "binary", CLOSE: "close", PING: "ping", PONG: "pong"}


class Connection:
    """An opened WebSocket connection: `head` is the response's head in lower case."""

    def __init__(self, port, path, protocols=None):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.stream = self.socket.makefile("rb")
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        ]
        if protocols:
            lines.append(f"Sec-WebSocket-Protocol: {protocols}")
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode())
        self.head = ""
        while not self.head.endswith("\r\n\r\n"):
            self.head += self.stream.readline().decode().lower()
        if not self.head.startswith("http/1.1 101 "):
            raise AssertionError(f"no upgrade: {self.head.splitlines()[0]}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()
        self.socket.close()

    def send(self, opcode, payload, fin=True):
        """Send one frame of up to 125 bytes, masked (RFC 6455 section 5.2)."""
        key = os.urandom(4)
        masked = bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))
        self.socket.sendall(bytes([fin << 7 | opcode, 0x80 | len(payload)]) + key + masked)

    def receive(self):
        """The next frame, unmasked and of up to 125 bytes, as (fin, opcode, payload)."""
        first, second = self.stream.read(2)
        if second > 125 or first & 0x70:
            raise AssertionError(f"unexpected frame header {first:#x} {second:#x}")
        return bool(first & 0x80), first & 0x0F, self.stream.read(second)

    def expect(self, *frames):
        for wanted in frames:
            got = self.receive()
            if got != wanted:
                raise AssertionError(f"got {got} ({NAMES.get(got[1])}), wanted {wanted} ({NAMES[wanted[1]]})")

    def expect_end(self):
        if self.stream.read(1):
            raise AssertionError("bytes after the closing handshake")


def echo(port):
    with Connection(port, "/") as connection:
        for opcode, payload in ((TEXT, "é".encode()), (BINARY, b"\xff"), (TEXT, b"")):
            connection.send(opcode, payload)
            connection.expect((True, opcode, payload))
        connection.send(CLOSE, b"")
        connection.expect((True, CLOSE, b""))
        connection.expect_end()


def fragments(port):
    """Three frames, whatever their sizes, that add up to the message and keep its type."""
    with Connection(port, "/fragments") as connection:
        for opcode, payload in ((TEXT, "aé€😀".encode()), (BINARY, bytes(range(9))), (BINARY, b"")):
            connection.send(opcode, payload[:4], fin=False)
            connection.send(CONTINUATION, payload[4:])
            got = [connection.receive() for _ in range(3)]
            shape = [(fin, kind) for fin, kind, _ in got]
            if shape != [(False, opcode), (False, CONTINUATION), (True, CONTINUATION)]:
                raise AssertionError(f"frames {got}")
            if b"".join(piece for _, _, piece in got) != payload:
                raise AssertionError(f"payload {got}")


def close(port):
    for code, reason in ((1000, ""), (1011, "now"), (3000, "registered"), (4999, "a b é")):
        path = f"/close?code={code}&reason={urllib.parse.quote(reason)}"
        with Connection(port, path) as connection:
            payload = struct.pack(">H", code) + reason.encode()
            connection.expect((True, CLOSE, payload))
            connection.send(CLOSE, payload)
            connection.expect_end()


def ping(port):
    with Connection(port, "/ping") as connection:
        connection.expect((True, PING, b"interop"))
        connection.send(PONG, b"another")
        connection.send(PONG, b"interop")
        connection.expect((True, TEXT, b"pong-ok"))
        connection.send(TEXT, b"echo")
        connection.expect((True, TEXT, b"echo"))


def subprotocol(port):
    for offered, picked in (("chat", True), ("other, chat", True), ("other", False), (None, False)):
        with Connection(port, "/", offered) as connection:
            lines = [line for line in connection.head.split("\r\n") if line.startswith("sec-websocket-protocol")]
            if lines != (["sec-websocket-protocol: chat"] if picked else []):
                raise AssertionError(f"offered {offered}, answered {lines}")


def no_extension(port):
    with Connection(port, "/") as connection:
        if "sec-websocket-extensions" in connection.head:
            raise AssertionError("an extension was answered that nobody offered")


def main():
    port, failed = int(sys.argv[1]), False
    for check in (echo, fragments, close, ping, subprotocol, no_extension):
        try:
            check(port)
        except (AssertionError, OSError, ValueError) as error:
            failed = True
            print(f"FAIL {check.__name__}: {type(error).__name__}: {error}")
        else:
            print(f"ok   {check.__name__}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
