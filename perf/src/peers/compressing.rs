//! Servers with permessage-deflate, for the rows of mode `deflate`.
//!
//! The contract is that of the other servers, but for compression: a client that offers it gets it, with `server_no_context_takeover`
//! or without as [`Reply::Compressed`] says, and each message from 200 bytes on comes back compressed in one frame.

use super::{Peer, Program, Reply, Tls};

/// In the order of the tables.
pub(super) const PEERS: &[Peer] = &[
    own(
        "femtows-deflate",
        &["serve", "femtows", "--api", "messages", "--deflate", "alone"],
        false,
        "WSMessageListener, `WSDeflateConfig::default()`.",
    ),
    own(
        "femtows-deflate-async",
        &["serve", "femtows", "--api", "async", "--deflate", "alone"],
        false,
        "WebSocket, `WSDeflateConfig::default()`.",
    ),
    own(
        "femtows-small-feeds",
        &["serve", "femtows", "--api", "messages", "--deflate", "small-feeds"],
        true,
        "WSMessageListener, `WSDeflateConfig::small_feeds()`: window of 4 KiB, memory level 5, level 1.",
    ),
    own(
        "femtows-small-feeds-async",
        &["serve", "femtows", "--api", "async", "--deflate", "small-feeds"],
        true,
        "WebSocket, `WSDeflateConfig::small_feeds()`.",
    ),
    Peer {
        name: "uWebSockets-shared",
        language: "C++",
        install: "perf/setup.sh uwebsockets-deflate",
        program: Program::File {
            program: "peers/.work/bin/uwebsockets-deflate",
            args: &["--compressor", "shared"],
            needs: &[],
        },
        reply: Reply::Compressed { keeps_context: false },
        can_spin: false,
        can_broadcast: false,
        tls: Tls::No,
        notes: "As uWebSockets, with the system's zlib: SHARED_COMPRESSOR, SHARED_DECOMPRESSOR; its level is zlib's default, 6.",
    },
    Peer {
        name: "uWebSockets-dedicated",
        language: "C++",
        install: "perf/setup.sh uwebsockets-deflate",
        program: Program::File {
            program: "peers/.work/bin/uwebsockets-deflate",
            args: &["--compressor", "dedicated"],
            needs: &[],
        },
        reply: Reply::Compressed { keeps_context: true },
        can_spin: false,
        can_broadcast: false,
        tls: Tls::No,
        notes: "The same with DEDICATED_COMPRESSOR: window of 32 KiB, memory level 8, level 6.",
    },
    Peer {
        name: "sockudo-ws-deflate",
        language: "Rust",
        install: "perf/setup.sh sockudo-ws",
        program: Program::File { program: "peers/.work/bin/sockudo-ws-deflate", args: &[], needs: &[] },
        reply: Reply::Compressed { keeps_context: true },
        can_spin: true,
        can_broadcast: false,
        tls: Tls::No,
        notes: "As sockudo-ws, CompressedWebSocketStream with the default `DeflateConfig`: window of 32 KiB, level 6, by zlib-rs.",
    },
    Peer {
        name: "ws-deflate",
        language: "JavaScript",
        install: "perf/setup.sh ws",
        program: Program::File {
            program: "node",
            args: &["peers/ws/echo.js", "--deflate"],
            needs: &["peers/ws/node_modules/ws/package.json"],
        },
        reply: Reply::Compressed { keeps_context: true },
        can_spin: true,
        can_broadcast: false,
        tls: Tls::No,
        notes: "As ws, `perMessageDeflate: { threshold: 0 }`, else its defaults: window of 32 KiB, memory level 8, level 6, in libuv's thread pool.",
    },
    Peer {
        name: "websockets",
        language: "Python",
        install: "perf/setup.sh websockets",
        program: Program::File {
            program: "peers/.work/venv/bin/python",
            args: &["peers/websockets/echo.py"],
            needs: &["peers/.work/venv/lib", "peers/.work/websockets"],
        },
        reply: Reply::Compressed { keeps_context: true },
        can_spin: false,
        can_broadcast: false,
        tls: Tls::No,
        notes: "asyncio server with its default compression: window of 4 KiB, memory level 5, level 6.",
    },
];

/// One of this library's, with the interface and the configuration in `args`.
const fn own(
    name: &'static str,
    args: &'static [&'static str],
    keeps_context: bool,
    notes: &'static str,
) -> Peer {
    Peer {
        name,
        language: "Rust",
        install: "part of perf",
        program: Program::Own { args },
        reply: Reply::Compressed { keeps_context },
        can_spin: true,
        can_broadcast: false,
        tls: Tls::No,
        notes,
    }
}
