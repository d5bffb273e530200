#!/usr/bin/env python3
"""The peer on the Python package `websockets`; README.md has the contract."""
import asyncio

import contract
from contract import MATRIX, PING_PAYLOAD, expect
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import serve as websockets_serve
from websockets.exceptions import ConnectionClosed


def options(deflate):
    """What client and server have in common: limits wide enough, no keep-alive of their own."""
    return {
        "compression": "deflate" if deflate else None,
        "max_size": contract.MAX_MESSAGE,
        "ping_interval": None,
        "close_timeout": 10,
    }


# ---------------------------------------------------------------- server
async def serve(deflate):
    def select(_connection, offered):
        return contract.SUBPROTOCOL if contract.SUBPROTOCOL in offered else None

    async with websockets_serve(
        handle, "127.0.0.1", 0, ssl=contract.server_tls(), subprotocols=[contract.SUBPROTOCOL], select_subprotocol=select, **options(deflate)
    ) as server:
        print("port", server.sockets[0].getsockname()[1], flush=True)
        await contract.until_stopped()


async def handle(connection):
    """One connection of the server."""
    target = contract.Target(connection.request.path)
    try:
        if target.close:
            await connection.close(*target.close)
            return
        if target.ping:
            await (await connection.ping(PING_PAYLOAD))
            await connection.send("pong-ok")
        async for message in connection:
            await (send_fragments(connection, message) if target.fragments else connection.send(message))
    except ConnectionClosed:
        pass


async def send_fragments(connection, message):
    """Send `message` in three frames: two halves, and the empty last frame with which `websockets` ends an iterable."""
    is_text = isinstance(message, str)
    payload = message.encode() if is_text else message
    half = len(payload) // 2
    await connection.send([payload[:half], payload[half:]], text=is_text)


# ---------------------------------------------------------------- client
class Client(ClientConnection):
    """A client connection that remembers how TCP ended."""

    saw_eof = False
    lost_with = None

    def eof_received(self):
        self.saw_eof = True
        return super().eof_received()

    def connection_lost(self, exc):
        self.lost_with = exc
        super().connection_lost(exc)


async def drive(url, report, deflate):
    def open_connection():
        return connect(url, create_connection=Client, proxy=None, **options(deflate))

    async with open_connection() as connection:
        await drive_messages(connection, report)
    for case in MATRIX["closes"]:
        await report.check(f"close {case['code']}", close(open_connection, case["code"], case["reason"]))


async def drive_messages(connection, report):
    """Every check that leaves the connection open."""
    for size in MATRIX["sizes"]:
        await report.check(f"text {size}", echo(connection, contract.text_of(size)))
        await report.check(f"binary {size}", echo(connection, contract.binary_of(size)))
    await report.check("text in fragments", echo_fragments(connection, contract.text_of(3000)))
    await report.check("binary in fragments", echo_fragments(connection, contract.binary_of(3000)))
    await report.check("ping between fragments", echo_around_ping(connection))
    for payload in (PING_PAYLOAD, b"", bytes(range(125))):
        await report.check(f"ping of {len(payload)} bytes", ping(connection, payload))
    await report.check(f"{MATRIX['pipelined']} messages pipelined", pipeline(connection, MATRIX["pipelined"]))


async def echo(connection, message):
    await connection.send(message)
    expect(await connection.recv(), message, "echo")


async def echo_fragments(connection, message):
    is_text = isinstance(message, str)
    await connection.send(contract.thirds(message.encode() if is_text else message), text=is_text)
    expect(await connection.recv(), message, "echo")


async def echo_around_ping(connection):
    """A control frame may stand between the fragments of a message (RFC 6455 section 5.4)."""
    message = contract.binary_of(3000)
    pongs = []

    async def pieces():
        for piece in contract.thirds(message):
            yield piece
            pongs.append(await connection.ping())

    await connection.send(pieces())
    expect(await connection.recv(), message, "echo")
    await asyncio.gather(*pongs)


async def ping(connection, payload):
    await (await connection.ping(payload))  # completes only for a pong with this payload


async def pipeline(connection, count):
    for number in range(count):
        await connection.send(f"message {number}")
    for number in range(count):
        expect(await connection.recv(), f"message {number}", "order")


async def close(open_connection, code, reason):
    connection = await open_connection()
    await connection.close(code, reason)
    await connection.wait_closed()
    received = connection.protocol.close_rcvd
    expect(received.code if received else None, code, "close code")
    expect(connection.saw_eof, True, "end of TCP from the server")
    expect(connection.lost_with, None, "TCP error")


if __name__ == "__main__":
    contract.main(serve, drive)
