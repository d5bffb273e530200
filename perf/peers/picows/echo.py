"""Echo server on picows: the core API of its documentation, on uvloop, with aiofastnet as its transport.

Usage: echo.py --port N [--spin] [--tls-cert FILE --tls-key FILE]. With --spin a callback that is always ready keeps the loop
from sleeping. picows sets TCP_NODELAY itself, and sends at once from `send`: it has no way to answer a burst with one write.
"""

import argparse
import asyncio
import ssl

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

MAX_MESSAGE = 16 << 20


class EchoListener(WSListener):
    """Sends each frame back from the memory in which it was received."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        else:
            transport.send(frame.msg_type, frame.get_payload_as_memoryview(), frame.fin)

    def pause_writing(self) -> None:
        """The default logs a warning; the harness reads all that is sent."""

    def resume_writing(self) -> None:
        """See `pause_writing`."""


def tls_context(certificate: str, key: str) -> ssl.SSLContext:
    """TLS 1.3 on P-256 without session tickets; the cipher suite is for the client to choose, Python has no say in TLS 1.3."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_ecdh_curve("prime256v1")
    context.num_tickets = 0
    context.load_cert_chain(certificate, key)
    return context


async def serve(port: int, spin: bool, context: ssl.SSLContext | None) -> None:
    server = await ws_create_server(
        lambda _request: EchoListener(), "127.0.0.1", port, max_frame_size=MAX_MESSAGE, ssl=context
    )
    if spin:
        keep_awake(asyncio.get_running_loop())
    print(f"listening on 127.0.0.1:{port}", flush=True)
    await server.serve_forever()


def keep_awake(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_soon(keep_awake, loop)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--spin", action="store_true")
    parser.add_argument("--tls-cert")
    parser.add_argument("--tls-key")
    arguments = parser.parse_args()
    tls = tls_context(arguments.tls_cert, arguments.tls_key) if arguments.tls_cert else None
    uvloop.run(serve(arguments.port, arguments.spin, tls))
