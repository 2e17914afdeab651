//! Every kernel, variant and case on the GPU and on the CPU engine against the f64 twin.

mod common;

use alexnet::backend::Engine;
use alexnet::kernel::{Access, Case, Kernel, Variant};
use alexnet::program::Slot;
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

/// Of variants that need the same of a device the fastest is taken, which must not show in what comes out.
#[test]
fn a_tile_changes_no_bit() {
    for engine in common::gpus() {
        for kernel in ops::KERNELS {
            let variants = engine.variants(kernel);
            let first = variants[0];
            for &other in variants[1..].iter().filter(|other| other.needs == first.needs) {
                for case in (kernel.cases)() {
                    let [a, b] = [first, other].map(|variant| outputs(&engine, kernel, variant, &case));
                    assert!(a == b, "{}: {} and {} differ on {}", kernel.name, first.name, other.name, case.name);
                }
            }
        }
    }
}

/// The bits of everything that a variant writes.
fn outputs(engine: &Engine, kernel: &'static Kernel, variant: &'static Variant, case: &Case) -> Vec<Vec<u32>> {
    let mut backend = engine.set_up_variant(parity::program(kernel, case, 0), Some(variant)).unwrap();
    parity::compare(backend.as_mut(), kernel, case).unwrap();
    let written = kernel.bindings.iter().enumerate().filter(|(_, binding)| binding.access != Access::Read);
    written.map(|(slot, _)| backend.read_words(Slot(slot)).unwrap()).collect()
}
