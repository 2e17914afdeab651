//! Training steps on weights, images and labels that are given, whose every result is told: how this engine compares
//! with another, to the last tensor.

mod batch;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::commands::convert::{CheckpointWeights, read_weights};
use crate::interop::{InteropError, Quantity, fit_classes};
use crate::net::{Job, Model, Net};
use crate::session::{Floats, Rates, Session};
use crate::tensor::Tensor;

/// What steps are made with.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// The network, whose training defaults are the rates.
    model: Model,
    weights: CheckpointWeights,
    batch: Floats,
    /// Whether to tell what every layer makes of the images.
    pub features: bool,
}

/// What came of them.
#[derive(Clone, Debug, PartialEq)]
pub struct StepResult {
    /// Mean loss of each step, in nats.
    pub losses: Vec<f64>,
    /// Where wanted, as `feature.NODE` what each layer gives, as [`Session::features`] before the first step; `loss`
    /// `[steps]`, `logits` `[images][classes]` before the first step and without dropout masks; under the names
    /// of the given weights, in their layout, the weights after the last step, as `STATE.NAME` the
    /// optimiser's states, and as `grad.NAME` the derivatives of the mean loss of the first step, without decay.
    pub tensors: BTreeMap<String, Tensor>,
}

impl Inputs {
    /// Reads weights under any of the names of [`crate::interop`], of which the last layer gets its outputs, and a
    /// batch: `images`, floats `[images][3][size][size]` as the network sees them, and `labels`.
    pub fn read(mut model: Model, weights: &Path, batch: &Path) -> Result<Self> {
        let file = read_weights(weights)?.tensors;
        fit_classes(&mut model, &file);
        let net = Net::new(model.clone())?;
        let weights = CheckpointWeights::of(&net, &file, None).with_context(|| weights.display().to_string())?;
        let batch = batch::read(batch, model.input.size, net.classes())?;
        Ok(Self { model, weights, batch, features: false })
    }

    /// The network.
    ///
    /// # Errors
    /// None that [`Inputs::read`] has not met.
    pub fn net(&self) -> Result<Net> {
        Ok(Net::new(self.model.clone())?)
    }

    /// The job that a session for [`Inputs::run`] is set up for.
    pub fn job(&self) -> Job {
        Job { floats: true, features: self.features, ..Job::training(self.batch.labels.len()) }
    }

    /// Makes so many steps in a session that was set up for [`Inputs::job`].
    pub fn run(&self, session: &mut Session, steps: u64) -> Result<StepResult> {
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
                self.tell(&mut tensors, "grad.", Quantity::Gradients, |name| gradients.get(name))?;
            }
            session.update()?;
            if let Some(step) = session.trouble()? {
                bail!("the loss of step {} is not finite; a smaller --lr may help", step + 1);
            }
        }
        let last = session.tensors()?;
        self.tell(&mut tensors, "", Quantity::Weights, |name| last.get(name))?;
        for state in train.optimizer.kind.states {
            let part = |name: &str| last.get(&format!("{name}.{state}"));
            self.tell(&mut tensors, &format!("{state}."), Quantity::Weights, part)?;
        }
        let loss = losses.iter().map(|&loss| loss as f32).collect();
        tensors.insert("loss".into(), Tensor::new([losses.len()], loss));
        Ok(StepResult { losses, tensors })
    }

    /// Adds tensors of the network as those of the given weights.
    fn tell<'t>(
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

/// Leaves dropout out of all layers of `model`, so that a step has nothing random.
pub fn without_dropout(model: &mut Model) {
    model.layers.iter_mut().for_each(|row| row.then.retain(|stage| !stage.is_dropout()));
}
