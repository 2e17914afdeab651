//! The messages of the format in a word each.

use super::super::proto::attribute_proto::AttributeType;
use super::super::proto::tensor_proto::DataType;
use super::super::proto::tensor_shape_proto::{Dimension, dimension};
use super::super::proto::{
    AttributeProto, NodeProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};
use crate::ops::onnx::Attribute;

/// A node, which is called what its first output is.
pub(super) fn node(
    op: &str,
    inputs: Vec<String>,
    outputs: Vec<String>,
    attributes: Vec<(&str, Attribute)>,
) -> NodeProto {
    NodeProto {
        input: inputs,
        name: outputs.first().cloned(),
        output: outputs,
        op_type: Some(op.into()),
        attribute: attributes.into_iter().map(attribute).collect(),
        ..NodeProto::default()
    }
}

fn attribute((name, value): (&str, Attribute)) -> AttributeProto {
    let named = |kind: AttributeType| AttributeProto {
        name: Some(name.into()),
        r#type: Some(kind as i32),
        ..AttributeProto::default()
    };
    match value {
        Attribute::Int(value) => AttributeProto { i: Some(value), ..named(AttributeType::Int) },
        Attribute::Ints(ints) => AttributeProto { ints, ..named(AttributeType::Ints) },
        Attribute::Float(value) => AttributeProto { f: Some(value), ..named(AttributeType::Float) },
    }
}

pub(super) fn weights(name: &str, shape: &[usize], values: &[f32]) -> TensorProto {
    constant(name, DataType::Float, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

pub(super) fn whole_numbers(name: &str, values: &[i64]) -> TensorProto {
    constant(name, DataType::Int64, &[values.len()], values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

fn constant(name: &str, kind: DataType, shape: &[usize], bytes: Vec<u8>) -> TensorProto {
    TensorProto {
        dims: shape.iter().map(|&extent| extent as i64).collect(),
        data_type: Some(kind as i32),
        name: Some(name.into()),
        raw_data: Some(bytes),
        ..TensorProto::default()
    }
}

/// A value of floats for any number of images.
pub(super) fn shaped(name: &str, shape: &[i64]) -> ValueInfoProto {
    let images = dimension::Value::DimParam("N".into());
    let extents = shape.iter().map(|&extent| dimension::Value::DimValue(extent));
    let dim = std::iter::once(images).chain(extents).map(|value| Dimension { value: Some(value) }).collect();
    let tensor = type_proto::Tensor { elem_type: Some(DataType::Float as i32), shape: Some(TensorShapeProto { dim }) };
    let tensor_type = Some(type_proto::Value::TensorType(tensor));
    ValueInfoProto { name: Some(name.into()), r#type: Some(TypeProto { value: tensor_type }) }
}
