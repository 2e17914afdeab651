//! Small ONNX files, and what they compute.

use std::collections::BTreeMap;

use alexnet::backend::{Engine, Placement};
use alexnet::graph::Given;
use alexnet::interop::onnx::parse;
use alexnet::interop::onnx::proto::attribute_proto::AttributeType;
use alexnet::interop::onnx::proto::tensor_proto::DataType;
use alexnet::interop::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, tensor_shape_proto, type_proto,
};
use alexnet::random::{Purpose, Stream};
use alexnet::session::GraphSession;
use alexnet::tensor::Tensor;
use prost::Message as _;

/// A file to be.
#[derive(Clone)]
pub(crate) struct File {
    pub(crate) model: ModelProto,
}

impl File {
    /// An empty graph in version `opset` of the operators.
    pub(crate) fn new(opset: i64) -> Self {
        let set = OperatorSetIdProto { domain: None, version: Some(opset) };
        let graph = Some(GraphProto::default());
        Self { model: ModelProto { ir_version: Some(8), opset_import: vec![set], graph, ..ModelProto::default() } }
    }

    pub(crate) fn graph(&mut self) -> &mut GraphProto {
        self.model.graph.as_mut().unwrap()
    }

    /// With an input of floats.
    pub(crate) fn input(mut self, name: &str, dims: &[i64]) -> Self {
        self.graph().input.push(info(name, DataType::Float, dims));
        self
    }

    /// Adds a tensor of constants.
    pub(crate) fn constant(mut self, tensor: TensorProto) -> Self {
        self.graph().initializer.push(tensor);
        self
    }

    /// Adds a node that runs an operator.
    pub(crate) fn node(mut self, op: &str, inputs: &[&str], outputs: &[&str], attribute: Vec<AttributeProto>) -> Self {
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        self.graph().node.push(NodeProto {
            input: texts(inputs),
            output: texts(outputs),
            name: Some(format!("the {op}")),
            op_type: Some(op.into()),
            attribute,
            ..NodeProto::default()
        });
        self
    }

    /// Adds outputs of the graph, by name.
    pub(crate) fn outputs(mut self, names: &[&str]) -> Self {
        let infos = names.iter().map(|name| ValueInfoProto { name: Some((*name).into()), r#type: None });
        self.graph().output.extend(infos);
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.model.encode_to_vec()
    }

    /// What it gives for `inputs` on `engine`.
    #[track_caller]
    pub(crate) fn run(&self, engine: &Engine, inputs: &[(&str, &Tensor)]) -> Vec<Tensor> {
        let graph = parse(&self.bytes()).unwrap();
        let given = inputs.iter().map(|(name, x)| ((*name).into(), Given::Floats(x.shape().to_vec()))).collect();
        let devices = Placement::from(engine.clone()).untuned();
        let mut session = GraphSession::new(&graph, &given, &devices).unwrap();
        let inputs: BTreeMap<String, Tensor> = inputs.iter().map(|(name, x)| ((*name).into(), (*x).clone())).collect();
        session.run(&inputs).unwrap().into_iter().map(|(_, tensor)| tensor).collect()
    }

    /// Why it cannot be computed on the CPU engine, with floats of these shapes.
    #[track_caller]
    pub(crate) fn refused(&self, inputs: &[(&str, &[usize])]) -> String {
        let graph = match parse(&self.bytes()) {
            Ok(graph) => graph,
            Err(error) => return error.to_string(),
        };
        let given = inputs.iter().map(|(name, dims)| ((*name).into(), Given::Floats(dims.to_vec()))).collect();
        match GraphSession::new(&graph, &given, &Engine::Cpu.into()) {
            Ok(_) => panic!("it is computed"),
            Err(error) => error.to_string(),
        }
    }
}

/// A value of known extents; -1 is any.
pub(crate) fn info(name: &str, elem: DataType, dims: &[i64]) -> ValueInfoProto {
    let dim = |&extent: &i64| tensor_shape_proto::Dimension {
        value: (extent >= 0).then_some(tensor_shape_proto::dimension::Value::DimValue(extent)),
    };
    let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let tensor = type_proto::Tensor { elem_type: Some(elem as i32), shape };
    let value = Some(type_proto::Value::TensorType(tensor));
    ValueInfoProto { name: Some(name.into()), r#type: Some(TypeProto { value }) }
}

pub(crate) fn int(name: &str, value: i64) -> AttributeProto {
    let (name, kind) = (Some(name.into()), Some(AttributeType::Int as i32));
    AttributeProto { name, i: Some(value), r#type: kind, ..AttributeProto::default() }
}

pub(crate) fn ints(name: &str, values: &[i64]) -> AttributeProto {
    let (name, kind) = (Some(name.into()), Some(AttributeType::Ints as i32));
    AttributeProto { name, ints: values.to_vec(), r#type: kind, ..AttributeProto::default() }
}

pub(crate) fn float(name: &str, value: f32) -> AttributeProto {
    let (name, kind) = (Some(name.into()), Some(AttributeType::Float as i32));
    AttributeProto { name, f: Some(value), r#type: kind, ..AttributeProto::default() }
}

pub(crate) fn text(name: &str, value: &str) -> AttributeProto {
    let (name, kind) = (Some(name.into()), Some(AttributeType::String as i32));
    AttributeProto { name, s: Some(value.into()), r#type: kind, ..AttributeProto::default() }
}

/// A constant of floats.
pub(crate) fn floats(name: &str, tensor: &Tensor) -> TensorProto {
    let dims = tensor.shape().iter().map(|&extent| extent as i64).collect();
    let (name, data_type) = (Some(name.into()), Some(DataType::Float as i32));
    TensorProto { dims, data_type, name, float_data: tensor.values().to_vec(), ..TensorProto::default() }
}

/// A constant of whole numbers, as raw bytes.
pub(crate) fn integers(name: &str, values: &[i64]) -> TensorProto {
    let raw_data = Some(values.iter().flat_map(|value| value.to_le_bytes()).collect());
    let (name, data_type) = (Some(name.into()), Some(DataType::Int64 as i32));
    TensorProto { dims: vec![values.len() as i64], data_type, name, raw_data, ..TensorProto::default() }
}

/// Normal numbers; another `tag`, others.
pub(crate) fn random(dims: &[usize], tag: u32) -> Tensor {
    let count = dims.iter().product();
    Tensor::new(dims, Stream::new(3, Purpose::Test, tag).normal_vec(count, 1.0))
}
