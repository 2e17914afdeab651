//! A network on its devices: the one place where the two meet. Lower, place, load weights, feed a batch, run, read.
//!
//! Every command that computes goes through a [`Session`], so that none of them knows programs, slots or adapters.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::backend::{BackendError, Cluster, Data, Placement};
use crate::data::Batch;
use crate::net::{Lowered, Net, Trained, lower};
use crate::ops::layer::Init;
use crate::ops::{health, sgd, step};
use crate::program::{Pass, Slot};
use crate::random::{Purpose, Stream, tag};
use crate::tensor::{NO_LABEL, Tensor};

/// Why weights do not fit a network, or a device fails.
#[derive(Debug, Error)]
pub enum SessionError {
    /// The device.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A tensor the network needs is not there.
    #[error("tensor {0} is missing: these weights belong to another network")]
    Missing(String),
    /// A tensor has another shape.
    #[error("tensor {name} has shape {found:?}, the network needs {wanted:?}: these weights belong to another network")]
    Shape {
        /// Which.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The network's.
        wanted: Vec<usize>,
    },
}

/// Learning rates of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Of weights.
    pub weights: f32,
    /// Of biases.
    pub biases: f32,
    /// Share of the last increment that is kept.
    pub momentum: f32,
}

/// Sums over the images of one batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Score {
    /// Images counted.
    pub images: usize,
    /// Sum of losses in nats.
    pub loss: f64,
    /// Images whose best class is wrong, with the share lost by ties.
    pub top1: f64,
    /// Images whose five best classes are wrong, likewise.
    pub top5: f64,
}

impl Score {
    /// Adds another batch.
    pub fn add(&mut self, other: Self) {
        self.images += other.images;
        self.loss += other.loss;
        self.top1 += other.top1;
        self.top5 += other.top5;
    }

    /// Means over the images: loss, top-1 error, top-5 error.
    #[must_use]
    pub fn means(&self) -> (f64, f64, f64) {
        let images = self.images.max(1) as f64;
        (self.loss / images, self.top1 / images, self.top5 / images)
    }
}

/// A network set up to run.
pub struct Session {
    net: Net,
    lowered: Lowered,
    backend: Cluster,
    seed: u64,
    rates: Option<Rates>,
    real_images: usize,
}

impl Session {
    /// Lowers `net` for batches of `batch` images and sets it up on `devices`; with `training` it can do steps.
    ///
    /// # Errors
    /// When the network does not fit the device.
    pub fn new(net: Net, batch: usize, training: bool, devices: &Placement, seed: u64) -> Result<Self, SessionError> {
        let lowered = lower(&net, batch, training);
        let backend = devices.set_up(lowered.program.clone())?;
        Ok(Self { net, lowered, backend, seed, rates: None, real_images: 0 })
    }

    /// The network.
    #[must_use]
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// Images in a batch, a multiple of 8.
    #[must_use]
    pub fn images(&self) -> usize {
        self.lowered.images
    }

    /// Where it runs, for people.
    #[must_use]
    pub fn device(&self) -> String {
        self.backend.device()
    }

    /// Bytes allocated on the device.
    #[must_use]
    pub fn allocated(&self) -> u64 {
        self.backend.allocated()
    }

    /// The program it runs.
    #[must_use]
    pub fn lowered(&self) -> &Lowered {
        &self.lowered
    }

    /// Draws initial weights; momentum becomes 0.
    ///
    /// # Errors
    /// When the device fails.
    pub fn initialise(&mut self) -> Result<(), SessionError> {
        for trained in &self.lowered.trained {
            let count = self.lowered.program.slot(trained.value).count();
            let values = match trained.init {
                Init::Constant(value) => vec![value; count],
                Init::Normal(sd) => {
                    Stream::new(self.seed, Purpose::Weights, tag(&trained.name)).normal_vec(count, f64::from(sd))
                }
            };
            self.backend.write(trained.value, Data::F32(&values))?;
            if let Some(momentum) = trained.momentum {
                self.backend.write(momentum, Data::F32(&vec![0.0; count]))?;
            }
        }
        self.forget_trouble()
    }

