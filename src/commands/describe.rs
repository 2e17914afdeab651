//! A network in numbers: shapes, weights, multiply-adds, memory. Nothing here runs.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::CommandError;
use crate::backend::{BackendError, Limits};
use crate::checkpoint::{Checkpoint, State};
use crate::files::FileKind;
use crate::graph::{ConstantValues, Extent, Graph, GraphInput, ValueId};
use crate::interop::read_graph;
use crate::net::model::{BUILT_IN, Row};
use crate::net::{Job, LAYERS, Model, Net, PlacedLayer};
use crate::ops::conv;
use crate::ops::layer::WeightKind;
use crate::program::Pass;
use crate::session::layout::{Capacity, Layout, TrainingPlan};

/// A network and what it costs.
#[derive(Clone, Debug, Serialize)]
pub struct Description {
    /// One line about it.
    pub about: String,
    /// Towers that share it.
    pub towers: usize,
    /// Channels, height and width of the crop it sees.
    pub input: [usize; 3],
    /// Side of the stored image that the crop is cut from.
    pub stored: usize,
    /// Rows with their stages, in order.
    pub layers: Vec<LayerInfo>,
    /// Side of the maps after each convolution, then after the pooling behind the last: 55-27-13-13-13-6.
    pub maps: Vec<usize>,
    /// Count of trained numbers: weights and biases.
    pub parameters: u64,
    /// Outputs of layers with weights.
    pub neurons: u64,
    /// Multiply-adds for one image, forward.
    pub multiply_adds: u64,
    /// Floating-point operations of a training step, by image: forward, backward and the image's part of the update.
    pub training_flops: u64,
    /// How it lies on devices when it is trained.
    pub plan: TrainingPlan,
}

/// One layer over all towers.
#[derive(Clone, Debug, Serialize)]
pub struct LayerInfo {
    /// `conv1`, or with its stage `conv1.lrn`.
    pub name: String,
    /// What one tower's share of it is.
    pub what: String,
    /// `image`, `own` or `both`: which towers it reads; `all` where there is but one.
    pub sees: &'static str,
    /// Towers it lies on.
    pub towers: usize,
    /// Maps, height and width of its output on one tower.
    pub output: [usize; 3],
    /// Trained weights without biases.
    pub weights: u64,
    /// Count of trained biases.
    pub biases: u64,
    /// Multiply-adds for one image, forward.
    pub multiply_adds: u64,
    /// Outputs, where it has weights.
    pub neurons: u64,
}

/// What can be described.
pub enum Source {
    /// A network, built in or of a model file.
    Model(Box<Model>),
    /// The network of a checkpoint, and how far it was trained.
    Checkpoint {
        /// Network of the checkpoint.
        model: Box<Model>,
        /// How far it was trained.
        state: TrainedState,
    },
    /// A graph of operators.
    Graph(GraphDescription),
}

/// How far the network of a checkpoint was trained.
#[derive(Clone, Debug, Serialize)]
pub struct TrainedState {
    /// Steps that it was trained for.
    pub step: u64,
    /// Whole passes over the training images.
    pub epoch: usize,
    /// Best share of wrong validation images.
    pub best: Option<f64>,
    /// Seed of everything random.
    pub seed: u64,
    /// Names of the classes, in the order of the outputs.
    pub classes: Vec<String>,
}

/// A graph of operators in numbers.
#[derive(Clone, Debug, Serialize)]
pub struct GraphDescription {
    /// Names of the inputs, with their shapes as the file declares them: `[N, 3, 224, 224]`.
    pub inputs: Vec<(String, String)>,
    /// Names of the outputs.
    pub outputs: Vec<String>,
    /// Counts of the nodes by operator.
    pub operators: BTreeMap<String, usize>,
    /// Floats known before the network runs.
    pub parameters: u64,
    /// Further facts of the file, by name.
    pub metadata: BTreeMap<String, String>,
}

impl Source {
    /// What `name` stands for: a built-in network, a run folder, a checkpoint, which need not be whole unless `verify`,
    /// an ONNX file or a model file.
    pub fn of(name: &str, verify: bool) -> Result<Self, CommandError> {
        let path = Path::new(name);
        if BUILT_IN.iter().any(|(known, _)| *known == name) {
            return Ok(Self::Model(Box::new(Model::open(name)?)));
        }
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx")) {
            return Ok(Self::Graph(GraphDescription::of(&read_graph(path)?)));
        }
        let tensors = || [FileKind::Checkpoint, FileKind::Tensors].iter().any(|kind| kind.is_at(path));
        if !path.is_dir() && !tensors() {
            return Ok(Self::Model(Box::new(Model::open(name)?)));
        }
        let read = if verify { Checkpoint::read } else { Checkpoint::read_unverified };
        let Checkpoint { state, .. } = read(&Checkpoint::locate(path))?;
        let model = state.model(LAYERS).map_err(CommandError::within(path))?;
        let State { step, epoch, best, seed, classes, .. } = state;
        Ok(Self::Checkpoint { model: Box::new(model), state: TrainedState { step, epoch, best, seed, classes } })
    }
}

impl GraphDescription {
    fn of(graph: &Graph) -> Self {
        let name = |value: ValueId| graph.name(value).to_owned();
        let extent = |extent: &Extent| match extent {
            Extent::Known(extent) => extent.to_string(),
            Extent::Named(name) => name.clone(),
            Extent::Unknown => "?".into(),
        };
        let shape = |input: &GraphInput| match &input.dims {
            Some(dims) => format!("[{}]", dims.iter().map(extent).collect::<Vec<_>>().join(", ")),
            None => "of any shape".into(),
        };
        let mut operators = BTreeMap::new();
        graph.nodes.iter().for_each(|node| *operators.entry(node.operator.clone()).or_insert(0) += 1);
        let floats = graph.constants.values().filter(|constant| matches!(constant.values, ConstantValues::Floats(_)));
        Self {
            inputs: graph.inputs.iter().map(|input| (name(input.value), shape(input))).collect(),
            outputs: graph.outputs.iter().map(|&output| name(output)).collect(),
            operators,
            parameters: floats.map(|constant| constant.dims.iter().product::<usize>() as u64).sum(),
            metadata: graph.metadata.clone(),
        }
    }
}

