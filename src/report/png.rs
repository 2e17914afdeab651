//! Pictures as PNG, on white paper, with letters that no machine has to have.

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, RasterizedChar, get_raster, get_raster_width};
use tiny_skia::{
    Color, FillRule, FilterQuality, LineJoin, Paint, PathBuilder, Pixmap, PixmapPaint, PremultipliedColorU8, Rect,
    Stroke, StrokeDash, Transform,
};

use super::picture::{Anchor, Ink, MARGIN, Mark, Picture, Pixels};

/// Pixels of the file for one of the picture: sharp on today's screens and on paper.
const SCALE: f32 = 2.0;

/// Part of the height of a letter's raster that lies above the base line.
const ASCENT: f32 = 0.78;

/// Times by which single pixels are enlarged at least where each is to be seen as a square.
const ENLARGED: f32 = 1.5;

/// `picture` as a PNG file; `None` where it is too large for one.
pub fn png_file(picture: &Picture) -> Option<Vec<u8>> {
    let [width, height] = [picture.width, picture.height].map(|side| (SCALE * (side + 2.0 * MARGIN)).ceil() as u32);
    let mut canvas = Pixmap::new(width, height)?;
    canvas.fill(Color::WHITE);
    for mark in &picture.marks {
        // What lies nowhere is not drawn.
        let _ = draw(&mut canvas, mark);
    }
    canvas.encode_png().ok()
}

/// `pixels` as a PNG file; nothing of an image without pixels.
pub(super) fn encoded(pixels: &Pixels) -> Vec<u8> {
    pixmap(pixels).and_then(|map| map.encode_png().ok()).unwrap_or_default()
}

fn pixmap(pixels: &Pixels) -> Option<Pixmap> {
    let mut map = Pixmap::new(pixels.width as u32, pixels.height as u32)?;
    for (to, from) in map.pixels_mut().iter_mut().zip(pixels.bytes.chunks_exact(3)) {
        *to = PremultipliedColorU8::from_rgba(from[0], from[1], from[2], 255)?;
    }
    Some(map)
}

/// Colours on white paper: those of the style's light half.
fn colour(ink: Ink) -> Option<[u8; 3]> {
    const SERIES: [u32; super::picture::SERIES] =
        [0x0b_62d6, 0xbc_4c00, 0x1a_7f37, 0x82_50df, 0xbf_3989, 0x0a_6f78, 0x7d_4e00, 0x57_606a];
    let code = match ink {
        Ink::Text => 0x1f_2328,
        Ink::Faint => 0x57_606a,
        Ink::Grid => 0xd8_dee4,
        Ink::Paper => 0xff_ffff,
        Ink::Surface => 0xee_f1f4,
        Ink::Series(index) => SERIES[index % SERIES.len()],
        Ink::None => return None,
    };
    let [_, red, green, blue] = code.to_be_bytes();
    Some([red, green, blue])
}

fn paint(ink: Ink, opacity: f32) -> Option<Paint<'static>> {
    let [red, green, blue] = colour(ink)?;
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    paint.set_color_rgba8(red, green, blue, (255.0 * opacity.clamp(0.0, 1.0)).round() as u8);
    Some(paint)
}

/// Draws a mark; of one that lies nowhere, as after a division by 0, nothing is seen.
fn draw(canvas: &mut Pixmap, mark: &Mark) -> Option<()> {
    let scale = Transform::from_translate(MARGIN, MARGIN).post_scale(SCALE, SCALE);
    match mark {
        Mark::Line { points, ink, width, dashed } => {
            let (mut path, paint) = (PathBuilder::new(), paint(*ink, 1.0)?);
            for (index, &[x, y]) in points.iter().enumerate() {
                if index == 0 { path.move_to(x, y) } else { path.line_to(x, y) }
            }
            let dash = if *dashed { StrokeDash::new(vec![4.0, 3.0], 0.0) } else { None };
            let stroke = Stroke { width: *width, line_join: LineJoin::Round, dash, ..Stroke::default() };
            canvas.stroke_path(&path.finish()?, &paint, &stroke, scale, None);
        }
        Mark::Dot { at: [x, y], radius, ink, .. } => {
            let path = PathBuilder::from_circle(*x, *y, *radius)?;
            canvas.fill_path(&path, &paint(*ink, 1.0)?, FillRule::Winding, scale, None);
        }
        Mark::Area { frame: [x, y, w, h], ink, opacity, .. } => {
            let frame = Rect::from_xywh(*x, *y, *w, *h)?;
            canvas.fill_rect(frame, &paint(*ink, *opacity)?, scale, None);
            if *ink == Ink::Surface {
                let stroke = Stroke::default();
                canvas.stroke_path(&PathBuilder::from_rect(frame), &paint(Ink::Grid, 1.0)?, &stroke, scale, None);
            }
        }
        Mark::Text { at, text, ink, size, anchor } => write(canvas, *at, text, colour(*ink)?, *size, *anchor),
        Mark::Image { frame: [x, y, w, h], pixels, .. } => {
            let map = pixmap(pixels)?;
            let (across, down) = (w / pixels.width as f32, h / pixels.height as f32);
            let place = Transform::from_row(across, 0.0, 0.0, down, *x, *y).post_concat(scale);
            // Weights are squares; photographs are not.
            let quality = if is_enlarged(*w, pixels) { FilterQuality::Nearest } else { FilterQuality::Bilinear };
            let how = PixmapPaint { quality, ..PixmapPaint::default() };
            canvas.draw_pixmap(0, 0, map.as_ref(), &how, place, None);
        }
    }
    Some(())
}

