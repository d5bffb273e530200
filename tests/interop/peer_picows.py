#!/usr/bin/env python3
"""The peer on the Python package `picows` (its frame API); README.md has the contract.

picows delivers frames, so messages are put together here, and the closing handshake is the listener's work.
"""
import asyncio
import sys

import contract
from contract import MATRIX, PING_PAYLOAD, expect
from picows import (
    WSListener,
    WSMsgType,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_connect,
    ws_create_server,
)

DATA = (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION)


class MessageListener(WSListener):
    """Puts messages together from frames; sub-classes say what to do with each."""

    def __init__(self):
        super().__init__()
        self.kind = None
        self.pieces = []

    def on_ws_frame(self, transport, frame):
        if frame.msg_type not in DATA:
            self.on_control(transport, frame)
            return
        if frame.msg_type != WSMsgType.CONTINUATION:
            self.kind = frame.msg_type
        self.pieces.append(frame.get_payload_as_bytes())
        if frame.fin:
            payload, self.pieces = b"".join(self.pieces), []
            self.on_message(transport, self.kind, payload)

    def pause_writing(self):
        pass  # the default logs a warning; what a test sends may wait in memory

    def resume_writing(self):
        pass


def send_fragments(transport, kind, pieces):
    """Send one message in as many frames as there are `pieces`."""
    last = len(pieces) - 1
    for index, piece in enumerate(pieces):
        transport.send(kind if index == 0 else WSMsgType.CONTINUATION, piece, fin=index == last)


# ---------------------------------------------------------------- server
async def serve(deflate):
    refuse_deflate(deflate)
    server = await ws_create_server(accept, "127.0.0.1", 0, max_frame_size=contract.MAX_MESSAGE)
    print("port", server.sockets[0].getsockname()[1], flush=True)
    await contract.until_stopped()
    server.close()


def refuse_deflate(deflate):
    if deflate:
        sys.exit("peer_picows.py: the frame API of picows has no compression")


def accept(request):
    """The listener of one connection, with the subprotocol in the response if the client offers it."""
    headers = {}
    offered = ",".join(request.headers.getall("Sec-WebSocket-Protocol", []))
    if contract.SUBPROTOCOL in (name.strip() for name in offered.split(",")):
        headers["Sec-WebSocket-Protocol"] = contract.SUBPROTOCOL
    listener = ServerListener(contract.Target(request.path.decode()))
    return WSUpgradeResponseWithListener(WSUpgradeResponse.create_101_response(headers), listener)


class ServerListener(MessageListener):
    def __init__(self, target):
        super().__init__()
        self.target = target

    def on_ws_connected(self, transport):
        if self.target.ping:
            transport.send_ping(PING_PAYLOAD)
        if self.target.close:
            transport.send_close(*self.target.close)

    def on_message(self, transport, kind, payload):
        send_fragments(transport, kind, contract.thirds(payload) if self.target.fragments else [payload])

    def on_control(self, transport, frame):
        if frame.msg_type == WSMsgType.CLOSE:
            answer_close(transport, frame)
        elif self.target.ping and frame.msg_type == WSMsgType.PONG and frame.get_payload_as_bytes() == PING_PAYLOAD:
            transport.send(WSMsgType.TEXT, b"pong-ok")


def answer_close(transport, frame):
    """Answer a CLOSE unless ours went first, and end TCP, as the server does (RFC 6455 section 7.1.1)."""
    if frame.payload_size == 0:
        # send_close would write the code 0, which is not valid on the wire.
        transport.send(WSMsgType.CLOSE, b"")
    else:
        transport.send_close(frame.get_close_code(), frame.get_close_message())
    transport.disconnect()


# ---------------------------------------------------------------- client
class Mailbox:
    """Values in the order in which they came; after `end` an error for everybody who waits for more."""

    def __init__(self):
        self.queue = asyncio.Queue()

    def put(self, value):
        self.queue.put_nowait(value)

    def end(self):
        self.queue.put_nowait(None)

    async def take(self):
        value = await self.queue.get()
        if value is None:
            self.end()  # for the next one
            raise ConnectionError("the connection has been closed")
        return value


