//! Exif and XMP data of PNG files: in chunks of their own or in texts, plain or compressed, before the pixels or
//! behind.

use std::borrow::Cow;
use std::io::{ErrorKind, Read as _};

use flate2::read::ZlibDecoder;

use super::ends::png_chunks;

/// Size in bytes of the longest text that is unpacked.
const MOST_TEXT: u64 = 1 << 20;

/// Exif and XMP data of a PNG file; of several the last, as Pillow has it.
#[derive(Default)]
pub(super) struct Profiles<'b> {
    pub(super) exif: Option<Cow<'b, [u8]>>,
    pub(super) xmp: Option<Cow<'b, [u8]>>,
}

impl<'b> Profiles<'b> {
    /// Looks through the chunks of the file `bytes`.
    pub(super) fn of(bytes: &'b [u8]) -> Self {
        let (mut profiles, mut in_text) = (Self::default(), None);
        for (kind, content) in png_chunks(bytes).take_while(|(kind, _)| kind != b"IEND") {
            let Some(content) = content else { continue };
            let mut parts = content.splitn(2, |&byte| byte == 0);
            match (&kind, parts.next(), parts.next()) {
                (b"eXIf", ..) => profiles.exif = Some(content.into()),
                (b"tEXt", Some(b"exif"), Some(exif)) => profiles.exif = Some(exif.into()),
                (_, Some(b"Raw profile type exif"), Some(rest)) => in_text = text(kind, rest).or(in_text),
                (_, Some(b"XML:com.adobe.xmp"), Some(rest)) => profiles.xmp = text(kind, rest).or(profiles.xmp),
                _ => {}
            }
        }
        profiles.exif = profiles.exif.or_else(|| from_digits(&in_text?).map(Cow::Owned));
        profiles
    }
}

/// Text of a chunk of text, by what follows its name.
fn text(kind: [u8; 4], rest: &[u8]) -> Option<Cow<'_, [u8]>> {
    match (&kind, rest) {
        (b"tEXt", text) => Some(text.into()),
        (b"zTXt", [0, packed @ ..]) => unpacked(packed),
        (b"iTXt", [is_packed, method, names @ ..]) => {
            // A language and a translated name stand before the text.
            let text = names.splitn(3, |&byte| byte == 0).nth(2)?;
            match (is_packed, method) {
                (0, _) => Some(text.into()),
                (_, 0) => unpacked(text),
                _ => None,
            }
        }
        _ => None,
    }
}

/// A text that was compressed; of one that is cut off what there is.
fn unpacked(packed: &[u8]) -> Option<Cow<'static, [u8]>> {
    let mut text = Vec::new();
    match ZlibDecoder::new(packed).take(MOST_TEXT).read_to_end(&mut text) {
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => None,
        _ => Some(text.into()),
    }
}

/// Exif data in a text, as ImageMagick writes it: a name, a length, and the bytes in hexadecimal digits.
fn from_digits(text: &[u8]) -> Option<Vec<u8>> {
    let digits = text.splitn(4, |&byte| byte == b'\n').nth(3)?;
    let digits: Vec<u8> = digits
        .iter()
        .filter(|byte| !byte.is_ascii_whitespace())
        .map_while(|&c| Some(char::from(c).to_digit(16)? as u8))
        .collect();
    Some(digits.as_chunks().0.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;

    const EXIF: &[u8] = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0";

    /// A PNG file with nothing but some chunks.
    fn png(chunks: &[(&[u8; 4], Vec<u8>)]) -> Vec<u8> {
        let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
        for (kind, content) in chunks {
            file.extend([&(content.len() as u32).to_be_bytes()[..], *kind, content, &[0; 4]].concat());
        }
        file
    }

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    /// Each kind of chunk in which programs keep Exif and XMP data gives the same bytes.
    #[test]
    fn profiles_are_found_in_chunks_of_every_kind() {
        let digits = EXIF.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>();
        let raw = format!("\nexif\n      26\n{}\n{}\n", digits[..20].concat(), digits[20..].concat()).into_bytes();
        let xmp = b"<x tiff:Orientation=\"6\"/>".to_vec();
        for (name, text, is_exif) in
            [(&b"Raw profile type exif\0"[..], raw, true), (b"XML:com.adobe.xmp\0", xmp.clone(), false)]
        {
            let wanted = if is_exif { EXIF } else { &xmp };
            for (kind, rest) in [
                (b"tEXt", text.clone()),
                (b"zTXt", [vec![0], packed(&text)].concat()),
                (b"iTXt", [b"\0\0\0\0".to_vec(), text.clone()].concat()),
                (b"iTXt", [b"\x01\0en\0name\0".to_vec(), packed(&text)].concat()),
            ] {
                let file = png(&[(b"IDAT", vec![1; 9]), (kind, [name, &rest].concat())]);
                let Profiles { exif, xmp } = Profiles::of(&file);
                let [found, other] = if is_exif { [exif, xmp] } else { [xmp, exif] };
                assert_eq!((found.as_deref(), other), (Some(wanted), None), "{kind:?}");
                let cut = Profiles::of(&file[..file.len() - 5]);
                assert!(cut.exif.is_none() && cut.xmp.is_none());
            }
        }
    }

    #[test]
    fn the_last_of_several_counts_and_a_chunk_of_its_own_goes_first() {
        let text = |name: &str, text: &[u8]| [name.as_bytes(), &[0], text].concat();
        let raw = text("Raw profile type exif", b"\nexif\n1\n4d");
        let end = (b"IEND", Vec::new());
        let file = png(&[
            (b"eXIf", b"first".to_vec()),
            (b"tEXt", text("XML:com.adobe.xmp", b"a")),
            (b"tEXt", text("exif", b"last")),
            (b"tEXt", text("XML:com.adobe.xmp", b"b")),
            (b"tEXt", raw.clone()),
            end,
            (b"eXIf", b"behind the end".to_vec()),
        ]);
        let found = Profiles::of(&file);
        assert_eq!((found.exif.as_deref(), found.xmp.as_deref()), (Some(&b"last"[..]), Some(&b"b"[..])));
        let broken = text("Raw profile type exif", b"\nexif\n");
        assert_eq!(Profiles::of(&png(&[(b"tEXt", raw)])).exif.as_deref(), Some(&b"M"[..]));
        assert_eq!(Profiles::of(&png(&[(b"tEXt", broken)])).exif, None);
        assert!(Profiles::of(&png(&[(b"zTXt", text("Raw profile type exif", b"\0no stream"))])).exif.is_none());
    }
}
