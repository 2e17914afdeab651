//! Arrays of numpy: `.npy` files.

use std::sync::Arc;

use crate::tensor::{Stored, Tensor};

const MAGIC: &[u8] = b"\x93NUMPY";

/// Bytes that the header is filled up to a multiple of.
const ALIGNMENT: usize = 64;

/// An array.
#[derive(Clone, Debug, PartialEq)]
pub enum Array {
    /// 32-bit floats.
    Floats(Tensor),
    /// Whole numbers or truths.
    Integers {
        /// Extents, the last one innermost.
        dims: Vec<usize>,
        /// As many as these come to.
        values: Arc<[i64]>,
    },
}

/// What a header says.
struct Header<'a> {
    kind: &'a str,
    columns_first: bool,
    dims: Vec<usize>,
}

/// The array in the bytes of a file: of type `<f4`, `<f8` (which become 32 bits), `<i8`, `<i4` or `|b1`. Takes memory in proportion to the file.
///
/// # Errors
/// When it is damaged, not such a file, or of another type.
pub fn parse(bytes: &[u8]) -> Result<Array, String> {
    let (header, data) = header(bytes).ok_or("is not a .npy file, or a damaged one")?;
    let Header { kind, columns_first, dims } = parse_header(header)?;
    let size = match kind {
        "<f4" | "<i4" => 4,
        "<f8" | "<i8" => 8,
        "|b1" => 1,
        other => return Err(format!("holds numbers of type {other}; supported are <f4, <f8, <i8, <i4 and |b1")),
    };
    let bytes = dims.iter().try_fold(size, |product: usize, &extent| product.checked_mul(extent));
    if bytes != Some(data.len()) {
        return Err(format!("holds {} bytes of numbers, which is not what its shape {dims:?} wants", data.len()));
    }
    let order = |count: usize| (0..count).map(|index| if columns_first { turned(index, &dims) } else { index });
    let floats = match kind {
        "<f4" => Some(Stored::F32),
        "<f8" => Some(Stored::F64),
        _ => None,
    };
    if let Some(stored) = floats {
        let numbers = stored.read(data).ok_or("holds a number beyond the range of 32-bit floats")?;
        return Ok(Array::Floats(Tensor::new(dims.clone(), order(numbers.len()).map(|at| numbers[at]).collect())));
    }
    let numbers: Vec<i64> = match size {
        8 => elements(data).map(i64::from_le_bytes).collect(),
        4 => elements(data).map(|bytes| i64::from(i32::from_le_bytes(bytes))).collect(),
        _ => elements(data).map(|[byte]| i64::from(byte)).collect(),
    };
    Ok(Array::Integers { values: order(numbers.len()).map(|at| numbers[at]).collect(), dims: dims.clone() })
}

/// The text of the header and what comes behind it.
fn header(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (version, rest) = bytes.strip_prefix(MAGIC)?.split_first_chunk::<2>()?;
    let (length, rest) = match version {
        [1, _] => rest.split_first_chunk().map(|(length, rest)| (u32::from(u16::from_le_bytes(*length)), rest))?,
        _ => rest.split_first_chunk().map(|(length, rest)| (u32::from_le_bytes(*length), rest))?,
    };
    let (text, data) = rest.split_at_checked(length as usize)?;
    Some((std::str::from_utf8(text).ok()?, data))
}

fn parse_header(text: &str) -> Result<Header<'_>, String> {
    let refuse = || format!("has a header that cannot be read: {}", text.trim());
    let after = |key: &str| text.split_once(&format!("'{key}':")).map(|(_, rest)| rest.trim_start()).ok_or_else(refuse);
    let kind = after("descr")?.strip_prefix('\'').and_then(|rest| rest.split_once('\'')).ok_or_else(refuse)?.0;
    let columns_first = after("fortran_order")?.starts_with("True");
    let shape = after("shape")?.strip_prefix('(').and_then(|rest| rest.split_once(')')).ok_or_else(refuse)?.0;
    let extents = shape.split(',').map(str::trim).filter(|extent| !extent.is_empty());
    let dims = extents.map(|extent| extent.parse().map_err(|_| refuse())).collect::<Result<_, _>>()?;
    Ok(Header { kind, columns_first, dims })
}

fn elements<const SIZE: usize>(data: &[u8]) -> impl Iterator<Item = [u8; SIZE]> {
    data.as_chunks().0.iter().copied()
}

/// Where element `index`, the last axis innermost, lies when the first one is.
fn turned(index: usize, dims: &[usize]) -> usize {
    let (mut rest, mut place, mut stride) = (index, 0, dims.iter().product::<usize>());
    for extent in dims.iter().rev() {
        stride /= extent;
        place += rest % extent * stride;
        rest /= extent;
    }
    place
}

/// The bytes of a file with `tensor`.
#[must_use]
pub fn bytes(tensor: &Tensor) -> Vec<u8> {
    let extents = tensor.shape().iter().map(|extent| format!("{extent},")).collect::<Vec<_>>().concat();
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({extents}), }}");
    let begin = MAGIC.len() + 4;
    let length = (begin + header.len() + 1).next_multiple_of(ALIGNMENT) - begin;
    header.extend(std::iter::repeat_n(' ', length - 1 - header.len()));
    header.push('\n');
    let mut bytes = [MAGIC, &[1, 0], &(length as u16).to_le_bytes(), header.as_bytes()].concat();
    bytes.extend(tensor.values().iter().flat_map(|value| value.to_le_bytes()));
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
    }

    #[test]
    fn other_types_and_orders() {
        let header = "{'descr': '<i4', 'fortran_order': True, 'shape': (2, 3), }";
        let data: Vec<u8> = (0..6_i32).flat_map(|i| (i - 1).to_le_bytes()).collect();
        let want = Array::Integers { dims: vec![2, 3], values: Arc::new([-1, 1, 3, 0, 2, 4]) };
        assert_eq!(parse(&file(header, &data)), Ok(want));
        let header = "{'shape': (), 'fortran_order': False, 'descr': '|b1'}";
        assert_eq!(parse(&file(header, &[1])), Ok(Array::Integers { dims: vec![], values: Arc::new([1]) }));
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
