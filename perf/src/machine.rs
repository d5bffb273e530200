//! The machine that measured.

use std::fs;

use serde::{Deserialize, Serialize};

/// What a reader needs to know about it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// Model name of the processor.
    pub(crate) cpu: String,
    /// Cores that the harness may use.
    pub(crate) cores: usize,
    /// Version of the kernel.
    pub(crate) kernel: String,
    /// Frequency governor of the first core, if the system tells.
    pub(crate) governor: Option<String>,
    /// Load average over one minute before the first round: how many others were running.
    pub(crate) load_at_start: String,
    /// The same after the last round. The harness itself adds one or two.
    pub(crate) load_at_end: String,
}

impl Machine {
    /// Looks around.
    pub(crate) fn describe(cores: usize) -> Self {
        let load = load();
        Self {
            cpu: cpu_model().unwrap_or_else(|| "unknown".into()),
            cores,
            kernel: line("/proc/sys/kernel/osrelease").unwrap_or_else(|| "unknown".into()),
            governor: line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            load_at_start: load.clone(),
            load_at_end: load,
        }
    }

    /// Notes the load after the last round.
    pub(crate) fn finish(&mut self) {
        self.load_at_end = load();
    }
}

fn load() -> String {
    let load = line("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}

fn cpu_model() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn line(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.lines().next()?.to_owned())
}
