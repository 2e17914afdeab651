//! JPEG files to pixels: what the markers say before anything is decoded, and the decoder that reads the kind right.
//!
//! The decoder of `image` is the faster one, but it reads some legal files wrongly without an error: sequential ones of
//! several scans (as green stripes), those whose first component is not the finest, and those whose markers disagree
//! about their colours. Those go to `jpeg_decoder`, as do small ones of halved colours, which it blends and rounds as
//! libjpeg does. What neither reads as libjpeg does is refused by name.

use std::borrow::Cow;

use image::error::{
    DecodingError, ImageFormatHint, LimitError, LimitErrorKind, UnsupportedError, UnsupportedErrorKind,
};
use image::{DynamicImage, GrayImage, ImageError, ImageFormat, ImageResult, RgbImage};
use jpeg_decoder::{ColorTransform, Decoder, PixelFormat};

use super::codec::{Stored, decode_pixels, limits, share};
use super::orientation;

/// Largest number of pixels of a small image: the slower decoder takes a fraction of a millisecond.
const SMALL: usize = 128 * 128;

/// Coefficients of a progressive file by whose precision libjpeg decides whether to smooth what is missing.
const SMOOTHED: usize = 10;

/// Low bits of a coefficient that no scan has given.
const ALL: u8 = u8::MAX;

/// A component of the frame.
#[derive(Debug)]
struct Component {
    id: u8,
    /// Sampling factors, across in the high half, down in the low one.
    factors: u8,
    /// Low bits that no scan has given yet of each of the first coefficients, in a progressive file.
    missing: [u8; SMOOTHED],
}

/// What a file ends in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    /// Something within the image, or before it.
    #[default]
    Cut,
    /// Zeros within the image data, as after a copy in whole blocks.
    Zeros,
    /// The end marker of a whole image.
    Marker,
}

/// Facts of a JPEG file's markers.
#[derive(Debug, Default)]
pub(super) struct Jpeg<'b> {
    /// Low half of the frame's marker, its process of coding: 0 to 2 Huffman, 9 and 10 arithmetic, others lossless or
    /// hierarchical.
    process: Option<u8>,
    precision: u8,
    height: u16,
    width: u16,
    components: Vec<Component>,
    /// Whether there is a JFIF segment.
    is_jfif: bool,
    /// Transform of colours that an Adobe segment names: 0 none, 1 luma and chroma, 2 the same beside black.
    adobe: Option<u8>,
    /// Number of components in the first scan; 0 without a scan.
    in_scan: u8,
    has_tables: bool,
    end: End,
    /// Content of the Exif segments before the pixels, one after the other.
    exif: Option<Cow<'b, [u8]>>,
    /// Content of the last XMP segment there.
    xmp: Option<&'b [u8]>,
}

impl<'b> Jpeg<'b> {
    /// Walks the markers of `bytes` up to the end of the image.
    pub(super) fn parse(bytes: &'b [u8]) -> Self {
        let mut jpeg = Self::default();
        let mut at = 2; // after the start marker
        while let Some(distance) = bytes.get(at..).and_then(|rest| rest.iter().position(|&byte| byte == 0xFF)) {
            at += distance + 1;
            match bytes.get(at) {
                None => break,
                Some(0xD9) => {
                    jpeg.end = End::Marker;
                    break;
                }
                Some(0xFF) => {}                            // padding before a marker
                Some(0x00 | 0x01 | 0xD0..=0xD8) => at += 1, // a stuffed byte of the image data, or a marker alone
                Some(&marker) => {
                    let Some(&[high, low]) = bytes.get(at + 1..at + 3) else { break };
                    let end = at + 1 + usize::from(u16::from_be_bytes([high, low]));
                    jpeg.segment(marker, bytes.get(at + 3..end).unwrap_or_default());
                    at = end;
                }
            }
        }
        // Zeros within a segment that is cut off are no image data, and further scans may be missing.
        if jpeg.end == End::Cut && bytes.ends_with(&[0, 0]) && jpeg.is_one_scan() && at < bytes.len() {
            jpeg.end = End::Zeros;
        }
        jpeg
    }

