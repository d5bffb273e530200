//! The registry of servers that can be compared.
//!
//! Each entry follows one contract, so that the harness needs to know nothing else about a server:
//!
//! - It is started as `<program> <args...> --port N`, with `--spin` appended if it [`can_spin`](Peer::can_spin) and shall, and with
//!   `--tls-cert FILE --tls-key FILE` if it shall speak TLS, as [`tls`](Peer::tls) says.
//! - It listens on `127.0.0.1:N`, TCP with `TCP_NODELAY`, on one thread, without compression, takes messages of up to 16 MiB, and prints a line that begins with `listening` once it accepts.
//! - It sends every message back with its type, in one frame, until it is killed.
//! - If it [`can_broadcast`](Peer::can_broadcast), a connection to `/sub` subscribes, and each message that arrives on a
//!   connection to `/pub` goes to all subscribers.
//!
//! Nothing of a peer is slowed down: each is set up as its own documentation recommends for speed, and `notes` says how.

mod compressing;

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A server that can be measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// Its name in tables and in `--peers`.
    pub(crate) name: &'static str,
    /// What it is written in.
    pub(crate) language: &'static str,
    /// The command that installs or builds it, and where it comes from.
    pub(crate) install: &'static str,
    /// How it is started.
    pub(crate) program: Program,
    /// How it sends messages back.
    pub(crate) reply: Reply,
    /// Whether it knows `--spin`: to poll without sleeping.
    pub(crate) can_spin: bool,
    /// Whether it knows `/sub` and `/pub`.
    pub(crate) can_broadcast: bool,
    /// How it speaks TLS 1.3 with `TLS_AES_128_GCM_SHA256`, P-256 and without session tickets, if it does.
    pub(crate) tls: Tls,
    /// What a reader must know to judge whether the set-up is fair.
    pub(crate) notes: &'static str,
}

/// How a peer is started.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Program {
    /// This very program, with these arguments.
    Own {
        /// Arguments before `--port`.
        args: &'static [&'static str],
    },
    /// Another program.
    File {
        /// A path relative to `perf/`, or a bare name that is looked up in `PATH`.
        program: &'static str,
        /// Arguments before `--port`; they may name files relative to `perf/`, where the program is started.
        args: &'static [&'static str],
        /// Files and folders, relative to `perf/`, without which it is not installed.
        needs: &'static [&'static str],
    },
}

/// How a peer speaks TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    /// Not at all, or not in a way that has been prepared.
    No,
    /// The same program, told by its arguments.
    Same,
    /// Another build, at this path relative to `perf/`, told by its arguments.
    Other(&'static str),
}

/// What a server sends for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The message in an unmasked frame, as RFC 6455 section 5.1 asks of a server.
    Frame,
    /// The very bytes that arrived (over TLS, in its records): the frame still masked. No WebSocket server, but the limit of what one could reach.
    Raw,
    /// The message, compressed (permessage-deflate, RFC 7692), in one unmasked frame.
    Compressed {
        /// Whether it refers to earlier messages of the connection.
        keeps_context: bool,
    },
}

impl Reply {
    /// Whether compressed replies refer to earlier ones, if replies are compressed.
    pub(crate) fn keeps_context(self) -> Option<bool> {
        match self {
            Self::Compressed { keeps_context } => Some(keeps_context),
            Self::Frame | Self::Raw => None,
        }
    }
}

/// A program and its arguments, ready to be started.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    /// Path of the program.
    pub(crate) program: PathBuf,
    /// Arguments before `--port`.
    pub(crate) args: Vec<OsString>,
}

impl Peer {
    /// This peer as the program that speaks TLS, if it does.
    pub(crate) fn with_tls(&self) -> Option<Self> {
        match (self.tls, self.program) {
            (Tls::No, _) => None,
            (Tls::Other(program), Program::File { args, needs, .. }) => {
                let program = Program::File { program, args, needs };
                Some(Self { program, ..*self })
            }
            _ => Some(*self),
        }
    }

