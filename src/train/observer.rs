//! What a run tells of itself while it goes on.

use std::collections::BTreeMap;

use super::{DeviceRecord, Extent, Metric, Movement};
use crate::data::Batch;
use crate::tensor::Tensor;

/// Work of a run besides its steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Measuring of the mean image and the colours of all training images, before the first step.
    MeanImage,
    /// A pass over the validation images.
    Validation,
}

/// Receiver of the events of a run.
pub trait Observer {
    /// The run begins or goes on.
    fn begin(&mut self, _extent: Extent) {}
    /// A phase begins that visits so many images.
    fn phase(&mut self, _phase: Phase, _images: usize) {}
    /// The phase has visited so many more images.
    fn seen(&mut self, _images: usize) {}
    /// Something happened that is worth a line.
    fn note(&mut self, _text: &str) {}
    /// An epoch of `images` images begins, `done` of them seen before.
    fn epoch(&mut self, epoch: usize, epochs: usize, images: usize, done: usize);
    /// A step is done.
    fn step(&mut self, metric: &Metric, images: usize);
    /// A step begins with these images.
    fn batch(&mut self, _batch: &Batch) {}
    /// A checkpoint is saved after `step` steps, with these tensors, of which those that are trained have moved so far.
    fn weights(&mut self, _step: u64, _tensors: &BTreeMap<String, Tensor>, _movements: &BTreeMap<String, Movement>) {}
    /// The devices were measured in a step.
    fn devices(&mut self, _record: &DeviceRecord) {}
    /// The validation after an epoch is done.
    fn validation(&mut self, metric: &Metric);
    /// Whether a checkpoint is wanted after the step that is done, besides those of the configuration.
    fn save(&mut self) -> bool {
        false
    }
}

/// An observer that ignores every event.
impl Observer for () {
    fn epoch(&mut self, _: usize, _: usize, _: usize, _: usize) {}
    fn step(&mut self, _: &Metric, _: usize) {}
    fn validation(&mut self, _: &Metric) {}
}
