//! Every kernel, variant and case on the GPU and on the CPU engine against the f64 twin.

mod common;

use alexnet::backend::Engine;
use alexnet::{ops, parity};

#[test]
fn every_kernel_agrees_with_its_twin_on_the_gpu() {
    for engine in common::gpus() {
        agrees(&engine);
    }
}

#[test]
fn every_twin_is_as_good_at_f32() {
    agrees(&Engine::Cpu);
}

fn agrees(engine: &Engine) {
    let mut report = parity::Report::new(engine.describe());
    for check in parity::checks(ops::KERNELS, engine) {
        report.add(&check, check.run(engine));
    }
    assert_eq!(report.kernels(), ops::KERNELS.len(), "some kernel has no variant or case on {}", report.device);
    let failures = report.verdicts.iter().filter(|verdict| !verdict.failures.is_empty());
    assert!(report.failed() == 0, "{}: {:#?}", report.device, failures.collect::<Vec<_>>());
}
