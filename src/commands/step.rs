//! Training steps on given weights, images and labels, with every result: comparison of this engine with another.

use std::collections::BTreeMap;
use std::path::Path;

use super::CommandError;
use super::convert::CheckpointWeights;
use crate::checkpoint::Checkpoint;
use crate::files::{TensorError, TensorFile, read_file};
use crate::interop::{InteropError, Quantity, fit_classes, read_weights};
use crate::net::{Job, MOST_IMAGES, Model, Net, NetError};
use crate::session::{Floats, Rates, Session};
use crate::tensor::Tensor;

/// Network, weights and batch of the steps.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// Network, whose training defaults are the rates.
    model: Model,
    weights: CheckpointWeights,
    batch: Floats,
    /// Whether the outcome has every layer's output.
    pub features: bool,
}

/// Results of the steps.
#[derive(Clone, Debug, PartialEq)]
pub struct StepResult {
    /// Mean loss of each step, in nats.
    pub losses: Vec<f64>,
    /// `loss` `[steps]`; `logits` `[images][classes]` before the first step, without dropout masks; where wanted, the
    /// layers' outputs as `feature.NODE` ([`Session::features`]), likewise. Under the names and in the layout of the
    /// given weights: the weights after the last step, the optimiser's states as `STATE.NAME`, and as `grad.NAME` the
    /// derivatives of the mean loss of the first step, without decay.
    pub tensors: BTreeMap<String, Tensor>,
}

impl Inputs {
    /// Reads weights, those of a checkpoint or run of this program or under any names of [`crate::interop`], and a
    /// batch: `images`, floats `[images][3][size][size]` as the network sees them, and `labels`. The last layer gets
    /// the weights' outputs.
    pub fn read(mut model: Model, weights: &Path, batch: &Path) -> Result<Self, CommandError> {
        let weights = &Checkpoint::locate(weights);
        Checkpoint::verify(weights)?;
        let mut file = read_weights(weights)?;
        file.recognise(&model, None).map_err(CommandError::within(weights))?;
        let file = file.tensors;
        fit_classes(&mut model, &file);
        let net = Net::new(model.clone())?;
        let weights = match CheckpointWeights::own(&net, &file)? {
            Some(own) => own,
            None => CheckpointWeights::of(&net, &file, None).map_err(CommandError::within(weights))?,
        };
        let bytes = read_file(batch)?;
        let batch = parse_batch(&bytes, model.input.size, net.classes()).map_err(CommandError::within(batch))?;
        Ok(Self { model, weights, batch, features: false })
    }

    /// The network, which [`Inputs::read`] has checked.
    pub fn net(&self) -> Result<Net, NetError> {
        Net::new(self.model.clone())
    }

    /// The job of a session for [`Inputs::run`].
    pub fn job(&self) -> Job {
        Job { floats: true, features: self.features, ..Job::training(self.batch.labels.len()) }
    }

    /// Computes `steps` steps in a session that was set up for [`Inputs::job`].
    pub fn run(&self, session: &mut Session, steps: u64) -> Result<StepResult, CommandError> {
        session.load(&self.weights.tensors)?;
        let train = &self.model.train;
        session.set_rates(Rates {
            weights: train.rate,
            biases: train.bias_rate.unwrap_or(train.rate),
            hyper: train.optimizer.hyper.clone(),
            layers: train.layers.clone(),
        })?;
        let mut tensors = BTreeMap::from([("logits".to_owned(), session.logits(&self.batch)?)]);
        let features = session.features(&self.batch)?;
        tensors.extend(features.into_iter().map(|(name, feature)| (format!("feature.{name}"), feature)));
        let mut losses = Vec::new();
        for step in 0..steps {
            session.gradients_of(&self.batch, step)?;
            losses.push(session.score()?.means().0);
            if step == 0 {
                let gradients = session.gradient_tensors()?;
                self.insert(&mut tensors, "grad.", Quantity::Gradients, |name| gradients.get(name))?;
            }
            session.update()?;
            if let Some(step) = session.trouble()? {
                return Err(CommandError::NotFinite(step + 1));
            }
        }
        let last = session.tensors()?;
        self.insert(&mut tensors, "", Quantity::Weights, |name| last.get(name))?;
        for state in train.optimizer.kind.states {
            let part = |name: &str| last.get(&format!("{name}.{state}"));
            self.insert(&mut tensors, &format!("{state}."), Quantity::Weights, part)?;
        }
        let loss = losses.iter().map(|&loss| loss as f32).collect();
        tensors.insert("loss".into(), Tensor::new([losses.len()], loss));
        Ok(StepResult { losses, tensors })
    }

    /// Inserts the network's tensors under the names and in the layout of the given weights.
    fn insert<'t>(
        &self,
        tensors: &mut BTreeMap<String, Tensor>,
        prefix: &str,
        quantity: Quantity,
        part: impl Fn(&str) -> Option<&'t Tensor>,
    ) -> Result<(), InteropError> {
        for whole in &self.weights.file_tensors {
            tensors.insert(format!("{prefix}{}", whole.name), whole.join(&part, quantity)?);
        }
        Ok(())
    }
}

/// Parses a safetensors file with `images`, floats `[images][3][size][size]`, and `labels`, integers below `classes`.
fn parse_batch(bytes: &[u8], size: usize, classes: usize) -> Result<Floats, CommandError> {
    let file = TensorFile::parse(bytes)?;
    let absent = |name, expected| {
        move |error| match error {
            TensorError::Missing(_) => CommandError::NoBatch { name, expected },
            other => other.into(),
        }
    };
    let wrong = |name, found: &[usize], expected| CommandError::Shape { name, found: found.into(), expected };
    let images = file.float32("images").map_err(absent("images", "the images as floats, N x C x H x W"))?;
    let (shape, labels) = file.integers("labels").map_err(absent("labels", "the class of each image"))?;
    let count = images.shape().first().copied().unwrap_or(0);
    if images.shape() != [count, 3, size, size] {
        return Err(wrong("images", images.shape(), format!("[N, 3, {size}, {size}]")));
    }
    if !(1..=MOST_IMAGES).contains(&count) {
        return Err(CommandError::Images(count));
    }
    if shape != [count] {
        return Err(wrong("labels", &shape, format!("[{count}], one for each image")));
    }
    let outside = labels.iter().enumerate().find(|(_, label)| !(0..classes as i64).contains(label));
    match outside {
        Some((image, &label)) => Err(CommandError::Label { image, label, last: classes - 1 }),
        None => Ok(Floats { images, labels: labels.into_iter().map(|label| label as u32).collect() }),
    }
}

/// Removes dropout from all layers of `model`, so that a step has nothing random.
pub fn without_dropout(model: &mut Model) {
    model.layers.iter_mut().for_each(|row| row.then.retain(|stage| !stage.is_dropout()));
}
