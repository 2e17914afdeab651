//! Files to pixels: images of every colour kind to 8-bit RGB, with broken and oversized files refused.

use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::ImageFormat;
use image::metadata::Orientation;

use super::codec::{MAX_BYTES, Stored, decode_pixels};
use super::ends::{gif_is_complete, png_is_complete};
use super::jpeg::Jpeg;
use super::resize::{square, square_turned};
use super::turn::{turn, turns_sideways};
use super::{ImageError, ImageExcess, ImageFault};
use crate::files::read_at_most;

/// Extensions of the formats that are read, in lower case.
pub(super) const EXTENSIONS: [&str; 13] =
    ["jpg", "jpeg", "png", "jfif", "webp", "bmp", "tif", "tiff", "gif", "ppm", "pgm", "pbm", "pnm"];

/// Whether `bytes` begin as an image of a format that is read.
fn format_of(bytes: &[u8]) -> Option<ImageFormat> {
    image::guess_format(bytes).ok().filter(ImageFormat::reading_enabled)
}

/// An image of 8-bit RGB pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Number of pixels in a row.
    pub width: usize,
    /// Number of rows of pixels.
    pub height: usize,
    /// `height` x `width` x 3 bytes, red first.
    pub rgb: Vec<u8>,
}

impl Image {
    /// Decodes a file held in memory: JPEG, PNG, WebP, BMP, TIFF, PNM or the first frame of a GIF; `name` is used in
    /// messages only.
    ///
    /// Grey is copied to the three channels; palettes, CMYK and 16-bit values are converted; transparent pixels are
    /// blended with white. Photographs are rotated upright by their Exif or XMP orientation.
    pub fn decode(name: &str, bytes: &[u8]) -> Result<Self, ImageError> {
        let Stored { rgb, orientation, memory: _memory } = decode_stored(&|| name.to_owned(), bytes)?;
        let sides = (rgb.width() as usize, rgb.height() as usize);
        let mut rgb = rgb.into_raw();
        let (width, height) = turn(&mut rgb, sides, orientation);
        Ok(Self { width, height, rgb })
    }

    /// Reads a file and decodes it as [`Image::decode`] does.
    pub fn read(path: &Path) -> Result<Self, ImageError> {
        let name = path.display().to_string();
        Self::decode(&name, &read_file(&name, path)?)
    }

    /// Scales the shorter side to `size` pixels and crops the centre (section 2 of the paper): `size` x `size` x 3
    /// bytes.
    pub fn square(&self, name: &str, size: usize) -> Result<Vec<u8>, ImageError> {
        square(name, &self.rgb, (self.width, self.height), size)
    }
}

/// Decodes a file as [`Image::decode`] does and converts it as [`Image::square`] does, without a copy of an image that
/// is to be turned; `name` is called only for a message.
pub(super) fn decode_square(name: impl Fn() -> String, bytes: &[u8], size: usize) -> Result<Vec<u8>, ImageError> {
    let Stored { rgb, orientation, memory: _memory } = decode_stored(&name, bytes)?;
    let sides = (rgb.width() as usize, rgb.height() as usize);
    let rgb = rgb.into_raw();
    match orientation {
        // An image of the right size is not copied.
        Orientation::NoTransforms if sides == (size, size) => Ok(rgb),
        Orientation::NoTransforms => square(&name(), &rgb, sides, size),
        _ => square_turned(&name(), rgb, sides, size, orientation),
    }
}

fn decode_stored(name: &dyn Fn() -> String, bytes: &[u8]) -> Result<Stored, ImageError> {
    if bytes.is_empty() {
        return Err(ImageError::Empty(name()));
    }
    // The content decides, not the extension: ImageNet has a PNG called .JPEG.
    let format = format_of(bytes).ok_or_else(|| ImageError::NotAnImage(name()))?;
    let stored = guarded(name, || {
        let decoded = match format {
            ImageFormat::Jpeg => {
                let jpeg = Jpeg::parse(bytes);
                if !jpeg.is_complete() {
                    return Err(ImageError::Truncated(name()));
                }
                jpeg.decode(bytes)
            }
            ImageFormat::Png if !png_is_complete(bytes) => return Err(ImageError::Truncated(name())),
            ImageFormat::Gif if !gif_is_complete(bytes) => return Err(ImageError::Truncated(name())),
            format => decode_pixels(bytes, format, None),
        };
        decoded.map_err(|error| match error {
            image::ImageError::Limits(limit) => ImageError::TooLarge(name(), ImageExcess::Pixels(limit.into())),
            image::ImageError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
                ImageError::Truncated(name())
            }
            other => ImageError::Damaged(name(), ImageFault::codec(other)),
        })
    })?;
    let (width, height) = (stored.rgb.width() as usize, stored.rgb.height() as usize);
    if width.min(height) < 2 {
        let turned = turns_sideways(stored.orientation);
        let (width, height) = if turned { (height, width) } else { (width, height) };
        return Err(ImageError::TooSmall(name(), width, height));
    }
    Ok(stored)
}