impl Description {
    /// Of `net`, trained as `job` wants it on devices with these limits; on one without any where there are none.
    pub fn new(net: &Net, job: &Job, limits: &[Limits]) -> Result<Self, BackendError> {
        let largest = if limits.is_empty() { None } else { Capacity::new(net, job, limits) };
        let layout = Layout::new(net, job, &or_unbound(limits))?;
        let (program, images) = (&layout.lowered.program, layout.lowered.images);
        let gradients = program.flops(Pass::Gradients) / images as u64;
        let update = program.flops(Pass::Update) / job.minibatch as u64;
        let input = net.model.input;
        Ok(Self {
            about: net.model.about.clone(),
            towers: net.model.towers,
            input: [input.channels, input.size, input.size],
            stored: input.stored(),
            layers: net.nodes.iter().map(|node| layer(net, node)).collect(),
            maps: map_sides(net),
            parameters: net.parameters(),
            neurons: net.neurons(),
            multiply_adds: net.macs(),
            training_flops: gradients + update,
            plan: TrainingPlan {
                largest_micro_batch: largest.map(|most| most.images),
                ..TrainingPlan::new(&layout, job.minibatch)
            },
        })
    }
}

/// These limits, or where there are none those of one device that allows everything.
pub(super) fn or_unbound(limits: &[Limits]) -> Vec<Limits> {
    if limits.is_empty() { vec![Limits::unbound("one device")] } else { limits.to_vec() }
}

fn layer(net: &Net, node: &PlacedLayer) -> LayerInfo {
    let towers = net.towers_of(node).len();
    let trained = |bias: bool| -> u64 {
        let specs = node.layer.weights(&node.x);
        let specs = specs.iter().filter(|spec| (spec.kind == WeightKind::Bias) == bias);
        specs.map(|spec| (spec.shape.iter().product::<usize>() * towers) as u64).sum()
    };
    let sees = match (node.input, net.model.towers, node.x.len()) {
        (None, _, _) => "image",
        (Some(_), 1, _) => "all",
        (Some(_), _, 1) => "own",
        _ => "both",
    };
    let (weights, biases) = (trained(false), trained(true));
    LayerInfo {
        name: node.name.clone(),
        what: node.layer.describe(),
        sees,
        towers,
        output: [node.y.channels, node.y.height, node.y.width],
        weights,
        biases,
        multiply_adds: net.macs_of(node),
        neurons: if weights + biases > 0 { (node.y.count() * towers) as u64 } else { 0 },
    }
}

/// Maps are square, so one side says all.
fn map_sides(net: &Net) -> Vec<usize> {
    let node_of = |row: &Row| net.nodes.iter().rposition(|node| node.row() == row.name);
    let convolutions: Vec<&Row> = net.model.layers.iter().filter(|row| *row.head.kind == conv::KIND).collect();
    let mut sides: Vec<usize> = net
        .nodes
        .iter()
        .filter(|node| convolutions.iter().any(|row| row.name == node.name))
        .map(|node| node.y.height)
        .collect();
    // What the last convolution hands on, where pooling changed it.
    let last = convolutions.last().and_then(|row| node_of(row)).map(|index| net.nodes[index].y.height);
    sides.extend(last.filter(|side| sides.last() != Some(side)));
    sides
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Model, Options};

    fn describe(model: &str) -> Description {
        let net = Net::new(Model::open(model).unwrap()).unwrap();
        Description::new(&net, &Job::training(8), &[]).unwrap()
    }

    #[test]
    fn map_sizes_are_those_of_figure_2() {
        assert_eq!(describe("alexnet").maps, [55, 27, 13, 13, 13, 6]);
        assert_eq!(describe("mini").maps, [28, 14, 7, 7, 7, 3]);
    }

    #[test]
    fn layers_add_up_to_the_totals() {
        for (model, _) in crate::net::model::BUILT_IN {
            let described = describe(model);
            let sum = |count: fn(&LayerInfo) -> u64| described.layers.iter().map(count).sum::<u64>();
            assert_eq!(sum(|layer| layer.weights + layer.biases), described.parameters, "{model}");
            assert_eq!(sum(|layer| layer.neurons), described.neurons, "{model}");
            assert_eq!(sum(|layer| layer.multiply_adds), described.multiply_adds, "{model}");
            let footprint = &described.plan.devices[0].footprint;
            let parts = footprint.parts().into_iter().map(|(_, bytes)| bytes).sum::<u64>();
            assert_eq!((parts, footprint.total), (footprint.total, described.plan.total), "{model}");
            // Backward is twice forward, except that the image needs no gradient.
            assert!((4..=8).contains(&(described.training_flops / described.multiply_adds)), "{model}");
        }
    }

    /// The update comes once a minibatch, however it is computed.
    #[test]
    fn work_for_an_image_does_not_depend_on_micro_batches() {
        let net = Net::new(Model::open("alexnet").unwrap()).unwrap();
        let [whole, parts] = [None, Some(8)].map(|micro_batch| {
            Description::new(&net, &Job::training(128).with(Options { micro_batch, ..Options::DEFAULT }), &[])
                .unwrap()
                .training_flops
        });
        assert!(whole.abs_diff(parts) < whole / 1000, "{whole} and {parts}");
    }
}
