//! Files to pixels: JPEG and PNG of every colour kind to 8-bit RGB, with broken and oversized files refused.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};

use super::ImageError;
use super::resize::square;

/// The longest side an image may have, in pixels.
pub const MAX_SIDE: u32 = 16_384;

/// The most bytes a file may have, and a decoded image may take.
pub const MAX_BYTES: u64 = 512 << 20;

/// An image of 8-bit RGB pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `height` x `width` x 3 bytes, red first.
    pub rgb: Vec<u8>,
}

impl Image {
    /// Decodes a JPEG or PNG file held in memory; `name` is used in messages only.
    ///
    /// Grey is copied to the three channels, palettes, CMYK and 16-bit values are converted, and transparent pixels are
    /// shown on white. A camera's note of which side is up (Exif) is obeyed, so that photographs stand upright.
    ///
    /// # Errors
    /// See [`ImageError`].
    pub fn decode(name: &str, bytes: &[u8]) -> Result<Self, ImageError> {
        let name = || name.to_owned();
        if bytes.is_empty() {
            return Err(ImageError::Empty(name()));
        }
        // The content decides, not the extension: ImageNet has a PNG called .JPEG.
        let (format, complete) = match image::guess_format(bytes) {
            Ok(format @ ImageFormat::Jpeg) => (format, jpeg_is_complete(bytes)),
            Ok(format @ ImageFormat::Png) => (format, png_is_complete(bytes)),
            _ => return Err(ImageError::NotAnImage(name())),
        };
        if !complete {
            return Err(ImageError::Truncated(name()));
        }
        let rgb = decode_pixels(bytes, format).map_err(|error| match error {
            image::ImageError::Limits(limit) => ImageError::TooLarge(name(), limit.to_string()),
            other => ImageError::Damaged(name(), other.to_string()),
        })?;
        let (width, height) = (rgb.width() as usize, rgb.height() as usize);
        if width.min(height) < 2 {
            return Err(ImageError::TooSmall(name(), width, height));
        }
        Ok(Self { width, height, rgb: rgb.into_raw() })
    }

    /// Reads and decodes a file, as [`Image::decode`].
    ///
    /// # Errors
    /// See [`ImageError`].
    pub fn read(path: &Path) -> Result<Self, ImageError> {
        let name = path.display().to_string();
        let mut bytes = Vec::new();
        // Bounded, so that neither a huge file nor an endless device fills the memory.
        let read = File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
        if let Err(error) = read {
            return Err(ImageError::Read(name, error));
        }
        if bytes.len() as u64 > MAX_BYTES {
            return Err(ImageError::TooLarge(name, format!("more than {} MiB", MAX_BYTES >> 20)));
        }
        Self::decode(&name, &bytes)
    }

    /// The image scaled so that its shorter side has `size` pixels, then cropped to the centre (section 2 of the paper):
    /// `size` x `size` x 3 bytes.
    #[must_use]
    pub fn square(&self, size: usize) -> Vec<u8> {
        square(&self.rgb, self.width, self.height, size)
    }
}

/// Reads an image file and brings it to `size` x `size` x 3 bytes, rows outermost, red first.
///
/// # Errors
/// See [`ImageError`]; the message names the file.
pub fn decode_file(path: &Path, size: usize) -> Result<Vec<u8>, ImageError> {
    Ok(Image::read(path)?.square(size))
}

fn decode_pixels(bytes: &[u8], format: ImageFormat) -> image::ImageResult<RgbImage> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_BYTES);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder()?;
    limits.reserve(decoder.total_bytes())?;
    let orientation = decoder.orientation()?;
    let mut image = DynamicImage::from_decoder(decoder)?;
    image.apply_orientation(orientation);
    Ok(if image.color().has_alpha() { on_white(&image) } else { image.into_rgb8() })
}

/// What lies under a transparent pixel is arbitrary, so it is blended with white instead of shown.
fn on_white(image: &DynamicImage) -> RgbImage {
    let rgba = image.to_rgba8();
    let mut rgb = RgbImage::new(rgba.width(), rgba.height());
    for (to, from) in rgb.pixels_mut().zip(rgba.pixels()) {
        let [r, g, b, alpha] = from.0.map(u32::from);
        to.0 = [r, g, b].map(|value| ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8);
    }
    rgb
}

/// Whether a JPEG file reaches its end marker. The decoder paints what is missing grey and says nothing.
fn jpeg_is_complete(bytes: &[u8]) -> bool {
    let mut at = 2; // after the start marker
    while let Some(distance) = bytes.get(at..).and_then(|rest| rest.iter().position(|&byte| byte == 0xFF)) {
        at += distance + 1;
        match bytes.get(at) {
            None => return false,
            Some(0xD9) => return true,
            Some(0xFF) => {}                            // padding before a marker
            Some(0x00 | 0x01 | 0xD0..=0xD8) => at += 1, // a stuffed byte of the image data, or a marker alone
            Some(_) => match bytes.get(at + 1..at + 3) {
                Some(&[high, low]) => at += 1 + usize::from(u16::from_be_bytes([high, low])),
                _ => return false,
            },
        }
    }
    false
}

/// Whether a PNG file reaches its IEND chunk: length, kind, content and checksum of each chunk, after 8 bytes of signature.
fn png_is_complete(bytes: &[u8]) -> bool {
    let mut at = 8_usize;
    while let Some(&[a, b, c, d, ref kind @ ..]) = bytes.get(at..).and_then(|rest| rest.get(..8)) {
        at = at.saturating_add(12).saturating_add(u32::from_be_bytes([a, b, c, d]) as usize);
        if kind == b"IEND" {
            return at <= bytes.len();
        }
    }
    false
}
