//! The first steps of a network on a placement, and how two such runs compare.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use alexnet::backend::Placement;
use alexnet::data::{Batch, Dataset, Draw, Loader, LoaderOptions, Split, Views, training_order};
use alexnet::net::{Job, Model, Net};
use alexnet::session::{Rates, Score, Session};
use alexnet::tensor::Tensor;

use crate::devices::open;

const SEED: u64 = 5;

/// How far losses of unlike engines may be apart, relative: they differ in rounding only, which the steps amplify.
const TOLERANCE: f64 = 1e-4;

/// Results of the first steps of a network.
pub(crate) struct Run {
    /// Devices of the towers.
    pub(crate) device: String,
    /// Mean loss of each step.
    pub(crate) losses: Vec<f64>,
    /// Score of each step.
    pub(crate) scores: Vec<Score>,
    /// Weights and momenta after the last step, by name.
    pub(crate) tensors: BTreeMap<String, Tensor>,
}

/// `mini` on some number of towers, at the rate that it is trained with.
pub(crate) fn mini(towers: usize) -> Model {
    let mut model = Model::open("mini").unwrap();
    model.towers = towers;
    model
}

/// `mini` at a tenth of its rate, for unlike engines: at the full rate a difference in rounding grows threefold a step.
pub(crate) fn gentle() -> Model {
    let mut model = mini(2);
    model.train.rate /= 10.0;
    model
}

/// Does the first `steps` of `model` on the bundled sample.
pub(crate) fn train(placement: &Placement, model: &Model, steps: usize) -> Run {
    train_as(&Job::training(model.train.batch), placement, model, steps)
}

/// Does the first `steps` of `model` with minibatches computed as `job` says.
pub(crate) fn train_as(job: &Job, placement: &Placement, model: &Model, steps: usize) -> Run {
    let mut session = Session::new(Net::new(model.clone()).unwrap(), job, placement, SEED).unwrap();
    begin(&mut session, job.minibatch, steps)
}

/// Draws the weights of a session and does its first `steps` on minibatches of `batch` images of the bundled sample.
pub(crate) fn begin(session: &mut Session, batch: usize, steps: usize) -> Run {
    let (input, defaults) = (session.net().model.input, session.net().model.train.clone());
    session.initialise().unwrap();
    session.set_mean(&vec![120.0; input.stored() * input.stored() * 3]).unwrap();
    let hyper = defaults.optimizer.hyper;
    let rates = Rates { weights: defaults.rate, biases: defaults.rate, hyper, ..Rates::default() };
    session.set_rates(rates).unwrap();
    let mut scores = Vec::new();
    for (number, batch) in batches(session.net(), batch).take(steps).enumerate() {
        session.gradients(&batch, number as u64).unwrap();
        session.update().unwrap();
        scores.push(session.score().unwrap());
    }
    let losses = scores.iter().map(|score| score.means().0).collect();
    Run { device: session.device(), losses, scores, tensors: session.tensors().unwrap() }
}

/// The training images of the bundled sample at `stored` pixels, decoded once for all tests of a process.
pub(crate) fn sample(stored: usize) -> Arc<Split> {
    static SAMPLES: Mutex<BTreeMap<usize, Arc<Split>>> = Mutex::new(BTreeMap::new());
    let mut samples = SAMPLES.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(samples.entry(stored).or_insert_with(|| Dataset::open(None, stored).unwrap().train))
}

/// The training images of the bundled sample in minibatches of `capacity`.
pub(crate) fn batches(net: &Net, capacity: usize) -> impl Iterator<Item = Batch> + use<> {
    let input = net.model.input;
    let images = sample(input.stored());
    let border2 = (input.stored() - input.size) as u32;
    let draw = Draw { seed: SEED, epoch: 0, border2, crop: true, mirror: true, together: 1, noise: None };
    let views = Views::Random(draw);
    let order = training_order(SEED, 0, images.len());
    let options = LoaderOptions { order, start: 0, capacity, views, threads: 1 };
    Loader::new(&images, options).unwrap().map(Result::unwrap)
}

