//! From rows to a graph of layers with every shape known, still without a device.

use std::collections::BTreeSet;

use super::model::{Model, Row, Sees};
use super::stage::Stage;
use super::{NetError, RowError};
use crate::ops::activation::Activation;
use crate::ops::kind::{Head, Place};
use crate::ops::layer::{Chw, Layer, WeightKind};
use crate::program::Tower;

/// Most filters or neurons of a layer: far more than any network has, few enough that no product overflows.
const MOST_OUTPUTS: usize = 1 << 20;

/// Most numbers in one image's maps or one layer's weights.
const MOST_NUMBERS: usize = 1 << 32;

/// Suffixes that name the weights or the biases of a row.
pub(super) const WEIGHTS: &str = ".weights";
pub(super) const BIAS: &str = ".bias";

/// The place of a last row whose outputs the towers share.
const BOTH: &str = "both";

/// Spread of a value over the towers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// All of it on every tower: the input images.
    Whole,
    /// Every tower has its share.
    Shared,
    /// All of it on one tower.
    One(Tower),
}

/// Tensors of a layer that are not trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frozen {
    /// Whether its weights stay as they are.
    pub weights: bool,
    /// Whether its biases do.
    pub biases: bool,
}

impl Frozen {
    /// Whether a tensor of this kind stays as it is.
    pub fn holds(self, kind: WeightKind) -> bool {
        if kind == WeightKind::Bias { self.biases } else { self.weights }
    }
}

/// A layer in its place.
#[derive(Debug)]
pub struct PlacedLayer {
    /// The row it comes from, with the stage behind a dot for what follows: `conv1`, `conv1.lrn`.
    pub name: String,
    /// One tower's share of it.
    pub layer: Box<dyn Layer>,
    /// The node it reads; `None` for the input images.
    pub input: Option<usize>,
    /// Towers whose maps it reads.
    pub sees: Sees,
    /// Spread of its output over the towers.
    pub spread: Spread,
    /// Shapes of its inputs on one tower, own first.
    pub x: Vec<Chw>,
    /// Shape of its output on one tower.
    pub y: Chw,
    /// Weight decay λ of the tensor.
    pub decay: f32,
    /// Which of its tensors stay as they are.
    pub frozen: Frozen,
}

impl PlacedLayer {
    /// The row of the model it comes from.
    pub fn row(&self) -> &str {
        self.name.split('.').next().unwrap_or(&self.name)
    }

    /// Whether it has weights that are trained.
    pub fn trains(&self) -> bool {
        self.layer.weights(&self.x).iter().any(|spec| !self.frozen.holds(spec.kind))
    }
}

/// A network: nodes in topological order, the last one the logits.
#[derive(Debug)]
pub struct Net {
    /// The text it was built from.
    pub model: Model,
    /// Layers in the order of the forward pass.
    pub nodes: Vec<PlacedLayer>,
}

impl Net {
    /// Builds the graph of `model`.
    ///
    /// # Errors
    /// When a row does not fit; the message names it.
    pub fn new(model: Model) -> Result<Self, NetError> {
        Builder::new(model)?.build()
    }

    /// Leaves the tensors of these rows as they are, and trains all others; `conv1.weights` and `conv1.bias` are some
    /// of a row's.
    pub fn freeze(&mut self, rows: &BTreeSet<String>) -> Result<(), NetError> {
        let known: Vec<&str> = self.model.layers.iter().map(|row| row.name.as_str()).collect();
        let row = |name: &str| name.strip_suffix(WEIGHTS).or(name.strip_suffix(BIAS)).unwrap_or(name).to_owned();
        if let Some(unknown) = rows.iter().find(|name| !known.contains(&row(name).as_str())) {
            return Err(NetError::Row { layer: unknown.clone(), error: RowError::NotFrozen(known.join(", ")) });
        }
        for node in &mut self.nodes {
            let held = |part: &str| rows.contains(node.row()) || rows.contains(&format!("{}{part}", node.row()));
            node.frozen = Frozen { weights: held(WEIGHTS), biases: held(BIAS) };
        }
        Ok(())
    }

