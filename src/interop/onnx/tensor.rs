//! Constants of a file.

use std::sync::Arc;

use super::proto::{TensorProto, tensor_proto::DataLocation, tensor_proto::DataType};
use crate::graph::{Constant, Values};

/// The constant that a message holds.
///
/// # Errors
/// When its elements are elsewhere, or not as many as its shape says.
pub(super) fn constant(tensor: &TensorProto) -> Result<Constant, String> {
    if tensor.data_location() == DataLocation::External || !tensor.external_data.is_empty() {
        return Err("its data is in another file (external data), which is not supported: save the model as one".into());
    }
    let dims = extents(&tensor.dims)?;
    let count = dims.iter().try_fold(1_usize, |product, &extent| product.checked_mul(extent));
    let count = count.ok_or_else(|| format!("a shape of {:?} is too large", tensor.dims))?;
    let values = match DataType::try_from(tensor.data_type()) {
        Ok(DataType::Float) => Values::Floats(floats(tensor, count)?),
        Ok(DataType::Int64) => Values::Integers(wide(tensor, count)?),
        Ok(DataType::Int32) => Values::Integers(narrow(tensor, count, 4)?),
        Ok(DataType::Bool) => Values::Integers(narrow(tensor, count, 1)?),
        other => Values::Other(elem(tensor.data_type(), other.ok())),
    };
    Ok(Constant { dims, values })
}

/// The name of a type of elements.
pub(super) fn elem(number: i32, known: Option<DataType>) -> String {
    known.map_or_else(|| format!("of type {number}"), |known| format!("of type {}", known.as_str_name()))
}

/// Extents, none of which may be negative.
pub(super) fn extents(dims: &[i64]) -> Result<Vec<usize>, String> {
    let extent = |&extent: &i64| usize::try_from(extent).map_err(|_| format!("a shape of {dims:?} has no sense"));
    dims.iter().map(extent).collect()
}

fn floats(tensor: &TensorProto, count: usize) -> Result<Arc<[f32]>, String> {
    match &tensor.raw_data {
        Some(raw) if !raw.is_empty() => Ok(raw_elements::<4>(raw, count)?.map(f32::from_le_bytes).collect()),
        _ => listed(&tensor.float_data, count),
    }
}

fn wide(tensor: &TensorProto, count: usize) -> Result<Arc<[i64]>, String> {
    match &tensor.raw_data {
        Some(raw) if !raw.is_empty() => Ok(raw_elements::<8>(raw, count)?.map(i64::from_le_bytes).collect()),
        _ => listed(&tensor.int64_data, count),
    }
}

/// Integers of `size` bytes, 1 or 4; those of one byte are truths.
fn narrow(tensor: &TensorProto, count: usize, size: usize) -> Result<Arc<[i64]>, String> {
    match &tensor.raw_data {
        Some(raw) if !raw.is_empty() && size == 1 => {
            Ok(raw_elements::<1>(raw, count)?.map(|[byte]| i64::from(byte)).collect())
        }
        Some(raw) if !raw.is_empty() => {
            Ok(raw_elements::<4>(raw, count)?.map(|bytes| i64::from(i32::from_le_bytes(bytes))).collect())
        }
        _ => Ok(listed(&tensor.int32_data, count)?.iter().map(|&value| i64::from(value)).collect()),
    }
}

fn listed<T: Copy>(values: &[T], count: usize) -> Result<Arc<[T]>, String> {
    if values.len() == count { Ok(values.into()) } else { Err(refuse(values.len(), count)) }
}

fn raw_elements<const SIZE: usize>(raw: &[u8], count: usize) -> Result<impl Iterator<Item = [u8; SIZE]>, String> {
    let (elements, rest) = raw.as_chunks::<SIZE>();
    if elements.len() != count || !rest.is_empty() {
        return Err(refuse(elements.len(), count));
    }
    Ok(elements.iter().copied())
}

fn refuse(found: usize, count: usize) -> String {
    format!("it has {found} elements, and its shape wants {count}")
}
