//! A network as an ONNX graph of standard operators: whole layers over all towers, maps `[N][C][H][W]`, the towers' behind
//! each other. A layer whose towers see only their own maps is a grouped convolution; normalisation inside a tower
//! stands between a split and a concatenation. Dropout is a factor of the weights behind it, as in [`crate::interop::wholes`].
//!
//! Windows that hang over the edge are written as padding behind the maps, which leaves nothing to how a reader rounds.

mod messages;

use std::collections::BTreeMap;

use prost::Message as _;

use self::messages::{Attribute, node, shaped, weights};
use super::metadata;
use super::proto::{GraphProto, ModelProto, OperatorSetIdProto, StringStringEntryProto};
use crate::interop::{InteropError, Names, Naming, wholes};
use crate::net::model::{Conv, Lrn, Pool, Row};
use crate::net::{Net, Node, Spread, Stage};
use crate::tensor::Tensor;

/// Version of the operators, and of the format that came with it.
const OPERATORS: i64 = 17;
const FORMAT: i64 = 8;

/// The names of what goes in, `[N][3][size][size]`, and of what comes out, `[N][classes]`.
pub const INPUT: &str = "images";
/// See [`INPUT`].
pub const OUTPUT: &str = "probabilities";

/// How images become inputs, and what outputs stand for.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// Means of red, green and blue of 0 to 255.
    pub mean: [f32; 3],
    /// Names of the classes, a JSON list.
    pub classes: String,
}

/// Most bytes of a protobuf file.
const LARGEST: usize = i32::MAX as usize;

/// The bytes of a file with the network and weights that `part` finds by their names in `net`.
///
/// # Errors
/// When a weight is missing or has another shape, a dropout's share cannot go into the weights behind it, or the file
/// would be larger than protobuf allows.
pub fn write<'t>(net: &Net, part: impl Fn(&str) -> Option<&'t Tensor>, facts: &Facts) -> Result<Vec<u8>, InteropError> {
    let mut writer = Writer { net, graph: GraphProto::default(), value: INPUT.into(), flat: false };
    for whole in wholes(net, &Naming::new(&net.model, Names::Caffe))? {
        let tensor = whole.join(&part, crate::interop::Quantity::Weights)?;
        writer.graph.initializer.push(weights(&whole.name, tensor.shape(), tensor.values()));
    }
    writer.layers();
    let (size, classes) = (net.model.input.size as i64, net.classes() as i64);
    writer.graph.name = Some(net.model.about.clone());
    writer.graph.input = vec![shaped(INPUT, &[3, size, size])];
    writer.graph.output = vec![shaped(OUTPUT, &[classes])];
    let model = ModelProto {
        ir_version: Some(FORMAT),
        producer_name: Some(env!("CARGO_PKG_NAME").into()),
        producer_version: Some(env!("CARGO_PKG_VERSION").into()),
        graph: Some(writer.graph),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(OPERATORS) }],
        metadata_props: properties(net, facts),
    };
    match model.encoded_len() {
        bytes if bytes > LARGEST => Err(InteropError::Large { bytes, most: LARGEST }),
        _ => Ok(model.encode_to_vec()),
    }
}

fn properties(net: &Net, facts: &Facts) -> Vec<StringStringEntryProto> {
    let colours = |values: [f32; 3]| values.map(|value| value.to_string()).join(",");
    let input = &net.model.input;
    let entries = BTreeMap::from([
        (metadata::MEAN, colours(facts.mean)),
        (metadata::SCALE, colours(input.scale)),
        (metadata::STORED_SIZE, input.stored().to_string()),
        (metadata::CLASSES, facts.classes.clone()),
    ]);
    let entry = |(key, value): (&str, String)| StringStringEntryProto { key: Some(key.into()), value: Some(value) };
    entries.into_iter().map(entry).collect()
}

struct Writer<'n> {
    net: &'n Net,
    graph: GraphProto,
    /// The name of the last value, and whether it is `[N][features]` instead of maps.
    value: String,
    flat: bool,
}

/// Pixels from one window to the next, and of padding before and behind the maps.
#[derive(Clone, Copy)]
struct Windows {
    size: usize,
    stride: usize,
    before: usize,
    /// Down and across.
    behind: [usize; 2],
}

impl Windows {
    /// Those of `node`: as much padding behind as the last window needs.
    fn new(node: &Node, [size, stride, before]: [usize; 3]) -> Self {
        let (x, y) = (node.x[0], node.y);
        let behind = |x: usize, y: usize| ((y - 1) * stride + size).saturating_sub(x + before);
        Self { size, stride, before, behind: [behind(x.height, y.height), behind(x.width, y.width)] }
    }

