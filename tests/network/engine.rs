//! A lowered network on the CPU engine at any precision, with weights and a batch of its own.
#![allow(dead_code, reason = "every test program takes what it needs")]
use alexnet::backend::cpu::{Cpu, Precision};
use alexnet::backend::{Backend, Data};
use alexnet::net::{Job, Model, Net, NetProgram, lower};
use alexnet::ops::layer::Init;
use alexnet::ops::optimizer::sgd::SGD;
use alexnet::ops::{health, step};
use alexnet::program::{Pass, Slot};
use alexnet::random::{Purpose, Stream, tag};
use alexnet::tensor::{NO_LABEL, Real};

/// A network ready to run.
pub(crate) struct Engine<T> {
    pub(crate) lowered: NetProgram,
    pub(crate) cpu: Cpu<T>,
    labels: Vec<u32>,
}

/// The network of a model text without its `about` and training defaults.
pub(crate) fn net(text: &str) -> Net {
    let defaults = "\nabout = \"test\"\ntrain = { batch = 8, epochs = 1, rate = 0.01 }\n";
    Net::new(Model::parse("test", &format!("{defaults}{text}")).unwrap()).unwrap()
}

fn stream(name: &str, seed: u32) -> Stream {
    Stream::new(u64::from(seed), Purpose::Test, tag(name))
}

impl<T: Precision> Engine<T> {
    /// Lowers `text` for `batch` images, with weights drawn by name and biases that differ from one another.
    pub(crate) fn new(text: &str, batch: usize) -> Self {
        Self::set_up(text, &Job::training(batch))
    }

    /// The same for any set-up.
    pub(crate) fn set_up(text: &str, job: &Job) -> Self {
        let lowered = lower(&net(text), job);
        let mut engine = Self { cpu: Cpu::new(lowered.program.clone()), lowered, labels: Vec::new() };
        if let Some(health) = engine.lowered.health {
            engine.cpu.write(health, Data::F32(&health::state(1.0))).unwrap();
        }
        for trained in engine.lowered.trained.clone() {
            let count = engine.lowered.program.slot(trained.value).count();
            let (mean, sd) = match trained.init {
                Init::Normal(sd) => (0.0, sd),
                Init::Constant(value) => (value, 0.1),
            };
            let drawn = stream(&trained.name, 1).normal_vec(count, f64::from(sd));
            engine.set(trained.value, &drawn.iter().map(|v| T::of(f64::from(v + mean))).collect::<Vec<_>>());
        }
        engine
    }

    /// Feeds images with `labels`; pixels are 0 to 3 less a mean of about 1.5, and depend on `seed` for the image.
    pub(crate) fn feed(&mut self, labels: &[u32], seed: impl Fn(usize) -> u32) {
        self.feed_from(0, labels, seed);
    }

    /// Feeds the images of a minibatch with `labels` from number `first` on, as many as are computed at once.
    pub(crate) fn feed_from(&mut self, first: usize, labels: &[u32], seed: impl Fn(usize) -> u32) {
        let lowered = self.lowered.clone();
        let numbers = first..first + lowered.images;
        let stored = lowered.source.stored().unwrap();
        let mean = &lowered.program.slot(stored.mean).shape;
        let bytes_per_image: usize = mean.iter().product();
        let mut bytes: Vec<u8> = Vec::new();
        let mut colours = Vec::new();
        for n in numbers.clone() {
            let stream = stream(&format!("image {n}"), seed(n));
            bytes.extend((0..bytes_per_image).map(|i| (stream.words(i as u64, 0)[0] >> 30) as u8));
            let [red, green, blue, _] = stream.normals(0, 1).map(|v| 0.1 * v as f32);
            colours.extend([red, green, blue, 1.0]);
        }
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        let words: Vec<u32> = bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let views: Vec<u32> = numbers.flat_map(|n| [0, 0, n as u32 % 2, 0]).collect();
        let mean: Vec<f32> = stream("mean", 0).normal_vec(bytes_per_image, 0.2).iter().map(|v| v + 1.5).collect();
        let real = labels.iter().filter(|&&label| label != NO_LABEL).count();
        let step = step::words(11, 5, real as u32, first as u32);
        let mut labels = labels[first..labels.len().min(first + lowered.images)].to_vec();
        labels.resize(lowered.images, NO_LABEL);
        for (slot, words) in [(stored.pixels, &words[..]), (stored.views, &views), (lowered.labels, &labels)] {
            self.cpu.write(slot, Data::U32(words)).unwrap();
        }
        self.cpu.write(lowered.step, Data::U32(&step)).unwrap();
        self.cpu.write(stored.mean, Data::F32(&mean)).unwrap();
        self.cpu.write(stored.colours, Data::F32(&colours)).unwrap();
        self.labels = labels;
    }

    /// Feeds a full batch of images with labels of `classes` classes.
    pub(crate) fn feed_all(&mut self, classes: u32) {
        let labels: Vec<u32> = (0..self.lowered.images as u32).map(|n| n % classes).collect();
        self.feed(&labels, |_| 0);
    }

    pub(crate) fn set(&mut self, slot: Slot, values: &[T]) {
        self.cpu.write_exact(slot, values);
    }

    pub(crate) fn get(&self, slot: Slot) -> Vec<T> {
        self.cpu.read_exact(slot)
    }

    pub(crate) fn run(&mut self, pass: Pass) {
        self.cpu.run(pass).unwrap();
    }

    /// One rate for everything, no decay.
    pub(crate) fn set_rate(&mut self, rate: f32) {
        for updated in &self.lowered.updated {
            let rule = updated.rule_of(&SGD, &[("momentum", 0.9)].into(), |_| (rate, 0.0));
            self.cpu.write(updated.rule, Data::F32(&rule)).unwrap();
        }
    }

    /// Mean loss over labelled images, summed here.
    pub(crate) fn loss(&mut self, pass: Pass) -> f64 {
        self.run(pass);
        let losses = self.get(self.lowered.loss);
        let labelled: Vec<f64> =
            losses.iter().zip(&self.labels).filter(|(_, l)| **l != NO_LABEL).map(|(v, _)| Real::to_f64(*v)).collect();
        labelled.iter().sum::<f64>() / labelled.len() as f64
    }

    /// The scores of the evaluating pass, [classes][N].
    pub(crate) fn logits(&mut self) -> Vec<T> {
        self.run(Pass::Evaluate);
        let slot = self.lowered.logits.iter().find(|(pass, _)| *pass == Pass::Evaluate).unwrap().1;
        self.get(slot)
    }
}