    /// Returns this peer as a program that callgrind can run, if there is one.
    pub(crate) fn for_callgrind(&self) -> Option<Self> {
        match self.program {
            Program::Own { .. } => Some(*self),
            Program::File { program: UWEBSOCKETS, args, needs } => {
                let program = Program::File { program: UWEBSOCKETS_FOR_CALLGRIND, args, needs };
                Some(Self { program, install: "perf/setup.sh uwebsockets-callgrind", ..*self })
            }
            Program::File { .. } => None,
        }
    }

    /// How to start this peer.
    ///
    /// # Errors
    /// In words, why it is not installed.
    pub(crate) fn locate(&self) -> Result<Launch, String> {
        match self.program {
            Program::Own { args } => {
                let program = env::current_exe().map_err(|error| format!("own path unknown: {error}"))?;
                Ok(Launch { program, args: args.iter().map(OsString::from).collect() })
            }
            Program::File { program, args, needs } => {
                if let Some(missing) = needs.iter().find(|path| !perf_dir().join(path).exists()) {
                    return Err(format!("perf/{missing} is missing; {}", self.install));
                }
                let program =
                    find(program).ok_or_else(|| format!("{program} is missing; {}", self.install))?;
                Ok(Launch { program, args: args.iter().map(OsString::from).collect() })
            }
        }
    }
}

/// The folder of this crate: peers are started here.
pub(crate) fn perf_dir() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The peer of this name.
pub(crate) fn by_name(name: &str) -> Option<&'static Peer> {
    all().find(|peer| peer.name.eq_ignore_ascii_case(name))
}

/// Everybody that is known, in the order of the tables.
pub(crate) fn all() -> impl Iterator<Item = &'static Peer> {
    PEERS.iter().chain(compressing::PEERS)
}

fn find(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(perf_dir().join(program)).filter(|path| path.is_file());
    }
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// The fastest build of uWebSockets for this machine.
const UWEBSOCKETS: &str = "peers/.work/bin/uwebsockets";

/// uWebSockets without AVX-512, which callgrind cannot run.
const UWEBSOCKETS_FOR_CALLGRIND: &str = "peers/.work/bin/uwebsockets-callgrind";