    fn attributes(self) -> Vec<Attribute> {
        let [size, stride, before, below, right] =
            [self.size, self.stride, self.before, self.behind[0], self.behind[1]].map(|pixels| pixels as i64);
        vec![
            Attribute::ints("kernel_shape", &[size, size]),
            Attribute::ints("strides", &[stride, stride]),
            Attribute::ints("pads", &[before, before, below, right]),
        ]
    }
}

impl Writer<'_> {
    fn layers(&mut self) {
        let net = self.net;
        let mut nodes = net.nodes.iter();
        for row in &net.model.layers {
            let Some(node) = nodes.next() else { return };
            self.weighted(row, node);
            let mut stages = row.then.iter();
            if let Some(stage @ (Stage::Relu | Stage::Tanh)) = row.then.first() {
                // Part of the node, which has no other name for it.
                self.neuron(&format!("{}.{}", node.name, stage.name()), *stage);
                stages.next();
            }
            for stage in stages {
                match stage {
                    Stage::Softmax => self.softmax(),
                    stage => nodes.next().into_iter().for_each(|node| self.stage(*stage, node)),
                }
            }
        }
    }

    /// Adds a node that reads the last value and is the next one.
    fn push(&mut self, op: &str, name: &str, further: &[&str], attributes: Vec<Attribute>) {
        let inputs: Vec<&str> = std::iter::once(self.value.as_str()).chain(further.iter().copied()).collect();
        self.graph.node.push(node(op, &inputs, &[name], attributes));
        self.value = name.into();
    }

    fn weighted(&mut self, row: &Row, node: &Node) {
        let [weights, bias] = ["weight", "bias"].map(|suffix| format!("{}.{suffix}", row.name));
        let shared = node.input.is_some_and(|input| self.net.nodes[input].spread == Spread::Shared);
        let groups = if shared && node.x.len() == 1 { self.net.towers_of(node).len() } else { 1 };
        let x = node.x[0];
        match row.conv {
            Some(Conv { size, stride, pad, .. }) => {
                self.maps(&node.name);
                let mut attributes = Windows::new(node, [size, stride, pad]).attributes();
                attributes.push(Attribute::int("group", groups as i64));
                self.push("Conv", &node.name, &[&weights, &bias], attributes);
            }
            None if groups == 1 => {
                self.features(&node.name);
                self.push("Gemm", &node.name, &[&weights, &bias], vec![Attribute::int("transB", 1)]);
            }
            None => {
                // Towers apart: a convolution whose windows are the maps.
                self.maps(&node.name);
                let window = [x.height, x.width].map(|extent| extent as i64);
                if let Some(tensor) = self.graph.initializer.iter_mut().find(|tensor| tensor.name() == weights) {
                    tensor.dims.splice(1.., [&[x.maps as i64], &window[..]].concat());
                }
                let attributes = vec![Attribute::ints("kernel_shape", &window), Attribute::int("group", groups as i64)];
                self.push("Conv", &node.name, &[&weights, &bias], attributes);
            }
        }
    }

    fn neuron(&mut self, name: &str, stage: Stage) {
        self.push(if stage == Stage::Tanh { "Tanh" } else { "Relu" }, name, &[], Vec::new());
    }

    fn stage(&mut self, stage: Stage, node: &Node) {
        match stage {
            Stage::Relu | Stage::Tanh => self.neuron(&node.name, stage),
            Stage::Pool(own) => self.pool("MaxPool", node, own),
            Stage::AveragePool(own) => self.pool("AveragePool", node, own),
            Stage::Lrn(own) => self.lrn(node, own),
            Stage::LrnSpatial(own) => self.lrn_spatial(node, own),
            Stage::Dropout(_) | Stage::Softmax => (),
        }
    }

    fn pool(&mut self, op: &str, node: &Node, own: Option<Pool>) {
        let Some(Pool { size, stride, pad }) = own.or(self.net.model.pool) else { return };
        self.maps(&node.name);
        self.push(op, &node.name, &[], Windows::new(node, [size, stride, pad]).attributes());
    }

    /// Normalisation across maps. ONNX divides alpha by the size of the window, and knows odd ones only.
    fn lrn(&mut self, node: &Node, own: Option<Lrn>) {
        let Some(lrn) = own.or(self.net.model.lrn) else { return };
        let (name, maps, towers) = (&node.name, node.x[0].maps, self.net.towers_of(node).len());
        self.maps(name);
        if lrn.size.is_multiple_of(2) {
            // Which output sums over which map of its tower.
            let sums =
                |(i, j): (usize, usize)| (i.saturating_sub(lrn.size / 2)..i + lrn.size - lrn.size / 2).contains(&j);
            let filter = |i: usize| (0..maps).map(move |j| (i % maps, j));
            let filters = (0..towers * maps).flat_map(filter).map(|at| if sums(at) { lrn.alpha } else { 0.0 });
            return self.divide(name, lrn, [towers * maps, maps, 1, 1], &filters.collect::<Vec<_>>(), towers, [0, 0]);
        }
        let attributes = || {
            vec![
                Attribute::int("size", lrn.size as i64),
                Attribute::float("alpha", (f64::from(lrn.alpha) * lrn.size as f64) as f32),
                Attribute::float("beta", lrn.beta),
                Attribute::float("bias", lrn.k),
            ]
        };
        if towers == 1 {
            return self.push("LRN", name, &[], attributes());
        }
        let parts = |what: &str| (0..towers).map(|tower| format!("{name}.{what}.{tower}")).collect::<Vec<_>>();
        let (split, normal) = (parts("split"), parts("part"));
        let [split, normal]: [Vec<&str>; 2] = [&split, &normal].map(|names| names.iter().map(String::as_str).collect());
        self.graph.node.push(messages::node("Split", &[&self.value], &split, vec![Attribute::int("axis", 1)]));
        for (from, to) in split.iter().zip(&normal) {
            self.graph.node.push(messages::node("LRN", &[from], &[to], attributes()));
        }
        self.graph.node.push(messages::node("Concat", &normal, &[name], vec![Attribute::int("axis", 1)]));
        self.value.clone_from(name);
    }

    /// Normalisation within maps, which ONNX has no operator for.
    fn lrn_spatial(&mut self, node: &Node, own: Option<Lrn>) {
        let Some(lrn) = own.or(self.net.model.lrn) else { return };
        let maps = node.x[0].maps * self.net.towers_of(node).len();
        self.maps(&node.name);
        let (size, before) = (lrn.size, lrn.size / 2);
        let filters = vec![lrn.alpha; maps * size * size];
        self.divide(&node.name, lrn, [maps, 1, size, size], &filters, maps, [before, size - 1 - before]);
    }

    /// x s^-beta, where s is k and a convolution of x²: how a sum over any neighbours is written exactly.
    fn divide(
        &mut self,
        name: &str,
        lrn: Lrn,
        shape: [usize; 4],
        filters: &[f32],
        groups: usize,
        [before, behind]: [usize; 2],
    ) {
        let x = self.value.clone();
        let [sum, bias, exponent] = ["alpha", "k", "exponent"].map(|suffix| format!("{name}.{suffix}"));
        self.graph.initializer.push(weights(&sum, &shape, filters));
        self.graph.initializer.push(weights(&bias, &[shape[0]], &vec![lrn.k; shape[0]]));
        self.graph.initializer.push(weights(&exponent, &[], &[-lrn.beta]));
        let [before, behind] = [before, behind].map(|pixels| pixels as i64);
        let attributes =
            vec![Attribute::ints("pads", &[before, before, behind, behind]), Attribute::int("group", groups as i64)];
        self.push("Mul", &format!("{name}.squares"), &[&x], Vec::new());
        self.push("Conv", &format!("{name}.sums"), &[&sum, &bias], attributes);
        self.push("Pow", &format!("{name}.scale"), &[&exponent], Vec::new());
        self.push("Mul", name, &[&x], Vec::new());
    }

    /// Makes features maps of one pixel.
    fn maps(&mut self, before: &str) {
        if self.flat {
            let shape = format!("{before}.maps.shape");
            self.graph.initializer.push(messages::whole_numbers(&shape, &[0, -1, 1, 1]));
            self.push("Reshape", &format!("{before}.maps"), &[&shape], Vec::new());
        }
        self.flat = false;
    }

    /// Makes maps features, in the order C·H·W.
    fn features(&mut self, before: &str) {
        if !self.flat {
            self.push("Flatten", &format!("{before}.features"), &[], vec![Attribute::int("axis", 1)]);
        }
        self.flat = true;
    }

    fn softmax(&mut self) {
        self.features(OUTPUT);
        self.push("Softmax", OUTPUT, &[], vec![Attribute::int("axis", 1)]);
    }
}
