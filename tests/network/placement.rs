//! The same program on one device, on two of one adapter, and beside the CPU engine; which devices are opened, and what
//! does not fit them.

use std::rc::Rc;

use alexnet::backend::gpu::device::Device;
use alexnet::backend::gpu::summary::summaries;
use alexnet::backend::{Engine, Limits, Placement};
use alexnet::net::{Job, Model, Net, lower};

use crate::devices::{gpus, open, spec};
use crate::training::{assert_close, assert_same, assert_trained, gentle, mini, train};

const STEPS: usize = 20;

#[test]
fn two_devices_of_one_adapter_give_the_bits_of_one() {
    let (Some(one), Some(two)) = (spec("gpu"), spec("gpu,gpu")) else { return };
    for towers in [1, 2, 4] {
        let name = format!("{towers} towers on {two}");
        let alone = train(&open(&one), &mini(towers), STEPS);
        assert_trained(&name, &alone);
        assert!(alone.losses.last() < alone.losses.first(), "nothing was learnt: {:?}", alone.losses);
        assert_same(&name, &train(&open(&two), &mini(towers), STEPS), &alone);
    }
}

#[test]
fn a_gpu_beside_the_processor_agrees_with_the_gpu_alone() {
    let Some(alone) = spec("gpu") else { return };
    let alone = train(&open(&alone), &gentle(), STEPS);
    for spec in ["cpu", "gpu,cpu", "cpu,gpu"].into_iter().filter_map(spec) {
        assert_close(&spec, &train(&open(&spec), &gentle(), STEPS).losses, &alone.losses);
    }
}

#[test]
fn engines_of_the_processor_give_the_bits_of_one() {
    for (towers, specs) in [(2, &["cpu,cpu"][..]), (4, &["cpu,cpu", "cpu,cpu,cpu", "cpu,cpu,cpu,cpu"])] {
        let alone = train(&Engine::Cpu.into(), &mini(towers), STEPS);
        assert_trained("cpu", &alone);
        for spec in specs {
            assert_same(spec, &train(&open(spec), &mini(towers), STEPS), &alone);
        }
    }
}

#[test]
fn an_adapter_answers_to_its_ids() {
    let opened: Vec<_> = gpus().iter().map(Engine::describe).collect();
    let adapters = summaries();
    let named = |id: &str| adapters.iter().filter(|adapter| adapter.ids.vendor_device.as_deref() == Some(id)).count();
    for adapter in adapters.iter().filter(|adapter| opened.iter().any(|name| name.starts_with(&adapter.name))) {
        let ids = [&adapter.ids.pci_bus, &adapter.ids.vendor_device].into_iter().flatten();
        for id in ids.filter(|id| named(id) <= 1) {
            assert!(open(id).engines()[0].describe().starts_with(&adapter.name), "{id}: {}", adapter.name);
        }
    }
}

#[test]
fn auto_begins_with_the_best_adapter() {
    if std::env::var_os("ALEXNET_DEVICES").is_some() {
        return println!("NOT RUN: ALEXNET_DEVICES names the adapters to open, which auto does not obey");
    }
    if gpus().is_empty() {
        return;
    }
    let best = Placement::open(None).unwrap();
    let auto = Placement::open(Some("auto")).unwrap();
    let names = |placement: &Placement| placement.engines().iter().map(Engine::describe).collect::<Vec<_>>();
    let (best, auto) = (best.as_ref().map(names), auto.as_ref().map(names));
    assert_eq!(auto.as_ref().map(|all| &all[0]), best.as_ref().map(|all| &all[0]));
    assert!(auto.is_none_or(|all| all.len() <= 2));
}

#[test]
fn limits_of_opened_adapters_are_those_listed() {
    let listed = summaries();
    for engine in gpus() {
        let Limits { device, binding, buffer, halves, memory } = engine.limits();
        let said = (device, memory, halves, binding, buffer);
        let mut found = listed.iter().map(|adapter| {
            (
                adapter.name.clone(),
                adapter.memory.clone(),
                adapter.features.f16,
                adapter.limits.binding,
                adapter.limits.max_buffer_size,
            )
        });
        assert!(found.any(|listed| listed == said), "{said:?}");
    }
}

/// A device without hardware refuses as a real one would; no adapter is opened.
#[test]
fn a_program_with_too_large_a_slot_is_refused_by_name_and_limit() {
    let limits = Limits { device: "small".into(), binding: 128 << 20, buffer: 1 << 30, halves: false, memory: None };
    let engine = Engine::Gpu(Rc::new(Device::noop(&limits).unwrap()));
    let set_up = |model: &str| {
        let net = Net::new(Model::open(model).unwrap()).unwrap();
        engine.set_up(lower(&net, &Job::training(8)).program)
    };
    assert!(set_up("mini").is_ok());
    // fc6 of the one-tower network: 9216 x 4096 weights in one piece.
    let message = set_up("alexnet-one-tower").err().expect("it does not fit").to_string();
    for part in ["fc6.weights", "needs 144.0 MiB", "small allows 128.0 MiB in one binding", "more towers"] {
        assert!(message.contains(part), "no {part:?} in: {message}");
    }
}
