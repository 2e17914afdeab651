//! Orientation of photographs, from Exif or else XMP, as Pillow obeys it.

use image::metadata::Orientation;

/// Orientation that Exif data or else an XMP packet gives; upright where neither does.
pub(super) fn of(exif: Option<&[u8]>, xmp: Option<&[u8]>) -> Orientation {
    let value = exif.and_then(in_exif).or_else(|| xmp.and_then(in_xmp));
    value.and_then(Orientation::from_exif).unwrap_or(Orientation::NoTransforms)
}

/// Value of tag 0x0112 in the first directory: a SHORT, as the standard has it, or a LONG, as some programs write it.
fn in_exif(exif: &[u8]) -> Option<u8> {
    let exif = exif.strip_prefix(b"Exif\0\0").unwrap_or(exif);
    let little = match exif.get(..2)? {
        b"II" => true,
        b"MM" => false,
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
    let size = match number(entry + 2, 2)? {
        3 => 2,
        4 => 4,
        _ => return None,
    };
    u8::try_from(number(entry + 8, size)?).ok()
}

/// Value of `tiff:Orientation`, an attribute or an element.
fn in_xmp(xmp: &[u8]) -> Option<u8> {
    const NAME: &[u8] = b"tiff:Orientation";
    let at = xmp.windows(NAME.len()).position(|window| window == NAME)?;
    match xmp[at + NAME.len()..] {
        [b'=', b'"' | b'\'', digit @ b'0'..=b'9', ..] | [b'>', digit @ b'0'..=b'9', ..] => Some(digit - b'0'),
        _ => None,
    }
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
        assert_eq!(of(None, Some(b"tiff:Orientation=\"9\"")), Orientation::NoTransforms);
    }
}