    fn segment(&mut self, marker: u8, content: &'b [u8]) {
        match (marker, content) {
            (0xC4, _) => self.has_tables |= self.in_scan == 0,
            (0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCF, &[precision, a, b, c, d, _, ref components @ ..])
                if self.process.is_none() =>
            {
                (self.process, self.precision) = (Some(marker & 0x0F), precision);
                (self.height, self.width) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
                let component = |c: &[u8]| Component { id: c[0], factors: c[1], missing: [ALL; SMOOTHED] };
                self.components = components.chunks_exact(3).map(component).collect();
            }
            (0xDA, &[count, ref scan @ ..]) => {
                if self.in_scan == 0 {
                    self.in_scan = count;
                }
                self.scan(usize::from(count), scan);
            }
            (0xE0, _) => self.is_jfif |= content.len() >= 12 && content.starts_with(b"JFIF\0"),
            (0xEE, [b'A', b'd', b'o', b'b', b'e', _, _, _, _, _, _, transform, ..]) => self.adobe = Some(*transform),
            (0xE1, _) if self.in_scan == 0 => {
                let after = |prefix: &[u8]| content.strip_prefix(prefix);
                match (after(b"Exif\0\0"), &mut self.exif) {
                    (Some(more), Some(exif)) => exif.to_mut().extend(more),
                    (Some(first), none) => *none = Some(first.into()),
                    (None, _) => {}
                }
                self.xmp = after(b"http://ns.adobe.com/xap/1.0/\0").or(self.xmp);
            }
            _ => {}
        }
    }

    /// Takes in the header of a scan of `count` components.
    fn scan(&mut self, count: usize, header: &[u8]) {
        let Some((members, &[first, last, precision, ..])) = header.split_at_checked(2 * count) else { return };
        for id in members.iter().step_by(2) {
            let known = self.components.iter_mut().filter(|component| component.id == *id);
            let coefficients = usize::from(first)..(usize::from(last) + 1).min(SMOOTHED);
            known
                .filter_map(|known| known.missing.get_mut(coefficients.clone()))
                .for_each(|m| m.fill(precision & 0x0F));
        }
    }

    /// Whether the components are red, green and blue, by the rules of libjpeg.
    fn is_rgb(&self) -> bool {
        match (self.is_jfif, self.adobe) {
            (true, _) => false,
            (false, Some(transform)) => transform == 0,
            (false, None) => self.is_called_rgb(),
        }
    }

    fn is_called_rgb(&self) -> bool {
        self.components.iter().map(|component| component.id).eq(*b"RGB")
    }

    /// Whether the decoder of `image` takes three components for the colours that they are, or four.
    fn is_plainly_coloured(&self) -> bool {
        match self.components.len() {
            3 => match self.adobe {
                None | Some(0 | 1) => self.is_rgb() == (self.is_called_rgb() || self.adobe == Some(0)),
                Some(_) => false,
            },
            4 => matches!(self.adobe, None | Some(0 | 2)),
            _ => true,
        }
    }

    /// Number of pixels, width by height.
    fn pixels(&self) -> usize {
        usize::from(self.width) * usize::from(self.height)
    }

    /// Whether libjpeg would not blend the colours of neighbours, of which there are too few in a row.
    fn is_too_narrow(&self) -> bool {
        let across = |component: &Component| component.factors >> 4;
        let finest = self.components.iter().map(across).max().unwrap_or(1);
        let halved = self.components.iter().any(|component| 2 * across(component) == finest);
        halved && self.width <= 4 && self.width.max(self.height) > 2
    }

    /// Whether a single scan holds the whole image, as far as the first one shows.
    fn is_one_scan(&self) -> bool {
        matches!(self.process, Some(0 | 1)) && usize::from(self.in_scan) == self.components.len()
    }

    /// Whether each component is sampled once in a unit of the scan or as often as the finest, in both directions.
    fn is_plainly_sampled(&self) -> bool {
        [4, 0].into_iter().all(|shift| {
            let factors = self.components.iter().map(|component| component.factors >> shift & 0x0F);
            let finest = factors.clone().max();
            factors.into_iter().all(|factor| factor == 1 || Some(factor) == finest)
        })
    }

    /// Whether the file reaches its end marker, or zeros in its place. Decoders paint missing parts without an error.
    pub(super) fn is_complete(&self) -> bool {
        self.end != End::Cut
    }

    /// The file with an end marker.
    fn with_end<'f>(&self, bytes: &'f [u8]) -> Cow<'f, [u8]> {
        if self.end == End::Marker { bytes.into() } else { [bytes, &[0xFF, 0xD9]].concat().into() }
    }

    /// Whether the decoder of `image` reads this kind right; an error names a kind that nothing here reads.
    fn is_ordinary(&self) -> ImageResult<bool> {
        let Some(process) = self.process else { return Ok(true) };
        let refused = match process {
            3 | 5..=7 | 11 | 13.. => Some("lossless or hierarchical JPEG"),
            9 | 10 => Some("JPEG with arithmetic coding"),
            _ if self.precision != 8 => Some("JPEG of more than 8 bits per channel"),
            _ if self.height == 0 => Some("JPEG whose height stands behind its pixels"),
            2 if self.components.iter().any(|component| component.missing != [0; SMOOTHED]) => {
                Some("progressive JPEG that lacks scans")
            }
            _ if self.is_too_narrow() => Some("JPEG of 4 pixels or fewer in a row with halved colours"),
            _ => None,
        };
        if let Some(kind) = refused {
            return Err(unsupported(kind));
        }
        let usual = match &self.components[..] {
            [first, others @ ..] if others.len() == 2 => {
                (first.factors == 0x11 || matches!(first.factors, 0x12 | 0x21 | 0x22) && self.pixels() > SMALL)
                    && others.iter().all(|other| other.factors == 0x11)
            }
            _ => true,
        };
        let one_scan = process == 2 || self.is_one_scan();
        let ordinary = usual && one_scan && self.has_tables && self.is_plainly_coloured();
        if !ordinary && self.components.len() == 4 {
            return Err(unsupported("CMYK JPEG of several scans, without tables or of unusual colours"));
        }
        if !ordinary && !self.is_plainly_sampled() {
            return Err(unsupported("JPEG with these sampling factors"));
        }
        Ok(ordinary)
    }
}

