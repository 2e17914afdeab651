//! Orientation of photographs, from Exif or else XMP, as Pillow obeys it.

use image::metadata::Orientation;

/// Orientation that Exif data or else an XMP packet gives; upright where neither does.
pub(super) fn of(exif: Option<&[u8]>, xmp: Option<&[u8]>) -> Orientation {
    let value = exif.and_then(in_exif).or_else(|| xmp.and_then(in_xmp));
    value.and_then(Orientation::from_exif).unwrap_or(Orientation::NoTransforms)
}

/// Value of tag 0x0112 in the first directory: a SHORT, as the standard has it, or one number of another type, as some
/// programs write it. 0 for a tag that holds no such number, which XMP does not overrule.
fn in_exif(exif: &[u8]) -> Option<u8> {
    let exif = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    let little = match exif.get(..4)? {
        b"II*\0" | b"II\0*" => true,
        b"MM\0*" | b"MM*\0" => false,
        _ => return None,
    };
    let number = |at: usize, size: usize| -> Option<u64> {
        let bytes = exif.get(at..at.checked_add(size)?)?;
        let join = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Some(if little { bytes.iter().rev().fold(0, join) } else { bytes.iter().fold(0, join) })
    };
    let directory = number(4, 4)? as usize;
    let count = number(directory, 2)? as usize;
    let entries = (0..count).map_while(|i| directory.checked_add(2 + 12 * i)).take_while(|&at| at + 12 <= exif.len());
    let value = |entry: usize| -> Option<u8> {
        let (kind, count) = (number(entry + 2, 2)?, number(entry + 4, 4)? as usize);
        let size = match kind {
            1 | 2 | 6 | 7 => 1,    // BYTE, ASCII, SBYTE, UNDEFINED
            3 | 8 => 2,            // SHORT, SSHORT
            4 | 9 | 11 | 13 => 4,  // LONG, SLONG, FLOAT, IFD
            5 | 10 | 12 | 16 => 8, // RATIONAL, SRATIONAL, DOUBLE, LONG8
            _ => return None,
        };
        // Values of more than four bytes lie elsewhere.
        let at = if count.saturating_mul(size) <= 4 { entry + 8 } else { number(entry + 8, 4)? as usize };
        exif.get(at..at.checked_add(count.checked_mul(size)?)?)?;
        let is = |found: f64| (1..=8).find(|&whole| f64::from(whole) == found);
        let known = match kind {
            _ if count == 0 => return None,
            1 | 2 | 7 => None,
            11 => is(f32::from_bits(number(at, 4)? as u32).into()),
            12 => is(f64::from_bits(number(at, 8)?)),
            5 | 10 => is(number(at, 4)? as f64 / number(at + 4, 4)? as f64),
            _ => u8::try_from(number(at, size)?).ok(),
        };
        Some(known.unwrap_or(0))
    };
    entries.filter(|&entry| number(entry, 2) == Some(0x0112)).find_map(value)
}

/// Value of `tiff:Orientation`, an attribute or an element.
fn in_xmp(xmp: &[u8]) -> Option<u8> {
    const NAME: &[u8] = b"tiff:Orientation";
    let named = xmp.windows(NAME.len()).enumerate().filter(|(_, window)| *window == NAME);
    named.map(|(at, _)| &xmp[at + NAME.len()..]).find_map(|rest| match *rest {
        [b'=', b'"', digit @ b'0'..=b'9', ..] | [b'>', digit @ b'0'..=b'9', ..] => Some(digit - b'0'),
        _ => None,
    })
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
            let second = [b"tiff:Orientation='3' ", packet].concat();
            assert_eq!(Some(of(None, Some(&second))), turned);
            let bytes = exif(*b"II", b"*\0\x08\0\0\0\x01\0\x12\x01\x01\0\x01\0\0\0\x06\0\0\0");
            assert_eq!(of(Some(&bytes), Some(packet)), Orientation::NoTransforms, "Exif goes first, whatever it says");
        }
        for upright in [&b"tiff:Orientation=\"9\""[..], b"tiff:Orientation='6'", b"tiff:Orientation"] {
            assert_eq!(of(None, Some(upright)), Orientation::NoTransforms);
        }
    }

    /// Types, counts and magic numbers that Pillow takes, and others.
    #[test]
    fn numbers_of_any_type_are_obeyed_as_pillow_does() {
        let entry = |magic: &[u8], kind: u8, count: u8, value: [u8; 4]| {
            let head = [magic, b"\x08\0\0\0\x01\0\x12\x01", &[kind, 0, count, 0, 0, 0]].concat();
            of(Some(&[&head, &value[..], b"\0\0\0\0\x06\0\x01\0\x01\0"].concat()), None)
        };
        let (turned, upright) = (Orientation::Rotate90, Orientation::NoTransforms);
        for kind in [3, 4, 6, 8, 9, 13] {
            assert_eq!(entry(b"II*\0", kind, 1, [6, 0, 0, 0]), turned, "type {kind}");
        }
        assert_eq!(entry(b"II*\0", 11, 1, 6.0_f32.to_le_bytes()), turned);
        assert_eq!(entry(b"II*\0", 11, 1, 6.5_f32.to_le_bytes()), upright);
        for kind in [1, 2, 5, 7, 12, 14] {
            assert_eq!(entry(b"II*\0", kind, 1, [6, 0, 0, 0]), upright, "type {kind}");
        }
        for (kind, value) in [(5, [6_u32, 1]), (5, [12, 2]), (10, [6, 1]), (12, [0, 0x4018_0000])] {
            let number = value.map(u32::to_le_bytes).concat();
            let head = [b"II*\0\x08\0\0\0\x01\0\x12\x01", &[kind, 0, 1, 0, 0, 0][..], b"\x1a\0\0\0\0\0\0\0"].concat();
            assert_eq!(of(Some(&[head, number].concat()), None), turned, "type {kind}");
        }
        assert_eq!(entry(b"II*\0", 3, 2, [6, 0, 3, 0]), turned, "the first of two");
        assert_eq!(entry(b"II*\0", 3, 0, [6, 0, 0, 0]), upright, "none");
        assert_eq!(entry(b"II*\0", 3, 3, [26, 0, 0, 0]), turned, "behind the directory");
        assert_eq!(entry(b"II+\0", 3, 1, [6, 0, 0, 0]), upright, "BigTIFF");
    }
}
