//! From the bytes of a file to a graph.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::attributes::Attributes;
use super::operators::{Operator, operator};
use super::proto::tensor_proto::DataType;
use super::proto::{GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, tensor_shape_proto, type_proto};
use super::tensor::{constant, elem, extents};
use crate::graph::{Constant, Elem, Extent, Graph, GraphError, Input, Node, ValueId, Values};
use crate::interop::wire::{ONNX, decode};

/// Versions of the operators that are known.
const VERSIONS: std::ops::RangeInclusive<i64> = 1..=23;

/// The graph of an ONNX file. Takes memory in proportion to the file.
///
/// # Errors
/// When it is damaged or not an ONNX file, a value is missing or there twice, nodes are in a circle, or one asks for
/// what is not supported; names of the node, the operator and the attribute are said.
pub fn parse(bytes: &[u8]) -> Result<Graph, GraphError> {
    let model: Result<ModelProto, _> = decode(bytes, &ONNX);
    let model = model.map_err(|error| GraphError::File(format!("not an ONNX file, or a damaged one ({error})")))?;
    let version = version(&model)?;
    let mut graph = model.graph.ok_or_else(|| GraphError::File("an ONNX file without a graph".into()))?;
    let mut parser = Parser::default();
    parser.constants(&mut graph)?;
    let graph = &graph;
    parser.inputs(graph)?;
    let written = graph.node.iter().flat_map(|node| &node.output).map(String::as_str).collect();
    graph.node.iter().try_for_each(|node| parser.node(node, version, &written))?;
    parser.outputs(graph)?;
    let entries = model.metadata_props.iter().map(|entry| (entry.key().to_owned(), entry.value().to_owned()));
    parser.graph.metadata = entries.collect();
    Ok(parser.graph)
}

/// The version of ONNX's own operators.
fn version(model: &ModelProto) -> Result<i64, GraphError> {
    let own = model.opset_import.iter().find(|set| standard(set.domain()));
    let version = own.map(super::proto::OperatorSetIdProto::version);
    let version = version.ok_or_else(|| GraphError::File("an ONNX file that does not say its opset_import".into()))?;
    if VERSIONS.contains(&version) {
        return Ok(version);
    }
    let (first, last) = VERSIONS.into_inner();
    Err(GraphError::File(format!("operators of opset {version} are not known: {first} to {last} are")))
}

/// Whether these are ONNX's own operators.
fn standard(domain: &str) -> bool {
    ["", "ai.onnx"].contains(&domain)
}

#[derive(Default)]
struct Parser {
    graph: Graph,
    values: HashMap<String, ValueId>,
}

impl Parser {
    /// A new value.
    fn define(&mut self, what: &'static str, name: &str) -> Result<ValueId, GraphError> {
        let value = ValueId(self.graph.names.len());
        let refuse = |reason: &str| Err(GraphError::Value { what, name: name.into(), reason: reason.into() });
        if name.is_empty() {
            return refuse("it has no name");
        }
        if self.values.insert(name.into(), value).is_some() {
            return refuse("there are two values of this name");
        }
        self.graph.names.push(name.into());
        Ok(value)
    }

    fn constants(&mut self, graph: &mut GraphProto) -> Result<(), GraphError> {
        if let Some(sparse) = graph.sparse_initializer.first() {
            let name = sparse.values.as_ref().map_or("", TensorProto::name).into();
            return Err(GraphError::Value {
                what: "initializer",
                name,
                reason: "sparse ones are not supported".into(),
            });
        }
        // Each message goes when its elements have been taken out: they are most of a file.
        for tensor in std::mem::take(&mut graph.initializer) {
            let value = self.define("initializer", tensor.name())?;
            let refuse = |reason| GraphError::Value { what: "initializer", name: tensor.name().into(), reason };
            self.graph.constants.insert(value, constant(&tensor).map_err(refuse)?);
        }
        Ok(())
    }

    /// Inputs that are not initialisers, which are values of their own then.
    fn inputs(&mut self, graph: &GraphProto) -> Result<(), GraphError> {
        let constants = self.values.len();
        for info in &graph.input {
            if self.values.get(info.name()).is_some_and(|value| value.0 < constants) {
                continue;
            }
            let value = self.define("input", info.name())?;
            let refuse = |reason| GraphError::Value { what: "input", name: info.name().into(), reason };
            let (elem, dims) = kind(info).map_err(refuse)?;
            self.graph.inputs.push(Input { value, elem, dims });
        }
        Ok(())
    }

