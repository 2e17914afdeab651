//! Maps that travel between devices as 16-bit floats: half the bytes, nearly the same losses, and nothing hidden.

use alexnet::backend::{Engine, Placement};
use alexnet::commands::bench::exchange;
use alexnet::net::{Job, Net, Options, Precision, WireFormat};
use alexnet::session::Session;
use alexnet::session::layout::Layout;

use crate::devices::{open, spec};
use crate::training::{assert_rounded, assert_same, batches, begin, gentle, train_as};

/// An f16 has 11 bits, so that every value that crosses is off by up to 2^-12 of itself: at a gentle rate, where steps
/// do not amplify it, a loss is off by about as much, and here may be by four times that.
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

/// `describe` says what will cross, `bench exchange` what did: maps are halves with mixed precision, too.
#[test]
fn bytes_that_cross_are_those_of_the_plan_in_every_precision() {
    let options = [Precision::F32, Precision::Mixed].into_iter().flat_map(|precision| {
        [WireFormat::F32, WireFormat::F16].map(|exchange| Options { precision, exchange, ..Options::DEFAULT })
    });
    let jobs: Vec<Job> = options.map(|options| JOB.with(options)).collect();
    for two in ["cpu,cpu", "gpu,gpu"].into_iter().filter_map(spec) {
        for job in &jobs {
            let (placement, net) = (open(&two), Net::new(gentle()).unwrap());
            if job.options.precision == Precision::Mixed && !placement.engines().iter().all(Engine::halves) {
                println!("NOT RUN: {two} has no halves");
                continue;
            }
            let crossings = Layout::new(&net, job, &placement.limits(2)).unwrap().crossings;
            let measured = exchange(&mut session(job, &placement), 2).unwrap();
            let bytes = |pass: &str, from: &str| {
                let pass = measured.passes.iter().find(|times| times.pass == pass).unwrap();
                pass.ways.iter().find(|link| link.from == from).map_or(0, |link| link.bytes)
            };
            for plan in &crossings {
                let found = ["forward", "forward and backward", "update"].map(|pass| bytes(pass, &plan.from));
                let want = [plan.forward, plan.forward + plan.backward, plan.update];
                assert_eq!(found, want, "from {} on {two}, {:?}", plan.from, job.options);
            }
        }
    }
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
