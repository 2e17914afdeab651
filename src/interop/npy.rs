//! Arrays of numpy: `.npy` files, versions 1 to 3 of the format (numpy.lib.format).

use std::sync::Arc;

use thiserror::Error;

use crate::tensor::{FloatFormat, Tensor};

const MAGIC: &[u8] = b"\x93NUMPY";

/// Alignment of the elements in a file, in bytes; spaces fill the header up to a multiple of it.
const ALIGNMENT: usize = 64;

/// Elements of a file, widened to the types that this program computes with.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "a variant says what its fields are")]
pub enum Array {
    /// Floats of 16, 32 or 64 bits, as 32-bit ones.
    Floats(Tensor),
    /// Integers, or booleans as 0 and 1: extents, the last axis innermost, and as many values as their product.
    Integers { dims: Vec<usize>, values: Arc<[i64]> },
}

/// Reason why bytes are no array that can be read.
#[derive(Clone, Debug, Error, PartialEq)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum NpyError {
    #[error("not a .npy file, or a damaged one: expected the bytes \\x93NUMPY, a version and a header")]
    Magic,
    #[error("header {0:?} cannot be read; expected a dict of descr, fortran_order and shape")]
    Header(String),
    #[error("elements of type {0} are not supported; known are <f2, <f4, <f8, <i8, <i4, |u1 and |b1")]
    Type(String),
    #[error("found {found} bytes of elements, expected those of shape {dims:?} and type {kind}")]
    Length { found: usize, dims: Vec<usize>, kind: String },
    #[error("an element is beyond the range of 32-bit floats: scale the array, or save it as float32")]
    Range,
}

struct Header<'a> {
    /// Type of the elements, such as `<f4`.
    kind: &'a str,
    /// Whether the first axis is innermost.
    fortran_order: bool,
    dims: Vec<usize>,
}

/// Parses the bytes of a file with elements of type `<f2`, `<f4`, `<f8` (narrowed to 32 bits), `<i8`, `<i4`, `|u1` or
/// `|b1`. Memory use is proportional to the file.
pub fn parse(bytes: &[u8]) -> Result<Array, NpyError> {
    let (header, data) = split(bytes).ok_or(NpyError::Magic)?;
    let Header { kind, fortran_order, dims } =
        parse_header(header).ok_or_else(|| NpyError::Header(header.trim().into()))?;
    let (size, floats) = match kind {
        "<f2" => (2, Some(FloatFormat::F16)),
        "<f4" => (4, Some(FloatFormat::F32)),
        "<f8" => (8, Some(FloatFormat::F64)),
        "<i4" => (4, None),
        "<i8" => (8, None),
        "|u1" | "|b1" => (1, None),
        other => return Err(NpyError::Type(other.into())),
    };
    let expected = dims.iter().try_fold(size, |product: usize, &extent| product.checked_mul(extent));
    if expected != Some(data.len()) {
        return Err(NpyError::Length { found: data.len(), dims, kind: kind.into() });
    }
    if let Some(stored) = floats {
        let floats = stored.read(data).ok_or(NpyError::Range)?;
        return Ok(Array::Floats(Tensor::new(dims.clone(), row_major(&floats, fortran_order, &dims))));
    }
    let integers: Vec<i64> = match size {
        8 => elements(data).map(i64::from_le_bytes).collect(),
        4 => elements(data).map(|bytes| i64::from(i32::from_le_bytes(bytes))).collect(),
        _ => elements(data).map(|[byte]| i64::from(byte)).collect(),
    };
    Ok(Array::Integers { values: row_major(&integers, fortran_order, &dims).into(), dims })
}

/// Splits a file into the text of its header and the elements behind it.
fn split(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (version, rest) = bytes.strip_prefix(MAGIC)?.split_first_chunk::<2>()?;
    let (length, rest) = if version[0] == 1 {
        let (length, rest) = rest.split_first_chunk()?;
        (usize::from(u16::from_le_bytes(*length)), rest)
    } else {
        let (length, rest) = rest.split_first_chunk()?;
        (u32::from_le_bytes(*length) as usize, rest)
    };
    let (text, data) = rest.split_at_checked(length)?;
    Some((std::str::from_utf8(text).ok()?, data))
}

fn parse_header(text: &str) -> Option<Header<'_>> {
    let after = |key: &str| Some(text.split_once(&format!("'{key}':"))?.1.trim_start());
    let (kind, _) = after("descr")?.strip_prefix('\'')?.split_once('\'')?;
    let fortran_order = after("fortran_order")?.starts_with("True");
    let (shape, _) = after("shape")?.strip_prefix('(')?.split_once(')')?;
    let extents = shape.split(',').map(str::trim).filter(|extent| !extent.is_empty());
    let dims = extents.map(|extent| extent.parse().ok()).collect::<Option<_>>()?;
    Some(Header { kind, fortran_order, dims })
}