/// Reads an image file; `name` is used in messages only.
pub(super) fn read_file(name: &str, path: &Path) -> Result<Vec<u8>, ImageError> {
    read_at_most(path, MAX_BYTES).map_err(|error| match error.kind() {
        ErrorKind::FileTooLarge => ImageError::TooLarge(name.into(), ImageExcess::File),
        ErrorKind::InvalidInput => ImageError::NotAFile(name.into()),
        _ => ImageError::Read(name.into(), error),
    })
}

/// Calls `decode` and turns a panic into an error: decoders have them for damaged files.
pub(super) fn guarded<T>(
    name: impl FnOnce() -> String,
    decode: impl FnOnce() -> Result<T, ImageError>,
) -> Result<T, ImageError> {
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Err(ImageError::Damaged(name(), ImageFault::Panicked(said.to_owned())))
    })
}

/// Reads an image file as `size` x `size` x 3 bytes, rows outermost, red first.
pub fn decode_file(path: &Path, size: usize) -> Result<Vec<u8>, ImageError> {
    let name = path.display().to_string();
    decode_square(|| name.clone(), &read_file(&name, path)?, size)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Cursor;
    use std::path::PathBuf;

    use image::RgbImage;

    use super::*;
    use crate::data::MAX_SIDE;

    const QUADRANTS: [[u8; 3]; 4] = [[220, 40, 30], [40, 180, 60], [30, 60, 200], [240, 230, 80]];

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images").join(name)
    }

    fn encoded(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
        let noise = |x: u32, y: u32| image::Rgb([x * 37, y * 59, x * y * 7].map(|value| value as u8));
        let mut bytes = Cursor::new(Vec::new());
        RgbImage::from_fn(width, height, noise).write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    /// The middle of each quadrant, row by row.
    fn quadrants(image: &Image) -> [[u8; 3]; 4] {
        [(1, 1), (3, 1), (1, 3), (3, 3)].map(|(x, y)| {
            let at = (image.height * y / 4 * image.width + image.width * x / 4) * 3;
            [image.rgb[at], image.rgb[at + 1], image.rgb[at + 2]]
        })
    }

    fn assert_colours(name: &str, expected: [[u8; 3]; 4], tolerance: u8) {
        let image = Image::read(&fixture(name)).unwrap();
        assert_eq!((image.width, image.height, image.rgb.len()), (48, 32, 48 * 32 * 3), "{name}");
        let found = quadrants(&image);
        let near = found.as_flattened().iter().zip(expected.as_flattened()).all(|(a, b)| a.abs_diff(*b) <= tolerance);
        assert!(near, "{name}: {found:?}, expected {expected:?}");
    }

    #[test]
    fn every_kind_of_colour_decodes_to_rgb() {
        assert_colours("rgb.jpg", QUADRANTS, 2);
        assert_colours("progressive.jpg", QUADRANTS, 4);
        assert_colours("cmyk.jpg", QUADRANTS, 4);
        assert_colours("ycck.jpg", QUADRANTS, 4);
        assert_colours("palette.png", QUADRANTS, 0);
        assert_colours("rgb16.png", QUADRANTS, 0);
        assert_colours("grey.jpg", [[93; 3], [124; 3], [67; 3], [216; 3]], 2);
        assert_colours("alpha.png", [QUADRANTS[0], [255; 3], [142, 157, 227], QUADRANTS[3]], 0);
    }

    #[test]
    fn photographs_stand_upright() {
        let image = Image::read(&fixture("rotated.jpg")).unwrap();
        assert_eq!((image.width, image.height), (32, 48));
        let expected = [2, 0, 3, 1].map(|quadrant| QUADRANTS[quadrant]);
        let found = quadrants(&image);
        assert!(
            found.as_flattened().iter().zip(expected.as_flattened()).all(|(a, b)| a.abs_diff(*b) <= 2),
            "{found:?}"
        );
    }

    #[test]
    fn other_formats_decode_to_the_same_pixels() {
        let wanted = Image::decode("x", &encoded(20, 30, ImageFormat::Png)).unwrap();
        for format in [ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::WebP, ImageFormat::Pnm] {
            let bytes = encoded(20, 30, format);
            assert!(Image::decode("x", &bytes).unwrap() == wanted, "{format:?}");
            let cut = Image::decode("cut", &bytes[..bytes.len() / 2]).unwrap_err().to_string();
            assert!(cut.starts_with("cut: is "), "{cut}");
        }
        let gif = encoded(20, 30, ImageFormat::Gif);
        let image = Image::decode("x.gif", &gif).unwrap();
        assert_eq!((image.width, image.height), (20, 30));
        for length in 8..gif.len() - 1 {
            let error = Image::decode("cut.gif", &gif[..length]).unwrap_err();
            assert!(matches!(error, ImageError::Truncated(_)), "{length} of {}: {error}", gif.len());
        }
    }

    #[test]
    fn jpegs_that_no_decoder_reads_right_are_refused_by_name() {
        for (file, kind) in [
            ("lacks-scans.jpg", "progressive JPEG that lacks scans"),
            ("narrow-420.jpg", "JPEG of 4 pixels or fewer in a row with halved colours"),
        ] {
            let message = Image::read(&fixture(file)).unwrap_err().to_string();
            assert!(message.contains(file) && message.contains(kind), "{message}");
        }
    }

    /// What is scaled and turned holds the bytes of what is turned and scaled.
    #[test]
    fn a_photograph_is_turned_as_it_is_scaled() {
        let path = fixture("rotated.jpg");
        let image = Image::read(&path).unwrap();
        for size in [7, 32, 40] {
            assert_eq!(decode_file(&path, size).unwrap(), image.square("", size).unwrap());
        }
    }

    /// Orientations where Pillow finds them, and where it does not: each file says by its name which way it is to
    /// stand.
    #[test]
    fn orientations_are_obeyed_wherever_pillow_does() {
        let [jpeg, png] = ["jpg", "png"].map(|kind| Image::read(&fixture(&format!("turned/upright.{kind}"))).unwrap());
        let turned = |image: &Image| {
            let mut rgb = image.rgb.clone();
            let (width, height) = turn(&mut rgb, (image.width, image.height), Orientation::Rotate90);
            Image { width, height, rgb }
        };
        let files: Vec<_> = fs::read_dir(fixture("turned")).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 25);
        for path in files {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let upright = if name.contains("png") { &png } else { &jpeg };
            let wanted = if name.starts_with("turned-") { &turned(upright) } else { upright };
            assert!(Image::read(&path).unwrap() == *wanted, "{name}");
        }
    }

    /// A chunk of Exif may stand behind the pixels of a PNG.
    #[test]
    fn a_png_is_turned_by_its_exif_chunk() {
        let mut png = encoded(20, 30, ImageFormat::Png);
        let chunk = b"eXIfMM\0*\0\0\0\x08\0\x01\x01\x12\0\x04\0\0\0\x01\0\0\0\x06";
        let sum = crc32(chunk).to_be_bytes();
        let end = png.len() - 12;
        png.splice(end..end, [&(chunk.len() as u32 - 4).to_be_bytes()[..], chunk, &sum].concat());
        let image = Image::decode("x.png", &png).unwrap();
        assert_eq!((image.width, image.height), (30, 20));
    }

    #[test]
    fn the_content_decides_not_the_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n02105855_2933.JPEG");
        fs::write(&path, encoded(5, 4, ImageFormat::Png)).unwrap();
        assert_eq!(decode_file(&path, 4).unwrap().len(), 48);
    }

    #[test]
    fn the_decoder_alone_would_not_notice_a_cut_jpeg() {
        let bytes = encoded(64, 64, ImageFormat::Jpeg);
        assert!(decode_pixels(&bytes[..bytes.len() / 2], ImageFormat::Jpeg, None).is_ok());
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        let files = [
            encoded(64, 48, ImageFormat::Jpeg),
            encoded(20, 30, ImageFormat::Png),
            fs::read(fixture("progressive.jpg")).unwrap(),
            fs::read(fixture("rotated.jpg")).unwrap(),
        ];
        for whole in files {
            assert!(Image::decode("whole", &whole).is_ok());
            // Fewer than 8 bytes are not known as an image of any kind.
            for length in 8..whole.len() {
                let error = Image::decode("cut.jpg", &whole[..length]).unwrap_err();
                assert!(matches!(error, ImageError::Truncated(_)), "{length} of {}: {error}", whole.len());
            }
            let longer = [whole.as_slice(), b"trailing"].concat();
            assert!(Image::decode("longer", &longer).is_ok());
        }
    }

    #[test]
    fn what_is_no_image_is_named_and_refused() {
        let message = |bytes: &[u8]| Image::decode("folder/x.jpg", bytes).unwrap_err().to_string();
        assert!(message(b"").contains("folder/x.jpg: is empty"));
        assert!(message(b"<html>not found</html>").contains("folder/x.jpg: is not a JPEG or PNG"));
        assert!(message(b"8BPS\x00\x01\x00\x00\x00\x00").contains("is not a JPEG or PNG"));
        assert!(message(b"GIF89a\x01\x00\x01\x00").contains("folder/x.jpg: is truncated"));
        assert!(message(&encoded(1, 9, ImageFormat::Png)).contains("is 1x9 pixels"));
        assert!(message(&encoded(9, 1, ImageFormat::Jpeg)).contains("is 9x1 pixels"));
        let mut damaged = encoded(20, 20, ImageFormat::Png);
        damaged[60] ^= 0xFF;
        assert!(message(&damaged).contains("folder/x.jpg: is damaged"));
        let missing = Image::read(Path::new("no/such.png")).unwrap_err().to_string();
        assert!(missing.contains("no/such.png") && missing.contains("cannot be read"), "{missing}");
    }

    /// Headers that promise more than may be had must be refused before anything is allocated for them.
    #[test]
    fn decompression_bombs_are_refused() {
        let mut png = encoded(2, 2, ImageFormat::Png);
        let mut promise = |width: u32, height: u32| {
            png[16..20].copy_from_slice(&width.to_be_bytes());
            png[20..24].copy_from_slice(&height.to_be_bytes());
            let sum = crc32(&png[12..29]);
            png[29..33].copy_from_slice(&sum.to_be_bytes());
            Image::decode("bomb.png", &png).unwrap_err()
        };
        for (width, height) in [(MAX_SIDE + 1, 2), (2, MAX_SIDE + 1), (MAX_SIDE, MAX_SIDE)] {
            let error = promise(width, height);
            assert!(matches!(error, ImageError::TooLarge(..)), "{width}x{height}: {error}");
        }
        let mut jpeg = encoded(8, 8, ImageFormat::Jpeg);
        let frame = jpeg.windows(2).position(|pair| pair == [0xFF, 0xC0]).unwrap();
        jpeg[frame + 5..frame + 9].copy_from_slice(&[0xFF, 0xFF, 0xFF, 0xFF]);
        let error = Image::decode("bomb.jpg", &jpeg).unwrap_err();
        assert!(matches!(error, ImageError::TooLarge(..)), "{error}");
    }

    /// The checksum of a PNG chunk.
    fn crc32(bytes: &[u8]) -> u32 {
        let step = |sum: u32, _| if sum & 1 == 1 { sum >> 1 ^ 0xEDB8_8320 } else { sum >> 1 };
        !bytes.iter().fold(u32::MAX, |sum, &byte| (0..8).fold(sum ^ u32::from(byte), step))
    }

    #[test]
    fn a_panic_of_a_decoder_is_an_error() {
        let error = guarded(|| "x.jpg".into(), || -> Result<(), ImageError> { panic!("row {} of 7", 8) }).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("x.jpg: is damaged") && message.contains("panicked: row 8 of 7"), "{message}");
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_damage_never_panics(at in 0_usize..600, value: u8, kind in 0..3) {
            let mut bytes = fs::read(fixture(["cmyk.jpg", "progressive.jpg", "palette.png"][kind as usize])).unwrap();
            let at = at % bytes.len();
            bytes[at] = value;
            let _ = Image::decode("damaged", &bytes);
        }
    }
}
