//! From a graph to a program: forward, loss and backward over any number of towers, and the optimiser's update.
//!
//! A node that sees its own tower reads one slot; one that sees both reads its own first and then copies of the
//! others', so that work on local data can hide the transfer (the original's order). Backward, the gradient for a
//! foreign slot is copied home and added there, own tower's first: the order is the program's, not the devices'.

use std::collections::HashMap;
use std::ops::Range;

use super::build::{Net, PlacedLayer, Spread};
use super::hybrid::RankSlots;
use super::model::Sees;
use super::options::{Job, Precision, WireFormat};
use super::source::ImageSource;
use super::trained::{Cut, Trained, Updated};
use crate::kernel::Elem;
use crate::ops::layer::{Chw, Site, WeightKind};
use crate::ops::{half, health, loss_scale, optimizer, round, softmax, step};
use crate::program::{Home, Pass, Phase, Program, Recorder, Role, Slot, SlotInfo, Tower, Wire, letter};

/// A network as a program, with the slots through which the host talks to it.
#[derive(Clone, Debug)]
pub struct NetProgram {
    /// Recorded commands and slots.
    pub program: Program,
    /// N: images in a batch, a multiple of 8.
    pub images: usize,
    /// Slots of the images.
    pub source: ImageSource,
    /// Labels of the images, `[N]`; [`crate::tensor::NO_LABEL`] for none.
    pub labels: Slot,
    /// Words that change every step ([`crate::ops::step`]).
    pub step: Slot,
    /// Slots of the images of every rank whose fully connected layers this one computes a part of; this one's alone
    /// where ranks share none.
    pub ranks: Vec<RankSlots>,
    /// Class scores before softmax, of the evaluating and the training pass.
    pub logits: Vec<(Pass, Slot)>,
    /// Probabilities of the classes, `[classes][N]`.
    pub probabilities: Slot,
    /// Loss of each image in nats, `[N]`.
    pub loss: Slot,
    /// Top-1 error of each image, `[N]`: 1 where the best class is not the label.
    pub top1: Slot,
    /// Top-5 error of each image, `[N]`: 1 where the five best classes do not include the label.
    pub top5: Slot,
    /// Health of the loss, `[2]`: whether one was not finite, and at which step first; only where the program trains.
    pub health: Option<Slot>,
    /// Trained tensors, in the order of the network.
    pub trained: Vec<Trained>,
    /// The same where the program trains them, as the optimiser updates them.
    pub updated: Vec<Updated>,
    /// Outputs of the layers in the evaluating pass, where they were asked for.
    pub features: Vec<Feature>,
}

/// Output of a layer.
#[derive(Clone, Debug)]
pub struct Feature {
    /// Name of the layer, as in listings: `conv1.lrn`.
    pub name: String,
    /// Slots of its maps, `[channels][height][width][N]`, one for each of its towers.
    pub parts: Vec<Slot>,
}

/// Lowers `net` for a job.
pub fn lower(net: &Net, job: &Job) -> NetProgram {
    let mut lowering = NetLowering::new(net, *job);
    if job.training {
        lowering.gradients(Pass::Gradients);
        if job.share() > job.images() {
            lowering.gradients(Pass::Accumulate);
        }
        lowering.update();
    }
    lowering.evaluate();
    lowering.finish()
}

/// A value on the towers where it lies.
pub(super) type Values = HashMap<Tower, Slot>;

pub(super) struct NetLowering<'a> {
    pub(super) net: &'a Net,
    pub(super) job: Job,
    pub(super) r: Recorder,
    pub(super) out: NetProgram,
    /// Words of the step of the images that are computed.
    pub(super) step: Slot,
    /// For every node and tower, indices into `out.trained`.
    weights: HashMap<(usize, Tower), Vec<usize>>,
}

/// One recorded forward pass.
#[derive(Default)]
pub(super) struct Forward {
    /// Outputs of all nodes.
    pub(super) values: Vec<Values>,
    /// Slots that each node read on each tower.
    pub(super) read: HashMap<(usize, Tower), Vec<(Slot, Chw)>>,
    /// Outputs that the backward pass has made again.
    pub(super) again: HashMap<(usize, Tower), Slot>,
    /// This rank's units of the nodes that ranks share.
    pub(super) own: HashMap<(usize, Tower), Slot>,
    /// A node whose outputs came from elsewhere and cannot be made again.
    pub(super) given: Option<usize>,
}

