//! A chart of horizontal bars, drawn as SVG.
//!
//! Each panel has a scale of its own that begins at zero: panels show different sizes, whose figures are far apart.

use std::fmt::Write;

use crate::report::compact;

const COLUMNS: usize = 2;
const PANEL_WIDTH: f64 = 520.0;
const LABEL_WIDTH: f64 = 150.0;
const VALUE_WIDTH: f64 = 70.0;
const BAR_HEIGHT: f64 = 16.0;
const BAR_STEP: f64 = 22.0;
const PANEL_HEAD: f64 = 34.0;
const PANEL_FOOT: f64 = 14.0;
const HEAD: f64 = 70.0;
const MARGIN: f64 = 24.0;

/// A picture.
#[derive(Clone, Debug)]
pub(crate) struct Chart {
    /// Name of the file, without an ending.
    pub(crate) name: &'static str,
    /// What it shows.
    pub(crate) title: String,
    /// Unit, and how to read it.
    pub(super) note: String,
    /// Side by side, two in a line.
    pub(super) panels: Vec<Panel>,
}

/// Bars on one scale.
#[derive(Clone, Debug)]
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) bars: Vec<Bar>,
}

/// One figure.
#[derive(Clone, Debug)]
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) value: f64,
    /// The least and the most of all rounds.
    pub(super) spread: (f64, f64),
    pub(super) kind: Kind,
}

/// Whose bar it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Ours,
    Limit,
    Peer,
}

impl Kind {
    fn colour(self) -> &'static str {
        match self {
            Self::Ours => "#d9480f",
            Self::Limit => "#adb5bd",
            Self::Peer => "#4c6ef5",
        }
    }
}

impl Chart {
    /// The picture as a document of its own.
    pub(crate) fn to_svg(&self) -> String {
        let columns = self.panels.len().clamp(1, COLUMNS);
        let heights: Vec<f64> = self.panels.chunks(columns).map(line_height).collect();
        let width = (2.0 * MARGIN + columns as f64 * PANEL_WIDTH).max(760.0);
        let height = HEAD + heights.iter().sum::<f64>() + MARGIN;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" font-family=\"Ubuntu, DejaVu Sans, sans-serif\" font-size=\"12\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
        );
        text(&mut svg, (MARGIN, 32.0), "font-size=\"19\" fill=\"#212529\"", &self.title);
        text(&mut svg, (MARGIN, 53.0), "font-size=\"11\" fill=\"#495057\"", &self.note);
        let mut y = HEAD;
        for (line, height) in self.panels.chunks(columns).zip(heights) {
            for (column, panel) in line.iter().enumerate() {
                panel.draw(&mut svg, MARGIN + column as f64 * PANEL_WIDTH, y);
            }
            y += height;
        }
        svg.push_str("</svg>\n");
        svg
    }
}

impl Panel {
    fn draw(&self, svg: &mut String, x: f64, y: f64) {
        let most = self.bars.iter().map(|bar| bar.spread.1.max(bar.value)).fold(f64::MIN_POSITIVE, f64::max);
        let scale = (PANEL_WIDTH - LABEL_WIDTH - VALUE_WIDTH - MARGIN) / most;
        text(svg, (x, y + 20.0), "font-size=\"14\" fill=\"#212529\"", &self.title);
        for (index, bar) in self.bars.iter().enumerate() {
            bar.draw(svg, x, y + PANEL_HEAD + index as f64 * BAR_STEP, scale);
        }
    }

    fn height(&self) -> f64 {
        PANEL_HEAD + self.bars.len() as f64 * BAR_STEP + PANEL_FOOT
    }
}

impl Bar {
    fn draw(&self, svg: &mut String, x: f64, y: f64, scale: f64) {
        let start = x + LABEL_WIDTH;
        let (middle, baseline) = (y + BAR_HEIGHT / 2.0, y + 12.5);
        let (least, most) = (start + self.spread.0 * scale, start + self.spread.1 * scale);
        let end = start + self.value * scale;
        text(svg, (start - 8.0, baseline), "text-anchor=\"end\" fill=\"#212529\"", &self.label);
        let _ = writeln!(
            svg,
            "<rect x=\"{start:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BAR_HEIGHT}\" fill=\"{}\"/>",
            end - start,
            self.kind.colour()
        );
        let _ = writeln!(
            svg,
            "<path d=\"M{least:.1} {middle:.1}H{most:.1}\" stroke=\"#212529\" stroke-width=\"1.5\"/>"
        );
        text(svg, (end.max(most) + 6.0, baseline), "fill=\"#212529\"", &compact(self.value));
    }
}

fn line_height(panels: &[Panel]) -> f64 {
    panels.iter().map(Panel::height).fold(0.0, f64::max)
}

fn text(svg: &mut String, (x, y): (f64, f64), attributes: &str, content: &str) {
    let content = content.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{content}</text>");
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A chart of one panel with one bar.
    pub(in crate::charts) fn chart(label: &str) -> Chart {
        let bar = Bar { label: label.into(), value: 10.0, spread: (8.0, 20.0), kind: Kind::Ours };
        let panels = vec![Panel { title: "20 B".into(), bars: vec![bar] }];
        Chart { name: "test", title: "Title".into(), note: "Note".into(), panels }
    }

    #[test]
    fn bars_are_to_scale() {
        let svg = chart("a").to_svg();
        // The largest of the spread fills the room between label and value; the bar is half as long.
        let width = (PANEL_WIDTH - LABEL_WIDTH - VALUE_WIDTH - MARGIN) / 2.0;
        assert!(svg.contains(&format!("width=\"{width:.1}\"")), "{svg}");
    }

    #[test]
    fn names_cannot_break_the_picture() {
        let svg = chart("a<b>&c").to_svg();
        assert!(svg.contains("a&lt;b&gt;&amp;c"), "{svg}");
    }
}
