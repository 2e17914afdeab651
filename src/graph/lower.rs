//! Lowers a graph to a program. Every value is a tensor with a layout in some buffer; it is copied only where a kernel
//! wants another layout, and a change of shape alone copies nothing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::bind::Given;
use super::exported::recognise_exported;
use super::folding::fold_batch_norms;
use super::host::Integers;
use super::refusal::Refusal;
use super::shapes::AXES;
use super::storage::{Places, Storage, Tensor, Upload};
use super::{Constant, ConstantValues, Graph, GraphError, Node, Op, ValueId};
use crate::kernel::Elem;
use crate::ops::activation::Activation;
use crate::ops::strided;
use crate::program::{Home, Pass, Phase, Program, Recorder, Role, Slot, SlotInfo};

/// A graph as a program, with the slots through which the host talks to it.
#[derive(Clone, Debug)]
pub struct GraphProgram {
    /// The program, of one pass: [`Pass::Evaluate`].
    pub program: Program,
    /// Slots of the float inputs that a node reads, by name; the last axis innermost, as in files.
    pub inputs: BTreeMap<String, Slot>,
    /// Outputs of floats, in the order of the graph.
    pub outputs: Vec<GraphOutput>,
    /// Outputs of whole numbers, which are known already, in the order of the graph.
    pub known: Vec<KnownOutput>,
    /// Constants to write once, before the program runs.
    pub uploads: Vec<Upload>,
}

/// An output of a program.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphOutput {
    /// Name of the value.
    pub name: String,
    /// Extents, the last axis innermost.
    pub dims: Vec<usize>,
    /// The slot that holds it.
    pub slot: Slot,
}

/// An output of whole numbers or truth values.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownOutput {
    /// Name of the value.
    pub name: String,
    /// Extents, the last axis innermost.
    pub dims: Vec<usize>,
    /// Elements in row-major order.
    pub values: Arc<[i64]>,
}

/// Lowers `graph` for what is `given` for its inputs.
pub fn lower(graph: &Graph, given: &BTreeMap<String, Given>) -> Result<GraphProgram, GraphError> {
    let recognised = recognise_exported(graph);
    let folded = fold_batch_norms(&recognised);
    let graph = &*folded;
    let mut lowering = GraphLowering::new(graph);
    let mut inputs = lowering.bind(given)?;
    graph.outputs.iter().try_for_each(|&output| lowering.demand(output))?;
    lowering.r.label("output", Phase::Forward);
    let (mut outputs, mut known) = (Vec::new(), Vec::new());
    for &value in &graph.outputs {
        match lowering.values.get(&value) {
            Some(Value::Integers(Integers { dims, values })) => {
                let (name, dims) = (graph.name(value).to_owned(), dims.clone());
                known.push(KnownOutput { name, dims, values: Arc::clone(values) });
            }
            _ => outputs.push(lowering.output(value)?),
        }
    }
    lowering.r.drop_unread();
    let (program, mut uploads) = (lowering.r.finish(), lowering.uploads);
    // Slots that no command reads have no memory on the device.
    let touched = program.touched();
    inputs.retain(|_, slot| touched[slot.0]);
    uploads.retain(|upload| touched[upload.slot.0]);
    Ok(GraphProgram { program, inputs, outputs, known, uploads })
}

/// A value whose shape is known.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Floats in a buffer.
    Floats(Tensor),
    /// Whole numbers, known before the network runs.
    Integers(Integers),
    /// A value that nothing is computed with, described for messages.
    Other(String),
}

impl From<&Constant> for Value {
    fn from(constant: &Constant) -> Self {
        let dims = &constant.dims;
        match &constant.values {
            ConstantValues::Floats(_) if dims.len() > AXES => {
                Self::Other(format!("of {} axes, of which at most {AXES} are supported", dims.len()))
            }
            ConstantValues::Floats(values) => match Places::rows(dims) {
                Ok(places) => Self::Floats(Tensor { source: Storage::Host(Arc::clone(values)), places }),
                Err(reason) => Self::Other(format!("not supported ({reason})")),
            },
            ConstantValues::Integers(values) => {
                Self::Integers(Integers { dims: dims.clone(), values: Arc::clone(values) })
            }
            ConstantValues::Other(elem) => Self::Other(elem.clone()),
        }
    }
}