    /// For every node whether a gradient by its output leads to weights that are trained, its own or below it.
    pub fn needs_gradient(&self) -> Vec<bool> {
        let mut needs: Vec<bool> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let below = node.input.is_some_and(|input| needs[input]);
            needs.push(below || node.trains());
        }
        needs
    }

    /// Classes, the outputs of the last layer.
    pub fn classes(&self) -> usize {
        self.model.layers.last().map_or(0, Row::outputs)
    }

    /// Towers on which a node's output lies.
    pub fn towers_of(&self, node: &PlacedLayer) -> Vec<Tower> {
        match node.spread {
            Spread::One(tower) => vec![tower],
            Spread::Whole | Spread::Shared => (0..self.model.towers).collect(),
        }
    }

    /// Trained numbers of one node on all towers.
    pub fn parameters_of(&self, node: &PlacedLayer) -> u64 {
        let specs = node.layer.weights(&node.x);
        let each: u64 = specs.iter().map(|spec| spec.shape.iter().product::<usize>() as u64).sum();
        each * self.towers_of(node).len() as u64
    }

    /// Count of trained numbers: weights and biases of all towers.
    pub fn parameters(&self) -> u64 {
        self.nodes.iter().map(|node| self.parameters_of(node)).sum()
    }

    /// Neurons: outputs of layers with weights, as Figure 2 of the paper counts them.
    pub fn neurons(&self) -> u64 {
        let weighted = self.nodes.iter().filter(|node| !node.layer.weights(&node.x).is_empty());
        weighted.map(|node| (node.y.count() * self.towers_of(node).len()) as u64).sum()
    }

    /// Multiply-adds of one node for one image, forward, on all towers.
    pub fn macs_of(&self, node: &PlacedLayer) -> u64 {
        node.layer.macs(&node.x, node.y) * self.towers_of(node).len() as u64
    }

    /// Multiply-adds for one image, forward.
    pub fn macs(&self) -> u64 {
        self.nodes.iter().map(|node| self.macs_of(node)).sum()
    }
}

struct Builder {
    model: Model,
    nodes: Vec<PlacedLayer>,
}

impl Builder {
    fn new(model: Model) -> Result<Self, NetError> {
        model.check()?;
        Ok(Self { model, nodes: Vec::new() })
    }

    fn build(mut self) -> Result<Net, NetError> {
        let rows = self.model.layers.clone();
        self.rates_are_of(&rows)?;
        for (index, row) in rows.iter().enumerate() {
            let last = index + 1 == rows.len();
            if rows[..index].iter().any(|other| other.name == row.name) {
                return Err(refuse(row, RowError::Twice));
            }
            if row.name.is_empty() || row.name.contains(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
                return Err(refuse(row, RowError::Name));
            }
            self.row(row, last)?;
        }
        let towers = self.model.towers;
        match self.nodes.last() {
            None => Err(NetError::Empty),
            Some(node) if node.spread == Spread::Shared && towers > 1 && rows[rows.len() - 1].on.is_none() => {
                Err(NetError::Row { layer: node.name.clone(), error: RowError::Last })
            }
            Some(_) => Ok(Net { model: self.model, nodes: self.nodes }),
        }
    }

    /// Checks that the training defaults speak of rows that there are.
    fn rates_are_of(&self, rows: &[Row]) -> Result<(), NetError> {
        let train = &self.model.train;
        let mut rated = train.layers.keys().map(String::as_str).chain(train.schedule.layers());
        match rated.find(|name| rows.iter().all(|row| row.name != *name)) {
            None => Ok(()),
            Some(unknown) => Err(NetError::Row { layer: unknown.into(), error: RowError::NotRated }),
        }
    }

    fn row(&mut self, row: &Row, last: bool) -> Result<(), NetError> {
        let ends_in_softmax = row.then.last().is_some_and(Stage::is_loss);
        if ends_in_softmax != last || row.then.iter().rev().skip(1).any(Stage::is_loss) {
            return Err(refuse(row, RowError::Softmax));
        }
        let spread = match row.on.as_deref() {
            None => Spread::Shared,
            Some("a") => Spread::One(0),
            Some(BOTH) if last => Spread::Shared,
            Some(other) => return Err(refuse(row, RowError::Tower(other.into()))),
        };
        let (activation, stages) = match row.then.split_first() {
            Some((first, rest)) if first.epilogue() != Activation::Linear => (first.epilogue(), rest),
            _ => (Activation::Linear, &row.then[..]),
        };
        let layer = self.weighted(row, activation, spread)?;
        self.push(row, row.name.clone(), layer, row.sees, spread)?;
        for stage in stages {
            // Softmax is left to the lowering, which puts it behind the last node.
            if let Place::Stage { build, .. } = stage.kind.place {
                let layer = self.model.settings(stage).and_then(|settings| build(&settings));
                let layer = layer.map_err(|error| NetError::Layer { layer: row.name.clone(), error })?;
                let name = self.unique(format!("{}.{}", row.name, stage.name()));
                self.push(row, name, layer, Sees::Own, spread)?;
            }
        }
        Ok(())
    }