fn elements<const SIZE: usize>(data: &[u8]) -> impl Iterator<Item = [u8; SIZE]> {
    data.as_chunks().0.iter().copied()
}

/// Reorders the elements of a file so that the last axis is innermost.
fn row_major<T: Copy>(values: &[T], fortran_order: bool, dims: &[usize]) -> Vec<T> {
    if !fortran_order {
        return values.to_vec();
    }
    (0..values.len()).map(|index| values[fortran_index(index, dims)]).collect()
}

/// Index, with the first axis innermost, of the element that has `index` with the last axis innermost.
fn fortran_index(index: usize, dims: &[usize]) -> usize {
    let (mut rest, mut fortran, mut stride) = (index, 0, dims.iter().product::<usize>());
    for extent in dims.iter().rev() {
        stride /= extent;
        fortran += rest % extent * stride;
        rest /= extent;
    }
    fortran
}

/// Bytes of a file of type `<f4` with the elements of `tensor`.
pub fn bytes(tensor: &Tensor) -> Vec<u8> {
    file("<f4", tensor.shape(), tensor.values().iter().flat_map(|value| value.to_le_bytes()))
}

/// Bytes of a file of type `<i8` with whole numbers of extents `dims`.
pub fn integer_bytes(dims: &[usize], values: &[i64]) -> Vec<u8> {
    file("<i8", dims, values.iter().flat_map(|value| value.to_le_bytes()))
}

fn file(kind: &str, dims: &[usize], data: impl Iterator<Item = u8>) -> Vec<u8> {
    let extents = dims.iter().map(|extent| format!("{extent},")).collect::<Vec<_>>().concat();
    let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({extents}), }}");
    let begin = MAGIC.len() + 4;
    let length = (begin + header.len() + 1).next_multiple_of(ALIGNMENT) - begin;
    let header = format!("{header:width$}\n", width = length - 1);
    let mut bytes = [MAGIC, &[1, 0], &(length as u16).to_le_bytes(), header.as_bytes()].concat();
    bytes.extend(data);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        [MAGIC, &[1, 0], &(header.len() as u16).to_le_bytes(), header.as_bytes(), data].concat()
    }

    #[test]
    fn what_is_written_is_read() {
        for shape in [vec![], vec![3], vec![2, 1, 3]] {
            let count = shape.iter().product();
            let tensor = Tensor::new(shape, (0..count).map(|i| i as f32 - 1.5).collect());
            let bytes = bytes(&tensor);
            assert_eq!((bytes.len() - 4 * count) % ALIGNMENT, 0);
            assert_eq!(parse(&bytes), Ok(Array::Floats(tensor)));
        }
        let integers = Array::Integers { dims: vec![1, 2], values: Arc::new([-1, i64::MAX]) };
        assert_eq!(parse(&integer_bytes(&[1, 2], &[-1, i64::MAX])), Ok(integers));
    }

    #[test]
    fn other_types_and_orders() {
        let header = "{'descr': '<i4', 'fortran_order': True, 'shape': (2, 3), }";
        let data: Vec<u8> = (0..6_i32).flat_map(|i| (i - 1).to_le_bytes()).collect();
        let want = Array::Integers { dims: vec![2, 3], values: Arc::new([-1, 1, 3, 0, 2, 4]) };
        assert_eq!(parse(&file(header, &data)), Ok(want));
        let header = "{'descr': '<f2', 'fortran_order': False, 'shape': (2,), }";
        let want = Array::Floats(Tensor::new([2], vec![1.5, -0.25]));
        assert_eq!(parse(&file(header, &[0x00, 0x3e, 0x00, 0xb4])), Ok(want));
        let header = "{'shape': (), 'fortran_order': False, 'descr': '|b1'}";
        assert_eq!(parse(&file(header, &[1])), Ok(Array::Integers { dims: vec![], values: Arc::new([1]) }));
        let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }";
        let want = Array::Integers { dims: vec![2], values: Arc::new([7, 255]) };
        assert_eq!(parse(&file(header, &[7, 255])), Ok(want));
    }

    #[test]
    fn damaged_files_are_refused() {
        let whole = bytes(&Tensor::new([2, 3], vec![1.0; 6]));
        for length in 0..whole.len() {
            assert!(parse(&whole[..length]).is_err(), "{length}");
        }
        for header in [
            "{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }",
            "{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }",
            "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 4611686018427387904, 4), }",
            "{'descr': '<f4', 'shape': (1,), }",
            "",
        ] {
            assert!(parse(&file(header, &[0; 4])).is_err(), "{header}");
        }
    }
}