impl Jpeg<'_> {
    /// Decodes the file `bytes`, of which this was parsed, with the decoder that reads its kind right.
    pub(super) fn decode(&self, bytes: &[u8]) -> ImageResult<Stored> {
        let whole = self.with_end(bytes);
        let orientation = orientation::of(self.exif.as_deref(), self.xmp);
        if self.is_ordinary()? {
            return decode_pixels(&whole, ImageFormat::Jpeg, Some(orientation));
        }
        let mut limits = limits();
        limits.check_dimensions(self.width.into(), self.height.into())?;
        limits.reserve(self.samples())?;
        let memory = share(self.samples());
        Ok(Stored { rgb: self.decode_odd(&whole)?.into_rgb8(), orientation, memory })
    }

    /// Samples of all components: bytes of the decoded image.
    fn samples(&self) -> u64 {
        self.pixels() as u64 * self.components.len() as u64
    }

    /// Decodes the file `bytes`, of which this was parsed, of any kind but [ordinary](Jpeg::is_ordinary) ones.
    fn decode_odd(&self, bytes: &[u8]) -> ImageResult<DynamicImage> {
        /// A segment that stands for the usual Huffman tables, which cameras leave out; tables of the file replace
        /// them.
        const USUAL_TABLES: [u8; 20] = *b"\xFF\xD8\xFF\xE0\0\x10AVI1\0\0\0\0\0\0\0\0\0\0";
        let file = [&USUAL_TABLES, bytes.get(2..).unwrap_or_default()].concat();
        let mut decoder = Decoder::new(&file[..]);
        if self.components.len() == 3 {
            decoder.set_color_transform(if self.is_rgb() { ColorTransform::RGB } else { ColorTransform::YCbCr });
        }
        let pixels = decoder.decode().map_err(|error| damaged(&error))?;
        let Some(info) = decoder.info() else { return Err(damaged(&"no frame")) };
        let (width, height) = (info.width.into(), info.height.into());
        let image = match info.pixel_format {
            PixelFormat::L8 => GrayImage::from_raw(width, height, pixels).map(DynamicImage::from),
            PixelFormat::RGB24 => RgbImage::from_raw(width, height, pixels).map(DynamicImage::from),
            _ => return Err(unsupported("JPEG of these colours")),
        };
        image.ok_or_else(|| ImageError::Limits(LimitError::from_kind(LimitErrorKind::DimensionError)))
    }
}

fn damaged(error: &dyn std::fmt::Display) -> ImageError {
    ImageError::Decoding(DecodingError::new(ImageFormat::Jpeg.into(), error.to_string()))
}

fn unsupported(kind: &str) -> ImageError {
    let kind = UnsupportedErrorKind::GenericFeature(kind.into());
    ImageError::Unsupported(UnsupportedError::from_format_and_kind(ImageFormatHint::Exact(ImageFormat::Jpeg), kind))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use crate::data::Image;

    /// Each odd file holds the picture that an ordinary file of the same pixels holds.
    #[test]
    fn rare_kinds_decode_like_libjpeg() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images/odd");
        let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "jpg"));
        assert_eq!(files.len(), 17);
        for path in files {
            let (found, wanted) = (Image::read(&path).unwrap(), Image::read(&path.with_extension("png")).unwrap());
            assert_eq!((found.width, found.height), (wanted.width, wanted.height), "{}", path.display());
            let apart = || found.rgb.iter().zip(&wanted.rgb).map(|(a, b)| u32::from(a.abs_diff(*b)));
            let (most, mean) = (apart().max(), f64::from(apart().sum::<u32>()) / found.rgb.len() as f64);
            assert!(most <= Some(4) && mean <= 0.3, "{}: {most:?} at most, {mean} on average", path.display());
        }
    }
}
