//! From the bytes of a file to a graph.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::attributes::Attributes;
use super::error::{NodeError, OnnxError, ValueError};
use super::external::External;
use super::functions::Functions;
use super::operators::operation;
use super::proto::tensor_proto::DataType;
use super::proto::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto, tensor_shape_proto, type_proto,
};
use super::tensor::{constant, extents, type_name};
use crate::graph::{Constant, ConstantValues, ElementType, Extent, Graph, GraphInput, Node, Op, ValueId};
use crate::interop::wire::{ONNX, decode};

/// Versions of ONNX's own operators that are supported.
const VERSIONS: std::ops::RangeInclusive<i64> = 1..=28;

/// Parses an ONNX file without external data, with memory in proportion to it.
///
/// # Errors
/// When it is damaged, a value is missing or defined twice, nodes are in a circle, or one asks for what is not
/// supported; the message names node, operator and attribute. Nodes that no output needs are passed over.
pub fn parse(bytes: &[u8]) -> Result<Graph, OnnxError> {
    graph(bytes, External::default())
}

/// Parses the `bytes` of the ONNX file at `path`, whose constants can be in further files of its folder.
///
/// # Errors
/// As [`parse`], and when such a file cannot be read or is outside the folder.
pub fn read(bytes: &[u8], path: &Path) -> Result<Graph, OnnxError> {
    graph(bytes, External::beside(path))
}

fn graph(bytes: &[u8], external: External) -> Result<Graph, OnnxError> {
    let mut model: ModelProto = decode(bytes, &ONNX)?;
    let version = version(&model.opset_import)?.ok_or(OnnxError::NoVersion)?;
    let mut graph = model.graph.take().ok_or(OnnxError::NoGraph)?;
    let functions = Functions::new(&model.functions, bytes.len() as u64);
    let mut parser = Parser { version, external, functions, ..Parser::default() };
    parser.constants(&mut graph)?;
    parser.inputs(&graph)?;
    let computed = graph.node.iter().flat_map(|node| &node.output).map(String::as_str).collect();
    parser.nodes(&graph.node, graph.output.iter().map(ValueInfoProto::name), &computed)?;
    parser.outputs(&graph)?;
    let entries = model.metadata_props.iter().map(|entry| (entry.key().to_owned(), entry.value().to_owned()));
    parser.graph.metadata = entries.collect();
    Ok(parser.graph)
}

/// Version of ONNX's own operators among the `sets` that a graph or a function imports; `None` where it imports none.
pub(super) fn version(sets: &[OperatorSetIdProto]) -> Result<Option<i64>, OnnxError> {
    let (first, last) = VERSIONS.into_inner();
    match sets.iter().find(|set| standard(set.domain())).map(OperatorSetIdProto::version) {
        Some(found) if !VERSIONS.contains(&found) => Err(OnnxError::Version { found, first, last }),
        found => Ok(found),
    }
}

/// For each node, whether one of the `outputs` needs it, and the names that such nodes and outputs read. A node without
/// any output is kept, to be refused.
fn needed<'n>(nodes: &'n [NodeProto], outputs: impl Iterator<Item = &'n str>) -> (Vec<bool>, HashSet<&'n str>) {
    let mut read: HashSet<&str> = outputs.collect();
    let mut needed = vec![false; nodes.len()];
    for (node, needed) in nodes.iter().zip(&mut needed).rev() {
        *needed =
            node.output.iter().all(String::is_empty) || node.output.iter().any(|output| read.contains(&output[..]));
        if *needed {
            reads(node, &mut read);
        }
    }
    (needed, read)
}

/// Adds the names that a node reads, in its branches too.
fn reads<'n>(node: &'n NodeProto, names: &mut HashSet<&'n str>) {
    names.extend(node.input.iter().map(String::as_str));
    for branch in node.attribute.iter().filter_map(|attribute| attribute.g.as_ref()) {
        names.extend(branch.output.iter().map(ValueInfoProto::name));
        branch.node.iter().for_each(|node| reads(node, names));
    }
}

/// Whether `domain` is that of ONNX's own operators.
fn standard(domain: &str) -> bool {
    ["", "ai.onnx"].contains(&domain)
}

/// Refusal of value `name`, which is a `what`.
fn refuse(what: &'static str, name: &str) -> impl FnOnce(ValueError) -> OnnxError {
    let name = name.to_owned();
    move |reason| OnnxError::Value { what, name, reason }
}

#[derive(Default)]
pub(super) struct Parser<'m> {
    /// Version of ONNX's own operators.
    pub(super) version: i64,
    external: External,
    pub(super) functions: Functions<'m>,
    graph: Graph,
    /// Values that are defined, by their names.
    pub(super) values: HashMap<String, ValueId>,
}

