#!/usr/bin/env python3
"""Echo server on websockets (asyncio) with its default compression.

Usage: echo.py --port N. It cannot spin.
"""

import argparse
import asyncio

from websockets.asyncio.server import serve

MAX_MESSAGE = 16 * 1024 * 1024


async def echo(connection):
    async for message in connection:
        await connection.send(message)


async def main(port: int) -> None:
    async with serve(echo, "127.0.0.1", port, max_size=MAX_MESSAGE, ping_interval=None) as server:
        print(f"listening on 127.0.0.1:{port}", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    asyncio.run(main(parser.parse_args().port))