/// Checks that a run did something: losses are finite, and every weight has a momentum that is not all zeros.
#[track_caller]
pub(crate) fn assert_trained(name: &str, run: &Run) {
    assert!(!run.losses.is_empty() && run.losses.iter().all(|loss| loss.is_finite()), "{name}: {:?}", run.losses);
    let momenta = run.tensors.iter().filter(|(tensor, _)| tensor.ends_with(".momentum"));
    assert_eq!(momenta.clone().count() * 2, run.tensors.len(), "{name}: {:?}", run.tensors.keys());
    for (tensor, momentum) in momenta {
        assert!(momentum.values().iter().any(|&v| v != 0.0), "{name}: {tensor} is 0, nothing was learnt");
    }
}

/// Checks that two runs gave the same losses, weights and momenta to the last bit.
#[track_caller]
pub(crate) fn assert_same(name: &str, got: &Run, want: &Run) {
    assert_eq!(got.losses.len(), want.losses.len(), "{name}: steps");
    for (step, (got, want)) in got.losses.iter().zip(&want.losses).enumerate() {
        assert!(got.to_bits() == want.to_bits(), "{name}, step {step}: loss {got}, elsewhere {want}");
    }
    assert!(got.tensors.keys().eq(want.tensors.keys()), "{name}: {:?}", got.tensors.keys());
    for (tensor, want) in &want.tensors {
        let got = &got.tensors[tensor];
        assert_eq!(got.shape(), want.shape(), "{name}: shape of {tensor}");
        let pairs = || got.values().iter().zip(want.values()).enumerate();
        let mut unlike = pairs().filter(|(_, (got, want))| got.to_bits() != want.to_bits()).peekable();
        if let Some(&(at, (got, want))) = unlike.peek() {
            let (count, all) = (unlike.count(), pairs().len());
            panic!("{name}: {count} of {all} values of {tensor} differ, first at {at}: {got:e}, elsewhere {want:e}");
        }
    }
}

/// The largest difference of the losses of two runs, relative to those of `want`.
#[track_caller]
pub(crate) fn difference(got: &Run, want: &Run) -> f64 {
    assert_eq!(got.losses.len(), want.losses.len(), "{}: steps", got.device);
    assert!(got.losses.iter().all(|loss| loss.is_finite()), "{}: {:?}", got.device, got.losses);
    got.losses.iter().zip(&want.losses).map(|(got, want)| (got - want).abs() / want).fold(0.0, f64::max)
}

/// Checks that 20 steps of `gentle` on `spec`, computed as `rounded` says, have the losses of those computed as `exact`
/// says to within `tolerance` but not to the last bit, and that the same steps give the same bits again.
#[track_caller]
pub(crate) fn assert_rounded(spec: &str, rounded: &Job, exact: &Job, tolerance: f64) {
    const STEPS: usize = 20;
    let run = |job: &Job| train_as(job, &open(spec), &gentle(), STEPS);
    let (got, want) = (run(rounded), run(exact));
    assert_trained(spec, &got);
    let difference = difference(&got, &want);
    println!("{spec}: {difference:.1e}");
    assert!(difference < tolerance, "{spec}: losses differ by {difference:.1e}");
    assert!(difference > 1e-9, "{spec}: nothing was rounded");
    assert_same("once more", &run(rounded), &got);
}

/// Checks that losses agree as those of unlike engines do; returns the largest relative difference.
#[track_caller]
pub(crate) fn assert_close(name: &str, got: &[f64], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len(), "{name}: steps");
    let mut largest: f64 = 0.0;
    for (step, (got, want)) in got.iter().zip(want).enumerate() {
        let difference = (got - want).abs() / want;
        assert!(difference < TOLERANCE, "{name}, step {step}: loss {got}, elsewhere {want}");
        largest = largest.max(difference);
    }
    largest
}
