//! Orientation of photographs, from Exif or else XMP, as Pillow obeys it.

use image::metadata::Orientation;

/// Orientation that Exif data or else an XMP packet gives; upright where neither does.
pub(super) fn of(exif: Option<&[u8]>, xmp: Option<&[u8]>) -> Orientation {
    let value = exif.and_then(in_exif).or_else(|| xmp.and_then(in_xmp));
    value.and_then(Orientation::from_exif).unwrap_or(Orientation::NoTransforms)
}

/// Value of tag 0x0112 in the first directory: a SHORT, as the standard has it, or one number of another type, as some
/// programs write it.
fn in_exif(exif: &[u8]) -> Option<u8> {
    let exif = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    let little = match exif.get(..4)? {
        b"II*\0" | b"II\0*" => true,
        b"MM\0*" | b"MM*\0" => false,
        _ => return None,
    };
    let number = |at: usize, size: usize| -> Option<u32> {
        let bytes = exif.get(at..at.checked_add(size)?)?;
        let join = |sum: u32, byte: &u8| sum << 8 | u32::from(*byte);
        Some(if little { bytes.iter().rev().fold(0, join) } else { bytes.iter().fold(0, join) })
    };
    let directory = number(4, 4)? as usize;
    let count = number(directory, 2)? as usize;
    let entry = (0..count)
        .map_while(|i| directory.checked_add(2 + 12 * i))
        .take_while(|&at| at < exif.len())
        .find(|&at| number(at, 2) == Some(0x0112))?;
    let (kind, count) = (number(entry + 2, 2)?, number(entry + 4, 4)?);
    let size = match kind {
        6 => 1,          // SBYTE
        3 | 8 => 2,      // SHORT, SSHORT
        4 | 9 | 11 => 4, // LONG, SLONG, FLOAT
        _ => return None,
    };
    // Values of more than four bytes lie elsewhere.
    let at = match count as usize {
        0 => return None,
        count if count.saturating_mul(size) <= 4 => entry + 8,
        _ => number(entry + 8, 4)? as usize,
    };
    let value = number(at, size)?;
    match f32::from_bits(value) {
        float if kind == 11 => (1..=8).find(|&whole| f32::from(whole) == float),
        _ => u8::try_from(value).ok(),
    }
}

/// Value of `tiff:Orientation`, an attribute or an element.
fn in_xmp(xmp: &[u8]) -> Option<u8> {
    const NAME: &[u8] = b"tiff:Orientation";
    let at = xmp.windows(NAME.len()).position(|window| window == NAME)?;
    match xmp[at + NAME.len()..] {
        [b'=', b'"', digit @ b'0'..=b'9', ..] | [b'>', digit @ b'0'..=b'9', ..] => Some(digit - b'0'),
        _ => None,
    }
}

/// Exif data in a text of a PNG file, where ImageMagick puts it: a name, a length, and the bytes in hexadecimal digits.
pub(super) fn in_text(text: &[u8]) -> Option<Vec<u8>> {
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
    use super::*;

    fn exif(order: [u8; 2], rest: &[u8]) -> Vec<u8> {
        [b"Exif\0\0", &order[..], rest].concat()
    }

    #[test]
    fn short_long_and_xmp_are_obeyed_as_pillow_does() {
        let turned = Some(Orientation::Rotate90);
        let short = exif(*b"II", b"*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0");
        let long = exif(*b"MM", b"\0*\0\0\0\x08\0\x01\x01\x12\0\x04\0\0\0\x01\0\0\0\x06");
        let packets: [&[u8]; 2] = [b"<x tiff:Orientation=\"6\"/>", b"<tiff:Orientation>6</tiff:Orientation>"];
        for exif in [&short, &long] {
            assert_eq!(Some(of(Some(exif), None)), turned);
            assert_eq!(Some(of(Some(exif), Some(b"tiff:Orientation=\"3\""))), turned, "Exif goes first");
            for length in 0..exif.len() - 4 {
                assert_eq!(of(Some(&exif[..length]), None), Orientation::NoTransforms);
            }
        }
        for packet in packets {
            assert_eq!(Some(of(None, Some(packet))), turned);
            assert_eq!(Some(of(Some(b"II"), Some(packet))), turned);
        }
        for upright in [&b"tiff:Orientation=\"9\""[..], b"tiff:Orientation='6'"] {
            assert_eq!(of(None, Some(upright)), Orientation::NoTransforms);
        }
    }

    /// Types, counts and magic numbers that Pillow takes, and others.
    #[test]
    fn numbers_of_any_type_are_obeyed_as_pillow_does() {
        let entry = |magic: &[u8], kind: u8, count: u8, value: [u8; 4]| {
            let head = [magic, b"\x08\0\0\0\x01\0\x12\x01", &[kind, 0, count, 0, 0, 0]].concat();
            of(Some(&[&head, &value[..], b"\0\0\0\0\x06\0"].concat()), None)
        };
        let (turned, upright) = (Orientation::Rotate90, Orientation::NoTransforms);
        for kind in [3, 4, 6, 8, 9] {
            assert_eq!(entry(b"II*\0", kind, 1, [6, 0, 0, 0]), turned, "type {kind}");
        }
        assert_eq!(entry(b"II*\0", 11, 1, 6.0_f32.to_le_bytes()), turned);
        assert_eq!(entry(b"II*\0", 11, 1, 6.5_f32.to_le_bytes()), upright);
        for kind in [1, 2, 5, 7, 12, 13] {
            assert_eq!(entry(b"II*\0", kind, 1, [6, 0, 0, 0]), upright, "type {kind}");
        }
        assert_eq!(entry(b"II*\0", 3, 2, [6, 0, 3, 0]), turned, "the first of two");
        assert_eq!(entry(b"II*\0", 3, 0, [6, 0, 0, 0]), upright, "none");
        assert_eq!(entry(b"II*\0", 3, 3, [26, 0, 0, 0]), turned, "behind the directory");
        assert_eq!(entry(b"II+\0", 3, 1, [6, 0, 0, 0]), upright, "BigTIFF");
    }

    #[test]
    fn exif_may_be_a_text() {
        let short = exif(*b"II", b"*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0");
        let digits = short.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>();
        let text =
            format!("Raw profile type exif\0\nexif\n      32\n{}\n{}\n", digits[..20].concat(), digits[20..].concat());
        assert_eq!(in_text(text.as_bytes()), Some(short));
        assert_eq!(in_text(b"Raw profile type exif\0\nexif\n"), None);
    }
}
