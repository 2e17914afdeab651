//! Sessions and the training loop where no command line reaches: a device that disappears, a stop before the start.

mod common;

use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use alexnet::backend::gpu::device::Device;
use alexnet::backend::{BackendError, Engine};
use alexnet::checkpoint::Checkpoint;
use alexnet::data::{Batch, Dataset, View, mean_image};
use alexnet::layout::Request;
use alexnet::net::{Model, Net};
use alexnet::session::{Session, SessionError};
use alexnet::train::{Config, Metric, Observer, Outcome, RunFolder, TrainError, Trainer};

const BATCH: usize = 100;

fn model() -> Model {
    Model::parse("tiny", common::cli::TINY).unwrap()
}

fn session(engine: &Engine) -> Result<Session, SessionError> {
    Session::new(Net::new(model()).unwrap(), &Request::training(BATCH), &engine.clone().into(), 0)
}

fn device(engine: &Engine) -> Rc<Device> {
    match engine {
        Engine::Gpu(device) => Rc::clone(device),
        Engine::Cpu => unreachable!("asked for an adapter"),
    }
}

/// A minibatch of nothing in particular.
fn batch() -> Batch {
    Batch {
        images: vec![100; BATCH * 10 * 10 * 3],
        labels: vec![0; BATCH],
        views: vec![View::default(); BATCH],
        indices: (0..BATCH as u32).collect(),
        count: BATCH,
        skipped: Vec::new(),
        next: BATCH,
    }
}

#[track_caller]
fn is_lost<T>(result: Result<T, SessionError>) {
    let Err(SessionError::Backend(error @ BackendError::Lost { .. })) = result else {
        panic!("not lost, but {:?}", result.err());
    };
    let message = error.to_string();
    assert!(message.contains("was lost") && message.contains("intact"), "{message}");
}

#[test]
fn every_use_of_a_lost_device_is_an_error() {
    let Some(engine) = common::gpu() else { return };
    let mut session = session(&engine).unwrap();
    session.initialise().unwrap();
    let begin = Instant::now();
    device(&engine).device.destroy();
    // What is only queued may go unnoticed until something is read.
    let batch = batch();
    for queued in [session.set_mean(&[0.0; 300]), session.gradients(&batch, 0), session.update()] {
        if queued.is_err() {
            is_lost(queued);
        }
    }
    is_lost(session.score());
    is_lost(session.tensors());
    is_lost(self::session(&engine));
    assert!(begin.elapsed() < Duration::from_secs(60));
}

/// Takes the device away after a step.
struct Thief {
    device: Option<Rc<Device>>,
    at: u64,
}

impl Observer for Thief {
    fn epoch(&mut self, _: usize, _: usize, _: usize, _: usize) {}
    fn validation(&mut self, _: &Metric) {}
    fn step(&mut self, metric: &Metric, _: usize) {
        if let Some(device) = self.device.as_ref().filter(|_| metric.step == self.at) {
            device.device.destroy();
        }
    }
}

/// Steps of an epoch on the 2,500 images of the bundled sample.
const STEPS: u64 = 2500 / BATCH as u64;

/// Trains on the bundled sample, in `folder`.
fn train(
    engine: &Engine,
    folder: &Path,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<Outcome, TrainError> {
    let mut network = model();
    network.train.batch = BATCH;
    let config = Config::new("tiny", network, 0);
    let dataset = Dataset::open(None, 10)?;
    let mean = mean_image(&dataset.train)?.pixels;
    let run = RunFolder::open(folder, &config)?;
    Trainer::new(config, session(engine)?, dataset, mean, run, stop)?.run(observer)
}

#[test]
fn a_run_whose_device_is_lost_says_when_and_keeps_its_checkpoint() {
    let Some(engine) = common::gpu() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut thief = Thief { device: Some(device(&engine)), at: STEPS + 3 };
    let error = train(&engine, folder.path(), &AtomicBool::new(false), &mut thief).unwrap_err();
    let message = error.to_string();
    let TrainError::Stopped { step, error, .. } = error else { panic!("{message}") };
    assert_eq!(step, STEPS + 3);
    is_lost::<()>(Err(*error));
    assert!(message.contains(&format!("after step {step}")), "{message}");
    let kept = Checkpoint::read(&folder.path().join("last.safetensors")).unwrap();
    assert_eq!((kept.state.step, kept.state.epoch), (STEPS, 1));
}

#[test]
fn a_run_that_is_stopped_before_its_first_step_can_be_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = &mut Thief { device: None, at: 0 };
    let outcome = train(&Engine::Cpu, folder.path(), &AtomicBool::new(true), nobody).unwrap();
    assert!(outcome.interrupted && outcome.steps == 0 && outcome.validation.is_none());
    let saved = Checkpoint::read(&folder.path().join("last.safetensors")).unwrap();
    assert_eq!((saved.state.step, saved.state.position), (0, 0));
}