impl Parser<'_> {
    fn define(&mut self, what: &'static str, name: &str) -> Result<ValueId, OnnxError> {
        let value = ValueId(self.graph.names.len());
        if name.is_empty() {
            return Err(refuse(what, name)(ValueError::Unnamed));
        }
        if self.values.insert(name.into(), value).is_some() {
            return Err(refuse(what, name)(ValueError::Defined));
        }
        self.graph.names.push(name.into());
        Ok(value)
    }

    fn constants(&mut self, graph: &mut GraphProto) -> Result<(), OnnxError> {
        if let Some(sparse) = graph.sparse_initializer.first() {
            let name = sparse.values.as_ref().map_or("", TensorProto::name);
            return Err(refuse("initializer", name)(ValueError::Sparse));
        }
        let initializers = std::mem::take(&mut graph.initializer);
        let (_, read) = needed(&graph.node, graph.output.iter().map(ValueInfoProto::name));
        // Each message is dropped once its elements are converted: they are most of a file.
        for tensor in initializers {
            let value = self.define("initializer", tensor.name())?;
            if !read.contains(tensor.name()) {
                continue;
            }
            let name = tensor.name().to_owned();
            let constant = constant(tensor, &mut self.external).map_err(refuse("initializer", &name))?;
            self.graph.constants.insert(value, constant);
        }
        Ok(())
    }

    /// Defines the inputs, but for those that are initializers.
    fn inputs(&mut self, graph: &GraphProto) -> Result<(), OnnxError> {
        let constants = self.values.len();
        for info in &graph.input {
            if self.values.get(info.name()).is_some_and(|value| value.0 < constants) {
                continue;
            }
            let value = self.define("input", info.name())?;
            let (elem, dims) = declaration(info).map_err(refuse("input", info.name()))?;
            self.graph.inputs.push(GraphInput { value, elem, dims });
        }
        Ok(())
    }

    /// Adds a node; `computed` are the outputs of all nodes.
    fn node(&mut self, node: &NodeProto, computed: &HashSet<&str>) -> Result<(), OnnxError> {
        let first = node.output.iter().find(|output| !output.is_empty());
        let name = Some(node.name()).filter(|name| !name.is_empty()).or(first.map(String::as_str)).unwrap_or("?");
        let refuse = |reason| OnnxError::Node { node: name.into(), operator: node.op_type().into(), reason };
        if let Some(function) = self.functions.called_by(node) {
            return self.call(node, name, function, computed);
        }
        if !standard(node.domain()) {
            return Err(refuse(NodeError::Domain(node.domain().into())));
        }
        if first.is_none() {
            return Err(refuse(NodeError::NoOutput));
        }
        if node.op_type() == "Constant" {
            let constant = constant_of(node, self.version, &mut self.external).map_err(refuse)?;
            let value = self.define("constant", &node.output[0])?;
            self.graph.constants.insert(value, constant);
            return Ok(());
        }
        if node.op_type() == "If" {
            return self.choice(node, name, computed);
        }
        let op = operation(node, self.version).map_err(refuse)?;
        let inputs = self.operands(node, computed).map_err(refuse)?;
        let outputs = self.results(node)?;
        self.push(node, name, op, inputs, outputs);
        Ok(())
    }

    /// Adds an operation under the names of `node`.
    pub(super) fn push(
        &mut self,
        node: &NodeProto,
        name: &str,
        op: Op,
        inputs: Vec<Option<ValueId>>,
        outputs: Vec<Option<ValueId>>,
    ) {
        let (name, operator) = (name.to_owned(), node.op_type().to_owned());
        self.graph.nodes.push(Node { name, operator, op, inputs, outputs });
    }

    /// Values that a node reads.
    pub(super) fn operands(
        &self,
        node: &NodeProto,
        computed: &HashSet<&str>,
    ) -> Result<Vec<Option<ValueId>>, NodeError> {
        let read = |input: &String| match self.values.get(input) {
            _ if input.is_empty() => Ok(None),
            Some(&value) => Ok(Some(value)),
            None if computed.contains(input.as_str()) => Err(NodeError::Later(input.clone())),
            None => Err(NodeError::Undefined(input.clone())),
        };
        node.input.iter().map(read).collect()
    }

    /// Adds those of `nodes` that `outputs` need.
    pub(super) fn nodes<'n>(
        &mut self,
        nodes: &'n [NodeProto],
        outputs: impl Iterator<Item = &'n str>,
        computed: &HashSet<&str>,
    ) -> Result<(), OnnxError> {
        for (node, needed) in nodes.iter().zip(needed(nodes, outputs).0) {
            if needed { self.node(node, computed)? } else { self.results(node).map(drop)? }
        }
        Ok(())
    }

    /// Adds both branches of an If and, for each of its outputs, the choice between theirs.
    fn choice(&mut self, node: &NodeProto, name: &str, computed: &HashSet<&str>) -> Result<(), OnnxError> {
        let refuse = |reason| OnnxError::Node { node: name.into(), operator: node.op_type().into(), reason };
        let mut attributes = Attributes::new(node, self.version).map_err(refuse)?;
        let branches = ["then_branch", "else_branch"].map(|name| attributes.graph(name));
        let [yes, no] = branches.map(|branch| branch.map_err(refuse));
        let (yes, no) = (yes?, no?);
        attributes.finish().map_err(refuse)?;
        let condition = node.input.first().and_then(|input| self.values.get(input)).copied();
        let condition = condition.filter(|_| node.input.len() == 1);
        let condition = condition.ok_or_else(|| refuse(NodeError::Undefined(node.input.join(", "))))?;
        let (yes, no) = (self.branch(yes, computed)?, self.branch(no, computed)?);
        if [yes.len(), no.len()] != [node.output.len(); 2] {
            return Err(refuse(NodeError::Branches(node.output.len())));
        }
        for ((output, yes), no) in self.results(node)?.into_iter().zip(yes).zip(no) {
            let inputs = vec![Some(condition), Some(yes), Some(no)];
            self.push(node, name, Op::Choose, inputs, vec![output]);
        }
        Ok(())
    }

    /// Adds the nodes of a branch, which reads values around it; its outputs. Its names end with it.
    fn branch(&mut self, graph: &GraphProto, computed: &HashSet<&str>) -> Result<Vec<ValueId>, OnnxError> {
        let (first, mut graph) = (self.graph.names.len(), graph.clone());
        self.constants(&mut graph)?;
        self.nodes(&graph.node, graph.output.iter().map(ValueInfoProto::name), computed)?;
        let output = |info: &ValueInfoProto| {
            let value = self.values.get(info.name()).copied();
            value.ok_or_else(|| refuse("output", info.name())(ValueError::Undefined))
        };
        let outputs = graph.output.iter().map(output).collect();
        for name in &self.graph.names[first..] {
            // Names inside a function can be those of values around the branch.
            if self.values.get(name).is_some_and(|value| value.0 >= first) {
                self.values.remove(name);
            }
        }
        outputs
    }

    /// Defines the outputs of a node.
    pub(super) fn results(&mut self, node: &NodeProto) -> Result<Vec<Option<ValueId>>, OnnxError> {
        let result = |output: &String| {
            let given = !output.is_empty();
            if given { self.define("output of a node", output).map(Some) } else { Ok(None) }
        };
        node.output.iter().map(result).collect()
    }

    fn outputs(&mut self, graph: &GraphProto) -> Result<(), OnnxError> {
        for info in &graph.output {
            let reason = match self.values.get(info.name()) {
                None => ValueError::Undefined,
                Some(value) if self.graph.outputs.contains(value) => ValueError::Listed,
                Some(&value) => {
                    self.graph.outputs.push(value);
                    continue;
                }
            };
            return Err(refuse("output", info.name())(reason));
        }
        if graph.output.is_empty() { Err(OnnxError::NoOutputs) } else { Ok(()) }
    }
}

