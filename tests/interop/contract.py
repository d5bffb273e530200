"""What the two Python peers share: the matrix, the payloads, the report, and how a server ends (README.md has the contract)."""
import asyncio
import json
import os
import pathlib
import random
import signal
import ssl
import sys
import urllib.parse

MATRIX = json.loads((pathlib.Path(__file__).parent / "matrix.json").read_text(encoding="utf-8"))
MAX_MESSAGE = MATRIX["max_message"]
PING_PAYLOAD = b"interop"
SUBPROTOCOL = "chat"


class Target:
    """What the path of a server URL asks for."""

    def __init__(self, path):
        parts = urllib.parse.urlsplit(path)
        query = urllib.parse.parse_qs(parts.query)
        self.fragments = parts.path == "/fragments"
        self.ping = parts.path == "/ping"
        self.close = None  # or (code, reason)
        if parts.path == "/close":
            self.close = int(query["code"][0]), query.get("reason", [""])[0]


class Report:
    """Runs checks one after the other, prints a line for each, and remembers whether one failed."""

    def __init__(self):
        self.failed = False

    async def check(self, name, awaitable):
        """`awaitable` raises if the check fails; it gets a limited time."""
        try:
            await asyncio.wait_for(awaitable, MATRIX["check_seconds"])
        except Exception as error:  # whatever went wrong, the next check still has its turn
            self.fail(name, error)
        else:
            print(f"ok   {name}", flush=True)

    async def whole(self, awaitable):
        """All checks of a run; an error outside of them is one about the connection."""
        try:
            await awaitable
        except Exception as error:
            self.fail("connection", error)

    def fail(self, name, error):
        self.failed = True
        print(f"FAIL {name}: {type(error).__name__}: {error}", flush=True)


def text_of(size):
    """A text of `size` bytes in UTF-8, with characters of one to four bytes where there is room."""
    pattern = "aé€😀".encode()
    whole = size // len(pattern)
    return pattern.decode() * whole + "x" * (size - whole * len(pattern))


def binary_of(size):
    """`size` bytes without a pattern, the same in every run."""
    return random.Random(size).randbytes(size)


def thirds(payload):
    """`payload` in three pieces, cut without regard to characters."""
    cut = len(payload) // 3
    return payload[:cut], payload[cut : 2 * cut], payload[2 * cut :]


def expect(got, wanted, what):
    """Raise unless `got` equals `wanted` in value and type; long values are not printed whole."""
    if type(got) is not type(wanted) or got != wanted:
        raise AssertionError(f"{what}: got {shown(got)}, wanted {shown(wanted)}")


def shown(value):
    """`value` for a message: short, with its type and length if it has one."""
    text = repr(value[:40] if isinstance(value, (str, bytes)) else value)
    return f"{text} ({type(value).__name__} of {len(value)})" if isinstance(value, (str, bytes)) else text


async def until_stopped():
    """Return at SIGTERM, or when a server has lived for as long as it may."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    try:
        await asyncio.wait_for(stop.wait(), MATRIX["server_seconds"])
    except asyncio.TimeoutError:
        pass


def server_tls():
    """The TLS of a server, if the environment names a certificate and its key."""
    if "TLS_CERT" not in os.environ:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.environ["TLS_CERT"], os.environ["TLS_KEY"])
    return context


def main(serve, drive):
    """The command line of a peer: `server` runs `serve(deflate)`, `client URL` runs `drive(url, report, deflate)`."""
    match [argument for argument in sys.argv[1:] if not argument.startswith("--")]:
        case ["server"]:
            asyncio.run(serve("--deflate-on" in sys.argv))
        case ["client", url]:
            report = Report()
            asyncio.run(report.whole(drive(url, report, "--deflate-on" in sys.argv)))
            sys.exit(1 if report.failed else 0)
        case _:
            sys.exit(f"usage: {sys.argv[0]} server|client URL [--deflate-off|--deflate-on]")