impl<'a> NetLowering<'a> {
    fn new(net: &'a Net, job: Job) -> Self {
        let Job { training, floats, .. } = job;
        let images = job.images();
        let mut r = Recorder::storing(if job.options.precision == Precision::Mixed { Elem::F16 } else { Elem::F32 });
        let source = ImageSource::declare(&mut r, net, images, floats);
        let classes = net.classes();
        let mut slot = |name: &str, shape: Vec<usize>, elem, home, role| {
            r.slot(SlotInfo { name: name.into(), shape, elem, home, role })
        };
        let (every, first) = (Home::Every, Home::Tower(0));
        let labels = slot("labels", vec![images], Elem::U32, first, Role::Input);
        let step = slot("step", vec![step::COUNT], Elem::U32, every, Role::Input);
        let probabilities = slot("probabilities", vec![classes, images], Elem::F32, first, Role::Output);
        let loss = slot("loss", vec![images], Elem::F32, first, Role::Output);
        let top1 = slot("top1", vec![images], Elem::F32, first, Role::Output);
        let top5 = slot("top5", vec![images], Elem::F32, first, Role::Output);
        let health = training.then(|| slot("health", vec![health::COUNT], Elem::F32, first, Role::Output));
        let out = NetProgram {
            program: Program::default(),
            images,
            source,
            labels,
            step,
            ranks: Vec::new(),
            logits: Vec::new(),
            probabilities,
            loss,
            top1,
            top5,
            health,
            trained: Vec::new(),
            updated: Vec::new(),
            features: Vec::new(),
        };
        let mut lowering = Self { net, job, r, out, step, weights: HashMap::new() };
        lowering.declare_ranks();
        lowering.declare_weights(training);
        lowering
    }

    fn declare_weights(&mut self, training: bool) {
        let (net, mixed) = (self.net, self.job.options.precision == Precision::Mixed);
        let optimizer = net.model.train.optimizer.kind;
        for (index, node) in net.nodes.iter().enumerate() {
            for tower in net.towers_of(node) {
                let sources = self.sources(node, tower);
                for spec in node.layer.weights(&node.x) {
                    let training = training && !node.frozen.holds(spec.kind);
                    let base = self.site_name(node, tower);
                    let (bias, reads) = match spec.kind {
                        WeightKind::Bias => (true, tower),
                        WeightKind::Weights(i) => (false, sources[i]),
                    };
                    let name = match bias {
                        true => format!("{base}.bias"),
                        false if node.x.len() == 1 => format!("{base}.weights"),
                        false => format!("{base}.weights.{}", letter(reads)),
                    };
                    let home = Home::Tower(tower);
                    let (mut shape, mut cut) = (spec.shape, None);
                    if let (Some(own), Some(last)) = (self.units(index), shape.last_mut()) {
                        cut = Some(Cut { outputs: std::mem::replace(last, own.len()), own });
                    }
                    let mut slot = |suffix: &str, shape: &[usize], role| {
                        let name = format!("{name}{suffix}");
                        self.r.slot(SlotInfo { name, shape: shape.to_vec(), elem: Elem::F32, home, role })
                    };
                    let value = slot("", &shape, Role::Weight);
                    let kept = if training { optimizer.states } else { &[] };
                    let state = |name: &&'static str| slot(&format!(".{name}"), &shape, Role::State(name));
                    let states = kept.iter().map(state).collect();
                    let gradient = training.then(|| slot(".gradient", &shape, Role::Gradient));
                    let rounded = (mixed && !bias).then(|| self.r.map(format!("{name}.rounded"), shape, home));
                    let decay = if bias { 0.0 } else { node.decay };
                    self.weights.entry((index, tower)).or_default().push(self.out.trained.len());
                    let init = spec.init;
                    self.out.trained.push(Trained {
                        name,
                        value,
                        cut,
                        rounded,
                        states,
                        gradient,
                        init,
                        bias,
                        decay,
                        node: index,
                        tower,
                        reads,
                    });
                }
            }
        }
        self.out.updated = Updated::declare_all(&mut self.r, &self.out.trained, optimizer);
    }

    /// `conv1.a`; without the tower where the network has one.
    pub(super) fn site_name(&self, node: &PlacedLayer, tower: Tower) -> String {
        if self.net.model.towers == 1 { node.name.clone() } else { format!("{}.{}", node.name, letter(tower)) }
    }

    pub(super) fn site<'s>(&self, node: &'s PlacedLayer, name: &'s str, tower: Tower, accumulate: bool) -> Site<'s> {
        let share = if node.spread == Spread::Shared { (self.net.model.towers, tower) } else { (1, 0) };
        Site { name, layer: &node.name, tower, share, images: self.out.images, step: self.step, accumulate }
    }

