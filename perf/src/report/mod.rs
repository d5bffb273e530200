//! What a comparison leaves behind: `results.json`, `results.md`, and charts as SVG and PNG.

mod markdown;
mod numbers;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::charts;
use crate::results::Results;

pub(crate) use numbers::compact;

/// Writes all files into `folder`.
///
/// # Errors
/// If a file cannot be written, or a chart cannot be drawn.
pub(crate) fn write(results: &Results, folder: &Path) -> Result<()> {
    let save = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
    };
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    save("results.json", &serde_json::to_vec_pretty(results)?)?;
    let charts = charts::of(results);
    for chart in &charts {
        let svg = chart.to_svg();
        save(&format!("{}.png", chart.name), &charts::to_png(&svg)?)?;
        save(&format!("{}.svg", chart.name), svg.as_bytes())?;
    }
    let names: Vec<_> = charts.iter().map(|chart| (chart.name, chart.title.as_str())).collect();
    save("results.md", markdown::render(results, &names).as_bytes())
}

/// Reads `results.json`.
///
/// # Errors
/// If it is not there, or not what this version writes.
pub(crate) fn read(path: &Path) -> Result<Results> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is not a result", path.display()))
}

/// The summary, for the terminal.
pub(crate) fn summary(results: &Results) -> String {
    markdown::summary(results)
}
