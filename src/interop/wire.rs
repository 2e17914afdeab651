//! What a protobuf file becomes in memory, estimated before it is decoded: two bytes of a file can say a message that takes
//! hundreds, and a list of them all there is. A field's wire type does not tell a message from bytes, so that the
//! [`Shape`]s of messages stand here; `tests/interop/proto.rs` compares them with the files they come from.

use prost::Message;

/// The fields of a message that grow.
#[derive(Debug)]
pub struct Shape {
    /// Messages.
    pub messages: &'static [(u32, &'static Shape)],
    /// Lists of whole numbers: of the eight bytes of each a file may have one.
    pub numbers: &'static [u32],
}

impl Shape {
    const fn new(messages: &'static [(u32, &'static Self)], numbers: &'static [u32]) -> Self {
        Self { messages, numbers }
    }
}

/// Of a message that does not grow.
static FLAT: Shape = Shape::new(&[], &[]);

/// Of an ONNX file, `ModelProto`.
pub static ONNX: Shape = {
    static TENSOR: Shape = Shape::new(&[(13, &FLAT)], &[1, 5, 7]);
    static SPARSE: Shape = Shape::new(&[(1, &TENSOR)], &[]);
    static ATTRIBUTE: Shape = Shape::new(&[(5, &TENSOR)], &[8]);
    static NODE: Shape = Shape::new(&[(5, &ATTRIBUTE)], &[]);
    static EXTENTS: Shape = Shape::new(&[(1, &FLAT)], &[]);
    static DENSE: Shape = Shape::new(&[(2, &EXTENTS)], &[]);
    static TYPE: Shape = Shape::new(&[(1, &DENSE)], &[]);
    static VALUE: Shape = Shape::new(&[(2, &TYPE)], &[]);
    static GRAPH: Shape =
        Shape::new(&[(1, &NODE), (5, &TENSOR), (11, &VALUE), (12, &VALUE), (13, &VALUE), (15, &SPARSE)], &[]);
    Shape::new(&[(7, &GRAPH), (8, &FLAT), (14, &FLAT)], &[])
};

static BLOB_SHAPE: Shape = Shape::new(&[], &[1]);

/// Of a mean image of Caffe, `BlobProto`.
pub static BLOB: Shape = Shape::new(&[(7, &BLOB_SHAPE)], &[]);

/// Of a network of Caffe, `NetParameter`.
pub static CAFFE: Shape = {
    static CONVOLUTION: Shape = Shape::new(&[], &[3, 4, 6, 18]);
    static INPUT: Shape = Shape::new(&[(1, &BLOB_SHAPE)], &[]);
    static LAYER: Shape = Shape::new(
        &[
            (7, &BLOB),
            (8, &FLAT),
            (106, &CONVOLUTION),
            (117, &FLAT),
            (118, &FLAT),
            (121, &FLAT),
            (123, &FLAT),
            (143, &INPUT),
        ],
        &[],
    );
    static OLD_LAYER: Shape = Shape::new(
        &[(6, &BLOB), (10, &CONVOLUTION), (17, &FLAT), (18, &FLAT), (19, &FLAT), (30, &FLAT), (32, &FLAT)],
        &[],
    );
    Shape::new(&[(2, &OLD_LAYER), (8, &BLOB_SHAPE), (100, &LAYER)], &[4])
};

/// Bytes that a message takes by itself; no message of the two formats is larger.
const MESSAGE: u64 = 1024;
/// Bytes that a text, or a list, takes by itself.
const TEXT: u64 = 24;

/// Bytes that any file may take: of messages, some ten thousand nodes.
const FREE: u64 = 64 << 20;
/// Times its length that a file may take besides.
const TIMES: u64 = 8;

/// The message in a file, which takes memory in proportion to the file.
///
/// # Errors
/// When it is damaged, or would take far more than its length.
pub fn decode<M: Message + Default>(bytes: &[u8], shape: &Shape) -> Result<M, String> {
    let (needed, length) = (estimate(bytes, shape, 0), bytes.len() as u64);
    if needed > FREE + TIMES * length {
        let mebibytes = needed >> 20;
        return Err(format!("its {length} bytes would take {mebibytes} MiB of memory, as no such file does"));
    }
    M::decode(bytes).map_err(|error| error.to_string())
}

/// Messages within one another; the formats have less, and deeper ones are not decoded.
const DEEPEST: usize = 16;

/// Bytes that a message takes at most, up to where it is damaged.
fn estimate(mut bytes: &[u8], shape: &Shape, depth: usize) -> u64 {
    let mut sum = MESSAGE;
    while let Some(key) = varint(&mut bytes) {
        let field = u32::try_from(key >> 3).unwrap_or(u32::MAX);
        let fixed = match key & 7 {
            0 => varint(&mut bytes).map(|_| 0),
            1 => Some(8),
            2 => varint(&mut bytes),
            5 => Some(4),
            _ => None, // groups, which neither format has
        };
        let Some(taken) = fixed.and_then(|length| usize::try_from(length).ok()) else { return sum };
        let Some((content, rest)) = bytes.split_at_checked(taken) else { return sum };
        bytes = rest;
        let inner = shape.messages.iter().find(|(number, _)| *number == field);
        sum = sum.saturating_add(match (key & 7, inner) {
            (2, Some((_, inner))) if depth < DEEPEST => estimate(content, inner, depth + 1),
            (2, None) if shape.numbers.contains(&field) => 8 * content.len() as u64,
            (2, _) => TEXT + content.len() as u64,
            _ => 8,
        });
    }
    sum
}

/// The number that `bytes` begin with, which moves on behind it.
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
        // A graph (field 7) of so many empty nodes (field 1).
        let nodes = [0x0a, 0x00].repeat(200_000);
        let mut file = vec![0x3a];
        prost::encode_length_delimiter(nodes.len(), &mut file).unwrap();
        file.extend(&nodes);
        let refusal = decode::<ModelProto>(&file, &ONNX).unwrap_err();
        assert_eq!(refusal, "its 400004 bytes would take 195 MiB of memory, as no such file does");
    }

    #[test]
    fn numbers_count_as_what_they_become_and_bytes_as_what_they_are() {
        let tensor = TensorProto { raw_data: Some(vec![1; 1000]), ..TensorProto::default() };
        let graph = GraphProto { initializer: vec![tensor], ..GraphProto::default() };
        let model = ModelProto { graph: Some(graph), ..ModelProto::default() };
        assert_eq!(estimate(&model.encode_to_vec(), &ONNX, 0), 3 * MESSAGE + TEXT + 1000);
        let tensor = TensorProto { int64_data: vec![1; 1000], ..TensorProto::default() };
        let graph = GraphProto { initializer: vec![tensor], ..GraphProto::default() };
        let model = ModelProto { graph: Some(graph), ..ModelProto::default() };
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