/// A program under construction, and the values that nodes have written so far.
pub(super) struct GraphLowering<'a> {
    pub(super) graph: &'a Graph,
    pub(super) r: Recorder,
    pub(super) values: HashMap<ValueId, Value>,
    /// Node that writes each value.
    pub(super) producers: HashMap<ValueId, usize>,
    uploads: Vec<Upload>,
    /// Activations that run in the epilogue of the kernel before them, by the value in between.
    epilogues: HashMap<ValueId, Activation>,
    /// A single zero, bound where a kernel has nothing to read.
    pub(super) zero: Arc<[f32]>,
    /// Elements of constants that nodes made of what the file says.
    made: usize,
}

/// The most elements of constants that nodes make, 256 MiB of them: a short file can ask for any number.
pub(super) const MADE: usize = 1 << 26;

/// The most runs of kernels: one node can take hundreds, and each takes memory before any runs.
pub(super) const COMMANDS: usize = 1 << 18;

/// Activations of the outputs of convolutions and products that no other node reads, by that output.
fn epilogues(graph: &Graph) -> HashMap<ValueId, Activation> {
    let contraction = |node: &&Node| matches!(node.op, Op::Conv { .. } | Op::Gemm { .. });
    let made: HashSet<ValueId> =
        graph.nodes.iter().filter(contraction).filter_map(|node| *node.outputs.first()?).collect();
    let mut readers: HashMap<ValueId, usize> = HashMap::new();
    let read = graph.nodes.iter().flat_map(|node| node.inputs.iter().flatten()).chain(&graph.outputs);
    read.for_each(|&value| *readers.entry(value).or_default() += 1);
    let alone = |value: &ValueId| made.contains(value) && readers.get(value) == Some(&1);
    let activation = |node: &Node| match node.op {
        Op::Relu => Some(((*node.inputs.first()?)?, Activation::Relu)),
        Op::Tanh => Some(((*node.inputs.first()?)?, Activation::Tanh)),
        _ => None,
    };
    graph.nodes.iter().filter_map(activation).filter(|(value, _)| alone(value)).collect()
}