/// Those that do not compress.
const PEERS: &[Peer] = &[
    Peer {
        name: "limit",
        language: "Rust",
        install: "part of perf",
        program: Program::Own { args: &["serve", "limit"] },
        reply: Reply::Raw,
        can_spin: true,
        can_broadcast: true,
        tls: Tls::Same,
        notes: "Raw epoll TCP echo of the bytes as they came: no parsing, no unmasking. What the kernel allows. Over TLS also rustls, unbuffered: records opened, the bytes in them sealed again.",
    },
    Peer {
        name: "femtows",
        language: "Rust",
        install: "part of perf",
        program: Program::Own { args: &["serve", "femtows"] },
        reply: Reply::Frame,
        can_spin: true,
        can_broadcast: true,
        tls: Tls::Same,
        notes: "Frames API; defaults but for the size limits and `keep_handshake(false)`; over TLS also no session tickets.",
    },
    Peer {
        name: "femtows-messages",
        language: "Rust",
        install: "part of perf",
        program: Program::Own { args: &["serve", "femtows", "--api", "messages"] },
        reply: Reply::Frame,
        can_spin: true,
        can_broadcast: false,
        tls: Tls::Same,
        notes: "Messages API: assembled and, if text, checked for UTF-8; else as femtows.",
    },
    Peer {
        name: "femtows-async",
        language: "Rust",
        install: "part of perf",
        program: Program::Own { args: &["serve", "femtows", "--api", "async"] },
        reply: Reply::Frame,
        can_spin: true,
        can_broadcast: false,
        tls: Tls::Same,
        notes: "WebSocket: a task per connection that receives a message and sends it; else as femtows-messages.",
    },
    Peer {
        name: "uWebSockets",
        language: "C++",
        install: "perf/setup.sh uwebsockets",
        program: Program::File { program: UWEBSOCKETS, args: &[], needs: &[] },
        reply: Reply::Frame,
        can_spin: false,
        can_broadcast: true,
        tls: Tls::Other("peers/.work/bin/uwebsockets-tls"),
        notes: "Sources of crate libuwebsockets-sys 0.0.10, flags of its own build.c: native epoll loop, LTO, -march=native; no timers. Under callgrind: a build with -march=x86-64-v3. TLS: SSLApp in a build of its own, OpenSSL.",
    },
    Peer {
        name: "uWebSockets-capi",
        language: "C++ and Rust",
        install: "perf/setup.sh uwebsockets-capi",
        program: Program::File { program: "peers/.work/bin/uwebsockets-capi", args: &[], needs: &[] },
        reply: Reply::Frame,
        can_spin: true,
        can_broadcast: true,
        tls: Tls::No,
        notes: "The same sources through the C API of libuwebsockets-sys, on libuv; spins by `us_loop_pump`.",
    },
    Peer {
        name: "Boost.Beast",
        language: "C++",
        install: "perf/setup.sh boost-beast",
        program: Program::File { program: "peers/.work/bin/boost-beast", args: &[], needs: &[] },
        reply: Reply::Frame,
        can_spin: true,
        can_broadcast: false,
        tls: Tls::No,
        notes: "Asynchronous session of its examples; concrete executor, io_context without locks; one write per message.",
    },
    Peer {
        name: "picows",
        language: "Python and Cython",
        install: "perf/setup.sh picows",
        program: Program::File {
            program: "peers/.work/venv/bin/python",
            args: &["peers/picows/echo.py"],
            needs: &["peers/.work/venv/lib"],
        },
        reply: Reply::Frame,
        can_spin: true,
        can_broadcast: false,
        tls: Tls::Same,
        notes: "picows 2.3.1, core API, on uvloop with aiofastnet; sends at once, one write per message. TLS by OpenSSL through aiofastnet.",
    },
    Peer {
        name: "fastwebsockets",
        language: "Rust",
        install: "perf/setup.sh fastwebsockets",
        program: Program::File { program: "peers/.work/bin/fastwebsockets", args: &[], needs: &[] },
        reply: Reply::Frame,
        can_spin: true,
        can_broadcast: false,
        tls: Tls::Same,
        notes: "0.10.0; FragmentCollector, writev, on a stream that is corked until the next read; own handshake instead of hyper. TLS by tokio-rustls.",
    },
    Peer {
        name: "tokio-tungstenite",
        language: "Rust",
        install: "perf/setup.sh tokio-tungstenite",
        program: Program::File { program: "peers/.work/bin/tokio-tungstenite", args: &[], needs: &[] },
        reply: Reply::Frame,
        can_spin: true,
        can_broadcast: false,
        tls: Tls::Same,
        notes: "0.30.0; no write buffer of its own, but a stream that is corked until the next read. TLS by tokio-rustls.",
    },
    Peer {
        name: "tokio-websockets",
        language: "Rust",
        install: "perf/setup.sh tokio-websockets",
        program: Program::File { program: "peers/.work/bin/tokio-websockets", args: &[], needs: &[] },
        reply: Reply::Frame,
        can_spin: true,
        can_broadcast: false,
        tls: Tls::Same,
        notes: "0.13.3; all messages that are ready are fed before one flush; flush threshold 64 KiB. TLS by tokio-rustls.",
    },
    Peer {
        name: "sockudo-ws",
        language: "Rust",
        install: "perf/setup.sh sockudo-ws",
        program: Program::File { program: "peers/.work/bin/sockudo-ws", args: &[], needs: &[] },
        reply: Reply::Frame,
        can_spin: true,
        can_broadcast: false,
        tls: Tls::No,
        notes: "3.1.0 with mimalloc; all messages that are ready are fed before one flush; pings and idle timer off.",
    },
    Peer {
        name: "web-socket",
        language: "Rust",
        install: "perf/setup.sh web-socket",
        program: Program::File { program: "peers/.work/bin/web-socket", args: &[], needs: &[] },
        reply: Reply::Frame,
        can_spin: true,
        can_broadcast: false,
        tls: Tls::No,
        notes: "0.7.0; BufReader of 64 KiB, on a stream that is corked until the next read.",
    },
    Peer {
        name: "ws",
        language: "JavaScript",
        install: "perf/setup.sh ws",
        program: Program::File {
            program: "node",
            args: &["peers/ws/echo.js"],
            needs: &["peers/ws/node_modules/ws/package.json"],
        },
        reply: Reply::Frame,
        can_spin: true,
        can_broadcast: false,
        tls: Tls::No,
        notes: "8.23.0 on Node.js with bufferutil 4.1.0; the socket is corked until the next tick.",
    },
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_unique() {
        let names: HashSet<_> = all().map(|peer| peer.name.to_ascii_lowercase()).collect();
        assert_eq!(names.len(), all().count());
    }

    #[test]
    fn own_peers_are_always_there() {
        for name in ["limit", "femtows", "FEMTOWS-messages"] {
            by_name(name).unwrap().locate().unwrap();
        }
    }

    #[test]
    fn the_setup_script_knows_every_foreign_peer() {
        let known: HashSet<_> = include_str!("../setup.sh")
            .lines()
            .filter(|line| line.starts_with("peers=(") || line.starts_with("tokio_peers=("))
            .flat_map(|line| line.split(['(', ')', ' ']))
            .collect();
        for peer in all().filter(|peer| matches!(peer.program, Program::File { .. })) {
            let name = peer.install.strip_prefix("perf/setup.sh ").unwrap();
            assert!(known.contains(name), "{name}");
            if let Some(counted) = peer.for_callgrind() {
                assert!(known.contains(counted.install.strip_prefix("perf/setup.sh ").unwrap()));
            }
            if let Tls::Other(build) = peer.tls {
                assert!(known.contains(build.rsplit('/').next().unwrap()), "{build}");
            }
        }
    }

    #[test]
    fn another_build_speaks_tls() {
        let program = Program::File { program: "peers/plain", args: &[], needs: &[] };
        let peer = Peer { program, tls: Tls::Other("peers/secure"), ..PEERS[0] };
        let reason = peer.with_tls().unwrap().locate().unwrap_err();
        assert!(reason.contains("peers/secure"), "{reason}");
        assert!(Peer { tls: Tls::No, ..peer }.with_tls().is_none());
    }

    #[test]
    fn only_own_servers_and_uwebsockets_are_counted() {
        let counted: Vec<_> = all()
            .filter(|peer| peer.reply.keeps_context().is_none() && peer.for_callgrind().is_some())
            .collect();
        let names: Vec<_> = counted.iter().map(|peer| peer.name).collect();
        assert_eq!(names, ["limit", "femtows", "femtows-messages", "femtows-async", "uWebSockets"]);
        let Program::File { program, .. } = counted[4].for_callgrind().unwrap().program else {
            panic!("not a file")
        };
        assert_eq!(program, UWEBSOCKETS_FOR_CALLGRIND);
    }

    #[test]
    fn a_missing_peer_says_what_is_missing() {
        let program = Program::File { program: "sh", args: &[], needs: &["peers/no-such-thing"] };
        let peer = Peer { program, install: "run perf/setup.sh", ..PEERS[0] };
        let reason = peer.locate().unwrap_err();
        assert!(reason.contains("peers/no-such-thing") && reason.contains("perf/setup.sh"), "{reason}");
    }
}