/// Type of the elements of an input, and its extents where they are declared.
fn declaration(info: &ValueInfoProto) -> Result<(ElementType, Option<Vec<Extent>>), ValueError> {
    let Some(type_proto::Value::TensorType(tensor)) = info.r#type.as_ref().and_then(|kind| kind.value.as_ref()) else {
        return Ok((ElementType::Other("not a tensor".into()), None));
    };
    let elem = match DataType::try_from(tensor.elem_type()) {
        Ok(DataType::Float) => ElementType::Float,
        Ok(DataType::Int64 | DataType::Int32 | DataType::Bool) => ElementType::Integer,
        other => ElementType::Other(type_name(tensor.elem_type(), other.ok())),
    };
    let extent = |dim: &tensor_shape_proto::Dimension| match &dim.value {
        // Some exporters write -1 for any extent.
        Some(tensor_shape_proto::dimension::Value::DimValue(-1)) => Ok(Extent::Unknown),
        Some(tensor_shape_proto::dimension::Value::DimValue(value)) => Ok(Extent::Known(extents(&[*value])?[0])),
        Some(tensor_shape_proto::dimension::Value::DimParam(name)) if !name.is_empty() => {
            Ok(Extent::Named(name.clone()))
        }
        _ => Ok(Extent::Unknown),
    };
    let dims = tensor.shape.as_ref().map(|shape| shape.dim.iter().map(extent).collect::<Result<_, ValueError>>());
    Ok((elem, dims.transpose()?))
}

fn constant_of(node: &NodeProto, version: i64, external: &mut External) -> Result<Constant, NodeError> {
    let mut a = Attributes::new(node, version)?;
    let found = if let Some(tensor) = a.tensor("value")? {
        constant(tensor.clone(), external)?
    } else if let Some(value) = a.float("value_float")? {
        Constant { dims: Vec::new(), values: ConstantValues::Floats(Arc::new([value])) }
    } else if let Some(value) = a.int("value_int")? {
        Constant { dims: Vec::new(), values: ConstantValues::Integers(Arc::new([value])) }
    } else if let Some(values) = a.floats("value_floats")? {
        Constant { dims: vec![values.len()], values: ConstantValues::Floats(values.into()) }
    } else if let Some(values) = a.ints("value_ints")? {
        Constant { dims: vec![values.len()], values: ConstantValues::Integers(values.into()) }
    } else {
        return Err(NodeError::NoValue);
    };
    a.finish()?;
    Ok(found)
}
