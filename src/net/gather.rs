//! Logits that the towers share: brought together on tower A for the loss, and their gradient handed back.
//!
//! Towers share the outputs of a last row with `on = "both"`. Where they do not divide, the last tower has outputs to
//! spare, which take part in nothing.

use super::build::Spread;
use super::lower::{Forward, NetLowering};
use crate::ops::strided;
use crate::program::{Home, Slot, Tower};

impl NetLowering<'_> {
    /// Whether the towers share the outputs of the last node.
    fn shares_logits(&self) -> bool {
        let towers = self.net.model.towers;
        towers > 1 && self.net.nodes.last().is_some_and(|node| node.spread == Spread::Shared)
    }

    /// Classes of each tower, and the first of them.
    fn shares(&self) -> Vec<(Tower, usize, usize)> {
        let (classes, last) = (self.net.classes(), self.net.nodes.last());
        let own = last.map_or(classes, |node| node.y.channels);
        (0..self.net.model.towers).map(|tower| (tower, own.min(classes - own * tower), own * tower)).collect()
    }

    /// The logits on tower A, `[classes][1][1][N]`.
    pub(super) fn logits(&mut self, forward: &Forward) -> Slot {
        // The graph's builder made sure that there is a last node, and that it lies on tower 0 unless it is shared.
        let parts = &forward.values[self.net.nodes.len() - 1];
        if !self.shares_logits() {
            return parts[&0];
        }
        let (images, classes) = (self.out.images, self.net.classes());
        let whole = self.r.map("logits", vec![classes, 1, 1, images], Home::Tower(0));
        for (tower, count, first) in self.shares() {
            let wire = self.wire(parts[&tower], 1.0);
            let part = self.r.copy(parts[&tower], 0, wire);
            self.rows(part, whole, [0, first], count, 1.0);
        }
        whole
    }

    /// The gradient of the logits on each tower that has some, in the shape of its outputs.
    pub(super) fn logit_gradients(&mut self, whole: Slot) -> Vec<(Tower, Slot)> {
        if !self.shares_logits() {
            return vec![(0, whole)];
        }
        let (images, node) = (self.out.images, &self.net.nodes[self.net.nodes.len() - 1]);
        let mut parts = Vec::new();
        for (tower, count, first) in self.shares() {
            let shape = vec![node.y.channels, 1, 1, images];
            let part = self.r.map(format!("{}.dy", self.site_name(node, tower)), shape, Home::Tower(0));
            self.rows(whole, part, [first, 0], count, 1.0);
            let spare = node.y.channels - count;
            if spare > 0 {
                self.rows(whole, part, [0, count], spare, 0.0);
            }
            let home = self.r.copy(part, tower, self.wire_of_gradients(part));
            parts.push((tower, home));
        }
        parts
    }

    /// Copies `factor` times `count` rows of N numbers, from one row of `x` on to another of `y`.
    pub(super) fn rows(&mut self, x: Slot, y: Slot, from_to: [usize; 2], count: usize, factor: f32) {
        let images = self.out.images;
        let mut axes = [[1, 0, 0]; strided::AXES];
        axes[strided::AXES - 2..].copy_from_slice(&[[count, images, images], [images, 1, 1]]);
        let shape = strided::Shape::new(axes, from_to.map(|row| row * images), factor);
        self.r.run(&strided::COPY, shape.params(), &[x, y]);
    }
}