    /// Towers whose values a node reads on `tower`, its own first.
    pub(super) fn sources(&self, node: &PlacedLayer, tower: Tower) -> Vec<Tower> {
        let towers = self.net.model.towers;
        let from = node.input.map_or(Spread::Whole, |i| self.net.nodes[i].spread);
        match (from, node.sees) {
            (Spread::Shared, Sees::Both) => (0..towers).map(|i| (tower + i) % towers).collect(),
            _ => vec![tower],
        }
    }

    /// The layers that this rank computes for its own images: all of them unless ranks share some.
    fn forward(&mut self, training: bool) -> Forward {
        let image = self.image();
        let values = vec![Values::new(); self.net.nodes.len()];
        let mut forward = Forward { values, ..Forward::default() };
        self.forward_nodes(0..self.first_shared(), &mut forward, Some(image), training);
        forward
    }

    pub(super) fn forward_nodes(
        &mut self,
        nodes: Range<usize>,
        forward: &mut Forward,
        image: Option<Slot>,
        training: bool,
    ) {
        let net = self.net;
        for index in nodes {
            let node = &net.nodes[index];
            self.r.label(node.row(), Phase::Forward);
            // All copies first: each leaves its device as soon as it is written, not behind another tower's work.
            let towers = net.towers_of(node);
            let inputs: Vec<_> = towers.iter().map(|&tower| self.inputs(node, tower, forward, image)).collect();
            let mut values = Values::new();
            for (tower, x) in towers.into_iter().zip(inputs) {
                self.round(index, tower);
                let w = self.operands(index, tower);
                let name = self.site_name(node, tower);
                let site = self.site(node, &name, tower, false);
                let computed = self.computed(index);
                let y = node.layer.forward(&mut self.r, &site, &x, &w, computed, training);
                forward.read.insert((index, tower), x);
                forward.own.insert((index, tower), y);
                values.insert(tower, y);
            }
            if self.units(index).is_some() {
                self.gather(index, &mut values);
            }
            forward.values[index] = values;
        }
    }

    /// Makes the weights of a node as its contractions read them in this pass.
    fn round(&mut self, node: usize, tower: Tower) {
        let pairs: Vec<_> =
            self.trained(node, tower).filter_map(|tensor| Some((tensor.value, tensor.rounded?))).collect();
        for (value, rounded) in pairs {
            let shape = round::Shape { count: self.r.info(value).count() };
            self.r.run(&round::WEIGHTS, shape.params(), &[value, rounded]);
        }
    }

    /// The weights of a node as it reads them.
    pub(super) fn operands(&self, node: usize, tower: Tower) -> Vec<Slot> {
        self.trained(node, tower).map(|trained| trained.rounded.unwrap_or(trained.value)).collect()
    }

    /// What a node reads on `tower`: its own tower's slot first, then copies of the others'.
    fn inputs(&mut self, node: &PlacedLayer, tower: Tower, forward: &Forward, image: Option<Slot>) -> Vec<(Slot, Chw)> {
        let slot = |source| node.input.map_or(image, |i| forward.values[i].get(&source).copied());
        let slots: Vec<Slot> = self.sources(node, tower).into_iter().filter_map(slot).collect();
        let copy = |(slot, &maps): (Slot, &Chw)| {
            let wire = self.wire(slot, 1.0);
            (self.r.copy(slot, tower, wire), maps)
        };
        slots.into_iter().zip(&node.x).map(copy).collect()
    }

    /// How a map travels to another device; halves are of `scale` times its values.
    pub(super) fn wire(&self, slot: Slot, scale: f32) -> Option<Wire> {
        let shape = half::Shape { count: self.r.info(slot).count(), scale };
        let label = self.r.current_label();
        let wire = || Wire { pack: &half::PACK, unpack: &half::UNPACK, params: shape.params(), label };
        // Maps of mixed precision are halves already.
        (self.job.options.exchange == WireFormat::F16 && self.job.options.precision == Precision::F32).then(wire)
    }

    /// How a gradient does. That of one image is some 1e-4, and the mean over the minibatch makes it smaller still,
    /// while the least normal half is 6e-5: undoes the mean and leaves room for factors of 256 up and some 1e6 down.
    pub(super) fn wire_of_gradients(&self, slot: Slot) -> Option<Wire> {
        self.wire(slot, 256.0 * self.job.minibatch.next_power_of_two() as f32)
    }

    pub(super) fn trained(&self, node: usize, tower: Tower) -> impl Iterator<Item = &Trained> {
        self.weights.get(&(node, tower)).into_iter().flatten().map(|&i| &self.out.trained[i])
    }

