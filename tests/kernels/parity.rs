//! Every kernel, variant and case on the GPU and on the CPU engine against the f64 twin.

use alexnet::backend::cpu::Cpu;
use alexnet::backend::parity;
use alexnet::backend::{Backend, Engine, compare};
use alexnet::kernel::{Access, Binding, Case, Elem, Kernel};
use alexnet::ops;
use alexnet::program::Slot;

use crate::devices;

// Several tests, to be run side by side: a software driver takes most of the time to compile.
#[test]
fn convolutions_agree_with_their_twin_on_the_gpu() {
    agree_on_gpus(|name| name == "conv.forward");
}

#[test]
fn gradients_by_input_agree_with_their_twin_on_the_gpu() {
    agree_on_gpus(|name| name == "conv.backward_input");
}

#[test]
fn gradients_by_filter_agree_with_their_twin_on_the_gpu() {
    agree_on_gpus(|name| name == "conv.backward_filter");
}

#[test]
fn all_other_kernels_agree_with_their_twins_on_the_gpu() {
    agree_on_gpus(|name| !["conv.forward", "conv.backward_input", "conv.backward_filter"].contains(&name));
}

#[test]
fn every_twin_is_as_good_at_f32() {
    agree(&Engine::Cpu, ops::KERNELS);
}

fn agree_on_gpus(wanted: fn(&str) -> bool) {
    let kernels: Vec<_> = ops::KERNELS.iter().copied().filter(|kernel| wanted(kernel.name)).collect();
    assert!(!kernels.is_empty(), "kernels have other names");
    for engine in devices::gpus() {
        agree(&engine, &kernels);
    }
}

fn agree(engine: &Engine, kernels: &[&'static Kernel]) {
    let mut report = parity::ParityReport::new(engine.describe());
    for check in parity::checks(kernels, engine) {
        report.add(&check, check.run(engine));
    }
    assert_eq!(report.kernels(), kernels.len(), "some kernel has no variant or case on {}", report.device);
    let failures = report.verdicts.iter().filter(|verdict| !verdict.failures.is_empty());
    assert!(report.failed() == 0, "{}: {:#?}", report.device, failures.collect::<Vec<_>>());
}

/// Work is cut by shapes alone, so the number of cores must not show in what comes out.
#[test]
fn the_number_of_cores_changes_no_bit() {
    let pools = [1, 3].map(|threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap());
    for kernel in ops::KERNELS {
        for case in (kernel.cases)() {
            let [one, three] = pools.each_ref().map(|pool| pool.install(|| computed(kernel, &case)));
            assert!(one == three, "{}: {}", kernel.name, case.name);
        }
    }
}

/// The bits of everything that the CPU engine writes.
fn computed(kernel: &'static Kernel, case: &Case) -> Vec<Vec<u32>> {
    let mut cpu = Cpu::<f32>::new(compare::program(kernel, case, 0));
    compare::compare(&mut cpu, kernel, case).unwrap();
    let written = kernel.bindings.iter().enumerate().filter(|(_, binding)| binding.access != Access::Read);
    let bits = |(slot, binding): (usize, &Binding)| match binding.elem(&case.params) {
        Elem::F32 | Elem::F16 => cpu.read_exact(Slot(slot)).into_iter().map(f32::to_bits).collect(),
        Elem::U32 => cpu.read_words(Slot(slot)).unwrap(),
    };
    written.map(bits).collect()
}
