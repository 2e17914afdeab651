//! Pictures as SVG, whose colours follow the reader's choice of light or dark.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as STANDARD;

use super::picture::{Anchor, Ink, MARGIN, Mark, Picture, Pixels};
use super::png::{encoded, is_enlarged};
use crate::files::printable;

/// Style of all marks, for light and for dark paper; a page of several pictures needs it once.
pub(super) const STYLE: &str = include_str!("../../assets/report/picture.css");

/// `picture` as a file of its own.
pub fn svg_file(picture: &Picture) -> String {
    let head = format!(
        "<style>{STYLE}</style><rect x=\"-{MARGIN}\" y=\"-{MARGIN}\" width=\"100%\" height=\"100%\" class=\"paper\"/>"
    );
    written(picture, "xmlns=\"http://www.w3.org/2000/svg\" ", &head, MARGIN)
}

/// `picture` as part of a page that has [`STYLE`].
pub(super) fn svg_inline(picture: &Picture) -> String {
    written(picture, "", "", 0.0)
}

fn written(picture: &Picture, space: &str, head: &str, margin: f32) -> String {
    let Picture { width, height, about, marks } = picture;
    let about = escaped(about);
    let [width, height] = [width, height].map(|side| side + 2.0 * margin);
    let mut svg = format!(
        "<svg {space}class=\"picture\" role=\"img\" aria-label=\"{about}\" viewBox=\"{} {} {width} {height}\" \
         width=\"{width}\" height=\"{height}\">{head}",
        0.0 - margin,
        0.0 - margin
    );
    svg.extend(marks.iter().map(element));
    svg.push_str("</svg>\n");
    svg
}

fn element(mark: &Mark) -> String {
    match mark {
        Mark::Line { points, ink, width, dashed } => {
            let dashes = if *dashed { " stroke-dasharray=\"4 3\"" } else { "" };
            let class = class(*ink);
            format!("<path class=\"line {class}\" stroke-width=\"{width}\"{dashes} d=\"{}\"/>", path(points))
        }
        Mark::Dot { at: [x, y], radius, ink, tip } => {
            let (class, tip) = (class(*ink), title(tip));
            format!("<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\">{tip}</circle>")
        }
        Mark::Area { frame: [x, y, w, h], ink, opacity, tip } => {
            let (class, tip) = (class(*ink), title(tip));
            let opacity = if *opacity < 1.0 { format!(" fill-opacity=\"{opacity:.2}\"") } else { String::new() };
            format!(
                "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{h:.1}\"{opacity}>{tip}</rect>"
            )
        }
        Mark::Text { at: [x, y], text, ink, size, anchor } => {
            let (class, text) = (class(*ink), escaped(text));
            let anchor = match anchor {
                Anchor::Start => "",
                Anchor::Middle => " text-anchor=\"middle\"",
                Anchor::End => " text-anchor=\"end\"",
            };
            format!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\"{anchor}>{text}</text>")
        }
        Mark::Image { frame: [x, y, w, h], pixels, tip } => {
            let (data, tip) = (data_url(pixels), title(tip));
            let class = if is_enlarged(*w, pixels) { "class=\"squares\" " } else { "" };
            format!(
                "<image {class}x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" href=\"{data}\">{tip}</image>"
            )
        }
    }
}

fn class(ink: Ink) -> String {
    match ink {
        Ink::Text => "text".into(),
        Ink::Faint => "faint".into(),
        Ink::Grid => "grid".into(),
        Ink::Paper => "paper".into(),
        Ink::Surface => "surface".into(),
        Ink::Series(index) => format!("s{}", index % super::picture::SERIES),
        Ink::None => "none".into(),
    }
}

/// Points as path data: the first, then the steps from each to the next, which need few digits.
fn path(points: &[[f32; 2]]) -> String {
    let tenths = |[x, y]: [f32; 2]| [(10.0 * x).round() as i64, (10.0 * y).round() as i64];
    let mut data = String::new();
    let mut before = [0, 0];
    for (index, &point) in points.iter().enumerate() {
        let at = tenths(point);
        let letter = if index == 0 { 'M' } else { 'l' };
        let [x, y] = [0, 1].map(|i| (at[i] - before[i]) as f64 / 10.0);
        let _ = write!(data, "{letter}{x} {y}");
        before = at;
    }
    data
}

fn title(tip: &str) -> String {
    if tip.is_empty() { String::new() } else { format!("<title>{}</title>", escaped(tip)) }
}

/// `text` as HTML and SVG take it, inside and outside of quotes.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in printable(text).chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            _ => safe.push(c),
        }
    }
    safe
}

/// `pixels` as an address that needs no request.
pub(super) fn data_url(pixels: &Pixels) -> String {
    format!("data:image/png;base64,{}", STANDARD.encode(encoded(pixels)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_place() {
        let mut picture = Picture::new(10.0, 10.0, "\"><script>");
        picture.text([0.0, 0.0], "a<b>&\u{1b}", Ink::Text, Anchor::Start);
        let svg = svg_file(&picture);
        assert!(!svg.contains("<script") && svg.contains("a&lt;b&gt;&amp;\\u001b"), "{svg}");
    }

    #[test]
    fn a_path_is_where_its_points_are() {
        assert_eq!(path(&[[1.0, 2.0], [1.26, 2.0], [0.0, 0.0]]), "M1 2l0.3 0l-1.3 -2");
    }
}
