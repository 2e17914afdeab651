//! Estimate of the memory that a protobuf file takes once decoded, made before decoding: two bytes of a file can encode
//! a message that takes hundreds, so that a small file could fill the memory. A field's wire type does not tell a
//! message from bytes, which is why the [`Schema`]s of messages stand here; `tests/interop/proto.rs` checks them
//! against `assets/proto`.

use prost::Message;
use thiserror::Error;

/// Reason why a protobuf file is not decoded.
#[derive(Debug, Error, PartialEq)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum WireError {
    #[error("its {length} bytes would take {needed} MiB of memory, expected at most {allowed} MiB")]
    Memory { length: u64, needed: u64, allowed: u64 },
    #[error(transparent)]
    Damaged(#[from] prost::DecodeError),
}

/// Fields of a message, by their numbers, that take more memory than bytes in a file.
#[derive(Debug)]
pub struct Schema {
    /// Fields that are messages, with the schemas of these.
    pub messages: &'static [(u32, &'static Schema)],
    /// Fields that are lists of integers: each takes eight bytes of memory, and as little as one in a file.
    pub integers: &'static [u32],
}

impl Schema {
    const fn new(messages: &'static [(u32, &'static Self)], integers: &'static [u32]) -> Self {
        Self { messages, integers }
    }
}

/// Schema of a message of scalars.
static FLAT: Schema = Schema::new(&[], &[]);

/// Schema of an ONNX file, `ModelProto`.
pub static ONNX: Schema = {
    static TENSOR: Schema = Schema::new(&[(13, &FLAT)], &[1, 5, 7]);
    static SPARSE: Schema = Schema::new(&[(1, &TENSOR)], &[]);
    static ATTRIBUTE: Schema = Schema::new(&[(5, &TENSOR), (6, &GRAPH)], &[8]);
    static NODE: Schema = Schema::new(&[(5, &ATTRIBUTE)], &[]);
    static DIMENSIONS: Schema = Schema::new(&[(1, &FLAT)], &[]);
    static DENSE: Schema = Schema::new(&[(2, &DIMENSIONS)], &[]);
    static TYPE: Schema = Schema::new(&[(1, &DENSE)], &[]);
    static VALUE: Schema = Schema::new(&[(2, &TYPE)], &[]);
    static GRAPH: Schema = Schema::new(&[(1, &NODE), (5, &TENSOR), (11, &VALUE), (12, &VALUE), (15, &SPARSE)], &[]);
    static FUNCTION: Schema = Schema::new(&[(7, &NODE), (9, &FLAT), (11, &ATTRIBUTE)], &[]);
    Schema::new(&[(7, &GRAPH), (8, &FLAT), (14, &FLAT), (25, &FUNCTION)], &[])
};

/// Fields of a `BlobShape` message: packed extents.
static EXTENTS: Schema = Schema::new(&[], &[1]);

/// Schema of a mean image of Caffe, `BlobProto`.
pub static BLOB: Schema = Schema::new(&[(7, &EXTENTS)], &[]);

/// Schema of a network of Caffe, `NetParameter`.
pub static CAFFE: Schema = {
    static CONVOLUTION: Schema = Schema::new(&[], &[3, 4, 6, 18]);
    static INPUT: Schema = Schema::new(&[(1, &EXTENTS)], &[]);
    static LAYER: Schema = Schema::new(
        &[
            (7, &BLOB),
            (8, &FLAT),
            (100, &FLAT),
            (106, &CONVOLUTION),
            (117, &FLAT),
            (118, &FLAT),
            (121, &FLAT),
            (123, &FLAT),
            (143, &INPUT),
        ],
        &[],
    );
    static OLD_LAYER: Schema = Schema::new(
        &[(6, &BLOB), (10, &CONVOLUTION), (17, &FLAT), (18, &FLAT), (19, &FLAT), (30, &FLAT), (32, &FLAT), (36, &FLAT)],
        &[],
    );
    Schema::new(&[(2, &OLD_LAYER), (8, &EXTENTS), (100, &LAYER)], &[4])
};

/// Upper bound of the bytes that one message of either format takes, without what its fields point to.
pub(super) const MESSAGE: u64 = 1024;
/// Bytes that a string or a list takes besides its elements.
const TEXT: u64 = 24;

/// Bytes of memory that any file may take: some ten thousand nodes.
const FREE: u64 = 64 << 20;
/// Multiple of its length that a file may take besides.
const TIMES: u64 = 8;

/// Depth of messages within one another; deeper ones are not decoded.
const DEEPEST: usize = 100;

/// Bytes of memory that a file of `length` bytes may take once decoded.
pub(super) fn allowance(length: u64) -> u64 {
    FREE.saturating_add(TIMES.saturating_mul(length))
}

