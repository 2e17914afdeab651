//! The hybrid of data and model parallelism over ranks ("One weird trick", 2014): every rank computes the convolutions
//! of its own images, and its units of the fully connected layers behind them for the images of all ranks, one rank's
//! after the other's.
//!
//! What crosses between ranks: the maps in front of the fully connected layers, and back the gradients by them; outputs
//! of each of those layers, and back the gradients by them. Of a tower's N units rank r of R has those from ⌊N r / R⌋
//! on. The stages between fully connected layers are cheap, and every rank computes all of them. On the way back a rank
//! has only the part of a gradient that its own units give: these are added up where the next layer's units need their
//! sum.

use std::ops::Range;

use super::build::{Net, PlacedLayer};
use super::lower::{Forward, NetLowering, Values};
use super::{NetError, RowError};
use crate::kernel::Elem;
use crate::ops::layer::Chw;
use crate::ops::{fc, softmax, step};
use crate::program::{Across, Home, Pass, Phase, Role, Slot, SlotInfo, Tower};
use crate::tensor::share_of_rows;

/// Slots by which the images of one rank are known in the layers that all ranks share.
#[derive(Clone, Copy, Debug)]
pub struct RankSlots {
    /// Labels of the images, `[N]`.
    pub labels: Slot,
    /// Words of the step, with the images' places in the minibatch.
    pub step: Slot,
}

impl Net {
    /// Index of the first node of the fully connected layers that end the network; the number of nodes where a layer of
    /// another kind does.
    pub fn tail(&self) -> usize {
        let rows = self.model.layers.iter().rev().take_while(|row| *row.head.kind == fc::KIND);
        let first = rows.last().map(|row| row.name.as_str());
        self.nodes.iter().position(|node| Some(node.row()) == first).unwrap_or(self.nodes.len())
    }

    /// Refuses a network whose fully connected layers `ranks` ranks cannot share.
    pub fn expect_hybrid(&self, ranks: usize) -> Result<(), NetError> {
        let tail = self.tail();
        let refuse = |layer: &PlacedLayer, error| Err(NetError::Row { layer: layer.name.clone(), error });
        match &self.nodes[..] {
            [.., last] if tail == self.nodes.len() => refuse(last, RowError::NoTail),
            [first, ..] if tail == 0 => refuse(first, RowError::NoMaps),
            nodes => match nodes[tail..].iter().find(|node| node.y.channels < ranks && has_weights(node)) {
                Some(few) => refuse(few, RowError::FewUnits { units: few.y.channels, ranks }),
                None => Ok(()),
            },
        }
    }
}

/// Whether a node has units with weights of their own.
fn has_weights(node: &PlacedLayer) -> bool {
    !node.layer.weights(&node.x).is_empty()
}

