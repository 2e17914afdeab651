//! Pictures as data: marks on a plane, in pixels from the upper left corner. [`super::svg`] and [`super::png`] write
//! them.

/// Size of ordinary text.
pub(super) const TEXT: f32 = 12.0;

/// Mean width of a letter, as a share of the size of the text.
pub(super) const LETTER: f32 = 0.56;

/// Width of the blank edge around a picture in a file of its own.
pub(super) const MARGIN: f32 = 12.0;

/// A picture of vector marks.
#[derive(Clone, Debug)]
pub struct Picture {
    pub width: f32,
    pub height: f32,
    /// What it shows, for those who do not see it.
    pub about: String,
    /// Marks, the later above the earlier.
    pub marks: Vec<Mark>,
}

/// Colour by its meaning, which looks right on light and on dark paper.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ink {
    /// Text and what is as important.
    Text,
    /// Text of less weight.
    Faint,
    /// Lines behind the data.
    Grid,
    /// The paper itself, on dark areas.
    Paper,
    /// Surfaces of boxes behind text.
    Surface,
    /// One of the colours that tell series apart, [`SERIES`] in all.
    Series(usize),
    /// Nothing to be seen, but to be pointed at.
    None,
}

/// Colours that tell series apart.
pub(super) const SERIES: usize = 8;

/// Side of a text on which its place lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// Left end of the text.
    Start,
    /// Middle of the text.
    Middle,
    /// Right end of the text.
    End,
}

/// Line, area, letter or image.
#[derive(Clone, Debug)]
pub enum Mark {
    /// A line through points.
    Line {
        /// Corners of the line, x and y.
        points: Vec<[f32; 2]>,
        ink: Ink,
        /// Width of the stroke.
        width: f32,
        /// Whether it has gaps.
        dashed: bool,
    },
    /// A filled disc around a point.
    Dot {
        /// Centre, x and y.
        at: [f32; 2],
        radius: f32,
        ink: Ink,
        /// What is said of it when it is pointed at.
        tip: String,
    },
    /// A rectangle filled with one colour.
    Area {
        /// Left, top, width, height.
        frame: [f32; 4],
        ink: Ink,
        /// Share of the colour, of 0 to 1.
        opacity: f32,
        /// What is said of it when it is pointed at.
        tip: String,
    },
    /// A line of text.
    Text {
        /// Place of the base line's end that `anchor` names.
        at: [f32; 2],
        text: String,
        ink: Ink,
        /// Height of the letters.
        size: f32,
        /// Side on which `at` lies.
        anchor: Anchor,
    },
    /// An image of pixels.
    Image {
        /// Left, top, width, height.
        frame: [f32; 4],
        /// Pixels that are stretched over the frame.
        pixels: Pixels,
        /// What is said of it when it is pointed at.
        tip: String,
    },
}

/// Pixels of red, green and blue, in rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Pixels {
    /// Number of pixels in a row.
    pub width: usize,
    /// Number of rows of pixels.
    pub height: usize,
    /// Bytes, three a pixel.
    pub bytes: Vec<u8>,
}

impl Pixels {
    /// The same in half the size.
    #[must_use]
    pub(super) fn halved(&self) -> Self {
        let (width, height) = (self.width / 2, self.height / 2);
        let byte = |y: usize, x: usize, c: usize| u32::from(self.bytes[(y * self.width + x) * 3 + c]);
        let mean = |y: usize, x: usize, c: usize| {
            ((byte(y, x, c) + byte(y + 1, x, c) + byte(y, x + 1, c) + byte(y + 1, x + 1, c) + 2) / 4) as u8
        };
        let places = (0..height).flat_map(|y| (0..width).map(move |x| (2 * y, 2 * x)));
        Self { width, height, bytes: places.flat_map(|(y, x)| [0, 1, 2].map(|c| mean(y, x, c))).collect() }
    }
}

impl Picture {
    /// A picture without marks.
    pub(super) fn new(width: f32, height: f32, about: impl Into<String>) -> Self {
        Self { width, height, about: about.into(), marks: Vec::new() }
    }

    pub(super) fn line(&mut self, points: impl Into<Vec<[f32; 2]>>, ink: Ink, width: f32) {
        self.marks.push(Mark::Line { points: points.into(), ink, width, dashed: false });
    }

    pub(super) fn area(&mut self, frame: [f32; 4], ink: Ink, opacity: f32, tip: impl Into<String>) {
        self.marks.push(Mark::Area { frame, ink, opacity, tip: tip.into() });
    }

    pub(super) fn text(&mut self, at: [f32; 2], text: impl Into<String>, ink: Ink, anchor: Anchor) {
        self.marks.push(Mark::Text { at, text: text.into(), ink, size: TEXT, anchor });
    }

    /// Puts `other` on this picture, with its upper left corner at `at`.
    pub(super) fn place(&mut self, other: Self, [x, y]: [f32; 2]) {
        let moved = |[a, b]: [f32; 2]| [a + x, b + y];
        let framed = |[a, b, w, h]: [f32; 4]| [a + x, b + y, w, h];
        self.marks.extend(other.marks.into_iter().map(|mark| match mark {
            Mark::Line { points, ink, width, dashed } => {
                Mark::Line { points: points.into_iter().map(moved).collect(), ink, width, dashed }
            }
            Mark::Dot { at, radius, ink, tip } => Mark::Dot { at: moved(at), radius, ink, tip },
            Mark::Area { frame, ink, opacity, tip } => Mark::Area { frame: framed(frame), ink, opacity, tip },
            Mark::Text { at, text, ink, size, anchor } => Mark::Text { at: moved(at), text, ink, size, anchor },
            Mark::Image { frame, pixels, tip } => Mark::Image { frame: framed(frame), pixels, tip },
        }));
    }
}

/// `pictures` below one another, with an empty line between.
pub fn stacked(pictures: Vec<Picture>) -> Picture {
    let width = pictures.iter().map(|picture| picture.width).fold(0.0, f32::max);
    let about = pictures.iter().map(|picture| picture.about.clone()).collect::<Vec<_>>().join(" ");
    let mut all = Picture::new(width, 0.0, about);
    for picture in pictures {
        let (top, height) = (all.height, picture.height);
        all.place(picture, [0.0, top]);
        all.height = top + height;
    }
    all
}

/// `text` in lines of letters of `size` that fit into `width` pixels, cut at blanks.
pub(super) fn wrapped(text: &str, size: f32, width: f32) -> Vec<String> {
    let most = (width / (LETTER * size)).max(1.0) as usize;
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= most => line.extend([" ", word]),
            _ => lines.push(word.into()),
        }
    }
    lines
}

/// `text`, cut where it does not fit into `width` pixels.
pub(super) fn fitted(text: &str, width: f32) -> String {
    // Half a letter stays blank, so that neighbours do not touch.
    let most = (width / (LETTER * TEXT) - 0.5).max(1.0) as usize;
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}
