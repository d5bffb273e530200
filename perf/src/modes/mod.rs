//! The kinds of work that servers are compared at.

mod broadcast;
mod client;
mod deflate;
mod echo;
mod idle;
mod instructions;
mod selection;
mod tls;

use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::generator::Outcome;
use crate::results::{Figures, Metric};
use crate::size;
use crate::strace::Syscall;
use crate::subject::{Session, Subject};

pub(crate) use client::{ClientKind, run_client};
use echo::Shape;
pub(crate) use selection::{cpu_rows, quick_rows, rows};
pub(crate) use tls::TlsWork;

/// A family of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    /// One connection, one message at a time.
    Latency,
    /// Many connections, one message at a time on each.
    Closed,
    /// Many connections, 64 messages at a time on each.
    Pipeline,
    /// Connections that do nothing.
    Idle,
    /// One publisher, many subscribers.
    Broadcast,
    /// A client instead of a server.
    Client,
    /// Compressed messages: many connections, one message at a time on each.
    Deflate,
    /// TLS 1.3: one message at a time, pipelines, openings, and connections that do nothing.
    Tls,
    /// Instructions in user space per message, counted by callgrind. Only on request.
    Instructions,
}

/// One kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Row {
    /// One connection, one message at a time.
    Latency {
        /// Payload in bytes.
        size: usize,
        /// Where both ends run.
        placement: Placement,
    },
    /// Connections in closed loop.
    Load {
        /// How many.
        connections: usize,
        /// Messages in flight on each.
        depth: usize,
        /// Payload in bytes.
        size: usize,
    },
    /// Connections that do nothing.
    Idle {
        /// How many.
        connections: usize,
    },
    /// One publisher.
    Broadcast {
        /// Connections that get each message.
        subscribers: usize,
        /// Messages published at once.
        burst: usize,
        /// Payload in bytes.
        size: usize,
    },
    /// One client, one message at a time.
    Client {
        /// Payload in bytes.
        size: usize,
    },
    /// Connections in closed loop, with permessage-deflate.
    Deflate {
        /// How many.
        connections: usize,
        /// Messages of a feed, of about so many bytes before compression.
        size: usize,
    },
    /// Over TLS.
    Tls(TlsWork),
    /// Connections in closed loop, under callgrind.
    Instructions {
        /// How many.
        connections: usize,
        /// Messages in flight on each.
        depth: usize,
        /// Payload in bytes.
        size: usize,
    },
}

/// Where the generator and the server run, and how they wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Placement {
    /// On one core, both sleeping: nothing runs in parallel, so the figure is the sum of both ends' work and the kernel's.
    SameCore,
    /// On two cores, both sleeping: adds two wake-ups between cores.
    Apart,
    /// On two cores, both spinning; a server that cannot spin sleeps.
    Spinning,
}

/// What all rows have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Length of a measured round.
    pub(crate) time: Duration,
    /// Core of the generator.
    pub(crate) generator_core: usize,
    /// Core of the server.
    pub(crate) server_core: usize,
}

impl Settings {
    /// Length of what goes before a measured round.
    pub(crate) fn warm_up(&self) -> Duration {
        (self.time / 5).max(Duration::from_millis(50))
    }
}

impl Row {
    /// The family.
    pub(crate) fn mode(&self) -> Mode {
        match *self {
            Self::Latency { .. } => Mode::Latency,
            Self::Load { depth: 1, .. } => Mode::Closed,
            Self::Load { .. } => Mode::Pipeline,
            Self::Idle { .. } => Mode::Idle,
            Self::Broadcast { .. } => Mode::Broadcast,
            Self::Client { .. } => Mode::Client,
            Self::Deflate { .. } => Mode::Deflate,
            Self::Tls(_) => Mode::Tls,
            Self::Instructions { .. } => Mode::Instructions,
        }
    }

    /// Name of the row.
    pub(crate) fn title(&self) -> String {
        match *self {
            Self::Latency { size, placement } => {
                let place = match placement {
                    Placement::SameCore => "same core",
                    Placement::Apart => "apart",
                    Placement::Spinning => "apart, spinning",
                };
                format!("latency, {place}, {}", size::name(size))
            }
            Self::Load { connections, depth: 1, size } => {
                let plural = if connections == 1 { "" } else { "s" };
                format!("closed loop, {connections} connection{plural}, {}", size::name(size))
            }
            Self::Load { connections, depth, size } => {
                format!("pipeline, {connections} connections x {depth} deep, {}", size::name(size))
            }
            Self::Idle { connections } => format!("idle, {connections} connections"),
            Self::Broadcast { subscribers, burst: 1, size } => {
                format!("broadcast to {subscribers}, {}", size::name(size))
            }
            Self::Broadcast { subscribers, burst, size } => {
                format!("broadcast to {subscribers}, {burst} x {}", size::name(size))
            }
            Self::Client { size } => format!("client, {}", size::name(size)),
            Self::Deflate { connections, size } => {
                format!("compressed, closed loop, {connections} connections, {}", size::name(size))
            }
            Self::Tls(work) => work.title(),
            Self::Instructions { connections, depth, size } => {
                format!("instructions, {}", Self::Load { connections, depth, size }.title())
            }
        }
    }

