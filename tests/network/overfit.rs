//! Can it learn at all? A small network of two towers learns one batch of random images by heart, on the processor and
//! on the GPU alike.

use alexnet::backend::{Engine, Placement};
use alexnet::data::{Batch, View};
use alexnet::net::{Job, Model, Net};
use alexnet::random::{Purpose, Stream};
use alexnet::session::{Rates, Session};

use crate::devices;

const IMAGES: usize = 16;
const SIZE: usize = 16;

/// Steps after which the batch is known by heart.
const STEPS: usize = 20;

/// The paper's rows in the small.
const MODEL: &str = r#"
about = "two towers for one batch"
input = { channels = 3, size = 16 }
towers = 2
lrn = { size = 5, k = 2.0, alpha = 1e-4, beta = 0.75 }
pool = { size = 3, stride = 2 }
layers = [
  { name = "conv1", conv = { filters = 16, size = 5, pad = 2 }, weights = 0.002, then = ["relu", "lrn", "pool"] },
  { name = "conv2", conv = { filters = 16, size = 3, pad = 1 }, sees = "own", weights = 0.1, then = ["relu", "pool"] },
  { name = "conv3", conv = { filters = 24, size = 3, pad = 1 }, sees = "both", weights = 0.1, then = ["relu"] },
  { name = "fc6", fc = 64, sees = "both", weights = 0.08, bias = 0.1, then = ["relu", { dropout = 0.9 }] },
  { name = "fc8", fc = 10, sees = "both", on = "a", weights = 0.1, then = ["softmax"] },
]
train = { batch = 16, epochs = 1, rate = 0.01 }
"#;

fn batch() -> Batch {
    let random = Stream::new(1, Purpose::Test, 0);
    let bytes = IMAGES * SIZE * SIZE * 3;
    Batch {
        images: (0..bytes as u64).map(|i| (random.words(i, 0)[0] >> 24) as u8).collect(),
        labels: (0..IMAGES as u32).map(|n| random.words(u64::from(n), 1)[0] % 10).collect(),
        views: vec![View::default(); IMAGES],
        indices: (0..IMAGES as u32).collect(),
        count: IMAGES,
        skipped: Vec::new(),
        next: IMAGES,
    }
}

/// Losses of every step, the last one after all of them without dropout.
fn losses(placement: &Placement) -> Vec<f64> {
    let net = Net::new(Model::parse("overfit", MODEL).unwrap()).unwrap();
    let mut session = Session::new(net, &Job::training(IMAGES), placement, 4).unwrap();
    session.initialise().unwrap();
    session.set_mean(&vec![127.5; SIZE * SIZE * 3]).unwrap();
    session
        .set_rates(Rates { weights: 0.003, biases: 0.006, hyper: [("momentum", 0.9)].into(), ..Rates::default() })
        .unwrap();
    let batch = batch();
    let mut losses = Vec::new();
    for step in 0..STEPS {
        session.gradients(&batch, step as u64).unwrap();
        losses.push(session.score().unwrap().means().0);
        session.update().unwrap();
    }
    session.evaluate(&batch).unwrap();
    losses.push(session.score().unwrap().means().0);
    assert_eq!(session.trouble().unwrap(), None);
    losses
}

#[test]
fn a_batch_is_learnt_by_heart_everywhere() {
    let mut runs = vec![("cpu", losses(&Engine::Cpu.into()))];
    runs.extend(devices::gpu().map(|gpu| ("gpu", losses(&gpu.into()))));
    for (device, losses) in &runs {
        println!("{device}: {losses:.4?}");
        let (first, last) = (losses[0], losses[STEPS]);
        assert!((first - 10.0_f64.ln()).abs() < 0.3, "{device}: the first loss is {first}");
        assert!(last < 0.1 * first, "{device}: from {first} to {last} in {STEPS} steps");
        for (step, (loss, cpu)) in losses.iter().zip(&runs[0].1).enumerate() {
            // Small losses are the differences of large scores, so they count as a tenth of the first at least.
            let scale = cpu.max(0.1 * first);
            assert!((loss - cpu).abs() <= 1e-3 * scale, "{device}, step {step}: {loss} instead of {cpu}");
        }
    }
}
