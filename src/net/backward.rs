//! The backward half of a lowering: from the gradient of the logits to the gradients of all weights.

use std::collections::HashMap;
use std::ops::Range;

use super::build::PlacedLayer;
use super::lower::{Forward, NetLowering};
use super::options::WireFormat;
use crate::kernel::Elem;
use crate::ops::activation::{self, Activation};
use crate::ops::binary;
use crate::ops::layer::{Chw, Saved, ThroughRelu};
use crate::program::{Home, Phase, Slot, Tower};

/// Slots that a node's backward pass reads on one tower.
struct Step {
    tower: Tower,
    name: String,
    x: Vec<(Slot, Chw)>,
    w: Vec<Slot>,
    dw: Vec<Option<Slot>>,
    y: (Slot, Chw),
    /// Whether a ReLU made its input, and the layer takes the gradient through it.
    relu: bool,
    /// The gradient by the output before the neuron.
    dz: Slot,
}

impl Step {
    fn saved(&self) -> Saved<'_> {
        Saved { x: &self.x, w: &self.w, dw: &self.dw, y: self.y, relu: self.relu, sum: None }
    }
}

/// Inputs whose gradients are recorded: other towers', or a tower's own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inputs {
    Others,
    Own,
}

/// Gradients of a value on a tower, each with the distance of the tower that sent it.
type Arrived = HashMap<(usize, Tower), Vec<(usize, Slot)>>;

