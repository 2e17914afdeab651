//! Mixed precision: nearly the same losses from half the memory, the same bits on one device and on two, and a loss
//! whose scale follows what its gradients bear.

use alexnet::backend::{Limits, Placement};
use alexnet::net::{Job, LossScale, Net, Options, Precision};
use alexnet::session::Session;
use alexnet::session::layout::Layout;

use crate::devices::{open, spec};
use crate::training::{assert_rounded, assert_same, batches, begin, difference, gentle, mini, train_as};

const STEPS: usize = 20;

const WHOLE: Job = Job::training(32);
const MIXED: Job = WHOLE.with(Options { precision: Precision::Mixed, ..Options::DEFAULT });

/// Every map, gradient and operand is off by up to 2^-12 of itself, in nine layers and both ways; errors of one sign
/// would add up to eighteen times that.
const TOLERANCE: f64 = 18.0 / 4096.0;

#[test]
fn mixed_precision_is_nearly_as_good_on_the_processor() {
    assert_rounded("cpu", &MIXED, &WHOLE, TOLERANCE);
}

#[test]
fn mixed_precision_is_nearly_as_good_on_an_adapter() {
    if let Some(alone) = spec("gpu") {
        assert_rounded(&alone, &MIXED, &WHOLE, TOLERANCE);
    }
}

/// Halves cross as they are, so nothing is lost on the way.
#[test]
fn two_devices_compute_the_bits_of_one() {
    for (one, two) in [("cpu", "cpu,cpu"), ("gpu", "gpu,gpu")] {
        let (Some(one), Some(two)) = (spec(one), spec(two)) else { continue };
        // In the second the towers share the classes, whose gradient is cut in halves as it is.
        let mut shared = mini(2);
        shared.layers.iter_mut().for_each(|row| row.on = row.on.take().map(|_| "both".to_owned()));
        for model in [mini(2), shared] {
            let [one, two] = [&one, &two].map(|spec| train_as(&MIXED, &open(spec), &model, 5));
            assert_same("two devices", &two, &one);
        }
    }
}

/// Unlike engines may round a value to different neighbours.
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

/// At 2^100 even the smallest gradient overflows: both towers skip the step, and the scale is halved.
#[test]
fn a_step_whose_gradients_overflow_is_skipped_on_both_towers() {
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
fn the_loss_scale_does_not_change_gradients() {
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

/// Sums of parts differ from the whole by rounding: of f32 sums, and of gradients to another neighbouring half.
#[test]
fn micro_batches_have_the_losses_of_the_whole_minibatch() {
    let parts = MIXED.at_once(8);
    let [whole, parts] = [MIXED, parts].map(|job| train_as(&job, &open("cpu"), &gentle(), STEPS));
    assert!(difference(&parts, &whole) < TOLERANCE);
}

#[test]
fn mixed_precision_halves_the_memory_of_maps() {
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