impl NetLowering<'_> {
    /// Whether ranks share the fully connected layers.
    pub(super) fn is_hybrid(&self) -> bool {
        self.job.is_hybrid()
    }

    /// First node of the layers that ranks share.
    pub(super) fn first_shared(&self) -> usize {
        if self.is_hybrid() { self.net.tail() } else { self.net.nodes.len() }
    }

    /// The units of a node that this rank computes on each tower; `None` where that is all of it.
    pub(super) fn units(&self, index: usize) -> Option<Range<usize>> {
        let node = &self.net.nodes[index];
        let shared = index >= self.first_shared() && has_weights(node);
        shared.then(|| share_of_rows(node.y.channels, self.job.rank, self.job.ranks))
    }

    /// Declares the slots of every rank's images.
    pub(super) fn declare_ranks(&mut self) {
        let own = RankSlots { labels: self.out.labels, step: self.out.step };
        let ranks = if self.is_hybrid() { self.job.ranks } else { 1 };
        for rank in 0..ranks {
            if !self.is_hybrid() || rank == self.job.rank {
                self.out.ranks.push(own);
                continue;
            }
            let images = self.out.images;
            let mut slot = |name: &str, count: usize, home| {
                let name = format!("{name} of rank {rank}");
                self.r.slot(SlotInfo { name, shape: vec![count], elem: Elem::U32, home, role: Role::Input })
            };
            let labels = slot("labels", images, Home::Tower(0));
            let step = slot("step", step::COUNT, Home::Every);
            self.out.ranks.push(RankSlots { labels, step });
        }
    }

    /// Puts all units of a node's outputs in the place of those that this rank has computed.
    pub(super) fn gather(&mut self, index: usize, values: &mut Values) {
        let node = &self.net.nodes[index];
        for tower in self.net.towers_of(node) {
            let (name, rows) = (self.site_name(node, tower), node.y.channels);
            let all = self.features(&format!("{name}.y of all"), rows, tower);
            let own = values.insert(tower, all);
            self.r.across(Across::Gather { rows }, rows * self.out.images, own, Some(all));
        }
    }

    /// Puts the gradients by this rank's units of a node in the place of those by all units, of which every rank has a
    /// part; all of it behind the last of the layers.
    pub(super) fn own_gradients(
        &mut self,
        index: usize,
        units: &Range<usize>,
        gradients: &mut [(Tower, Vec<(usize, Slot)>)],
    ) {
        let node = &self.net.nodes[index];
        let is_last = !self.net.nodes[index + 1..].iter().any(has_weights);
        for (tower, parts) in gradients {
            let (name, rows) = (self.site_name(node, *tower), node.y.channels);
            let dy = self.sum(&name, node.y, *tower, std::mem::take(parts));
            let own = self.features(&format!("{name}.dy of own"), units.len(), *tower);
            if is_last {
                self.rows(dy, own, [units.start, 0], units.len(), 1.0);
            } else {
                self.r.across(Across::Scatter { rows }, rows * self.out.images, Some(dy), Some(own));
            }
            parts.push((0, own));
        }
    }

    fn features(&mut self, name: &str, count: usize, tower: Tower) -> Slot {
        let shape = vec![count, 1, 1, self.out.images];
        self.r.map(name, shape, Home::Tower(tower))
    }

    /// The layers that ranks share, for the images of all ranks: forward, and in training loss and backward. Gives the
    /// gradients by the maps in front of them, of this rank's images.
    pub(super) fn shared(&mut self, pass: Pass, own: &Forward) -> Vec<(Tower, Slot)> {
        let (first, ranks, training) = (self.first_shared(), self.job.ranks, pass != Pass::Evaluate);
        let mut gradients = Vec::new();
        let mut next = Some(self.maps_of(0, own));
        for rank in 0..ranks {
            // The next rank's maps are on their way while these are computed.
            let maps = next.take().unwrap_or_default();
            next = (rank + 1 < ranks).then(|| self.maps_of(rank + 1, own));
            let mut forward = Forward { values: own.values.clone(), given: Some(first - 1), ..Forward::default() };
            forward.values[first - 1] = maps;
            self.step = self.out.ranks[rank].step;
            self.forward_nodes(first..self.net.nodes.len(), &mut forward, None, training);
            if rank == self.job.rank {
                self.loss(pass, &forward);
            }
            if training {
                let dlogits = self.loss_gradient(rank, &forward);
                let accumulate = pass == Pass::Accumulate || rank > 0;
                let dlogits = self.logit_gradients(dlogits);
                let parts = self.backward_nodes(first..self.net.nodes.len(), &mut forward, dlogits, accumulate);
                let sums = self.reduce(rank, parts);
                gradients.extend(sums);
            }
            self.step = self.out.step;
        }
        gradients
    }

    /// The maps in front of the shared layers, of a rank's images.
    fn maps_of(&mut self, rank: usize, own: &Forward) -> Values {
        let index = self.first_shared() - 1;
        let node = &self.net.nodes[index];
        self.r.label(node.row(), Phase::Forward);
        let mut values = Values::new();
        for tower in self.net.towers_of(node) {
            let from = own.values[index][&tower];
            let info = self.r.info(from).clone();
            let name = format!("{} of rank {rank}", info.name);
            let to = self.r.map(name, info.shape.clone(), info.home);
            let has = (rank == self.job.rank).then_some(from);
            self.r.across(Across::Broadcast { from: rank }, info.count(), has, Some(to));
            values.insert(tower, to);
        }
        values
    }

    /// Adds up all ranks' parts of the gradients by a rank's maps there; nothing on the others.
    fn reduce(&mut self, rank: usize, parts: Vec<(Tower, Slot)>) -> Vec<(Tower, Slot)> {
        let mut sums = Vec::new();
        for (tower, part) in parts {
            let info = self.r.info(part).clone();
            let own = (rank == self.job.rank).then(|| {
                let name = format!("{} of all", info.name);
                self.r.map(name, info.shape.clone(), info.home)
            });
            self.r.across(Across::Reduce { to: rank }, info.count(), Some(part), own);
            sums.extend(own.map(|own| (tower, own)));
        }
        sums
    }

    /// The gradient of the loss by the logits of a rank's images.
    fn loss_gradient(&mut self, rank: usize, forward: &Forward) -> Slot {
        let RankSlots { labels, step } = self.out.ranks[rank];
        let (classes, images) = (self.net.classes(), self.out.images);
        let mut probabilities = self.out.probabilities;
        if rank != self.job.rank {
            let logits = self.logits(forward);
            probabilities = self.r.floats("probabilities", vec![classes, images], Home::Tower(0));
            let shape = softmax::Shape { classes, images, log: false, finite: true };
            self.r.run(&softmax::FORWARD, shape.params(), &[logits, probabilities]);
        }
        self.dlogits(probabilities, labels, step)
    }

    /// The shape of a node's output as far as this rank computes it.
    pub(super) fn computed(&self, index: usize) -> Chw {
        self.units(index).map_or(self.net.nodes[index].y, |units| Chw::flat(units.len()))
    }
}