    fn node(&mut self, node: &NodeProto, version: i64, written: &HashSet<&str>) -> Result<(), GraphError> {
        let first = node.output.iter().find(|output| !output.is_empty());
        let name = Some(node.name()).filter(|name| !name.is_empty()).or(first.map(String::as_str)).unwrap_or("?");
        let refuse = |reason| GraphError::Node { node: name.into(), operator: node.op_type().into(), reason };
        if !standard(node.domain()) {
            return Err(refuse(format!("operators of domain {} are not supported", node.domain())));
        }
        if first.is_none() {
            return Err(refuse("it has no output".into()));
        }
        if node.op_type() == "Constant" {
            let constant = constant_of(node).map_err(refuse)?;
            let value = self.define("constant", &node.output[0])?;
            self.graph.constants.insert(value, constant);
            return Ok(());
        }
        let Operator { op, inputs: allowed, outputs: most } = operator(node, version).map_err(refuse)?;
        if !allowed.contains(&node.input.len()) || node.output.len() > most {
            return Err(refuse(format!(
                "{} inputs and {} outputs are too many or too few",
                node.input.len(),
                node.output.len()
            )));
        }
        let read = |input: &String| match self.values.get(input.as_str()) {
            _ if input.is_empty() => Ok(None),
            Some(&value) => Ok(Some(value)),
            None if written.contains(input.as_str()) => Err(refuse(format!(
                "it reads {input}, which is written only later: the nodes are in a circle, or not in their order"
            ))),
            None => Err(refuse(format!("it reads {input}, which is no input, no initializer and no output of a node"))),
        };
        let inputs = node.input.iter().map(read).collect::<Result<_, _>>()?;
        let mut outputs = Vec::with_capacity(node.output.len());
        for output in &node.output {
            let wanted = !output.is_empty();
            outputs.push(if wanted { Some(self.define("output of a node", output)?) } else { None });
        }
        let (name, operator) = (name.to_owned(), node.op_type().to_owned());
        self.graph.nodes.push(Node { name, operator, op, inputs, outputs });
        Ok(())
    }

    fn outputs(&mut self, graph: &GraphProto) -> Result<(), GraphError> {
        let refuse = |name: &str, reason: &str| {
            Err(GraphError::Value { what: "output", name: name.into(), reason: reason.into() })
        };
        for info in &graph.output {
            let Some(&value) = self.values.get(info.name()) else {
                return refuse(info.name(), "it is no input, no initializer and no output of a node");
            };
            if self.graph.outputs.contains(&value) {
                return refuse(info.name(), "it is there twice");
            }
            self.graph.outputs.push(value);
        }
        if graph.output.is_empty() { Err(GraphError::File("an ONNX graph without outputs".into())) } else { Ok(()) }
    }
}

/// What is declared of an input.
fn kind(info: &ValueInfoProto) -> Result<(Elem, Option<Vec<Extent>>), String> {
    let Some(type_proto::Value::TensorType(tensor)) = info.r#type.as_ref().and_then(|kind| kind.value.as_ref()) else {
        return Ok((Elem::Other("not a tensor".into()), None));
    };
    let elem = match DataType::try_from(tensor.elem_type()) {
        Ok(DataType::Float) => Elem::Float,
        Ok(DataType::Int64 | DataType::Int32 | DataType::Bool) => Elem::Integer,
        other => Elem::Other(elem(tensor.elem_type(), other.ok())),
    };
    let extent = |dim: &tensor_shape_proto::Dimension| match &dim.value {
        Some(tensor_shape_proto::dimension::Value::DimValue(value)) => Ok(Extent::Known(extents(&[*value])?[0])),
        Some(tensor_shape_proto::dimension::Value::DimParam(name)) if !name.is_empty() => {
            Ok(Extent::Named(name.clone()))
        }
        _ => Ok(Extent::Unknown),
    };
    let dims = tensor.shape.as_ref().map(|shape| shape.dim.iter().map(extent).collect::<Result<_, String>>());
    Ok((elem, dims.transpose()?))
}

/// The value of a Constant.
fn constant_of(node: &NodeProto) -> Result<Constant, String> {
    let mut attributes = Attributes::new(node)?;
    let a = &mut attributes;
    let found = if let Some(tensor) = a.tensor("value")? {
        constant(tensor)?
    } else if let Some(value) = a.float("value_float")? {
        Constant { dims: Vec::new(), values: Values::Floats(Arc::new([value])) }
    } else if let Some(value) = a.int("value_int")? {
        Constant { dims: Vec::new(), values: Values::Integers(Arc::new([value])) }
    } else if let Some(values) = a.floats("value_floats")? {
        Constant { dims: vec![values.len()], values: Values::Floats(values.into()) }
    } else if let Some(values) = a.ints("value_ints")? {
        Constant { dims: vec![values.len()], values: Values::Integers(values.into()) }
    } else {
        return Err("it has no attribute value, value_float, value_floats, value_int or value_ints".into());
    };
    attributes.finish()?;
    Ok(found)
}
