//! The same program on one device, on two of one adapter, and beside the CPU engine.

mod common;

use std::collections::BTreeMap;

use alexnet::backend::{Engine, Placement};
use alexnet::data::{Dataset, Loader, Plan, Views, crop_stream, training_order};
use alexnet::net::{Model, Net};
use alexnet::session::{Rates, Session};
use alexnet::tensor::Tensor;

const STEPS: usize = 20;

/// The rate that `mini` is trained with.
const RATE: f32 = 0.01;

/// A tenth of it, for unlike engines: at the full rate a difference in rounding grows threefold a step.
const GENTLE: f32 = 0.001;

/// Losses of the first steps of `mini` on the sample, and the weights and momentum after them.
fn train(placement: &Placement, towers: usize, rate: f32) -> (Vec<f64>, BTreeMap<String, Tensor>) {
    let mut model = Model::open("mini").unwrap();
    model.towers = towers;
    let (batch, input) = (model.train.batch, model.input);
    let mut session = Session::new(Net::new(model).unwrap(), batch, true, placement, 5).unwrap();
    session.initialise().unwrap();
    session.set_mean(&vec![120.0; input.stored() * input.stored() * 3]).unwrap();
    session.set_rates(Rates { weights: rate, biases: rate, momentum: 0.9 }).unwrap();
    let dataset = Dataset::open(None, input.stored()).unwrap();
    let border2 = (input.stored() - input.size) as u32;
    let views = Views::Random { stream: crop_stream(5), epoch: 0, border2, mirror: true };
    let order = training_order(5, 0, dataset.train.len());
    let loader = Loader::new(&dataset.train, Plan { order, start: 0, capacity: batch, views, threads: 1 }).unwrap();
    let mut losses = Vec::new();
    for (number, batch) in loader.take(STEPS).enumerate() {
        session.feed(&batch, number as u64).unwrap();
        session.gradients().unwrap();
        session.update().unwrap();
        losses.push(session.score().unwrap().means().0);
    }
    (losses, session.tensors().unwrap())
}

fn open(spec: &str) -> Placement {
    Placement::open(Some(spec)).unwrap().unwrap()
}

/// Losses agree to 1e-4 relative: engines differ in rounding only, which the steps amplify.
fn assert_close(placement: &Placement, name: &str, want: &[f64]) {
    let (losses, _) = train(placement, 2, GENTLE);
    for (step, (got, want)) in losses.iter().zip(want).enumerate() {
        assert!((got - want).abs() < 1e-4 * want, "{name}, step {step}: loss {got}, elsewhere {want}");
    }
}

#[test]
fn two_devices_of_one_adapter_give_the_bits_of_one() {
    if common::gpu().is_none() {
        return;
    }
    for towers in [1, 2, 4] {
        let (losses, tensors) = train(&open("0"), towers, RATE);
        let (split_losses, split_tensors) = train(&open("0,0"), towers, RATE);
        assert_eq!(losses, split_losses, "{towers} towers");
        assert!(tensors == split_tensors, "{towers} towers: weights differ");
        assert!(losses.last() < losses.first(), "nothing was learnt: {losses:?}");
    }
}

#[test]
fn a_gpu_beside_the_processor_agrees_with_the_gpu_alone() {
    if common::gpu().is_none() {
        return;
    }
    let (losses, _) = train(&open("0"), 2, GENTLE);
    for spec in ["cpu", "0,cpu", "cpu,0"] {
        assert_close(&open(spec), spec, &losses);
    }
}

#[test]
fn two_engines_of_the_processor_give_the_bits_of_one() {
    let (losses, tensors) = train(&Engine::Cpu.into(), 2, RATE);
    let (split_losses, split_tensors) = train(&open("cpu,cpu"), 2, RATE);
    assert_eq!(losses, split_losses);
    assert!(tensors == split_tensors, "weights differ");
}
