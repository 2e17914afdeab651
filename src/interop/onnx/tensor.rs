//! Constants of a file.

use std::sync::Arc;

use half::{bf16, f16};

use super::error::ValueError;
use super::external::External;
use super::proto::{TensorProto, tensor_proto::DataLocation, tensor_proto::DataType};
use crate::graph::{Constant, ConstantValues};

/// Converts a constant's elements; those in other files are read there. 16-bit floats become 32-bit ones.
pub(super) fn constant(mut tensor: TensorProto, external: &mut External) -> Result<Constant, ValueError> {
    let dims = extents(&tensor.dims)?;
    let count = dims.iter().try_fold(1_usize, |product, &extent| product.checked_mul(extent));
    let count = count.ok_or_else(|| ValueError::Large(tensor.dims.clone()))?;
    let elem = DataType::try_from(tensor.data_type());
    if tensor.data_location() == DataLocation::External || !tensor.external_data.is_empty() {
        let size = match elem {
            Ok(DataType::Float | DataType::Int32 | DataType::Uint32) => Some(4),
            Ok(DataType::Int64 | DataType::Double | DataType::Uint64) => Some(8),
            Ok(DataType::Float16 | DataType::Bfloat16 | DataType::Int16 | DataType::Uint16) => Some(2),
            Ok(DataType::Bool | DataType::Int8 | DataType::Uint8) => Some(1),
            _ => None,
        };
        let bytes = size.map(|size| count.checked_mul(size).ok_or_else(|| ValueError::Large(tensor.dims.clone())));
        external.fill(&mut tensor, bytes.transpose()?)?;
    }
    let raw = tensor.raw_data.as_deref().filter(|raw| !raw.is_empty());
    let half = |bits: i32| f16::from_bits(bits as u16).to_f32();
    let brain = |bits: i32| bf16::from_bits(bits as u16).to_f32();
    let values = match (elem, raw) {
        (Ok(DataType::Float), Some(raw)) => ConstantValues::Floats(from_bytes(raw, count, f32::from_le_bytes)?),
        (Ok(DataType::Float), None) => ConstantValues::Floats(from_list(&tensor.float_data, count, |value| value)?),
        (Ok(DataType::Float16), Some(raw)) => {
            ConstantValues::Floats(from_bytes(raw, count, |bytes| f16::from_le_bytes(bytes).to_f32())?)
        }
        (Ok(DataType::Bfloat16), Some(raw)) => {
            ConstantValues::Floats(from_bytes(raw, count, |bytes| bf16::from_le_bytes(bytes).to_f32())?)
        }
        (Ok(DataType::Float16), None) => ConstantValues::Floats(from_list(&tensor.int32_data, count, half)?),
        (Ok(DataType::Bfloat16), None) => ConstantValues::Floats(from_list(&tensor.int32_data, count, brain)?),
        (Ok(DataType::Int64), Some(raw)) => ConstantValues::Integers(from_bytes(raw, count, i64::from_le_bytes)?),
        (Ok(DataType::Int64), None) => ConstantValues::Integers(from_list(&tensor.int64_data, count, |value| value)?),
        (Ok(DataType::Int32), Some(raw)) => {
            ConstantValues::Integers(from_bytes(raw, count, |bytes| i32::from_le_bytes(bytes).into())?)
        }
        (Ok(DataType::Bool), Some(raw)) => ConstantValues::Integers(from_bytes(raw, count, |[byte]| byte.into())?),
        (Ok(DataType::Int32 | DataType::Bool), None) => {
            ConstantValues::Integers(from_list(&tensor.int32_data, count, i64::from)?)
        }
        (other, _) => ConstantValues::Other(type_name(tensor.data_type(), other.ok())),
    };
    Ok(Constant { dims, values })
}

/// Name of a type of elements that is not supported, for messages.
pub(super) fn type_name(number: i32, known: Option<DataType>) -> String {
    known.map_or_else(|| format!("of type {number}"), |known| format!("of type {}", known.as_str_name()))
}

/// Extents of 0 or more.
pub(super) fn extents(dims: &[i64]) -> Result<Vec<usize>, ValueError> {
    let extents: Result<_, _> = dims.iter().map(|&extent| usize::try_from(extent)).collect();
    extents.map_err(|_| ValueError::Extents(dims.into()))
}

/// `count` elements of `SIZE` bytes each.
fn from_bytes<T, const SIZE: usize>(
    raw: &[u8],
    count: usize,
    element: fn([u8; SIZE]) -> T,
) -> Result<Arc<[T]>, ValueError> {
    let (elements, rest) = raw.as_chunks::<SIZE>();
    if elements.len() != count || !rest.is_empty() {
        return Err(ValueError::Count { found: elements.len(), expected: count });
    }
    Ok(elements.iter().copied().map(element).collect())
}

/// `count` elements of a repeated field.
fn from_list<F: Copy, T>(values: &[F], count: usize, element: fn(F) -> T) -> Result<Arc<[T]>, ValueError> {
    if values.len() != count {
        return Err(ValueError::Count { found: values.len(), expected: count });
    }
    Ok(values.iter().copied().map(element).collect())
}
