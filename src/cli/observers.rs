//! Several observers of one run.

use std::collections::BTreeMap;

use alexnet::data::Batch;
use alexnet::tensor::Tensor;
use alexnet::train::{DeviceRecord, Extent, Metric, Movement, Observer, Phase};

/// Observers, each of which is told everything.
pub(super) struct Several<'a>(pub(super) Vec<Box<dyn Observer + 'a>>);

impl Several<'_> {
    fn each(&mut self, tell: impl Fn(&mut dyn Observer)) {
        for observer in &mut self.0 {
            tell(observer.as_mut());
        }
    }
}

impl Observer for Several<'_> {
    fn begin(&mut self, extent: Extent) {
        self.each(|observer| observer.begin(extent));
    }

    fn phase(&mut self, phase: Phase, images: usize) {
        self.each(|observer| observer.phase(phase, images));
    }

    fn seen(&mut self, images: usize) {
        self.each(|observer| observer.seen(images));
    }

    fn note(&mut self, text: &str) {
        self.each(|observer| observer.note(text));
    }

    fn epoch(&mut self, epoch: usize, epochs: usize, images: usize, done: usize) {
        self.each(|observer| observer.epoch(epoch, epochs, images, done));
    }

    fn batch(&mut self, batch: &Batch) {
        self.each(|observer| observer.batch(batch));
    }

    fn step(&mut self, metric: &Metric, images: usize) {
        self.each(|observer| observer.step(metric, images));
    }

    fn devices(&mut self, record: &DeviceRecord) {
        self.each(|observer| observer.devices(record));
    }

    fn weights(&mut self, step: u64, tensors: &BTreeMap<String, Tensor>, movements: &BTreeMap<String, Movement>) {
        self.each(|observer| observer.weights(step, tensors, movements));
    }

    fn validation(&mut self, metric: &Metric) {
        self.each(|observer| observer.validation(metric));
    }

    fn save(&mut self) -> bool {
        let mut wanted = false;
        for observer in &mut self.0 {
            // All are asked: asking forgets.
            wanted |= observer.save();
        }
        wanted
    }
}
