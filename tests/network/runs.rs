//! Runs of a network that is quick everywhere, and something that happens in the midst of them.

use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;

use alexnet::backend::gpu::device::Device;
use alexnet::backend::{Engine, Placement};
use alexnet::data::{Batch, Dataset, View};
use alexnet::files::FolderLock;
use alexnet::net::{Job, Model, Net};
use alexnet::session::{Session, SessionError};
use alexnet::train::{Config, Metric, Observer, RunSummary, TrainError, Trainer};

/// Images of a minibatch.
pub(crate) const BATCH: usize = 100;

/// Steps of an epoch on the 2,500 images of the bundled sample.
pub(crate) const STEPS: u64 = 2500 / BATCH as u64;

/// The network, which has two towers and is trained for two epochs.
pub(crate) fn tiny() -> Model {
    let mut model = Model::parse("tiny", crate::tiny::TINY).unwrap();
    model.train.batch = BATCH;
    model
}

/// A session that trains `tiny` on `placement`.
pub(crate) fn session(placement: &Placement) -> Result<Session, SessionError> {
    Session::new(Net::new(tiny()).unwrap(), &Job::training(BATCH), placement, 0)
}

/// The device of an adapter.
pub(crate) fn device(engine: &Engine) -> Rc<Device> {
    match engine {
        Engine::Gpu(device) => Rc::clone(device),
        Engine::Cpu => unreachable!("asked for an adapter"),
    }
}

/// A minibatch of nothing in particular for `model`.
pub(crate) fn batch(model: &Model, images: usize) -> Batch {
    let stored = model.input.stored();
    Batch {
        images: (0..images * stored * stored * 3).map(|i| (i * i / 7) as u8).collect(),
        labels: (0..images as u32).map(|i| i % 10).collect(),
        views: vec![View::default(); images],
        indices: (0..images as u32).collect(),
        count: images,
        skipped: Vec::new(),
        next: images,
    }
}

/// Observer that acts after one step.
pub(crate) struct At<F> {
    pub(crate) step: u64,
    pub(crate) act: F,
}

impl<F: FnMut()> Observer for At<F> {
    fn epoch(&mut self, _: usize, _: usize, _: usize, _: usize) {}
    fn validation(&mut self, _: &Metric) {}
    fn step(&mut self, metric: &Metric, _: usize) {
        if metric.step == self.step {
            (self.act)();
        }
    }
}

/// Trains on the bundled sample, in `folder`.
pub(crate) fn train(
    placement: &Placement,
    folder: &Path,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<RunSummary, TrainError> {
    train_on(Dataset::open(None, tiny().input.stored())?, placement, folder, stop, observer)
}

/// Trains on a data set of ten classes, in `folder`.
pub(crate) fn train_on(
    dataset: Dataset,
    placement: &Placement,
    folder: &Path,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<RunSummary, TrainError> {
    let config = Config::new("tiny", tiny(), 0);
    let statistics = dataset.statistics()?;
    let mut session = session(placement)?;
    session.initialise()?;
    Trainer::new(config, session, dataset, statistics, FolderLock::acquire(folder)?, stop)?.run(observer)
}