/// Decodes the message in a file, with memory in proportion to the file.
///
/// # Errors
/// When the bytes are damaged, or would take far more memory than they are long.
pub fn decode<M: Message + Default>(bytes: &[u8], schema: &Schema) -> Result<M, WireError> {
    let (needed, length) = (estimate(bytes, schema, 0), bytes.len() as u64);
    let allowed = allowance(length);
    if needed > allowed {
        return Err(WireError::Memory { length, needed: needed >> 20, allowed: allowed >> 20 });
    }
    Ok(M::decode(bytes)?)
}

/// Upper bound of the bytes of memory that a message takes, up to where it is damaged.
fn estimate(mut bytes: &[u8], schema: &Schema, depth: usize) -> u64 {
    let mut sum = MESSAGE;
    while let Some(key) = varint(&mut bytes) {
        let (field, wire_type) = (u32::try_from(key >> 3).unwrap_or(u32::MAX), key & 7);
        let length = match wire_type {
            0 => varint(&mut bytes).map(|_| 0),
            1 => Some(8),
            2 => varint(&mut bytes),
            5 => Some(4),
            _ => None, // groups, which neither format has
        };
        let Some(length) = length.and_then(|length| usize::try_from(length).ok()) else { return sum };
        let Some((content, rest)) = bytes.split_at_checked(length) else { return sum };
        bytes = rest;
        let inner = schema.messages.iter().find(|(number, _)| *number == field);
        sum = sum.saturating_add(match (wire_type, inner) {
            (2, Some((_, inner))) if depth < DEEPEST => estimate(content, inner, depth + 1),
            (2, None) if schema.integers.contains(&field) => 8 * content.len() as u64,
            (2, _) => TEXT + content.len() as u64,
            _ => 8,
        });
    }
    sum
}

/// Reads the integer that `bytes` begin with, and advances them past it.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f).checked_shl(7 * index as u32)?;
        if byte < 0x80 {
            *bytes = &bytes[index + 1..];
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interop::caffe::proto as caffe;
    use crate::interop::onnx::proto as onnx;
    use onnx::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};

    #[test]
    fn no_message_is_larger_than_is_counted() {
        let sizes = [
            size_of::<ModelProto>(),
            size_of::<GraphProto>(),
            size_of::<NodeProto>(),
            size_of::<AttributeProto>(),
            size_of::<TensorProto>(),
            size_of::<ValueInfoProto>(),
            size_of::<onnx::FunctionProto>(),
            size_of::<onnx::SparseTensorProto>(),
            size_of::<caffe::NetParameter>(),
            size_of::<caffe::LayerParameter>(),
            size_of::<caffe::V1LayerParameter>(),
            size_of::<caffe::BlobProto>(),
            size_of::<caffe::ConvolutionParameter>(),
            size_of::<caffe::PoolingParameter>(),
        ];
        assert!(sizes.iter().all(|&size| size as u64 <= MESSAGE), "{sizes:?}");
    }

    #[test]
    fn a_file_of_empty_messages_is_refused_before_it_is_decoded() {
        // A graph (field 7) of 200 000 empty nodes (field 1).
        let nodes = [0x0a, 0x00].repeat(200_000);
        let mut file = vec![0x3a];
        prost::encode_length_delimiter(nodes.len(), &mut file).unwrap();
        file.extend(&nodes);
        let refusal = decode::<ModelProto>(&file, &ONNX).unwrap_err().to_string();
        assert_eq!(refusal, "its 400004 bytes would take 195 MiB of memory, expected at most 67 MiB");
    }

    #[test]
    fn numbers_count_as_what_they_become_and_bytes_as_what_they_are() {
        let model = |tensor| {
            let graph = GraphProto { initializer: vec![tensor], ..GraphProto::default() };
            ModelProto { graph: Some(graph), ..ModelProto::default() }
        };
        let raw = model(TensorProto { raw_data: Some(vec![1; 1000]), ..TensorProto::default() });
        assert_eq!(estimate(&raw.encode_to_vec(), &ONNX, 0), 3 * MESSAGE + TEXT + 1000);
        let model = model(TensorProto { int64_data: vec![1; 1000], ..TensorProto::default() });
        assert_eq!(estimate(&model.encode_to_vec(), &ONNX, 0), 3 * MESSAGE + 8 * 1000);
        assert_eq!(decode::<ModelProto>(&model.encode_to_vec(), &ONNX), Ok(model));
    }

    #[test]
    fn what_is_damaged_is_left_to_the_decoder() {
        for bytes in
            [&[0x3a, 0x05][..], &[0xff; 12], &[0x0b], &[0x3a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]]
        {
            assert_eq!(estimate(bytes, &ONNX, 0), MESSAGE);
            assert!(decode::<ModelProto>(bytes, &ONNX).is_err());
        }
    }
}
