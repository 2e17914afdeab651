//! The decoders of `image`: a file of one format to RGB pixels as it stores them, within limits of memory.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, ImageResult, Limits, RgbImage};

use super::budget::{Budget, Share};
use super::orientation;
use super::profiles::Profiles;

/// Longest side of an image, in pixels.
pub const MAX_SIDE: u32 = 16_384;

/// Largest size in bytes of a file, and of a decoded image.
pub const MAX_BYTES: u64 = 512 << 20;

/// Size in bytes from which decoded images count against [`LARGE_IMAGES`].
const LARGE: u64 = 64 << 20;

/// Memory of the large images of all threads.
static LARGE_IMAGES: Budget = Budget::new(MAX_BYTES);

/// An image as its file stores it.
pub(super) struct Stored {
    pub(super) rgb: RgbImage,
    /// How it is turned to stand upright.
    pub(super) orientation: Orientation,
    /// Its part of the memory for large images.
    pub(super) memory: Option<Share<'static>>,
}

/// Limits of a decoder on the sides of an image and on its memory.
pub(super) fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_BYTES);
    limits
}

/// Waits until an image of `bytes` decoded bytes may be in memory.
pub(super) fn share(bytes: u64) -> Option<Share<'static>> {
    (bytes >= LARGE).then(|| LARGE_IMAGES.take(bytes))
}

/// Decodes with the usual decoder of a format; an `orientation` that is known is not looked for.
pub(super) fn decode_pixels(
    bytes: &[u8],
    format: ImageFormat,
    orientation: Option<Orientation>,
) -> ImageResult<Stored> {
    let mut limits = limits();
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder()?;
    limits.reserve(decoder.total_bytes())?;
    let orientation = match (orientation, format) {
        (Some(known), _) => known,
        (None, ImageFormat::Tiff) => decoder.orientation()?,
        (None, ImageFormat::Png) => {
            let Profiles { exif, xmp } = Profiles::of(bytes);
            orientation::of(exif.as_deref(), xmp.as_deref())
        }
        (None, _) => orientation::of(decoder.exif_metadata()?.as_deref(), decoder.xmp_metadata()?.as_deref()),
    };
    let memory = share(decoder.total_bytes());
    let image = DynamicImage::from_decoder(decoder)?;
    let rgb = if image.color().has_alpha() { on_white(image) } else { image.into_rgb8() };
    Ok(Stored { rgb, orientation, memory })
}

/// Blends transparent pixels with white, since their own colour is arbitrary; 8-bit pixels in place.
fn on_white(image: DynamicImage) -> RgbImage {
    let (width, height) = (image.width(), image.height());
    let mut bytes = image.into_rgba8().into_raw();
    let pixels = width as usize * height as usize;
    for pixel in 0..pixels {
        let alpha = u32::from(bytes[4 * pixel + 3]);
        for colour in 0..3 {
            let value = u32::from(bytes[4 * pixel + colour]);
            bytes[3 * pixel + colour] = ((value * alpha + 255 * (255 - alpha) + 127) / 255) as u8;
        }
    }
    bytes.truncate(3 * pixels);
    RgbImage::from_raw(width, height, bytes).unwrap_or_default()
}