    /// Softmax and loss behind the last node, on tower A; gives the logits.
    pub(super) fn loss(&mut self, pass: Pass, forward: &Forward) -> Slot {
        let logits = self.logits(forward);
        let shape =
            softmax::Shape { classes: self.net.classes(), images: self.out.images, log: false, finite: true }.params();
        let NetProgram { probabilities, labels, loss, top1, top5, .. } = self.out;
        self.r.run(&softmax::FORWARD, shape.clone(), &[logits, probabilities]);
        self.r.run(&softmax::LOSS, shape, &[logits, labels, loss, top1, top5]);
        self.out.logits.push((pass, logits));
        logits
    }

    fn evaluate(&mut self) {
        self.r.begin(Pass::Evaluate);
        let forward = self.forward(false);
        if self.job.features {
            self.keep(&forward);
        }
        if self.is_hybrid() {
            self.shared(Pass::Evaluate, &forward);
        } else {
            self.loss(Pass::Evaluate, &forward);
        }
    }

    /// Has the outputs of all nodes outlive the pass.
    fn keep(&mut self, forward: &Forward) {
        for (node, values) in self.net.nodes.iter().zip(&forward.values) {
            let parts: Vec<Slot> = self.net.towers_of(node).iter().map(|tower| values[tower]).collect();
            for &part in &parts {
                self.r.keep(part);
            }
            self.out.features.push(Feature { name: node.name.clone(), parts });
        }
    }

    /// `pass` is [`Pass::Gradients`] or, adding to its gradients, [`Pass::Accumulate`].
    fn gradients(&mut self, pass: Pass) {
        self.r.begin(pass);
        let mut forward = self.forward(true);
        let gradients = if self.is_hybrid() {
            self.shared(pass, &forward)
        } else {
            self.loss(pass, &forward);
            let NetProgram { probabilities, labels, step, .. } = self.out;
            let dlogits = self.dlogits(probabilities, labels, step);
            self.logit_gradients(dlogits)
        };
        self.backward_nodes(0..self.first_shared(), &mut forward, gradients, pass == Pass::Accumulate);
        // Not every layer reads its input on the way back; what was made again for one that does not is left out.
        self.r.drop_unread();
    }

    /// The gradient by the logits. A loss that is not finite is noted.
    pub(super) fn dlogits(&mut self, probabilities: Slot, labels: Slot, step: Slot) -> Slot {
        let NetProgram { loss, images, health, .. } = self.out;
        let classes = self.net.classes();
        self.r.label(self.net.nodes[self.net.nodes.len() - 1].row(), Phase::Backward);
        let dy = self.r.map("dlogits", vec![classes, 1, 1, images], Home::Tower(0));
        // There is one where gradients are recorded.
        let Some(health) = health else { return dy };
        if probabilities == self.out.probabilities {
            self.r.run(&health::WATCH, health::Shape { images }.params(), &[loss, step, health]);
        }
        let shape = softmax::Shape { classes, images, log: false, finite: true };
        self.r.run(&softmax::BACKWARD, shape.params(), &[probabilities, labels, step, health, dy]);
        dy
    }

    fn update(&mut self) {
        self.r.begin(Pass::Update);
        let Some(health) = self.out.health else { return };
        self.r.label("update", Phase::Update);
        if self.job.options.precision == Precision::Mixed {
            let gradients: Vec<_> = self.out.updated.iter().map(|updated| (updated.tower, updated.gradients)).collect();
            loss_scale::judge(&mut self.r, &gradients, self.out.step, health);
        }
        let optimizer = self.net.model.train.optimizer.kind;
        let mut watched: HashMap<Tower, Slot> = HashMap::new();
        for updated in &self.out.updated {
            let &Updated { tower, gradients, values, rule, .. } = updated;
            let shape =
                optimizer::Shape { count: self.r.info(values).count(), first: 0, tensors: updated.tensors.len() };
            let health = *watched.entry(tower).or_insert_with(|| self.r.copy(health, tower, None));
            let slots = [&[gradients, rule, health, values], &updated.states[..]].concat();
            self.r.run(&optimizer.kernel, shape.params(), &slots);
        }
    }

    fn finish(mut self) -> NetProgram {
        self.out.program = self.r.finish();
        if self.job.training && self.job.ranks > 1 {
            let whole = self.out.trained.iter().filter(|trained| trained.cut.is_none());
            self.out.program.share_gradients(whole.filter_map(|trained| trained.gradient).collect());
        }
        self.out
    }
}