impl<'a> GraphLowering<'a> {
    fn new(graph: &'a Graph) -> Self {
        let mut r = Recorder::new();
        r.begin(Pass::Evaluate);
        let values = graph.constants.iter().map(|(&value, constant)| (value, constant.into())).collect();
        let writes = |(index, node): (usize, &'a Node)| node.outputs.iter().flatten().map(move |&value| (value, index));
        let producers = graph.nodes.iter().enumerate().flat_map(writes).collect();
        let (epilogues, zero) = (epilogues(graph), Arc::new([0.0]));
        Self { graph, r, values, producers, uploads: Vec::new(), epilogues, zero, made: 0 }
    }

    /// Records what `value` needs: a node once all that it reads is there, so that of a choice only one side is
    /// computed.
    fn demand(&mut self, value: ValueId) -> Result<(), GraphError> {
        let (graph, mut wanted) = (self.graph, vec![value]);
        while let Some(&value) = wanted.last() {
            // An output that no node writes is refused where it is read.
            let producer = self.producers.get(&value).filter(|_| !self.values.contains_key(&value));
            let Some(node) = producer.map(|&index| &graph.nodes[index]) else {
                wanted.pop();
                continue;
            };
            let missing = self.missing(node);
            if missing.is_empty() {
                self.r.label(&node.name, Phase::Forward);
                let outputs = self.record(node).map_err(|refusal| node.refuse(refusal))?;
                if self.r.commands() > COMMANDS {
                    return Err(node.refuse(Refusal::Commands(self.r.commands())));
                }
                let further = || Value::Other(format!("a further output of node {} ({})", node.name, node.operator));
                let outputs = outputs.into_iter().chain(std::iter::repeat_with(further));
                let named = node.outputs.iter().zip(outputs).filter_map(|(value, output)| Some(((*value)?, output)));
                self.values.extend(named);
                wanted.pop();
            } else {
                wanted.extend(missing.into_iter().rev());
            }
        }
        Ok(())
    }

    /// Values that have to be there before `node` is recorded.
    fn missing(&self, node: &Node) -> Vec<ValueId> {
        let absent = |value: &ValueId| !self.values.contains_key(value) && self.producers.contains_key(value);
        if node.op == Op::Choose {
            let chosen = self.chosen(node).unwrap_or(0);
            return node.inputs.get(chosen).copied().flatten().filter(absent).into_iter().collect();
        }
        if let Some(response) = self.response(node) {
            let evidence = self.evidence(&response);
            if !evidence.is_empty() || self.confirmed(&response) {
                return evidence;
            }
        }
        node.inputs.iter().flatten().copied().filter(absent).collect()
    }

    /// The input that a choice takes; `None` while the condition is not known.
    fn chosen(&self, node: &Node) -> Option<usize> {
        let condition = node.inputs.first().copied().flatten()?;
        let Some(Value::Integers(condition)) = self.values.get(&condition) else { return None };
        condition.single().ok().map(|on| if on != 0 { 1 } else { 2 })
    }

    pub(super) fn slot(&mut self, name: &str, shape: &[usize], role: Role) -> Slot {
        let (name, shape) = (name.to_owned(), shape.to_vec());
        self.r.slot(SlotInfo { name, shape, elem: Elem::F32, home: Home::Tower(0), role })
    }

    /// Declares the slot of a node's output, laid out as `places`; the slot, and the output as a tensor.
    pub(super) fn map(&mut self, node: &Node, places: Places) -> (Slot, Tensor) {
        let slot = self.slot(&node.name, &[places.size], Role::Map);
        (slot, Tensor { source: Storage::Slot(slot), places })
    }

    /// Copies an output of the graph to a slot of its own, the last axis innermost.
    fn output(&mut self, value: ValueId) -> Result<GraphOutput, GraphError> {
        let name = self.graph.name(value);
        let refuse = |refusal: Refusal| refusal.about("output", name);
        let tensor = self.floats_of(value).map_err(refuse)?;
        let rows = Places::rows(tensor.dims()).map_err(refuse)?;
        let slot = self.slot(name, &rows.dims, Role::Output);
        self.copy(&tensor, slot, &rows, 1.0);
        Ok(GraphOutput { name: name.into(), dims: rows.dims, slot })
    }

    fn floats_of(&self, value: ValueId) -> Result<Tensor, Refusal> {
        let name = self.graph.name(value).to_owned();
        match self.values.get(&value) {
            Some(Value::Floats(tensor)) => Ok(tensor.clone()),
            Some(Value::Integers(..)) => Err(Refusal::WholeNumbers(name)),
            Some(Value::Other(found)) => Err(Refusal::NotFloats { name, found: found.clone() }),
            None => Err(Refusal::Unwritten(name)),
        }
    }

    /// Input `index` of a node as floats.
    pub(super) fn floats(&self, node: &Node, index: usize) -> Result<Tensor, Refusal> {
        self.optional(node, index)?.ok_or(Refusal::MissingInput(index))
    }

    /// Input `index` of a node as floats; `None` where it is left out.
    pub(super) fn optional(&self, node: &Node, index: usize) -> Result<Option<Tensor>, Refusal> {
        let value = node.inputs.get(index).copied().flatten();
        value.map(|value| self.floats_of(value)).transpose()
    }

    /// Input `index` of a node as whole numbers, known before the network runs; `None` where it is left out.
    pub(super) fn integers(&self, node: &Node, index: usize) -> Result<Option<Integers>, Refusal> {
        let Some(value) = node.inputs.get(index).copied().flatten() else { return Ok(None) };
        match self.values.get(&value) {
            Some(Value::Integers(integers)) => Ok(Some(integers.clone())),
            _ => Err(Refusal::NotConstant(self.graph.name(value).into())),
        }
    }

    /// Input `index` of a node, of any type.
    pub(super) fn value(&self, node: &Node, index: usize) -> Result<Value, Refusal> {
        let value = node.inputs.get(index).copied().flatten();
        value.and_then(|value| self.values.get(&value)).cloned().ok_or(Refusal::MissingInput(index))
    }

    /// The slot that holds `tensor` times `factor` in the layout `places`: its own slot where that is its layout.
    pub(super) fn place(&mut self, node: &Node, tensor: &Tensor, places: &Places, factor: f32) -> Slot {
        match &tensor.source {
            Storage::Slot(slot) if tensor.places == *places && factor == 1.0 => *slot,
            Storage::Host(values) if !tensor.places.repeats() => {
                self.upload(&node.name, values, &tensor.places, places, factor)
            }
            _ => {
                let slot = self.slot(&node.name, &[places.size], Role::Map);
                self.copy(tensor, slot, places, factor);
                slot
            }
        }
    }

    /// The slot of a constant; equal uploads share one.
    fn upload(&mut self, name: &str, values: &Arc<[f32]>, from: &Places, to: &Places, factor: f32) -> Slot {
        if let Some(upload) = self.uploads.iter().find(|upload| upload.is(values, from, to, factor)) {
            return upload.slot;
        }
        let slot = self.slot(name, &[to.size], Role::Weight);
        let (values, from, to) = (Arc::clone(values), from.clone(), to.clone());
        self.uploads.push(Upload { slot, values, from, to, factor });
        slot
    }

    /// Writes `tensor` times `factor` to `places` of `slot`, repeated where it has fewer axes or extents of 1.
    pub(super) fn copy(&mut self, tensor: &Tensor, slot: Slot, places: &Places, factor: f32) {
        let (from, tensor) = match &tensor.source {
            Storage::Slot(from) => (*from, tensor.places.clone()),
            Storage::Host(values) => {
                // Repeated elements are uploaded once and repeated on the device.
                let size = values.len();
                let whole = Places { first: 0, dims: vec![size], strides: vec![1], size };
                (self.upload("constant", values, &whole, &whole, 1.0), tensor.places.clone())
            }
        };
        let axes = tensor.dims.iter().zip(tensor.strides.iter().zip(&places.strides));
        let mut axes: Vec<[usize; 3]> = axes.map(|(&extent, (&a, &b))| [extent, a, b]).collect();
        axes.retain(|[extent, ..]| *extent > 1);
        axes.sort_by_key(|[.., b]| Reverse(*b));
        let mut padded = [[1, 0, 0]; AXES];
        padded[AXES - axes.len()..].copy_from_slice(&axes);
        let shape = strided::Shape::new(padded, [tensor.first, places.first], factor);
        self.r.run(&strided::COPY, shape.params(), &[from, slot]);
    }

    /// Allows for a constant of `elements` that a node makes, before it is there.
    pub(super) fn make_constant(&mut self, elements: usize) -> Result<(), Refusal> {
        self.made = self.made.saturating_add(elements);
        if self.made > MADE { Err(Refusal::Made(self.made)) } else { Ok(()) }
    }

    /// The activation that runs in the epilogue of `node`.
    pub(super) fn epilogue_of(&self, node: &Node) -> Activation {
        let value = node.outputs.first().copied().flatten();
        value.and_then(|value| self.epilogues.get(&value)).copied().unwrap_or_default()
    }

    /// Whether the activation `node` ran in the epilogue of the kernel before it.
    pub(super) fn ran_in_epilogue(&self, node: &Node) -> bool {
        node.inputs.first().copied().flatten().is_some_and(|value| self.epilogues.contains_key(&value))
    }

    /// The tensor under another shape, copied only where its layout forces it.
    pub(super) fn reshaped(&mut self, node: &Node, tensor: &Tensor, dims: &[usize]) -> Result<Tensor, Refusal> {
        if let Some(places) = tensor.places.reshaped(dims) {
            return Ok(tensor.with(places));
        }
        let (rows, places) = (Places::rows(tensor.dims())?, Places::rows(dims)?);
        let slot = self.place(node, tensor, &rows, 1.0);
        Ok(Tensor { source: Storage::Slot(slot), places })
    }

    /// The tensor repeated to `dims`, aligned at its last axes.
    pub(super) fn repeated(tensor: &Tensor, dims: &[usize]) -> Result<Tensor, Refusal> {
        let places = tensor.places.repeated(dims);
        let places = places.ok_or_else(|| Refusal::Repeat { from: tensor.dims().to_vec(), to: dims.to_vec() })?;
        Ok(tensor.with(places))
    }

    /// Records the commands of a node; its outputs in order.
    fn record(&mut self, node: &Node) -> Result<Vec<Value>, Refusal> {
        let one = |tensor: Result<Tensor, Refusal>| Ok(vec![Value::Floats(tensor?)]);
        let unused = |output: &str| Value::Other(format!("the {output} of node {} ({})", node.name, node.operator));
        match &node.op {
            Op::Conv { window, groups } => one(self.conv(node, window, *groups)),
            Op::Gemm { alpha, beta, transposed_a, transposed_b } => {
                one(self.gemm(node, [*alpha, *beta], [*transposed_a, *transposed_b]))
            }
            Op::MatMul => one(self.matmul(node)),
            Op::MaxPool(window) => Ok(vec![self.max_pool(node, window)?, unused("indices")]),
            Op::AveragePool { window, count_padding } => one(self.average_pool(node, window, *count_padding)),
            Op::GlobalPool { largest } => one(self.global_pool(node, *largest)),
            Op::Lrn { size, alpha, beta, k } => one(self.lrn(node, *size, *alpha, *beta, *k)),
            Op::Response { over, size, alpha, beta, k } => {
                one(self.respond_to(node, *over, *size, [*alpha, *beta, *k]))
            }
            Op::Relu => one(self.activation(node, Activation::Relu)),
            Op::Tanh => one(self.activation(node, Activation::Tanh)),
            Op::Binary { operation, axis } => Ok(vec![self.binary(node, *operation, *axis)?]),
            Op::Softmax { axis, flat, log } => one(self.softmax(node, *axis, *flat, *log)),
            Op::Concat { axis } => Ok(vec![self.concat(node, *axis)?]),
            Op::Split { axis, sizes, uneven } => self.split(node, *axis, sizes.as_deref(), *uneven),
            Op::Reshape { dims, zero } => Ok(vec![self.reshape(node, dims.as_deref(), *zero)?]),
            Op::Flatten { axis } => one(self.flatten(node, *axis)),
            Op::Dropout => Ok(vec![self.dropout(node)?, unused("mask")]),
            Op::Identity => Ok(vec![self.value(node, 0)?]),
            Op::BatchNorm { epsilon } => one(self.batch_norm(node, *epsilon)),
            Op::Function { function, settings } => Ok(vec![self.function(node, *function, *settings)?]),
            Op::Clip(bounds) => Ok(vec![self.clip(node, *bounds)?]),
            Op::Fold { operation, mean } => Ok(vec![self.fold(node, *operation, *mean)?]),
            Op::Normalise { over, epsilon, centred } => one(self.normalise_together(node, over, *epsilon, *centred)),
            Op::Resize { stretch, from, axes, scales, given } => {
                one(self.resize(node, (*stretch, *from), axes.as_deref(), scales.as_deref(), *given))
            }
            Op::Blocks { block, deeper, inner } => one(self.blocks(node, *block, *deeper, *inner)),
            Op::ConvTranspose { window, groups, further, extents } => {
                one(self.conv_transpose(node, window, *groups, [further.as_deref(), extents.as_deref()]))
            }
            Op::Pad { pads, mode, value } => one(self.pad(node, pads.as_deref(), *mode, *value)),
            Op::Reduce { to, axes, keep, nothing } => {
                Ok(vec![self.reduce(node, *to, axes.as_deref(), *keep, *nothing)?])
            }
            Op::Transpose { order } => Ok(vec![self.transpose(node, order.as_deref())?]),
            Op::Squeeze { axes, more } => Ok(vec![self.squeeze(node, axes.as_deref(), *more)?]),
            Op::Expand => Ok(vec![self.expand(node)?]),
            Op::Tile => Ok(vec![self.tile(node)?]),
            Op::GatherGrid => Ok(vec![self.gather_grid(node)?]),
            Op::Gather { axis } => Ok(vec![self.gather(node, *axis)?]),
            Op::Slice(stated) => Ok(vec![self.slice(node, stated.as_ref())?]),
            Op::Cast(to) => Ok(vec![self.cast(node, *to)?]),
            Op::Shape(range) => Ok(vec![self.shape(node, *range)?]),
            Op::Size => Ok(vec![self.size(node)?]),
            Op::ConstantOfShape(fill) => Ok(vec![self.constant_of_shape(node, fill)?]),
            Op::Range => Ok(vec![self.range(node)?]),
            Op::Compare(comparison) => Ok(vec![self.compare(node, *comparison)?]),
            Op::Not => Ok(vec![self.not(node)?]),
            Op::Remainder { truncated } => Ok(vec![self.remainder(node, *truncated)?]),
            Op::Where => Ok(vec![self.choose_each(node)?]),
            Op::Choose => match self.chosen(node) {
                Some(side) => Ok(vec![self.value(node, side)?]),
                None => Err(Refusal::Condition),
            },
        }
    }
}
