//! Maps that travel between devices as 16-bit floats: half the bytes, nearly the same losses, and nothing hidden.

use alexnet::backend::Placement;
use alexnet::net::{Job, Net, Options, WireFormat};
use alexnet::session::Session;

use crate::devices::{open, spec};
use crate::training::{assert_rounded, assert_same, batches, begin, gentle, train_as};

/// An f16 has 11 bits, so that every value that crosses is off by up to 2^-12 of itself: at a gentle rate, where steps do
/// not amplify it, a loss is off by about as much, and here may be by four times that.
const TOLERANCE: f64 = 1.0 / 1024.0;

const JOB: Job = Job::training(32);
const HALVES: Job = JOB.with(Options { exchange: WireFormat::F16, ..Options::DEFAULT });

#[test]
fn halves_are_nearly_as_good_between_engines_of_the_processor() {
    assert_rounded("cpu,cpu", &HALVES, &JOB, TOLERANCE);
}

#[test]
fn halves_are_nearly_as_good_between_devices_of_an_adapter() {
    if let Some(two) = spec("gpu,gpu") {
        assert_rounded(&two, &HALVES, &JOB, TOLERANCE);
    }
}

#[test]
fn maps_that_stay_on_a_device_are_not_packed() {
    for alone in ["cpu", "gpu"].into_iter().filter_map(spec) {
        let [whole, halves] = [JOB, HALVES].map(|job| train_as(&job, &open(&alone), &gentle(), 3));
        assert_same(&alone, &halves, &whole);
    }
}

fn session(job: &Job, placement: &Placement) -> Session {
    Session::new(Net::new(gentle()).unwrap(), job, placement, 5).unwrap()
}

/// Every step also sends 24 bytes of health for the update, which are never packed.
#[test]
fn half_as_many_bytes_cross() {
    let bytes = [JOB, HALVES].map(|job| {
        let mut session = session(&job, &open("cpu,cpu"));
        begin(&mut session, 32, 3);
        [(0, 1), (1, 0)].map(|way| session.cluster().traffic()[&way].bytes)
    });
    let health = 3 * 24;
    let [[to_b, to_a], halves] = bytes;
    assert_eq!(halves, [(to_b - health) / 2 + health, to_a / 2]);
    // Maps of pool2, conv3, fc6 and fc7 one way, and the gradients by those of the other tower the other way.
    assert!(to_a > 3 * 4 * 32 * 2 * 16 * 7 * 7, "{to_a}");
}

#[test]
fn nan_and_infinity_cross_as_such() {
    for two in ["cpu,cpu", "gpu,gpu"].into_iter().filter_map(spec) {
        let mut session = session(&HALVES, &open(&two));
        begin(&mut session, 32, 1);
        let batch = batches(session.net(), 32).next().unwrap();
        session.gradients(&batch, 1).unwrap();
        assert!(session.score().unwrap().loss.is_finite());
        let mut tensors = session.tensors().unwrap();
        for ill in [f32::NAN, f32::INFINITY] {
            let bias = tensors.get_mut("fc7.b.bias").unwrap();
            let values = vec![ill; bias.values().len()];
            *bias = alexnet::tensor::Tensor::new(bias.shape().to_vec(), values);
            session.load(&tensors).unwrap();
            session.gradients(&batch, 1).unwrap();
            assert!(session.score().unwrap().loss.is_nan(), "{two}: {ill} of tower b was made good on its way to a");
            session.update().unwrap();
            assert_eq!(session.trouble().unwrap(), Some(1));
        }
    }
}