impl NetLowering<'_> {
    /// All of `nodes` from the last to the first, from the gradients by the outputs of the last one on its towers to
    /// those by the inputs of the first. Gradients arriving at a value are kept in a fixed order, by the tower that
    /// sends them counted from the one that receives them.
    ///
    /// Of a node all towers' gradients by other towers' inputs come first: they leave for the other device at once, and
    /// the gradients of weights hide their way. Those by a tower's own inputs come last, to be added to what has
    /// arrived.
    ///
    /// What leads to no weights that are trained is left out.
    pub(super) fn backward_nodes(
        &mut self,
        nodes: Range<usize>,
        forward: &mut Forward,
        gradients: Vec<(Tower, Slot)>,
        accumulate: bool,
    ) -> Vec<(Tower, Slot)> {
        let net = self.net;
        let needs = net.needs_gradient();
        let parts = gradients.into_iter();
        let mut arrived: Arrived = parts.map(|(tower, part)| ((nodes.end - 1, tower), vec![(0, part)])).collect();
        for index in nodes.clone().rev() {
            let node = &net.nodes[index];
            self.r.label(node.row(), Phase::Backward);
            let towers = net.towers_of(node).into_iter();
            let mut gradients: Vec<_> =
                towers.filter_map(|tower| Some((tower, arrived.remove(&(index, tower))?))).collect();
            if let Some(units) = self.units(index) {
                self.own_gradients(index, &units, &mut gradients);
            }
            let (mut steps, input) = (Vec::new(), node.input.filter(|&input| needs[input]));
            for (tower, parts) in gradients {
                let step = self.step(forward, index, tower, parts);
                if let Some(input) = input {
                    self.inputs_of(node, input, &step, Inputs::Others, &mut arrived);
                }
                steps.push(step);
            }
            for step in &steps {
                let site = self.site(node, &step.name, step.tower, accumulate);
                node.layer.backward_weights(&mut self.r, &site, &step.saved(), step.dz);
            }
            if let Some(input) = input {
                for step in &steps {
                    self.inputs_of(node, input, step, Inputs::Own, &mut arrived);
                }
            }
        }
        let Some(before) = nodes.start.checked_sub(1) else { return Vec::new() };
        let node = &net.nodes[before];
        let mut sums = Vec::new();
        for tower in net.towers_of(node) {
            if let Some(parts) = arrived.remove(&(before, tower)) {
                sums.push((tower, self.sum(&self.site_name(node, tower), node.y, tower, parts)));
            }
        }
        sums
    }

    /// The gradient of a node's output as far as its neuron.
    fn step(&mut self, forward: &mut Forward, index: usize, tower: Tower, parts: Vec<(usize, Slot)>) -> Step {
        let node = &self.net.nodes[index];
        let name = self.site_name(node, tower);
        let dy = self.sum(&name, node.y, tower, parts);
        let w = self.operands(index, tower);
        let dw = self.trained(index, tower).map(|trained| trained.gradient).collect();
        let x = self.kept(forward, index, tower);
        let relu = node.input.is_some_and(|input| self.leaves_relu(input));
        let f = if self.leaves_relu(index) { Activation::Linear } else { self.activation(index) };
        let y = if f == Activation::Linear || self.units(index).is_some() {
            forward.own[&(index, tower)]
        } else {
            self.again(forward, index, tower)
        };
        let (y, site) = ((y, self.computed(index)), self.site(node, &name, tower, false));
        let dz = activation::backward(&mut self.r, &site, f, y, dy);
        Step { tower, name, x, w, dw, y, relu, dz }
    }

    /// The activation that a gradient by a node's output goes through first, taken from the output.
    fn activation(&self, index: usize) -> Activation {
        let node = &self.net.nodes[index];
        let keeps = node.layer.through_relu() == ThroughRelu::Kept && node.input.is_some_and(|i| self.leaves_relu(i));
        if keeps { Activation::Relu } else { node.layer.activation() }
    }

    /// Whether the gradient by a node's output has gone through the ReLU that made it where it arrives: in the layer
    /// behind, which the node alone feeds.
    fn leaves_relu(&self, index: usize) -> bool {
        let Some(behind) = self.net.nodes.get(index + 1) else { return false };
        // A rank's own units are not all that the layer behind reads, and what ranks send one another may be rounded.
        if self.activation(index) != Activation::Relu || [index, index + 1].iter().any(|&i| self.units(i).is_some()) {
            return false;
        }
        match (behind.layer.through_relu(), self.sources(behind, 0).len()) {
            (ThroughRelu::Apart, _) => false,
            (_, 1) => true,
            // The sum is taken through it where the second is added to the first; a copy is the value unless it is
            // packed.
            (_, 2) => self.adds(behind) && self.job.options.exchange == WireFormat::F32,
            _ => false,
        }
    }

    /// The gradients by some of a node's inputs, on their way to the towers of those.
    fn inputs_of(&mut self, node: &PlacedLayer, from: usize, step: &Step, which: Inputs, arrived: &mut Arrived) {
        let site = self.site(node, &step.name, step.tower, false);
        let towers = self.net.towers_of(node);
        for (distance, source) in self.sources(node, step.tower).into_iter().enumerate().rev() {
            if (distance == 0) != (which == Inputs::Own) {
                continue;
            }
            let there = arrived.entry((from, source)).or_default();
            let nearest = (0..there.len()).min_by_key(|&i| there[i].0).filter(|_| distance == 0 && self.adds(node));
            let sum = nearest.map(|i| there.remove(i).1);
            // A tower that has a gradient of its own takes the sum through the ReLU.
            let relu = step.relu && (distance == 0 || !towers.contains(&source));
            let saved = Saved { relu, sum, ..step.saved() };
            let dx = node.layer.backward_input(&mut self.r, &site, &saved, step.dz, distance);
            let home = self.r.copy(dx, source, self.wire_of_gradients(dx));
            arrived.entry((from, source)).or_default().push((distance, home));
        }
    }

    /// Whether the layer adds its gradients by inputs to others in its own kernels. Halves would be rounded less often.
    fn adds(&self, node: &PlacedLayer) -> bool {
        node.layer.through_relu() == ThroughRelu::Within && self.r.maps() == Elem::F32
    }

    /// What a node read in the forward pass; where that is cheap and asked for made again instead of kept.
    fn kept(&mut self, forward: &mut Forward, index: usize, tower: Tower) -> Vec<(Slot, Chw)> {
        let mut x = forward.read[&(index, tower)].clone();
        if let Some(input) = self.net.nodes[index].input {
            // A copy of another tower's is kept: to make it again there would be to send it again.
            if let Some((own, _)) = x.first_mut().filter(|(slot, _)| forward.values[input].get(&tower) == Some(slot)) {
                *own = self.again(forward, input, tower);
            }
        }
        x
    }

    /// The output of a node in the backward pass: made again if the node is cheap and that is asked for, else the kept
    /// one.
    fn again(&mut self, forward: &mut Forward, index: usize, tower: Tower) -> Slot {
        let node = &self.net.nodes[index];
        if !(self.job.options.recompute && node.layer.cheap()) || forward.given == Some(index) {
            return forward.values[index][&tower];
        }
        if let Some(&slot) = forward.again.get(&(index, tower)) {
            return slot;
        }
        let x = self.kept(forward, index, tower);
        let name = format!("{}.again", self.site_name(node, tower));
        let site = self.site(node, &name, tower, false);
        let slot = node.layer.forward(&mut self.r, &site, &x, &[], node.y, true);
        forward.again.insert((index, tower), slot);
        slot
    }

    /// The sum of gradients for one value, in the order of their distance.
    pub(super) fn sum(&mut self, name: &str, maps: Chw, tower: Tower, mut parts: Vec<(usize, Slot)>) -> Slot {
        parts.sort_by_key(|&(distance, _)| distance);
        let images = self.out.images;
        let shape = vec![maps.channels, maps.height, maps.width, images];
        let slots: Vec<Slot> = parts.into_iter().map(|(_, slot)| slot).collect();
        let mut total = slots[0];
        for (i, &part) in slots.iter().enumerate().skip(1) {
            let sum = self.r.map(format!("{name}.dy{i}"), shape.clone(), Home::Tower(tower));
            self.r.run(&binary::FORWARD, binary::Shape::sum(maps.count() * images), &[total, part, sum]);
            total = sum;
        }
        total
    }
}