    /// Loads weights, and momentum where there is any and the session trains, by name. Nothing is written unless
    /// all of it fits.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape, or the device fails.
    pub fn load(&mut self, tensors: &BTreeMap<String, Tensor>) -> Result<(), SessionError> {
        let mut found = Vec::new();
        for trained in &self.lowered.trained {
            let value = self.tensor(tensors, &trained.name, trained.value)?;
            found.push((trained.value, value.ok_or_else(|| SessionError::Missing(trained.name.clone()))?));
            if let Some(slot) = trained.momentum {
                found.extend(self.tensor(tensors, &momentum_name(trained), slot)?.map(|tensor| (slot, tensor)));
            }
        }
        for (slot, tensor) in found {
            self.backend.write(slot, Data::F32(tensor.values()))?;
        }
        self.forget_trouble()
    }

    fn tensor<'t>(
        &self,
        tensors: &'t BTreeMap<String, Tensor>,
        name: &str,
        slot: Slot,
    ) -> Result<Option<&'t Tensor>, SessionError> {
        let Some(tensor) = tensors.get(name) else { return Ok(None) };
        let wanted = &self.lowered.program.slot(slot).shape;
        if tensor.shape() == wanted.as_slice() {
            return Ok(Some(tensor));
        }
        Err(SessionError::Shape { name: name.into(), found: tensor.shape().to_vec(), wanted: wanted.clone() })
    }

    /// Weights, and momentum where the session trains, by name.
    ///
    /// # Errors
    /// When the device fails.
    pub fn tensors(&mut self) -> Result<BTreeMap<String, Tensor>, SessionError> {
        let slots = self.lowered.trained.iter().flat_map(|trained| {
            let momentum = trained.momentum.map(|slot| (momentum_name(trained), slot));
            std::iter::once((trained.name.clone(), trained.value)).chain(momentum)
        });
        let slots: Vec<_> = slots.collect();
        slots.into_iter().map(|(name, slot)| Ok((name, self.read(slot)?))).collect()
    }

    /// The gradients of the last [`Session::gradients`], by the names of the weights.
    ///
    /// # Errors
    /// When the device fails.
    pub fn gradient_tensors(&mut self) -> Result<BTreeMap<String, Tensor>, SessionError> {
        let slots = self.lowered.trained.iter().filter_map(|trained| Some((trained.name.clone(), trained.gradient?)));
        let slots: Vec<_> = slots.collect();
        slots.into_iter().map(|(name, slot)| Ok((name, self.read(slot)?))).collect()
    }

    fn read(&mut self, slot: Slot) -> Result<Tensor, SessionError> {
        let shape = self.lowered.program.slot(slot).shape.clone();
        Ok(Tensor::new(shape, self.backend.read(slot)?))
    }

    /// Sets the mean image: stored size squared × 3, H·W·C.
    ///
    /// # Errors
    /// When it is of another size, or the device fails.
    pub fn set_mean(&mut self, mean: &[f32]) -> Result<(), SessionError> {
        let shape = self.lowered.program.slot(self.lowered.mean).shape.clone();
        if mean.len() != shape.iter().product::<usize>() {
            return Err(SessionError::Shape { name: "mean".into(), found: vec![mean.len()], wanted: shape });
        }
        Ok(self.backend.write(self.lowered.mean, Data::F32(mean))?)
    }

    /// Uploads a batch of at most [`Session::images`] stored images with their views and labels for step `number`.
    ///
    /// # Errors
    /// When the device fails.
    pub fn feed(&mut self, batch: &Batch, number: u64) -> Result<(), SessionError> {
        let images = self.lowered.images;
        let mut bytes = batch.images.clone();
        bytes.resize(self.lowered.program.slot(self.lowered.pixels).count() * 4, 0);
        let pixels: Vec<u32> = bytemuck::pod_collect_to_vec(&bytes);
        let mut views: Vec<u32> = batch.views.iter().flat_map(|v| [v.y, v.x, u32::from(v.mirror), 0]).collect();
        views.resize(4 * images, 0);
        let colours = batch.views.iter().flat_map(|v| [v.shift[0], v.shift[1], v.shift[2], 0.0]);
        let mut shifts: Vec<f32> = colours.collect();
        shifts.resize(4 * images, 0.0);
        let mut labels = batch.labels.clone();
        labels.resize(images, NO_LABEL);
        self.real_images = batch.count;
        self.backend.write(self.lowered.pixels, Data::U32(&pixels))?;
        self.backend.write(self.lowered.views, Data::U32(&views))?;
        self.backend.write(self.lowered.shifts, Data::F32(&shifts))?;
        self.backend.write(self.lowered.labels, Data::U32(&labels))?;
        let words = step::words(self.seed, number as u32, batch.count as u32, 0);
        Ok(self.backend.write(self.lowered.step, Data::U32(&words))?)
    }

    /// Sets learning rates; written to the device only when they change.
    ///
    /// # Errors
    /// When the device fails.
    pub fn set_rates(&mut self, rates: Rates) -> Result<(), SessionError> {
        if self.rates == Some(rates) {
            return Ok(());
        }
        for trained in &self.lowered.trained {
            let Some(slot) = trained.rule else { continue };
            let mut rule = [0.0; sgd::rule::COUNT];
            rule[sgd::rule::RATE] = if trained.bias { rates.biases } else { rates.weights };
            rule[sgd::rule::MOMENTUM] = rates.momentum;
            rule[sgd::rule::DECAY] = trained.decay;
            self.backend.write(slot, Data::F32(&rule))?;
        }
        self.rates = Some(rates);
        Ok(())
    }

    /// Forward with dropout masks and backward on the batch that was fed.
    ///
    /// # Errors
    /// When the device fails.
    pub fn gradients(&mut self) -> Result<(), SessionError> {
        Ok(self.backend.run(Pass::Gradients)?)
    }

    /// SGD from the gradients. After a loss that was not finite it changes nothing.
    ///
    /// # Errors
    /// When the device fails.
    pub fn update(&mut self) -> Result<(), SessionError> {
        Ok(self.backend.run(Pass::Update)?)
    }

    /// Forward without dropout masks on the batch that was fed.
    ///
    /// # Errors
    /// When the device fails.
    pub fn evaluate(&mut self) -> Result<(), SessionError> {
        Ok(self.backend.run(Pass::Evaluate)?)
    }

    /// What the last pass scored on the batch that was fed.
    ///
    /// # Errors
    /// When the device fails.
    pub fn score(&mut self) -> Result<Score, SessionError> {
        let mut sum = |slot| -> Result<f64, SessionError> {
            let values = self.backend.read(slot)?;
            Ok(values[..self.real_images].iter().map(|&v| f64::from(v)).sum())
        };
        let Lowered { loss, top1, top5, .. } = self.lowered;
        Ok(Score { images: self.real_images, loss: sum(loss)?, top1: sum(top1)?, top5: sum(top5)? })
    }

    /// Class probabilities of each image of the last pass.
    ///
    /// # Errors
    /// When the device fails.
    pub fn probabilities(&mut self) -> Result<Vec<Vec<f32>>, SessionError> {
        let values = self.backend.read(self.lowered.probabilities)?;
        let images = self.lowered.images;
        Ok((0..self.real_images).map(|n| values[n..].iter().step_by(images).copied().collect()).collect())
    }

    /// The first step since weights were set whose loss was not finite. Weights are as they were before it.
    ///
    /// # Errors
    /// When the device fails.
    pub fn trouble(&mut self) -> Result<Option<u64>, SessionError> {
        let Some(slot) = self.lowered.health else { return Ok(None) };
        let health = self.backend.read(slot)?;
        Ok((health[0] != 0.0).then_some(health[1] as u64))
    }

    fn forget_trouble(&mut self) -> Result<(), SessionError> {
        let Some(slot) = self.lowered.health else { return Ok(()) };
        Ok(self.backend.write(slot, Data::F32(&[0.0; health::COUNT]))?)
    }

    /// Runs the batch that was fed once more, command by command, and names the first slot that is not finite:
    /// weights that already were not, or the map where it began.
    ///
    /// # Errors
    /// When the device fails.
    pub fn diagnose(&mut self) -> Result<Option<String>, SessionError> {
        for trained in &self.lowered.trained {
            if self.backend.read(trained.value)?.iter().any(|v| !v.is_finite()) {
                return Ok(Some(trained.name.clone()));
            }
        }
        let first = self.backend.trace(Pass::Gradients, |values| values.iter().any(|v| !v.is_finite()))?;
        Ok(first.map(|slot| self.lowered.program.slot(slot).name.clone()))
    }
}

fn momentum_name(trained: &Trained) -> String {
    format!("{}.momentum", trained.name)
}
