//! Every kernel, variant and case on the GPU and on the CPU engine against the f64 twin.

use alexnet::backend::cpu::Cpu;
use alexnet::backend::gpu::{Gpu, device, pipeline};
use alexnet::{ops, parity};
use std::rc::Rc;

#[test]
fn every_kernel_agrees_with_its_twin_on_the_gpu() {
    let adapters = device::adapters();
    let device = Rc::new(device::Device::open(&adapters[0]).unwrap());
    let mut failures = Vec::new();
    for kernel in ops::KERNELS {
        for variant in kernel.variants.iter().filter(|v| pipeline::eligible(&device, v)) {
            for case in (kernel.cases)() {
                let program = parity::program(kernel, &case, parity::GUARD);
                let mut gpu = Gpu::new(Rc::clone(&device), program, &|_, _, _| variant).unwrap();
                let finding = parity::compare(&mut gpu, kernel, &case).unwrap();
                println!("{} {} {}: {:.1e}", kernel.name, variant.name, case.name, finding.error);
                if !finding.within(kernel.tolerance) {
                    failures.push(format!("{} {} {}: {finding:?}", kernel.name, variant.name, case.name));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_twin_is_as_good_at_f32() {
    for kernel in ops::KERNELS {
        for case in (kernel.cases)() {
            let finding =
                parity::compare(&mut Cpu::<f32>::new(parity::program(kernel, &case, 0)), kernel, &case).unwrap();
            assert!(finding.within(kernel.tolerance), "{} {}: {finding:?}", kernel.name, case.name);
        }
    }
}
