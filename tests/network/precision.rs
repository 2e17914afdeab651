//! Mixed precision: nearly the same losses from half the memory, the same bits on one device and on two, and a loss whose
//! scale follows what its gradients bear.

use alexnet::backend::{Limits, Placement};
use alexnet::net::{Job, LossScale, Net, Options, Precision};
use alexnet::session::Session;
use alexnet::session::layout::Layout;

use crate::devices::{open, spec};
use crate::training::{Run, assert_same, assert_trained, batches, begin, gentle, mini, train_as};

const STEPS: usize = 20;

const WHOLE: Job = Job::training(32);
const MIXED: Job = WHOLE.with(Options { precision: Precision::Mixed, ..Options::DEFAULT });

/// Every map, gradient and operand is off by up to 2^-12 of itself, in nine layers and both ways; errors of one sign
/// would add up to eighteen times that.
const TOLERANCE: f64 = 18.0 / 4096.0;

/// The largest relative difference of two runs' losses.
fn difference(got: &Run, want: &Run) -> f64 {
    assert_eq!(got.losses.len(), STEPS);
    got.losses.iter().zip(&want.losses).map(|(got, want)| (got - want).abs() / want).fold(0.0, f64::max)
}

#[track_caller]
fn nearly_as_good(spec: &str) {
    let mixed = train_as(&MIXED, &open(spec), &gentle(), STEPS);
    assert_trained(spec, &mixed);
    let difference = difference(&mixed, &train_as(&WHOLE, &open(spec), &gentle(), STEPS));
    println!("{spec}: {difference:.1e}");
    assert!(difference < TOLERANCE, "{spec}: losses differ by {difference:.1e}");
    assert!(difference > 1e-9, "{spec}: nothing was rounded");
    assert_same("once more", &train_as(&MIXED, &open(spec), &gentle(), STEPS), &mixed);
}

#[test]
fn mixed_precision_is_nearly_as_good_on_the_processor() {
    nearly_as_good("cpu");
}

#[test]
fn mixed_precision_is_nearly_as_good_on_an_adapter() {
    if let Some(alone) = spec("gpu") {
        nearly_as_good(&alone);
    }
}

/// Halves cross as they are, so nothing is lost on the way.
#[test]
fn two_devices_compute_the_bits_of_one() {
    for (one, two) in [("cpu", "cpu,cpu"), ("gpu", "gpu,gpu")] {
        let (Some(one), Some(two)) = (spec(one), spec(two)) else { continue };
        let [one, two] = [one, two].map(|spec| train_as(&MIXED, &open(&spec), &mini(2), 5));
        assert_same("two devices", &two, &one);
    }
}

/// Of unlike engines the losses differ by what is rounded to the one or the other of two neighbours.
#[test]
fn an_adapter_and_the_processor_agree() {
    for spec in ["gpu", "gpu,cpu"].into_iter().filter_map(spec) {
        let [gpu, cpu] = [&spec, "cpu"].map(|spec| train_as(&MIXED, &open(spec), &gentle(), STEPS));
        let difference = difference(&gpu, &cpu);
        println!("{spec}: {difference:.1e}");
        assert!(difference < TOLERANCE, "{spec}: losses differ by {difference:.1e}");
    }
}

fn session(placement: &Placement) -> Session {
    Session::new(Net::new(mini(2)).unwrap(), &MIXED, placement, 5).unwrap()
}

/// At 2^100 even the smallest gradient overflows: the step is left out on both towers, and the scale halved until it
/// fits.
#[test]
fn a_step_whose_gradients_overflow_is_left_out_everywhere() {
    for spec in ["cpu,cpu", "gpu,cpu"].into_iter().filter_map(spec) {
        let mut session = session(&open(&spec));
        begin(&mut session, 32, 1);
        let before = session.tensors().unwrap();
        let batch = batches(session.net(), 32).next().unwrap();
        session.set_loss_scale(LossScale { scale: 2_f32.powi(100), good: 7.0 }).unwrap();
        session.gradients(&batch, 1).unwrap();
        session.update().unwrap();
        assert!(session.tensors().unwrap() == before, "{spec}: the weights changed");
        assert_eq!(session.loss_scale().unwrap(), Some(LossScale { scale: 2_f32.powi(99), good: 0.0 }), "{spec}");
        assert_eq!(session.trouble().unwrap(), None, "{spec}: the loss itself is well");
        session.set_loss_scale(LossScale { scale: 512.0, good: 0.0 }).unwrap();
        session.gradients(&batch, 1).unwrap();
        session.update().unwrap();
        assert!(session.tensors().unwrap() != before, "{spec}: this step fits");
        assert_eq!(session.loss_scale().unwrap(), Some(LossScale { scale: 512.0, good: 1.0 }), "{spec}");
    }
}

/// Powers of two change no digit of a gradient, unless it leaves the range of halves.
#[test]
fn the_scale_does_not_show_in_gradients() {
    let mut session = session(&open("cpu"));
    begin(&mut session, 32, 1);
    let batch = batches(session.net(), 32).next().unwrap();
    let [small, large] = [4096.0, 8192.0].map(|scale| {
        session.set_loss_scale(LossScale { scale, good: 0.0 }).unwrap();
        session.gradients(&batch, 1).unwrap();
        session.gradient_tensors().unwrap()
    });
    for (name, want) in &large {
        let (mut error, mut size) = (0.0, 0.0);
        for (a, b) in small[name].values().iter().zip(want.values()) {
            error += f64::from(a - b).powi(2);
            size += f64::from(*b).powi(2);
        }
        // What is below 2^-14 of a scaled loss has fewer digits at the smaller scale.
        assert!(size > 0.0 && (error / size).sqrt() < 1e-3, "{name}: {:.1e}", (error / size).sqrt());
    }
}

/// The sum of a minibatch's parts differs from the whole by what f32 sums round, and by halves of gradients that lie on
/// an edge.
#[test]
fn a_minibatch_may_be_computed_in_parts() {
    let parts = MIXED.at_once(8);
    let [whole, parts] = [MIXED, parts].map(|job| train_as(&job, &open("cpu"), &gentle(), STEPS));
    assert!(difference(&parts, &whole) < TOLERANCE);
}

#[test]
fn maps_take_half_the_memory() {
    let net = Net::new(alexnet::net::Model::open("alexnet").unwrap()).unwrap();
    let limits = Limits { device: "a device".into(), binding: 128 << 20, buffer: 2 << 30, halves: true, memory: None };
    let layout = |job: Job, halves| Layout::new(&net, &job, &[Limits { halves, ..limits.clone() }]);
    let job = Job::training(128);
    let mixed = job.with(MIXED.options);
    let [whole, half] = [job, mixed].map(|job| layout(job, true).unwrap().shares[0].footprint.clone());
    assert_eq!(half.weights, whole.weights);
    // Besides, weights as contractions read them: half of 244 MB.
    let most = whole.maps / 2 + whole.weights / 2;
    assert!(half.maps > whole.maps / 2 && half.maps <= most, "{} of {most}", half.maps);
    let refused = layout(mixed, false).err().unwrap().to_string();
    assert!(refused.contains("a device has no 16-bit floats") && refused.contains("--precision mixed"), "{refused}");
}
