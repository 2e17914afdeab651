//! A network in numbers: shapes, weights, multiply-adds, memory. Nothing here runs.

use serde::Serialize;

use crate::backend::plan::Plan;
use crate::net::model::Row;
use crate::net::{Net, Node, lower};
use crate::ops::layer::WeightKind;
use crate::program::{Pass, Program, Role};

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
    /// Trained numbers.
    pub parameters: u64,
    /// Outputs of layers with weights.
    pub neurons: u64,
    /// Multiply-adds for one image, forward.
    pub multiply_adds: u64,
    /// Floating-point operations of a training step, by image: forward, backward and the image's part of the update.
    pub training_flops: u64,
    /// Memory to train it.
    pub memory: Memory,
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
    /// Trained biases.
    pub biases: u64,
    /// Multiply-adds for one image, forward.
    pub multiply_adds: u64,
    /// Outputs, where it has weights.
    pub neurons: u64,
}

/// Bytes that training with one batch allocates on a single device.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Memory {
    /// Images in the batch, a multiple of 8.
    pub batch: usize,
    /// Trained values.
    pub weights: u64,
    /// One for each trained value.
    pub momentum: u64,
    /// One for each trained value.
    pub gradients: u64,
    /// Activations and their gradients, memory shared among those that are not alive together.
    pub maps: u64,
    /// What the host writes and reads.
    pub input_output: u64,
    /// All of it.
    pub total: u64,
}

impl Description {
    /// Of `net`, trained with `batch` images at a time.
    #[must_use]
    pub fn new(net: &Net, batch: usize) -> Self {
        let lowered = lower(net, batch, true);
        let flops = lowered.program.flops(Pass::Gradients) + lowered.program.flops(Pass::Update);
        let input = net.model.input;
        Self {
            about: net.model.about.clone(),
            towers: net.model.towers,
            input: [input.channels, input.size, input.size],
            stored: input.stored(),
            layers: net.nodes.iter().map(|node| layer(net, node)).collect(),
            maps: map_sides(net),
            parameters: net.parameters(),
            neurons: net.neurons(),
            multiply_adds: net.macs(),
            training_flops: flops / lowered.images as u64,
            memory: memory(&lowered.program, lowered.images),
        }
    }
}

fn layer(net: &Net, node: &Node) -> LayerInfo {
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
        output: [node.y.maps, node.y.height, node.y.width],
        weights,
        biases,
        multiply_adds: net.macs_of(node),
        neurons: if weights + biases > 0 { (node.y.count() * towers) as u64 } else { 0 },
    }
}

/// Maps are square, so one side says all.
fn map_sides(net: &Net) -> Vec<usize> {
    let of = |row: &Row| net.nodes.iter().rposition(|node| node.name.split('.').next() == Some(&row.name));
    let convolutions: Vec<&Row> = net.model.layers.iter().filter(|row| row.conv.is_some()).collect();
    let mut sides: Vec<usize> = net
        .nodes
        .iter()
        .filter(|node| convolutions.iter().any(|row| row.name == node.name))
        .map(|node| node.y.height)
        .collect();
    // What the last convolution hands on, where pooling changed it.
    let last = convolutions.last().and_then(|row| of(row)).map(|index| net.nodes[index].y.height);
    sides.extend(last.filter(|side| sides.last() != Some(side)));
    sides
}

fn memory(program: &Program, batch: usize) -> Memory {
    let plan = Plan::new(program, u64::MAX);
    Memory {
        batch,
        weights: plan.bytes_of(Role::Weight),
        momentum: plan.bytes_of(Role::Momentum),
        gradients: plan.bytes_of(Role::Gradient),
        maps: plan.bytes_of(Role::Map),
        input_output: plan.bytes_of(Role::Input) + plan.bytes_of(Role::Output),
        total: plan.bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Model;

    fn describe(model: &str) -> Description {
        Description::new(&Net::new(Model::open(model).unwrap()).unwrap(), 8)
    }

    #[test]
    fn map_sizes_are_those_of_figure_2() {
        assert_eq!(describe("alexnet").maps, [55, 27, 13, 13, 13, 6]);
        assert_eq!(describe("mini").maps, [28, 14, 7, 7, 7, 3]);
    }

    #[test]
    fn layers_add_up_to_the_totals() {
        for (model, _) in crate::net::model::BUILT_IN {
            let it = describe(model);
            let sum = |of: fn(&LayerInfo) -> u64| it.layers.iter().map(of).sum::<u64>();
            assert_eq!(sum(|layer| layer.weights + layer.biases), it.parameters, "{model}");
            assert_eq!(sum(|layer| layer.neurons), it.neurons, "{model}");
            assert_eq!(sum(|layer| layer.multiply_adds), it.multiply_adds, "{model}");
            let m = it.memory;
            assert_eq!(m.weights + m.momentum + m.gradients + m.maps + m.input_output, m.total, "{model}");
            // Backward is twice forward, except that the image needs no gradient.
            assert!((4..=8).contains(&(it.training_flops / it.multiply_adds)), "{model}");
        }
    }
}