class ClientListener(MessageListener):
    def __init__(self):
        super().__init__()
        self.messages = Mailbox()
        self.pongs = Mailbox()
        self.closed = asyncio.get_running_loop().create_future()  # the code of the server's CLOSE, or None

    def on_message(self, _transport, kind, payload):
        self.messages.put(payload.decode() if kind == WSMsgType.TEXT else payload)

    def on_control(self, transport, frame):
        if frame.msg_type == WSMsgType.PONG:
            self.pongs.put(frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.CLOSE:
            # From here on the socket is read by `close`, which wants to see how TCP ends.
            transport.underlying_transport.pause_reading()
            self.end(int(frame.get_close_code()))

    def on_ws_disconnected(self, _transport):
        self.end(None)

    def end(self, close_code):
        if not self.closed.done():
            self.closed.set_result(close_code)
        self.messages.end()
        self.pongs.end()


async def drive(url, report, deflate):
    refuse_deflate(deflate)

    def open_connection():
        return ws_connect(ClientListener, url, max_frame_size=contract.MAX_MESSAGE)

    transport, listener = await open_connection()
    await drive_messages(transport, listener, report)
    transport.disconnect()
    for case in MATRIX["closes"]:
        await report.check(f"close {case['code']}", close(open_connection, case["code"], case["reason"]))


async def drive_messages(transport, listener, report):
    """Every check that leaves the connection open."""
    for size in MATRIX["sizes"]:
        await report.check(f"text {size}", echo(transport, listener, contract.text_of(size)))
        await report.check(f"binary {size}", echo(transport, listener, contract.binary_of(size)))
    await report.check("text in fragments", echo_fragments(transport, listener, contract.text_of(3000)))
    await report.check("binary in fragments", echo_fragments(transport, listener, contract.binary_of(3000)))
    await report.check("ping between fragments", echo_around_ping(transport, listener))
    for payload in (PING_PAYLOAD, b"", bytes(range(125))):
        await report.check(f"ping of {len(payload)} bytes", ping(transport, listener, payload))
    await report.check(f"{MATRIX['pipelined']} messages pipelined", pipeline(transport, listener, MATRIX["pipelined"]))


def encoded(message):
    return (WSMsgType.TEXT, message.encode()) if isinstance(message, str) else (WSMsgType.BINARY, message)


async def echo(transport, listener, message):
    transport.send(*encoded(message))
    expect(await listener.messages.take(), message, "echo")


async def echo_fragments(transport, listener, message):
    kind, payload = encoded(message)
    send_fragments(transport, kind, contract.thirds(payload))
    expect(await listener.messages.take(), message, "echo")


async def echo_around_ping(transport, listener):
    """A control frame may stand between the fragments of a message (RFC 6455 section 5.4)."""
    message = contract.binary_of(3000)
    first, second, third = contract.thirds(message)
    transport.send(WSMsgType.BINARY, first, fin=False)
    transport.send_ping(b"one")
    transport.send(WSMsgType.CONTINUATION, second, fin=False)
    transport.send_ping(b"two")
    transport.send(WSMsgType.CONTINUATION, third)
    expect(await listener.messages.take(), message, "echo")
    expect(await listener.pongs.take(), b"one", "pong")
    expect(await listener.pongs.take(), b"two", "pong")


async def ping(transport, listener, payload):
    transport.send_ping(payload)
    expect(await listener.pongs.take(), payload, "pong")


async def pipeline(transport, listener, count):
    for number in range(count):
        transport.send(WSMsgType.TEXT, f"message {number}".encode())
    for number in range(count):
        expect(await listener.messages.take(), f"message {number}", "order")


async def close(open_connection, code, reason):
    """Close, then read the socket ourselves: the server's EOF has to come, and nothing else before it."""
    transport, listener = await open_connection()
    transport.send_close(code, reason)
    expect(await listener.closed, code, "close code")
    with transport.underlying_transport.get_extra_info("socket").dup() as socket:
        socket.setblocking(False)
        expect(await asyncio.get_running_loop().sock_recv(socket, 1), b"", "TCP after CLOSE")
    transport.disconnect()
    await transport.wait_disconnected()


if __name__ == "__main__":
    contract.main(serve, drive)