    /// The layer with weights of a row: its share for one tower.
    fn weighted(&self, row: &Row, activation: Activation, spread: Spread) -> Result<Box<dyn Layer>, NetError> {
        let towers = if spread == Spread::Shared { self.model.towers } else { 1 };
        let share = |whole: usize| match whole {
            0 => Err(refuse(row, RowError::NoOutputs)),
            whole if whole > MOST_OUTPUTS => Err(refuse(row, RowError::Outputs(whole, MOST_OUTPUTS))),
            whole if whole.is_multiple_of(towers) => Ok(whole / towers),
            // The lowering leaves out what the last tower has to spare.
            whole if row.on.is_some() && whole.div_ceil(towers) * (towers - 1) < whole => Ok(whole.div_ceil(towers)),
            whole => Err(refuse(row, RowError::Divide(whole, towers))),
        };
        let (weights, bias) = (row.weights, row.bias);
        let Place::Head { build, .. } = row.head.kind.place else {
            return Err(refuse(row, RowError::NoWeights(row.head.name())));
        };
        let head = Head { outputs: share(row.outputs())?, activation, weights, bias };
        let layer = self.model.settings(&row.head).and_then(|settings| build(&settings, head));
        layer.map_err(|error| NetError::Layer { layer: row.name.clone(), error })
    }

    fn push(
        &mut self,
        row: &Row,
        name: String,
        layer: Box<dyn Layer>,
        sees: Sees,
        spread: Spread,
    ) -> Result<(), NetError> {
        let input = self.nodes.len().checked_sub(1);
        let size = self.model.input.size;
        let image = Chw { channels: self.model.input.channels, height: size, width: size };
        let (maps, from) = input.map_or((image, Spread::Whole), |i| (self.nodes[i].y, self.nodes[i].spread));
        let x = match (from, sees, spread) {
            (Spread::Shared, Sees::Both, _) => vec![maps; self.model.towers],
            (Spread::Shared, Sees::Own, Spread::One(_)) if self.model.towers > 1 => {
                return Err(refuse(row, RowError::OneTower));
            }
            (Spread::One(tower), _, spread) if spread != Spread::One(tower) && self.model.towers > 1 => {
                return Err(refuse(row, RowError::Behind));
            }
            _ => vec![maps],
        };
        if layer.groups() > 1
            && self.model.towers > 1
            && (x.len() > 1 || (from, spread) == (Spread::Whole, Spread::Shared))
        {
            return Err(refuse(row, RowError::Groups));
        }
        let y = layer.output(&x).map_err(|error| NetError::Layer { layer: name.clone(), error })?;
        if y.count() > MOST_NUMBERS || x.iter().map(Chw::count).sum::<usize>() * y.channels > MOST_NUMBERS {
            return Err(refuse(row, RowError::TooLarge { x: x[0], y }));
        }
        let decay = row.decay.unwrap_or(self.model.train.decay);
        self.nodes.push(PlacedLayer { name, layer, input, sees, spread, x, y, decay, frozen: Frozen::default() });
        Ok(())
    }

    /// A second stage of one kind in a row gets a number.
    fn unique(&self, name: String) -> String {
        let taken = |name: &str| self.nodes.iter().any(|node| node.name == name);
        let numbered = (2..).map(|i| format!("{name}{i}"));
        std::iter::once(name.clone()).chain(numbered).find(|name| !taken(name)).unwrap_or(name)
    }
}

fn refuse(row: &Row, error: RowError) -> NetError {
    NetError::Row { layer: row.name.clone(), error }
}