    /// Returns the figures that ratios are made of, the most important first.
    pub(crate) fn compared(&self) -> &'static [Metric] {
        use Metric::{Cpu, Instructions, Memory, P50};
        match self {
            // Its CPU time is that of a core that never sleeps.
            Self::Latency { placement: Placement::Spinning, .. } => &[P50],
            Self::Latency { .. } => &[P50, Cpu],
            Self::Idle { .. } => &[Memory],
            Self::Load { .. } | Self::Broadcast { .. } | Self::Client { .. } | Self::Deflate { .. } => &[Cpu],
            Self::Tls(work) => work.compared(),
            Self::Instructions { .. } => &[Instructions],
        }
    }

    /// The figures of the row in the order of the table.
    pub(crate) fn metrics(&self) -> &'static [Metric] {
        use Metric::{Cpu, Memory, OpeningCpu, P50, P99, P999, Rate, Wire};
        match *self {
            Self::Latency { placement: Placement::Spinning, .. } => &[P50, P99, P999, Rate],
            Self::Latency { .. } => &[P50, P99, P999, Cpu],
            Self::Idle { .. } => &[Memory, OpeningCpu],
            Self::Load { .. } | Self::Broadcast { .. } | Self::Client { .. } => &[Cpu, Rate, P50, P99, P999],
            Self::Deflate { .. } => &[Cpu, Wire, Rate, P50, P99, P999],
            Self::Tls(work) => work.metrics(),
            Self::Instructions { .. } => &[Metric::Instructions],
        }
    }

    /// Whether a server that can shall spin.
    pub(crate) fn spins(&self) -> bool {
        matches!(self, Self::Latency { placement: Placement::Spinning, .. })
    }

    /// Returns the number of rounds of this row, where the others have `rounds`. Instructions hardly
    /// differ from round to round.
    pub(crate) fn rounds(&self, rounds: usize) -> usize {
        if self.mode() == Mode::Instructions { 1 } else { rounds }
    }

    /// The core of the generator at this row.
    fn generator_core(&self, settings: &Settings) -> usize {
        match self {
            Self::Latency { placement: Placement::SameCore, .. } | Self::Tls(TlsWork::Latency { .. }) => {
                settings.server_core
            }
            _ => settings.generator_core,
        }
    }

    /// One round of one subject, in a process of its own.
    ///
    /// # Errors
    /// If it cannot be started, or does not do its work right.
    pub(crate) fn measure(&self, subject: &Subject, settings: &Settings) -> Result<Figures> {
        crate::sys::pin_thread(&[self.generator_core(settings)]).context("cannot pin")?;
        if let Self::Client { size } = *self {
            return client::measure(subject.client()?, size, settings);
        }
        if self.mode() == Mode::Instructions {
            return instructions::measure(subject, &Shape::of(self)?, settings);
        }
        let session = Session::open(subject, self, settings.server_core)?;
        match *self {
            Self::Idle { connections } => idle::measure::<TcpStream>(session, connections),
            Self::Broadcast { subscribers, burst, size } => {
                broadcast::measure(&session, subscribers, burst, size, settings)
            }
            Self::Deflate { connections, size } => deflate::measure(&session, connections, size, settings),
            Self::Tls(work) => work.measure(session, settings),
            _ => echo::measure::<TcpStream>(&session, self, settings),
        }
    }

    /// System calls per message, in a round that is not timed.
    ///
    /// # Errors
    /// As [`measure`](Self::measure), and if strace cannot attach.
    pub(crate) fn count_syscalls(&self, subject: &Subject, settings: &Settings) -> Result<Vec<Syscall>> {
        crate::sys::pin_thread(&[self.generator_core(settings)]).context("cannot pin")?;
        let session = Session::open(subject, self, settings.server_core)?;
        match *self {
            Self::Broadcast { subscribers, burst, size } => {
                broadcast::count_syscalls(&session, subscribers, burst, size)
            }
            Self::Tls(work) => work.count_syscalls(&session),
            _ => echo::count_syscalls::<TcpStream>(&session, self),
        }
    }

    /// Whether [`count_syscalls`](Self::count_syscalls) means anything.
    pub(crate) fn has_syscalls(&self) -> bool {
        matches!(self, Self::Load { .. } | Self::Broadcast { .. } | Self::Tls(TlsWork::Load { .. }))
    }
}

/// Figures of a run, and the CPU time if the process is known.
fn figures(outcome: &Outcome, cpu: Option<Duration>) -> Figures {
    let percentile = |quantile| outcome.times.value_at_quantile(quantile) as f64 / 1e3;
    let messages = outcome.messages as f64;
    let mut figures = Figures::from([
        (Metric::P50, percentile(0.5)),
        (Metric::P99, percentile(0.99)),
        (Metric::P999, percentile(0.999)),
        (Metric::Rate, messages / outcome.elapsed.as_secs_f64()),
    ]);
    if let Some(cpu) = cpu {
        figures.insert(Metric::Cpu, cpu.as_secs_f64() * 1e6 / messages);
    }
    figures
}
