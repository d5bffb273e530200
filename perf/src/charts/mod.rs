//! Bar charts of the results.

mod chart;
mod png;
mod selection;

pub(crate) use chart::Chart;
pub(crate) use png::to_png;
pub(crate) use selection::of;
