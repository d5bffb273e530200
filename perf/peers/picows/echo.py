"""Echo server on picows: the core API of its documentation, on uvloop, with aiofastnet as its transport.

Usage: echo.py --port N [--spin]. With --spin a callback that is always ready keeps the loop from sleeping.
picows sets TCP_NODELAY itself, and sends at once from `send`: it has no way to answer a burst with one write.
"""

import argparse
import asyncio

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


async def serve(port: int, spin: bool) -> None:
    server = await ws_create_server(
        lambda _request: EchoListener(), "127.0.0.1", port, max_frame_size=MAX_MESSAGE
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
    arguments = parser.parse_args()
    uvloop.run(serve(arguments.port, arguments.spin))
