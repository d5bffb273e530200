//! The other end: CPU time per message of a client, against one server.
//!
//! Each client runs in a process of its own (`perf client ...`) that measures itself and prints its figures as JSON. All talk to the
//! femtows echo server, so its share is the same for all.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use clap::ValueEnum;
use femtows::{
    WSConnectConfig, WSFrame, WSLimits, WSListener, WSLoop, WSLoopConfig, WSMsgType, WSResult, WSTransport,
    ws_connect,
};

use super::{Settings, figures};
use crate::accounting::own_cpu_time;
use crate::generator::{Check, Fleet, Opcode, Outcome, Pace, Plan, Script, Target, Until};
use crate::peers::{self, Reply};
use crate::results::Figures;
use crate::server::Server;
use crate::sys;

/// A client that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClientKind {
    /// The generator itself: raw epoll, frames masked beforehand.
    Raw,
    /// A `WSListener` on this library's client.
    Femtows,
}

impl ClientKind {
    /// Name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw client",
            Self::Femtows => "femtows",
        }
    }
}

/// Starts a server, and the client on the same core: the wake-ups between cores would cost more than what is to be compared.
pub(super) fn measure(kind: ClientKind, size: usize, settings: &Settings) -> Result<Figures> {
    let peer = peers::by_name("femtows").context("femtows is not registered")?;
    let server = Server::start(peer, false, None, settings.server_core)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("client").arg(kind.to_possible_value().context("hidden kind")?.get_name());
    command.arg("--port").arg(server.target(peer).addr.port().to_string());
    command.arg("--size").arg(size.to_string());
    command.arg("--millis").arg(settings.time.as_millis().to_string());
    command.stdin(Stdio::null());
    sys::confine(&mut command, settings.server_core);
    let output = command.output().context("cannot start the client")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The client's own process: measures and prints.
///
/// # Errors
/// If the server is not there or echoes something else.
pub(crate) fn run_client(kind: ClientKind, port: u16, size: usize, time: Duration) -> Result<()> {
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let warm_up = (time / 5).max(Duration::from_millis(50));
    let figures = match kind {
        ClientKind::Raw => measure_raw(addr, size, warm_up, time)?,
        ClientKind::Femtows => measure_femtows(addr, size, warm_up, time)?,
    };
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}

fn measure_raw(addr: SocketAddr, size: usize, warm_up: Duration, time: Duration) -> Result<Figures> {
    let target = Target { addr, host: addr.to_string(), path: "/".into(), reply: Reply::Frame, tls: None };
    let mut fleet: Fleet = Fleet::open(&target, &target.path, 1)?;
    let script = Script::new(Opcode::Binary, size, 1, Reply::Frame);
    let plan = |time| Plan { until: Until::Elapsed(time), check: Check::Sampled, pace: Pace::Sleeping };
    fleet.run(&script, plan(warm_up))?;
    let before = own_cpu_time()?;
    let outcome = fleet.run(&script, plan(time))?;
    Ok(figures(&outcome, Some(own_cpu_time()?.saturating_sub(before))))
}

fn measure_femtows(addr: SocketAddr, size: usize, warm_up: Duration, time: Duration) -> Result<Figures> {
    let script = Script::new(Opcode::Binary, size, 1, Reply::Frame);
    let state = Rc::new(RefCell::new(Pinging::new(script, warm_up, time)));
    let limits = WSLimits::default().max_frame_size(16 << 20).max_outbound(64 << 20);
    let config = WSConnectConfig::default().limits(limits);
    let mut event_loop = WSLoop::new(WSLoopConfig::default())?;
    let handle = event_loop.handle();
    let url = format!("ws://{addr}/");
    let pinger = Pinger(Rc::clone(&state));
    let transport = event_loop.block_on(ws_connect(&handle, pinger, &url, config))??;
    let patience = warm_up + time + Duration::from_secs(5);
    event_loop.block_on(handle.timeout(patience, transport.wait_disconnected()))???;
    let state = state.borrow();
    let cpu = state.cpu.ok_or_else(|| anyhow!("the connection ended: {:?}", transport.disconnect_info()))?;
    Ok(figures(&state.outcome, Some(cpu)))
}

/// The same work as the generator's: send, compare the echo, note the time.
struct Pinging {
    script: Script,
    warm_up: Duration,
    time: Duration,
    exchange: usize,
    sent: Instant,
    phase: Phase,
    outcome: Outcome,
    /// CPU time of the measured part, once that is over.
    cpu: Option<Duration>,
}

enum Phase {
    WarmUp { since: Instant },
    Measured { since: Instant, cpu: Duration },
}

impl Pinging {
    fn new(script: Script, warm_up: Duration, time: Duration) -> Self {
        let now = Instant::now();
        Self {
            script,
            warm_up,
            time,
            exchange: 0,
            sent: now,
            phase: Phase::WarmUp { since: now },
            outcome: Outcome::new(),
            cpu: None,
        }
    }

    fn ping(&mut self, transport: &WSTransport) {
        self.sent = Instant::now();
        transport.send(WSMsgType::Binary, self.script.payload(self.exchange));
    }

    /// Counts an echo. Whether it was the last.
    fn pong(&mut self, payload: &[u8]) -> WSResult<bool> {
        let now = Instant::now();
        self.script.compare_payload(self.exchange, payload, Check::Sampled)?;
        self.exchange += 1;
        match self.phase {
            Phase::WarmUp { since } if now - since >= self.warm_up => {
                self.phase = Phase::Measured { since: Instant::now(), cpu: own_cpu_time()? };
            }
            Phase::WarmUp { .. } => {}
            Phase::Measured { since, cpu } => {
                self.outcome.record(now - self.sent, 1);
                if now - since >= self.time {
                    self.outcome.elapsed = now - since;
                    self.cpu = Some(own_cpu_time()?.saturating_sub(cpu));
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

struct Pinger(Rc<RefCell<Pinging>>);

impl WSListener for Pinger {
    fn on_ws_connected(&mut self, transport: &WSTransport) -> WSResult {
        self.0.borrow_mut().ping(transport);
        Ok(())
    }

    fn on_ws_frame(&mut self, transport: &WSTransport, frame: &mut WSFrame<'_>) -> WSResult {
        let mut state = self.0.borrow_mut();
        if state.pong(frame.payload())? {
            transport.abort();
        } else {
            state.ping(transport);
        }
        Ok(())
    }
}
