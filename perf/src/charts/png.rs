//! SVG to PNG, with a font that is part of the program: a machine without fonts draws the same picture.

use std::sync::Arc;

use anyhow::{Context, Result};
use epaint_default_fonts::UBUNTU_LIGHT;
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree};

/// Pixels per unit of the SVG: sharp on screens of high density.
const ZOOM: f32 = 2.0;

/// Renders a picture.
///
/// # Errors
/// If it is not valid SVG, or too large.
pub(crate) fn to_png(svg: &str) -> Result<Vec<u8>> {
    let mut options = Options { font_family: "Ubuntu".into(), ..Options::default() };
    Arc::make_mut(&mut options.fontdb).load_font_data(UBUNTU_LIGHT.to_vec());
    let tree = Tree::from_str(svg, &options).context("the chart is not valid SVG")?;
    let size = tree.size().to_int_size().scale_by(ZOOM).context("the chart has no size")?;
    let mut pixels = Pixmap::new(size.width(), size.height()).context("the chart is too large")?;
    resvg::render(&tree, Transform::from_scale(ZOOM, ZOOM), &mut pixels.as_mut());
    pixels.encode_png().context("cannot encode")
}

#[cfg(test)]
mod tests {
    use super::super::chart::tests::chart;
    use super::*;

    #[test]
    fn text_is_drawn_without_fonts_of_the_system() {
        let short = to_png(&chart("").to_svg()).unwrap();
        let long = to_png(&chart("mmmmmmmmmm").to_svg()).unwrap();
        assert!(short.starts_with(b"\x89PNG"));
        assert_ne!(short, long, "the label left no trace");
    }
}
