//! One training step of the paper's whole network, batch 8, on the GPU against the CPU engine.

use std::collections::BTreeMap;

use alexnet::backend::Engine;
use alexnet::data::{Batch, centre_view};
use alexnet::net::{Job, Model, Net, lower};
use alexnet::program::{Command, Pass};
use alexnet::random::{Purpose, Stream};
use alexnet::session::Session;
use alexnet::tensor::Tensor;

use crate::devices;

const IMAGES: usize = 8;

/// Loss and gradients of the first step.
fn first_step(engine: &Engine) -> (f64, BTreeMap<String, Tensor>) {
    let net = Net::new(Model::open("alexnet").unwrap()).unwrap();
    let stored = net.model.input.stored();
    let border = (stored - net.model.input.size) as u32;
    let mut session = Session::new(net, &Job::training(IMAGES), &engine.clone().into(), 1).unwrap();
    session.initialise().unwrap();
    session.set_mean(&vec![120.0; stored * stored * 3]).unwrap();
    let stream = Stream::new(3, Purpose::Test, 0);
    // Blotches rather than noise, so that filters see structure: one value for 8 neighbouring bytes.
    let images = (0..IMAGES * stored * stored * 3).map(|i| stream.words(i as u64 / 8, 0)[0] as u8).collect();
    let batch = Batch {
        images,
        labels: (0..IMAGES as u32).map(|i| i * 61).collect(),
        views: vec![centre_view(border); IMAGES],
        indices: (0..IMAGES as u32).collect(),
        count: IMAGES,
        skipped: Vec::new(),
        next: IMAGES,
    };
    session.gradients(&batch, 0).unwrap();
    let loss = session.score().unwrap().means().0;
    (loss, session.gradient_tensors().unwrap())
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| v * v).sum::<f64>().sqrt()
}

/// The two sum in other orders, so they agree to rounding: 1e-4 of the loss, 1e-3 of each gradient's norm (neurons and
/// maxima that rounding tips over weigh more than rounding itself).
#[test]
fn one_step_of_alexnet_agrees_with_the_cpu_engine() {
    let Some(engine) = devices::gpu() else { return };
    let (loss, gradients) = first_step(&engine);
    let (want_loss, want_gradients) = first_step(&Engine::Cpu);
    println!("loss {loss}, on cpu {want_loss}");
    assert!((loss - want_loss).abs() < 1e-4 * want_loss, "loss {loss}, on cpu {want_loss}");
    assert_eq!(gradients.len(), want_gradients.len());
    for (name, want) in &want_gradients {
        let pairs = || gradients[name].values().iter().zip(want.values());
        let size = norm(want.values().iter().map(|&w| f64::from(w)));
        let error = norm(pairs().map(|(&g, &w)| f64::from(g) - f64::from(w))) / size;
        println!("{name}: {error:.1e} of {size:.1e}");
        assert!(size > 0.0 && error < 1e-3, "{name}: gradients differ by {error:.1e} of their norm {size:.1e}");
    }
}

/// Small kernels ride along with large ones, and the optimiser takes the tensors of a tower at once.
#[test]
fn a_step_of_alexnet_takes_at_most_110_runs() {
    let net = Net::new(Model::open("alexnet").unwrap()).unwrap();
    let program = lower(&net, &Job::training(128)).program;
    let mut runs: BTreeMap<&str, usize> = BTreeMap::new();
    for command in [Pass::Gradients, Pass::Update].into_iter().flat_map(|pass| program.commands(pass)) {
        if let Command::Run { kernel, .. } = command {
            *runs.entry(kernel.name).or_default() += 1;
        }
    }
    assert!(runs.values().sum::<usize>() <= 110, "{runs:?}");
}