/// Whether pixels are so large in a frame of this width that they are to be seen.
pub(super) fn is_enlarged(width: f32, pixels: &Pixels) -> bool {
    width > ENLARGED * pixels.width as f32
}

/// Letters of `size` on the canvas.
fn write(canvas: &mut Pixmap, [x, y]: [f32; 2], text: &str, ink: [u8; 3], size: f32, anchor: Anchor) {
    let height = match SCALE * size {
        tall if tall > 28.0 => RasterHeight::Size32,
        tall if tall > 21.0 => RasterHeight::Size24,
        tall if tall > 17.0 => RasterHeight::Size20,
        _ => RasterHeight::Size16,
    };
    let advance = get_raster_width(FontWeight::Regular, height) as f32;
    let width = advance * text.chars().count() as f32;
    let begin = SCALE * (MARGIN + x)
        - match anchor {
            Anchor::Start => 0.0,
            Anchor::Middle => width / 2.0,
            Anchor::End => width,
        };
    let top = (SCALE * (MARGIN + y) - ASCENT * height as usize as f32).round() as i64;
    for (index, c) in text.chars().enumerate() {
        let left = (begin + index as f32 * advance).round() as i64;
        if let Some(letter) = letter(c, height) {
            blend(canvas, &letter, [left, top], ink);
        }
    }
}

/// The raster of a letter, of a likeness where the font has none.
fn letter(c: char, height: RasterHeight) -> Option<RasterizedChar> {
    let raster = |c| get_raster(c, FontWeight::Regular, height);
    let alike = || match c {
        '−' | '–' | '—' => raster('-'),
        '…' => raster('.'),
        '→' => raster('>'),
        '’' => raster('\''),
        _ => raster('?'),
    };
    raster(c).or_else(alike)
}

fn blend(canvas: &mut Pixmap, letter: &RasterizedChar, [left, top]: [i64; 2], ink: [u8; 3]) {
    let (width, height) = (i64::from(canvas.width()), i64::from(canvas.height()));
    for (row, line) in (top..).zip(letter.rows()) {
        for (column, &cover) in (left..).zip(line) {
            if cover == 0 || !(0..width).contains(&column) || !(0..height).contains(&row) {
                continue;
            }
            let pixel = &mut canvas.pixels_mut()[(row * width + column) as usize];
            let mixed = [pixel.red(), pixel.green(), pixel.blue()].map(u32::from);
            let mixed: [u8; 3] = std::array::from_fn(|i| {
                ((mixed[i] * u32::from(255 - cover) + u32::from(ink[i]) * u32::from(cover)) / 255) as u8
            });
            if let Some(colour) = PremultipliedColorU8::from_rgba(mixed[0], mixed[1], mixed[2], 255) {
                *pixel = colour;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_seen_and_those_that_lie_nowhere_are_not() {
        let mut picture = Picture::new(60.0, 20.0, "");
        let blank = png_file(&picture).unwrap();
        picture.line([[f32::NAN, 0.0], [1.0, f32::INFINITY]], Ink::Text, 1.0);
        picture.area([0.0, 0.0, -1.0, f32::NAN], Ink::Text, 1.0, "");
        assert_eq!(png_file(&picture).unwrap(), blank);
        picture.text([30.0, 15.0], "−5 µs …", Ink::Text, Anchor::Middle);
        let decoded = Pixmap::decode_png(&png_file(&picture).unwrap()).unwrap();
        assert_eq!((decoded.width(), decoded.height()), (168, 88));
        let dark = decoded.pixels().iter().filter(|pixel| pixel.red() < 100).count();
        assert!((50..1500).contains(&dark), "{dark} dark pixels");
    }

    #[test]
    fn the_light_colours_are_those_of_the_style() {
        let (light, _) = super::super::svg::STYLE.split_once("@media").unwrap();
        for index in 0..super::super::picture::SERIES {
            let code =
                colour(Ink::Series(index)).unwrap().iter().fold(String::new(), |all, b| all + &format!("{b:02x}"));
            assert!(light.contains(&format!("--s{index}:#{code}")), "s{index} is {code}");
        }
    }
}
